//! Archived segments: the same records as the segment, any of them by inflating one frame, damage named and bounded,
//! nothing lost by a kill.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::support::build::SegmentBuilder;
use proptest::prelude::*;
use wal_format::archive::{self, PackStep, layout, pack};
use wal_format::header::SegmentHeader;
use wal_format::verify::{Severity, verify_dirs, verify_file};
use wal_format::{
    Append, Clock, ClockPair, Incarnation, Kind, LogOptions, LogReader, LogWriter, LostReason, Position, ReadError,
    ReaderOptions, SegmentDirs, SegmentId, Seq, Step, SyncPolicy, list_segments, repair,
};

/// What a reader hands out, to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Record { at: Position, next: Position, ts: u64, kind: u8, payload: Vec<u8> },
    Lost { from: Seq, to: Seq, exact: bool },
}

fn following() -> ReaderOptions {
    ReaderOptions { follow_damaged: true, ..ReaderOptions::default() }
}

fn drain(reader: &mut LogReader) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        match reader.next().unwrap() {
            Step::Record(r) => seen.push(Seen::Record {
                at: r.position,
                next: r.next,
                ts: r.ts_recv_ns,
                kind: r.kind_raw,
                payload: r.payload.to_vec(),
            }),
            Step::Lost(l) => seen.push(Seen::Lost { from: l.from, to: l.to, exact: l.exact }),
            Step::Tail => return seen,
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
}

fn file(path: &Path) -> Vec<Seen> {
    drain(&mut LogReader::open_file(path, following()).unwrap())
}

fn quiet(_: PackStep) {}

/// A log of `frames` frames in segments of `mib`, closed; each frame says its number, and some bytes do not compress.
fn log(dir: &Path, frames: u64, mib: u64) -> Vec<PathBuf> {
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1_800_000_000_000_000_000));
    let clock: Clock = {
        let now = now.clone();
        std::sync::Arc::new(move || {
            let ns = now.load(std::sync::atomic::Ordering::Relaxed);
            ClockPair { wall_ns: ns, mono_ns: ns }
        })
    };
    let mut options = LogOptions::new(clock);
    options.segment_bytes = mib << 20;
    options.sync = SyncPolicy::Never;
    let mut writer = LogWriter::open(dir, options).unwrap();
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    for n in 0..frames {
        let ns = now.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed);
        let mut text = format!("{{\"e\":\"trade\",\"n\":{n},\"x\":\"");
        for _ in 0..12 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(&format!("{noise:016x}"));
        }
        text.push_str("\"}");
        writer
            .append(&Append { kind: Kind::Data, conn: 1, flags: 0, ts_recv_ns: ns, payload: text.as_bytes() })
            .unwrap();
    }
    writer.close().unwrap();
    list_segments(dir).unwrap().into_iter().filter(|s| s.sealed).map(|s| s.path).collect()
}

fn archive_all(segments: &[PathBuf], to: &Path) -> Vec<PathBuf> {
    segments.iter().map(|s| pack(s, to, 3, &mut quiet).unwrap().path).collect()
}

