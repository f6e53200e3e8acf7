//! Which requests a browser may have been made to send. A page of any host can ask a server on this machine: directly,
//! where the browser tells its `Origin` (and `Sec-Fetch-Site`), or under a name of its own that it lets point here (DNS
//! rebinding), where only `Host` tells. Where a token is asked for, such a page has none, and the server may have any name.
//!
//! | | `Host` may be |
//! |---|---|
//! | loopback without a token | `localhost`, a loopback address, the address listened at, a name of `[api] hosts` |
//! | beyond loopback without a token | also any address, and the machine's own name |
//! | with a token | anything; with `[api] hosts` as above |

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// Names that `Host` may be; `None` = any.
    names: Option<Vec<String>>,
    listen: Option<IpAddr>,
    origins: Vec<String>,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// For this server under no name of its own: status 421.
    Host(String),
    /// From a page of this origin: status 403.
    Origin(String),
    /// With several `Host`: status 400.
    Hosts,
}

impl Refused {
    /// What it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Refused::Host(_) => StatusCode::MISDIRECTED_REQUEST,
            Refused::Origin(_) => StatusCode::FORBIDDEN,
            Refused::Hosts => StatusCode::BAD_REQUEST,
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Host(name) => write!(
                f,
                "This server is not known as {name:?}; [api] hosts names what it is called beside localhost and its address."
            ),
            Refused::Origin(origin) => {
                write!(f, "Pages of this origin may not connect: {origin:?}; see [api] cors_origins.")
            }
            Refused::Hosts => f.write_str("The request names several hosts."),
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
    /// Of a server that listens there; `token`: whoever asks shows one.
    pub fn new(listen: SocketAddr, hosts: &[String], origins: &[String], token: bool) -> Gate {
        let named = !token || !hosts.is_empty();
        let beyond = !listen.ip().is_loopback();
        let mut names: Vec<String> = hosts.iter().map(|name| name_of(name)).collect();
        if beyond {
            names.push(name_of(&crate::host::name()));
        }
        Gate { names: named.then_some(names), listen: Some(listen.ip()).filter(|_| !beyond), origins: origins.to_vec() }
    }

    /// True for an origin whose pages may read answers.
    pub fn lists(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, request: &Parts) -> Result<(), Refused> {
        let mut hosts = request.headers.get_all(header::HOST).iter().map(|v| v.to_str().unwrap_or("?"));
        let authority = request.uri.authority().map(|a| a.as_str());
        // One without any comes from no browser.
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Refused::Hosts);
        }
        if let Some(stranger) = [host, authority].into_iter().flatten().find(|host| !self.is_ours(host)) {
            return Err(Refused::Host(stranger.chars().take(100).collect()));
        }
        match self.foreign(&request.method, &request.headers, host) {
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
    fn foreign(&self, method: &Method, headers: &HeaderMap, host: Option<&str>) -> Option<String> {
        let word = |name: &str| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        if let Some(origin) = headers.get(header::ORIGIN) {
            let text = String::from_utf8_lossy(origin.as_bytes());
            let same = text.split_once("://").is_some_and(|(_, rest)| Some(rest) == host);
            return (!same && !self.lists(origin)).then(|| text.into_owned());
        }
        // Without an origin it is a picture, a script or a form of another page, or somebody follows a link to here.
        let follows = *method == Method::GET
            && word("sec-fetch-mode") == b"navigate"
            && matches!(word("sec-fetch-dest"), b"document" | b"");
        (word("sec-fetch-site") == b"cross-site" && !follows).then(|| "another site".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::Request;

    fn ask(gate: &Gate, uri: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        gate.check(&request.body(()).unwrap().into_parts().0)
    }

    fn gate(listen: &str, hosts: &[&str], token: bool) -> Gate {
        let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
        Gate::new(listen.parse().unwrap(), &hosts, &["https://charts.example".to_owned()], token)
    }

    #[test]
    fn on_loopback_without_a_token_only_names_of_this_machine_are_answered() {
        let gate = gate("127.0.0.1:8080", &["Recorder.example"], false);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:8080",
            "127.0.0.1:8080",
            "127.0.0.2",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "page.localhost:8080",
            "recorder.example:80",
        ] {
            assert_eq!(ask(&gate, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:8080",
            "localhost.evil.example",
            "evillocalhost",
            "10.0.0.1",
            "0.0.0.0:8080",
            "",
            "127.1",
            "a@b",
        ] {
            assert!(matches!(ask(&gate, "/", &[("host", host)]), Err(Refused::Host(_))), "{host}");
        }
        let absolute = ask(&gate, "http://evil.example/", &[("host", "localhost")]);
        assert_eq!(absolute, Err(Refused::Host("evil.example".into())));
        assert_eq!(ask(&gate, "/", &[]), Ok(()));
        assert_eq!(ask(&gate, "/", &[("host", "localhost"), ("host", "localhost")]), Err(Refused::Hosts));
    }

    #[test]
    fn beyond_loopback_addresses_are_answered_and_with_a_token_any_name() {
        let open = gate("0.0.0.0:8080", &[], false);
        assert_eq!(ask(&open, "/", &[("host", "10.0.0.1:8080")]), Ok(()));
        assert!(ask(&open, "/", &[("host", "evil.example")]).is_err());
        assert_eq!(ask(&gate("0.0.0.0:8080", &[], true), "/", &[("host", "any.example")]), Ok(()));
        let named = gate("0.0.0.0:8080", &["tape.example"], true);
        assert_eq!(ask(&named, "/", &[("host", "tape.example")]), Ok(()));
        assert!(ask(&named, "/", &[("host", "evil.example")]).is_err());
    }

    #[test]
    fn pages_of_other_origins_are_refused_whatever_they_ask_for() {
        let gate = gate("127.0.0.1:8080", &[], false);
        let with = |more: &[(&str, &str)]| {
            let mut headers = vec![("host", "127.0.0.1:8080")];
            headers.extend(more);
            ask(&gate, "/v1/status", &headers)
        };
        assert_eq!(with(&[("origin", "http://127.0.0.1:8080")]), Ok(()));
        assert_eq!(with(&[("origin", "https://charts.example")]), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:80801", ""] {
            assert!(matches!(with(&[("origin", origin)]), Err(Refused::Origin(_))), "{origin}");
        }
        let site = ("sec-fetch-site", "cross-site");
        assert!(with(&[site, ("sec-fetch-mode", "no-cors")]).is_err());
        assert!(with(&[site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]).is_err());
        assert_eq!(with(&[site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]), Ok(()));
        assert_eq!(with(&[("sec-fetch-site", "same-origin")]), Ok(()));
    }
}
