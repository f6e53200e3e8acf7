//! Which symbol has which index: given once, ordered by listing time and then name, new ones appended, never
//! taken back. The index is the place of a symbol in every store, so it must outlive restarts: code that persists
//! candles persists this list with them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use model::interval::Interval;
use model::{Symbol, Unit};
use venue::Venue;

/// One registered symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Venue name.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Listing time, ms since epoch, where the venue reports it.
    pub listing_time_ms: Option<i64>,
}

/// What the newest listing says of a symbol. Steps are exact decimals, `None` where the venue reports none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Base asset.
    pub base: String,
    /// Quote asset.
    pub quote: String,
    /// The venue's own status word.
    pub status: String,
    /// It trades now.
    pub trading: bool,
    /// `spot`, `perpetual`, `dated`, `inverse_perpetual`, `inverse_dated`.
    pub kind: String,
    /// Price step.
    pub tick_size: Option<String>,
    /// Amount step.
    pub lot_size: Option<String>,
    /// What one unit of amount is worth in base units.
    pub contract_size: Option<String>,
    /// When its trading ends or ended for good, ms since epoch, where the venue reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time_ms: Option<i64>,
    /// See [`Symbol::rules`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rules: String,
}

impl Facts {
    /// What amounts of a symbol of `venue` are worth, by what its listing says.
    pub fn unit(venue: &Venue, facts: Option<&Facts>) -> Unit {
        if !venue.spec.counts_contracts {
            return Unit::Base;
        }
        let inverse = facts.is_some_and(|facts| facts.kind.starts_with("inverse"));
        Unit::of_contracts(facts.and_then(|facts| facts.contract_size.as_deref()), inverse)
    }
}

impl From<&Symbol> for Facts {
    fn from(s: &Symbol) -> Self {
        let text = |n: Option<model::Num>| n.map(|n| n.to_string());
        Self {
            base: s.base.clone(),
            quote: s.quote.clone(),
            status: s.status.clone(),
            trading: s.trading,
            kind: s.kind.as_str().to_owned(),
            tick_size: text(s.tick_size),
            lot_size: text(s.lot_size),
            contract_size: text(s.contract_size),
            end_time_ms: s.end_time_ms,
            rules: s.rules.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Registered>,
    index: HashMap<(String, String), u32>,
    facts: HashMap<u32, Arc<Facts>>,
}

/// Symbols times periods; see the module.
#[derive(Debug, Default)]
pub struct SymbolPeriodRegistry {
    inner: RwLock<Inner>,
}

impl SymbolPeriodRegistry {
    /// No symbol yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As it was persisted, index by position.
    pub fn load(entries: Vec<Registered>) -> Self {
        let registry = Self::new();
        for entry in entries {
            registry.append(entry);
        }
        registry
    }

    /// Registers what is new of `symbols` (name, listing time in ms), older listings first, names deciding
    /// between equals; those without a listing time come last. Returns the indices of the new ones.
    pub fn register(&self, venue: &str, symbols: impl IntoIterator<Item = (String, Option<i64>)>) -> Vec<u32> {
        let mut new: Vec<(String, Option<i64>)> =
            symbols.into_iter().filter(|(symbol, _)| self.index(venue, symbol).is_none()).collect();
        new.sort_by(|a, b| (a.1.unwrap_or(i64::MAX), &a.0).cmp(&(b.1.unwrap_or(i64::MAX), &b.0)));
        new.dedup_by(|a, b| a.0 == b.0);
        new.into_iter()
            .map(|(symbol, listing_time_ms)| {
                self.append(Registered { venue: venue.to_owned(), symbol, listing_time_ms })
            })
            .collect()
    }

    /// The index of a symbol.
    pub fn index(&self, venue: &str, symbol: &str) -> Option<u32> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        // A key of borrowed texts would need a map of our own; registering and looking up by name are rare.
        inner.index.get(&(venue.to_owned(), symbol.to_owned())).copied()
    }

    /// The symbol of an index.
    pub fn get(&self, symbol_index: u32) -> Option<Registered> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).entries.get(symbol_index as usize).cloned()
    }

    /// What the newest listing says of a symbol; `None` before the first one.
    pub fn facts(&self, symbol_index: u32) -> Option<Arc<Facts>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).facts.get(&symbol_index).cloned()
    }

    /// A listing came. Ignored for a symbol without a place.
    pub(crate) fn set_facts(&self, venue: &str, symbol: &str, facts: Facts) {
        if let Some(index) = self.index(venue, symbol) {
            self.inner.write().unwrap_or_else(PoisonError::into_inner).facts.insert(index, Arc::new(facts));
        }
    }

    /// All symbols, by index.
    pub fn all(&self) -> Vec<Registered> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).entries.clone()
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// True without any symbol.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Intervals of every symbol.
    pub fn periods(&self) -> usize {
        Interval::COUNT
    }

    /// Place of a candle in a flat store.
    pub fn offset(&self, symbol_index: u32, period_index: usize) -> usize {
        symbol_index as usize * self.periods() + period_index
    }

    fn append(&self, entry: Registered) -> u32 {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let key = (entry.venue.clone(), entry.symbol.clone());
        if let Some(index) = inner.index.get(&key) {
            return *index;
        }
        let index = u32::try_from(inner.entries.len()).unwrap_or(u32::MAX);
        inner.entries.push(entry);
        inner.index.insert(key, index);
        index
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(r: &SymbolPeriodRegistry) -> Vec<String> {
        r.all().into_iter().map(|e| e.symbol).collect()
    }

    #[test]
    fn older_listings_come_first_and_an_index_never_changes() {
        let r = SymbolPeriodRegistry::new();
        let given = [("NEW", Some(30)), ("B", Some(10)), ("A", Some(10)), ("UNKNOWN", None)];
        let symbols =
            |list: &[(&str, Option<i64>)]| list.iter().map(|(s, t)| ((*s).to_owned(), *t)).collect::<Vec<_>>();
        assert_eq!(r.register("binance-spot", symbols(&given)), [0, 1, 2, 3]);
        assert_eq!(names(&r), ["A", "B", "NEW", "UNKNOWN"]);
        // Older than all, but later registered: appended.
        assert_eq!(r.register("binance-spot", symbols(&[("OLD", Some(1)), ("A", Some(99))])), [4]);
        assert_eq!(r.index("binance-spot", "A"), Some(0));
        assert_eq!(r.index("gate-spot", "A"), None);
        assert_eq!(r.offset(4, Interval::W1.index()), 34);
        let again = SymbolPeriodRegistry::load(r.all());
        assert_eq!(names(&again), names(&r));
        assert_eq!(again.index("binance-spot", "OLD"), Some(4));
        assert_eq!(again.get(2).unwrap().listing_time_ms, Some(30));
    }
}
