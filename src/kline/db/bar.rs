//! A stored bar: whose it is, which one, who made it.

use model::interval::Interval;
use model::kline::KlineData;

/// Who made a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The exchange's archive.
    Archive,
    /// The exchange's REST candles.
    Official,
    /// Our trades, replayed or downloaded later.
    Rebuilt,
    /// Our trades as they came.
    Live,
}

impl Source {
    /// All of them, the least trusted first.
    pub const ALL: [Source; 4] = [Self::Archive, Self::Official, Self::Rebuilt, Self::Live];

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Official => "official",
            Self::Rebuilt => "rebuilt",
            Self::Live => "live",
        }
    }

    /// The source of a name.
    pub fn parse(word: &str) -> Option<Source> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// A bar with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBar {
    /// Venue name.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval.
    pub interval: Interval,
    /// The bar.
    pub bar: KlineData,
}

/// A bar as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBar {
    /// The bar.
    pub bar: KlineData,
    /// Who made it.
    pub source: Source,
}

/// All bars of one symbol at one interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Venue name.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval.
    pub interval: Interval,
}

impl Series {
    /// A bar of it.
    pub(super) fn named(&self, bar: KlineData) -> NamedBar {
        let Self { venue, symbol, interval } = self.clone();
        NamedBar { venue, symbol, interval, bar }
    }
}
