//! Query parameters, read as the exchange reads them: empty ones, odd characters and impossible values are refused
//! with its codes; unknown parameters are ignored.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::error::{ApiError, ApiResult};
use super::text::{Unit, intervals};
use model::interval::Interval;

const NUMBER: &str = "^[0-9]{1,20}$";
const SYMBOL: &str = "^[A-Z0-9-_.]{1,20}$";
/// Times from here on are us: the exchange takes both (Binance spot API documentation, "General information"). As us it is
/// 2001, before there was anything to request; as ms it is beyond the year 9999, which "for ever" is written as.
const MICROS_FROM: i64 = 1_000_000_000_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// The parameters of one request.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query: Result<Query<Vec<(String, String)>>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|q| Self(q.0)).map_err(|_| ApiError::new(-1100, "Illegal characters found in a parameter."))
    }
}

/// What times of an answer of spot are counted in: header `X-MBX-TIME-UNIT`.
pub(super) struct SpotUnit(pub Unit);

impl<S: Send + Sync> FromRequestParts<S> for SpotUnit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let word = parts.headers.get("x-mbx-time-unit").map(|v| v.to_str().unwrap_or_default());
        word.map_or(Ok(Self(Unit::Ms)), |word| Unit::parse(word).map(Self))
    }
}

impl Params {
    /// The value of a parameter; -1105 when it was sent without one.
    pub fn get(&self, name: &str) -> ApiResult<Option<&str>> {
        match self.0.iter().find(|(n, _)| n == name) {
            Some((_, value)) if value.is_empty() => Err(ApiError::new(-1105, format!("Parameter '{name}' was empty."))),
            found => Ok(found.map(|(_, value)| value.as_str())),
        }
    }

    /// A parameter that must be there.
    pub fn need(&self, name: &str) -> ApiResult<&str> {
        match self.0.iter().find(|(n, _)| n == name) {
            Some((_, value)) if !value.is_empty() => Ok(value),
            _ => Err(ApiError::missing(name)),
        }
    }

    /// A symbol as the exchange spells it: no small letters. Names in other scripts exist.
    pub fn symbol(&self, name: &str) -> ApiResult<&str> {
        let symbol = self.need(name)?;
        let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "-_.".contains(c) || !c.is_ascii();
        if symbol.chars().count() > 40 || !symbol.chars().all(legal) {
            return Err(ApiError::characters(name, SYMBOL));
        }
        Ok(symbol)
    }

