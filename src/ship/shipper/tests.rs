//! A shipper that is killed anywhere, a store that is away, answers that are lost, a log that is not the one it was: chunks
//! hold every committed record once, in order.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fold::source::{RecordSource, Step};
use lake::{Body, LocalStore, Meta, Object, Version};
use ops::failpoint::armed_for;
use ops::health::{Conditions, Reason};
use wal_format::{Append, Kind, LogOptions, LogWriter};

use super::*;
use crate::source::ChunkLog;

/// A store whose answers are lost, or which refuses, as often as a test wants it.
#[derive(Debug)]
struct Unreliable {
    store: LocalStore,
    /// The next so many requests to put are carried out, and answered with an error.
    lose: AtomicU64,
    /// The next so many are refused.
    refuse: AtomicU64,
}

fn take(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl LakeStore for Unreliable {
    fn place(&self, key: &str) -> PathBuf {
        self.store.place(key)
    }

    fn local(&self) -> Option<&Path> {
        self.store.local()
    }

    fn put_new(&self, key: &str, body: Body<'_>) -> Result<(), LakeError> {
        let failed = |what: &str| LakeError::Io {
            verb: "put",
            path: key.into(),
            source: std::io::Error::other(what.to_owned()),
        };
        if take(&self.refuse) {
            return Err(failed("503 Slow Down"));
        }
        let put = self.store.put_new(key, body);
        if take(&self.lose) { Err(failed("connection reset")) } else { put }
    }

    fn replace(&self, key: &str, body: Body<'_>, of: Option<&Version>) -> Result<(), LakeError> {
        self.store.replace(key, body, of)
    }

    fn get(&self, key: &str) -> Result<Option<Object>, LakeError> {
        self.store.get(key)
    }

    fn head(&self, key: &str) -> Result<Option<Meta>, LakeError> {
        self.store.head(key)
    }

    fn list(&self, folder: &str, from: Option<&str>, until: Option<&str>) -> Result<Vec<Meta>, LakeError> {
        self.store.list(folder, from, until)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        self.store.folders(folder)
    }

    fn delete(&self, key: &str) -> Result<(), LakeError> {
        self.store.delete(key)
    }
}

struct Machine {
    root: tempfile::TempDir,
    store: Arc<Unreliable>,
    conditions: Conditions,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::new(root.path().join("store"));
        let store = Arc::new(Unreliable { store, lose: AtomicU64::new(0), refuse: AtomicU64::new(0) });
        Self { root, store, conditions: Conditions::default() }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("wal")
    }

    fn writer(&self) -> LogWriter {
        let mut options = LogOptions::new(Arc::new(clock::now));
        options.segment_bytes = 64 << 10;
        LogWriter::open(&self.dir(), options).unwrap()
    }

    /// One run that writes records `from` to `to`.
    fn write(&self, from: u64, to: u64) {
        let mut log = self.writer();
        append(&mut log, from, to);
        log.close().unwrap();
    }

    fn shipper(&self, chunk_bytes: usize) -> LogShipper {
        LogShipper {
            venue: "gate-spot".into(),
            dir: self.dir(),
            store: self.store.clone(),
            chunk_ns: 1,
            chunk_bytes,
            level: 1,
            only: None,
            stats: Arc::new(LogStats::new("gate-spot", self.conditions.clone())),
            shutdown: Shutdown::new(),
        }
    }

    /// Ships to the end of the log.
    fn ship(&self, chunk_bytes: usize) -> Result<(), ShipError> {
        let shipper = self.shipper(chunk_bytes);
        // It stops at the end of the log.
        shipper.shutdown.trigger();
        Asked(&shipper).run()
    }

    fn chunks(&self) -> Chunks {
        let uuid = wal_format::lineage(&self.dir()).unwrap().unwrap().log_uuid();
        Chunks::new(self.store.clone(), "gate-spot", uuid)
    }

    /// The numbers of our records in the chunks; nothing is missing between any of them.
    fn shipped(&self) -> Vec<u64> {
        let mut log = ChunkLog::recorded(self.chunks(), Position::START);
        let mut ours = Vec::new();
        loop {
            match log.next().unwrap() {
                Step::Record(record) if record.kind() == Some(Kind::Data) => {
                    ours.push(u64::from_le_bytes(*record.payload.first_chunk().unwrap()));
                }
                Step::Record(_) => {}
                Step::End => return ours,
                step => panic!("{step:?}"),
            }
        }
    }

    fn acked(&self) -> Option<Position> {
        let acks = wal_format::log_state(&self.dir()).unwrap().acks;
        acks.into_iter().find(|a| a.reader == SHIP_READER).and_then(|a| a.ack.unwrap()).map(|ack| ack.position)
    }
}

/// A shipper that was asked to stop before it began: it goes to the end of the log all the same.
struct Asked<'a>(&'a LogShipper);

