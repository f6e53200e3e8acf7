//! A log that is read from its chunks: the lake is the one that the log gives, byte for byte, whatever is killed.

use super::*;
use lake::{LakeStore, LocalStore};
use ship::{Chunks, LogShipper, LogStats};
use wal_format::Seq;

impl Bed {
    fn store(&self) -> Arc<dyn LakeStore> {
        Arc::new(LocalStore::new(self.root.path().join("store")))
    }

    /// Ships the log to its end, in chunks of so many bytes.
    fn ship(&self, chunk_bytes: usize) {
        let shipper = LogShipper {
            venue: "binance-spot".into(),
            dir: self.wal(),
            store: self.store(),
            chunk_ns: 1_000_000,
            chunk_bytes,
            level: 1,
            only: None,
            stats: Arc::new(LogStats::default()),
            shutdown: Shutdown::new(),
        };
        std::thread::scope(|scope| {
            let shipping = scope.spawn(|| shipper.run());
            while shipper.stats.chunks() == 0 && !shipping.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            // It stops at the end of the log.
            shipper.shutdown.trigger();
            shipping.join().unwrap().unwrap();
        });
    }

    /// The log as chunks on another machine, which has nothing of the log itself.
    fn as_chunks(&self, chunk_bytes: usize) -> Bed {
        self.ship(chunk_bytes);
        let bed = Bed::new();
        copy_tree(&self.root.path().join("store"), &bed.root.path().join("store"));
        std::fs::remove_dir_all(self.root.path().join("store")).unwrap();
        std::fs::remove_dir_all(self.wal().join("acks")).unwrap();
        bed
    }

    /// Compacts the chunks to their end, or to the failpoint `at`.
    fn compact_chunks(&self, at: &str) -> Option<VenueOutcome> {
        let [chunks] = Chunks::of_venue(&self.store(), "binance-spot").unwrap().try_into().unwrap();
        let worker = self.worker(Mode::Drain, Bed::eager);
        let worker = CompactWorker { chunks: Some(chunks), ..worker };
        armed_for(at, 1, || worker.run().unwrap())
    }
}

#[test]
fn a_lake_from_chunks_is_the_one_from_the_log_manifests_and_all() {
    let local = three_hours(4_000);
    // A second run in the last hour.
    let log = local.copy_of_log();
    let remote = log.as_chunks(20_000);
    local.drain();
    let done = remote.compact_chunks("never").unwrap();
    assert!(done.parts >= 3 && !remote.wal().exists(), "{done:?}");
    assert_same(&local, &remote, "from chunks");
    assert!(remote.no_staging_left());
    // Once more: all of it is there.
    let done = remote.compact_chunks("never").unwrap();
    assert_eq!(done.parts, 0);
}

#[test]
fn a_kill_at_any_step_leaves_the_same_lake_from_chunks() {
    let local = three_hours(1_000);
    let log = local.copy_of_log();
    let chunks = log.as_chunks(9_000);
    local.drain();
    let points = [
        "stage.after_piece_published",
        "cut.after_state",
        "cut.after_ack",
        "publish.before_part",
        "publish.after_rename_trades",
        "publish.before_manifest",
        "publish.after_manifest",
        "publish.after_ack",
        "publish.after_staging_removed",
        "resume.after_ack",
    ];
    for point in points {
        let remote = Bed::new();
        copy_tree(&chunks.root.path().join("store"), &remote.root.path().join("store"));
        remote.compact_chunks(point);
        remote.compact_chunks("never").unwrap();
        assert_same(&local, &remote, point);
    }
}

#[test]
fn a_machine_that_is_lost_loses_what_was_in_no_chunk_and_the_lake_has_all_else() {
    let local = three_hours(2_000);
    let log = local.copy_of_log();
    let remote = log.as_chunks(9_000);
    local.drain();
    // The last chunks were never put.
    let [chunks] = Chunks::of_venue(&remote.store(), "binance-spot").unwrap().try_into().unwrap();
    let names = chunks.list(Seq(0)).unwrap();
    let lost = &names[names.len() - 3..];
    lost.iter().for_each(|name| chunks.delete(*name).unwrap());
    remote.compact_chunks("never").unwrap();
    let end = remote.manifests().last().unwrap().1.end.seq;
    assert_eq!(end, lost[0].first.0, "up to the first record of the first chunk that is not there");
    for table in [Table::Trades, Table::BookTicker, Table::Depth] {
        let mut all = local.keys(table);
        all.retain(|(seq, _), _| (*seq as u64) < end);
        assert_eq!(remote.keys(table), all, "{table}");
    }
}

#[test]
fn chunks_go_when_manifests_that_are_old_enough_cover_them_and_others_stay_however_old() {
    let log = three_hours(2_000);
    let remote = log.as_chunks(9_000);
    let mut cfg = remote.cfg();
    cfg.sources.insert(VenueId::BinanceSpot, remote.store());
    let [chunks] = Chunks::of_venue(&remote.store(), "binance-spot").unwrap().try_into().unwrap();
    let left = || chunks.list(Seq(0)).unwrap();
    let before = left();
    let sweep = |cfg: &Config, hours: u64| crate::chunk_retention::sweep(cfg, &remote.at(), T0 + hours * HOUR).unwrap();
    assert_eq!(sweep(&cfg, 1_000), 0, "nothing is published");
    remote.compact_chunks("never").unwrap();
    assert_eq!(sweep(&cfg, 3), 0, "nothing is old");
    // The hour before T0 and the first one behind it.
    let gone = sweep(&cfg, 24 + 1);
    assert!(gone > 2 && gone < before.len() - 2, "{gone} of {}", before.len());
    assert_eq!(left(), before[gone..]);
    cfg.capture.wal.archive = capture::Archive::S3;
    assert_eq!(sweep(&cfg, 1_000), 0, "all are kept");
    cfg.capture.wal.archive = capture::Archive::None;
    assert_eq!(sweep(&cfg, 1_000), before.len() - gone);
    // A lake without them begins where the chunks that are left begin: it says so, and is not published twice.
    assert_eq!(remote.compact_chunks("never").unwrap().parts, 0);
}
