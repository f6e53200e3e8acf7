//! Which requests a browser may have been made to send. A page of any host can ask a server on this machine: directly,
//! where the browser tells its `Origin` (and `Sec-Fetch-Site`), or under a name of its own that it lets point here (DNS
//! rebinding), where only `Host` tells. Where a token is asked for, such a page has none, and the server may have any name.
//!
//! | | `Host` may be |
//! |---|---|
//! | loopback without a token | `localhost`, a loopback address, the address listened at, a name that is listed |
//! | beyond loopback without a token | also any address, and the machine's own name |
//! | with a token | anything; with a list of names as above |

use std::net::{IpAddr, SocketAddr};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Names that `Host` may be; `None` = any.
    names: Option<Vec<String>>,
    listen: Option<IpAddr>,
    origins: Vec<String>,
}

/// What of the head of a request tells who sent it. Headers are as they came; an empty one is none, but for `origin`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'r> {
    /// `GET`, `POST`, ...
    pub method: &'r str,
    /// Host and port of a target that is a whole URL.
    pub authority: Option<&'r str>,
    /// The first `Host`.
    pub host: Option<&'r str>,
    /// There is a second one.
    pub more_hosts: bool,
    /// `Origin`.
    pub origin: Option<&'r [u8]>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: &'r [u8],
    /// `Sec-Fetch-Mode`.
    pub fetch_mode: &'r [u8],
    /// `Sec-Fetch-Dest`.
    pub fetch_dest: &'r [u8],
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// For this server under no name of its own: status 421.
    Host(String),
    /// From a page of this origin: status 403.
    Origin(String),
    /// With several `Host`: status 400.
    Hosts,
}

impl Refused {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Refused::Host(_) => 421,
            Refused::Origin(_) => 403,
            Refused::Hosts => 400,
        }
    }

    /// One sentence. `hosts` and `origins`: what the lists are called that may name more of them.
    pub fn text(&self, hosts: &str, origins: &str) -> String {
        match self {
            Refused::Host(name) => format!(
                "This server is not known as {name:?}; {hosts} names what it is called beside localhost and its address."
            ),
            Refused::Origin(origin) => format!("Pages of this origin may not connect: {origin:?}; see {origins}."),
            Refused::Hosts => "The request names several hosts.".to_owned(),
        }
    }
}

