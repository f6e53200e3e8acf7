//! SIGHUP: another list of symbols and channels is recorded without a restart and without a word from the streams that
//! stay; a file that cannot be used changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use venue_sim::StartWhen;
use wal_format::Kind;

use crate::support::lake::Lake;
use crate::support::log::{Record, read_all};
use crate::support::venue::{Exchange, market, write_config_for};
use crate::support::{Service, both, http, run, wait_until};

/// Keys of a quick test; silence is remarkable after a second.
const QUICK: &str = "connect_stagger_ms = 0\nstream_silence_s = 1\n";
const KEY: (&str, &str) = ("TAPEDECK_TEST_KEY", "a key");

/// A collector that records a simulated market with more symbols than are chosen.
struct Tape {
    root: tempfile::TempDir,
    venue: &'static str,
    exchange: Exchange,
    config: PathBuf,
    collector: Service,
}

impl Tape {
    /// Lists `listed`, records `chosen`; `change` may say more about the market.
    fn record(venue: &'static str, listed: &[&str], chosen: &[&str], channels: &[&str], extra: &str) -> Tape {
        Tape::start(venue, listed, chosen, channels, None, extra)
    }

    /// The same, of a market that plays `played`.
    fn record_of(venue: &'static str, listed: &[&str], chosen: &[&str], channels: &[&str], played: &[&str]) -> Tape {
        Tape::start(venue, listed, chosen, channels, Some(played), "")
    }

    fn start(
        venue: &'static str,
        listed: &[&str],
        chosen: &[&str],
        channels: &[&str],
        played: Option<&[&str]>,
        extra: &str,
    ) -> Tape {
        let root = tempfile::tempdir().unwrap();
        let mut sim = market(venue, 1_500, None, 12);
        let venue_sim::Source::Generated(market) = &mut sim.source else { panic!("the market is generated") };
        market.symbols = listed.iter().map(|s| (*s).to_owned()).collect();
        if let Some(played) = played {
            market.channels = played.iter().map(|c| (*c).to_owned()).collect();
        }
        sim.start_when = StartWhen::FirstSubscribe;
        let exchange = Exchange::start(sim);
        let config = write_config_for(root.path(), &exchange, venue, chosen, channels, &format!("{QUICK}{extra}"));
        let collector = Service::start("collector", &config, &[KEY]);
        Tape { root, venue, exchange, config, collector }
    }

    /// Frames that the exchange sent of the streams whose names hold `part`.
    fn sent(&self, part: &str) -> u64 {
        let report = self.exchange.sim.report();
        let streams = report.venues[self.venue].connections.iter().flat_map(|c| &c.streams);
        streams.filter(|(name, _)| name.to_lowercase().contains(&part.to_lowercase())).map(|(_, s)| s.frames).sum()
    }

    fn flows(&self, part: &str) {
        let before = self.sent(part);
        wait_until(&format!("{part} of {} flows", self.venue), || self.sent(part) > before + 20);
    }

