//! What blocks reading on: tails that cannot be repaired, files that cannot be opened. Reported, red, tried
//! again without a spin; and what can be read without it is compacted.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode as Bits, mkfifoat};

use super::*;

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Bits::RUSR | Bits::WUSR).unwrap();
}

/// Two runs, the first of which was killed and whose tail nobody repaired; and no repair can take the lock.
fn unrepairable(change: impl FnOnce(&Path)) -> Bed {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 200, 1);
    let tail = log.writer.segment();
    drop(log);
    change(&wal_format::segment::path(&bed.wal(), tail));
    let mut log = Log::open_with(&bed.wal(), T0 + HOUR, false);
    fill(&mut log, T0 + HOUR, 1, 200, 10_000);
    log.writer.close().unwrap();
    let lock = bed.wal().join("LOCK");
    std::fs::remove_file(&lock).unwrap();
    fifo(&lock);
    bed
}

fn frames(bed: &Bed) -> u64 {
    bed.manifests().iter().map(|(_, m)| m.frames).sum()
}

/// Two of the 200 are events; a reply and two REST bodies come with them.
const FRAMES: u64 = 200 - 2 + 3;

#[test]
fn a_whole_tail_that_cannot_be_repaired_is_passed_and_health_stays_red_until_it_can() {
    let bed = unrepairable(|_| {});
    let worker = bed.worker(Mode::Follow, |c| c.capture.wal.retention_hours = 24 * 365 * 50);
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    let venue = || status.snapshot().venues.get("binance-spot").cloned().unwrap_or_default();
    wait_for(|| venue().activity == Activity::AtTail && venue().frames == 2 * FRAMES);
    wait_for(|| status.problems().iter().any(|p| p.contains("LOCK") && p.contains("a FIFO")));
    std::fs::remove_file(bed.wal().join("LOCK")).unwrap();
    wait_for(|| status.problems().iter().all(|p| !p.contains("repair")));
    shutdown.trigger();
    thread.join().unwrap();
    bed.drain();
    assert_eq!(frames(&bed), 2 * FRAMES);
    assert!(bed.manifests().iter().all(|(_, m)| m.lost.is_empty()), "nothing was lost by the tail");
}

#[test]
fn a_damaged_tail_that_cannot_be_repaired_ends_a_drain_with_its_cause_and_what_stands_before_it_is_published() {
    let bed = unrepairable(|path| {
        let mut bytes = std::fs::read(path).unwrap();
        let end = bytes.iter().rposition(|b| *b != 0).unwrap();
        // A record that was committed and is damaged.
        bytes[(end + 8) & !7] = 1;
        std::fs::write(path, bytes).unwrap();
    });
    let keep = |c: &mut Config| c.capture.wal.retention_hours = 24 * 365 * 50;
    let error = wal_format::error_chain(&bed.worker(Mode::Drain, keep).run().unwrap_err());
    assert!(error.contains("LOCK") && error.contains("a FIFO"), "{error}");
    assert_eq!(frames(&bed), FRAMES, "the first run");
    std::fs::remove_file(bed.wal().join("LOCK")).unwrap();
    bed.worker(Mode::Drain, keep).run().unwrap();
    assert_eq!(frames(&bed), 2 * FRAMES);
    bed.verify(bed.manifests().len());
}

#[test]
fn a_needed_segment_that_cannot_be_reached_is_waited_for_and_a_passed_one_blocks_nothing() {
    let bed = Bed::new();
    let keep = |c: &mut Config| c.capture.wal.retention_hours = 24 * 365 * 50;
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 600, 1);
    log.writer.close().unwrap();
    let sealed: Vec<PathBuf> =
        wal_format::list_segments(&bed.wal()).unwrap().into_iter().filter(|s| s.sealed).map(|s| s.path).collect();
    let middle = &sealed[sealed.len() / 2];
    let away = bed.root.path().join("away");
    std::fs::rename(middle, &away).unwrap();
    symlink(bed.root.path().join("not mounted").join("file"), middle).unwrap();
    let error = wal_format::error_chain(&bed.worker(Mode::Drain, keep).run().unwrap_err());
    assert!(error.contains("is that disk mounted?"), "{error}");
    let before = frames(&bed);
    assert!(before > 0 && before < 600, "what is before it is published: {before}");
    assert!(bed.manifests().iter().all(|(_, m)| m.lost.is_empty()), "it is not lost while it may come back");

    let worker = bed.worker(Mode::Follow, keep);
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    wait_for(|| status.problems().iter().any(|p| p.contains("is that disk mounted?")));
    std::fs::remove_file(middle).unwrap();
    std::fs::rename(&away, middle).unwrap();
    wait_for(|| {
        let all = status.snapshot();
        all.venues.get("binance-spot").is_some_and(|v| v.activity == Activity::AtTail)
    });
    shutdown.trigger();
    thread.join().unwrap();
    bed.worker(Mode::Drain, keep).run().unwrap();
    let all = frames(&bed);
    bed.verify(bed.manifests().len());

    // Passed by everybody: its disk may go.
    std::fs::remove_file(middle).unwrap();
    symlink(bed.root.path().join("not mounted").join("file"), middle).unwrap();
    fifo(&bed.wal().join(format!("{:020}.wal", 99)));
    let mut log = Log::open(&bed.wal(), T0 + HOUR);
    fill(&mut log, T0 + HOUR, 1, 200, 10_000);
    log.writer.close().unwrap();
    bed.worker(Mode::Drain, keep).run().unwrap();
    assert_eq!(frames(&bed), all + FRAMES);
}

