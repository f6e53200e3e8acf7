//! S3 listings: the query of one page and what its XML says, in both versions of ListObjects. Sans I/O.
//!
//! Source: Amazon S3 API reference, ListObjects (`marker`, `NextMarker`) and ListObjectsV2 (`continuation-token`,
//! `NextContinuationToken`).

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use quick_xml::events::Event;
use quick_xml::reader::Reader;

use crate::download_error::{DownloadError, What};

/// Keys and folders of one page; more than S3 ever sends is refused.
const ENTRIES_MAX: usize = 10_000;

/// One object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Object {
    pub key: String,
    /// Without quotes.
    pub etag: Option<String>,
    pub size: u64,
    pub last_modified: String,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub objects: Vec<Object>,
    /// Folders, as whole prefixes.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Next>,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// After this key (version 1, and the first page of version 2).
    Behind(String),
    /// At this token (version 2).
    Token(String),
}

/// The query of a page of the folder `prefix`.
pub(crate) fn query(version: u64, prefix: &str, at: Option<&Next>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut query = String::from(if version == 2 { "list-type=2&" } else { "" });
    query.push_str(&format!("delimiter=%2F&encoding-type=url&prefix={}", encoded(prefix)));
    match at {
        None => {}
        Some(Next::Token(token)) => query.push_str(&format!("&continuation-token={}", encoded(token))),
        Some(Next::Behind(key)) if version == 2 => query.push_str(&format!("&start-after={}", encoded(key))),
        Some(Next::Behind(key)) => query.push_str(&format!("&marker={}", encoded(key))),
    }
    query
}