impl Asked<'_> {
    fn run(&self) -> Result<(), ShipError> {
        let lineage = wal_format::lineage(&self.0.dir).unwrap().unwrap();
        self.0.run_over(&lineage, LocalAck::open(&self.0.dir, SHIP_READER).unwrap())
    }
}

fn append(log: &mut LogWriter, from: u64, to: u64) {
    for n in from..to {
        let mut payload = n.to_le_bytes().to_vec();
        payload.resize(200 + (n as usize * 37) % 400, n as u8);
        let ts_recv_ns = 1_723_070_000_000_000_000 + n;
        log.append(&Append { ts_recv_ns, conn: 1, kind: Kind::Data, flags: 0, payload: &payload }).unwrap();
    }
}

fn all(to: u64) -> Vec<u64> {
    (0..to).collect()
}

#[test]
fn a_shipper_killed_at_every_step_of_every_chunk_ships_each_record_once_and_in_order() {
    for point in FAILPOINTS {
        let machine = Machine::new();
        let (mut to, mut kills) = (0, 0);
        for n in 1..40 {
            machine.write(to, to + 20);
            to += 20;
            // Chunks of another size each time: what is there decides.
            let chunk_bytes = 1_000 + (n as usize * 977) % 5_000;
            let killed = armed_for(point, n % 3 + 1, || machine.ship(chunk_bytes).unwrap()).is_none();
            kills += u32::from(killed);
        }
        machine.ship(1_000).unwrap();
        assert_eq!(machine.shipped(), all(to), "{point}");
        // There is something to adopt only after a kill at the right place.
        assert!(kills > 5 || *point == "ship.after_adopt", "{point}: {kills} kills");
        assert_eq!(
            machine.acked().map(|at| at.seq),
            machine.chunks().list(Seq(0)).unwrap().pop().map(|n| n.last.next())
        );
    }
}

#[test]
fn a_chunk_whose_answer_was_lost_is_adopted_by_the_next_start_after_a_kill() {
    let machine = Machine::new();
    machine.write(0, 50);
    assert!(armed_for("ship.after_put", 2, || machine.ship(4_000).unwrap()).is_none());
    let there = machine.chunks().list(Seq(0)).unwrap();
    assert_eq!(there.len(), 2);
    assert_eq!(machine.acked().unwrap().seq, there[0].last.next(), "the second one was not acknowledged");
    assert!(armed_for("ship.after_adopt", 1, || machine.ship(700).unwrap()).is_none());
    assert_eq!(machine.acked().unwrap().seq, there[1].last.next());
    machine.ship(700).unwrap();
    assert_eq!(machine.shipped(), all(50));
    assert_eq!(machine.chunks().list(Seq(0)).unwrap()[..2], there);
}

#[test]
fn answers_that_are_lost_and_requests_that_are_refused_neither_lose_nor_repeat_a_record() {
    let machine = Machine::new();
    machine.write(0, 120);
    // The claim is refused and its answer lost, and so it is with two chunks.
    machine.store.refuse.store(1, Ordering::SeqCst);
    machine.store.lose.store(3, Ordering::SeqCst);
    let shipper = machine.shipper(2_000);
    std::thread::scope(|scope| {
        let shipping = scope.spawn(|| shipper.run());
        while shipper.stats.chunks() < 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        shipper.shutdown.trigger();
        shipping.join().unwrap().unwrap();
    });
    assert_eq!(machine.shipped(), all(120));
    assert!(machine.conditions.problems().is_empty());
}

#[test]
fn a_store_that_is_away_leaves_the_log_as_it_is_and_a_stop_does_not_wait_for_it() {
    let machine = Machine::new();
    machine.write(0, 30);
    machine.store.refuse.store(u64::MAX, Ordering::SeqCst);
    let err = machine.ship(2_000).unwrap_err();
    assert!(matches!(err, ShipError::Stopped) && !err.is_alarm());
    assert_eq!(machine.acked(), None);
    machine.store.refuse.store(0, Ordering::SeqCst);
    machine.ship(2_000).unwrap();
    assert_eq!(machine.shipped(), all(30));
}

#[test]
fn a_chunk_of_the_same_name_with_other_content_is_an_alarm_and_is_left_alone() {
    let machine = Machine::new();
    machine.write(0, 30);
    machine.ship(1 << 20).unwrap();
    let name = machine.chunks().list(Seq(0)).unwrap()[0];
    // The same log, acknowledged from the beginning, and one record that is another one.
    let mut chunk = machine.chunks().get(name).unwrap().unwrap();
    let mut writer = ChunkWriter::new("gate-spot", chunk.header().log_uuid, Position::START, Vec::new()).unwrap();
    let incarnation = chunk.header().run.incarnation;
    while let Some(ChunkStep::Record(mut record)) = chunk.next() {
        record.conn ^= 1;
        writer.record(&record).unwrap();
    }
    let other = writer.finish(incarnation, &mut Packer::new(1).unwrap()).unwrap().unwrap();
    let path = machine.chunks().place_of(name);
    std::fs::write(&path, &other.bytes).unwrap();
    std::fs::remove_dir_all(machine.dir().join("acks")).unwrap();
    let err = machine.ship(1 << 20).unwrap_err();
    assert!(err.is_alarm() && err.to_string().contains("is another one"), "{err}");
    assert_eq!(std::fs::read(&path).unwrap(), other.bytes);
    // What is no chunk at all is an alarm too.
    std::fs::write(&path, b"anything").unwrap();
    assert!(machine.ship(1 << 20).unwrap_err().is_alarm());
    // And one that does not go on where the log was shipped to.
    std::fs::remove_file(&path).unwrap();
    let key = format!("{:016x}-{:016x}.tdc", name.first.0 + 1, name.last.0);
    std::fs::write(path.with_file_name(key), &other.bytes).unwrap();
    assert!(machine.ship(1 << 20).unwrap_err().is_alarm());
}

