//! The two protocols under every interleaving and every reordering that the memory model allows (loom). They run
//! the code of this module, on loom's atomics; each has a mutant that must fail, or the model would prove nothing.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::double::Flip;
use super::latest::Guarded;
use super::word::Word;

impl Word for AtomicU64 {
    fn with(value: u64) -> Self {
        AtomicU64::new(value)
    }

    fn get(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn set(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn add(&self, value: u64, order: Ordering) {
        self.fetch_add(value, order);
    }

    fn barrier(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
}

/// An atomic that forgets every order: what the code would be without its barriers.
struct Weak(AtomicU64);

impl Word for Weak {
    fn with(value: u64) -> Self {
        Weak(AtomicU64::new(value))
    }

    fn get(&self, _: Ordering) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, value: u64, _: Ordering) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn add(&self, value: u64, _: Ordering) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn barrier(_: Ordering) {}
}

fn sequence_lock<W: Word + 'static>() {
    let slot = Arc::new(Guarded::<W, 2>::new());
    let writer = thread::spawn({
        let slot = slot.clone();
        move || {
            slot.write(&[1, 1]);
            slot.write(&[2, 2]);
        }
    });
    let mut words = [9, 9];
    if slot.read(&mut words).is_some() {
        assert_eq!(words[0], words[1], "parts of two states");
    }
    writer.join().unwrap();
    assert!(slot.read(&mut words).is_some());
    assert_eq!(words, [2, 2]);
}

/// Two words in each buffer; the writer swaps twice, so it comes back to a buffer a reader may hold.
fn double_buffer<W: Word + 'static>(pins: bool) {
    let shared = Arc::new((Flip::<W>::new(), [[W::with(0), W::with(0)], [W::with(0), W::with(0)]]));
    let reader = thread::spawn({
        let shared = shared.clone();
        move || {
            let (flip, buffers) = &*shared;
            let front = flip.pin();
            if !pins {
                flip.unpin(front);
            }
            let (a, b) = (buffers[front][0].get(Ordering::Relaxed), buffers[front][1].get(Ordering::Relaxed));
            assert_eq!(a, b, "a mixed read");
            if pins {
                flip.unpin(front);
            }
        }
    });
    let (flip, buffers) = &*shared;
    for round in 1..=2 {
        if let Some(back) = flip.back() {
            buffers[back][0].set(round, Ordering::Relaxed);
            buffers[back][1].set(round, Ordering::Relaxed);
            flip.flip(back);
        }
    }
    reader.join().unwrap();
}

fn fails(model: fn()) -> bool {
    catch_unwind(AssertUnwindSafe(|| loom::model(model))).is_err()
}

#[test]
fn the_sequence_lock_never_shows_parts_of_two_states() {
    loom::model(sequence_lock::<AtomicU64>);
}

#[test]
fn the_model_of_the_sequence_lock_finds_the_missing_barriers() {
    assert!(fails(sequence_lock::<Weak>));
}

#[test]
fn no_buffer_changes_while_a_reader_holds_it() {
    loom::model(|| double_buffer::<AtomicU64>(true));
}

#[test]
fn the_model_of_the_buffers_finds_a_reader_without_a_pin() {
    assert!(fails(|| double_buffer::<AtomicU64>(false)));
}

#[test]
fn the_model_of_the_buffers_finds_the_missing_barriers() {
    assert!(fails(|| double_buffer::<Weak>(true)));
}