/// A name without port, brackets and the dot at its end, in lower case.
fn name_of(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Gate {
    /// Of a server that listens there on the machine of this name; `token`: requests carry one.
    pub fn new(listen: SocketAddr, machine: &str, hosts: &[String], origins: &[String], token: bool) -> Gate {
        let named = !token || !hosts.is_empty();
        let beyond = !listen.ip().is_loopback();
        let mut names: Vec<String> = hosts.iter().map(|name| name_of(name)).collect();
        if beyond {
            names.push(name_of(machine));
        }
        Gate { names: named.then_some(names), listen: Some(listen.ip()).filter(|_| !beyond), origins: origins.to_vec() }
    }

    /// True for an origin whose pages may read answers.
    pub fn lists(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin)
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, asked: &Asked<'_>) -> Result<(), Refused> {
        // One without any comes from no browser.
        if asked.more_hosts {
            return Err(Refused::Hosts);
        }
        let stranger = [asked.host, asked.authority].into_iter().flatten().find(|host| !self.is_ours(host));
        if let Some(stranger) = stranger {
            return Err(Refused::Host(stranger.chars().take(100).collect()));
        }
        match self.foreign(asked) {
            Some(origin) => Err(Refused::Origin(origin.chars().take(100).collect())),
            None => Ok(()),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some(names) = &self.names else { return true };
        let name = name_of(host);
        match name.parse::<IpAddr>() {
            // What is asked for by its address was not led here by a name.
            Ok(ip) => self.listen.is_none_or(|listen| ip.to_canonical().is_loopback() || ip == listen),
            Err(_) => name == "localhost" || name.ends_with(".localhost") || names.contains(&name),
        }
    }

    /// The origin of the page that sent it, when it is none of ours and not listed.
    fn foreign(&self, asked: &Asked<'_>) -> Option<String> {
        if let Some(origin) = asked.origin {
            let text = String::from_utf8_lossy(origin);
            let same = text.split_once("://").is_some_and(|(_, rest)| Some(rest) == asked.host);
            return (!same && !self.lists(origin)).then(|| text.into_owned());
        }
        // Without an origin it is a picture, a script or a form of another page, or somebody follows a link to here.
        let follows =
            asked.method == "GET" && asked.fetch_mode == b"navigate" && matches!(asked.fetch_dest, b"document" | b"");
        (asked.fetch_site == b"cross-site" && !follows).then(|| "another site".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ask(gate: &Gate, host: &str) -> Result<(), Refused> {
        gate.check(&Asked { method: "GET", host: Some(host), ..Asked::default() })
    }

    fn gate(listen: &str, hosts: &[&str], token: bool) -> Gate {
        let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
        Gate::new(listen.parse().unwrap(), "Recorder", &hosts, &["https://charts.example".to_owned()], token)
    }

    #[test]
    fn on_loopback_without_a_token_only_names_of_this_machine_are_answered() {
        let gate = gate("127.0.0.1:8080", &["Recorder.example"], false);
        for host in [
            "localhost", "LOCALHOST:8080", "localhost.:8080", "127.0.0.1:8080", "127.0.0.2", "[::1]:8080",
            "[::ffff:127.0.0.1]", "page.localhost:8080", "recorder.example:80",
        ] {
            assert_eq!(ask(&gate, host), Ok(()), "{host}");
        }
        for host in [
            "evil.example:8080", "localhost.evil.example", "evillocalhost", "recorder", "10.0.0.1", "0.0.0.0:8080", "",
            "127.1", "a@b",
        ] {
            assert!(matches!(ask(&gate, host), Err(Refused::Host(_))), "{host}");
        }
        let local = Asked { host: Some("localhost"), ..Asked::default() };
        let absolute = gate.check(&Asked { authority: Some("evil.example"), ..local });
        assert_eq!(absolute, Err(Refused::Host("evil.example".into())));
        assert_eq!(gate.check(&Asked::default()), Ok(()));
        assert_eq!(gate.check(&Asked { more_hosts: true, ..local }), Err(Refused::Hosts));
    }

    #[test]
    fn beyond_loopback_addresses_are_answered_and_with_a_token_any_name() {
        let open = gate("0.0.0.0:8080", &[], false);
        assert_eq!(ask(&open, "10.0.0.1:8080"), Ok(()));
        assert_eq!(ask(&open, "recorder:8080"), Ok(()));
        assert!(ask(&open, "evil.example").is_err());
        assert_eq!(ask(&gate("0.0.0.0:8080", &[], true), "any.example"), Ok(()));
        let named = gate("0.0.0.0:8080", &["tape.example"], true);
        assert_eq!(ask(&named, "tape.example"), Ok(()));
        assert!(ask(&named, "evil.example").is_err());
    }

    #[test]
    fn pages_of_other_origins_are_refused_whatever_they_ask_for() {
        let gate = gate("127.0.0.1:8080", &[], false);
        let asked = Asked { method: "GET", host: Some("127.0.0.1:8080"), ..Asked::default() };
        let of = |origin: &'static str| gate.check(&Asked { origin: Some(origin.as_bytes()), ..asked });
        assert_eq!(of("http://127.0.0.1:8080"), Ok(()));
        assert_eq!(of("https://charts.example"), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:80801", ""] {
            assert!(matches!(of(origin), Err(Refused::Origin(_))), "{origin}");
        }
        let site = Asked { fetch_site: b"cross-site", ..asked };
        let follows = Asked { fetch_mode: b"navigate", fetch_dest: b"document", ..site };
        assert!(gate.check(&Asked { fetch_mode: b"no-cors", ..site }).is_err());
        assert!(gate.check(&Asked { fetch_dest: b"iframe", ..follows }).is_err());
        assert_eq!(gate.check(&follows), Ok(()));
        assert!(gate.check(&Asked { method: "POST", ..follows }).is_err());
        assert_eq!(gate.check(&Asked { fetch_site: b"same-origin", ..asked }), Ok(()));
    }
}
