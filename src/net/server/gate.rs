//! Requests of axum at the gate of [`http_doors`]: what it looks at of their head, and how a refusal is answered.

use std::net::SocketAddr;

use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use http_doors::{Asked, Gate};

/// The gate of a server of this machine.
pub fn gate(listen: SocketAddr, hosts: &[String], origins: &[String], token: bool) -> Gate {
    Gate::new(listen, &ops::host::name(), hosts, origins, token)
}

/// Whether a request may be answered.
///
/// # Errors
/// Status and text of the refusal.
pub fn check(gate: &Gate, request: &Parts) -> Result<(), (StatusCode, String)> {
    let bytes = |name: &str| request.headers.get(name).map(|value| value.as_bytes());
    let mut hosts = request.headers.get_all(header::HOST).iter().map(|v| v.to_str().unwrap_or("?"));
    let asked = Asked {
        method: request.method.as_str(),
        authority: request.uri.authority().map(|a| a.as_str()),
        host: hosts.next(),
        more_hosts: hosts.next().is_some(),
        origin: bytes("origin"),
        fetch_site: bytes("sec-fetch-site").unwrap_or_default(),
        fetch_mode: bytes("sec-fetch-mode").unwrap_or_default(),
        fetch_dest: bytes("sec-fetch-dest").unwrap_or_default(),
    };
    gate.check(&asked).map_err(|why| {
        let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::FORBIDDEN);
        (status, why.text("[api] hosts", "[api] cors_origins"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::Request;

    #[test]
    fn every_header_that_tells_of_a_page_reaches_the_gate() {
        let gate = gate("127.0.0.1:8080".parse().unwrap(), &[], &[], false);
        let status = |uri: &str, headers: &[(&str, &str)]| {
            let request =
                headers.iter().fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
            check(&gate, &request.body(()).unwrap().into_parts().0).err().map_or(200, |(status, _)| status.as_u16())
        };
        let (local, site) = (("host", "localhost:8080"), ("sec-fetch-site", "cross-site"));
        let follows = [local, site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert_eq!((status("/", &[]), status("/", &[local]), status("/", &follows)), (200, 200, 200));
        assert_eq!(status("/", &[("host", "evil.example")]), 421);
        assert_eq!(status("http://evil.example/", &[local]), 421);
        assert_eq!(status("/", &[local, local]), 400);
        assert_eq!(status("/", &[local, ("origin", "http://evil.example")]), 403);
        assert_eq!((status("/", &[local, site]), status("/", &follows[..3])), (403, 200));
        assert_eq!(status("/", &[local, site, follows[2], ("sec-fetch-dest", "iframe")]), 403);
    }
}