    /// Replaces `from` in the configuration and sends SIGHUP.
    fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&self.config, text.replacen(from, to, 1)).unwrap();
        self.collector.hang_up();
    }

    fn says(&self, words: &[&str]) {
        wait_until(&format!("the collector says {words:?}"), || {
            self.collector.said().lines().any(|line| words.iter().all(|w| line.contains(w)))
        });
    }

    fn address(&self) -> String {
        let file = self.root.path().join("data/wal").join(format!("{}.http", self.venue));
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// Names of the streams that the collector says it has, and the ordinals of its connections.
    fn status(&self) -> (BTreeSet<String>, BTreeSet<u64>) {
        let status = http::json(&self.address(), "/v1/status");
        let connections = status["venues"][0]["connections"].as_array().unwrap().clone();
        let streams = connections.iter().flat_map(|c| c["streams"].as_array().unwrap().clone());
        let names = streams.map(|s| s["stream"].as_str().unwrap().to_lowercase()).collect();
        (names, connections.iter().map(|c| c["conn"].as_u64().unwrap()).collect())
    }

    fn has(&self, part: &str) -> bool {
        self.status().0.iter().any(|name| name.contains(&part.to_lowercase()))
    }

    fn reloads(&self, result: &str) -> u64 {
        let (_, text) = http::get(&self.address(), "/metrics").unwrap();
        let name = format!("tapedeck_collector_config_reloads_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    /// Ends it; what the exchange sent is in the log, and nothing of it was interrupted.
    fn stop(self) -> (tempfile::TempDir, PathBuf, Vec<Record>) {
        self.collector.stop();
        let report = self.exchange.stop();
        let (records, lost) = read_all(&self.root.path().join("data/wal").join(self.venue));
        assert_eq!(lost, 0);
        let count = |kind| records.iter().filter(|r| r.kind == Some(kind)).count();
        let opened = report.venues[self.venue].connections.len();
        let totals = &report.totals;
        assert_eq!(count(Kind::Data) as u64, totals.frames_sent + totals.control_sent, "{}", self.venue);
        assert_eq!((count(Kind::Gap), count(Kind::ConnOpen)), (0, opened), "{}", self.venue);
        (self.root, self.config, records)
    }
}

/// Details of the events of a kind.
fn events(records: &[Record], kind: &str) -> Vec<Value> {
    let of = records.iter().filter(|r| r.kind == Some(Kind::Event));
    let events = of.map(|r| serde_json::from_slice::<Value>(&r.payload).unwrap());
    events.filter(|e| e["kind"] == kind).map(|e| e["detail"].clone()).collect()
}

/// Symbols A and B are recorded; then C instead of B; then B again.
fn symbols_come_and_go(venue: &'static str, name: impl Fn(&str) -> String, extra: &str) {
    let [a, b, c, d] = ["AAA", "BBB", "CCC", "DDD"].map(name);
    let trades = if matches!(venue, "binance-usdm" | "binance-coinm") { "agg_trades" } else { "trades" };
    let channels = [trades, "book_ticker", "depth", "depth_snapshot"];
    let tape = Tape::record(venue, &[&a, &b, &c, &d], &[&a, &b], &channels, extra);
    tape.flows(&a);
    tape.flows(&b);
    let (_, connections) = tape.status();
    assert!(!tape.has(&c));

    tape.change(&format!("{b:?}]"), &format!("{c:?}]"));
    tape.flows(&c);
    wait_until("the exchange sends no B any more", || {
        let before = tape.sent(&b);
        tape.flows(&a);
        tape.sent(&b) == before
    });
    assert!(!tape.has(&b) && tape.has(&c), "{:?}", tape.status());
    // Silent for far longer than is allowed to streams that are wanted.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let (code, problems) = http::get(&tape.address(), "/health").unwrap();
    assert!(!problems.to_lowercase().contains(&b.to_lowercase()), "{code} {problems}");

    tape.change(&format!("{c:?}]"), &format!("{b:?}, {c:?}]"));
    tape.flows(&b);
    tape.flows(&a);
    assert_eq!(tape.status().1, connections, "the connections are those of before");
    assert_eq!(tape.reloads("applied"), 2);
    let (root, config, records) = tape.stop();

    let chosen = events(&records, "symbols_selected");
    let names = |v: &Value| v.as_array().map(|a| a.iter().map(|s| s.as_str().unwrap().to_owned()).collect::<Vec<_>>());
    let told: Vec<_> = chosen.iter().map(|e| (names(&e["added"]), names(&e["removed"]))).collect();
    let one = |s: &String| Some(vec![s.clone()]);
    assert_eq!(told, [(None, None), (one(&c), one(&b)), (one(&b), Some(vec![]))], "{venue}");
    let ended = events(&records, "unsubscribed");
    assert_eq!(ended.len(), connections.len(), "{venue}: {ended:?}");
    assert!(
        ended.iter().all(|e| e["channels"].as_object().unwrap().values().all(|s| names(s) == one(&b))),
        "{ended:?}"
    );
    let silent = events(&records, "stream_silent");
    assert!(!silent.iter().any(|e| e.to_string().to_lowercase().contains(&b.to_lowercase())), "{silent:?}");
    assert_eq!(events(&records, "config_reload").len(), 2);

    // Nor is what was not wanted a hole in the lake.
    let out = run(&["compactor", "--drain", "--config", config.to_str().unwrap()]);
    assert!(out.status.success(), "{}", both(&out));
    let lake = Lake::open(&root.path().join("data/lake"), venue);
    for channel in channels {
        assert!(lake.gaps(channel).is_empty(), "{venue} {channel}: {:?}", lake.gaps(channel));
    }
    assert!(lake.manifests.iter().flat_map(|m| &m.channels).any(|(_, c)| c.decoded > 100), "{venue}");
}

#[test]
fn the_symbols_of_binance_change_while_the_others_flow_on() {
    symbols_come_and_go("binance-spot", |s| format!("{s}USDT"), "");
    symbols_come_and_go("binance-spot-sbe", |s| format!("{s}USDT"), "api_key_env = \"TAPEDECK_TEST_KEY\"\n");
    symbols_come_and_go("binance-usdm", |s| format!("{s}USDT"), "");
    symbols_come_and_go("binance-coinm", |s| format!("{s}USD_PERP"), "");
}

#[test]
fn the_symbols_of_kucoin_change_while_the_others_flow_on() {
    symbols_come_and_go("kucoin-spot", |s| format!("{s}-USDT"), "");
    symbols_come_and_go("kucoin-futures", |s| format!("{s}USDTM"), "");
}

#[test]
fn the_symbols_of_gate_change_while_the_others_flow_on() {
    symbols_come_and_go("gate-spot", |s| format!("{s}_USDT"), "");
    symbols_come_and_go("gate-futures", |s| format!("{s}_USDT"), "");
}

#[test]
fn a_channel_comes_and_goes_and_a_connection_without_streams_is_closed() {
    let tape = Tape::record(
        "binance-spot",
        &["AAAUSDT", "BBBUSDT"],
        &["AAAUSDT"],
        &["trades"],
        "streams_per_connection = 1\nlines = 2\n",
    );
    tape.flows("aaausdt@trade");
    tape.change("channels = [\"trades\"]", "channels = [\"trades\", \"book_ticker\"]");
    tape.flows("aaausdt@bookticker");
    wait_until("each stream has two lines", || tape.status().1.len() == 4);
    tape.change("channels = [\"trades\", ", "channels = [");
    wait_until("the lines of trades are closed", || tape.status().1.len() == 2);
    assert!(!tape.has("@trade"));
    tape.flows("aaausdt@bookticker");
    let (_root, _config, records) = tape.stop();
    let ended = events(&records, "unsubscribed");
    assert_eq!(ended, [serde_json::json!({ "channels": { "trades": ["AAAUSDT"] } })], "once for both lines");
}

#[test]
fn a_stream_that_serves_two_channels_ends_with_the_last_of_them() {
    for last in ["tickers", "mark_price"] {
        let tape = Tape::record_of(
            "gate-futures",
            &["AAA_USDT"],
            &["AAA_USDT"],
            &["trades", "tickers", "mark_price"],
            &["trades", "tickers"],
        );
        tape.flows("futures.tickers");
        tape.change("\"trades\", \"tickers\", \"mark_price\"]", &format!("\"trades\", {last:?}]"));
        wait_until("it is taken over", || tape.reloads("applied") == 1);
        tape.flows("futures.trades");
        tape.flows("futures.tickers");
        tape.change(&format!(", {last:?}]"), "]");
        wait_until("that is taken over too", || tape.reloads("applied") == 2);
        // A busy exchange may send none for a moment.
        wait_until("the exchange sends no tickers any more", || {
            let before = tape.sent("futures.tickers");
            for _ in 0..20 {
                tape.flows("futures.trades");
            }
            tape.sent("futures.tickers") == before
        });
        tape.change("[\"trades\"]", "[\"trades\", \"mark_price\"]");
        tape.flows("futures.tickers");
        let (_root, _config, records) = tape.stop();
        let ended = events(&records, "unsubscribed");
        let symbol = serde_json::json!(["AAA_USDT"]);
        assert_eq!(ended, [serde_json::json!({ "channels": { "mark_price": symbol, "tickers": symbol } })], "{last}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_refused_by_name_and_everything_is_recorded_as_before() {
    let tape = Tape::record("gate-spot", &["AAA_USDT", "BBB_USDT"], &["AAA_USDT"], &["trades"], "");
    tape.flows("AAA_USDT");
    let good = std::fs::read_to_string(&tape.config).unwrap();
    tape.change("[venues.gate-spot]", "[venues.gate-spot");
    tape.says(&["ERROR", "cannot be used", "tape.toml", "not valid TOML"]);
    for (from, to, said) in [
        ("channels = [\"trades\"]", "channels = [\"tradez\"]", "venues.gate-spot.channels"),
        ("stream_silence_s", "stream_silense_s", "venues.gate-spot.stream_silense_s"),
        (
            "[venues.gate-spot]\nsymbols = [\"AAA_USDT\"]",
            "[venues.gate-spot]\nsymbols = []",
            "venues.gate-spot.symbols",
        ),
    ] {
        std::fs::write(&tape.config, &good).unwrap();
        tape.change(from, to);
        tape.says(&["ERROR", "cannot be used", said, "fix"]);
    }
    std::fs::remove_file(&tape.config).unwrap();
    tape.collector.hang_up();
    tape.says(&["ERROR", "cannot be used", "cannot read the configuration file"]);
    // It passes the check, but nothing is left of it.
    std::fs::write(&tape.config, good.replace("AAA_USDT", "NOPE_USDT")).unwrap();
    tape.collector.hang_up();
    tape.says(&["ERROR", "the symbols of before stay", "NOPE_USDT"]);
    tape.flows("AAA_USDT");
    std::fs::write(&tape.config, good).unwrap();
    tape.change("\"AAA_USDT\"", "\"AAA_USDT\", \"BBB_USDT\"");
    tape.flows("BBB_USDT");
    assert_eq!((tape.reloads("refused"), tape.reloads("applied")), (5, 2));
    let (_root, _config, records) = tape.stop();
    assert!(events(&records, "unsubscribed").is_empty());
}

#[test]
fn what_needs_a_restart_is_named_and_waits_for_it() {
    let tape = Tape::record("gate-spot", &["AAA_USDT", "BBB_USDT"], &["AAA_USDT"], &["trades"], "");
    tape.flows("AAA_USDT");
    tape.change(
        "stream_silence_s = 1",
        "stream_silence_s = 2\nlines = 2\n[venues.kucoin-spot]\nsymbols = [\"A-B\"]\nchannels = [\"trades\"]",
    );
    tape.says(&["WARN", "venues.gate-spot.lines venues.gate-spot.stream_silence_s venues.kucoin-spot", "next start"]);
    wait_until("it is counted", || tape.reloads("unchanged") == 1);
    tape.change("\"AAA_USDT\"", "\"*\"");
    tape.flows("BBB_USDT");
    assert_eq!(tape.status().1.len(), 1, "one line still");
    let (_root, _config, records) = tape.stop();
    let at_start: Vec<Value> = events(&records, "config_reload").iter().map(|e| e["at_start"].clone()).collect();
    let keys = serde_json::json!(["venues.gate-spot.lines", "venues.gate-spot.stream_silence_s", "venues.kucoin-spot"]);
    assert_eq!(at_start, [keys.clone(), keys]);
}

#[test]
fn the_compactor_outlives_a_hangup_and_says_what_a_restart_would_change() {
    let tape = Tape::record("gate-spot", &["AAA_USDT"], &["AAA_USDT"], &["trades"], "");
    let compactor = Service::start("compactor", &tape.config, &[]);
    let says = |words: &[&str]| {
        wait_until(&format!("the compactor says {words:?}"), || {
            compactor.said().lines().any(|line| words.iter().all(|w| line.contains(w)))
        });
    };
    tape.flows("AAA_USDT");
    let api = http::api(&tape.config);
    wait_until("the compactor answers", || http::get(&api, "/health").is_some());
    compactor.hang_up();
    says(&["nothing in it would change this service"]);
    let good = std::fs::read_to_string(&tape.config).unwrap();
    std::fs::write(&tape.config, format!("{good}[lake]\nbatch_rows = 77\n")).unwrap();
    compactor.hang_up();
    says(&["WARN", "lake.batch_rows", "next start"]);
    std::fs::write(&tape.config, format!("{good}[lake]\nbatch_rows = 0\n")).unwrap();
    compactor.hang_up();
    says(&["ERROR", "lake.batch_rows", "goes on as it was started"]);
    std::fs::write(&tape.config, good).unwrap();
    compactor.stop();
    let (_root, config, _) = tape.stop();
    let out = run(&["compactor", "--drain", "--config", config.to_str().unwrap()]);
    assert!(out.status.success());
}