#[test]
fn an_archive_gives_back_every_record_position_and_byte_of_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (live, kept) = (dir.path().join("live"), dir.path().join("kept"));
    let segments = log(&live, 20_000, 2);
    assert!(segments.len() > 1);
    let archives = archive_all(&segments, &kept);
    for (segment, archived) in segments.iter().zip(&archives) {
        let seen = file(segment);
        assert!(seen.len() > 1_000);
        assert_eq!(seen, file(archived));
        let raw = std::fs::read(segment).unwrap();
        let packed = std::fs::read(archived).unwrap();
        assert!(packed.len() < raw.len());
        // Any zstd gives the segment back: frames, and a table that it skips.
        assert_eq!(zstd::decode_all(&packed[..]).unwrap(), raw);
        let report = verify_file(archived, true).unwrap();
        assert!(report.faults.is_empty(), "{:?}", report.faults);
    }
    // The directory of archives is a log, a mixture is one, and so are two directories.
    let whole = drain(&mut LogReader::open(&live, Position::START, following()).unwrap());
    assert_eq!(whole, drain(&mut LogReader::open(&kept, Position::START, following()).unwrap()));
    std::fs::remove_file(&segments[0]).unwrap();
    let options = ReaderOptions { archive: Some(kept.clone()), ..following() };
    assert_eq!(whole, drain(&mut LogReader::open(&live, Position::START, options).unwrap()));
    std::fs::copy(&archives[0], archive::path(&live, SegmentId(1))).unwrap();
    assert_eq!(whole, drain(&mut LogReader::open(&live, Position::START, following()).unwrap()));
    let listed = SegmentDirs::new(&live).list().unwrap();
    assert_eq!(listed.iter().filter(|s| s.archived).count(), 1);
    assert!(listed.iter().filter(|s| s.archived).all(|s| s.sealed));
    let mut faults = 0;
    verify_dirs(&SegmentDirs::with_archive(&live, Some(&kept)), true, |r| faults += r.faults.len()).unwrap();
    assert_eq!(faults, 0);
}

#[test]
fn a_segment_that_recovery_filled_with_holes_is_archived_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.record(Kind::EpochStart, b"{}");
    for n in 0..100 {
        one.data(format!("before {n}").as_bytes());
    }
    one.lost(7, 640);
    for n in 0..100 {
        one.data(format!("after {n}").as_bytes());
    }
    let path = one.write(dir.path());
    SegmentBuilder::new(2, 1, one.counter).with(&["next"]).write(dir.path());
    let kept = dir.path().join("kept");
    assert!(matches!(pack(&path, &kept, 3, &mut quiet), Err(archive::PackError::NotSealed { .. })));
    repair(dir.path()).unwrap();
    let archived = pack(&path, &kept, 3, &mut quiet).unwrap().path;
    let seen = file(&path);
    assert!(seen.iter().any(|s| matches!(s, Seen::Lost { exact: true, .. })));
    assert_eq!(seen, file(&archived));
    // Damage after the sealing is kept too: an archive proves nothing it did not get.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let archived = pack(&path, &dir.path().join("kept2"), 3, &mut quiet).unwrap().path;
    assert_eq!(file(&path), file(&archived));
    assert_eq!(verify_file(&path, true).unwrap().worst(), verify_file(&archived, true).unwrap().worst());
}

#[test]
fn a_record_in_the_middle_is_read_by_inflating_only_what_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let (live, kept) = (dir.path().join("live"), dir.path().join("kept"));
    let segments = log(&live, 60_000, 16);
    let archived = archive_all(&segments[..1], &kept).remove(0);
    let size = std::fs::metadata(&archived).unwrap().len();
    let info = SegmentDirs::new(&kept).list().unwrap().remove(0);
    let index = info.footer.unwrap().index;
    let entry = index[index.len() / 2];
    let from = Position { segment: SegmentId(1), offset: entry.offset, seq: Seq(entry.seq) };
    let mut reader = LogReader::open(&kept, from, following()).unwrap();
    let Step::Record(r) = reader.next().unwrap() else { panic!("no record") };
    assert_eq!((r.seq, r.ts_recv_ns), (Seq(entry.seq), entry.ts_recv_ns));
    let (frames, bytes) = reader.archive_cost();
    // Header, footer, and the frame itself.
    assert!(frames <= 3, "{frames} frames of {}", layout::frame_count(16 << 20));
    assert!(bytes < size / 4, "{bytes} of {size} bytes");
}

