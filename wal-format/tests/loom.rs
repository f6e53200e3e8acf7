//! The publication protocol under every interleaving and every reordering the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p wal-format --release --test loom` (use a target directory
//! of its own: the flag rebuilds everything).
//!
//! What runs here is what ships, where it can: `positions::Tail` and `together` are built on loom's atomics under
//! this flag. Commit words live in mapped memory, which loom cannot watch: those models mirror `sys::map` (publish,
//! observe), `append::roll` (SEAL, then the next segment) and the reader's second look, with the memory orders of
//! the code. Each model has a mutant (a weaker order, an older design) that must fail, or it would prove nothing.
#![cfg(loom)]

use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::thread;
use wal_format::positions::Tail;
use wal_format::sys::{OBSERVE, PUBLISH};
use wal_format::{Seq, together};

const SEAL: u32 = 99;

/// A record: its commit word, and the bytes that the commit word publishes.
struct Record {
    commit: AtomicU32,
    payload: AtomicU32,
}

/// Two segments of two records each. Zero means not written.
struct Log([[Record; 2]; 2]);

impl Log {
    fn new() -> Arc<Self> {
        let record = || Record { commit: AtomicU32::new(0), payload: AtomicU32::new(0) };
        Arc::new(Log([[record(), record()], [record(), record()]]))
    }

    fn publish(&self, segment: usize, index: usize, value: u32, order: Ordering) {
        let record = &self.0[segment][index];
        // In the code a plain copy; here an access that orders nothing, so that a stale value shows.
        record.payload.store(value, Ordering::Relaxed);
        record.commit.store(value, order);
    }

    /// The published value, or `None`.
    fn observe(&self, segment: usize, index: usize, order: Ordering) -> Option<u32> {
        let record = &self.0[segment][index];
        let commit = record.commit.load(order);
        if commit == 0 {
            return None;
        }
        assert_eq!(record.payload.load(Ordering::Relaxed), commit, "a commit word without its payload");
        Some(commit)
    }
}

fn write_over_a_roll(log: &Log, order: Ordering) {
    log.publish(0, 0, 1, order);
    log.publish(0, 1, SEAL, order);
    log.publish(1, 0, 2, order);
}

fn publish_and_observe(publish: Ordering, observe: Ordering) {
    loom::model(move || {
        let log = Log::new();
        let theirs = Arc::clone(&log);
        let writer = thread::spawn(move || write_over_a_roll(&theirs, publish));
        let mut place = (0, 0);
        let mut got = Vec::new();
        // A reader that looks often enough to meet every state; it never waits.
        for _ in 0..4 {
            let Some(value) = log.observe(place.0, place.1, observe) else { continue };
            got.push(value);
            place = if value == SEAL { (1, 0) } else { (place.0, place.1 + 1) };
            if got.len() == 3 {
                break;
            }
        }
        assert!([1, SEAL, 2].starts_with(&got), "out of order: {got:?}");
        writer.join().unwrap();
    });
}

/// The reader finds no SEAL, sees a record in the next segment, and looks again: now the SEAL
/// must be there, or a live log would be taken for a crash tail.
fn second_look(publish: Ordering, observe: Ordering) {
    loom::model(move || {
        let log = Log::new();
        let theirs = Arc::clone(&log);
        let writer = thread::spawn(move || write_over_a_roll(&theirs, publish));
        if log.observe(0, 1, observe).is_none() && log.0[1][0].commit.load(observe) != 0 {
            assert_eq!(log.observe(0, 1, observe), Some(SEAL), "a roll looks like a crash");
        }
        writer.join().unwrap();
    });
}

/// Two records, 100 bytes each after the segment's header: their ends by number.
fn end_of(seq: Seq) -> u64 {
    4096 + (seq.counter() + 1) * 104
}

/// What the syncer samples: end and number of the last committed record.
trait Sampled: Send + Sync + 'static {
    fn commit(&self, end: u64, seq: Seq);
    fn committed(&self) -> (u64, Seq);
}

impl Sampled for Tail {
    fn commit(&self, end: u64, seq: Seq) {
        Tail::commit(self, end, seq);
    }

    fn committed(&self) -> (u64, Seq) {
        Tail::committed(self)
    }
}

/// As it was in version 1: the end first, then the number, sampled in the opposite order.
struct TwoWords(AtomicU64, AtomicU64);

impl Sampled for TwoWords {
    fn commit(&self, end: u64, seq: Seq) {
        self.0.store(end, PUBLISH);
        self.1.store(seq.get(), PUBLISH);
    }