    pub fn interval(&self) -> ApiResult<Interval> {
        let word = self.need("interval")?;
        Interval::parse(word).ok_or_else(|| ApiError::interval_of(word, &intervals()))
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> ApiResult<Option<i64>> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        if text.is_empty() || text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ApiError::characters(name, NUMBER));
        }
        text.parse().map(Some).map_err(|_| ApiError::value(name))
    }

    /// A time in ms or us, as us.
    pub fn time_us(&self, name: &str) -> ApiResult<Option<i64>> {
        let us = |t: i64| if t >= MICROS_FROM { t } else { t * 1_000 };
        Ok(self.number(name)?.map(us))
    }

    /// As [`Params::time_us`], for the end of a range of times that are printed in ms: the last us of that ms.
    pub fn last_us(&self, name: &str) -> ApiResult<Option<i64>> {
        let us = |t: i64| if t >= MICROS_FROM { t } else { t * 1_000 + 999 };
        Ok(self.number(name)?.map(us))
    }

    /// The value of a parameter, as far as it has one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// `limit`: absent = `default`; above `max` it is lowered when `clamp`, refused otherwise; 0 is refused.
    pub fn limit(&self, default: usize, max: usize, clamp: bool) -> ApiResult<usize> {
        match self.number("limit")? {
            None => Ok(default),
            Some(n) => match usize::try_from(n) {
                Ok(n) if (1..=max).contains(&n) => Ok(n),
                Ok(n) if n > max && clamp => Ok(max),
                _ => Err(ApiError::value("limit")),
            },
        }
    }

    /// `timeZone`: only one that moves no edge of this interval. Bars of other zones are not kept.
    pub(crate) fn time_zone(&self, interval: Interval) -> ApiResult<()> {
        match self.zone_us()? {
            Some(shift) if shift % interval.len_us() != 0 => Err(ApiError::value("timeZone")),
            _ => Ok(()),
        }
    }

    /// `timeZone` as its distance from UTC, us.
    pub(crate) fn zone_us(&self) -> ApiResult<Option<i64>> {
        let Some(text) = self.get("timeZone")? else { return Ok(None) };
        // A plus sign in a query is a blank.
        let (sign, digits) = match text.trim().strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.trim().trim_start_matches('+')),
        };
        let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
        let (Ok(hours), Ok(minutes)) = (hours.parse::<u8>(), minutes.parse::<u8>()) else {
            return Err(ApiError::value("timeZone"));
        };
        let shift = sign * (i64::from(hours) * HOUR_US + i64::from(minutes) * 60_000_000);
        let known = (-12 * HOUR_US..=14 * HOUR_US).contains(&shift) && (0..60).contains(&minutes);
        if known { Ok(Some(shift)) } else { Err(ApiError::value("timeZone")) }
    }

    /// `key` as a list, written `["A","B"]`.
    pub fn list(&self, name: &str) -> ApiResult<Option<Vec<String>>> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        let list: Vec<String> = serde_json::from_str(text).map_err(|_| {
            ApiError::characters(name, "^\\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\\]$")
        })?;
        Ok(Some(list))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn impossible_values_get_the_codes_of_the_exchange() {
        let code = |p: &[(&str, &str)], f: &dyn Fn(&Params) -> Option<i32>| f(&params(p));
        let symbol = |p: &Params| p.symbol("symbol").err().map(|e| e.code);
        assert_eq!(code(&[], &symbol), Some(-1102));
        assert_eq!(code(&[("symbol", "")], &symbol), Some(-1102));
        assert_eq!(code(&[("symbol", "btcusdt")], &symbol), Some(-1100));
        assert_eq!(code(&[("symbol", "A'; DROP")], &symbol), Some(-1100));
        assert_eq!(code(&[("symbol", "币安人生USDT")], &symbol), None);
        let interval = |p: &Params| p.interval().err().map(|e| e.code);
        assert_eq!(code(&[], &interval), Some(-1102));
        assert_eq!(code(&[("interval", "1M")], &interval), Some(-1120));
        assert_eq!(code(&[("interval", "3m")], &interval), Some(-1120));
        let limit = |p: &Params| p.limit(500, 1_500, false).err().map(|e| e.code);
        for (value, want) in
            [("0", -1130), ("1501", -1130), ("-5", -1100), ("x", -1100), ("99999999999999999999", -1130), ("", -1105)]
        {
            assert_eq!(code(&[("limit", value)], &limit), Some(want), "{value}");
        }
        assert_eq!(params(&[("limit", "5000")]).limit(500, 1_000, true), Ok(1_000));
        assert_eq!(params(&[("startTime", "1700000000000")]).time_us("startTime"), Ok(Some(1_700_000_000_000_000)));
        assert_eq!(params(&[("startTime", "1700000000000000")]).time_us("startTime"), Ok(Some(1_700_000_000_000_000)));
        // The end of the year 9999, as `datetime.max` gives it.
        let for_ever = params(&[("endTime", "253402300799999")]);
        assert_eq!(for_ever.time_us("endTime"), Ok(Some(253_402_300_799_999_000)));
        assert_eq!(for_ever.last_us("endTime"), Ok(Some(253_402_300_799_999_999)));
    }

    #[test]
    fn a_time_zone_is_taken_only_where_it_moves_no_edge() {
        let zone = |z: &str, i: Interval| params(&[("timeZone", z)]).time_zone(i).is_ok();
        assert!(zone("0", Interval::W1) && zone("00:00", Interval::D1) && zone(" 8:00", Interval::H4));
        assert!(zone("-4", Interval::H4) && zone("5:30", Interval::M30));
        assert!(
            !zone("8", Interval::D1)
                && !zone("5:30", Interval::H1)
                && !zone("15", Interval::M1)
                && !zone("x", Interval::M1)
                && !zone("9223372036854775807", Interval::M1)
                && !zone("-9223372036854775808:59", Interval::M1)
        );
    }
}