#[test]
fn a_damaged_frame_loses_its_own_records_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (live, kept) = (dir.path().join("live"), dir.path().join("kept"));
    let segments = log(&live, 20_000, 8);
    let archived = archive_all(&segments[..1], &kept).remove(0);
    let whole = file(&archived);
    let good = std::fs::read(&archived).unwrap();
    let mut bytes = good.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&archived, &bytes).unwrap();

    let mut strict = LogReader::open_file(&archived, ReaderOptions::default()).unwrap();
    let err = loop {
        match strict.next() {
            Ok(Step::Record(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(err) => break err,
        }
    };
    assert!(matches!(err, ReadError::Archive { .. }) && err.to_string().contains("frame "), "{err}");

    let mut reader = LogReader::open_file(&archived, following()).unwrap();
    let mut lost = None;
    loop {
        match reader.next().unwrap() {
            Step::Lost(l) => assert!(lost.replace(l).is_none(), "one lost range"),
            Step::Tail => break,
            _ => {}
        }
    }
    let lost = lost.unwrap();
    assert!(lost.exact && lost.reason == LostReason::ArchiveFrame && lost.archive_frames().is_some());
    let missing = lost.count().unwrap() as usize;
    let inside = whole
        .iter()
        .filter(|s| {
            matches!(s, Seen::Record { at, next, .. }
            if next.offset > lost.offset && at.offset < lost.offset + layout::FRAME_BYTES)
        })
        .count();
    assert!(missing > 100 && missing <= inside + 1, "{missing} lost, {inside} records touch the frame");
    let left = file(&archived).iter().filter(|s| matches!(s, Seen::Record { .. })).count();
    assert_eq!(left + missing, whole.len());
    let report = verify_file(&archived, true).unwrap();
    assert!(report.worst() >= Some(Severity::Damage));
    assert!(report.faults.iter().any(|f| f.what.contains("frame ")), "{:?}", report.faults);

    // Without its table it is found by walking the frames; truncated, it is readable up to the cut.
    std::fs::write(&archived, &good[..good.len() - 1]).unwrap();
    assert_eq!(file(&archived), whole);
    assert!(verify_file(&archived, false).unwrap().faults.iter().any(|f| f.what.contains("seek table")));
    std::fs::write(&archived, &good[..good.len() / 3]).unwrap();
    let seen = file(&archived);
    let n = seen.iter().filter(|s| matches!(s, Seen::Record { .. })).count();
    assert!(n > 1_000 && seen[..n] == whole[..n], "{n}");
    assert!(matches!(seen.last(), Some(Seen::Lost { .. })));
    let what: Vec<String> = verify_file(&archived, false).unwrap().faults.into_iter().map(|f| f.what).collect();
    assert!(what.iter().any(|w| w.contains("is missing: the file is truncated")), "{what:?}");
}

#[test]
fn a_kill_at_any_step_leaves_the_segment_and_the_next_try_leaves_one_whole_archive() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let segments = log(&live, 8_000, 2);
    let segment = &segments[0];
    let raw = std::fs::read(segment).unwrap();
    let mut steps = Vec::new();
    pack(segment, &dir.path().join("all"), 3, &mut |step| steps.push(step)).unwrap();
    assert_eq!(steps.len(), layout::frame_count(2 << 20) + 3);
    for (n, step) in steps.iter().enumerate() {
        let kept = dir.path().join(format!("kept{n}"));
        let killed = catch_unwind(AssertUnwindSafe(|| {
            let mut seen = 0;
            pack(segment, &kept, 3, &mut |at| {
                seen += 1;
                if seen == n + 1 {
                    std::panic::resume_unwind(Box::new(at));
                }
            })
        }));
        assert!(killed.is_err(), "{step:?}");
        assert_eq!(std::fs::read(segment).unwrap(), raw);
        let named = archive::path(&kept, SegmentId(1)).exists();
        assert_eq!(named, *step == PackStep::Published, "{step:?}");
        // What is left is either replaced by the next try or removed.
        let other = dir.path().join(format!("other{n}"));
        std::fs::create_dir(&other).unwrap();
        for entry in std::fs::read_dir(&kept).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
        }
        assert_eq!(archive::clean(&other).unwrap(), usize::from(!named));
        let packed = pack(segment, &kept, 3, &mut quiet).unwrap();
        assert_eq!(packed.found, named);
        assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
        assert_eq!(zstd::decode_all(&std::fs::read(&packed.path).unwrap()[..]).unwrap(), raw);
    }
}

