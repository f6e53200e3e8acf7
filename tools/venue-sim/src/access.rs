//! Who may ask this server, and how much of it one may hold. A page of any host can make a browser ask what listens on this
//! machine; only `Host` and `Origin` show it. Whoever does not read, or says nothing, is disconnected.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use http_doors::{Asked, Full, Gate, Places};

use crate::http::{Answer, Head, percent_decode};

/// A head, or a body, that is not whole within this time ends its connection; so does silence between two requests.
pub(crate) const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// The same for the TLS handshake.
pub(crate) const TLS_PATIENCE: Duration = Duration::from_secs(10);

/// How long the refusal of a client without a place may take.
pub(crate) const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// What whoever asks must show. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// This one.
    pub fn new(text: impl Into<String>) -> Token {
        Token(text.into())
    }

    /// Equal, in a time that depends on the lengths alone.
    fn is(&self, shown: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), shown.as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Access {
    /// Every request for a venue shows it: as `Authorization: Bearer`, as the password of the URL (`http://any:TOKEN@..`,
    /// which clients send as `Basic`), as `X-MBX-APIKEY`, or as `?token=`. A KuCoin socket shows the token that a request
    /// with it was given.
    pub token: Option<Token>,
    /// An address beyond loopback without a token is meant.
    pub insecure: bool,
    /// Names that `Host` may be beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Pages of these origins may connect.
    pub origins: Vec<String>,
    /// `/_sim/..` is served: the report, faults, the end.
    pub control: bool,
    /// Connections at once.
    pub connections: usize,
    /// Of them those of one address (of IPv6: of one /64).
    pub connections_of_address: usize,
    /// A client that takes nothing of what is written to it for this long is disconnected, s.
    pub slow_client_s: u64,
}

impl Default for Access {
    fn default() -> Access {
        Access {
            token: None,
            insecure: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            control: true,
            connections: 4_096,
            connections_of_address: 2_048,
            slow_client_s: 60,
        }
    }
}

impl Access {
    /// Refuses to serve everybody by accident.
    ///
    /// # Errors
    /// For an address beyond loopback that neither a token protects nor anybody calls insecure.
    pub fn check_address(&self, listen: SocketAddr) -> Result<(), String> {
        if listen.ip().is_loopback() || self.token.is_some() || self.insecure {
            return Ok(());
        }
        Err(format!(
            "{listen} is not a loopback address, and nothing protects it: it takes a token, or the word insecure"
        ))
    }

    /// How long a client may take for what is written to it.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.slow_client_s)
    }

    /// The gate of a server that listens there.
    pub(crate) fn gate(&self, listen: SocketAddr) -> Gate {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let machine = Some(machine.trim()).filter(|name| !name.is_empty()).unwrap_or("localhost");
        Gate::new(listen, machine, &self.hosts, &self.origins, self.token.is_some())
    }

    /// Places for connections.
    pub(crate) fn places(&self) -> Arc<Places> {
        Arc::new(Places::new(self.connections, self.connections_of_address))
    }

    /// Whether the request shows the token.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check_token(&self, head: &Head) -> Result<(), Answer> {
        let Some(token) = &self.token else { return Ok(()) };
        let authorization = head.header("authorization").and_then(|value| value.split_once(' '));
        let shown = match authorization {
            Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") => token.is(value),
            Some((scheme, value)) if scheme.eq_ignore_ascii_case("basic") => {
                password(value).is_some_and(|shown| token.is(&shown))
            }
            _ => false,
        };
        let query = || {
            let query = head.target.split_once('?').map_or("", |(_, query)| query);
            query
                .split('&')
                .filter_map(|pair| pair.strip_prefix("token="))
                .any(|shown| token.is(&percent_decode(shown)))
        };
        if shown || head.header("x-mbx-apikey").is_some_and(|key| token.is(key)) || query() {
            return Ok(());
        }
        let why = r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}"#;
        Err(Answer::json(401, why).with("WWW-Authenticate", "Basic realm=\"venue-sim\""))
    }
}

