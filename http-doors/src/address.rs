//! Addresses that can be told: one that listens at every address of its machine has none of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where one that listens there is asked from this machine.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Host and port for further requests of one who asked with this `Host` on a connection to `local`: the name it knows, which
/// may be that of a tunnel, else the address it was connected to. Plain text: nothing in it needs to be quoted.
pub fn reached_by(host: Option<&str>, local: Option<SocketAddr>) -> String {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
        let opened = [to_open("0.0.0.0:9"), to_open("[::]:9"), to_open("10.0.0.1:9")];
        assert_eq!(opened, ["127.0.0.1:9", "[::1]:9", "10.0.0.1:9"]);
    }
}
