//! A manifest that is damaged or gone is made again, from the log or from the files, and the chain holds.

use super::*;
use crate::chain::{ChainReport, verify as verify_chain};
use crate::replay::repair::{Repaired, repair};
use lake::Hour;
use lake::manifest::RebuiltFrom;

/// A lake of four parts, with the whole log or what a drain leaves of it.
fn published(keep_log: bool) -> Bed {
    let bed = three_hours(800);
    let hours = if keep_log { 24 * 365 * 50 } else { 0 };
    bed.worker(Mode::Drain, |cfg| cfg.capture.wal.retention_hours = hours).run().unwrap();
    assert_eq!(bed.manifests().len(), 4);
    bed
}

fn path_of(bed: &Bed, part: usize) -> PathBuf {
    bed.lake().join(bed.manifests().remove(part).0.manifest())
}

fn damage(path: &Path) -> Vec<u8> {
    let good = std::fs::read(path).unwrap();
    let mut bad = good.clone();
    let at = bad.windows(5).position(|w| w == b"\"end\"").unwrap();
    bad[at + 1] ^= 1;
    std::fs::write(path, bad).unwrap();
    good
}

fn repaired(bed: &Bed) -> Vec<Repaired> {
    repair(&bed.cfg(), &bed.at(), None).unwrap()
}

fn proof(bed: &Bed) -> ChainReport {
    verify_chain(&bed.at(), None, &[]).unwrap()
}

#[test]
fn a_damaged_or_deleted_manifest_comes_back_byte_for_byte_while_the_log_has_its_records() {
    let bed = published(true);
    for part in 0..4 {
        let path = path_of(&bed, part);
        let good = damage(&path);
        assert!(!proof(&bed).is_clean());
        let done = repaired(&bed);
        assert_eq!((done.len(), done[0].from, done[0].exact), (1, Some(RebuiltFrom::Log), true), "{part} {done:?}");
        assert_eq!(std::fs::read(&path).unwrap(), good, "{part}");
        if part < 3 {
            std::fs::remove_file(&path).unwrap();
            assert!(repaired(&bed)[0].exact, "{part}");
            assert_eq!(std::fs::read(&path).unwrap(), good, "{part}");
        }
        assert!(proof(&bed).is_clean());
    }
    assert_eq!(repaired(&bed), []);
    bed.verify(4);
    let kept = std::fs::read_dir(bed.lake().join(".set-aside")).unwrap().count();
    assert_eq!(kept, 4, "the damaged bytes are kept");
}

#[test]
fn manifests_side_by_side_come_back_one_after_the_other() {
    let bed = published(true);
    let paths: Vec<PathBuf> = (0..4).map(|part| path_of(&bed, part)).collect();
    let good: Vec<Vec<u8>> = paths.iter().map(|path| damage(path)).collect();
    let done = repaired(&bed);
    assert!(done.len() == 4 && done.iter().all(|d| d.exact), "{done:?}");
    for (path, good) in paths.iter().zip(good) {
        assert_eq!(std::fs::read(path).unwrap(), good);
    }
    assert!(proof(&bed).is_clean());
}

#[test]
fn the_newest_part_without_a_manifest_is_left_to_the_compactor_while_the_log_has_it() {
    let bed = published(true);
    let good = std::fs::read(path_of(&bed, 3)).unwrap();
    let path = path_of(&bed, 3);
    std::fs::remove_file(&path).unwrap();
    let done = repaired(&bed);
    assert_eq!((done[0].from, done[0].exact), (None, false));
    assert!(done[0].to_string().contains("the compactor publishes it again"), "{done:?}");
    bed.drain();
    assert_eq!(std::fs::read(&path).unwrap(), good);
    assert!(proof(&bed).is_clean());
}

#[test]
fn a_manifest_whose_records_are_gone_is_rebuilt_from_its_files_and_the_chain_holds() {
    let bed = published(false);
    let shas: Vec<String> = (0..4).map(|part| manifest_at(&path_of(&bed, part)).1).collect();
    let (_, old) = bed.manifests().remove(1);
    let path = path_of(&bed, 1);
    damage(&path);
    let done = repaired(&bed);
    assert_eq!((done.len(), done[0].from, done[0].exact), (1, Some(RebuiltFrom::Files), false), "{done:?}");
    let (m, sha256) = manifest_at(&path);
    assert_eq!((m.first, m.end, &m.rows, &m.files), (old.first, old.end, &old.rows, &old.files));
    assert_eq!((&m.settings, &m.supersedes), (&old.settings, &vec![shas[1].clone()]));
    assert_ne!(sha256, shas[1]);
    let report = proof(&bed);
    assert!(report.is_clean() && report.chains[0].rebuilt == 1, "{report}");
    // Heads that were noted before, that of the lost manifest too.
    assert!(verify_chain(&bed.at(), None, &shas).unwrap().is_clean());
    // A quality report does not sell it as whole.
    let all = Hour::parse("2024-08-08", "00").unwrap();
    let query = quality::Query { venues: vec![], from: all, to: Hour(all.0 + 48), by: quality::By::Day };
    let found = quality::report(&bed.at(), &query).unwrap();
    assert!(found.iter().any(|q| !q.unaccounted.is_empty()), "{found:?}");
}

#[test]
fn behind_a_newest_manifest_that_was_rebuilt_from_its_files_the_log_goes_on_once_and_says_what_is_forgotten() {
    let bed = published(false);
    let path = path_of(&bed, 3);
    let end = bed.manifests().remove(3).1.end;
    damage(&path);
    assert_eq!(repaired(&bed)[0].from, Some(RebuiltFrom::Files));
    assert_eq!(manifest_at(&path).0.end.seq, end.seq);
    let mut log = Log::open(&bed.wal(), T0 + 5 * HOUR);
    fill(&mut log, T0 + 5 * HOUR, 1, 300, 2_000_000);
    log.writer.close().unwrap();
    bed.worker(Mode::Drain, |cfg| cfg.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    let report = proof(&bed);
    assert!(report.is_clean() && report.chains[0].parts > 4, "{report}");
    for table in [Table::Trades, Table::Depth, Table::Events] {
        assert!(bed.keys(table).values().all(|n| *n == 1), "{table}: a row is there twice");
    }
    let (part, next) = bed.manifests().remove(4);
    assert!(next.first.seq > end.seq);
    let events = std::fs::read(bed.lake().join(part.file(Table::Events))).unwrap();
    assert!(!events.is_empty());
    let file = TableFile::open(&bed.lake().join(part.file(Table::Events))).unwrap();
    let reported = file.batches(0).unwrap().map(|b| format!("{:?}", b.unwrap())).collect::<String>();
    assert!(reported.contains("continuation_lost"), "{reported}");
    bed.verify(1);
}

#[test]
fn what_neither_log_nor_files_know_is_reported_and_left_alone() {
    let bed = published(false);
    let (_, old) = bed.manifests().remove(1);
    let path = path_of(&bed, 1);
    damage(&path);
    let bad = std::fs::read(&path).unwrap();
    for file in &old.files {
        std::fs::remove_file(bed.lake().join(&file.path)).unwrap();
    }
    let done = repaired(&bed);
    assert_eq!(done[0].from, None);
    assert!(done[0].to_string().contains("NOT REBUILT"), "{done:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bad);
}
