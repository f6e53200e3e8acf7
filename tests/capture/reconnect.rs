//! Every interruption of a connection is a record: how it ended, from when to when nothing was covered, and what came after.

use venue_sim::{Action, Fault};
use wal_format::Kind;

use crate::support::log::{Record, read_all};
use crate::support::venue::{Exchange, market, write_config};
use crate::support::{Service, wait_until};

fn has(records: &[Record], kind: Kind, words: &[&str]) -> bool {
    records.iter().any(|r| {
        r.kind == Some(kind) && {
            let text = String::from_utf8_lossy(&r.payload);
            words.iter().all(|w| text.contains(w))
        }
    })
}

fn interrupted(action: Action, close_words: &[&str]) {
    let venue = "binance-spot";
    let root = tempfile::tempdir().unwrap();
    let mut sim = market(venue, 2_000, None, 3);
    sim.faults = vec![Fault::now(action).after_frames(500)];
    let exchange = Exchange::start(sim);
    let config = write_config(root.path(), &exchange, venue, "");
    let log = root.path().join("data/wal").join(venue);
    let collector = Service::start("collector", &config, &[]);
    wait_until("a second connection delivers", || {
        let report = exchange.sim.report();
        report.venues.get(venue).is_some_and(|v| v.connections.iter().filter(|c| c.frames_sent > 100).count() >= 2)
    });
    collector.stop();
    exchange.stop();
    let (records, lost) = read_all(&log);
    assert_eq!(lost, 0);
    assert!(has(&records, Kind::ConnClose, close_words), "no record of the close with {close_words:?}");
    assert!(has(&records, Kind::Gap, &["from_ns", "to_ns"]), "the uncovered time is not recorded");
    assert!(records.iter().filter(|r| r.kind == Some(Kind::ConnOpen)).count() >= 2);
    assert!(has(&records, Kind::Subscribe, &["SUBSCRIBE", "btcusdt@trade"]));
}

#[test]
fn a_close_by_the_venue_is_recorded_with_code_and_reason() {
    interrupted(Action::Close { code: 1001, reason: "going away".into() }, &["1001", "going away"]);
}

#[test]
fn an_abrupt_cut_is_recorded_and_followed_by_a_new_connection() {
    interrupted(Action::Cut { half_frame: true }, &["error"]);
}
