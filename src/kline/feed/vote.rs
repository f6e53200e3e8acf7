//! What is remembered to know the time of the venue: our clock, what symbols vote, trades that are too early.

use serde::{Deserialize, Serialize};

use model::kline::Tick;
use model::{Num, SymbolId};

/// Our clock as of a CLOCK record, us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clock {
    pub(super) wall_us: i64,
    pub(super) mono_us: i64,
    /// All its steps so far: what is to be taken off for a time without steps.
    pub(super) stepped_us: i64,
}

/// Another distance of the two clocks than the one that is believed, us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doubt {
    pub(super) since_us: i64,
    pub(super) offset_us: i64,
}

/// What the last trade of a symbol said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vote {
    pub(super) symbol: SymbolId,
    /// Receive time less trade time, us.
    pub(super) offset_us: i64,
    /// Trade time, us.
    pub(super) ts_us: i64,
}

/// A [`Vote`] as saved: symbol, distance, time.
pub(super) type SavedVote = (String, i64, i64);

/// A trade whose time has not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EarlyTrade {
    pub(super) symbol: String,
    pub(super) ts_us: i64,
    /// Digits and decimals.
    price: (String, u8),
    amount: (String, u8),
    first_id: i64,
    last_id: i64,
    agg_id: i64,
    count: u32,
    taker_buy: bool,
}

impl EarlyTrade {
    pub(super) fn of(symbol: &str, tick: &Tick) -> Self {
        let digits = |n: Num| ({ n.mantissa }.to_string(), n.scale);
        Self {
            symbol: symbol.to_owned(),
            ts_us: tick.ts_us,
            price: digits(tick.price),
            amount: digits(tick.amount),
            first_id: tick.first_id,
            last_id: tick.last_id,
            agg_id: tick.agg_id,
            count: tick.count,
            taker_buy: tick.taker_buy,
        }
    }

    /// The trade; `None` when what was saved is damaged.
    pub(super) fn tick(&self, symbol_index: u32) -> Option<Tick> {
        let num = |(mantissa, scale): &(String, u8)| Some(Num { mantissa: mantissa.parse().ok()?, scale: *scale });
        Some(Tick {
            symbol_index,
            ts_us: self.ts_us,
            price: num(&self.price)?,
            amount: num(&self.amount)?,
            first_id: self.first_id,
            last_id: self.last_id,
            agg_id: self.agg_id,
            count: self.count,
            taker_buy: self.taker_buy,
        })
    }
}

/// When a trade belongs into the candles.
pub(super) enum When {
    Now,
    /// Its time has not come; this is the latest time that has, us.
    Later(i64),
    /// Never; as before.
    Never(i64),
}
