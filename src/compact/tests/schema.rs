//! Parts of two versions of the schema in one lake, and programs of two versions at one part.

use super::*;
use crate::chain::verify as verify_chain;
use crate::missing::EvidenceMissing;
use crate::replay::repair::repair;
use crate::settings::of_test::writing;
use crate::stage::is_state;
use lake::SchemaVersion;
use lake::work::list;

const OLD: SchemaVersion = SchemaVersion::FIRST;
const NEW: SchemaVersion = SchemaVersion::SECOND;

impl Bed {
    fn keeps(cfg: &mut Config) {
        cfg.capture.wal.retention_hours = 24 * 365 * 50;
    }

    /// What each part, and every file of it, is of.
    fn versions(&self) -> Vec<SchemaVersion> {
        let of = |(_, m): &(Part, PartManifest)| {
            for file in &m.files {
                let version = TableFile::open(&self.lake().join(&file.path)).unwrap().version();
                assert_eq!(version, m.settings.schema_version, "{}", file.path);
            }
            m.settings.schema_version
        };
        self.manifests().iter().map(of).collect()
    }

    /// Works off some records as `before`, dies, and goes on to the end as `after`.
    fn killed_and_gone_on(&self, before: SchemaVersion, after: SchemaVersion) {
        let worker = self.worker(Mode::Drain, |cfg| {
            Bed::keeps(cfg);
            Bed::eager(cfg);
            cfg.lake.batch_rows = 50;
        });
        writing(before, || assert!(armed_for("session.record", 900, || worker.run().unwrap()).is_none()));
        let staged = list(&list(&self.lake().join(".staging")).unwrap()[0]).unwrap();
        assert!(staged.iter().any(|p| is_state(p)) && staged.iter().any(|p| !is_state(p)), "{staged:?}");
        writing(after, || self.worker(Mode::Drain, Bed::keeps).run().unwrap());
    }

    #[track_caller]
    fn is_whole(&self, clean: &Bed) {
        for table in Table::ALL {
            assert_eq!(self.keys(*table), clean.keys(*table), "{table}");
        }
        assert!(self.no_staging_left() && list(&self.lake().join(".set-aside")).unwrap().is_empty());
        assert!(verify_chain(&self.at(), None, &[]).unwrap().is_clean());
        self.verify(4);
    }
}

#[test]
fn a_part_that_was_begun_in_one_version_is_finished_in_it_whoever_goes_on() {
    let clean = three_hours(3_000);
    let (up, down) = (clean.copy_of_log(), clean.copy_of_log());
    clean.drain();
    up.killed_and_gone_on(OLD, NEW);
    assert_eq!(up.versions(), [OLD, OLD, NEW, NEW], "it died in the second part");
    up.is_whole(&clean);
    down.killed_and_gone_on(NEW, OLD);
    assert_eq!(down.versions(), [NEW, NEW, OLD, OLD]);
    down.is_whole(&clean);
}

#[test]
fn a_part_is_repaired_and_read_again_in_its_own_version() {
    let bed = three_hours(3_000);
    bed.killed_and_gone_on(NEW, OLD);
    for part in 0..2 {
        let path = bed.lake().join(bed.manifests().remove(part).0.manifest());
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let done = repair(&bed.cfg(), &bed.at(), None).unwrap();
        assert!(done.len() == 1 && done[0].exact, "{done:?}");
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
    let report = replay(&bed.cfg(), &bed.at(), &ReplayArgs { rewrite: true, ..ReplayArgs::default() }).unwrap();
    assert_eq!((report.rewritten(), report.different(), report.checked()), (0, 0, 4), "{report}");
    // The log alone gives the versions again that the manifests record.
    let out = Bed::new();
    let args = ReplayArgs { out: Some(out.lake()), ..ReplayArgs::default() };
    replay(&bed.cfg(), &bed.at(), &args).unwrap();
    assert_same(&bed, &out, "rebuilt");
}

/// What a program of version 9 left as the newest manifest.
fn newer(bed: &Bed) -> (PathBuf, Vec<u8>) {
    let (part, mut manifest) = bed.manifests().pop().unwrap();
    manifest.settings.schema_version = serde_json::from_str("9").unwrap();
    let (path, bytes) = (bed.lake().join(part.manifest()), manifest.to_json().unwrap());
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[test]
fn what_a_newer_program_published_stops_the_log_is_named_and_stays_as_it_is() {
    let bed = three_hours(800);
    bed.worker(Mode::Drain, Bed::keeps).run().unwrap();
    let (path, bytes) = newer(&bed);
    let err = bed.worker(Mode::Drain, |_| {}).run().unwrap_err();
    assert!(matches!(err.evidence(), Some(EvidenceMissing::Newer { .. })), "{err:?}");
    let err = wal_format::error_chain(&err);
    assert!(
        err.contains(&path.display().to_string()) && err.contains("schema version is 9") && err.contains("fix:"),
        "{err}"
    );
    let done = repair(&bed.cfg(), &bed.at(), None).unwrap();
    assert!(done.len() == 1 && done[0].from.is_none() && done[0].was.contains("newer version"), "{done:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(list(&bed.lake().join(".set-aside")).unwrap().is_empty());
    let proof = verify_chain(&bed.at(), None, &[]).unwrap();
    assert!(!proof.is_clean() && proof.to_string().contains("newer version of tapedeck"), "{proof}");
}

#[test]
fn a_file_of_a_newer_program_that_no_manifest_names_is_not_removed() {
    let bed = three_hours(800);
    bed.worker(Mode::Drain, Bed::keeps).run().unwrap();
    let (part, _) = bed.manifests().pop().unwrap();
    std::fs::remove_file(bed.lake().join(part.manifest())).unwrap();
    let path = bed.lake().join(part.file(Table::Trades));
    let mut bytes = std::fs::read(&path).unwrap();
    // The footer is Thrift: a digit is as long as another one.
    let at = bytes.windows(14).rposition(|w| w == b"schema_version").unwrap();
    let digit = (at + 14..at + 24).find(|i| bytes[*i] == b'1').unwrap();
    bytes[digit] = b'9';
    std::fs::write(&path, &bytes).unwrap();
    let err = bed.worker(Mode::Drain, |_| {}).run().unwrap_err();
    assert!(matches!(err.evidence(), Some(EvidenceMissing::Newer { .. })), "{err:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}
