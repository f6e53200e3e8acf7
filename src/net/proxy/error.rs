//! What can go wrong with a proxy, by step, each with what to do about it.
//!
//! The texts name no credentials; host and port of the proxy stand in the error around these.

use std::fmt;
use std::io;

/// A step of the conversation with the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TCP to the proxy itself.
    Tcp,
    /// The first answer of a SOCKS server.
    Greeting,
    /// User name and password.
    Auth,
    /// The way to the exchange.
    Connect,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Tcp => "the TCP connection to it",
            Stage::Greeting => "its greeting",
            Stage::Auth => "its answer to user name and password",
            Stage::Connect => "its answer to the connect request",
        })
    }
}

/// Why a proxy gave no way to the exchange.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The name of the proxy has no address.
    #[error("its name cannot be resolved: {0}; correct the host in the proxy URL")]
    Resolve(#[source] io::Error),
    /// Nothing answers at the proxy's address.
    #[error("unreachable: {0}; start the proxy or correct its host and port")]
    Unreachable(#[source] io::Error),
    /// The time of this step is over.
    #[error(
        "stalled: no (complete) answer in time, waiting for {0}; the proxy is overloaded, dead, or cannot reach the exchange"
    )]
    Stalled(Stage),
    /// The proxy closed the connection instead of answering.
    #[error("closed the connection instead of {0}; it may not allow this client address, or speak another protocol")]
    Closed(Stage),
    /// The connection to the proxy failed.
    #[error("the connection failed waiting for {stage}: {source}")]
    Io {
        /// Where.
        stage: Stage,
        /// Cause.
        source: io::Error,
    },
    /// The answer has another version byte than 5.
    #[error("not a SOCKS5 server: its first byte is 0x{got:02x}{}; correct scheme and port of the proxy URL", hint(*got))]
    NotSocks {
        /// First byte.
        got: u8,
    },
    /// The answer is not HTTP.
    #[error("not an HTTP proxy: its answer does not begin with HTTP/1; correct scheme and port of the proxy URL")]
    NotHttp,
    /// The proxy wants credentials and none are configured.
    #[error(
        "wants a user name and password; put them into the proxy URL, TAPEDECK__PROXY__URL or proxy.credentials_file"
    )]
    AuthRequired,
    /// The proxy takes neither no authentication nor user name and password.
    #[error(
        "accepts neither \"no authentication\" nor user name and password (no acceptable method); allow one of them in the proxy"
    )]
    NoMethod,
    /// The proxy does not accept the credentials.
    #[error("authentication failed: it does not accept this user name and password; correct them")]
    AuthFailed,
    /// The proxy answered the connect request with a REP code other than 0.
    #[error("refused: {} (REP {code:02x}); {}", rep(*code).0, rep(*code).1)]
    Refused {
        /// REP byte (RFC 1928 section 6).
        code: u8,
    },
    /// The proxy answered CONNECT with another status than 2xx.
    #[error("refused with HTTP status {status}; {}", http_hint(*status))]
    Http {
        /// HTTP status.
        status: u16,
    },
    /// Bytes that the protocol does not have.
    #[error("broke the protocol: {0}; check that the scheme of the proxy URL is right")]
    Malformed(&'static str),
    /// The name is longer than the protocol can carry.
    #[error("the host name has {0} bytes, a SOCKS5 request carries 255 at most; correct the URL of the venue")]
    NameTooLong(usize),
}

impl ProxyError {
    /// True when a person must change something before it can work.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(
            self,
            ProxyError::NotSocks { .. }
                | ProxyError::NotHttp
                | ProxyError::AuthRequired
                | ProxyError::NoMethod
                | ProxyError::AuthFailed
                | ProxyError::NameTooLong(_)
                | ProxyError::Http { status: 405 }
        )
    }
}

/// What a byte that is not 5 says about who answered.
fn hint(got: u8) -> &'static str {
    match got {
        b'H' | b'<' => ", which looks like an HTTP server",
        0x15 | 0x16 => ", which looks like a TLS server",
        0x00 | 0x04 => ", which looks like a SOCKS4 server",
        b'S' => ", which looks like an SSH server",
        _ => "",
    }
}

/// Name and advice of a REP code (RFC 1928 section 6).
fn rep(code: u8) -> (&'static str, &'static str) {
    match code {
        0x01 => ("general SOCKS server failure", "look into the log of the proxy"),
        0x02 => ("connection not allowed by its ruleset", "allow this client, host and port in the proxy"),
        0x03 => (
            "network unreachable",
            "the proxy has no route; check its network, or IPv6 where the host is an IPv6 address",
        ),
        0x04 => ("host unreachable", "the proxy cannot resolve or reach the exchange; check its DNS and routes"),
        0x05 => ("connection refused", "the exchange's port is closed for the proxy; correct the URL of the venue"),
        0x06 => ("TTL expired", "packets expired on the way; check the routes of the proxy"),
        0x07 => ("command not supported", "the proxy does not do CONNECT; use another one"),
        0x08 => ("address type not supported", "the proxy does not do names or IPv6; use another one"),
        _ => ("unassigned code", "look into the log of the proxy"),
    }
}

fn http_hint(status: u16) -> &'static str {
    match status {
        403 => "it does not allow this host and port: allow CONNECT to it in the proxy",
        405 | 501 => "it does not do CONNECT; use another proxy",
        404 | 500 | 502 | 503 => "it cannot resolve or reach the exchange; look into its log",
        504 => "the exchange did not answer it in time",
        _ => "look into the log of the proxy",
    }
}
