//! Settings that exceed a venue's limits are an error or a warning, with the numbers and what would pass.

#![allow(clippy::unwrap_used)]

use super::*;
use model::VenueId;
use settings::ConfigErrors;

fn toml(venue: &str, keys: &str) -> String {
    let symbols = if keys.contains("symbols") { "" } else { "symbols = [\"BTCUSDT\"]\n" };
    format!("[venues.{venue}]\n{symbols}channels = [\"trades\", \"depth\"]\napi_key_env = \"K\"\n{keys}\n")
}

fn read(text: &str) -> Result<Capture, ConfigErrors> {
    settings::from_text(text, Capture::read)
}

fn warnings_of(text: &str) -> Vec<String> {
    read(text).unwrap().warnings().iter().map(ToString::to_string).collect()
}

fn warnings(venue: &str, keys: &str) -> Vec<String> {
    warnings_of(&toml(venue, keys))
}

#[test]
fn the_defaults_of_no_venue_are_warned_about() {
    for id in VenueId::ALL {
        assert!(warnings(id.as_str(), "").is_empty(), "{id}");
    }
}

#[test]
fn what_presses_harder_than_the_default_is_warned_about_with_both_numbers() {
    for (venue, keys, words) in [
        ("binance-usdm", "streams_per_connection = 1024", ["streams_per_connection", "1024", "200"]),
        ("binance-spot", "connects_per_5_min = 290", ["connects_per_5_min", "290", "200"]),
        ("binance-spot", "messages_per_s = 5", ["messages_per_s", "5 messages", "4"]),
        ("binance-usdm", "subscribe_delay_ms = 130", ["subscribe_delay_ms", "130 ms", "250"]),
        ("kucoin-spot", "connect_stagger_ms = 0", ["connect_stagger_ms", "0 ms", "2000"]),
        ("kucoin-futures", "global_subscribe_delay_ms = 10", ["global_subscribe_delay_ms", "10 ms", "150"]),
        ("gate-spot", "params_per_subscribe = 200", ["params_per_subscribe", "200 streams", "100"]),
        ("gate-futures", "rest_weight_per_window = 190", ["rest_weight_per_window", "190", "180"]),
        (
            "binance-spot",
            "rest_weight_per_window = 900\nrest_window_s = 10",
            ["rest_weight_per_window", "5400", "4800"],
        ),
        ("binance-spot", "lifetime_s = 86400", ["lifetime_s", "86400", "82800"]),
    ] {
        let got = warnings(venue, keys);
        assert!(got.len() == 1 && words.iter().all(|w| got[0].contains(w)), "{venue} {keys}: {got:?}");
        assert!(got[0].contains("write "), "{got:?}");
    }
}

#[test]
fn what_is_beyond_a_documented_limit_is_refused_with_what_would_pass() {
    for (venue, keys, words) in [
        ("binance-spot", "messages_per_s = 6", ["messages_per_s", "write at most 5", "Binance"]),
        ("binance-usdm", "messages_per_s = 11", ["messages_per_s", "write at most 10", "Binance"]),
        ("binance-spot-sbe", "connects_per_5_min = 301", ["connects_per_5_min", "write at most 300", "Binance"]),
        ("kucoin-spot", "streams_per_connection = 401", ["streams_per_connection", "write at most 400", "KuCoin"]),
        ("kucoin-futures", "params_per_subscribe = 101", ["params_per_subscribe", "write at most 100", "KuCoin"]),
        ("binance-usdm", "rest_weight_per_window = 2401", ["rest_weight_per_window", "write at most 2400", "2401"]),
        // 150 in 7 s, twice within the 10 s that Gate counts.
        ("gate-spot", "rest_weight_per_window = 150\nrest_window_s = 7", ["300 in 10 s", "write at most 100", "Gate"]),
    ] {
        let text = read(&toml(venue, keys)).unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{venue} {keys}: {text}");
    }
}

#[test]
fn two_lines_of_many_streams_say_how_many_connections_and_minutes_they_are() {
    let keys = |lines: u32, per: u32| format!("symbols = [\"*\"]\nlines = {lines}\nstreams_per_connection = {per}");
    // 2 x 1,400 streams at 20 each: 140 connections fit 200 in 5 minutes, 280 do not.
    assert!(warnings("binance-spot", &keys(1, 20)).is_empty());
    let got = warnings("binance-spot", &keys(2, 20));
    assert!(got.len() == 1 && got[0].contains("venues.binance-spot.lines"), "{got:?}");
    for word in ["about 2800 streams over 2 lines make 280 connections", "200 may be opened", "more than 5 minutes"] {
        assert!(got[0].contains(word), "{word}: {got:?}");
    }
    // Gate documents how many may be open at a time.
    let got = warnings("gate-spot", &keys(2, 20));
    assert!(got.iter().any(|w| w.contains("documents 300 at the same time")), "{got:?}");
}

#[test]
fn venues_of_one_exchange_are_counted_together() {
    let each = "symbols = [\"*\"]\nstreams_per_connection = 20";
    // About 2 x 2,300 and 2 x 980 streams: at 20 each the first alone are too many, at 25 only both together.
    let both = format!("{}{}", toml("gate-spot", each), toml("gate-futures", each));
    let got = warnings_of(&both);
    assert!(got.iter().any(|w| w.contains("venues.gate-spot.connects_per_5_min")), "too many for 5 minutes: {got:?}");
    let slower = both.replace("= 20", "= 25");
    let got = warnings_of(&slower);
    assert!(
        got.len() == 1 && got[0].contains("gate-spot and gate-futures") && got[0].contains("200 may be opened"),
        "{got:?}"
    );
    // Two exchanges share nothing.
    let apart = format!("{}{}", toml("gate-spot", &each.replace("20", "25")), toml("kucoin-futures", each));
    assert!(warnings_of(&apart).is_empty());
}

#[test]
fn two_lines_through_one_proxy_are_warned_about_and_through_two_are_not() {
    let one = "lines = 2\nproxy_url = \"socks5://h:1\"";
    let got = warnings("binance-spot", one);
    assert!(got.len() == 1 && got[0].contains("proxy_url_2") && got[0].contains("both fail"), "{got:?}");
    assert!(warnings("binance-spot", &format!("{one}\nproxy_url_2 = \"direct\"")).is_empty());
}

#[test]
fn a_simulator_on_loopback_may_be_pressed_at_will() {
    let hard = "messages_per_s = 900\nconnect_stagger_ms = 0\nrest_url = \"http://127.0.0.1:9/x\"\nws_url = \"ws://127.0.0.1:9/x\"";
    assert!(warnings("binance-spot", hard).is_empty());
    let half = hard.replace("ws://127.0.0.1:9/x", "");
    assert!(read(&toml("binance-spot", &half)).is_err(), "only the REST side is simulated");
    let token = "params_per_subscribe = 1000\nrest_url = \"http://127.0.0.1:9/x\"";
    assert!(warnings("kucoin-spot", token).is_empty(), "the token names the socket's address");
}

#[test]
fn a_venue_that_needs_a_key_says_so_before_the_start() {
    let got = warnings_of("[venues.binance-spot-sbe]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\n");
    assert!(got.len() == 1 && got[0].contains("api_key_env"), "{got:?}");
}
