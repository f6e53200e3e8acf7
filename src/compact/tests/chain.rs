//! Every way to alter a lake behind its back shows.

use super::*;
use crate::chain::{ChainReport, verify};

fn verified(bed: &Bed, heads: &[String]) -> ChainReport {
    verify(&bed.at(), None, heads).unwrap()
}

/// A lake of four chained parts.
fn published() -> Bed {
    let bed = three_hours(200);
    bed.drain();
    assert_eq!(bed.manifests().len(), 4);
    bed
}

#[test]
fn the_parts_of_a_log_are_one_chain_however_often_the_compactor_was_stopped() {
    let bed = three_hours(200);
    for at in [50, 90, 300] {
        let worker = bed.worker(Mode::Drain, Bed::eager);
        armed_for("session.record", at, || worker.run().unwrap());
    }
    bed.drain();
    let report = verified(&bed, &[]);
    assert!(report.is_clean(), "{report}");
    let chain = &report.chains[0];
    assert_eq!((report.chains.len(), chain.parts, chain.removed), (1, 4, 0));
    assert_eq!(chain.files, bed.manifests().iter().map(|(_, m)| m.files.len() as u64).sum::<u64>());
    let links: Vec<bool> = bed.manifests().iter().map(|(_, m)| m.previous_sha256.is_some()).collect();
    assert_eq!(links, [false, true, true, true]);
}

#[test]
fn a_head_noted_earlier_is_found_again_when_the_log_went_on() {
    let bed = three_hours(200);
    let again = bed.copy_of_log();
    again.worker(Mode::Drain, |_| {}).run().unwrap();
    let head = verified(&again, &[]).chains[0].head.clone();
    let (part, _) = again.manifests().remove(1);
    let (_, middle) = PartManifest::load_hashed(&again.at(), &part.manifest()).unwrap();
    assert!(verified(&again, &[head, middle.to_ascii_uppercase()]).is_clean());
    let unknown = "0".repeat(64);
    let report = verified(&again, std::slice::from_ref(&unknown));
    assert!(report.to_string().contains(&unknown), "{report}");
}

/// Alters a published lake and returns what is said about it.
fn altered(change: impl FnOnce(&Bed)) -> String {
    let bed = published();
    change(&bed);
    let report = verified(&bed, &[]);
    assert!(!report.is_clean());
    report.to_string()
}

#[test]
fn a_byte_changed_in_any_file_is_named() {
    let text = altered(|bed| {
        let (_, manifest) = bed.manifests().remove(1);
        let path = bed.lake().join(&manifest.files[0].path);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    });
    assert!(text.contains("is not what was published"), "{text}");
}

#[test]
fn a_manifest_rewritten_to_fit_a_changed_file_breaks_the_chain_behind_it() {
    let text = altered(|bed| {
        let (part, mut manifest) = bed.manifests().remove(1);
        manifest.frames += 1;
        manifest.channels.values_mut().next().unwrap().decoded += 1;
        std::fs::write(bed.lake().join(part.manifest()), manifest.to_json().unwrap()).unwrap();
    });
    assert!(text.contains("after another manifest"), "{text}");
}

#[test]
fn the_newest_manifest_is_held_by_its_own_files() {
    let text = altered(|bed| {
        let (part, mut manifest) = bed.manifests().remove(3);
        manifest.gaps.clear();
        manifest.payload_sha256 = "0".repeat(64);
        std::fs::write(bed.lake().join(part.manifest()), manifest.to_json().unwrap()).unwrap();
    });
    assert!(text.contains("its account is not the one"), "{text}");
}

#[test]
fn removed_and_added_parts_and_files_are_named() {
    let gone = altered(|bed| {
        let (part, manifest) = bed.manifests().remove(1);
        std::fs::remove_file(bed.lake().join(part.manifest())).unwrap();
        for file in &manifest.files {
            std::fs::remove_file(bed.lake().join(&file.path)).unwrap();
        }
    });
    assert!(gone.contains("after another manifest"), "{gone}");
    let first = altered(|bed| {
        let (part, manifest) = bed.manifests().remove(0);
        std::fs::remove_file(bed.lake().join(part.manifest())).unwrap();
        for file in &manifest.files {
            std::fs::remove_file(bed.lake().join(&file.path)).unwrap();
        }
    });
    assert!(first.contains("the manifest before it is gone"), "{first}");
    let file = altered(|bed| {
        let (_, manifest) = bed.manifests().remove(0);
        std::fs::remove_file(bed.lake().join(&manifest.files[0].path)).unwrap();
    });
    assert!(file.contains("is not there"), "{file}");
    let added = altered(|bed| {
        let (_, manifest) = bed.manifests().remove(0);
        let path = bed.lake().join(&manifest.files[0].path);
        std::fs::copy(&path, path.with_file_name("ffffffff-0000000000000000.parquet")).unwrap();
    });
    assert!(added.contains("is named by no manifest"), "{added}");
}

#[test]
fn what_retention_removed_is_counted_and_is_no_fault() {
    let bed = published();
    let (_, manifest) = bed.manifests().remove(0);
    let path = &manifest.files[0].path;
    std::fs::remove_file(bed.lake().join(path)).unwrap();
    let note = format!("{{\"path\":\"{path}\",\"why\":\"older than 30 days\"}}\n");
    std::fs::write(bed.lake().join(crate::chain::REMOVED), note).unwrap();
    let report = verified(&bed, &[]);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.chains[0].removed, 1);
}
