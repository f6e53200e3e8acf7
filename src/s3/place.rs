//! `s3://bucket/prefix`.

use std::fmt;

/// Why a text names no place in an object store.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} {what}; write s3://bucket or s3://bucket/prefix")]
pub struct BadUrl {
    /// The text.
    pub url: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A place in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Place {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
}

impl S3Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let bad = |what| BadUrl { url: url.to_owned(), what };
        let rest = url.strip_prefix("s3://").ok_or_else(|| bad("is no URL of a store that is known here"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // The rules of S3 that keep a name apart from a path or a host with a port; what else a store refuses it says.
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(3..=63).contains(&bucket.len()) || !bucket.starts_with(letter) || !bucket.ends_with(letter) {
            return Err(bad("has no bucket of 3 to 63 lower-case letters, digits, dots and hyphens"));
        }
        if !bucket.chars().all(|c| letter(c) || matches!(c, '.' | '-')) {
            return Err(bad("has a bucket with other characters than lower-case letters, digits, dots and hyphens"));
        }
        if bucket.ends_with("--x-s3") {
            return Err(bad("is a directory bucket (S3 Express), which lists its objects in no order"));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() && prefix.split('/').any(|name| name.is_empty() || name.starts_with('.')) {
            return Err(bad("has a prefix in which a name is empty or begins with a dot"));
        }
        if prefix.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '%' | '\\')) {
            return Err(bad("has a prefix with spaces or one of ? # % \\"));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_has_a_bucket_and_maybe_a_prefix_and_what_is_none_is_refused_with_the_form() {
        for (url, bucket, prefix) in [
            ("s3://tape", "tape", ""),
            ("s3://tape/", "tape", ""),
            ("s3://tape.eu-1/desk/lake=1/", "tape.eu-1", "desk/lake=1"),
        ] {
            let place = S3Place::parse(url).unwrap();
            assert_eq!((place.bucket.as_str(), place.prefix.as_str()), (bucket, prefix));
            assert_eq!(S3Place::parse(&place.to_string()).unwrap(), place);
        }
        for url in [
            "s3://",
            "s3://a",
            "s3:///lake",
            "s3://Tape/x",
            "s3://-ab",
            "s3://tape//x",
            "s3://tape/../x",
            "s3://tape/.x",
            "s3://tape/a b",
            "s3://tape/a?b",
            "s3://tape:9000/x",
            "s3://user:pw@tape/x",
            "gs://tape/x",
            "s3://tape--use1-az4--x-s3",
        ] {
            let err = S3Place::parse(url).unwrap_err().to_string();
            assert!(err.contains("write s3://bucket"), "{url}: {err}");
        }
    }
}
