//! All candles as one flat vector: `symbol_index * periods + period_index`. Owned, not shared: what a writer
//! gathers and what a reader copies out.

use model::interval::Interval;
use model::kline::KlineData;

/// One candle per symbol and interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlatKlineStore {
    bars: Vec<KlineData>,
}

impl FlatKlineStore {
    /// Empty bars for `symbols` symbols; takes exactly the memory they need.
    pub fn new(symbols: usize) -> Self {
        let mut store = Self::default();
        store.grow(symbols);
        store
    }

    /// Room for `symbols` symbols; never shrinks.
    pub fn grow(&mut self, symbols: usize) {
        let want = symbols * Interval::COUNT;
        if want > self.bars.len() {
            self.bars.reserve_exact(want - self.bars.len());
            self.bars.resize(want, KlineData::default());
        }
    }

    /// How many symbols there is room for.
    pub fn symbols(&self) -> usize {
        self.bars.len() / Interval::COUNT
    }

    /// The bars of a symbol by period index; `None` when it has no room.
    pub fn symbol(&self, symbol_index: u32) -> Option<&[KlineData; Interval::COUNT]> {
        let at = symbol_index as usize * Interval::COUNT;
        self.bars.get(at..at + Interval::COUNT)?.try_into().ok()
    }

    /// As [`FlatKlineStore::symbol`], to change them.
    pub(crate) fn symbol_mut(&mut self, symbol_index: u32) -> Option<&mut [KlineData; Interval::COUNT]> {
        let at = symbol_index as usize * Interval::COUNT;
        self.bars.get_mut(at..at + Interval::COUNT)?.try_into().ok()
    }

    /// One bar; `None` while there is none.
    pub fn get(&self, symbol_index: u32, interval: Interval) -> Option<&KlineData> {
        self.symbol(symbol_index)?.get(interval.index()).filter(|b| !b.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_symbol_and_interval_has_a_place_of_its_own_and_no_room_is_wasted() {
        let mut store = FlatKlineStore::new(3);
        assert_eq!((store.symbols(), store.bars.capacity()), (3, 21));
        for s in 0..3 {
            for (i, bar) in store.symbol_mut(s).unwrap().iter_mut().enumerate() {
                *bar = KlineData::flat(i64::from(s) * 10 + i as i64, 1, 0, 0);
            }
        }
        store.grow(5);
        assert_eq!((store.symbols(), store.bars.capacity()), (5, 35));
        assert_eq!(store.get(2, Interval::W1).unwrap().open_time_us, 26);
        assert!(store.get(3, Interval::M1).is_none() && store.symbol(5).is_none());
    }
}
