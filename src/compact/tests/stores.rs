//! A lake that is no directory: rows go there, are gone on from, proven, rewritten, repaired and removed there, as in
//! one that is.

use std::fmt::Display;

use lake::{Body, Hour, LakeError, LakeStore, Meta, Object, Version};

use super::rewrite::hidden;
use super::*;
use crate::chain::verify as verify_chain;
use crate::replay::repair::repair;
use crate::retention::RetentionSweeper;
use fold::decode::older::without;

impl Bed {
    /// The same log, and a lake in memory of which large objects are read in ranges.
    fn in_memory(&self) -> Bed {
        let bed = self.copy_of_log();
        Bed { elsewhere: Some(Lake::in_memory(&bed.lake())), ..bed }
    }

    /// Compacts the log, to its end or to the failpoint `at`.
    fn killed_at(&self, at: &str) {
        let worker = self.worker(Mode::Drain, Bed::eager);
        armed_for(at, 1, || worker.run().unwrap());
    }

    /// Changes the object of a key, as nobody who publishes does.
    fn alter(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.at().read(key).unwrap();
        change(&mut bytes);
        self.at().replace(key, Body::Bytes(&bytes), None).unwrap();
    }

    /// Removes what is too old; parts that went.
    fn swept(&self, sweeper: &mut RetentionSweeper, cfg: &Config) -> usize {
        let mut parts = 0;
        loop {
            let swept = sweeper.sweep(cfg, &self.at(), T0 + 9 * HOUR).unwrap();
            parts += swept.parts;
            if !swept.capped {
                return parts;
            }
        }
    }
}

#[test]
fn a_lake_in_an_object_store_has_what_one_in_a_directory_has() {
    let local = three_hours(4_000);
    let memory = local.in_memory();
    local.drain();
    memory.killed_at("never");
    assert_same(&local, &memory, "in memory");
    assert_eq!(Lake::open(&memory.lake()).list("", None, None).unwrap(), [], "nothing was published beside it");
    assert!(memory.no_staging_left());
    let left = |bed: &Bed| wal_format::list_segments(&bed.wal()).unwrap().len();
    assert_eq!(left(&memory), left(&local), "segments go by what it holds");
}

#[test]
fn a_kill_at_any_step_of_publishing_leaves_the_same_objects() {
    let local = three_hours(1_000);
    let log = local.copy_of_log();
    local.drain();
    for point in
        ["before_part", "after_rename_trades", "before_manifest", "after_manifest", "after_ack", "after_retire"]
    {
        let memory = log.in_memory();
        memory.killed_at(&format!("publish.{point}"));
        memory.killed_at("never");
        assert_same(&local, &memory, point);
        assert!(verify_chain(&memory.at(), None, &[]).unwrap().is_clean(), "{point}");
    }
}

/// What each tool says of a lake and does to it, one after the other. An older decoder wrote the second of its four parts.
fn reported_by_every_tool(bed: &Bed) -> Vec<String> {
    let lake = bed.at();
    let mut all = Vec::new();
    let mut add = |what: &dyn Display| all.push(what.to_string().replace(&lake.to_string(), "<lake>"));
    without(&hidden(), || bed.drain_keeping());
    // One manifest is damaged, one is gone.
    let key = |part: usize| bed.manifests().remove(part).0.manifest();
    let (damaged, gone) = (key(0), key(2));
    let good = [&damaged, &gone].map(|key| lake.read(key).unwrap());
    bed.alter(&damaged, |bytes| {
        let at = bytes.windows(5).position(|w| w == b"\"end\"").unwrap();
        bytes[at + 1] ^= 1;
    });
    lake.delete(&gone).unwrap();
    let broken = verify_chain(&lake, None, &[]).unwrap();
    assert!(broken.fault_count() >= 2, "{broken}");
    add(&broken);
    let repaired = repair(&bed.cfg(), &lake, None).unwrap();
    assert!(repaired.len() == 2 && repaired.iter().all(|done| done.exact), "{repaired:?}");
    assert_eq!([&damaged, &gone].map(|key| lake.read(key).unwrap()), good);
    repaired.iter().for_each(|done| add(done));
    assert_eq!(std::fs::read_dir(bed.lake().join(".set-aside")).unwrap().count(), 1, "kept as a local file");
    let verify = ReplayArgs { verify: true, ..ReplayArgs::default() };
    let compared = replay(&bed.cfg(), &lake, &verify).unwrap();
    assert_eq!((compared.checked(), compared.different()), (4, 1), "{compared}");
    add(&compared);
    let rewritten = bed.rewrite();
    assert_eq!((rewritten.rewritten(), rewritten.different()), (1, 0), "{rewritten}");
    add(&rewritten);
    add(&verify_chain(&lake, None, &[]).unwrap());
    let query = quality::Query {
        venues: Vec::new(),
        from: Hour::of_ns(T0 - HOUR),
        to: Hour::of_ns(T0 + 9 * HOUR),
        by: quality::By::Hour,
    };
    let quality = quality::report(&lake, &query).unwrap();
    assert!(!quality.is_empty());
    add(&format!("{quality:?}"));
    let mut cfg = bed.cfg();
    cfg.lake.retention_hours = 2;
    assert_eq!(bed.swept(&mut RetentionSweeper::default(), &cfg), 2);
    let compared = replay(&cfg, &lake, &verify).unwrap();
    assert_eq!((compared.checked(), compared.different()), (2, 0), "{compared}");
    add(&compared);
    let proof = verify_chain(&lake, None, &[]).unwrap();
    assert!(proof.is_clean() && proof.chains[0].removed > 0, "{proof}");
    add(&proof);
    // Whoever alters rows is found out.
    let trades = bed.manifests().remove(2).0.file(Table::Trades);
    let before = lake.read(&trades).unwrap();
    bed.alter(&trades, |bytes| bytes[100] ^= 1);
    let altered = verify_chain(&lake, None, &[]).unwrap();
    assert_eq!(altered.fault_count(), 1, "{altered}");
    add(&altered);
    lake.replace(&trades, Body::Bytes(&before), None).unwrap();
    for object in lake.list("", None, None).unwrap() {
        let bytes = lake.read(&object.key).unwrap();
        let what = match object.key.ends_with("removed.jsonl") {
            // Each has the time at which it was written.
            true => format!("{} lines", String::from_utf8(bytes).unwrap().lines().count()),
            false => lake::hash::sha256_hex(&bytes),
        };
        add(&format!("{} {what}", object.key));
    }
    all
}