#[test]
fn a_log_that_was_restored_from_a_backup_or_cloned_is_not_taken_for_the_one_that_was_shipped() {
    let machine = Machine::new();
    machine.write(0, 10);
    machine.ship(1 << 20).unwrap();
    let backup = machine.root.path().join("backup");
    copy(&machine.dir(), &backup);
    machine.write(10, 20);
    machine.ship(1 << 20).unwrap();
    let before: Vec<_> = machine.chunks().list(Seq(0)).unwrap();
    std::fs::remove_dir_all(machine.dir()).unwrap();
    std::fs::rename(&backup, machine.dir()).unwrap();
    machine.write(100, 110);
    let err = machine.ship(1 << 20).unwrap_err();
    assert!(err.is_alarm() && err.to_string().contains("restored from a backup"), "{err}");
    assert_eq!(machine.chunks().list(Seq(0)).unwrap(), before);
    assert_eq!(machine.shipped(), all(20), "who reads the chunks sees the log that was shipped");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let dest = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &dest),
            false => assert!(std::fs::copy(entry.path(), dest).is_ok()),
        }
    }
}

#[test]
fn what_a_power_cut_took_from_the_log_after_it_was_shipped_stays_in_its_chunk() {
    let machine = Machine::new();
    let mut log = machine.writer();
    append(&mut log, 0, 10);
    let cut = machine.root.path().join("cut");
    copy(&machine.dir(), &cut);
    append(&mut log, 10, 20);
    machine.ship(1 << 20).unwrap();
    drop(log);
    // The disk has what it had been told to keep; the acknowledgement is lost too.
    std::fs::remove_dir_all(machine.dir()).unwrap();
    std::fs::rename(&cut, machine.dir()).unwrap();
    machine.write(20, 30);
    machine.ship(1 << 20).unwrap();
    assert_eq!(machine.shipped(), all(30));
}

#[test]
fn segments_go_when_the_store_has_them_where_nobody_else_reads_the_log() {
    let machine = Machine::new();
    machine.write(0, 600);
    let segments = || wal_format::list_segments(&machine.dir()).unwrap().iter().filter(|s| s.sealed).count();
    let before = segments();
    assert!(before > 3);
    machine.ship(4_000).unwrap();
    assert_eq!(segments(), before, "a compactor decides, unless it is said that there is none");
    let chunks = machine.chunks();
    let names = chunks.list(Seq(0)).unwrap();
    // One chunk of the second segment is gone: the acknowledgement alone is no proof.
    let middle = names[names.len() / 2];
    let bytes = std::fs::read(chunks.place_of(middle)).unwrap();
    chunks.delete(middle).unwrap();
    let gone = crate::retire::retire(&machine.dir(), &chunks, 0).unwrap();
    assert!(gone < before - 2, "{gone} of {before}");
    chunks.put(middle, &bytes).unwrap();
    assert_eq!(crate::retire::retire(&machine.dir(), &chunks, 1).unwrap(), 0, "all of it is younger than an hour");
    crate::retire::retire(&machine.dir(), &chunks, 0).unwrap();
    assert_eq!(segments(), 1, "the newest one stays");
    assert_eq!(machine.shipped(), all(600));
    // Killed with the machine: it goes on after what is left.
    machine.write(600, 620);
    machine.ship(4_000).unwrap();
    assert_eq!(machine.shipped(), all(620));
}

#[test]
fn two_processes_do_not_ship_one_log_and_the_second_takes_over_when_the_first_ends() {
    let machine = Machine::new();
    machine.write(0, 10);
    let first = LocalAck::open(&machine.dir(), SHIP_READER).unwrap();
    let second = machine.shipper(1 << 20);
    std::thread::scope(|scope| {
        let shipping = scope.spawn(|| second.run());
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(second.stats.chunks(), 0);
        drop(first);
        while second.stats.chunks() == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        second.shutdown.trigger();
        shipping.join().unwrap().unwrap();
    });
    assert_eq!(machine.shipped(), all(10));
    assert_eq!(machine.conditions.text(Reason::ShippingStopped, "gate-spot"), None);
}
