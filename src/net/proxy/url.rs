//! Proxies as configured: where they are, what they speak, who we are to them.
//!
//! Owns the URL form. Nothing here prints a secret: `Display` is host and port, `Debug` hides user name and password.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use settings::Secret;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// RFC 1928, names always resolved by the proxy.
    Socks5,
    /// HTTP/1.1 CONNECT (RFC 9110 section 9.3.6).
    HttpConnect,
}

/// Who we are to a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: Secret,
    /// Password.
    pub password: Secret,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Name or address of the proxy itself; resolved here. No brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name and password.
    pub credentials: Option<Credentials>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What every message about a wrong proxy URL recommends.
pub const FORM: &str =
    "write socks5://host:port, socks5://user:pass@host:port, http://host:port or http://user:pass@host:port";

impl Proxy {
    /// Reads a proxy URL.
    ///
    /// # Errors
    /// What is wrong with it, without any part of the text that may be secret.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme")?;
        let kind = match scheme.to_ascii_lowercase().as_str() {
            // Names go to the proxy in both spellings.
            "socks5" | "socks5h" => ProxyKind::Socks5,
            "http" => ProxyKind::HttpConnect,
            "https" => return Err("TLS to the proxy itself is not supported".into()),
            "socks4" | "socks4a" => return Err("SOCKS4 is not supported".into()),
            _ => return Err("has an unknown scheme".into()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (userinfo, place) = match rest.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, rest),
        };
        let (host, port) = place.rsplit_once(':').ok_or("has no port")?;
        let host = match host.strip_prefix('[') {
            Some(v6) => {
                let v6 = v6.strip_suffix(']').ok_or("has an address with only one bracket")?;
                v6.parse::<std::net::Ipv6Addr>().map_err(|_| "has brackets around what is no IPv6 address")?;
                v6
            }
            None if host.contains(':') => return Err("has an IPv6 address without brackets, or two ports".into()),
            None => host,
        };
        if host.is_empty() || !host.chars().all(|c| c.is_ascii_graphic() && !"/?#@%".contains(c)) {
            return Err("has no usable host".into());
        }
        let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or("has no usable port")?;
        let credentials = userinfo.map(Credentials::from_userinfo).transpose()?;
        let proxy = Proxy { kind, host: host.to_owned(), port, credentials };
        proxy.check()?;
        Ok(proxy)
    }

    /// Sizes and characters that the protocol cannot carry.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    pub fn check(&self) -> Result<(), String> {
        let Some(c) = &self.credentials else { return Ok(()) };
        let (user, password) = (c.user.reveal(), c.password.reveal());
        match self.kind {
            // RFC 1929: one byte of length each.
            ProxyKind::Socks5 if user.is_empty() || user.len() > 255 || password.is_empty() || password.len() > 255 => {
                Err("user name and password must have 1 to 255 bytes each".into())
            }
            // RFC 7617: the first colon ends the user name.
            ProxyKind::HttpConnect if user.contains(':') => Err("the user name of an HTTP proxy has no colon".into()),
            _ if user.chars().chain(password.chars()).any(char::is_control) => {
                Err("user name or password has a control character".into())
            }
            _ => Ok(()),
        }
    }
}

impl Credentials {
    /// `user:password` as it stands in a URL, percent-encoded.
    fn from_userinfo(text: &str) -> Result<Self, String> {
        let (user, password) = text.split_once(':').ok_or("has a user name without a password")?;
        Ok(Self { user: Secret::new(percent_decode(user)?), password: Secret::new(percent_decode(password)?) })
    }

    /// The first line of a credentials file: `user:password`, nothing encoded.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    pub fn from_file_text(text: &str) -> Result<Self, String> {
        let line = text.lines().next().unwrap_or_default();
        let (user, password) = line.split_once(':').ok_or("its first line is not user:password")?;
        Ok(Self { user: Secret::new(user), password: Secret::new(password) })
    }
}

fn percent_decode(text: &str) -> Result<String, String> {
    let escaped = |rest: &str| rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(escaped) {
        return Err("has a % in user name or password that is not followed by two hexadecimal digits".to_owned());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| "has a user name or password that is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_form_of_a_proxy_url_is_read() {
        let p = Proxy::parse("socks5://127.0.0.1:1080").unwrap();
        assert_eq!((p.kind, p.to_string(), p.credentials), (ProxyKind::Socks5, "127.0.0.1:1080".into(), None));
        let p = Proxy::parse("socks5h://us%3Aer:p%40ss:w/@proxy.example:9/").unwrap();
        let c = p.credentials.clone().unwrap();
        assert_eq!((c.user.reveal(), c.password.reveal()), ("us:er", "p@ss:w/"));
        assert_eq!(p.to_string(), "proxy.example:9");
        let p = Proxy::parse("HTTP://[::1]:3128").unwrap();
        assert_eq!((p.kind, p.host.as_str(), p.to_string().as_str()), (ProxyKind::HttpConnect, "::1", "[::1]:3128"));
    }

    #[test]
    fn a_wrong_url_is_explained_without_its_secret() {
        for (text, word) in [
            ("127.0.0.1:1080", "scheme"),
            ("https://sesame:open@h:1", "TLS"),
            ("socks4://h:1", "SOCKS4"),
            ("ftp://sesame:open@h:1", "scheme"),
            ("socks5://h", "port"),
            ("socks5://h:0", "port"),
            ("socks5://h:99999", "port"),
            ("socks5://:1080", "host"),
            ("socks5://::1:1080", "IPv6"),
            ("socks5://[::1:1080", "bracket"),
            ("socks5://sesame@h:1", "password"),
            ("socks5://sesame:%zz@h:1", "hexadecimal"),
            ("socks5://sesame:@h:1", "255"),
            ("http://a%3Asesame:x@h:1", "colon"),
            ("socks5://sesame:a%0d%0ab@h:1", "control"),
        ] {
            let err = Proxy::parse(text).unwrap_err();
            assert!(err.contains(word), "{text}: {err}");
            assert!(!err.contains("sesame") && !err.contains("open"), "{text}: {err}");
        }
    }

    #[test]
    fn no_way_of_printing_shows_user_or_password() {
        let p = Proxy::parse("socks5://sesame:open@h:1").unwrap();
        assert!(!format!("{p} {p:?}").contains("sesame") && !format!("{p} {p:?}").contains("open"), "{p:?}");
    }

    #[test]
    fn a_credentials_file_is_one_line_with_a_colon() {
        let c = Credentials::from_file_text("user:pa:ss word\nsecond line\n").unwrap();
        assert_eq!((c.user.reveal(), c.password.reveal()), ("user", "pa:ss word"));
        assert!(!Credentials::from_file_text("sesame").unwrap_err().contains("sesame"));
    }
}
