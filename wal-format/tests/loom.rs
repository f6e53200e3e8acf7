//! The publication protocol under every interleaving and every reordering the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p wal-format --release --test loom` (use a target directory
//! of its own: the flag rebuilds everything).
//!
//! The models mirror `sys::map` (publish, observe), `append::roll` (SEAL, then the next segment),
//! the reader's second look, and `positions::Live`; they take their memory orders from the code.
//! Each has a mutant with a weaker order that must fail, or the model would prove nothing.
#![cfg(loom)]

use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::thread;
use wal_format::sys::{OBSERVE, PUBLISH};

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

/// The syncer samples seq, then end: the end must lie at or behind that seq's record.
fn sample(publish: Ordering, observe: Ordering) {
    loom::model(move || {
        let live = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let theirs = Arc::clone(&live);
        let writer = thread::spawn(move || {
            for seq in 1..=2 {
                theirs.0.store(seq * 100, publish);
                theirs.1.store(seq, publish);
            }
        });
        let seq = live.1.load(observe);
        let end = live.0.load(observe);
        assert!(end >= seq * 100, "seq {seq} would be called durable, synced only to {end}");
        writer.join().unwrap();
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
fn the_syncer_never_claims_a_seq_beyond_the_range_it_syncs() {
    sample(PUBLISH, OBSERVE);
}

#[test]
fn weaker_orders_are_caught_by_these_models() {
    for (publish, observe) in [(Ordering::Relaxed, OBSERVE), (PUBLISH, Ordering::Relaxed)] {
        assert!(fails(move || publish_and_observe(publish, observe)), "{publish:?}/{observe:?}");
        assert!(fails(move || second_look(publish, observe)), "{publish:?}/{observe:?}");
        assert!(fails(move || sample(publish, observe)), "{publish:?}/{observe:?}");
    }
}
