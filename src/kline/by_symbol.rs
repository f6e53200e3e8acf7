//! The items of a batch in the order of their symbols, without moving them: one chain of places per symbol.
//!
//! ```text
//!  batch      A0 B1 A2 A3 B4        symbols  A: first 0, last 3    B: first 1, last 4
//!  next       2  4  3  -  -
//! ```

/// No place.
const NONE: u32 = u32::MAX;

/// See the module. Its memory is used again by the next batch.
#[derive(Debug, Default)]
pub(crate) struct BySymbol {
    /// First and last place of each symbol.
    chains: Vec<(u32, u32)>,
    /// Symbols in the order of their first places.
    order: Vec<u32>,
    /// By place: the next one of the same symbol.
    next: Vec<u32>,
}

impl BySymbol {
    /// Begins a batch of these symbols.
    pub fn clear(&mut self, symbols: usize) {
        for symbol in self.order.drain(..) {
            if let Some(chain) = self.chains.get_mut(symbol as usize) {
                *chain = (NONE, NONE);
            }
        }
        self.chains.resize(symbols, (NONE, NONE));
        self.next.clear();
    }

    /// The item at place `at` is of this symbol. Places ascend; a symbol beyond those of [`BySymbol::clear`] is ignored.
    #[inline]
    pub fn push(&mut self, symbol: usize, at: usize) {
        let (Some((first, last)), Ok(at)) = (self.chains.get_mut(symbol), u32::try_from(at)) else { return };
        self.next.resize(at as usize + 1, NONE);
        if let Some(before) = self.next.get_mut(*last as usize) {
            *before = at;
        } else {
            *first = at;
            self.order.push(symbol as u32);
        }
        *last = at;
    }

    /// The symbols with their first places.
    pub fn symbols(&self) -> impl Iterator<Item = (usize, usize)> {
        let first = |symbol: &u32| Some((*symbol as usize, self.chains.get(*symbol as usize)?.0 as usize));
        self.order.iter().filter_map(first)
    }

    /// The next place of the same symbol.
    #[inline]
    pub fn next(&self, at: usize) -> Option<usize> {
        self.next.get(at).filter(|next| **next != NONE).map(|next| *next as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_met_once_in_its_order_and_a_batch_knows_nothing_of_the_one_before() {
        let mut by_symbol = BySymbol::default();
        for symbols in [vec![0, 1, 0, 0, 1], vec![2, 2, 7, 1], vec![], vec![1]] {
            by_symbol.clear(3);
            for (at, symbol) in symbols.iter().enumerate() {
                by_symbol.push(*symbol, at);
            }
            let mut met = Vec::new();
            for (symbol, first) in by_symbol.symbols() {
                let places = std::iter::successors(Some(first), |at| by_symbol.next(*at));
                met.extend(places.map(|at| (symbol, at)));
            }
            let mut expected: Vec<(usize, usize)> = symbols.iter().enumerate().map(|(at, s)| (*s, at)).collect();
            expected.retain(|(symbol, _)| *symbol < 3);
            let first = |symbol: usize| symbols.iter().position(|s| *s == symbol);
            expected.sort_by_key(|(symbol, at)| (first(*symbol), *at));
            assert_eq!(met, expected);
        }
    }
}
