//! 1,024 streams at the default pace against an exchange that counts every message and bans who sends too many.

use std::collections::BTreeSet;

use venue_sim::SimConfig;
use wal_format::Kind;

use crate::support::log::read_all;
use crate::support::venue::{Exchange, market, write_config_for};
use crate::support::{Service, wait_until};

const STREAMS: usize = 1_024;

/// Subscribes [`STREAMS`] streams of `venue` and returns when each of them has delivered.
fn subscribe_all(venue: &str, channels: &[&str], extra: &str, change: impl FnOnce(&mut SimConfig)) {
    let root = tempfile::tempdir().unwrap();
    let mut sim = market(venue, 4_000, None, 5);
    change(&mut sim);
    sim.limits.enforce = true;
    // Pongs are messages too: one a second and more take their share of every window.
    sim.heartbeat.ping_interval_ms = Some(900);
    let exchange = Exchange::start(sim);
    let config = write_config_for(root.path(), &exchange, venue, &["*"], channels, extra);
    let log = root.path().join("data/wal").join(venue);
    let collector = Service::start("collector", &config, &[("TAPEDECK_TEST_KEY", "a key")]);
    let delivering = || {
        let report = exchange.sim.report();
        let venue = &report.venues[venue];
        let names: BTreeSet<&String> = venue.connections.iter().flat_map(|c| c.streams.keys()).collect();
        names.len()
    };
    wait_until(&format!("{STREAMS} streams of {venue} deliver"), || delivering() >= STREAMS);
    collector.stop();
    let report = exchange.stop();
    let limits = &report.venues[venue].limits;
    assert_eq!(*limits, venue_sim::LimitsReport::default(), "{venue}");
    let (records, lost) = read_all(&log);
    assert_eq!(lost, 0);
    let text = |kind| {
        let of = records.iter().filter(move |r| r.kind == Some(kind));
        of.map(|r| String::from_utf8_lossy(&r.payload).into_owned()).collect::<Vec<_>>()
    };
    assert!(!text(Kind::Event).iter().any(|e| e.contains("throttled")), "{venue}");
    assert!(text(Kind::Gap).is_empty(), "{venue}");
}

fn symbols(count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(name).collect()
}

#[test]
fn every_stream_of_binance_spot_is_subscribed_without_a_ban() {
    let channels = ["trades", "agg_trades", "book_ticker", "depth"];
    subscribe_all("binance-spot", &channels, "", |sim| set(sim, symbols(256, |n| format!("C{n}USDT")), &channels));
}

#[test]
fn every_stream_of_binance_usdm_is_subscribed_without_a_ban() {
    let channels = ["agg_trades", "book_ticker", "depth", "mark_price"];
    subscribe_all("binance-usdm", &channels, "", |sim| set(sim, symbols(256, |n| format!("C{n}USDT")), &channels));
}

#[test]
fn every_stream_of_binance_coinm_is_subscribed_without_a_ban() {
    let channels = ["agg_trades", "book_ticker", "depth", "mark_price"];
    subscribe_all("binance-coinm", &channels, "", |sim| set(sim, symbols(256, |n| format!("C{n}USD_PERP")), &channels));
}

#[test]
fn every_stream_of_binance_spot_sbe_is_subscribed_without_a_ban() {
    let channels = ["trades", "book_ticker", "depth"];
    let key = "api_key_env = \"TAPEDECK_TEST_KEY\"\n";
    subscribe_all("binance-spot-sbe", &channels, key, |sim| set(sim, symbols(342, |n| format!("C{n}USDT")), &channels));
}

#[test]
fn every_stream_of_kucoin_is_subscribed_without_a_509() {
    let channels = ["trades", "book_ticker", "depth"];
    subscribe_all("kucoin-spot", &channels, "", |sim| set(sim, symbols(342, |n| format!("C{n}-USDT")), &channels));
    subscribe_all("kucoin-futures", &channels, "", |sim| set(sim, symbols(342, |n| format!("C{n}USDTM")), &channels));
}

#[test]
fn every_stream_of_gate_is_subscribed_without_a_ban() {
    let channels = ["trades", "book_ticker", "depth"];
    subscribe_all("gate-spot", &channels, "", |sim| set(sim, symbols(342, |n| format!("C{n}_USDT")), &channels));
    subscribe_all("gate-futures", &channels, "", |sim| set(sim, symbols(342, |n| format!("C{n}_USDT")), &channels));
}

/// The generated market of the simulation is of these.
fn set(sim: &mut SimConfig, symbols: Vec<String>, channels: &[&str]) {
    let venue_sim::Source::Generated(market) = &mut sim.source else { panic!("the market is generated") };
    market.symbols = symbols;
    market.channels = channels.iter().map(|c| (*c).to_owned()).collect();
    sim.start_when = venue_sim::StartWhen::FirstSubscribe;
}