/// Reads a page.
pub(crate) fn parse(xml: &[u8]) -> Result<Page, DownloadError> {
    let bad = |what: String| DownloadError::new(What::Protocol, format!("the listing is not understood: {what}"));
    let mut reader = Reader::from_reader(xml);
    let mut raw = Raw::default();
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut seen_root = false;
    let mut code = None;
    loop {
        match reader.read_event().map_err(|err| bad(err.to_string()))? {
            Event::Start(start) => {
                path.push(String::from_utf8_lossy(start.local_name().as_ref()).into_owned());
                text.clear();
                seen_root |= path.first().is_some_and(|root| root == "ListBucketResult");
                if path.len() > 16 {
                    return Err(bad("it is too deep".to_owned()));
                }
                if path.get(1).is_some_and(|tag| tag == "Contents") && path.len() == 2 {
                    raw.objects.push(Object::default());
                }
            }
            Event::Text(t) => text.push_str(&t.decode().map_err(|err| bad(err.to_string()))?),
            Event::CData(t) => text.push_str(&t.decode().map_err(|err| bad(err.to_string()))?),
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref().map_err(|err| bad(err.to_string()))?;
                let name = name.decode().map_err(|err| bad(err.to_string()))?;
                match character {
                    Some(c) => text.push(c),
                    None => text.push_str(
                        quick_xml::escape::resolve_predefined_entity(&name)
                            .ok_or_else(|| bad(format!("unknown entity {name}")))?,
                    ),
                }
            }
            Event::End(_) => {
                let tags: Vec<&str> = path.iter().map(String::as_str).collect();
                if tags == ["Error", "Code"] {
                    code = Some(text.clone());
                }
                raw.take(&tags, &text).map_err(bad)?;
                path.pop();
                text.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if let Some(code) = code {
        // With HTTP 200 too: the answer was begun before the error was known.
        let what = match code.as_str() {
            "SlowDown" | "SlowDownRead" | "ServiceUnavailable" | "RequestLimitExceeded" | "Throttling" => {
                What::Throttled
            }
            "InternalError" => What::Server,
            "AccessDenied" => What::Refused,
            _ => What::Protocol,
        };
        return Err(DownloadError::new(what, format!("the listing is an error: {code:?}")));
    }
    if !seen_root || !path.is_empty() {
        return Err(bad("it is no whole ListBucketResult".to_owned()));
    }
    raw.page().map_err(bad)
}

/// A page as it is spelled.
#[derive(Default)]
struct Raw {
    objects: Vec<Object>,
    prefixes: Vec<String>,
    truncated: bool,
    encoded: bool,
    marker: Option<String>,
    token: Option<String>,
}

impl Raw {
    fn take(&mut self, tags: &[&str], text: &str) -> Result<(), String> {
        let Some(tags) = tags.strip_prefix(&["ListBucketResult"]) else { return Ok(()) };
        if self.objects.len() + self.prefixes.len() > ENTRIES_MAX {
            return Err("it has too many entries".to_owned());
        }
        let text = || text.to_owned();
        match tags {
            ["IsTruncated"] => self.truncated = text().trim() == "true",
            ["EncodingType"] => self.encoded = text().trim() == "url",
            ["NextMarker"] => self.marker = Some(text()).filter(|m| !m.is_empty()),
            ["NextContinuationToken"] => self.token = Some(text()),
            ["CommonPrefixes", "Prefix"] => self.prefixes.push(text()),
            ["Contents", tag] => {
                let Some(object) = self.objects.last_mut() else { return Ok(()) };
                match *tag {
                    "Key" => object.key = text(),
                    "LastModified" => object.last_modified = text(),
                    "ETag" => object.etag = Some(tag_text(&text())).filter(|t| !t.is_empty()),
                    "Size" => {
                        object.size = text().trim().parse().map_err(|_| format!("{:?} is no size", text()))?;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn page(mut self) -> Result<Page, String> {
        if self.encoded {
            let decode = |text: &mut String| -> Result<(), String> {
                // S3 writes a space as a plus sign here.
                let spaced = text.replace('+', " ");
                *text = percent_decode_str(&spaced).decode_utf8().map_err(|err| err.to_string())?.into_owned();
                Ok(())
            };
            self.objects.iter_mut().try_for_each(|o| decode(&mut o.key))?;
            self.prefixes.iter_mut().try_for_each(decode)?;
            self.marker.iter_mut().try_for_each(decode)?;
        }
        let next = if !self.truncated {
            None
        } else if let Some(token) = self.token {
            Some(Next::Token(token))
        } else {
            // Without a delimiter, and on some servers with one, the last name replaces the marker.
            let last = self.objects.last().map(|o| o.key.clone()).max(self.prefixes.last().cloned());
            let marker = self.marker.or(last).ok_or("it goes on, but does not say where")?;
            Some(Next::Behind(marker))
        };
        Ok(Page { objects: self.objects, prefixes: self.prefixes, next })
    }
}

/// An entity tag without quotes and weakness.
pub(crate) fn tag_text(text: &str) -> String {
    text.trim().trim_start_matches("W/").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_page_of_version_1_has_objects_folders_and_a_marker() {
        let page = parse(
            br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>n</Name><Prefix>data/p/</Prefix><Marker></Marker>
 <NextMarker>data/p/b/</NextMarker><MaxKeys>2</MaxKeys><Delimiter>/</Delimiter><IsTruncated>true</IsTruncated>
 <Contents><Key>data/p/A&amp;B.zip</Key><LastModified>2026-04-01T08:06:34.000Z</LastModified>
  <ETag>&quot;0a1b-2&quot;</ETag><Size>1048</Size><Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>
 <CommonPrefixes><Prefix>data/p/b/</Prefix></CommonPrefixes></ListBucketResult>"#,
        )
        .unwrap();
        let object = Object {
            key: "data/p/A&B.zip".into(),
            etag: Some("0a1b-2".into()),
            size: 1048,
            last_modified: "2026-04-01T08:06:34.000Z".into(),
        };
        assert_eq!(page.objects, [object]);
        assert_eq!((page.prefixes, page.next), (vec!["data/p/b/".to_owned()], Some(Next::Behind("data/p/b/".into()))));
    }

    #[test]
    fn a_page_of_version_2_has_a_token_and_names_may_be_encoded() {
        let page = parse(
            b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
              <NextContinuationToken>a+b%2F=</NextContinuationToken>\
              <Contents><Key>data/%E5%B8%81+%2B.zip</Key><Size>1</Size></Contents></ListBucketResult>",
        )
        .unwrap();
        assert_eq!(page.objects[0].key, "data/\u{5e01} +.zip");
        assert_eq!((page.objects[0].etag.as_ref(), page.next), (None, Some(Next::Token("a+b%2F=".into()))));
    }

    #[test]
    fn a_page_that_goes_on_without_a_marker_goes_on_behind_its_last_name() {
        let page = parse(
            b"<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>b</Key><Size>1</Size></Contents>\
              <CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>",
        )
        .unwrap();
        assert_eq!(page.next, Some(Next::Behind("b".into())));
        assert!(parse(b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>").is_err());
    }

    #[test]
    fn what_is_no_listing_is_said_to_be_none() {
        for xml in [
            "",
            "<html><body>login</body></html>",
            "<ListBucketResult><Contents>",
            "<ListBucketResult><Contents><Size>x</Size></Contents></ListBucketResult>",
            "<ListBucketResult>&bomb;</ListBucketResult>",
            "<Error><Code>SlowDown</Code></Error>",
        ] {
            assert!(parse(xml.as_bytes()).is_err(), "{xml}");
        }
        let deep = "<a>".repeat(50);
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_slow_down_in_place_of_a_listing_is_a_throttle() {
        let what = |xml: &str| parse(xml.as_bytes()).unwrap_err().what;
        assert_eq!(what("<Error><Code>SlowDown</Code><Message>Reduce</Message></Error>"), What::Throttled);
        assert_eq!(what("<Error><Code>InternalError</Code></Error>"), What::Server);
        assert_eq!(what("<Error><Code>NoSuchBucket</Code></Error>"), What::Protocol);
    }

    #[test]
    fn the_query_asks_for_one_folder_in_either_version() {
        let at = Next::Behind("data/x/\u{5e01}.zip".into());
        let v1 = query(1, "data/x/", Some(&at));
        assert_eq!(v1, "delimiter=%2F&encoding-type=url&prefix=data%2Fx%2F&marker=data%2Fx%2F%E5%B8%81%2Ezip");
        assert!(query(2, "data/x/", Some(&at)).contains("list-type=2&") && !v1.contains("list-type"));
        assert!(query(2, "data/x/", Some(&at)).contains("&start-after=data"));
        assert!(query(2, "d/", Some(&Next::Token("a+/=".into()))).ends_with("&continuation-token=a%2B%2F%3D"));
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_are_an_answer_not_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = parse(&bytes);
        }
    }
}
