//! Repair logs: rows flagged, once, whatever was fetched twice or killed when; and what reaches the repairer.

use super::*;
use crate::repair::queue::RepairQueue;
use crate::repair::range::MissingRange;
use fold::dedupe::FetchedIds;
use fold::gather::LogKind;
use lake::manifest::Repair;
use model::Channel;

impl Bed {
    fn repair_wal(&self) -> PathBuf {
        self.root.path().join("wal/binance-spot.repair")
    }

    fn repairs(&self, mode: Mode, change: impl FnOnce(&mut Config)) -> CompactWorker {
        CompactWorker { kind: LogKind::Repairs, ..self.worker(mode, change) }
    }

    fn copy_of_logs(&self) -> Bed {
        let bed = Bed::new();
        copy_tree(&self.repair_wal(), &bed.repair_wal());
        let _ = std::fs::remove_dir_all(bed.repair_wal().join("acks"));
        bed
    }
}

/// An answer of `historicalTrades` for the ids `from..=to`, requested for `want`.
fn fetched(log: &mut Log, ts: u64, ids: std::ops::RangeInclusive<u64>, want: (u64, u64)) {
    let ms = T0 / 1_000_000;
    let rows: Vec<String> = ids
        .map(|id| {
            format!(
                r#"{{"id":{id},"price":"1.5","qty":"2","quoteQty":"3","time":{ms},"isBuyerMaker":true,"isBestMatch":true}}"#
            )
        })
        .collect();
    let meta = format!(
        r#"{{"channel":"trades","symbol":"BTCUSDT","url":"http://x/api/v3/historicalTrades","status":200,"fill":{{"from":{},"to":{}}}}}"#,
        want.0, want.1
    );
    log.now.store(ts, Ordering::Relaxed);
    log.writer.append_rest(ts, 1, meta.as_bytes(), format!("[{}]", rows.join(",")).as_bytes()).unwrap();
}

fn repair(from: i64, to: i64, rows: u64, why: Option<&str>) -> Repair {
    Repair {
        channel: "trades".into(),
        symbol: "BTCUSDT".into(),
        from_id: from,
        to_id: to,
        rows,
        why: why.map(str::to_owned),
    }
}

fn ended(log: &mut Log, ts: u64, kind: &str, repair: &Repair) {
    let payload = serde_json::json!({ "kind": kind, "detail": repair }).to_string();
    log.put(ts, Kind::Event, 0, payload.as_bytes());
}

/// A repair log over two hours: a gap whose answer came twice because of a crash, an older one, one that the
/// venue gave in part.
fn repaired() -> Bed {
    let bed = Bed::new();
    let mut log = Log::open(&bed.repair_wal(), T0);
    fetched(&mut log, T0 + 1, 95..=110, (100, 109));
    fetched(&mut log, T0 + 2, 100..=109, (100, 109));
    ended(&mut log, T0 + 3, "repaired", &repair(100, 109, 10, None));
    fetched(&mut log, T0 + 4, 20..=29, (20, 29));
    ended(&mut log, T0 + 5, "repaired", &repair(20, 29, 10, None));
    log.writer.close().unwrap();
    let mut log = Log::open(&bed.repair_wal(), T0 + HOUR);
    // The gap of before once more: a compactor that lost its memory would keep it.
    fetched(&mut log, T0 + HOUR + 1, 100..=109, (100, 109));
    fetched(&mut log, T0 + HOUR + 2, 200..=204, (200, 209));
    ended(&mut log, T0 + HOUR + 3, "unrepaired", &repair(200, 209, 5, Some("the venue gave 5 of 10 ids")));
    log.writer.close().unwrap();
    bed
}

#[test]
fn fetched_rows_are_there_once_are_flagged_and_the_manifest_tells_each_hole() {
    let bed = repaired();
    bed.repairs(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    let manifests = bed.manifests();
    assert_eq!(manifests.len(), 2);
    let mut ids = Vec::new();
    for (part, m) in &manifests {
        assert!(m.gaps.is_empty(), "a log of repairs has no gaps of its own: {:?}", m.gaps);
        let file = TableFile::open(&bed.lake().join(part.file(Table::Trades))).unwrap();
        for batch in file.batches(0).unwrap() {
            let batch = batch.unwrap();
            let int = |name: &str| batch.column_by_name(name).unwrap().clone();
            let id = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&int("id")).clone();
            let flag = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int32Type>(&int("flags")).clone();
            assert!(flag.values().iter().all(|f| *f == lake::flags::BACKFILLED), "{flag:?}");
            ids.extend(id.values().iter().copied());
        }
    }
    assert_eq!(ids, (100..=109).chain(20..=29).chain(200..=204).collect::<Vec<i64>>());
    let reported: Vec<Repair> = manifests.iter().flat_map(|(_, m)| m.repairs.clone()).collect();
    let partly = repair(200, 209, 5, Some("the venue gave 5 of 10 ids"));
    assert_eq!(reported, [repair(100, 109, 10, None), repair(20, 29, 10, None), partly]);
    let removed: u64 = manifests.iter().flat_map(|(_, m)| m.duplicates.values()).sum();
    assert_eq!(removed, 20, "requested twice again: once in the hour, once in the next");
    assert_eq!(
        bed.keys(Table::Events).len() as u64,
        manifests.iter().map(|(_, m)| m.rows[&Table::Events]).sum::<u64>()
    );
    let report = replay(&bed.cfg(), &bed.at(), &ReplayArgs { verify: true, ..ReplayArgs::default() }).unwrap();
    assert_eq!((report.checked(), report.different()), (2, 0), "{report}");
}

