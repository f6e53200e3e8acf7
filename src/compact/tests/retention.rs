//! What may be deleted by age, size and disk, and that everything else knows about it.

use super::*;
use crate::compact::chain;
use crate::compact::retention::{Keeper, Swept};

fn archived(cfg: &mut Config) {
    cfg.wal.archive = Some(1);
}

#[test]
fn old_hours_of_the_lake_go_their_manifests_stay_and_verification_tells_them_from_loss() {
    let bed = three_hours(2_000);
    bed.worker(Mode::Drain, archived).run().unwrap();
    let manifests = bed.manifests();
    assert_eq!(manifests.len(), 4);
    let mut cfg = bed.cfg();
    // 04:30 of the day: the first two hours ended more than three hours ago.
    let now = T0 + 4 * HOUR + HOUR / 2;
    assert_eq!(Keeper::default().sweep(&cfg, now).unwrap(), Swept::default(), "without limits nothing goes");
    cfg.lake.retention_hours = 3;
    let swept = Keeper::default().sweep(&cfg, now).unwrap();
    assert_eq!(swept, Swept { segments: 0, parts: 2 });
    let left = bed.manifests();
    assert_eq!(left.len(), 4, "manifests stay");
    for (n, (_, m)) in left.iter().enumerate() {
        assert!(m.files.iter().all(|f| bed.lake().join(&f.path).exists() == (n >= 2)), "{n}");
    }
    let report = replay(&cfg, &ReplayArgs { verify: true, ..ReplayArgs::default() }).unwrap();
    assert_eq!((report.checked(), report.different()), (2, 0), "{report}");
    assert!(report.to_string().contains("removed by retention"), "{report}");
    let chains = chain::verify(&bed.lake(), None, &[]).unwrap();
    let told = format!("{chains:?}");
    assert!(chains.chains.iter().all(|c| c.faults.is_empty()) && chains.chains.iter().any(|c| c.removed > 0), "{told}");
    // The compactor goes on as if nothing had happened.
    assert_eq!(bed.drain().parts, 0);
    // The newest part of the log stays even when everything is too old.
    cfg.lake.retention_hours = 1;
    assert_eq!(Keeper::default().sweep(&cfg, now + 1_000 * HOUR).unwrap().parts, 1);
    assert_eq!(Keeper::default().sweep(&cfg, now + 1_000 * HOUR).unwrap().parts, 0);
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
    cfg.wal.archive_retention_hours = 2;
    let mut keeper = Keeper::with_disk(|_| Some(0));
    // Half of what is archived was received before 01:00.
    let swept = keeper.sweep(&cfg, T0 + 3 * HOUR).unwrap();
    assert!(swept.segments > 2 && swept.segments < all - 2 && swept.parts == 0, "{swept:?}");
    assert_eq!(count(), all - swept.segments);
    let segments = wal_format::list_segments(&bed.wal()).unwrap().len();
    // A full disk: everything of the archive, and of the lake all but the newest part. Never the log.
    cfg.wal.archive_retention_hours = 0;
    cfg.min_free_gib = 1;
    let again = keeper.sweep(&cfg, T0 + 3 * HOUR).unwrap();
    assert_eq!((again.segments, again.parts), (all - swept.segments, 3));
    assert_eq!(wal_format::list_segments(&bed.wal()).unwrap().len(), segments);
}
