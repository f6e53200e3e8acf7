//! Single fields of a message to typed values, or which field of what is wrong.

use std::borrow::Cow;

use super::super::DecodeError;
use super::super::number::Num;
use super::super::row::Side;
use super::general::Context;
use super::{Market, json, to_micros};

pub(super) type Result<T> = std::result::Result<T, DecodeError>;
/// The raw text of a value, where the key was there.
pub(super) type Raw<'a> = Option<&'a str>;

/// The name of a message, to say which field of what is wrong.
#[derive(Clone, Copy)]
pub(super) struct Of(pub(super) &'static str);

impl Of {
    pub(super) fn wrong<T>(self, field: &'static str) -> Result<T> {
        let message = self.0;
        Err(DecodeError::Field { message, field })
    }

    pub(super) fn int(self, field: &'static str, raw: Raw<'_>) -> Result<i64> {
        raw.and_then(json::int).map_or_else(|| self.wrong(field), Ok)
    }

    pub(super) fn opt_int(self, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
        raw.map(|_| self.int(field, raw)).transpose()
    }

    pub(super) fn time(self, field: &'static str, raw: Raw<'_>) -> Result<i64> {
        to_micros(self.int(field, raw)?).map_or_else(|| self.wrong(field), Ok)
    }

    pub(super) fn opt_time(self, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
        raw.map(|_| self.time(field, raw)).transpose()
    }

    pub(super) fn num(self, field: &'static str, raw: Raw<'_>) -> Result<Num> {
        let message = self.0;
        match raw.and_then(json::num) {
            None => self.wrong(field),
            Some(num) => num.map_err(|source| DecodeError::Number { message, field, source }),
        }
    }

    /// A number that may be absent or an empty text.
    pub(super) fn opt_num(self, field: &'static str, raw: Raw<'_>) -> Result<Option<Num>> {
        match raw {
            None | Some("\"\"") => Ok(None),
            Some(_) => self.num(field, raw).map(Some),
        }
    }

    pub(super) fn flag(self, field: &'static str, raw: Raw<'_>) -> Result<bool> {
        raw.and_then(json::flag).map_or_else(|| self.wrong(field), Ok)
    }

    pub(super) fn word<'a>(self, field: &'static str, raw: Raw<'a>) -> Result<Cow<'a, str>> {
        raw.and_then(json::word).map_or_else(|| self.wrong(field), Ok)
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
