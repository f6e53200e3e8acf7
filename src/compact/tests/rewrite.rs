//! A decoder that was wrong once: the parts it was wrong about are published anew, the others stay, and the proof of
//! the lake holds throughout.

use super::*;
use crate::compact::chain::verify as verify_chain;
use crate::compact::decode::older::without;
use crate::compact::replay::rewrite::finish;

/// A trade of the second hour, of 800 frames over three hours.
fn hidden() -> String {
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
    fn drain_keeping(&self) -> VenueOutcome {
        self.worker(Mode::Drain, |cfg| cfg.wal.retention_hours = 24 * 365 * 50).run().unwrap()
    }

    fn rewrite(&self) -> replay::Report {
        replay(&self.cfg(), &ReplayArgs { rewrite: true, ..ReplayArgs::default() }).unwrap()
    }

    fn chain_is_clean(&self) -> u64 {
        let report = verify_chain(&self.lake(), None, &[]).unwrap();
        assert!(report.is_clean(), "{report}");
        report.chains[0].rewritten
    }

    fn shas(&self) -> Vec<String> {
        let path = |(part, _): &(Part, Manifest)| part.manifest(&self.lake());
        self.manifests().iter().map(|m| Manifest::load_hashed(&path(m)).unwrap().1).collect()
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
    let anew = bed.shas();
    let changed: Vec<usize> = (0..4).filter(|i| shas[*i] != anew[*i]).collect();
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
    assert!(verify_chain(&bed.lake(), None, &shas).unwrap().is_clean());
    let report = bed.rewrite();
    assert_eq!((report.rewritten(), report.different()), (0, 0), "{report}");
    assert_eq!(bed.shas(), anew);
}

#[test]
fn a_part_is_published_anew_a_second_time_and_a_replay_elsewhere_gives_the_same_manifests() {
    let bed = published();
    bed.rewrite();
    // Back to the older decoder, and forth again.
    without(&hidden(), || assert_eq!(bed.rewrite().rewritten(), 1));
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
        // The third part that is made is the one that is published anew.
        for n in 1..4 {
            let bed = published();
            let old = bed.shas();
            if armed_for(&point, n, || bed.rewrite()).is_some() {
                break;
            }
            met += 1;
            finish(&bed.lake()).unwrap();
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
fn an_interrupted_rewrite_is_told_by_the_proof_and_finished_by_the_next_drain() {
    let bed = published();
    assert!(armed_for("rewrite.after_file", 1, || bed.rewrite()).is_none());
    let report = verify_chain(&bed.lake(), None, &[]).unwrap();
    assert!(report.to_string().contains("was interrupted"), "{report}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let cfg = Arc::new(bed.cfg());
    runtime.block_on(run(cfg, Mode::Drain, Shutdown::new(), Arc::default())).unwrap();
    assert_eq!(bed.chain_is_clean(), 1);
}

#[test]
fn a_part_whose_log_gives_other_frames_is_left_as_it_is() {
    let bed = published();
    // As if the log had been another one.
    let (part, mut manifest) = bed.manifests().remove(1);
    manifest.payload_sha256 = "0".repeat(64);
    std::fs::write(part.manifest(&bed.lake()), manifest.to_json().unwrap()).unwrap();
    let shas = bed.shas();
    let report = bed.rewrite();
    assert_eq!((report.rewritten(), report.different()), (0, 1), "{report}");
    assert!(report.to_string().contains("left as it is"), "{report}");
    assert_eq!(bed.shas(), shas);
}
