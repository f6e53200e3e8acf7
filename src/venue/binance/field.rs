//! What only fields of Binance have: its times, its taker flag, and whose rows a message carries.

use super::super::message;
use super::market::Market;
use model::row::Side;

pub(super) use super::super::message::{MessageName, Raw, Result};

/// What decoding a frame needs at hand; its stream is the name of the stream of a combined frame.
pub(super) type Context<'f, 'r> = message::Context<'f, 'r, Market>;

/// A time sent in ms, or in µs where the socket was opened with `timeUnit=MICROSECOND`, as µs.
///
/// 10^14 ms is the year 5138 and 10^14 µs is 1973, so the magnitude gives the unit.
#[inline(always)]
pub(super) fn to_micros(sent: i64) -> Option<i64> {
    match sent {
        0..100_000_000_000_000 => Some(sent * 1000),
        100_000_000_000_000.. => Some(sent),
        _ => None,
    }
}

impl MessageName {
    pub(super) fn time(self, field: &'static str, raw: Raw<'_>) -> Result<i64> {
        to_micros(self.int(field, raw)?).map_or_else(|| self.wrong(field), Ok)
    }

    pub(super) fn opt_time(self, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
        raw.map(|_| self.time(field, raw)).transpose()
    }

    /// Side of the taker: `m` says that the buyer was the maker, so true means that the taker sold.
    pub(super) fn taker(self, m: Raw<'_>) -> Result<Side> {
        Ok(match self.flag("m", m)? {
            true => Side::Sell,
            false => Side::Buy,
        })
    }

    /// False for rows of COIN-M on USD-M and the other way round: they share their all-market streams.
    pub(super) fn ours(self, cx: &mut Context<'_, '_>, st: Raw<'_>) -> Result<bool> {
        match (cx.market, self.opt_int("st", st)?) {
            (_, None) => Ok(true),
            (market, Some(family)) if family == market.family() => Ok(true),
            (Market::Usdm, Some(2)) => {
                cx.drift(&format!("{} with st 2 (COIN-M) left out", self.0));
                Ok(false)
            }
            (Market::Coinm, Some(1)) => {
                cx.drift(&format!("{} with st 1 (USD-M) left out", self.0));
                Ok(false)
            }
            (_, Some(other)) => {
                cx.drift(&format!("{} with st {other}", self.0));
                Ok(true)
            }
        }
    }
}
