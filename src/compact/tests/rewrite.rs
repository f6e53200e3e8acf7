//! A decoder that was wrong once: the parts it was wrong about are rewritten, the others stay, and the proof of
//! the lake holds throughout.

use std::time::Duration;

use super::*;
use crate::chain::verify as verify_chain;
use crate::replay::rewrite::finish;
use fold::decode::older::{without, without_behind};
use lake::LakeLock;

/// A trade of the second hour, of 800 frames over three hours.
pub(super) fn hidden() -> String {
    let at = |i: u64| T0 - HOUR / 2 + i * (3 * HOUR / 800);
    // The 200th frame comes at a quarter past midnight; its trade has this time.
    format!("\"T\":{}", at(200) / 1_000_000 - 3)
}

/// A lake of four parts, the second of which an older decoder wrote.
fn published() -> Bed {
    let bed = three_hours(800);
    without(&hidden(), || bed.drain_keeping());
    bed
}

impl Bed {
    /// A drain that keeps every segment.
    pub(super) fn drain_keeping(&self) -> VenueOutcome {
        self.worker(Mode::Drain, |cfg| cfg.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap()
    }

    pub(super) fn rewrite(&self) -> replay::ReplayReport {
        replay(&self.cfg(), &self.at(), &ReplayArgs { rewrite: true, ..ReplayArgs::default() }).unwrap()
    }

    fn rewrite_whatever(&self) -> replay::ReplayReport {
        replay(&self.cfg(), &self.at(), &ReplayArgs { rewrite: true, fewer_rows: true, ..ReplayArgs::default() })
            .unwrap()
    }

    pub(super) fn chain_is_clean(&self) -> u64 {
        let report = verify_chain(&self.at(), None, &[]).unwrap();
        assert!(report.is_clean(), "{report}");
        report.chains[0].rewritten
    }

    fn shas(&self) -> Vec<String> {
        let sha256 =
            |(part, _): &(Part, PartManifest)| PartManifest::load_hashed(&self.at(), &part.manifest()).unwrap().1;
        self.manifests().iter().map(sha256).collect()
    }

    fn undecodable(&self) -> u64 {
        self.manifests().iter().map(|(_, m)| m.totals().undecodable).sum()
    }
}

#[test]
fn only_the_part_whose_rows_changed_is_published_anew_and_everything_still_proves() {
    let right = three_hours(800);
    right.drain_keeping();
    let bed = published();
    let (shas, wrong) = (bed.shas(), bed.undecodable());
    assert_eq!(wrong, right.undecodable() + 1, "the older decoder did not know one frame");
    let report = bed.rewrite();
    assert_eq!((report.rewritten(), report.different(), report.checked()), (1, 0, 4), "{report}");
    let rewritten = bed.shas();
    let changed: Vec<usize> = (0..4).filter(|i| shas[*i] != rewritten[*i]).collect();
    assert_eq!(changed, [1], "{report}");
    let (_, manifest) = bed.manifests().remove(1);
    assert_eq!((manifest.revision, &manifest.supersedes), (1, &vec![shas[1].clone()]));
    assert_eq!(bed.undecodable(), right.undecodable());
    for table in [Table::Trades, Table::Depth, Table::BookTicker, Table::Frames] {
        assert_eq!(bed.keys(table), right.keys(table), "{table}");
    }
    assert_eq!(bed.chain_is_clean(), 1);
    bed.verify(4);
    // A head that was noted before is accounted for; nothing is left to do.
    assert!(verify_chain(&bed.at(), None, &shas).unwrap().is_clean());
    let report = bed.rewrite();
    assert_eq!((report.rewritten(), report.different()), (0, 0), "{report}");
    assert_eq!(bed.shas(), rewritten);
}

#[test]
fn a_part_is_published_anew_a_second_time_and_a_replay_elsewhere_gives_the_same_manifests() {
    let bed = published();
    bed.rewrite();
    // Back to the older decoder, and forth again.
    without(&hidden(), || assert_eq!(bed.rewrite_whatever().rewritten(), 1));
    assert_eq!(bed.rewrite().rewritten(), 1);
    let (_, manifest) = bed.manifests().remove(1);
    assert_eq!((manifest.revision, manifest.supersedes.len()), (3, 3));
    assert_eq!(bed.chain_is_clean(), 1);
    bed.verify(4);
}

#[test]
fn a_crash_anywhere_leaves_the_old_part_or_the_new_one() {
    let points = failpoint::rewrite_list().iter().map(|p| (*p).to_owned());
    let publishing =
        ["publish.before_part", "publish.after_rename_trades", "publish.before_manifest", "publish.after_manifest"]
            .map(str::to_owned);
    let mut met = 0;
    for point in points.chain(publishing) {
        // The third part that is made is the one that is rewritten.
        for n in 1..4 {
            let bed = published();
            let old = bed.shas();
            if armed_for(&point, n, || bed.rewrite()).is_some() {
                break;
            }
            met += 1;
            finish(&bed.at()).unwrap();
            // The proof from the lake alone, and against what the log gives to the decoder of either version.
            let is_old = bed.shas() == old;
            assert_eq!(bed.chain_is_clean(), u64::from(!is_old), "{point} {n}");
            if is_old {
                without(&hidden(), || bed.verify(4))
            } else {
                bed.verify(4)
            }
            assert_eq!(bed.rewrite().different(), 0, "{point} {n}");
            assert_eq!((bed.chain_is_clean(), bed.manifests()[1].1.revision), (1, 1), "{point} {n}");
            bed.verify(4);
            assert!(!bed.lake().join(".rewrite").exists(), "{point} {n}");
        }
    }
    assert!(met > 12, "only {met} crashes");
}

#[test]
fn an_interrupted_rewrite_is_reported_by_the_proof_and_finished_by_the_next_drain() {
    let bed = published();
    assert!(armed_for("rewrite.after_file", 1, || bed.rewrite()).is_none());
    let report = verify_chain(&bed.at(), None, &[]).unwrap();
    assert!(report.to_string().contains("was interrupted"), "{report}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let cfg = Arc::new(bed.cfg());
    runtime.block_on(run(cfg, bed.at(), Mode::Drain, Shutdown::new(), Arc::default())).unwrap();
    assert_eq!(bed.chain_is_clean(), 1);
}

#[test]
fn a_part_whose_log_gives_other_frames_is_left_as_it_is() {
    let bed = published();
    // As if the log had been another one.
    let (part, mut manifest) = bed.manifests().remove(1);
    manifest.payload_sha256 = "0".repeat(64);
    std::fs::write(bed.lake().join(part.manifest()), manifest.to_json().unwrap()).unwrap();
    let shas = bed.shas();
    let report = bed.rewrite();
    assert_eq!((report.rewritten(), report.different()), (0, 1), "{report}");
    assert!(report.to_string().contains("left as it is"), "{report}");
    assert_eq!(bed.shas(), shas);
}

#[test]
fn what_the_second_reading_gives_otherwise_than_the_first_is_not_published() {
    let bed = published();
    let shas = bed.shas();
    // The first reading knows the frame that the published part lacks, the second does not.
    let report = without_behind(1, &hidden(), || bed.rewrite());
    assert_eq!((report.rewritten(), report.different()), (0, 1), "{report}");
    assert!(report.to_string().contains("left as it is: read a second time, the log gave other rows"), "{report}");
    assert_eq!(bed.shas(), shas);
    assert_eq!(bed.chain_is_clean(), 0);
    assert_eq!(bed.rewrite().rewritten(), 1);
}

#[test]
fn a_part_keeps_its_rows_when_the_log_gives_fewer_unless_that_is_asked_for() {
    let bed = three_hours(800);
    bed.drain_keeping();
    let shas = bed.shas();
    let report = without(&hidden(), || bed.rewrite());
    assert_eq!((report.rewritten(), report.different()), (0, 1), "{report}");
    assert!(report.to_string().contains("left as it is: trades would have"), "{report}");
    assert_eq!(bed.shas(), shas);
    let report = without(&hidden(), || bed.rewrite_whatever());
    assert_eq!((report.rewritten(), report.different()), (1, 0), "{report}");
}

#[test]
fn a_running_rewrite_is_left_alone_by_whoever_starts_beside_it_and_a_dead_one_is_finished() {
    let bed = published();
    assert!(armed_for("rewrite.after_file", 1, || bed.rewrite()).is_none());
    let lake = bed.lake();
    let running = LakeLock::rewrite(&lake, "replay --rewrite", Duration::ZERO).unwrap();
    // The start of a compactor, a replay --verify of nothing, and the proof.
    assert!(finish(&bed.at()).unwrap()[0].contains("left alone"));
    let nothing = ReplayArgs { verify: true, from_ns: Some(T0 + 100 * HOUR), ..ReplayArgs::default() };
    let report = replay(&bed.cfg(), &bed.at(), &nothing).unwrap();
    assert!(report.to_string().contains("left alone"), "{report}");
    let proof = verify_chain(&bed.at(), None, &[]).unwrap();
    assert!(!proof.to_string().contains("interrupted") && proof.notes.len() == 1, "{proof}");
    assert!(lake.join(".rewrite").exists());
    drop(running);
    assert!(finish(&bed.at()).unwrap()[0].starts_with("finished"));
    assert_eq!(bed.chain_is_clean(), 1);
}

#[test]
fn segments_stay_while_a_rewrite_reads_them() {
    let bed = published();
    let cfg = bed.cfg();
    let segments = || wal_format::list_segments(&bed.wal()).unwrap().len();
    let all = segments();
    // The rewrite has read the part once and waits for the lake.
    let lake = LakeLock::exclusive(&bed.lake(), "test", Duration::ZERO).unwrap();
    std::thread::scope(|s| {
        let rewriting = s.spawn(|| bed.rewrite());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
        while wal_format::holds(&bed.wal()).unwrap().iter().all(|hold| hold.from.0 < 2) && !rewriting.is_finished() {
            assert!(
                std::time::Instant::now() < end,
                "ten minutes later still: wal_format::holds(&bed.wal()).unwrap().iter().all(|hold| hold.from.0 < 2) && !rewriting.is_finished()"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        let held = wal_format::holds(&bed.wal()).unwrap();
        let readers = cfg.capture.readers(VenueId::BinanceSpot);
        let evidence = wal_format::Evidence { readers, covered: &|_| true, keep: &|_| false };
        let gone = wal_format::retire(&bed.wal(), &evidence).unwrap();
        assert!(gone.iter().all(|id| held.iter().all(|hold| *id < hold.from)), "{gone:?} {held:?}");
        assert!(gone.len() < all - 1, "{gone:?}");
        drop(lake);
        assert_eq!(rewriting.join().unwrap().rewritten(), 1);
    });
    assert_eq!(wal_format::holds(&bed.wal()).unwrap(), []);
}
