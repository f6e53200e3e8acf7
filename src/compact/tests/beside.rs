//! Who looks at a lake while others change it raises no false alarm and takes nothing away.

use std::time::Duration;

use super::*;
use crate::chain::{REMOVED, verify as verify_chain};
use lake::LakeLock;

/// A lake of four parts, the log whole.
fn published() -> Bed {
    let bed = three_hours(400);
    bed.worker(Mode::Drain, |cfg| cfg.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    bed
}

/// Looks while the lake is between two states, and finishes the change under the looker's eyes.
fn beside<T: Send>(bed: &Bed, begin: impl FnOnce(), look: impl FnOnce() -> T + Send, finish: impl FnOnce()) -> T {
    let lock = LakeLock::exclusive(&bed.lake(), "test", Duration::ZERO).unwrap();
    begin();
    std::thread::scope(|s| {
        let looking = s.spawn(look);
        // Long enough for a look that does not wait to come to its false end.
        for _ in 0..300 {
            if looking.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        finish();
        drop(lock);
        looking.join().unwrap()
    })
}

/// The path of a file of the part, and the line that records its removal.
fn a_file(bed: &Bed, part: usize) -> (PathBuf, String) {
    let path = bed.manifests().remove(part).1.files.remove(0).path;
    let line = format!("{{\"path\":\"{path}\",\"why\":\"test\"}}\n");
    (bed.lake().join(path), line)
}

#[test]
fn a_proof_beside_a_publish_waits_for_the_manifest() {
    let bed = published();
    let (part, _) = bed.manifests().remove(3);
    let manifest = bed.lake().join(part.manifest());
    let bytes = std::fs::read(&manifest).unwrap();
    // Files are there, their manifest is not yet.
    let hide = || std::fs::remove_file(&manifest).unwrap();
    let publish = || std::fs::write(&manifest, &bytes).unwrap();
    let report = beside(&bed, hide, || verify_chain(&bed.at(), None, &[]).unwrap(), publish);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.chains[0].parts, 4);
}

#[test]
fn a_proof_and_a_comparison_beside_retention_take_nothing_for_lost() {
    let bed = published();
    let list = bed.lake().join(REMOVED);
    let (file, line) = a_file(&bed, 1);
    let remove = || std::fs::remove_file(&file).unwrap();
    let note = || std::fs::write(&list, &line).unwrap();
    let report = beside(&bed, remove, || verify_chain(&bed.at(), None, &[]).unwrap(), note);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.chains[0].removed, 1);
    let (file, other) = a_file(&bed, 2);
    let remove = || std::fs::remove_file(&file).unwrap();
    let note = || std::fs::write(&list, format!("{line}{other}")).unwrap();
    let args = ReplayArgs { verify: true, ..ReplayArgs::default() };
    let report = beside(&bed, remove, || replay(&bed.cfg(), &bed.at(), &args).unwrap(), note);
    assert_eq!((report.checked(), report.different()), (2, 0), "{report}");
}

#[test]
fn a_proof_and_a_comparison_beside_a_rewrite_judge_the_part_by_its_new_manifest() {
    let bed = published();
    let hidden = format!("\"T\":{}", (T0 + HOUR / 4) / 1_000_000 - 3);
    let (part, old) = bed.manifests().remove(1);
    let manifest = bed.lake().join(part.manifest());
    let bytes = std::fs::read(&manifest).unwrap();
    // An older decoder's part is rewritten: its files are moved before its manifest.
    let args = ReplayArgs { rewrite: true, fewer_rows: true, ..ReplayArgs::default() };
    let rewritten = fold::decode::older::without(&hidden, || replay(&bed.cfg(), &bed.at(), &args).unwrap());
    assert_eq!(rewritten.rewritten(), 1, "{rewritten}");
    replay(&bed.cfg(), &bed.at(), &args).unwrap();
    let new = std::fs::read(&manifest).unwrap();
    assert_ne!(bed.manifests().remove(1).1.files, old.files);
    let half = || std::fs::write(&manifest, &bytes).unwrap();
    let whole = || std::fs::write(&manifest, &new).unwrap();
    let report = beside(&bed, half, || verify_chain(&bed.at(), None, &[]).unwrap(), whole);
    assert!(report.is_clean() && report.chains[0].rewritten == 1, "{report}");
    let args = ReplayArgs { verify: true, ..ReplayArgs::default() };
    let report = beside(&bed, half, || replay(&bed.cfg(), &bed.at(), &args).unwrap(), whole);
    assert_eq!((report.checked(), report.different()), (4, 0), "{report}");
}

#[test]
fn a_manifest_that_cannot_be_read_is_reported_by_proof_and_comparison_and_hides_no_other_part() {
    let bed = published();
    let (part, _) = bed.manifests().remove(1);
    let path = bed.lake().join(part.manifest());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] = b'?';
    std::fs::write(&path, bytes).unwrap();
    let proof = verify_chain(&bed.at(), None, &[]).unwrap();
    assert!(proof.to_string().contains(path.to_str().unwrap()), "{proof}");
    assert!(!proof.to_string().contains("is named by no manifest"), "{proof}");
    let report = replay(&bed.cfg(), &bed.at(), &ReplayArgs { verify: true, ..ReplayArgs::default() }).unwrap();
    // The first and the last part are compared; the one after the unreadable one does not know what it goes on from.
    assert_eq!((report.checked(), report.different(), report.parts.len()), (3, 1, 4), "{report}");
    assert!(report.to_string().contains(path.to_str().unwrap()), "{report}");
    // A rebuilt lake has the rows all the same.
    let out = bed.root.path().join("again");
    let report =
        replay(&bed.cfg(), &bed.at(), &ReplayArgs { out: Some(out.clone()), ..ReplayArgs::default() }).unwrap();
    assert_eq!(report.parts.iter().filter(|p| p.verdict == Verdict::Rebuilt).count(), 4, "{report}");
    let rows: u64 = report.parts.iter().map(|p| p.rows).sum();
    let clean = bed.copy_of_log();
    assert_eq!(rows, clean.drain().rows);
}
