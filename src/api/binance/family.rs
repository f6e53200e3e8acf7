//! Which venues answer for an API of the exchange, and which symbols they have.

use crate::error::{ApiError, ApiResult};
use kline::KlineHub;
use model::VenueId;

pub(crate) use venue::ApiFamily as Family;
use venue::AtMarket;

/// One symbol of one venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundSymbol {
    pub venue: &'static str,
    pub symbol: String,
    pub index: u32,
}

/// Names of the venues that an API answers for, the first one that has a symbol.
pub(super) fn venues(family: Family) -> impl Iterator<Item = &'static str> {
    VenueId::ALL.iter().map(|id| id.as_str()).filter(move |name| Family::of(name) == Some(family))
}

impl FoundSymbol {
    /// The symbol; -1121 for one we do not have.
    pub fn find(family: Family, hub: &KlineHub, symbol: &str) -> ApiResult<FoundSymbol> {
        let found = venues(family).find_map(|venue| {
            let index = hub.registry().index(venue, symbol)?;
            Some(FoundSymbol { venue, symbol: symbol.to_owned(), index })
        });
        found.ok_or_else(ApiError::symbol)
    }

    /// Every id of its single trades is of a trade that was made at the market.
    pub(crate) fn has_all_ids(&self) -> bool {
        self.venue.parse::<VenueId>().is_ok_and(|id| venue::venue(id).spec.at_market == AtMarket::All)
    }

    /// All symbols, each once, in the order of their places.
    pub fn all(family: Family, hub: &KlineHub) -> Vec<FoundSymbol> {
        let mut out: Vec<FoundSymbol> = Vec::new();
        for (index, entry) in (0_u32..).zip(hub.registry().all()) {
            let Some(venue) = venues(family).find(|v| *v == entry.venue) else { continue };
            // The first venue that has it answers for it.
            if Self::find(family, hub, &entry.symbol).is_ok_and(|f| f.index == index) {
                out.push(FoundSymbol { venue, symbol: entry.symbol, index });
            }
        }
        out
    }
}