#[test]
fn a_kill_at_every_step_of_a_log_of_repairs_leaves_the_same_lake() {
    let clean = repaired();
    let log = clean.copy_of_logs();
    clean.repairs(Mode::Drain, |_| {}).run().unwrap();
    let mut met = 0;
    for point in failpoint::list().into_iter().filter(|p| !p.starts_with("archive.")) {
        let bed = log.copy_of_logs();
        let eager = bed.repairs(Mode::Drain, |c| {
            Bed::eager(c);
            c.lake.batch_rows = 1;
        });
        if armed_for(&point, 2, || eager.run().unwrap()).is_none() {
            met += 1;
            bed.repairs(Mode::Drain, |_| {}).run().unwrap();
        }
        assert_same(&clean, &bed, &point);
    }
    assert!(met > 10, "only {met} points were met");
}

#[test]
fn what_the_log_of_repairs_says_is_known_before_the_first_gap_goes_out() {
    let bed = repaired();
    // The first hour is published, the second one only in the log.
    bed.repairs(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    let mut log = Log::open(&bed.repair_wal(), T0 + 2 * HOUR);
    ended(&mut log, T0 + 2 * HOUR, "repaired", &repair(300, 301, 2, None));
    fetched(&mut log, T0 + 2 * HOUR, 400..=409, (400, 409));
    let repair_queue = Arc::new(RepairQueue::default());
    let gap = |from, to| MissingRange {
        channel: Channel::Trades,
        symbol: "BTCUSDT".into(),
        from,
        to,
        after_us: None,
        before_us: None,
    };
    repair_queue.want(gap(300, 301));
    repair_queue.want(gap(400, 420));
    let worker = CompactWorker { repair_queue: Some(repair_queue.clone()), ..bed.repairs(Mode::Follow, |_| {}) };
    let shutdown = worker.shutdown.clone();
    let thread = std::thread::spawn(move || worker.run().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime.block_on(repair_queue.next()).gap;
    assert_eq!(first, gap(400, 420), "300 to 301 is in the log already");
    assert_eq!(repair_queue.fetched(&first), [(400, 409)], "a body is in the log, the end of its gap is not");
    shutdown.trigger();
    thread.join().unwrap();
    log.writer.close().unwrap();
}

#[test]
fn a_gap_that_stayed_open_reaches_the_repairer_once_over_a_restart_and_a_book_is_asked_for() {
    let bed = Bed::new();
    let now = clock::wall_ns();
    let mut log = Log::open(&bed.wal(), now);
    let ms = now / 1_000_000;
    log.put(now, Kind::ConnOpen, 0, br#"{"line":0}"#);
    for (i, id) in [1, 2, 6, 7].into_iter().enumerate() {
        log.text(now + i as u64, &trade("BTCUSDT", id, ms));
    }
    log.text(now + 10, &depth("BTCUSDT", 10, 11, ms));
    log.text(now + 11, &depth("BTCUSDT", 20, 21, ms));
    // Four seconds later: by then the gap counts.
    log.text(now + 4_000_000_000, &trade("BTCUSDT", 8, ms));
    let repair_queue = Arc::new(RepairQueue::default());
    repair_queue.ready(FetchedIds::default());
    let run = || {
        let worker = CompactWorker { repair_queue: Some(repair_queue.clone()), ..bed.worker(Mode::Follow, |_| {}) };
        let (shutdown, status) = (worker.shutdown.clone(), worker.status.clone());
        let thread = std::thread::spawn(move || worker.run().unwrap());
        wait_for(|| status.snapshot().venues.get("binance-spot").is_some_and(|v| v.activity == Activity::AtTail));
        wait_for(|| repair_queue.counts().waiting > 0);
        shutdown.trigger();
        thread.join().unwrap();
    };
    run();
    run();
    assert_eq!(repair_queue.counts().waiting, 1, "reported twice, wanted once");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gap = runtime.block_on(repair_queue.next()).gap;
    assert_eq!((gap.from, gap.to, gap.after_us), (3, 5, Some(ms as i64 * 1_000)));
    assert!(bed.wal().join("requests/snapshot-BTCUSDT").exists(), "a fresh order book is requested from the collector");
    log.writer.close().unwrap();
    bed.drain();
    let kinds: Vec<_> = bed.manifests().into_iter().flat_map(|(_, m)| m.gaps).map(|g| g.channel).collect();
    assert_eq!(kinds.iter().filter(|k| *k == "trades").count(), 1);
    assert_eq!(kinds.iter().filter(|k| *k == "depth").count(), 1);
}
