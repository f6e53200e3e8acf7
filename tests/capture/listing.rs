//! Symbols that are listed and delisted while the collector runs, without a restart, outside ASCII too.

use venue_sim::{Action, Fault};
use wal_format::Kind;

use crate::support::log::read_all;
use crate::support::venue::{Exchange, market, write_config_for};
use crate::support::{Service, run, wait_until};

const NEW: &str = "币安人生USDT";

#[test]
fn a_listing_is_recorded_while_it_lasts_and_both_ends_of_it_are_events() {
    let venue = "binance-spot";
    let root = tempfile::tempdir().unwrap();
    let mut sim = market(venue, 2_000, None, 4);
    sim.venues[0].unlisted = vec![NEW.to_owned()];
    sim.start_when = venue_sim::StartWhen::FirstSubscribe;
    let exchange = Exchange::start(sim);
    let channels = ["trades", "depth", "depth_snapshot"];
    // The name that is not listed yet is written out; the shortest refresh there is.
    // One listing that lacks a symbol is no news: silence must not replace the connection before the others say so too.
    let extra = "symbols_refresh_s = 10\nconnect_stagger_ms = 0\nstream_silence_s = 30\n";
    let config = write_config_for(root.path(), &exchange, venue, &["BTC*", NEW], &channels, extra);
    let log = root.path().join("data/wal").join(venue);
    let collector = Service::start("collector", &config, &[]);
    let frames_of = |stream: &str| {
        let report = exchange.sim.report();
        let connections = &report.venues[venue].connections;
        connections.iter().filter_map(|c| c.streams.get(stream)).map(|s| s.frames).sum::<u64>()
    };
    let stream = format!("{}@trade", NEW.to_lowercase());
    wait_until("the first symbol delivers", || frames_of("btcusdt@trade") > 100);
    assert_eq!(frames_of(&stream), 0);
    exchange.sim.fault(Fault::now(Action::List { symbol: NEW.to_owned() }));
    wait_until("the new listing delivers", || frames_of(&stream) > 100);
    exchange.sim.fault(Fault::now(Action::Delist { symbol: NEW.to_owned(), gone: true }));
    let status = || {
        let out = run(&["status", "--config", config.to_str().unwrap()]);
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    wait_until("status says that it is gone", || {
        status().lines().any(|l| l.contains(&stream) && l.contains("does not trade any more"))
    });
    assert!(status().lines().any(|l| l.contains("btcusdt@trade") && l.trim_end().ends_with(" s")), "{}", status());
    collector.stop();
    let report = exchange.stop();
    assert_eq!(report.venues[venue].connections.len(), 1, "one connection for all of it");

    let (records, lost) = read_all(&log);
    assert_eq!(lost, 0);
    let has = |kind: Kind, words: &[&str]| {
        records.iter().any(|r| {
            let text = String::from_utf8_lossy(&r.payload);
            r.kind == Some(kind) && words.iter().all(|w| text.contains(w))
        })
    };
    assert!(has(Kind::Event, &["symbol_added", NEW]));
    assert!(has(Kind::Event, &["symbol_removed", NEW]));
    assert!(has(Kind::Subscribe, &[&stream]), "the log explains itself");
    let encoded = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT";
    assert!(has(Kind::Rest, &["depth_snapshot", encoded]), "its order book came too");
}