/// The password of `Basic` credentials (RFC 7617).
fn password(base64: &str) -> Option<String> {
    let bytes = BASE64_STANDARD_NO_PAD.decode(base64.trim_end_matches('=')).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

/// Whether this request may be answered.
///
/// # Errors
/// The refusal.
pub(crate) fn check(gate: &Gate, head: &Head) -> Result<(), Answer> {
    let bytes = |name: &str| head.header(name).map(str::as_bytes);
    let asked = Asked {
        method: &head.method,
        authority: head.target.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default()),
        host: head.header("host"),
        more_hosts: head.headers.iter().filter(|(name, _)| name == "host").count() > 1,
        origin: bytes("origin"),
        fetch_site: bytes("sec-fetch-site").unwrap_or_default(),
        fetch_mode: bytes("sec-fetch-mode").unwrap_or_default(),
        fetch_dest: bytes("sec-fetch-dest").unwrap_or_default(),
    };
    gate.check(&asked).map_err(|why| {
        let error = why.text("--host ([api] hosts of a replay)", "[api] cors_origins of a replay");
        Answer::json(why.status(), serde_json::json!({ "error": error }).to_string())
    })
}

/// The answer to a client without a place.
pub(crate) fn no_place(full: Full) -> Answer {
    let (status, why) = match full {
        Full::OfAddress => (429, "too many connections of one address"),
        Full::All => (503, "too many connections"),
    };
    Answer::json(status, serde_json::json!({ "error": why }).to_string()).with("Connection", "close")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn head(target: &str, headers: &[(&str, &str)]) -> Head {
        let mut text = format!("GET {target} HTTP/1.1\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        Head::parse(format!("{text}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn every_header_that_tells_of_a_page_reaches_the_gate() {
        let gate = Access::default().gate("127.0.0.1:9090".parse().unwrap());
        let status = |target: &str, headers: &[(&str, &str)]| {
            check(&gate, &head(target, headers)).err().map_or(200, |a| a.status)
        };
        let (local, site) = (("Host", "localhost:9090"), ("Sec-Fetch-Site", "cross-site"));
        let follows = [local, site, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
        assert_eq!((status("/x", &[]), status("/x", &[local]), status("/x", &follows)), (200, 200, 200));
        assert_eq!(status("/x", &[("Host", "evil.example")]), 421);
        assert_eq!(status("http://evil.example/x", &[local]), 421);
        assert_eq!(status("/x", &[local, local]), 400);
        assert_eq!(status("/x", &[local, ("Origin", "http://evil.example")]), 403);
        assert_eq!(status("/x", &[local, site]), 403);
        assert_eq!(status("/x", &[local, site, follows[2], ("Sec-Fetch-Dest", "iframe")]), 403);
    }

    #[test]
    fn the_token_is_taken_in_each_place_a_client_can_put_it_and_never_printed() {
        let access = Access { token: Some(Token::new("0123456789abcdef")), ..Access::default() };
        let shows = |target: &str, headers: &[(&str, &str)]| access.check_token(&head(target, headers)).is_ok();
        assert!(!shows("/x", &[]) && !shows("/x?token=0123456789abcdee", &[]));
        assert!(shows("/x?a=b&token=0123456789abcdef", &[]));
        assert!(shows("/x", &[("Authorization", "Bearer 0123456789abcdef")]));
        assert!(shows("/x", &[("X-MBX-APIKEY", "0123456789abcdef")]));
        // "any:0123456789abcdef"
        assert!(shows("/x", &[("Authorization", "Basic YW55OjAxMjM0NTY3ODlhYmNkZWY=")]));
        assert!(!shows("/x", &[("Authorization", "Basic YW55OjAxMjM0NTY3ODlhYmNkZQ==")]));
        assert!(!format!("{access:?}").contains("0123"));
        let beyond: SocketAddr = "192.0.2.1:1".parse().unwrap();
        assert!(access.check_address(beyond).is_ok());
        assert!(Access::default().check_address(beyond).unwrap_err().contains("token"));
        assert!(Access::default().check_address("[::1]:1".parse().unwrap()).is_ok());
    }
}
