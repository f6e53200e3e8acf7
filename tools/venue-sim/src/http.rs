//! As much HTTP/1.1 as the venues need: request heads and bodies in, whole answers out, percent decoding.
//!
//! It knows no paths and no venues.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

/// Longest request head, bytes. Binance refuses request lines near 8 KB; 16 KiB leaves room for headers.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Longest request body, bytes (only control requests carry one).
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// A request without its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// `GET`, `POST`, as sent.
    pub method: String,
    /// Path and query as sent, still percent-encoded.
    pub target: String,
    /// Names in lower case, values trimmed.
    pub headers: Vec<(String, String)>,
    /// Host and port by which whoever asks reaches this server; the server fills it in.
    pub reached_by: String,
}

impl Head {
    /// Parses the bytes before the empty line.
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if !version.starts_with("HTTP/1.") || words.next().is_some() {
            return None;
        }
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Head { method: method.to_owned(), target: target.to_owned(), headers, reached_by: String::new() })
    }

    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The path, percent-decoded, without the query.
    pub fn path(&self) -> String {
        percent_decode(self.target.split('?').next().unwrap_or(""))
    }

    /// The query's pairs, percent-decoded, in order.
    pub fn query(&self) -> Vec<(String, String)> {
        let Some((_, query)) = self.target.split_once('?') else { return Vec::new() };
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decode(name), percent_decode(value))
            })
            .collect()
    }

    /// True for a WebSocket upgrade.
    pub fn is_upgrade(&self) -> bool {
        self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }

    /// Length of the body that follows.
    pub fn content_length(&self) -> usize {
        self.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// True when the client keeps the connection for further requests.
    pub fn keeps_alive(&self) -> bool {
        !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Where the head ends (index after the empty line), if it is complete.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body, JSON unless a header says otherwise.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Answer {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            head.push_str("Content-Type: application/json;charset=UTF-8\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// Decodes `%XX`; anything else stays as it is. Bytes that are not UTF-8 become the replacement character.
pub fn percent_decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_head_is_split_into_its_parts() {
        let bytes = b"GET /binance-spot/api/v3/depth?symbol=%E5%B8%81USDT&limit=5 HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\r\nrest";
        let end = head_end(bytes).unwrap();
        assert_eq!(&bytes[end..], b"rest");
        let head = Head::parse(&bytes[..end]).unwrap();
        assert_eq!(head.path(), "/binance-spot/api/v3/depth");
        assert_eq!(head.query(), vec![("symbol".into(), "\u{5e01}USDT".into()), ("limit".into(), "5".into())]);
        assert!(head.is_upgrade() && head.keeps_alive());
    }

    #[test]
    fn an_answer_carries_its_length_and_headers() {
        let text = String::from_utf8(Answer::json(429, "{}").with("Retry-After", 7).encode()).unwrap();
        assert!(text.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{text}");
        assert!(text.contains("Retry-After: 7\r\n") && text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
    }
}
