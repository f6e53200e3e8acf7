//! Connections that end at random points, noticed or not, on one line and on two: no id is missing, or its absence
//! is inside a Gap record.

use std::collections::{BTreeMap, BTreeSet};

use venue_sim::{Action, Ending, Fault};
use wal_format::Kind;

use crate::support::log::{Record, read_all};
use crate::support::venue::{Exchange, market, write_config};
use crate::support::{Service, runs, seed, wait_until};

const VENUE: &str = "binance-spot";

/// Records a market whose connections are ended `count` times; returns the log.
fn record(closes: Action, frames: u64, extra: &str) -> Vec<Record> {
    let root = tempfile::tempdir().unwrap();
    let mut sim = market(VENUE, 2_000, Some(frames), 9);
    sim.faults = vec![Fault::now(closes)];
    let exchange = Exchange::start(sim);
    let pace = "connects_per_5_min = 10000\nsubscribe_delay_ms = 250\nglobal_subscribe_delay_ms = 20\n";
    let config = write_config(root.path(), &exchange, VENUE, &format!("{pace}{extra}"));
    let collector = Service::start("collector", &config, &[]);
    wait_until("the market was played", || exchange.sim.finished());
    std::thread::sleep(std::time::Duration::from_millis(300));
    collector.stop();
    exchange.stop();
    let (records, lost) = read_all(&root.path().join("data/wal").join(VENUE));
    assert_eq!(lost, 0);
    records
}

/// Trade ids by stream, as they are in the log on whichever connection.
fn ids(records: &[Record]) -> BTreeMap<String, BTreeSet<i64>> {
    let mut all: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for r in records.iter().filter(|r| r.kind == Some(Kind::Data)) {
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(&r.payload) else { continue };
        if let (Some(stream), Some(id)) = (json["stream"].as_str(), json["data"]["t"].as_i64())
            && stream.ends_with("@trade")
        {
            all.entry(stream.to_owned()).or_default().insert(id);
        }
    }
    all
}

/// Ids between the first and the last of a stream that are not there.
fn missing(ids: &BTreeMap<String, BTreeSet<i64>>) -> usize {
    ids.values()
        .map(|ids| {
            let (first, last) = (*ids.first().unwrap(), *ids.last().unwrap());
            usize::try_from(last - first + 1).unwrap() - ids.len()
        })
        .sum()
}

fn count(records: &[Record], kind: Kind, word: &str) -> usize {
    records.iter().filter(|r| r.kind == Some(kind) && String::from_utf8_lossy(&r.payload).contains(word)).count()
}

/// So many cuts and closes without notice, spread over so many frames.
fn abrupt(count: u32, over_frames: u64, seed: u64) -> Action {
    Action::RandomCloses {
        count,
        over_frames: Some(over_frames),
        over_ms: None,
        endings: vec![],
        notice_share: 0.0,
        notice_ms: 0,
        seed,
    }
}

#[test]
fn announced_ends_of_the_only_line_lose_no_id_and_are_no_gap() {
    let seed = seed("announced_ends");
    let times = u32::try_from(runs(8)).unwrap();
    let frames = u64::from(times) * 6_000;
    let closes = Action::RandomCloses {
        count: times,
        over_frames: Some(frames - 8_000),
        over_ms: None,
        endings: vec![Ending::Close, Ending::Cut],
        notice_share: 1.0,
        notice_ms: 3_000,
        seed,
    };
    let records = record(closes, frames, "");
    assert!(count(&records, Kind::Event, "server_shutdown") > 0);
    let ids = ids(&records);
    assert_eq!(ids.len(), 3);
    assert_eq!(missing(&ids), 0);
    assert_eq!(count(&records, Kind::Gap, ""), 0);
}

#[test]
fn abrupt_ends_of_one_of_two_lines_lose_no_id() {
    let seed = seed("abrupt_ends");
    let times = u32::try_from(runs(4)).unwrap();
    // Far enough apart that a line is back before the other one is hit.
    let frames = u64::from(times) * 12_000 + 8_000;
    let closes = abrupt(times, frames - 8_000, seed);
    let records = record(closes, frames, "lines = 2\n");
    assert!(count(&records, Kind::ConnClose, "lost") + count(&records, Kind::ConnClose, "server") >= 1);
    let ids = ids(&records);
    assert_eq!(ids.len(), 3);
    // Both lines can be hit within the moment that a reconnect takes; that is a gap and says so.
    let gaps = count(&records, Kind::Gap, "");
    assert!(gaps > 0 || missing(&ids) == 0, "{} ids are missing without a gap", missing(&ids));
    assert!(count(&records, Kind::Event, "\"covered\"") + gaps > 0);
}

#[test]
fn abrupt_ends_of_the_only_line_leave_holes_only_where_a_gap_record_says_so() {
    let seed = seed("abrupt_ends_one_line");
    let times = u32::try_from(runs(6)).unwrap();
    let frames = u64::from(times) * 5_000 + 8_000;
    let closes = abrupt(times, frames - 8_000, seed);
    let records = record(closes, frames, "");
    let gaps: Vec<(u64, u64, Vec<String>)> = records
        .iter()
        .filter(|r| r.kind == Some(Kind::Gap))
        .map(|r| {
            let gap: serde_json::Value = serde_json::from_slice(&r.payload).unwrap();
            let streams = gap["streams"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect();
            (gap["from_ns"].as_u64().unwrap(), gap["to_ns"].as_u64().unwrap(), streams)
        })
        .collect();
    // Present ids with their receive times; what lies between two neighbours that are no neighbours is missing.
    let mut present: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
    for r in records.iter().filter(|r| r.kind == Some(Kind::Data)) {
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(&r.payload) else { continue };
        if let (Some(stream), Some(id)) = (json["stream"].as_str(), json["data"]["t"].as_i64())
            && stream.ends_with("@trade")
        {
            present.entry(stream.to_owned()).or_default().insert(id, r.ts_ns);
        }
    }
    let (mut holes, mut lost) = (0, 0);
    for (stream, ids) in &present {
        for (before, after) in ids.iter().zip(ids.iter().skip(1)).filter(|(a, b)| *b.0 != *a.0 + 1) {
            (holes, lost) = (holes + 1, lost + after.0 - before.0 - 1);
            let told =
                gaps.iter().any(|(from, to, streams)| from <= after.1 && to >= before.1 && streams.contains(stream));
            assert!(told, "{stream}: ids {}..{} are missing and no Gap record says so", before.0 + 1, after.0);
        }
    }
    println!("{times} ends: {holes} holes with {lost} ids, {} Gap records", gaps.len());
    assert!(!gaps.is_empty() && holes > 0, "the ends did something");
}
