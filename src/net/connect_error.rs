//! What can go wrong between a URL and an open connection, and what to do about it.

use std::io;
use std::time::Duration;

use tokio_tungstenite::tungstenite;

use super::proxy::ProxyError;
use model::Ban;

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL we can use.
    #[error("{url}: {what}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The name has no address.
    #[error("resolve {host}: {source}")]
    Resolve {
        /// Host name.
        host: String,
        /// Cause.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("connect {peer}: {source}")]
    Tcp {
        /// Host and port.
        peer: String,
        /// Cause.
        source: io::Error,
    },
    /// The proxy gave no way to the exchange; nothing was tried without it.
    #[error("proxy {proxy}, on the way to {peer}: {source}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port of the exchange.
        peer: String,
        /// Cause.
        source: ProxyError,
    },
    /// No TLS session.
    #[error("TLS with {host}: {source}{}", middlebox(source))]
    Tls {
        /// Host name.
        host: String,
        /// Cause.
        source: io::Error,
    },
    /// The server answered the upgrade with something else.
    #[error("upgrade {url}: HTTP status {status}{}", country(*status))]
    Status {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// The ban of our address that it announces, if any.
        ban: Option<Ban>,
    },
    /// The upgrade failed below HTTP.
    #[error("upgrade {url}: {source}")]
    Upgrade {
        /// The URL.
        url: String,
        /// Cause.
        source: Box<tungstenite::Error>,
    },
    /// A step took too long.
    #[error("{step} with {peer}: no answer in {} s", limit.as_secs())]
    TimedOut {
        /// `TCP`, `TLS`, `upgrade` or `HTTP answer`.
        step: &'static str,
        /// Host and port.
        peer: String,
        /// What it may take.
        limit: Duration,
    },
}

/// What a certificate without a trusted root may mean.
fn middlebox(err: &io::Error) -> &'static str {
    let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    match err.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(err) if *err == untrusted => " (where a middlebox opens TLS, name its CA in tls.extra_ca_file)",
        _ => "",
    }
}

/// What a status says about where we come from, if anything.
pub(crate) fn country(status: u16) -> &'static str {
    match status {
        403 => " (forbidden: the exchange may refuse this country or address; use a proxy with another exit)",
        451 => " (the exchange refuses the country of this address; use a proxy with another exit)",
        _ => "",
    }
}

impl ConnectError {
    /// False when trying the same again cannot help: a person must change something first.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConnectError::Url { .. } => false,
            ConnectError::Proxy { source, .. } => !source.needs_a_person(),
            _ => true,
        }
    }

    /// The kind of the event that reports it: `proxy` where the way ended before the exchange, else `otherwise`.
    pub fn event_kind(&self, otherwise: &'static str) -> &'static str {
        if matches!(self, ConnectError::Proxy { .. }) { "proxy" } else { otherwise }
    }

    /// HTTP status of a refused upgrade.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            ConnectError::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Why this address may send no request for a while, where the venue says so.
    pub fn ban(&self) -> Option<&Ban> {
        match self {
            ConnectError::Status { ban, .. } => ban.as_ref(),
            _ => None,
        }
    }
}