    fn committed(&self) -> (u64, Seq) {
        let seq = Seq(self.1.load(OBSERVE));
        (self.0.load(OBSERVE), seq)
    }
}

/// The syncer samples, syncs up to the end and notes the number; an end it has synced is nothing to sync. Once
/// everything is appended, one more look must leave every number noted, or whoever waits for the last one waits
/// for ever.
fn sync_what_is_committed<T: Sampled>(new: impl Fn() -> T + Send + Sync + 'static) {
    loom::model(move || {
        let tail = Arc::new(new());
        let theirs = Arc::clone(&tail);
        let writer = thread::spawn(move || {
            for n in 0..2 {
                let seq = Seq::new(1, n);
                theirs.commit(end_of(seq), seq);
            }
        });
        let (mut synced_to, mut synced) = (4096, Seq(0));
        let mut look = || {
            let (end, seq) = tail.committed();
            if end != synced_to {
                assert!(end >= end_of(seq), "{seq} would be called durable, synced only to {end}");
                (synced_to, synced) = (end, seq);
            }
            synced
        };
        look();
        look();
        writer.join().unwrap();
        assert_eq!(look(), Seq::new(1, 1), "a record is on disk and nobody is notified");
    });
}

/// A commit with a weaker order shows the place of a record whose bytes are not there yet.
fn tail_publishes(publish: Ordering, observe: Ordering) {
    loom::model(move || {
        let first = Seq::new(1, 0);
        let shared = Arc::new((Tail::new(first), AtomicU32::new(0)));
        let theirs = Arc::clone(&shared);
        let writer = thread::spawn(move || {
            theirs.1.store(7, Ordering::Relaxed);
            theirs.0.commit_ordered(end_of(first), first, publish);
        });
        if shared.0.committed_ordered(observe).1 == first {
            assert_eq!(shared.1.load(Ordering::Relaxed), 7, "a place without its bytes");
        }
        writer.join().unwrap();
    });
}

/// CONTROL's words of one position, changed twice while somebody reads: all of one change, or known not to be.
/// `fenced` is what ships; without it the words are stored before and after each other at will.
fn words_of_one_change(fenced: bool) {
    loom::model(move || {
        let page: Arc<[AtomicU64; 4]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let theirs = Arc::clone(&page);
        let relaxed = Ordering::Relaxed;
        let writer = thread::spawn(move || {
            for n in 1..=2 {
                let words = || {
                    theirs[1].store(n * 10, relaxed);
                    theirs[2].store(n * 100, relaxed);
                };
                if fenced {
                    together::change(n, |n| theirs[0].store(n, relaxed), words, |n, order| theirs[3].store(n, order));
                } else {
                    theirs[0].store(n, relaxed);
                    words();
                    theirs[3].store(n, relaxed);
                }
            }
        });
        let words = || (page[1].load(relaxed), page[2].load(relaxed));
        let seen = together::look(|| page[0].load(relaxed), words, |order| page[3].load(order));
        if let Some((a, b)) = seen {
            assert_eq!(a * 10, b, "words of two changes");
        }
        writer.join().unwrap();
        let seen = together::look(|| page[0].load(relaxed), words, |order| page[3].load(order));
        assert_eq!(seen, Some((20, 200)));
    });
}

fn fails(model: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(model).is_err()
}

#[test]
fn a_reader_sees_whole_records_in_order_over_a_roll() {
    publish_and_observe(PUBLISH, OBSERVE);
}

#[test]
fn a_reader_that_looks_twice_never_takes_a_roll_for_a_crash() {
    second_look(PUBLISH, OBSERVE);
}

#[test]
fn the_syncer_never_claims_a_seq_beyond_the_range_it_syncs_nor_forgets_one_within() {
    sync_what_is_committed(|| Tail::new(Seq::new(1, 0)));
    tail_publishes(PUBLISH, OBSERVE);
}

#[test]
fn a_position_read_from_the_control_page_is_of_one_instant() {
    words_of_one_change(true);
}

#[test]
fn weaker_orders_and_older_designs_are_caught_by_these_models() {
    for (publish, observe) in [(Ordering::Relaxed, OBSERVE), (PUBLISH, Ordering::Relaxed)] {
        assert!(fails(move || publish_and_observe(publish, observe)), "{publish:?}/{observe:?}");
        assert!(fails(move || second_look(publish, observe)), "{publish:?}/{observe:?}");
        assert!(fails(move || tail_publishes(publish, observe)), "{publish:?}/{observe:?}");
    }
    assert!(fails(|| sync_what_is_committed(|| TwoWords(AtomicU64::new(4096), AtomicU64::new(0)))));
    assert!(fails(|| words_of_one_change(false)));
}
