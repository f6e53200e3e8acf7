//! The log on a disk that loses power (WAL.md claims 13, 14, 15, 26).
//!
//! A writer works on the simulated disk and is stopped at a random operation, often in the middle
//! of a sync. What the disk would hold is written to a real directory, repaired and read there:
//! - never a wrong payload, never a record twice or out of order;
//! - nothing at or below the durable seq is lost, and after a mere kill nothing at all;
//! - every lost range inside the surviving log is reported, exactly;
//! - repair stopped at any sector and done again ends in the same records;
//! - a reader that had read past what survived goes on in the next epoch without repeating.
//!
//! Planted lies must be noticed. `TAPEDECK_SEED` replays one run, `TAPEDECK_RUNS` sets how many.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::writer;
use crate::support::{self, Owned, Rng, Stop, check_payload, drain, read_all};
use wal_format::layout::footer_offset;
use wal_format::repair::repair_after_power_loss;
use wal_format::sim::{Crash, Image, Lie, Probe, SimStorage};
use wal_format::{Kind, LogReader, LogWriter, LostRange, Position, ReaderOptions, Seq, SyncPolicy, repair};

const ROOT: &str = "/simulated-disk/log";
const LONGEST: u64 = 1200;

/// One writer's life on the disk, up to the crash.
struct Life {
    crash: Image,
    kill: Image,
    /// Seq of each appended data record, by its number.
    appended: BTreeMap<u64, u64>,
    /// Whatever was returned, and whatever was durable, just before the crash.
    returned: Seq,
    durable: Seq,
    next_n: u64,
    epoch: u32,
}

fn live(disk: &SimStorage, rng: &mut Rng, first_n: u64, kind: Crash) -> Option<Life> {
    let mut options = writer::options(64 * 1024);
    options.storage = Arc::new(disk.clone());
    options.repair_tails = false;
    options.ready_segments = 1;
    options.sync = match rng.range(0, 5) {
        0 => SyncPolicy::Never,
        1 => SyncPolicy::Roll,
        2 => SyncPolicy::Every,
        _ => SyncPolicy::Interval { interval_ms: 1, bytes: 8 * 1024 },
    };
    let every = options.sync == SyncPolicy::Every;
    let returned = Arc::new(AtomicU64::new(0));
    let handle = Arc::new(std::sync::OnceLock::<wal_format::SyncHandle>::new());
    let probe: Probe = {
        let (returned, handle) = (Arc::clone(&returned), Arc::clone(&handle));
        Arc::new(move || {
            let durable = handle.get().map_or(0, |h| h.durable().0);
            vec![returned.load(Ordering::Acquire), durable]
        })
    };
    // Some crashes come while the log is being opened.
    let steps = if rng.range(0, 6) == 0 { rng.range(1, 25) } else { rng.range(15, 90) };
    disk.crash_after(steps, kind, Arc::clone(&probe));
    let mut writer = LogWriter::open(Path::new(ROOT), options).ok()?;
    let _ = handle.set(writer.sync_handle());
    let epoch = writer.epoch();
    let mut appended = BTreeMap::new();
    let most = rng.range(5, 900);
    let mut n = first_n;
    while !disk.crashed() && n < first_n + most {
        let seq = writer::append(&mut writer, n, LONGEST);
        appended.insert(n, seq.0);
        returned.store(seq.0, Ordering::Release);
        n += 1;
        if every && rng.range(0, 8) == 0 {
            writer.sync_handle().wait_durable(seq).unwrap();
        } else if rng.range(0, 40) == 0 {
            std::thread::sleep(Duration::from_micros(rng.range(100, 1_500)));
        }
    }
    disk.crash_now(kind, probe);
    drop(writer);
    let (crash, kill) = disk.take().unwrap();
    let noted = |at: usize| Seq(crash.noted.get(at).copied().unwrap_or(0));
    Some(Life { returned: noted(0), durable: noted(1), crash, kill, appended, next_n: n, epoch })
}