#[test]
fn records_known_to_have_been_behind_a_cut_are_a_lost_range_of_the_manifest_once() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 60, 1);
    let (tail, last) = (log.writer.segment(), log.writer.last_seq());
    drop(log);
    let path = wal_format::segment::path(&bed.wal(), tail);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(8192).unwrap();
    let keep = |c: &mut Config| {
        Bed::eager(c);
        c.capture.wal.retention_hours = 24 * 365 * 50;
    };
    // Killed at every record of the way and started again: reported once all the same.
    for _ in 0..3 {
        let worker = bed.worker(Mode::Drain, keep);
        armed_for("session.record", 10, || worker.run());
    }
    bed.worker(Mode::Drain, keep).run().unwrap();
    let mut log = Log::open(&bed.wal(), T0 + 2 * HOUR);
    fill(&mut log, T0 + 2 * HOUR, 1, 60, 10_000);
    log.writer.close().unwrap();
    bed.worker(Mode::Drain, keep).run().unwrap();
    let lost: Vec<_> = bed.manifests().into_iter().flat_map(|(_, m)| m.lost).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((lost[0].to_seq, lost[0].segment), (last.get(), tail.0), "{lost:?}");
    assert!(bed.keys(Table::Events).contains_key(&(lost[0].from_seq as i64, 0)), "a gap row is at the first lost seq");
}

#[test]
fn a_log_directory_that_cannot_be_listed_ends_a_drain_and_is_not_nothing_to_do() {
    let bed = Bed::new();
    std::fs::create_dir_all(bed.wal().parent().unwrap()).unwrap();
    std::fs::write(bed.wal(), "somebody's file").unwrap();
    let error = wal_format::error_chain(&bed.worker(Mode::Drain, |_| {}).run().unwrap_err());
    assert!(error.contains("list ") && error.contains(&bed.wal().display().to_string()), "{error}");
}

#[test]
fn a_drain_that_is_asked_to_stop_says_that_it_is_not_at_the_end() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 200, 1);
    log.writer.close().unwrap();
    let worker = bed.worker(Mode::Drain, |_| {});
    worker.shutdown.trigger();
    assert!(worker.run().unwrap_err().stopped());
    assert_eq!(frames(&bed), 0);
    bed.drain();
    assert_eq!(frames(&bed), FRAMES);
}

#[test]
fn health_is_red_from_the_first_failure_until_what_failed_is_stored() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 200, 1);
    log.writer.close().unwrap();
    // Where the rows of a table should go there is a file.
    let in_the_way = bed.lake().join("trades");
    std::fs::create_dir_all(bed.lake()).unwrap();
    std::fs::write(&in_the_way, "").unwrap();
    let worker = bed.worker(Mode::Follow, |_| {});
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    let red = || status.problems().iter().any(|p| p.contains("what it failed at is not stored yet"));
    let tries = || status.snapshot().venues.get("binance-spot").map_or(0, |v| v.retries);
    wait_for(red);
    let before = tries();
    wait_for(|| {
        assert!(red(), "while it starts over it is red too");
        tries() > before + 1
    });
    std::fs::remove_file(&in_the_way).unwrap();
    wait_for(|| !red());
    assert_eq!(frames(&bed), FRAMES);
    shutdown.trigger();
    thread.join().unwrap();
}

#[test]
fn a_clock_that_was_ahead_is_red_as_long_as_it_keeps_parts_open() {
    let bed = Bed::new();
    let ahead = clock::wall_ns() + 400 * 24 * HOUR;
    let mut log = Log::open(&bed.wal(), ahead);
    fill(&mut log, ahead, 1, 200, 1);
    log.writer.close().unwrap();
    // The next run has the right time again.
    let mut log = Log::open(&bed.wal(), clock::wall_ns());
    fill(&mut log, clock::wall_ns(), 1, 200, 10_000);
    let worker = bed.worker(Mode::Follow, |_| {});
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    wait_for(|| status.problems().iter().any(|p| p.contains("nothing is published and no gap is reported before")));
    shutdown.trigger();
    thread.join().unwrap();
    drop(log);
}
