//! What may be deleted by age, size and disk, and that everything else knows about it.

use super::*;
use crate::chain;
use crate::retention::{RetentionSweeper, Swept};

fn archived(cfg: &mut Config) {
    cfg.capture.wal.archive = capture::Archive::Zstd;
}

#[test]
fn old_hours_of_the_lake_go_their_manifests_stay_and_verification_tells_them_from_loss() {
    let bed = three_hours(2_000);
    bed.worker(Mode::Drain, archived).run().unwrap();
    let manifests = bed.manifests();
    assert_eq!(manifests.len(), 4);
    let mut cfg = bed.cfg();
    // The newest hour ends at 03:00; the wall clock is far ahead, which makes nothing older.
    let now = T0 + 100_000 * HOUR;
    assert_eq!(
        RetentionSweeper::default().sweep(&cfg, &bed.at(), now).unwrap(),
        Swept::default(),
        "without limits nothing goes"
    );
    cfg.lake.retention_hours = 2;
    assert_eq!(swept(&cfg, now).1, 2);
    let left = bed.manifests();
    assert_eq!(left.len(), 4, "manifests stay");
    for (n, (_, m)) in left.iter().enumerate() {
        assert!(m.files.iter().all(|f| bed.lake().join(&f.path).exists() == (n >= 2)), "{n}");
    }
    let report = replay(&cfg, &bed.at(), &ReplayArgs { verify: true, ..ReplayArgs::default() }).unwrap();
    assert_eq!((report.checked(), report.different()), (2, 0), "{report}");
    assert!(report.to_string().contains("removed by retention"), "{report}");
    let chains = chain::verify(&bed.at(), None, &[]).unwrap();
    let reported = format!("{chains:?}");
    assert!(
        chains.chains.iter().all(|c| c.faults.is_empty()) && chains.chains.iter().any(|c| c.removed > 0),
        "{reported}"
    );
    // The compactor goes on as if nothing had happened.
    assert_eq!(bed.drain().parts, 0);
    // The newest part of the log stays even when the lake is too large.
    cfg.lake.retention_hours = 0;
    cfg.capture.min_free_gib = 1;
    let mut sweeper = RetentionSweeper::with_disk(|_| Some(0));
    assert_eq!(sweeper.sweep(&cfg, &bed.at(), now).unwrap().parts, 1);
    assert_eq!(sweeper.sweep(&cfg, &bed.at(), now).unwrap().parts, 0);
}

/// Sweeps until nothing is left for a later one; segments and parts that went.
fn swept(cfg: &Config, now: u64) -> (usize, usize) {
    swept_by(&mut RetentionSweeper::default(), cfg, now)
}

fn swept_by(sweeper: &mut RetentionSweeper, cfg: &Config, now: u64) -> (usize, usize) {
    let (mut segments, mut parts) = (0, 0);
    loop {
        let swept = sweeper.sweep(cfg, &Lake::open(&cfg.lake.dir), now).unwrap();
        (segments, parts) = (segments + swept.segments, parts + swept.parts);
        if !swept.capped {
            return (segments, parts);
        }
    }
}

#[test]
fn a_sweep_reads_only_manifests_it_does_not_know() {
    let bed = three_hours(400);
    bed.drain();
    let mut cfg = bed.cfg();
    cfg.lake.retention_hours = 24 * 365;
    let mut sweeper = RetentionSweeper::default();
    let reads: Vec<usize> = (0..3).map(|_| sweeper.sweep(&cfg, &bed.at(), T0 + 9 * HOUR).unwrap().read).collect();
    assert_eq!(reads, [4, 0, 0]);
    // Another part, and one that was rewritten.
    let mut log = Log::open(&bed.wal(), T0 + 5 * HOUR);
    fill(&mut log, T0 + 5 * HOUR, 1, 100, 2_000_000);
    log.writer.close().unwrap();
    bed.drain();
    assert_eq!(sweeper.sweep(&cfg, &bed.at(), T0 + 9 * HOUR).unwrap().read, 1);
    let (part, manifest) = bed.manifests().remove(1);
    std::fs::write(bed.lake().join(part.manifest()), serde_json::to_vec(&manifest).unwrap()).unwrap();
    assert_eq!(sweeper.sweep(&cfg, &bed.at(), T0 + 9 * HOUR).unwrap().read, 1);
}

#[test]
fn an_hour_that_the_disk_did_not_show_goes_as_a_whole_with_a_later_sweep() {
    let bed = three_hours(400);
    bed.drain();
    let mut cfg = bed.cfg();
    cfg.lake.retention_hours = 2;
    let old: Vec<PathBuf> =
        bed.manifests()[..2].iter().flat_map(|(_, m)| &m.files).map(|f| bed.lake().join(&f.path)).collect();
    let (dir, away) = (old[0].parent().unwrap(), bed.root.path().join("away"));
    std::fs::rename(dir, &away).unwrap();
    std::fs::write(dir, "no directory").unwrap();
    let mut sweeper = RetentionSweeper::default();
    assert_eq!(swept_by(&mut sweeper, &cfg, T0 + 9 * HOUR).1, 1, "the other one");
    std::fs::remove_file(dir).unwrap();
    std::fs::rename(&away, dir).unwrap();
    assert!(old[0].exists());
    assert_eq!(swept_by(&mut sweeper, &cfg, T0 + 9 * HOUR).1, 1);
    assert!(old.iter().all(|file| !file.exists()));
}

#[test]
fn archived_segments_go_by_age_and_by_disk_oldest_first_and_before_the_lake() {
    let bed = three_hours(6_000);
    bed.worker(Mode::Drain, archived).run().unwrap();
    let root = bed.root.path().join("archive");
    let count = || {
        let mut n = 0;
        for log in std::fs::read_dir(root.join("binance-spot")).unwrap() {
            n += std::fs::read_dir(log.unwrap().path()).unwrap().count();
        }
        n
    };
    let all = count();
    assert!(all > 8, "{all}");
    let mut cfg = bed.cfg();
    let mut sweeper = RetentionSweeper::with_disk(|_| Some(0));
    // Half of what is archived was received more than an hour and a half before the newest of it.
    cfg.capture.wal.archive_retention_hours = 1;
    let (segments, parts) = swept_by(&mut sweeper, &cfg, T0 + 100_000 * HOUR);
    assert!(segments > 2 && segments < all - 2 && parts == 0, "{segments}");
    assert_eq!(count(), all - segments);
    let live = wal_format::list_segments(&bed.wal()).unwrap().len();
    // Whoever reads the archive again keeps it.
    cfg.capture.wal.archive_retention_hours = 0;
    cfg.capture.min_free_gib = 1;
    let hold = wal_format::Hold::take(&root.join("binance-spot"), "replay-1", wal_format::SegmentId(0), "t").unwrap();
    assert_eq!(sweeper.sweep(&cfg, &bed.at(), T0 + 3 * HOUR).unwrap().segments, 0);
    drop(hold);
    // A full disk: of the archive and of the lake all but the newest. Never the log.
    let again = swept_by(&mut sweeper, &cfg, T0 + 3 * HOUR);
    assert_eq!(again.0, all - segments - 1);
    assert!(bed.manifests()[3].1.files.iter().all(|f| bed.lake().join(&f.path).exists()));
    assert_eq!(wal_format::list_segments(&bed.wal()).unwrap().len(), live);
}