/// What is wrong with what was read after a crash, if anything.
fn judge(life: &Life, kind: Crash, records: &[Owned], lost_ranges: &[LostRange]) -> Result<(), String> {
    let ours: Vec<&Owned> = records.iter().filter(|r| r.seq.epoch() == life.epoch).collect();
    for pair in records.windows(2) {
        if pair[0].seq >= pair[1].seq {
            return Err(format!("{} is followed by {}", pair[0].seq, pair[1].seq));
        }
    }
    for record in ours.iter().filter(|r| r.kind_raw == Kind::Data as u8) {
        let n = check_payload(&record.payload, LONGEST).ok_or(format!("wrong payload at {}", record.seq))?;
        if life.appended.get(&n) != Some(&record.seq.0) {
            return Err(format!("{n} is at {}, was appended at {:?}", record.seq, life.appended.get(&n)));
        }
    }
    let present: std::collections::BTreeSet<u64> = ours.iter().map(|r| r.seq.0).collect();
    let newest = present.last().copied().unwrap_or(0);
    let reported = |seq: u64| {
        lost_ranges
            .iter()
            .any(|l| l.from.0 <= seq && (seq <= l.to.0 || (!l.exact && Seq(seq).epoch() == l.from.epoch())))
    };
    for seq in &present {
        if lost_ranges.iter().any(|l| l.exact && (l.from.0..=l.to.0).contains(seq)) {
            return Err(format!("{} was read and reported lost", Seq(*seq)));
        }
    }
    for seq in life.appended.values() {
        if present.contains(seq) {
            continue;
        }
        if kind == Crash::Process && *seq <= life.returned.0 {
            return Err(format!("{} is lost by a kill", Seq(*seq)));
        }
        if *seq <= life.durable.0 {
            return Err(format!("{} is lost, {} was durable", Seq(*seq), life.durable));
        }
        if *seq < newest && !reported(*seq) {
            return Err(format!("{} is lost without a report, {} is there", Seq(*seq), Seq(newest)));
        }
    }
    if kind == Crash::Process && !lost_ranges.is_empty() {
        return Err(format!("a kill reports {lost_ranges:?}"));
    }
    Ok(())
}

fn fix(dir: &Path, kind: Crash) {
    let report = if kind == Crash::Process { repair(dir) } else { repair_after_power_loss(dir) }.unwrap();
    assert!(report.failures.is_empty(), "{report:?}");
    assert_eq!(report.lost_below_durable, None, "{report:?}");
}

fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.file_name().to_string_lossy().ends_with(".wal"))
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect()
}

/// Repairs a copy, then applies any subset of the sectors that this changed: a repair that lost
/// power on its way.
fn half_repair(dir: &Path, kind: Crash, rng: &mut Rng) {
    let copy = tempfile::tempdir().unwrap();
    support::copy_log(dir, copy.path());
    fix(copy.path(), kind);
    for (name, after) in content(copy.path()) {
        let path = dir.join(name);
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        bytes.resize(after.len(), 0);
        // The footer is written after the data was synced: it comes with all of it or not at all.
        let footer = footer_offset(after.len() as u64) as usize;
        let (data, end) = if rng.range(0, 2) == 0 { (2, 0) } else { (1, 2) };
        for (at, (old, new)) in (0..).step_by(512).zip(bytes.chunks_mut(512).zip(after.chunks(512))) {
            let odds = if at < footer { data } else { end };
            if old != new && odds != 0 && rng.range(0, odds) == 0 {
                old.copy_from_slice(new);
            }
        }
        std::fs::write(path, bytes).unwrap();
    }
}

