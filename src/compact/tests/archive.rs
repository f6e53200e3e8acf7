//! Segments archived instead of deleted: the same lake, a log that is whole between both places, whatever is killed.

use wal_format::{LogReader, Position, ReaderOptions, SegmentDirs, Step};

use super::*;
use fold::stored_logs::archive_dir;

fn archived(cfg: &mut Config) {
    cfg.capture.wal.archive = capture::Archive::Zstd;
    Bed::eager(cfg);
    cfg.lake.batch_rows = 400;
}

impl Bed {
    /// Where this log's archive is.
    fn archive(&self) -> Option<PathBuf> {
        let uuid = wal_format::list_segments(&self.wal()).unwrap().iter().find_map(|s| s.log_uuid)?;
        Some(archive_dir(&self.cfg().capture.archive_root(), &self.wal(), &uuid))
    }

    /// Every record of the log, wherever it lies now.
    fn records(&self) -> Vec<(u64, Vec<u8>)> {
        let options = ReaderOptions { archive: self.archive(), follow_damaged: true, ..ReaderOptions::default() };
        let mut reader = LogReader::open(&self.wal(), Position::START, options).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next().unwrap() {
                Step::Record(r) => records.push((r.seq.get(), r.payload.to_vec())),
                Step::Tail => return records,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Names below the archive, of whatever kind.
    fn archive_files(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let Some(dir) = self.archive().filter(|dir| dir.is_dir()) {
            names
                .extend(std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()));
        }
        names.sort();
        names
    }
}

#[test]
fn segments_on_another_disk_are_read_archived_and_deleted_like_those_at_home() {
    let bed = three_hours(6_000);
    let plain = bed.copy_of_log();
    plain.drain();
    // Every second one, as the writer leaves them when its disk was full.
    let other = bed.root.path().join("other");
    std::fs::create_dir_all(&other).unwrap();
    let before = bed.records();
    for segment in wal_format::list_segments(&bed.wal()).unwrap().iter().step_by(2) {
        let there = other.join(segment.path.file_name().unwrap());
        std::fs::copy(&segment.path, &there).unwrap();
        std::fs::remove_file(&segment.path).unwrap();
        std::os::unix::fs::symlink(&there, &segment.path).unwrap();
    }
    let outcome = bed.worker(Mode::Drain, archived).run().unwrap();
    assert_same(&plain, &bed, "spilled");
    assert_eq!(bed.archive_files().len() as u64, outcome.segments_retired);
    assert_eq!(bed.records(), before);
    let left: Vec<PathBuf> =
        SegmentDirs::new(&bed.wal()).list().unwrap().into_iter().filter_map(|s| s.spilled).collect();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&other).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, left, "what was archived is gone over there too");
}

#[test]
fn archived_segments_leave_the_same_lake_and_replay_from_both_places_is_equal() {
    let bed = three_hours(6_000);
    let plain = bed.copy_of_log();
    let before = bed.records();
    plain.drain();
    let outcome = bed.worker(Mode::Drain, archived).run().unwrap();
    assert_same(&plain, &bed, "archived");
    let files = bed.archive_files();
    assert!(files.len() > 8 && files.len() as u64 == outcome.segments_retired, "{files:?}");
    assert_eq!(bed.records(), before, "every record is in the log or in its archive, once");
    assert!(plain.records().len() < before.len(), "without an archive they are gone");
    let parts = bed.manifests().len();
    bed.verify(parts);
    // The lake again, from nothing but the archive and what is left of the log.
    let out = bed.root.path().join("again");
    replay(&bed.cfg(), &bed.at(), &ReplayArgs { out: Some(out.clone()), ..ReplayArgs::default() }).unwrap();
    assert!(diff_trees(&bed.at(), &Lake::open(&out)).unwrap().is_empty());
    // And when the log itself is gone.
    let archive = bed.archive().unwrap();
    for segment in SegmentDirs::new(&bed.wal()).list().unwrap() {
        if segment.sealed {
            wal_format::archive::pack(&segment.path, &archive, 1, &mut |_| {}).unwrap();
        }
    }
    std::fs::remove_dir_all(bed.wal()).unwrap();
    bed.verify(parts);
}

#[test]
fn a_damaged_archive_is_named_by_the_verification_and_only_its_hour_differs() {
    let bed = three_hours(6_000);
    bed.worker(Mode::Drain, archived).run().unwrap();
    let archive = bed.archive().unwrap();
    let name = bed.archive_files().remove(3);
    let mut bytes = std::fs::read(archive.join(&name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(archive.join(&name), bytes).unwrap();
    let report = replay(&bed.cfg(), &bed.at(), &ReplayArgs { verify: true, ..ReplayArgs::default() }).unwrap();
    assert_eq!(report.different(), 1, "{report}");
    let reported = report.to_string();
    assert!(reported.contains("archive_frame 1") && reported.contains("segment 4"), "{reported}");
}

#[test]
fn a_kill_at_every_step_of_archiving_loses_no_record_and_leaves_no_orphan() {
    let clean = three_hours(1_200);
    let log = clean.copy_of_log();
    let all = clean.records();
    clean.worker(Mode::Drain, archived).run().unwrap();
    let files = clean.archive_files();
    assert!(files.len() >= 2, "{files:?}");
    let points: Vec<String> = failpoint::list().into_iter().filter(|p| p.starts_with("archive.")).collect();
    assert_eq!(points.len(), 6);
    for point in points {
        for n in [1, 2, 5] {
            let bed = log.copy_of_log();
            let worker = bed.worker(Mode::Drain, archived);
            let killed = armed_for(&point, n, || worker.run().unwrap()).is_none();
            assert!(killed || n > 1, "{point} was never met");
            assert_eq!(bed.records(), all, "after {point}:{n}");
            bed.worker(Mode::Drain, archived).run().unwrap();
            assert_same(&clean, &bed, &format!("{point}:{n}"));
            assert_eq!(bed.records(), all, "after {point}:{n} and another run");
            assert_eq!(bed.archive_files(), files, "after {point}:{n}");
        }
    }
}

#[test]
fn a_service_archives_on_a_thread_of_its_own_and_ends_in_the_middle_of_its_work() {
    let bed = three_hours(4_000);
    let all = bed.records();
    let status = Arc::<CompactorStatus>::default();
    let archiver = Arc::new(crate::archive::Archiver::new(
        Arc::new(bed.worker(Mode::Drain, archived).cfg.as_ref().clone()),
        bed.at(),
        status.clone(),
    ));
    let thread = std::thread::spawn({
        let archiver = archiver.clone();
        move || archiver.run()
    });
    let mut worker = bed.worker(Mode::Drain, archived);
    worker.archiver = Some(archiver.clone());
    assert_eq!(worker.run().unwrap().segments_retired, 0, "they are left to the archiver");
    wait_for(|| status.snapshot().venues.get("binance-spot").is_some_and(|v| v.segments_archived >= 2));
    archiver.close();
    thread.join().unwrap();
    let shown = status.snapshot().venues["binance-spot"].clone();
    assert!(shown.segments_archived == shown.segments_retired && shown.archive_bytes > 0);
    assert_eq!(bed.records(), all);
    // What was left is done by the next run.
    bed.worker(Mode::Drain, archived).run().unwrap();
    assert_eq!(bed.records(), all);
    assert!(wal_format::list_segments(&bed.wal()).unwrap().len() <= 4);
}
