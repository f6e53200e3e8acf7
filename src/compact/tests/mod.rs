//! The whole crate against real logs: however often and wherever it is stopped, the lake is the one of a clean run.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod archive;
mod beside;
mod chain;
mod chunks;
mod evidence;
mod formats;
mod golden;
mod obstacles;
mod odd;
mod panics;
mod parts;
mod pressure;
mod repair;
mod repairs;
mod retention;
mod rewrite;
mod schema;
mod stores;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{RngExt, SeedableRng};
use wal_format::{AckFile, Append, ClockPair, Kind, LogOptions, LogWriter, SyncPolicy, flags};

use super::*;
use crate::failpoint::{self, armed_for};
use crate::replay::{ReplayArgs, Verdict, replay};
use crate::worker::CompactWorker;
use capture::{Capture, LAKE_READER};
use lake::read::TableFile;
use lake::{Lake, Part, PartManifest, Table, diff_trees};
use model::VenueId;
use ops::clock;
use ops::compactor::Activity;

const HOUR: u64 = 3_600_000_000_000;
/// 2024-08-09T00:00:00Z.
const T0: u64 = 1_723_161_600_000_000_000;

/// A manifest by its path, and its SHA-256.
fn manifest_at(path: &Path) -> (PartManifest, String) {
    let bytes = std::fs::read(path).unwrap();
    (PartManifest::parse(&bytes).unwrap(), lake::hash::sha256_hex(&bytes))
}

/// A data directory.
struct Bed {
    root: tempfile::TempDir,
    /// Where its lake is, if not in a directory of it.
    elsewhere: Option<Lake>,
}

impl Bed {
    fn new() -> Self {
        // Memory where there is some: thousands of fsyncs would be the whole running time otherwise.
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { root: root.unwrap(), elsewhere: None }
    }

    fn wal(&self) -> PathBuf {
        self.root.path().join("wal/binance-spot")
    }

    fn at(&self) -> Lake {
        self.elsewhere.clone().unwrap_or_else(|| Lake::open(&self.lake()))
    }

    fn lake(&self) -> PathBuf {
        self.root.path().join("lake")
    }

    /// The same log, no lake, no acks.
    fn copy_of_log(&self) -> Bed {
        let bed = Bed::new();
        copy_tree(&self.wal(), &bed.wal());
        let _ = std::fs::remove_dir_all(bed.wal().join("acks"));
        bed
    }

    fn cfg(&self) -> Config {
        let text = format!(
            "[data]\ndir = {:?}\n[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\", \"book_ticker\", \"depth\"]\nsubscribe_delay_ms = 500\n",
            self.root.path().display().to_string()
        );
        let read = |s: &::settings::Source, p: &mut Vec<_>| Config {
            sources: Default::default(),
            shipped: None,
            capture: Capture::read(s, p),
            lake: s.section("lake", p),
            memory: s.section("memory", p),
        };
        let mut cfg = ::settings::from_text(&text, read).unwrap();
        cfg.lake.dir = self.lake();
        cfg.lake.row_group_rows = 100;
        cfg.lake.batch_rows = 16;
        cfg
    }

    fn worker(&self, mode: Mode, change: impl FnOnce(&mut Config)) -> CompactWorker {
        let mut cfg = self.cfg();
        change(&mut cfg);
        CompactWorker {
            chunks: None,
            lake: self.elsewhere.clone().unwrap_or_else(|| Lake::open(&cfg.lake.dir)),
            cfg: Arc::new(cfg),
            id: VenueId::BinanceSpot,
            venue: venue::venue(VenueId::BinanceSpot),
            kind: gather::LogKind::Collected,
            repair_queue: None,
            archiver: None,
            accept_loss: false,
            mode,
            shutdown: Shutdown::new(),
            status: Arc::default(),
        }
    }

    fn drain(&self) -> VenueOutcome {
        self.worker(Mode::Drain, |_| {}).run().unwrap()
    }

    /// Keeps every segment, a checkpoint at every look at the clock.
    fn eager(cfg: &mut Config) {
        cfg.lake.ack_interval_s = 0;
    }

    fn manifests(&self) -> Vec<(Part, PartManifest)> {
        let found = lake::find::manifests(&self.at(), "binance-spot").unwrap();
        found.into_iter().map(|(part, at)| (part, PartManifest::load(&self.at(), &at.key).unwrap())).collect()
    }