#[test]
fn a_bad_archive_under_the_right_name_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let segments = log(&dir.path().join("live"), 2_000, 2);
    let kept = dir.path().join("kept");
    let path = pack(&segments[0], &kept, 3, &mut quiet).unwrap().path;
    let good = std::fs::read(&path).unwrap();
    for bad in [&good[..good.len() / 2], &[][..], &b"something else entirely"[..]] {
        std::fs::write(&path, bad).unwrap();
        assert!(!pack(&segments[0], &kept, 3, &mut quiet).unwrap().found);
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
}

#[test]
fn an_archive_of_another_run_under_the_same_name_is_kept_beside_the_new_one() {
    let root = tempfile::tempdir().unwrap();
    let kept = root.path().join("kept");
    let segment = |dir: &str, text: &str, incarnation: u64| {
        let mut made = SegmentBuilder::new(7, 2, 0).with(&[text]);
        made.seal(8);
        let header = SegmentHeader::decode(&made.bytes).unwrap();
        let header = SegmentHeader { incarnation: Incarnation(incarnation), ..header };
        made.bytes[..4096].copy_from_slice(&header.encode());
        let dir = root.path().join(dir);
        std::fs::create_dir(&dir).unwrap();
        let path = made.write(&dir);
        repair(&dir).unwrap();
        path
    };
    let (before, after) = (segment("before", "before the restore", 5 << 60), segment("after", "after it", 6 << 60));
    let first = pack(&before, &kept, 3, &mut quiet).unwrap();
    let good = std::fs::read(&first.path).unwrap();
    for _ in 0..2 {
        pack(&after, &kept, 3, &mut quiet).unwrap();
        assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 2);
    }
    let other = kept.join("other-00000000000000000007-run2-5000000000000000.wal.zst");
    assert_eq!(std::fs::read(other).unwrap(), good);
    assert_eq!(file(&first.path), file(&after));
}

/// One small archive for the property below: its bytes, and what it holds.
fn small() -> &'static (Vec<u8>, Vec<Seen>) {
    static SMALL: std::sync::OnceLock<(Vec<u8>, Vec<Seen>)> = std::sync::OnceLock::new();
    SMALL.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let segments = log(&dir.path().join("live"), 9_000, 4);
        let path = pack(&segments[0], &dir.path().join("kept"), 1, &mut quiet).unwrap().path;
        (std::fs::read(&path).unwrap(), file(&path))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Flipped, overwritten, cut: a record that comes out is the record that went in, and whatever is missing is reported.
    #[test]
    fn damage_never_invents_a_record_and_is_never_silent(
        at in any::<prop::sample::Index>(), len in 1_usize..5_000, how in 0_u8..4, value in any::<u8>(),
    ) {
        let (good, whole) = small();
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        let end = (at + len).min(bytes.len());
        match how {
            0 => bytes[at] ^= 1 << (value & 7),
            1 => bytes[at..end].fill(value),
            2 => bytes.truncate(at),
            _ => { bytes.drain(at..end); }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = archive::path(dir.path(), SegmentId(1));
        std::fs::write(&path, &bytes).unwrap();
        let changed = bytes != *good;
        let report = verify_file(&path, true).unwrap();
        prop_assert_eq!(changed, !report.faults.is_empty(), "{:?}", report.faults);
        let Ok(mut reader) = LogReader::open_file(&path, following()) else {
            // Header and footer are both gone, and too little is left of the records.
            prop_assert!(changed && report.worst() == Some(Severity::Unreadable));
            return Ok(());
        };
        let seen = drain(&mut reader);
        let records: Vec<&Seen> = seen.iter().filter(|s| matches!(s, Seen::Record { .. })).collect();
        let mut rest = whole.iter();
        for record in &records {
            prop_assert!(rest.any(|w| w == *record), "a record that was never there");
        }
        let reported = seen.iter().any(|s| matches!(s, Seen::Lost { .. }));
        prop_assert!(records.len() == whole.len() || reported, "{} of {} and nothing said", records.len(), whole.len());
        if how == 0 {
            let most = 2 * layout::FRAME_BYTES / 250;
            prop_assert!((whole.len() - records.len()) as u64 <= most, "one bit lost {}", whole.len() - records.len());
        }
    }
}
