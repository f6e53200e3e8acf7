//! Proxies, credentials and certificates as configured.

use super::super::*;
use model::VenueId;

const VENUES: &str = "[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n";

fn places(c: &Config) -> [Option<String>; 2] {
    c.capture.venues[&VenueId::BinanceSpot].proxies.clone().map(|p| p.map(|p| p.to_string()))
}

#[test]
fn a_venue_uses_the_general_proxy_unless_it_says_otherwise() {
    let own = |text: &str| {
        let c = Config::from_toml(&format!("[proxy]\nurl = \"socks5://general:1\"\n{VENUES}{text}")).unwrap();
        places(&c)
    };
    let s = |t: &str| Some(t.to_owned());
    assert_eq!(own(""), [s("general:1"), s("general:1")]);
    assert_eq!(own("proxy_url = \"\"\n"), [s("general:1"), s("general:1")]);
    assert_eq!(own("proxy_url = \"http://own:2\"\n"), [s("own:2"), s("own:2")]);
    assert_eq!(own("proxy_url_2 = \"http://own:2\"\n"), [s("general:1"), s("own:2")]);
    assert_eq!(own("proxy_url = \"direct\"\n"), [None, None]);
    assert_eq!(own("proxy_url = \"direct\"\nproxy_url_2 = \"socks5://[::1]:3\"\n"), [None, s("[::1]:3")]);
    assert_eq!(places(&Config::from_toml(VENUES).unwrap()), [None, None]);
}

#[test]
fn a_proxy_that_is_not_understood_is_refused_without_its_password() {
    for (toml, key) in [
        ("[proxy]\nurl = \"socks5://sesame:open@h\"\n".to_owned(), "proxy.url"),
        ("[proxy]\nurl = \"socks9://sesame:open@h:1\"\n".to_owned(), "proxy.url"),
        ("[proxy]\nurl = [\"socks5://sesame:open@h:1\"]\n".to_owned(), "proxy.url"),
        ("[proxy]\nurl = \"direct\"\n".to_owned(), "proxy.url"),
        (format!("{VENUES}proxy_url = \"sesame:open@h:1\"\n"), "venues.binance-spot.proxy_url"),
        (format!("{VENUES}proxy_url_2 = \"https://sesame:open@h:1\"\n"), "venues.binance-spot.proxy_url_2"),
        (format!("{VENUES}rest_url = \"https://sesame:open@h\"\n"), "venues.binance-spot.rest_url"),
        ("[proxy]\nurl = \"socks5://sesame:open@h:1\n".to_owned(), "file"),
    ] {
        let text = Config::from_toml(&toml).unwrap_err().to_string();
        assert!(text.contains(key), "{toml}: {text}");
        assert!(!text.contains("sesame") && !text.contains("open@"), "{toml}: {text}");
    }
    let env = [("TAPEDECK__PROXY__URL".to_owned(), "socks5://sesame:open@h".to_owned())];
    let text = Config::load(None, env).unwrap_err().to_string();
    assert!(text.contains("TAPEDECK__PROXY__URL") && !text.contains("sesame"), "{text}");
}

#[test]
fn credentials_come_from_the_url_the_environment_or_a_file() {
    let user = |c: &Config| {
        let p = c.capture.venues[&VenueId::BinanceSpot].proxies[0].clone().unwrap();
        p.credentials.map(|c| format!("{} {}", c.user.reveal(), c.password.reveal()))
    };
    let dir = tempfile::tempdir().unwrap();
    let (file, toml) = (dir.path().join("credentials"), dir.path().join("tape.toml"));
    std::fs::write(&file, "tape:pa@ss:word\n").unwrap();
    let load = |proxy: &str, env: Option<&str>| {
        std::fs::write(&toml, format!("{proxy}{VENUES}")).unwrap();
        Config::load(Some(&toml), env.map(|url| ("TAPEDECK__PROXY__URL".to_owned(), url.to_owned())))
    };
    let c = load(&format!("[proxy]\nurl = \"socks5://h:1\"\ncredentials_file = {file:?}\n"), None).unwrap();
    assert_eq!(user(&c).as_deref(), Some("tape pa@ss:word"));
    let c = load("", Some("socks5://a:b@h:1")).unwrap();
    assert_eq!(user(&c).as_deref(), Some("a b"));
    let shown = c.effective.iter().find(|(k, ..)| k == "proxy.url").unwrap();
    assert_eq!(shown.1, "\"socks5://***@h:1\"");
    assert!(!format!("{c:?}").contains("a:b"), "not even with Debug");
    for (proxy, word) in [
        (format!("[proxy]\nurl = \"socks5://a:b@h:1\"\ncredentials_file = {file:?}\n"), "already"),
        (format!("[proxy]\ncredentials_file = {file:?}\n"), "proxy.url is empty"),
        ("[proxy]\nurl = \"socks5://h:1\"\ncredentials_file = \"no/such/file\"\n".to_owned(), "no/such/file"),
        (format!("[proxy]\nurl = \"socks5://h:1\"\ncredentials_file = {toml:?}\n"), "user:password"),
    ] {
        let text = load(&proxy, None).unwrap_err().to_string();
        assert!(text.contains("proxy.credentials_file") && text.contains(word), "{proxy}: {text}");
    }
}

#[test]
fn an_extra_root_is_read_and_a_file_that_is_none_is_refused() {
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/tls/ca.pem");
    let c = Config::from_toml(&format!("[tls]\nextra_ca_file = {ca:?}\n")).unwrap();
    assert_eq!(c.capture.tls.extra_roots.len(), 1);
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/tls/key.pem");
    for (file, word) in [(key, "no certificate"), ("no/such/file", "cannot read")] {
        let text = Config::from_toml(&format!("[tls]\nextra_ca_file = {file:?}\n")).unwrap_err().to_string();
        assert!(text.contains("tls.extra_ca_file") && text.contains(word), "{text}");
    }
}
