//! Which symbols of a source are listed just now: some appear while it runs, some stop trading, some are gone.
//!
//! A symbol that is not listed, or does not trade, plays no frames; subscribing it is acked and stays silent, as on the real venues.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use crate::report::{lock, wall_ns};
use crate::script::StreamInfo;

/// What a venue says about a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Listed, plays.
    Trading,
    /// Listed, does not play: `BREAK` on spot, `SETTLING` on USD-M.
    Halted,
    /// Not listed.
    Absent,
}

/// One change of a listing while it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingReport {
    /// Symbol.
    pub symbol: String,
    /// What it is since then.
    pub standing: Standing,
    /// Wall time, ns since 1970.
    pub at_ns: u64,
}

/// The symbols of one venue's source.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    index: HashMap<String, usize>,
    /// By symbol.
    standings: Vec<AtomicU8>,
    /// When a symbol was listed, ms since 1970; 0 = long ago.
    since_ms: Vec<AtomicI64>,
    /// Symbol of each stream.
    of_stream: Vec<Option<usize>>,
    changes: Mutex<Vec<ListingReport>>,
}

impl Listings {
    /// Symbols in their own order; all are listed but those of `unlisted`.
    pub fn new(symbols: &[String], streams: &[StreamInfo], unlisted: &[String]) -> Listings {
        let index: HashMap<String, usize> =
            symbols.iter().enumerate().map(|(index, symbol)| (symbol.clone(), index)).collect();
        let start = |symbol: &String| if unlisted.contains(symbol) { Standing::Absent } else { Standing::Trading };
        Listings {
            standings: symbols.iter().map(|symbol| AtomicU8::new(start(symbol) as u8)).collect(),
            since_ms: symbols.iter().map(|_| AtomicI64::new(0)).collect(),
            of_stream: streams.iter().map(|info| index.get(&info.symbol).copied()).collect(),
            index,
            changes: Mutex::default(),
        }
    }

    fn at(&self, index: usize) -> Standing {
        match self.standings.get(index).map(|standing| standing.load(Ordering::Acquire)) {
            Some(standing) if standing == Standing::Halted as u8 => Standing::Halted,
            Some(standing) if standing == Standing::Absent as u8 => Standing::Absent,
            _ => Standing::Trading,
        }
    }

    /// Whether the symbol at this place trades.
    pub fn trades(&self, index: usize) -> bool {
        self.at(index) == Standing::Trading
    }

    /// Whether a stream of the source plays. Streams of all symbols together always do.
    pub fn plays(&self, stream: u32) -> bool {
        self.of_stream.get(stream as usize).copied().flatten().is_none_or(|index| self.trades(index))
    }

    /// What the venue says about a symbol, and since when (ms since 1970, 0 = long ago); `None` for one that the source does not know.
    pub fn standing(&self, symbol: &str) -> Option<(Standing, i64)> {
        let index = *self.index.get(symbol)?;
        Some((self.at(index), self.since_ms.get(index)?.load(Ordering::Acquire)))
    }

    /// Changes a symbol; false when the source does not know it, or nothing would trade any more.
    pub fn set(&self, symbol: &str, standing: Standing) -> bool {
        let mut changes = lock(&self.changes);
        let Some(&index) = self.index.get(symbol) else { return false };
        let others = (0..self.standings.len()).any(|other| other != index && self.trades(other));
        let (true, Some(slot)) = (standing == Standing::Trading || others, self.standings.get(index)) else {
            return false;
        };
        let at_ns = wall_ns();
        if standing == Standing::Trading
            && let Some(since_ms) = self.since_ms.get(index)
        {
            since_ms.store((at_ns / 1_000_000) as i64, Ordering::Release);
        }
        slot.store(standing as u8, Ordering::Release);
        changes.push(ListingReport { symbol: symbol.to_owned(), standing, at_ns });
        true
    }

    /// Every change so far.
    pub fn changes(&self) -> Vec<ListingReport> {
        lock(&self.changes).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_appears_halts_and_goes_but_the_last_one_trades_on() {
        let streams = ["a@trade", "b@trade", "!ticker@arr"].map(StreamInfo::of);
        let listings = Listings::new(&["A".to_owned(), "B".to_owned()], &streams, &["B".to_owned()]);
        let plays = || [0, 1, 2].map(|stream| listings.plays(stream));
        assert_eq!((plays(), listings.standing("B")), ([true, false, true], Some((Standing::Absent, 0))));
        assert!(!listings.set("A", Standing::Halted), "nothing would trade");
        assert!(listings.set("B", Standing::Trading) && listings.set("A", Standing::Halted));
        assert_eq!(plays(), [false, true, true]);
        assert!(
            listings.standing("B").is_some_and(|(standing, since_ms)| standing == Standing::Trading && since_ms > 0)
        );
        assert!(listings.set("A", Standing::Absent) && !listings.set("C", Standing::Trading));
        let changes: Vec<_> = listings.changes().into_iter().map(|change| (change.symbol, change.standing)).collect();
        let expected = [("B", Standing::Trading), ("A", Standing::Halted), ("A", Standing::Absent)]
            .map(|(s, x)| (s.to_owned(), x));
        assert_eq!(changes, expected);
    }
}
