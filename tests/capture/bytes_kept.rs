//! What the venue sent is in the log, byte for byte, and later in the lake once, also when the collector is killed.

use std::collections::BTreeMap;

use lake::PartManifest;
use wal_format::Kind;

use crate::support::log::read_all;
use crate::support::venue::{Exchange, market, transcript, write_config};
use crate::support::{Dice, Service, both, runs, seed, tapedeck, wait_until};

/// How far the log has come, from its own status page: grows with every record.
fn log_bytes(dir: &std::path::Path) -> u64 {
    wal_format::control::read(dir).map_or(0, |c| c.committed.segment.0 * (4 << 20) + c.committed.offset)
}

/// The running (or last) epoch of a log, and how many records it has.
fn run(dir: &std::path::Path) -> (u32, u64) {
    wal_format::control::read(dir).map_or((0, 0), |c| (c.committed.seq.epoch(), c.committed.seq.counter()))
}

fn manifests(dir: &std::path::Path) -> Vec<PartManifest> {
    let mut out = Vec::new();
    let mut todo = vec![dir.join("_manifests")];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path)
            } else {
                out.push(PartManifest::parse(&std::fs::read(&path).unwrap()).unwrap())
            }
        }
    }
    out
}

#[test]
fn every_message_of_both_venues_is_in_the_log_byte_for_byte() {
    for venue in ["binance-spot", "binance-usdm"] {
        let root = tempfile::tempdir().unwrap();
        let sent = root.path().join("sent");
        let mut sim = market(venue, 20_000, Some(20_000), 7);
        sim.transcript = Some(sent.clone());
        let exchange = Exchange::start(sim);
        let config = write_config(root.path(), &exchange, venue, "");
        let log = root.path().join("data/wal").join(venue);
        let collector = Service::start("collector", &config, &[]);
        wait_until("the market was played", || exchange.sim.finished());
        let mut last = 0;
        wait_until("the log stops growing", || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let now = log_bytes(&log);
            std::mem::replace(&mut last, now) == now && now > 0
        });
        collector.stop();
        exchange.stop();

        let (records, lost) = read_all(&log);
        assert_eq!(lost, 0, "{venue}");
        let mut logged: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for r in records.into_iter().filter(|r| r.kind == Some(Kind::Data)) {
            logged.entry(r.conn).or_default().push(r.payload);
        }
        let mut expected: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for (conn, payload) in transcript(&sent) {
            expected.entry(conn).or_default().push(payload);
        }
        let mut a: Vec<_> = logged.into_values().collect();
        let mut b: Vec<_> = expected.into_values().collect();
        a.sort();
        b.sort();
        assert_eq!(a.len(), b.len(), "{venue}: connections");
        assert!(a.iter().map(Vec::len).sum::<usize>() >= 20_000, "{venue}");
        assert!(a == b, "{venue}: the log differs from what was sent");
    }
}

#[test]
fn a_killed_collector_loses_no_record_it_appended_and_the_lake_has_each_once() {
    killed_collector();
}

fn killed_collector() {
    let seed = seed("killed_collector");
    let mut dice = Dice::new(seed);
    let root = tempfile::tempdir().unwrap();
    let sent = root.path().join("sent");
    let venue = "binance-usdm";
    let mut sim = market(venue, 5_000, None, seed);
    sim.transcript = Some(sent.clone());
    sim.start_when = venue_sim::StartWhen::FirstSubscribe;
    let exchange = Exchange::start(sim);
    let config = write_config(root.path(), &exchange, venue, "subscribe_delay_ms = 250\n");
    let log = root.path().join("data/wal").join(venue);
    let kills = runs(5);
    for round in 0..kills {
        let before = run(&log).0;
        let collector = Service::start("collector", &config, &[]);
        wait_until(&format!("frames arrive in round {round}"), || run(&log).0 != before && run(&log).1 > 200);
        std::thread::sleep(std::time::Duration::from_millis(dice.below(400)));
        collector.kill();
    }
    let before = run(&log).0;
    let collector = Service::start("collector", &config, &[]);
    wait_until("frames arrive after the last kill", || run(&log).0 != before && run(&log).1 > 200);
    collector.stop();
    exchange.stop();

    // In the log: per connection an unbroken beginning of what was sent, and the numbering has no hole.
    let (records, lost) = read_all(&log);
    assert_eq!(lost, 0, "records were lost");
    let mut by_conn: BTreeMap<(u32, u32), Vec<&[u8]>> = BTreeMap::new();
    let mut last = None;
    for r in &records {
        if let Some((epoch, seq)) = last
            && epoch == r.epoch
        {
            assert_eq!(r.seq, seq + 1, "numbers inside epoch {epoch}");
        }
        last = Some((r.epoch, r.seq));
        if r.kind == Some(Kind::Data) {
            by_conn.entry((r.epoch, r.conn)).or_default().push(&r.payload);
        }
    }
    let mut sent_by_conn: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for (conn, payload) in transcript(&sent) {
        sent_by_conn.entry(conn).or_default().push(payload);
    }
    for (conn, logged) in &by_conn {
        let found = sent_by_conn
            .values()
            .any(|sent| sent.len() >= logged.len() && logged.iter().zip(sent).all(|(a, b)| *a == b.as_slice()));
        assert!(
            found,
            "connection {conn:?}: {} frames in the log are not the beginning of any connection",
            logged.len()
        );
    }
    assert!(by_conn.len() > kills, "{} connections in {kills} rounds", by_conn.len());

    // In the lake: every frame accounted for once.
    let out = tapedeck().args(["compactor", "--drain", "--config"]).arg(&config).output().unwrap();
    assert!(out.status.success(), "{}", both(&out));
    let frames = records.iter().filter(|r| matches!(r.kind, Some(Kind::Data | Kind::Rest))).count() as u64;
    let all = manifests(&root.path().join("data/lake"));
    assert_eq!(all.iter().map(|m| m.frames).sum::<u64>(), frames);
    let rows: u64 = all.iter().flat_map(|m| m.rows.values()).sum();
    let in_files: u64 = all.iter().flat_map(|m| &m.files).map(|f| f.rows).sum();
    assert_eq!(rows, in_files);
    println!("{kills} kills, {frames} frames in the log, {rows} rows in the lake, nothing lost");
}
