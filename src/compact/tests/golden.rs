//! A lake of each version of the schema, kept for ever below `tests/data/lake`, beside the log that all of them are made of.
//! Whatever the program of today is, it proves them, makes the same of the log, and reads their rows.

use std::process::Command;

use super::*;
use crate::chain::verify as verify_chain;
use crate::replay::repair::repair;
use crate::settings::of_test::writing;
use lake::{Difference, LakeFormat, SchemaVersion, write_text};

/// One hour from 23:30 on: two parts.
const PARTS: usize = 2;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/lake")
}

fn versions() -> impl Iterator<Item = SchemaVersion> {
    (1..).map(|n: u32| n.to_string().parse().unwrap()).take_while(|version| *version <= SchemaVersion::NEWEST)
}

fn tar(args: &[&str], dir: &Path) {
    let done = Command::new("tar").args(args).arg("-C").arg(dir).arg("wal").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The log alone.
fn log() -> Bed {
    let bed = Bed::new();
    tar(&["-xzf", data().join("log.tar.gz").to_str().unwrap()], bed.root.path());
    bed
}

/// The log and the lake of a version.
fn golden(version: SchemaVersion) -> Bed {
    let bed = log();
    let lake = data().join(format!("v{version}"));
    assert!(lake.exists(), "{} is missing: make it as tests/data/SOURCES.md says, once", lake.display());
    copy_tree(&lake, &bed.lake());
    bed
}

/// `cargo test -p tapedeck-compact make_what_is_missing -- --ignored`, with the program that first writes a version.
#[test]
#[ignore = "writes to tests/data/lake what is not there yet"]
fn make_what_is_missing() {
    std::fs::create_dir_all(data()).unwrap();
    let archive = data().join("log.tar.gz");
    if !archive.exists() {
        let bed = Bed::new();
        let mut log = Log::open(&bed.wal(), T0 - HOUR / 2);
        fill(&mut log, T0 - HOUR / 2, 1, 400, 1_000_000);
        log.writer.close().unwrap();
        tar(&["-czf", archive.to_str().unwrap()], bed.root.path());
    }
    for version in versions() {
        let lake = data().join(format!("v{version}"));
        if !lake.exists() {
            let bed = log();
            writing(version, || bed.drain());
            for entry in std::fs::read_dir(bed.lake()).unwrap().map(|entry| entry.unwrap()) {
                let name = entry.file_name();
                // Locks are no part of it.
                if !name.to_string_lossy().starts_with('.') {
                    copy_tree(&entry.path(), &lake.join(name));
                }
            }
        }
    }
}

#[test]
fn every_golden_lake_is_proven_comes_out_of_the_log_again_and_is_left_as_it_is() {
    for version in versions() {
        let bed = golden(version);
        assert_eq!(bed.manifests().len(), PARTS);
        let of_it = |(_, m): &(Part, PartManifest)| m.settings.schema_version == version && !m.files.is_empty();
        assert!(bed.manifests().iter().all(of_it), "v{version}");
        assert!(verify_chain(&bed.at(), None, &[]).unwrap().is_clean(), "v{version}");
        bed.verify(PARTS);
        let report = replay(&bed.cfg(), &bed.at(), &ReplayArgs { rewrite: true, ..ReplayArgs::default() }).unwrap();
        assert_eq!((report.rewritten(), report.different(), report.checked()), (0, 0, PARTS), "v{version}: {report}");
        std::fs::remove_file(bed.lake().join(bed.manifests().remove(0).0.manifest())).unwrap();
        assert!(repair(&bed.cfg(), &bed.at(), None).unwrap().iter().all(|done| done.exact), "v{version}");
        let changed = diff_trees(&Lake::open(&data().join(format!("v{version}"))), &bed.at()).unwrap();
        assert_eq!(changed, [], "v{version}");
        // The compactor of today goes on after it.
        let mut log = Log::open(&bed.wal(), T0 + 2 * HOUR);
        fill(&mut log, T0 + 2 * HOUR, 1, 200, 2_000_000);
        log.writer.close().unwrap();
        bed.drain();
        assert!(bed.manifests().len() > PARTS && verify_chain(&bed.at(), None, &[]).unwrap().is_clean());
    }
}

#[test]
fn golden_lakes_hold_the_same_rows_with_the_columns_of_their_version() {
    let dir = tempfile::tempdir().unwrap();
    let first = golden(SchemaVersion::FIRST);
    for version in versions() {
        let bed = golden(version);
        for difference in diff_trees(&first.at(), &bed.at()).unwrap() {
            let expected = match &difference {
                Difference::Bytes(_) => true,
                Difference::Other(path) => path.extension().is_some_and(|e| e == "json"),
                _ => false,
            };
            assert!(expected, "v{version}: {difference}");
        }
        for file in bed.manifests().iter().flat_map(|(_, m)| &m.files) {
            let path = bed.lake().join(&file.path);
            let read = TableFile::open(&path).unwrap();
            assert_eq!((read.version(), read.rows()), (version, file.rows));
            let names = |version| file.table.columns(version);
            let chunk = read.chunk(0).unwrap();
            let rows = chunk.rows();
            let newest = chunk.of_version(SchemaVersion::NEWEST).unwrap();
            assert_eq!((newest.rows(), newest.columns.len()), (rows, names(SchemaVersion::NEWEST).len()));
            let text = dir.path().join("text.csv.zst");
            assert_eq!(write_text(&path, &text, LakeFormat::Csv, 1).unwrap().rows, file.rows);
            let text =
                String::from_utf8_lossy(&zstd::decode_all(std::fs::File::open(&text).unwrap()).unwrap()).into_owned();
            assert_eq!(text.lines().next(), Some(names(version).join(",").as_str()), "v{version}");
        }
    }
}