    /// How often each key (seq, row in frame) occurs in a table.
    fn keys(&self, table: Table) -> BTreeMap<(i64, i32), u32> {
        let mut keys = BTreeMap::new();
        for (part, _) in self.manifests() {
            let path = self.lake().join(part.file(table));
            if !path.exists() {
                continue;
            }
            let file = TableFile::open(&path).unwrap();
            for g in 0..file.groups() {
                let chunk = file.chunk(g).unwrap();
                for i in 0..chunk.rows() {
                    *keys.entry(chunk.key(i).unwrap()).or_default() += 1;
                }
            }
        }
        keys
    }

    /// Every published part the log still holds is equal to what the log gives.
    #[track_caller]
    fn verify(&self, checked: usize) {
        let report = replay(&self.cfg(), &self.at(), &ReplayArgs { verify: true, ..ReplayArgs::default() }).unwrap();
        assert_eq!((report.checked(), report.different()), (checked, 0), "{report}");
    }

    fn no_staging_left(&self) -> bool {
        std::fs::read_dir(self.lake().join(".staging")).map_or(true, |mut d| d.next().is_none())
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A log writer whose clock is what the test says.
struct Log {
    writer: LogWriter,
    now: Arc<AtomicU64>,
}

impl Log {
    fn open(dir: &Path, at_ns: u64) -> Self {
        Self::open_with(dir, at_ns, true)
    }

    fn open_with(dir: &Path, at_ns: u64, repair_tails: bool) -> Self {
        let now = Arc::new(AtomicU64::new(at_ns));
        let of_clock = now.clone();
        let mut options = LogOptions::new(Arc::new(move || {
            let wall_ns = of_clock.load(Ordering::Relaxed);
            ClockPair { wall_ns, mono_ns: wall_ns.saturating_sub(T0 / 2) }
        }));
        options.segment_bytes = 64 << 10;
        options.sync = SyncPolicy::Never;
        options.repair_tails = repair_tails;
        Self { writer: LogWriter::open(dir, options).unwrap(), now }
    }

    fn put(&mut self, ts_recv_ns: u64, kind: Kind, flags: u8, payload: &[u8]) {
        self.now.store(ts_recv_ns, Ordering::Relaxed);
        self.writer.append(&Append { ts_recv_ns, conn: 1, kind, flags, payload }).unwrap();
    }

    fn text(&mut self, ts_recv_ns: u64, payload: &str) {
        self.put(ts_recv_ns, Kind::Data, 0, payload.as_bytes());
    }
}

fn trade(symbol: &str, id: u64, ms: u64) -> String {
    let low = symbol.to_lowercase();
    let side = id.is_multiple_of(3);
    format!(
        r#"{{"stream":"{low}@trade","data":{{"e":"trade","E":{ms},"s":"{symbol}","t":{id},"p":"{}.{:02}000000","q":"0.00{}0","T":{ms},"m":{side},"M":true}}}}"#,
        20_000 + id % 97,
        id % 100,
        1 + id % 9
    )
}

fn book_ticker(symbol: &str, id: u64) -> String {
    let low = symbol.to_lowercase();
    format!(
        r#"{{"stream":"{low}@bookTicker","data":{{"u":{id},"s":"{symbol}","b":"100.{:02}","B":"1.5","a":"101.00","A":"{}"}}}}"#,
        id % 100,
        1 + id % 7
    )
}

fn depth(symbol: &str, first: u64, last: u64, ms: u64) -> String {
    let low = symbol.to_lowercase();
    let bids: Vec<String> = (first..=last).map(|i| format!(r#"["99.{:02}","{}"]"#, i % 100, i % 5)).collect();
    format!(
        r#"{{"stream":"{low}@depth@100ms","data":{{"e":"depthUpdate","E":{ms},"s":"{symbol}","U":{first},"u":{last},"b":[{}],"a":[["101.5","0.1"]]}}}}"#,
        bids.join(",")
    )
}

/// Writes `frames` data frames over `hours` hours from `from_ns` on, with everything that happens in a real log:
/// connects, gaps in ids, frames that do not decode, control frames, REST bodies. Deterministic.
fn fill(log: &mut Log, from_ns: u64, hours: u64, frames: u64, first_id: u64) {
    let step = hours * HOUR / frames;
    log.put(from_ns, Kind::ConnOpen, 0, br#"{"url":"ws://x/stream","streams":3}"#);
    log.put(from_ns, Kind::Subscribe, 0, br#"{"request":"{}"}"#);
    log.text(from_ns, r#"{"result":null,"id":1}"#);
    for i in 0..frames {
        let ts = from_ns + i * step;
        let ms = ts / 1_000_000 - 3;
        let id = first_id + i;
        match i % 16 {
            0 => log.text(ts, &book_ticker("ETHUSDT", 5 * id)),
            1 => log.text(ts, &depth("BTCUSDT", 10 * id, 10 * id + 159, ms)),
            2 => log.text(ts, &trade("ETHUSDT", id / 16, ms)),
            // Every 16th trade of BTCUSDT that would come here is missing: gaps of the venue's making.
            3 if i % 160 == 3 => log.text(ts, &trade("BTCUSDT", id, ms)),
            4 if i % 400 == 4 => log.text(ts, r#"{"stream":"btcusdt@trade","data":{"e":"trade","p":"#),
            5 if i % 500 == 5 => {
                log.put(ts, Kind::ConnClose, 0, br#"{"code":1006,"reason":"reset"}"#);
                log.put(ts, Kind::ConnOpen, 0, br#"{"url":"ws://x/stream","streams":3}"#);
            }
            6 if i % 300 == 6 => log.put(ts, Kind::Event, 0, br#"{"kind":"rotate","detail":{"conn":1}}"#),
            7 if i % 1000 == 7 => log.put(ts, Kind::Data, flags::BINARY, b"\x00\x01binary"),
            _ => log.text(ts, &trade("BTCUSDT", id, ms)),
        }
    }
    let meta = br#"{"channel":"depth_snapshot","symbol":"BTCUSDT","url":"http://x/depth","status":200}"#;
    let body = br#"{"lastUpdateId":77,"bids":[["99.1","1"],["99.0","2"]],"asks":[["101.1","3"]]}"#;
    log.writer.append_rest(from_ns + hours * HOUR - 1, 2, meta, body).unwrap();
    let meta = br#"{"channel":"depth_snapshot","symbol":"BTCUSDT","url":"http://x/depth","status":418}"#;
    log.writer.append_rest(from_ns + hours * HOUR - 1, 2, meta, b"teapot").unwrap();
}

/// Three hours from 23:30 on, closed cleanly.
fn three_hours(frames: u64) -> Bed {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0 - HOUR / 2);
    fill(&mut log, T0 - HOUR / 2, 3, frames, 1_000_000);
    log.writer.close().unwrap();
    bed
}

#[track_caller]
fn assert_same(a: &Bed, b: &Bed, what: &str) {
    let differences = diff_trees(&a.at(), &b.at()).unwrap();
    assert!(differences.is_empty(), "{what}: {}", differences.iter().map(|d| format!("\n  {d}")).collect::<String>());
}

#[test]
fn a_clean_run_accounts_for_every_frame_and_cuts_at_the_hours() {
    let bed = three_hours(4_000);
    let outcome = bed.drain();
    let manifests = bed.manifests();
    let hours: Vec<String> = manifests.iter().map(|(_, m)| m.hour.clone()).collect();
    assert_eq!(hours, ["2024-08-08T23", "2024-08-09T00", "2024-08-09T01", "2024-08-09T02"]);
    let frames: u64 = manifests.iter().map(|(_, m)| m.frames).sum();
    // 4,000 in the loop less the events among them, the subscribe reply, two REST bodies.
    let events = (0..4_000).filter(|i| i % 16 == 5 && i % 500 == 5 || i % 16 == 6 && i % 300 == 6).count() as u64;
    assert_eq!(frames, 4_000 - events + 3);
    for (_, m) in &manifests {
        m.check().unwrap();
        for f in &m.files {
            let bytes = std::fs::read(bed.lake().join(&f.path)).unwrap();
            assert_eq!(lake::hash::sha256_hex(&bytes), f.sha256);
        }
    }
    for pair in manifests.windows(2) {
        assert_eq!(pair[0].1.end.seq, pair[1].1.first.seq, "parts tile the log");
    }
    for table in [Table::Trades, Table::Depth, Table::BookTicker, Table::Frames, Table::Events] {
        let keys = bed.keys(table);
        assert!(!keys.is_empty(), "{table} has rows");
        assert!(keys.values().all(|n| *n == 1), "{table}: a row is there twice");
        let rows: u64 = manifests.iter().filter_map(|(_, m)| m.rows.get(&table)).sum();
        assert_eq!(keys.len() as u64, rows);
    }
    assert_eq!(outcome.rows, manifests.iter().flat_map(|(_, m)| m.rows.values()).sum::<u64>());
    let gaps: Vec<_> = manifests.iter().flat_map(|(_, m)| &m.gaps).collect();
    assert!(gaps.iter().any(|g| g.channel == "trades" && g.symbol == "BTCUSDT" && g.cause == "venue"), "{gaps:?}");
    // In front of each disconnect lies a trade that cannot be read, which is the nearer reason.
    assert!(gaps.iter().any(|g| g.cause == "undecodable" && g.from_id == 1_000_004), "{gaps:?}");
    assert!(bed.no_staging_left());
    // The footer of each file carries the digest of the manifest.
    let (part, m) = &manifests[1];
    let file = TableFile::open(&bed.lake().join(part.file(Table::Trades))).unwrap();
    assert_eq!(file.key_value("manifest_sha256"), Some(m.digest().unwrap().as_str()));
    assert_eq!(file.key_value("log"), Some(m.log.as_str()));
    // Nothing is left to do.
    assert_eq!(bed.drain().parts, 0);
}

#[test]
fn segments_go_when_manifests_cover_them_and_retention_keeps_them() {
    let bed = three_hours(6_000);
    let kept = bed.copy_of_log();
    let before = wal_format::list_segments(&bed.wal()).unwrap().len();
    assert!(before > 8, "{before} segments are too few for this test");
    let outcome = bed.drain();
    let after = wal_format::list_segments(&bed.wal()).unwrap().len();
    assert_eq!(outcome.segments_retired as usize, before - after);
    assert!(after <= 4, "{after} of {before} segments stay");
    let outcome = kept.worker(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    assert_eq!(outcome.segments_retired, 0);
    assert_same(&bed, &kept, "retention");
}

#[test]
fn twenty_restarts_and_checkpoints_at_random_records_give_the_bytes_of_one_clean_run() {
    let clean = three_hours(3_000);
    let log = clean.copy_of_log();
    clean.drain();
    let seed = std::env::var("TAPEDECK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_240_809_u64);
    println!("TAPEDECK_SEED={seed}");
    let mut dice = rand_chacha_like(seed);
    for round in 0..2 {
        let bed = log.copy_of_log();
        let mut kills = 0;
        while kills < 20 {
            let at = dice.random_range(1..600);
            let batch = dice.random_range(1..60);
            let eager = dice.random_bool(0.7);
            let worker = bed.worker(Mode::Drain, |c| {
                c.lake.batch_rows = batch;
                c.lake.max_open_writers = dice.random_range(1..6);
                if eager {
                    Bed::eager(c);
                }
            });
            match armed_for("session.record", at, || worker.run().unwrap()) {
                None => kills += 1,
                Some(_) => break,
            }
        }
        bed.drain();
        assert_same(&clean, &bed, &format!("seed {seed} round {round} after {kills} kills"));
        assert!(bed.no_staging_left());
    }
}

fn rand_chacha_like(seed: u64) -> rand::rngs::StdRng {
    rand::rngs::StdRng::seed_from_u64(seed)
}

#[test]
fn a_kill_at_every_step_of_staging_and_publishing_leaves_no_row_missing_and_none_twice() {
    let clean = three_hours(300);
    let log = clean.copy_of_log();
    clean.drain();
    let mut met = std::collections::BTreeSet::new();
    // Tables this log has no rows of.
    let live = ["agg_trades", "mark_price", "liquidations", "tickers", "klines", "symbols"];
    let archive = ["book_depth", "metrics", "funding_rate"];
    let empty = [&live[..], &archive[..]].concat();
    // Archiving and the candles' checkpoints have tests of their own.
    let of_others = |p: &String| p.starts_with("archive.") || p.starts_with("klines.");
    let points = || failpoint::list().into_iter().filter(|p| !of_others(p));
    for point in points().filter(|p| !empty.iter().any(|t| p.ends_with(t))) {
        for n in [1, 3] {
            let bed = log.copy_of_log();
            let eager = bed.worker(Mode::Drain, |c| {
                Bed::eager(c);
                c.lake.batch_rows = 400;
            });
            if armed_for(&point, n, || eager.run().unwrap()).is_none() {
                met.insert(point.clone());
                bed.drain();
            }
            assert_same(&clean, &bed, &format!("{point}:{n}"));
        }
    }
    let unmet: Vec<String> = points().filter(|p| !met.contains(p) && !empty.iter().any(|t| p.ends_with(t))).collect();
    assert!(unmet.is_empty(), "never met: {unmet:?}");
}

#[test]
fn a_stop_in_the_middle_stages_everything_and_the_next_run_reads_nothing_twice() {
    let clean = three_hours(2_000);
    let bed = clean.copy_of_log();
    clean.drain();
    let worker = bed.worker(Mode::Follow, |_| {});
    let status = worker.status.clone();
    let shutdown = worker.shutdown.clone();
    let thread = std::thread::spawn(move || worker.run().unwrap());
    wait_for(|| status.snapshot().venues.get("binance-spot").is_some_and(|v| v.parts_published >= 1));
    shutdown.trigger();
    let first = thread.join().unwrap();
    let second = bed.drain();
    assert_same(&clean, &bed, "stopped and drained");
    let all: u64 = clean.manifests().iter().flat_map(|(_, m)| m.records.values()).sum();
    assert_eq!(first.records + second.records, all, "records are handled once when nothing was killed");
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let start = clock::now().mono_ns;
    while !done() {
        assert!(clock::now().mono_ns - start < 60_000_000_000, "it did not happen within a minute");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn following_a_live_writer_gives_the_bytes_of_draining_its_log_afterwards() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    let worker = bed.worker(Mode::Follow, |c| {
        Bed::eager(c);
        c.capture.wal.retention_hours = 24 * 365 * 50;
    });
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    fill(&mut log, T0, 2, 1_500, 1);
    fill(&mut log, T0 + 2 * HOUR, 1, 500, 10_000);
    wait_for(|| status.snapshot().venues.get("binance-spot").is_some_and(|v| v.parts_published >= 2));
    shutdown.trigger();
    thread.join().unwrap();
    log.writer.close().unwrap();
    let again = bed.copy_of_log();
    bed.drain();
    again.drain();
    assert_same(&again, &bed, "followed");
}

#[test]
fn a_gap_that_is_young_when_its_hour_ends_waits_for_what_fills_it() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    let ms = T0 / 1_000_000;
    log.put(T0, Kind::ConnOpen, 0, br#"{"line":0}"#);
    for (before_end, id) in [(9, 1), (8, 4)] {
        log.text(T0 + HOUR - before_end, &trade("BTCUSDT", id, ms));
    }
    // The second id comes in time, the third never.
    log.text(T0 + HOUR + 1, &trade("BTCUSDT", 2, ms));
    log.text(T0 + HOUR + 2, &trade("BTCUSDT", 6, ms));
    log.writer.close().unwrap();
    bed.worker(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    let manifests = bed.manifests();
    let reported: Vec<Vec<_>> =
        manifests.iter().map(|(_, m)| m.gaps.iter().map(|g| (g.from_id, g.to_id)).collect()).collect();
    assert_eq!(reported, [vec![], vec![(3, 3), (5, 5)]]);
    let counts: Vec<_> = manifests.iter().flat_map(|(_, m)| &m.ids).map(|r| (r.present, r.missing, r.filled)).collect();
    assert_eq!(counts, [(2, 2, 0), (2, 1, 1)]);
    assert_eq!(manifests.iter().map(|(_, m)| m.ends_log).collect::<Vec<_>>(), [false, true]);
    bed.verify(2);
}

#[test]
fn a_dead_collectors_hour_is_closed_without_any_new_record() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 300, 1);
    drop(log);
    let reference = bed.copy_of_log();
    reference.drain();
    let worker = bed.worker(Mode::Follow, |_| {});
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    wait_for(|| status.snapshot().venues.get("binance-spot").is_some_and(|v| v.parts_published >= 1));
    shutdown.trigger();
    thread.join().unwrap();
    assert_eq!(bed.manifests().len(), 1);
    assert_same(&reference, &bed, "closed by the wall clock");
}

#[test]
fn an_unrepaired_crash_tail_is_waited_for_and_repaired_as_soon_as_no_writer_lives() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 200, 1);
    drop(log);
    let mut log = Log::open_with(&bed.wal(), T0 + HOUR, false);
    fill(&mut log, T0 + HOUR, 1, 200, 10_000);
    let worker = bed.worker(Mode::Follow, |c| c.capture.wal.retention_hours = 24 * 365 * 50);
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    let venue = || status.snapshot().venues.get("binance-spot").cloned().unwrap_or_default();
    wait_for(|| venue().activity == Activity::AwaitingRepair);
    assert!(venue().reason.is_some_and(|r| r.contains("crash tail")));
    assert_eq!(venue().parts_published, 0, "nothing after the tail was passed to");
    log.writer.close().unwrap();
    wait_for(|| venue().parts_published >= 2);
    shutdown.trigger();
    thread.join().unwrap();
    bed.verify(2);
    let frames: u64 = bed.manifests().iter().map(|(_, m)| m.frames).sum();
    assert_eq!(
        frames,
        2 * (200 - 2 + 3),
        "both runs: two of the 200 are events, a reply and two REST bodies come with them"
    );
}

#[test]
fn an_hour_drained_half_way_continues_in_a_second_file_and_no_row_is_in_both() {
    let bed = Bed::new();
    let keep = |c: &mut Config| c.capture.wal.retention_hours = 24 * 365 * 50;
    let mut log = Log::open(&bed.wal(), T0);
    let half = |log: &mut Log, n: u64| {
        for i in 0..200 {
            log.text(T0 + (n * 200 + i) * 1_000_000_000, &trade("BTCUSDT", n * 200 + i, T0 / 1_000_000));
        }
    };
    half(&mut log, 0);
    bed.worker(Mode::Drain, keep).run().unwrap();
    half(&mut log, 1);
    log.writer.close().unwrap();
    bed.worker(Mode::Drain, keep).run().unwrap();
    let manifests = bed.manifests();
    assert_eq!(manifests.len(), 2);
    assert!(manifests.iter().all(|(p, _)| p.hour == manifests[0].0.hour));
    assert_eq!(manifests[0].1.end.seq, manifests[1].1.first.seq);
    assert!(manifests.iter().all(|(_, m)| m.gaps.is_empty()), "the id ledger goes on across the checkpoint");
    let keys = bed.keys(Table::Trades);
    assert_eq!(keys.len(), 400);
    assert!(keys.values().all(|n| *n == 1));
    bed.verify(2);
    let out = bed.root.path().join("again");
    replay(&bed.cfg(), &bed.at(), &ReplayArgs { out: Some(out.clone()), ..ReplayArgs::default() }).unwrap();
    let differences = diff_trees(&bed.at(), &Lake::open(&out)).unwrap();
    assert!(differences.is_empty(), "a replay ends its parts where the drain did: {differences:?}");
}

#[test]
fn a_clock_that_went_back_between_two_runs_reopens_no_hour() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0 + HOUR);
    fill(&mut log, T0 + HOUR, 1, 200, 1);
    log.writer.close().unwrap();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 3, 600, 10_000);
    log.writer.close().unwrap();
    let again = bed.copy_of_log();
    bed.drain();
    let hours: Vec<String> = bed.manifests().iter().map(|(_, m)| m.hour.clone()).collect();
    assert_eq!(hours, ["2024-08-09T01", "2024-08-09T02"]);
    let eager = again.worker(Mode::Drain, Bed::eager);
    assert!(armed_for("session.record", 500, || eager.run().unwrap()).is_none());
    again.drain();
    assert_same(&bed, &again, "restarted around the clock step");
}

#[test]
fn a_missing_segment_is_reported_in_the_manifest_and_in_events_and_everything_else_is_there() {
    let bed = three_hours(2_000);
    let whole = bed.copy_of_log();
    whole.drain();
    let segments = wal_format::list_segments(&bed.wal()).unwrap();
    let gone = &segments[segments.len() / 2];
    let footer = gone.footer.as_ref().unwrap();
    let (first, last) = (footer.first_seq.unwrap().get() as i64, footer.last_seq.unwrap().get() as i64);
    std::fs::remove_file(&gone.path).unwrap();
    bed.worker(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    bed.verify(4);
    let lost: Vec<_> = bed.manifests().into_iter().flat_map(|(_, m)| m.lost).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].from_seq as i64 == first && (lost[0].to_seq as i64) >= last - 1, "{lost:?} of {first}..{last}");
    for table in [Table::Trades, Table::Depth, Table::BookTicker] {
        let expected: Vec<_> = whole.keys(table).into_keys().filter(|(seq, _)| !(first..=last).contains(seq)).collect();
        assert_eq!(bed.keys(table).into_keys().collect::<Vec<_>>(), expected, "{table}");
    }
    assert!(bed.keys(Table::Events).contains_key(&(first, 0)), "a gap row is at the first lost seq");
    let gaps: Vec<_> = bed.manifests().into_iter().flat_map(|(_, m)| m.gaps).collect();
    assert!(gaps.iter().any(|g| g.cause == "connection"), "ids missing over the lost range are not the venue's");
}

#[test]
fn acks_and_staging_are_disposable_and_a_corrupt_ack_deletes_nothing() {
    let clean = three_hours(2_000);
    let log = clean.copy_of_log();
    clean.drain();
    let keep = |c: &mut Config| {
        Bed::eager(c);
        c.capture.wal.retention_hours = 24 * 365 * 50;
    };
    for damage in ["delete acks", "corrupt ack", "delete staging", "delete the lake", "stale ack"] {
        let bed = log.copy_of_log();
        let worker = bed.worker(Mode::Drain, keep);
        assert!(armed_for("session.record", 1_200, || worker.run().unwrap()).is_none());
        let acks = bed.wal().join("acks");
        match damage {
            "delete acks" => std::fs::remove_dir_all(&acks).unwrap(),
            "corrupt ack" => {
                for file in std::fs::read_dir(&acks).unwrap() {
                    let path = file.unwrap().path();
                    let len = std::fs::metadata(&path).unwrap().len() as usize;
                    std::fs::write(&path, vec![0xA5; len]).unwrap();
                }
            }
            "delete staging" => std::fs::remove_dir_all(bed.lake().join(".staging")).unwrap(),
            "delete the lake" => std::fs::remove_dir_all(bed.lake()).unwrap(),
            _ => {
                let worker = bed.worker(Mode::Drain, keep);
                let old = bed.root.path().join("old-acks");
                copy_tree(&acks, &old);
                assert!(armed_for("session.record", 300, || worker.run().unwrap()).is_none());
                std::fs::remove_dir_all(&acks).unwrap();
                copy_tree(&old, &acks);
            }
        }
        bed.worker(Mode::Drain, keep).run().unwrap();
        assert_same(&clean, &bed, damage);
    }
}

#[test]
fn a_second_compactor_on_the_same_log_is_refused_in_one_sentence() {
    let bed = three_hours(100);
    let _first = AckFile::open(&bed.wal(), LAKE_READER).unwrap();
    let text = wal_format::error_chain(&bed.worker(Mode::Follow, |_| {}).run().unwrap_err());
    assert!(text.contains("another compactor") && text.contains("fix:"), "{text}");
}

#[test]
fn draining_without_a_log_says_plainly_that_there_is_nothing() {
    let bed = Bed::new();
    let note = bed.drain().note.unwrap();
    assert!(note.contains("no log of binance-spot") && note.contains("nothing to do"), "{note}");
}

#[test]
fn an_undecodable_frame_is_kept_byte_for_byte_with_its_reason() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    let bad = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":"#;
    log.text(T0, &trade("BTCUSDT", 1, T0 / 1_000_000));
    log.text(T0 + 1, bad);
    log.text(T0 + 2, &trade("BTCUSDT", 2, T0 / 1_000_000));
    log.writer.close().unwrap();
    bed.drain();
    let (part, m) = bed.manifests().remove(0);
    assert_eq!((m.totals().decoded, m.totals().undecodable), (2, 1));
    assert_eq!(m.channels.get("trades").map(|c| c.undecodable), Some(1));
    let file = TableFile::open(&bed.lake().join(part.file(Table::Frames))).unwrap();
    let batch = file.batches(0).unwrap().next().unwrap().unwrap();
    let payload = batch.column_by_name("payload").unwrap();
    let payload = arrow_array::cast::AsArray::as_binary::<i32>(payload);
    assert_eq!(payload.value(0), bad.as_bytes());
}

#[test]
fn a_replay_rebuilds_the_same_bytes_and_verify_finds_a_changed_file() {
    let bed = three_hours(2_000);
    let worker = bed.worker(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50);
    worker.run().unwrap();
    let out = bed.root.path().join("again");
    let cfg = bed.cfg();
    let args = ReplayArgs { out: Some(out.clone()), ..ReplayArgs::default() };
    let report = replay(&cfg, &bed.at(), &args).unwrap();
    assert_eq!(report.parts.len(), 4);
    let differences = diff_trees(&bed.at(), &Lake::open(&out)).unwrap();
    assert!(differences.is_empty(), "{differences:?}");
    assert!(replay(&cfg, &bed.at(), &args).unwrap_err().to_string().contains("not empty"));
    let verify = ReplayArgs { verify: true, ..ReplayArgs::default() };
    let report = replay(&cfg, &bed.at(), &verify).unwrap();
    assert_eq!((report.checked(), report.different()), (4, 0), "{report}");
    assert!(bed.no_staging_left());
    // One hour only.
    let one = ReplayArgs { from_ns: Some(T0 + 1), to_ns: Some(T0 + 2), ..verify.clone() };
    assert_eq!(replay(&cfg, &bed.at(), &one).unwrap().checked(), 1);
    // A row less in one file, found and named.
    let manifests = bed.manifests();
    let (a, b) = (&manifests[1].0, &manifests[2].0);
    std::fs::copy(bed.lake().join(a.file(Table::Trades)), bed.lake().join(b.file(Table::Trades))).unwrap();
    let report = replay(&cfg, &bed.at(), &verify).unwrap();
    assert_eq!((report.checked(), report.different()), (4, 1), "{report}");
    let bad = report.parts.iter().find(|p| p.verdict == Verdict::Different).unwrap();
    assert_eq!(bad.hour, manifests[2].1.hour);
    // Other settings of today do not matter: a part is rebuilt with its own.
    std::fs::copy(out.join(a.file(Table::Trades)), bed.lake().join(a.file(Table::Trades))).unwrap();
    std::fs::copy(out.join(b.file(Table::Trades)), bed.lake().join(b.file(Table::Trades))).unwrap();
    let mut other = bed.cfg();
    other.lake.row_group_rows = 77;
    other.lake.zstd_level = 1;
    let report = replay(&other, &bed.at(), &verify).unwrap();
    assert_eq!((report.checked(), report.different()), (4, 0), "{report}");
    // A file that vanished.
    std::fs::remove_file(bed.lake().join(a.file(Table::Depth))).unwrap();
    assert_eq!(replay(&cfg, &bed.at(), &verify).unwrap().different(), 1);
}

#[test]
fn replay_finds_the_part_that_is_missing_wherever_it_was() {
    let bed = three_hours(6_000);
    let cfg = bed.cfg();
    bed.drain_keeping();
    let verify = ReplayArgs { verify: true, ..ReplayArgs::default() };
    let whole = replay(&cfg, &bed.at(), &verify).unwrap();
    assert_eq!(whole.different(), 0, "{whole}");
    let parts: Vec<Part> = bed.manifests().into_iter().map(|(part, _)| part).collect();
    assert!(parts.len() >= 3);
    for missing in [vec![0], vec![1], vec![parts.len() - 1], (0..parts.len()).collect()] {
        let away: Vec<(PathBuf, Vec<u8>)> = missing
            .iter()
            .flat_map(|i| {
                let part = &parts[*i];
                Table::ALL.iter().map(|t| part.file(*t)).chain([part.manifest()]).map(|key| bed.lake().join(key))
            })
            .filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?)))
            .collect();
        away.iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
        let report = replay(&cfg, &bed.at(), &verify).unwrap();
        assert_eq!(report.different(), 1, "without {missing:?}: {report}");
        assert!(report.to_string().contains("are in no part, and the log has them"), "{report}");
        away.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }
}

#[test]
fn verify_says_which_parts_the_log_no_longer_holds() {
    let bed = three_hours(6_000);
    bed.drain();
    let report = replay(&bed.cfg(), &bed.at(), &ReplayArgs { verify: true, ..ReplayArgs::default() }).unwrap();
    assert_eq!(report.different(), 0, "{report}");
    assert!(report.parts.iter().any(|p| p.verdict == Verdict::NotCheckable), "{report}");
    assert!(report.to_string().contains("not checkable"), "{report}");
}
