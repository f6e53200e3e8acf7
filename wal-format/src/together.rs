//! Words of a shared page that belong together: a reader gets all of one change, or knows that it did not.
//!
//! ```text
//!  writer: begin = n | release fence | the words | end = n (release)
//!  reader: n = end (acquire) | the words | acquire fence | begin == n?
//! ```
//!
//! A sequence lock whose counter is a word that has to be stored anyway (a record's number), so a change costs one
//! more store and no load. Each change needs a number of its own; one thread changes. A writer that is killed in
//! between leaves `begin` and `end` apart for ever: whoever reads must bound its patience. `tests/loom.rs` runs
//! these two functions.

use std::sync::atomic::Ordering;

#[cfg(not(loom))]
use std::sync::atomic::fence;

#[cfg(loom)]
use loom::sync::atomic::fence;

/// Stores what `words` stores as one change with the number `n`.
#[inline]
pub fn change<W>(n: u64, begin: impl FnOnce(u64), words: impl FnOnce() -> W, end: impl FnOnce(u64, Ordering)) -> W {
    begin(n);
    fence(Ordering::Release);
    let done = words();
    end(n, Ordering::Release);
    done
}

/// What `words` loads, if that was all of one change. `begin` and the words are to be loaded relaxed.
pub fn look<W>(begin: impl FnOnce() -> u64, words: impl FnOnce() -> W, end: impl FnOnce(Ordering) -> u64) -> Option<W> {
    let n = end(Ordering::Acquire);
    let seen = words();
    fence(Ordering::Acquire);
    (begin() == n).then_some(seen)
}