fn one_run(seed: u64, lie: Lie) -> Result<(), String> {
    let mut rng = Rng(seed);
    let kind = [Crash::Process, Crash::PowerLoss, Crash::PowerLossGarbage][rng.range(0, 3) as usize];
    let mut disk = SimStorage::lying(rng.next(), lie);
    let mut next_n = 0;
    let mut ahead = Position::START;
    let mut last_read = None;
    let mut history: Vec<Owned> = Vec::new();
    let mut reported: Vec<LostRange> = Vec::new();
    for life_no in 0..rng.range(1, 4) {
        let Some(life) = live(&disk, &mut rng, next_n, kind) else {
            return Err(format!("life {life_no}: the log does not open"));
        };
        next_n = life.next_n;
        // A reader that was at work until the crash saw everything that was committed.
        let seen = tempfile::tempdir().unwrap();
        life.kill.write_to(Path::new(ROOT), seen.path()).unwrap();
        repair(seen.path()).unwrap();
        let mut reader = LogReader::open(seen.path(), ahead, ReaderOptions::default()).unwrap();
        let (read, _, _) = drain(&mut reader);
        if let Some(newest) = read.last().map(|r| r.seq) {
            if last_read.is_some_and(|last| read[0].seq <= last) {
                return Err(format!("life {life_no}: {} is read again", read[0].seq));
            }
            last_read = Some(newest);
        }

        let dir = tempfile::tempdir().unwrap();
        life.crash.write_to(Path::new(ROOT), dir.path()).unwrap();
        // Power can fail again while a tail is repaired, and again.
        let again = if kind == Crash::Process { 0 } else { rng.range(0, 6) };
        for _ in 0..again {
            half_repair(dir.path(), kind, &mut rng);
        }
        fix(dir.path(), kind);
        let once = content(dir.path());
        fix(dir.path(), kind);
        if once != content(dir.path()) {
            let after = content(dir.path());
            let changed: Vec<_> = once.keys().filter(|k| once.get(*k) != after.get(*k)).collect();
            return Err(format!("life {life_no}: repair is not idempotent: {changed:?} of {:?}", after.keys()));
        }
        let (records, lost_ranges, stop) = read_all(dir.path());
        if stop != Stop::Tail {
            return Err(format!("life {life_no}: the reader stops at {stop:?}"));
        }
        let old: Vec<Owned> = records.iter().filter(|r| r.seq.epoch() < life.epoch).cloned().collect();
        let old_lost = lost_ranges.iter().filter(|l| l.from.epoch() < life.epoch).count();
        if old != history || old_lost != reported.len() {
            return Err(format!(
                "life {life_no}, {kind:?}: what earlier lives left has changed: {} records, now {}; {reported:?}, now {lost_ranges:?}",
                history.len(),
                old.len()
            ));
        }
        history = records.clone();
        let lost_ranges: Vec<LostRange> = lost_ranges.into_iter().skip(old_lost).collect();
        reported.extend(&lost_ranges);
        judge(&life, kind, &records, &lost_ranges).map_err(|err| format!("life {life_no}, {kind:?}: {err}"))?;

        // The reader's place may lie beyond what survived; its next life continues there.
        let mut reader = LogReader::open(dir.path(), ahead, ReaderOptions::default()).unwrap();
        drain(&mut reader);
        ahead = Position { seq: last_read.map_or(Seq(0), Seq::next), ..reader.position() };
        disk = SimStorage::lying(rng.next(), lie);
        disk.load(dir.path(), Path::new(ROOT)).unwrap();
    }
    Ok(())
}

#[test]
fn no_crash_loses_what_was_durable_or_hides_what_was_lost() {
    let seed = support::seed("crash_model");
    let runs = if std::env::var("TAPEDECK_SEED").is_ok() { 1 } else { support::runs(60) };
    for run in 0..runs {
        let seed = seed.wrapping_add(run);
        if let Err(err) = one_run(seed, Lie::None) {
            panic!("TAPEDECK_SEED={seed}: {err}");
        }
    }
}

#[test]
fn a_disk_that_only_pretends_to_sync_is_found_out() {
    for lie in [Lie::SyncDoesNothing, Lie::SyncDirDoesNothing] {
        let caught = (0..60).any(|seed| {
            std::panic::catch_unwind(|| one_run(1000 + seed, lie)).is_ok_and(|r| r.is_err())
                || std::panic::catch_unwind(|| one_run(1000 + seed, lie)).is_err()
        });
        assert!(caught, "{lie:?} went unnoticed");
    }
}

#[test]
fn a_commit_word_without_its_payload_is_found_out() {
    // The planted bug "commit before payload": the kill image as it would be then.
    let mut caught = false;
    for seed in 0..10 {
        let mut rng = Rng(seed);
        let disk = SimStorage::new(seed);
        let Some(mut life) = live(&disk, &mut rng, 0, Crash::Process) else { continue };
        let Some((path, bytes)) = life
            .crash
            .files
            .iter_mut()
            .rfind(|(p, b)| p.extension().is_some_and(|e| e == "wal") && b[4096..4100] != [0; 4])
        else {
            continue;
        };
        let mut at = 4096;
        let mut last = at;
        while let Ok(len) = wal_format::record::committed_len(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
        {
            last = at;
            at += len.next_multiple_of(8);
        }
        let _ = path;
        bytes[last + 8..at].fill(0);
        let dir = tempfile::tempdir().unwrap();
        life.crash.write_to(Path::new(ROOT), dir.path()).unwrap();
        caught |= repair(dir.path()).unwrap().lost_below_durable.is_some();
        let (records, lost_ranges, _) = read_all(dir.path());
        caught |= judge(&life, Crash::Process, &records, &lost_ranges).is_err();
    }
    assert!(caught);
}
