//! HTTP CONNECT as a client (RFC 9110 section 9.3.6): one request head, one answer head.
//!
//! Basic authentication only (RFC 7617). The answer is read byte by byte up to its empty line: the exchange may
//! not speak first on a connection that will carry TLS or HTTP, but if it did, its bytes would not be lost.

use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::{ProxyError, Stage};
use super::url::Credentials;
use super::wire::Wire;

/// An answer head may be this long.
const HEAD_BYTES_MAX: usize = 16 << 10;

pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<'_, S>,
    credentials: Option<&Credentials>,
    host: &str,
    port: u16,
) -> Result<(), ProxyError> {
    wire.stage = Stage::Connect;
    let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
    if let Some(c) = credentials {
        let pair = format!("{}:{}", c.user.reveal(), c.password.reveal());
        let _ = write!(head, "Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(pair));
    }
    head.push_str("\r\n");
    wire.send(head.as_bytes()).await?;

    let mut answer: Vec<u8> = Vec::with_capacity(256);
    while !answer.ends_with(b"\r\n\r\n") && !answer.ends_with(b"\n\n") {
        if answer.len() >= HEAD_BYTES_MAX {
            return Err(ProxyError::Malformed("the answer to CONNECT has no end"));
        }
        answer.extend_from_slice(&wire.read::<1>().await?);
        let start = b"HTTP/1.".len().min(answer.len());
        if answer.get(..start) != b"HTTP/1.".get(..start) {
            return Err(ProxyError::NotHttp);
        }
    }
    let status = status(&answer).ok_or(ProxyError::Malformed("the answer to CONNECT has no status"))?;
    match status {
        200..=299 => Ok(()),
        // tinyproxy answers wrong credentials with 401.
        401 | 407 if credentials.is_some() => Err(ProxyError::AuthFailed),
        401 | 407 => Err(ProxyError::AuthRequired),
        status => Err(ProxyError::Http { status }),
    }
}

/// The three digits after `HTTP/1.x `.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|b| *b == b'\n').next()?;
    let word = line.split(|b| *b == b' ').nth(1)?;
    let text = std::str::from_utf8(word).ok()?.trim_end();
    if text.len() == 3 { text.parse().ok().filter(|s| (100..600).contains(s)) } else { None }
}
