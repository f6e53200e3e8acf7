//! Which of the exchange's APIs is asked, which venues answer for it, and which symbols they have.

use crate::error::{Answer, Refusal};
use kline::KlineHub;

/// Which of the exchange's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `/api/v3`
    Spot,
    /// `/fapi/v1`
    Usdm,
}

/// One symbol of one venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub venue: &'static str,
    pub symbol: String,
    pub index: u32,
}

impl Family {
    /// Venues it answers for, the first one that has a symbol.
    pub fn venues(self) -> &'static [&'static str] {
        match self {
            Self::Spot => &["binance-spot", "binance-spot-sbe"],
            Self::Usdm => &["binance-usdm"],
        }
    }

    /// Where a symbol is looked for that is not recorded.
    pub fn first_venue(self) -> &'static str {
        match self {
            Self::Spot => "binance-spot",
            Self::Usdm => "binance-usdm",
        }
    }

    /// The symbol; -1121 for one we do not have.
    pub fn find(self, hub: &KlineHub, symbol: &str) -> Answer<Found> {
        let found = self.venues().iter().find_map(|venue| {
            let index = hub.registry().index(venue, symbol)?;
            Some(Found { venue, symbol: symbol.to_owned(), index })
        });
        found.ok_or_else(Refusal::symbol)
    }

    /// All symbols, each once, in the order of their places.
    pub fn all(self, hub: &KlineHub) -> Vec<Found> {
        let mut out: Vec<Found> = Vec::new();
        for (index, entry) in (0_u32..).zip(hub.registry().all()) {
            let Some(venue) = self.venues().iter().find(|v| **v == entry.venue) else { continue };
            // The first venue that has it answers for it.
            if self.find(hub, &entry.symbol).is_ok_and(|f| f.index == index) {
                out.push(Found { venue, symbol: entry.symbol, index });
            }
        }
        out
    }
}
