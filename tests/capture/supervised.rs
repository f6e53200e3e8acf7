//! The real services with a task that panics (`TAPEDECK_PANIC`, [`tapedeck::supervise`]): told, red, begun anew, and
//! nobody else notices; or the end with a code of its own.

use std::path::Path;

use venue_sim::StartWhen;
use wal_format::Kind;

use crate::support::log::read_all;
use crate::support::venue::{Exchange, market, write_config_for};
use crate::support::{Service, both, free_port, http, tapedeck, wait_until};

const VENUE: &str = "binance-spot";
const OTHER: &str = "binance-usdm";

/// A simulated exchange with two venues, and a configuration that records both.
fn two_venues(root: &Path) -> (Exchange, std::path::PathBuf) {
    let mut sim = market(VENUE, 2_000, None, 5);
    let more = market(OTHER, 2_000, None, 6);
    sim.venues.extend(more.venues);
    sim.start_when = StartWhen::FirstSubscribe;
    let exchange = Exchange::start(sim);
    let config = write_config_for(root, &exchange, VENUE, &["BTCUSDT"], &["trades"], "connect_stagger_ms = 0\n");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "[venues.{OTHER}]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\nrest_url = {:?}\nws_url = {:?}\nconnect_stagger_ms = 0\n[collector]\nlisten = \"127.0.0.1:{}\"\n",
        exchange.sim.rest_url(OTHER),
        exchange.sim.ws_url(OTHER),
        free_port(),
    ));
    std::fs::write(&config, text).unwrap();
    (exchange, config)
}

fn connections(root: &Path, venue: &str) -> usize {
    let (records, lost) = read_all(&root.join("data/wal").join(venue));
    assert_eq!(lost, 0);
    records.iter().filter(|r| r.kind == Some(Kind::ConnOpen)).count()
}

#[test]
fn a_venue_that_panics_is_recorded_again_with_health_red_and_the_other_one_notices_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (exchange, config) = two_venues(root.path());
    let panic = format!("venue@{VENUE}:1:1500");
    let collector = Service::start("collector", &config, &[("TAPEDECK_PANIC", &panic)]);
    let file = root.path().join("data/wal").join(format!("{VENUE}.http"));
    let address = || std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    let told = format!("task venue of {VENUE}: panicked at src/ops/rehearsal.rs:");
    wait_until("health is red and says which task", || {
        http::get(&address(), "/health").is_some_and(|(code, text)| code == 503 && text.contains(&told))
    });
    let said = collector.said();
    assert!(said.contains("a task panicked: TAPEDECK_PANIC asks for it"), "{said}");
    let (_, metrics) = http::get(&address(), "/metrics").unwrap();
    assert!(metrics.contains("tapedeck_task_panics_total{task=\"venue\"} 1\n"), "{metrics}");
    let status = http::json(&address(), "/v1/status");
    assert_eq!(status["conditions"][0]["reason"], "task_down", "{status}");
    wait_until("both venues record", || {
        let streams = exchange.sim.report();
        [VENUE, OTHER].iter().all(|v| streams.venues[*v].connections.last().is_some_and(|c| c.closed_ns.is_none()))
            && streams.venues[VENUE].connections.len() == 2
    });
    collector.stop();
    exchange.stop();
    assert_eq!((connections(root.path(), VENUE), connections(root.path(), OTHER)), (2, 1));
}

#[test]
fn a_drain_whose_worker_panics_has_an_exit_code_of_its_own_and_so_has_a_service_that_cannot_go_on() {
    let root = tempfile::tempdir().unwrap();
    let (exchange, config) = two_venues(root.path());
    let collector = Service::start("collector", &config, &[]);
    wait_until("there is a log", || {
        exchange
            .sim
            .report()
            .venues
            .values()
            .all(|v| v.connections.iter().any(|c| c.streams.values().any(|s| s.frames > 100)))
    });
    collector.stop();
    exchange.stop();
    let mut drain = tapedeck();
    drain.args(["compactor", "--drain", "--config"]).arg(&config);
    let out = drain.env("TAPEDECK_PANIC", format!("compact@{VENUE}")).output().unwrap();
    assert_eq!(out.status.code(), Some(11), "{}", both(&out));
    // All bars are in the memory of one thread.
    let mut compactor = Service::start("compactor", &config, &[("TAPEDECK_PANIC", "klines.bars")]);
    assert_eq!(compactor.wait().code(), Some(11), "{}", compactor.said());
    assert!(compactor.said().contains("task klines.bars panicked at"), "{}", compactor.said());
    let out = tapedeck().args(["compactor", "--drain", "--config"]).arg(&config).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", both(&out));
}
