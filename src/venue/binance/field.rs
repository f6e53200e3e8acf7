//! What only fields of Binance have: its times, its taker flag, and whose rows a message carries.

use super::general::Context;
use super::{Market, to_micros};
use model::row::Side;

pub(super) use super::super::message::{Of, Raw, Result};

impl Of {
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

    /// False for rows of COIN-M, which share the all-market streams of USD-M.
    pub(super) fn ours(self, cx: &mut Context<'_, '_>, st: Raw<'_>) -> Result<bool> {
        match (cx.market, self.opt_int("st", st)?) {
            (_, None | Some(1)) => Ok(true),
            (Market::Usdm, Some(2)) => {
                cx.drift(&format!("{} with st 2 (COIN-M) left out", self.0));
                Ok(false)
            }
            (_, Some(other)) => {
                cx.drift(&format!("{} with st {other}", self.0));
                Ok(true)
            }
        }
    }
}
