//! Who may ask this server, and how much of it one may hold. A page of any host can make a browser ask what listens on this
//! machine; only `Host` and `Origin` tell. Whoever does not read, or says nothing, is cut.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::http::{Answer, Head, percent_decode};
use crate::report::lock;

/// A head, or a body, that is not whole within this time ends its connection; so does silence between two requests.
pub(crate) const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// The same for the TLS handshake.
pub(crate) const TLS_PATIENCE: Duration = Duration::from_secs(10);

/// How long one that finds no place is told so.
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
    /// A client that takes nothing of what is written to it for this long is cut, s.
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

    /// Whether this request may be answered by a server that listens at `listen`.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(&self, head: &Head, listen: IpAddr) -> Result<(), Answer> {
        let refused =
            |status: u16, why: &str| Err(Answer::json(status, serde_json::json!({ "error": why }).to_string()));
        let host = head.header("host");
        // One without any comes from no browser.
        if head.headers.iter().filter(|(name, _)| name == "host").count() > 1 {
            return refused(400, "the request names several hosts");
        }
        let absolute = head.target.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        if [host, absolute].into_iter().flatten().any(|name| !self.is_ours(name, listen)) {
            return refused(421, "this server is not known under that name");
        }
        if let Some(origin) = head.header("origin") {
            let same = origin.split_once("://").is_some_and(|(_, rest)| Some(rest) == host);
            if !same && !self.origins.iter().any(|listed| listed == origin) {
                return refused(403, "pages of this origin may not connect");
            }
        } else if head.header("sec-fetch-site") == Some("cross-site") {
            return refused(403, "pages of another site may not connect");
        }
        Ok(())
    }

    fn is_ours(&self, host: &str, listen: IpAddr) -> bool {
        if self.token.is_some() && self.hosts.is_empty() {
            return true;
        }
        let name = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match name.parse::<IpAddr>() {
            // What is asked for by its address was not led here by a name.
            Ok(ip) => !listen.is_loopback() || ip.to_canonical().is_loopback() || ip == listen,
            Err(_) => {
                name == "localhost"
                    || name.ends_with(".localhost")
                    || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(&name))
            }
        }
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

/// Where one that listens at every address of this machine is asked from this machine.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Host and port for further requests of one who asked with this `Host` on a connection to `local`: the name it knows, which may
/// be that of a tunnel, else the address it was connected to.
pub(crate) fn reached_by(host: Option<&str>, local: Option<SocketAddr>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let is_nowhere = |host: &str| {
        let address = host.parse().map(|at: SocketAddr| at.ip());
        address.or_else(|_| host.trim_matches(['[', ']']).parse()).is_ok_and(|ip: IpAddr| ip.is_unspecified())
    };
    let local = || local.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()).to_string());
    let told = host.filter(|host| !host.is_empty() && host.len() <= 260 && host.chars().all(is_plain));
    let told = told.filter(|host| !is_nowhere(host)).map(str::to_owned);
    told.or_else(local).unwrap_or_default()
}

/// The password of `Basic` credentials (RFC 7617).
fn password(base64: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for c in base64.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

/// Connections by address.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<(usize, HashMap<IpAddr, usize>)>);

impl Guests {
    /// A place for a connection from `address`.
    ///
    /// # Errors
    /// The refusal: all places are taken (503), or all that one address may have (429).
    pub fn welcome(this: &Arc<Guests>, access: &Access, address: IpAddr) -> Result<Guest, Answer> {
        let address = match address.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
            }
            other => other,
        };
        let refusal = |status: u16, why: &str| {
            Answer::json(status, serde_json::json!({ "error": why }).to_string()).with("Connection", "close")
        };
        let mut guests = lock(&this.0);
        if guests.1.get(&address).is_some_and(|have| *have >= access.connections_of_address) {
            return Err(refusal(429, "too many connections of one address"));
        }
        if guests.0 >= access.connections {
            return Err(refusal(503, "too many connections"));
        }
        guests.0 += 1;
        *guests.1.entry(address).or_default() += 1;
        Ok(Guest(this.clone(), address))
    }
}

/// A place, given back at the end.
pub(crate) struct Guest(Arc<Guests>, IpAddr);

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = lock(&self.0.0);
        guests.0 -= 1;
        if let Some(have) = guests.1.get_mut(&self.1) {
            *have -= 1;
            if *have == 0 {
                guests.1.remove(&self.1);
            }
        }
    }
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
    fn names_and_pages_of_others_are_refused() {
        let access = Access { hosts: vec!["sim.example".into()], ..Access::default() };
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let status = |headers: &[(&str, &str)]| access.check(&head("/x", headers), loopback).err().map(|a| a.status);
        for host in ["localhost:1", "127.0.0.1:9", "[::1]", "SIM.example:80", "a.localhost"] {
            assert_eq!(status(&[("Host", host)]), None, "{host}");
        }
        for host in ["evil.example", "10.0.0.1", "localhost.evil.example"] {
            assert_eq!(status(&[("Host", host)]), Some(421), "{host}");
        }
        assert_eq!(status(&[]), None);
        assert_eq!(status(&[("Host", "localhost"), ("Host", "localhost")]), Some(400));
        assert_eq!(status(&[("Host", "localhost"), ("Origin", "http://localhost")]), None);
        assert_eq!(status(&[("Host", "localhost"), ("Origin", "http://evil.example")]), Some(403));
        assert_eq!(status(&[("Host", "localhost"), ("Sec-Fetch-Site", "cross-site")]), Some(403));
        let absolute = access.check(&head("http://evil.example/x", &[("Host", "localhost")]), loopback);
        assert_eq!(absolute.unwrap_err().status, 421);
    }

    #[test]
    fn a_client_is_sent_to_where_it_came_from_and_never_to_an_address_that_is_none() {
        let local: SocketAddr = "192.0.2.7:9090".parse().unwrap();
        for host in ["tape.example:9090", "10.0.0.1:9090", "[::1]:80", "localhost", "tunnel_1:8000"] {
            assert_eq!(reached_by(Some(host), Some(local)), host);
        }
        for host in ["0.0.0.0:9090", "0.0.0.0", "[::]:9090", "[::]", "", "a\"b", "evil/x", "a@b"] {
            assert_eq!(reached_by(Some(host), Some(local)), "192.0.2.7:9090", "{host}");
        }
        // A socket of both families.
        assert_eq!(reached_by(None, Some("[::ffff:127.0.0.1]:9".parse().unwrap())), "127.0.0.1:9");
        let to_open = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(
            [to_open("0.0.0.0:9"), to_open("[::]:9"), to_open("10.0.0.1:9")],
            ["127.0.0.1:9", "[::1]:9", "10.0.0.1:9"]
        );
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

    #[test]
    fn one_address_never_takes_the_places_of_others() {
        let access = Access { connections: 3, connections_of_address: 2, ..Access::default() };
        let guests = Arc::new(Guests::default());
        let from = |a: &str| Guests::welcome(&guests, &access, a.parse().unwrap()).map_err(|a| a.status);
        let one = [from("127.0.0.1").ok().unwrap(), from("::ffff:127.0.0.1").ok().unwrap()];
        assert_eq!(from("127.0.0.1").err(), Some(429));
        let other = from("127.0.0.2").ok().unwrap();
        assert_eq!(from("127.0.0.3").err(), Some(503));
        drop(one);
        assert!(from("127.0.0.1").is_ok());
        drop(other);
        assert_eq!(lock(&guests.0).0, 0);
    }
}
