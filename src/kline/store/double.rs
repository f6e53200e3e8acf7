//! All candles of one instant: two buffers, of which readers copy the front one while the writer fills the back.
//!
//! ```text
//!  reader: f = front; pins[f] += 1; front still f? copy, pins[f] -= 1 : pins[f] -= 1, again
//!  writer: back = other(front); pins[back] > 0? leave it for the next swap
//!          : store what changed in this period and in the one before, front = back
//! ```
//!
//! The back buffer is one swap older than the front, so slots that changed in the period before are carried
//! forward too; a swap that found a pinned buffer keeps its changes for the next one. Readers never wait for the
//! writer, the writer never waits for readers. A reader holds its pin only while it copies.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::flat::FlatKlineStore;
use super::latest::{pack, unpack};
use super::word::Word;
use model::interval::Interval;
use model::kline::KlineData;

/// Symbols of one chunk.
const CHUNK: usize = 64;
/// Chunks at most: 65,536 symbols; those after are not shown here.
const CHUNKS: usize = 1_024;
const SYMBOL_WORDS: usize = KlineData::WORDS * Interval::COUNT;

/// Index of the front buffer, and how many readers pin each of the two.
pub(super) struct Flip<W> {
    front: W,
    pins: [W; 2],
}

impl<W: Word> Flip<W> {
    pub(super) fn new() -> Self {
        Self { front: W::with(0), pins: [W::with(0), W::with(0)] }
    }

    /// Pins the front buffer: it does not change before [`Flip::unpin`].
    pub(super) fn pin(&self) -> usize {
        loop {
            let front = (self.front.get(Ordering::Relaxed) & 1) as usize;
            self.pins[front].add(1, Ordering::AcqRel);
            // With the writer's barrier: either it sees this pin, or this look sees its flip.
            W::barrier(Ordering::SeqCst);
            if (self.front.get(Ordering::Acquire) & 1) as usize == front {
                return front;
            }
            self.unpin(front);
        }
    }

    pub(super) fn unpin(&self, buffer: usize) {
        if let Some(pins) = self.pins.get(buffer) {
            // What was read was read before the writer may see the pin gone.
            pins.add(u64::MAX, Ordering::AcqRel);
        }
    }

    /// The back buffer if nobody reads it; only the one writer calls this.
    pub(super) fn back(&self) -> Option<usize> {
        let back = 1 - (self.front.get(Ordering::Relaxed) & 1) as usize;
        W::barrier(Ordering::SeqCst);
        (self.pins[back].get(Ordering::Acquire) == 0).then_some(back)
    }

    /// Makes the back buffer the front one.
    pub(super) fn flip(&self, back: usize) {
        self.front.set(back as u64, Ordering::Release);
    }
}

struct Buffer {
    /// Number of the swap that filled it.
    version: AtomicU64,
    symbols: AtomicU64,
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Buffer {
    fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            symbols: AtomicU64::new(0),
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
        }
    }

    fn words(&self, symbol_index: u32) -> Option<&[AtomicU64]> {
        let index = symbol_index as usize;
        let at = index % CHUNK * SYMBOL_WORDS;
        self.chunks.get(index / CHUNK)?.get()?.get(at..at + SYMBOL_WORDS)
    }

    fn store(&self, symbol_index: u32, bars: &[KlineData; Interval::COUNT]) {
        let empty = || {
            let none = pack(&[KlineData::default(); Interval::COUNT]);
            (0..CHUNK).flat_map(|_| none.iter().map(|w| AtomicU64::new(*w))).collect()
        };
        if let Some(chunk) = self.chunks.get(symbol_index as usize / CHUNK) {
            chunk.get_or_init(empty);
        }
        if let Some(words) = self.words(symbol_index) {
            for (word, value) in words.iter().zip(pack(bars)) {
                word.store(value, Ordering::Relaxed);
            }
            self.symbols.fetch_max(u64::from(symbol_index) + 1, Ordering::Relaxed);
        }
    }

    fn load(&self, symbol_index: u32) -> Option<[KlineData; Interval::COUNT]> {
        let mut values = [0; SYMBOL_WORDS];
        for (value, word) in values.iter_mut().zip(self.words(symbol_index)?) {
            *value = word.load(Ordering::Relaxed);
        }
        Some(unpack(&values))
    }
}

/// The shared candles; see the module.
pub struct DoubleBufferedKlineStore {
    flip: Flip<AtomicU64>,
    buffers: [Buffer; 2],
}

/// The one writer's side: what changed since which swap.
pub(crate) struct Swapper {
    changed: Vec<u32>,
    before: Vec<u32>,
    version: u64,
}

impl Default for DoubleBufferedKlineStore {
    fn default() -> Self {
        Self { flip: Flip::new(), buffers: [Buffer::new(), Buffer::new()] }
    }
}

impl DoubleBufferedKlineStore {
    /// No candles yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The writer's side. There must be only one.
    pub(crate) fn swapper(&self) -> Swapper {
        Swapper { changed: Vec::new(), before: Vec::new(), version: 0 }
    }

    /// Copies all symbols as of the last swap into `out`; returns the number of that swap.
    pub fn read(&self, out: &mut FlatKlineStore) -> u64 {
        let front = self.flip.pin();
        let version = self.buffers.get(front).map_or(0, |buffer| {
            let symbols = buffer.symbols.load(Ordering::Relaxed);
            out.grow(symbols as usize);
            for index in 0..u32::try_from(symbols).unwrap_or(u32::MAX) {
                if let (Some(bars), Some(slot)) = (buffer.load(index), out.symbol_mut(index)) {
                    *slot = bars;
                }
            }
            buffer.version.load(Ordering::Relaxed)
        });
        self.flip.unpin(front);
        version
    }

