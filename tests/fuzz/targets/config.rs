//! Fuzz target: the configuration file, proxy URLs and files of credentials. A text may be refused; a panic, an
//! endless run or a secret in a message is a finding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use config::Config;

/// What must never stand in a message.
const SECRET: &str = "s3cr3tXYZ";

fuzz_target!(|text: &str| {
    if let Err(errors) = Config::from_toml(text) {
        let _ = errors.to_string();
    }
    // The same text where a password stands.
    let secret: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).take(40).collect();
    let url = format!("socks5://user:{SECRET}{secret}@proxy.test:1080");
    let file =
        format!("[venues.binance-spot]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\nproxy_url = \"{url}\"\n");
    let said = match Config::from_toml(&file) {
        Ok(config) => format!("{config:?}"),
        Err(errors) => errors.to_string(),
    };
    assert!(!said.contains(SECRET), "{said}");
});
