//! Symbols: the venue's own spelling, interned to small numbers while rows are gathered.

use hashbrown::HashTable;

use super::number::Num;

/// A text of one [`Interner`]: symbols first of all, and other texts with few distinct values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolId(pub u32);

/// Texts to small numbers and back. Grows with the number of distinct texts, never shrinks.
#[derive(Default)]
pub struct Interner {
    table: HashTable<u32>,
    names: Vec<Box<str>>,
    hasher: foldhash::fast::FixedState,
}

impl Interner {
    /// An empty interner.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of `name`, given now if it is new.
    pub fn intern(&mut self, name: &str) -> SymbolId {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(name);
        let names = &self.names;
        if let Some(id) = self.table.find(hash, |id| names.get(*id as usize).is_some_and(|n| &**n == name)) {
            return SymbolId(*id);
        }
        let id = u32::try_from(self.names.len()).expect("fewer than 2^32 distinct symbols");
        self.names.push(name.into());
        let (names, hasher) = (&self.names, &self.hasher);
        self.table.insert_unique(hash, id, |i| hasher.hash_one(&*names[*i as usize]));
        SymbolId(id)
    }

    /// The number of `name`, if it has one.
    pub fn find(&self, name: &str) -> Option<SymbolId> {
        use std::hash::BuildHasher;
        let is_it = |id: &u32| self.names.get(*id as usize).is_some_and(|n| &**n == name);
        self.table.find(self.hasher.hash_one(name), is_it).map(|id| SymbolId(*id))
    }

    /// The text of `id`; empty for a number that was never given.
    pub fn name(&self, id: SymbolId) -> &str {
        self.names.get(id.0 as usize).map_or("", |n| n)
    }

    /// How many distinct texts there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when nothing was interned.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// What kind of instrument a symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// Spot pair.
    Spot,
    /// Linear perpetual.
    Perpetual,
    /// Linear future with an expiry.
    Dated,
    /// Coin-margined perpetual.
    InversePerpetual,
    /// Coin-margined future with an expiry.
    InverseDated,
}

impl SymbolKind {
    /// The name stored in the `symbols` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Perpetual => "perpetual",
            Self::Dated => "dated",
            Self::InversePerpetual => "inverse_perpetual",
            Self::InverseDated => "inverse_dated",
        }
    }
}

/// One entry of a venue's listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Symbol {
    /// The venue's own spelling, as REST writes it.
    pub name: String,
    /// Base asset.
    pub base: String,
    /// Quote asset.
    pub quote: String,
    /// The venue's own status word.
    pub status: String,
    /// True when the status means that it trades now.
    pub trading: bool,
    /// Listing time, ms since epoch, where the venue reports it.
    pub listing_time_ms: Option<i64>,
    /// When its trading ends or ended for good, ms since epoch, where the venue reports it.
    pub end_time_ms: Option<i64>,
    /// Price step.
    pub tick_size: Option<Num>,
    /// Amount step.
    pub lot_size: Option<Num>,
    /// What one unit of `amount` is worth in base units; `None` = 1.
    pub contract_size: Option<Num>,
    /// Instrument kind.
    pub kind: SymbolKind,
    /// What else the venue's listing says and clients of its API need: an object as JSON text, in the venue's own
    /// words. Empty where there is none.
    pub rules: String,
}