    /// The bars of one symbol as of the last swap, with its number.
    pub fn symbol(&self, symbol_index: u32) -> Option<(u64, [KlineData; Interval::COUNT])> {
        let front = self.flip.pin();
        let found = self
            .buffers
            .get(front)
            .and_then(|buffer| Some((buffer.version.load(Ordering::Relaxed), buffer.load(symbol_index)?)));
        self.flip.unpin(front);
        found
    }
}

impl Swapper {
    /// The bars of this symbol differ from the last swap. Call it once per symbol and swap.
    pub fn changed(&mut self, symbol_index: u32) {
        self.changed.push(symbol_index);
    }

    /// Shows `current` to readers. Returns the number of the swap, or `None` when a reader was still copying the
    /// buffer before: nothing is lost, the next swap shows it.
    pub fn swap(&mut self, store: &DoubleBufferedKlineStore, current: &FlatKlineStore) -> Option<u64> {
        let back = store.flip.back()?;
        let buffer = store.buffers.get(back)?;
        for index in self.before.iter().chain(&self.changed) {
            if let Some(bars) = current.symbol(*index) {
                buffer.store(*index, bars);
            }
        }
        self.version += 1;
        buffer.version.store(self.version, Ordering::Relaxed);
        store.flip.flip(back);
        std::mem::swap(&mut self.before, &mut self.changed);
        self.changed.clear();
        Some(self.version)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn bars(n: i64) -> [KlineData; Interval::COUNT] {
        [KlineData { volume: n.into(), ..KlineData::flat(n, n, 0, 0) }; Interval::COUNT]
    }

    #[test]
    fn a_slot_that_did_not_change_is_the_same_in_every_later_swap() {
        let store = DoubleBufferedKlineStore::new();
        let mut swapper = store.swapper();
        let mut current = FlatKlineStore::new(3);
        let mut seen = FlatKlineStore::default();
        assert_eq!(store.read(&mut seen), 0);
        for symbol in 0..3_u32 {
            *current.symbol_mut(symbol).unwrap() = bars(i64::from(symbol) + 10);
            swapper.changed(symbol);
        }
        for round in 1..=20_i64 {
            // One symbol changes in every round, one in every fifth, one never again.
            *current.symbol_mut(0).unwrap() = bars(round);
            swapper.changed(0);
            if round % 5 == 0 {
                *current.symbol_mut(1).unwrap() = bars(round * 100);
                swapper.changed(1);
            }
            assert_eq!(swapper.swap(&store, &current), Some(round as u64));
            assert_eq!(store.read(&mut seen), round as u64);
            assert_eq!(seen, current, "round {round}");
        }
        assert_eq!(store.symbol(2).unwrap().1, bars(12));
        assert!(store.symbol(200).is_none());
    }

    #[test]
    fn a_reader_that_holds_the_back_buffer_delays_the_swap_and_loses_nothing() {
        let store = DoubleBufferedKlineStore::new();
        let mut swapper = store.swapper();
        let mut current = FlatKlineStore::new(1);
        let mut show = |n: i64, swapper: &mut Swapper| {
            *current.symbol_mut(0).unwrap() = bars(n);
            swapper.changed(0);
            swapper.swap(&store, &current)
        };
        assert!(show(1, &mut swapper).is_some());
        let pinned = store.flip.pin();
        assert!(show(2, &mut swapper).is_some(), "the other buffer is free");
        assert_eq!(show(3, &mut swapper), None);
        assert_eq!(store.symbol(0).unwrap().1, bars(2));
        store.flip.unpin(pinned);
        assert!(show(4, &mut swapper).is_some());
        assert_eq!(store.symbol(0).unwrap().1, bars(4));
    }

    #[test]
    fn whole_reads_beside_a_busy_writer_are_of_one_swap() {
        let store = DoubleBufferedKlineStore::new();
        let mut swapper = store.swapper();
        let stop = AtomicBool::new(false);
        const SYMBOLS: u32 = 100;
        let mut current = FlatKlineStore::new(SYMBOLS as usize);
        let mut fill = |n: i64, swapper: &mut Swapper| {
            for s in 0..SYMBOLS {
                *current.symbol_mut(s).unwrap() = bars(n);
                swapper.changed(s);
            }
            swapper.swap(&store, &current).is_some()
        };
        fill(1, &mut swapper);
        std::thread::scope(|s| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    s.spawn(|| {
                        let (mut out, mut last, mut reads) = (FlatKlineStore::default(), 0, 0_u64);
                        while !stop.load(Ordering::Relaxed) || reads == 0 {
                            let version = store.read(&mut out);
                            let n = out.symbol(0).unwrap()[0].open;
                            assert!((0..SYMBOLS).all(|s| *out.symbol(s).unwrap() == bars(n)), "mixed at {version}");
                            assert!(version >= last);
                            (last, reads) = (version, reads + 1);
                        }
                        reads
                    })
                })
                .collect();
            let swaps = (2..4_000).filter(|n| fill(*n, &mut swapper)).count();
            stop.store(true, Ordering::Relaxed);
            assert!(swaps > 0, "readers must not keep the writer out for ever");
            for r in readers {
                r.join().unwrap();
            }
        });
    }
}