#[test]
fn every_tool_does_the_same_to_a_lake_in_memory_as_to_one_in_a_directory() {
    let local = three_hours(800);
    let memory = local.in_memory();
    let (in_directory, in_memory) = (reported_by_every_tool(&local), reported_by_every_tool(&memory));
    assert!(in_directory.len() > 20, "{in_directory:#?}");
    for (a, b) in in_directory.iter().zip(&in_memory) {
        assert_eq!(a, b);
    }
    assert_eq!(in_directory.len(), in_memory.len());
    assert_eq!(Lake::open(&memory.lake()).list("", None, None).unwrap(), [], "nothing is published beside it");
}

#[test]
fn a_part_that_a_crash_left_half_taken_over_is_finished_by_the_next_start_in_an_object_store_too() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let log = three_hours(800);
    for point in failpoint::rewrite_list() {
        let bed = log.in_memory();
        without(&hidden(), || bed.drain_keeping());
        assert!(armed_for(point, 1, || bed.rewrite()).is_none(), "{point} is passed");
        let mut cfg = bed.cfg();
        cfg.capture.wal.retention_hours = 24 * 365 * 50;
        let started = run(Arc::new(cfg), bed.at(), Mode::Drain, Shutdown::new(), Arc::default());
        runtime.block_on(started).unwrap();
        assert_eq!((bed.chain_is_clean(), bed.manifests()[1].1.revision), (1, 1), "{point}");
        bed.verify(4);
        assert_eq!(bed.rewrite().rewritten(), 0, "{point}");
    }
}

#[test]
fn a_full_disk_takes_no_hour_from_a_lake_that_is_not_on_it() {
    let local = three_hours(400);
    let memory = local.in_memory();
    for (bed, expected) in [(&local, 3), (&memory, 0)] {
        bed.drain();
        let mut cfg = bed.cfg();
        cfg.capture.min_free_gib = 1;
        assert_eq!(bed.swept(&mut RetentionSweeper::with_disk(|_| Some(0)), &cfg), expected);
    }
}

/// A store in which files are put again, as they are, right after each of the next `left` times that one is opened.
#[derive(Debug)]
struct PutAgain {
    lake: Lake,
    left: AtomicU64,
}

impl LakeStore for PutAgain {
    fn place(&self, key: &str) -> PathBuf {
        self.lake.place(key)
    }

    fn local(&self) -> Option<&Path> {
        self.lake.local()
    }

    fn put_new(&self, key: &str, body: Body<'_>) -> Result<(), LakeError> {
        self.lake.put_new(key, body)
    }

    fn replace(&self, key: &str, body: Body<'_>, of: Option<&Version>) -> Result<(), LakeError> {
        self.lake.replace(key, body, of)
    }

    fn get(&self, key: &str) -> Result<Option<Object>, LakeError> {
        let open = self.lake.get(key)?;
        let left = self.left.load(Ordering::Relaxed);
        if key.ends_with(".parquet") && left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            let bytes = self.lake.read(key)?;
            self.lake.replace(key, Body::Bytes(&bytes), None)?;
        }
        Ok(open)
    }

    fn head(&self, key: &str) -> Result<Option<Meta>, LakeError> {
        self.lake.head(key)
    }

    fn list(&self, folder: &str, from: Option<&str>, until: Option<&str>) -> Result<Vec<Meta>, LakeError> {
        self.lake.list(folder, from, until)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        self.lake.folders(folder)
    }

    fn delete(&self, key: &str) -> Result<(), LakeError> {
        self.lake.delete(key)
    }
}

#[test]
fn a_file_that_another_one_took_the_place_of_while_it_was_read_is_looked_at_again() {
    let bed = three_hours(400).in_memory();
    bed.drain();
    // All of the first part when it is looked at, and one when it is looked at again.
    let left = AtomicU64::new(bed.manifests()[0].1.files.len() as u64 + 1);
    let lake = Lake::with_store(Arc::new(PutAgain { lake: bed.at(), left }), &bed.lake());
    let proof = verify_chain(&lake, None, &[]).unwrap();
    assert!(proof.is_clean(), "{proof}");
}
