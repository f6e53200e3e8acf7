//! The latest candles of single symbols, visible as soon as a trade was applied: one sequence lock per symbol.
//!
//! The writer makes the sequence odd, stores the words, makes it even. A reader copies and believes what it
//! copied when the sequence was even and the same before and after. Nobody waits: a reader that meets a writer
//! tries again a few times and then says so (the caller takes the last swap instead).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::word::Word;
use model::interval::Interval;
use model::kline::KlineData;

/// Symbols of one allocation; the store grows by whole ones, so readers never see it move.
const CHUNK: usize = 64;
/// Allocations: room for 65,536 symbols.
const CHUNKS: usize = 1_024;
const SYMBOL_WORDS: usize = KlineData::WORDS * Interval::COUNT;
/// Tries of a reader before it gives up.
const TRIES: usize = 64;

/// The words behind one sequence lock.
pub(super) struct Guarded<W, const N: usize> {
    sequence: W,
    words: [W; N],
}

impl<W: Word, const N: usize> Guarded<W, N> {
    pub(super) fn new() -> Self {
        Self { sequence: W::with(0), words: std::array::from_fn(|_| W::with(0)) }
    }

    /// One writer at a time; the caller guarantees it.
    #[inline]
    pub(super) fn write(&self, values: &[u64; N]) {
        let sequence = self.sequence.get(Ordering::Relaxed);
        self.sequence.set(sequence.wrapping_add(1), Ordering::Relaxed);
        // No word may become visible before the odd sequence.
        W::barrier(Ordering::Release);
        for (word, value) in self.words.iter().zip(values) {
            word.set(*value, Ordering::Relaxed);
        }
        // The even sequence publishes all words before it.
        self.sequence.set(sequence.wrapping_add(2), Ordering::Release);
    }

    /// One try; `None` when a writer was met.
    #[inline]
    pub(super) fn read(&self, values: &mut [u64; N]) -> Option<u64> {
        let before = self.sequence.get(Ordering::Acquire);
        if !before.is_multiple_of(2) {
            return None;
        }
        for (value, word) in values.iter_mut().zip(&self.words) {
            *value = word.get(Ordering::Relaxed);
        }
        // No word may be loaded after this.
        W::barrier(Ordering::Acquire);
        (self.sequence.get(Ordering::Relaxed) == before).then_some(before)
    }
}

type Symbol = Guarded<AtomicU64, SYMBOL_WORDS>;

/// The latest candles by symbol.
pub struct LatestSlots {
    chunks: Box<[OnceLock<Box<[Symbol]>>]>,
}

impl Default for LatestSlots {
    fn default() -> Self {
        Self::new()
    }
}

impl LatestSlots {
    /// No candle yet.
    pub fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }

    /// Shows the bars of a symbol. Only the one thread that owns the symbol calls this. False when the index is
    /// beyond all room.
    pub fn store(&self, symbol_index: u32, bars: &[KlineData; Interval::COUNT]) -> bool {
        let index = symbol_index as usize;
        let Some(chunk) = self.chunks.get(index / CHUNK) else { return false };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Symbol::new()).collect());
        let Some(symbol) = chunk.get(index % CHUNK) else { return false };
        symbol.write(&pack(bars));
        true
    }

    /// The bars of a symbol by period index, all of one instant. `None` when there are none yet, or when a
    /// writer was met too often.
    pub fn load(&self, symbol_index: u32) -> Option<[KlineData; Interval::COUNT]> {
        let index = symbol_index as usize;
        let symbol = self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)?;
        let mut words = [0; SYMBOL_WORDS];
        for _ in 0..TRIES {
            match symbol.read(&mut words) {
                Some(0) => return None,
                Some(_) => return Some(unpack(&words)),
                None => std::hint::spin_loop(),
            }
        }
        None
    }
}

pub(super) fn pack(bars: &[KlineData; Interval::COUNT]) -> [u64; SYMBOL_WORDS] {
    let mut words = [0; SYMBOL_WORDS];
    for (out, bar) in words.chunks_exact_mut(KlineData::WORDS).zip(bars) {
        out.copy_from_slice(&bar.to_words());
    }
    words
}

pub(super) fn unpack(words: &[u64; SYMBOL_WORDS]) -> [KlineData; Interval::COUNT] {
    let mut bars = [KlineData::default(); Interval::COUNT];
    for (bar, words) in bars.iter_mut().zip(words.chunks_exact(KlineData::WORDS)) {
        if let Ok(words) = words.try_into() {
            *bar = KlineData::from_words(words);
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_symbol_without_bars_has_none_and_one_beyond_all_room_is_refused() {
        let slots = LatestSlots::new();
        assert!(slots.load(0).is_none() && slots.load(u32::MAX).is_none());
        let bars = [KlineData::flat(5, 7, 0, 0); Interval::COUNT];
        assert!(slots.store(3, &bars) && !slots.store(u32::MAX, &bars));
        assert_eq!(slots.load(3), Some(bars));
        assert!(slots.load(2).is_none());
    }

    #[test]
    fn readers_beside_a_busy_writer_never_see_parts_of_two_states() {
        let slots = LatestSlots::new();
        let stop = AtomicBool::new(false);
        // Every field of every bar carries the same number: a mixed read shows.
        let state = |n: i64| {
            let bar = KlineData {
                high: n,
                low: n,
                close: n,
                volume: n.into(),
                quote_volume: n.into(),
                ..KlineData::flat(n, n, 0, 0)
            };
            [bar; Interval::COUNT]
        };
        slots.store(0, &state(1));
        std::thread::scope(|s| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    s.spawn(|| {
                        let (mut seen, mut last) = (0_u64, 0);
                        while !stop.load(Ordering::Relaxed) || seen == 0 {
                            let Some(bars) = slots.load(0) else { continue };
                            let n = bars[0].open;
                            assert_eq!(bars, state(n));
                            assert!(n >= last, "a later read is not older");
                            (seen, last) = (seen + 1, n);
                        }
                        seen
                    })
                })
                .collect();
            for n in 2..40_000 {
                slots.store(0, &state(n));
            }
            stop.store(true, Ordering::Relaxed);
            assert!(readers.into_iter().map(|r| r.join().unwrap()).all(|seen| seen > 0));
        });
    }
}
