//! The venue's own candles: requested, checked, and made into bars of ours. Stores nothing, compares nothing.

use std::collections::BTreeMap;
use std::future::Future;

use tracing::warn;

use super::request_error::RequestError;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, KlineData, SPARSE};
use model::row::Candle;
use model::{Num, Unit};
use venue::{KlinesQuery, RejectedKline, RestKlines, RestRequest, Venue};

/// A candle is taken from the venue this long after its end: late corrections are in it then, us.
pub(crate) const SETTLE_US: i64 = 60_000_000;

/// Sends requests to a venue: over the network with pauses and repetitions, or a test.
pub trait VenueClient {
    /// The body of a successful answer.
    ///
    /// # Errors
    /// When there will be none.
    fn send(&mut self, request: &RestRequest) -> impl Future<Output = Result<Vec<u8>, RequestError>>;
}

/// The candles of one request, oldest first.
///
/// # Errors
/// As [`fetch_readable`], and when a candle cannot be read.
pub(crate) async fn fetch(
    client: &mut impl VenueClient,
    venue: &Venue,
    query: &KlinesQuery<'_>,
) -> Result<Vec<Candle>, RequestError> {
    let all = fetch_readable(client, venue, query).await?;
    match all.rejects.first() {
        Some(RejectedKline { why, .. }) => {
            let (venue, symbol, why) = (venue.id().as_str(), query.symbol.to_owned(), why.clone());
            Err(RequestError::OddCandle { venue, symbol, why })
        }
        None => Ok(all.rows),
    }
}

/// As [`fetch`], for callers that can do without a candle that cannot be read: it is logged here, and in the answer.
///
/// # Errors
/// When the venue has no such candles, does not answer, or answers something else than was requested.
pub(crate) async fn fetch_readable(
    client: &mut impl VenueClient,
    venue: &Venue,
    query: &KlinesQuery<'_>,
) -> Result<RestKlines, RequestError> {
    let KlinesQuery { symbol, interval, first_us, last_us, .. } = *query;
    let name = venue.id().as_str();
    let request = venue.rest.klines_request(query).ok_or(RequestError::NoInterval { venue: name, interval })?;
    let body = client.send(&request).await?;
    let RestKlines { mut rows, rejects: mut odd } = venue
        .rest
        .parse_klines(&body)
        .map_err(|source| RequestError::NotCandles { venue: name, symbol: symbol.to_owned(), source })?;
    odd.retain(|odd| odd.open_time_us.is_none_or(|open| (first_us..=last_us).contains(&open)));
    for RejectedKline { open_time_us, why } in &odd {
        warn!(venue = %venue.id(), symbol, interval = interval.as_str(), open_time_us, why, "a candle of the venue cannot be read; the others are taken");
    }
    if let Some(row) = rows.iter().find(|r| interval.open_of(r.open_time_us) != r.open_time_us) {
        // Weeks that begin on Thursdays are no weeks of ours.
        return Err(RequestError::OddOpen { venue: name, interval, open_us: row.open_time_us });
    }
    rows.retain(|r| (first_us..=last_us).contains(&r.open_time_us));
    rows.dedup_by_key(|r| r.open_time_us);
    if !rows.is_sorted_by(|a, b| a.open_time_us < b.open_time_us) {
        return Err(RequestError::OutOfOrder { venue: name, symbol: symbol.to_owned() });
    }
    Ok(RestKlines { rows, rejects: odd })
}

/// What a venue has of a stretch of time, however many candles it gives to one request.
pub(crate) struct Stretch {
    /// Oldest first.
    pub rows: Vec<Candle>,
    /// Those that cannot be read.
    pub odd: Vec<RejectedKline>,
    /// First and last open times between which no answer had a candle, not even one that is known: it may be truncated,
    /// or a hiccup.
    unknown: Vec<(i64, i64)>,
}

impl Stretch {
    /// True when the venue showed that it has no candle between these two.
    pub(crate) fn is_silent_between(&self, from_us: i64, to_us: i64) -> bool {
        let may_lie = |odd: &RejectedKline| odd.open_time_us.is_none_or(|open| from_us < open && open < to_us);
        !self.odd.iter().any(may_lie) && !self.unknown.iter().any(|(from, to)| *from < to_us && from_us < *to)
    }

    /// True when this candle cannot be read, or was in no answer that shows anything.
    pub(crate) fn is_unknown(&self, open_us: i64) -> bool {
        self.odd.iter().any(|odd| odd.open_time_us.is_none_or(|open| open == open_us))
            || self.unknown.iter().any(|(from, to)| (*from..=*to).contains(&open_us))
                && self.rows.binary_search_by_key(&open_us, |row| row.open_time_us).is_err()
    }
}

/// All candles from `query.first_us` to `query.last_us`. An answer shows what lies between its own candles; where it ends
/// before what was requested, the rest is requested again together with the candle next to it, which has to come again:
/// without it the answer shows nothing. A request whose answer has no candle is sent twice.
///
/// # Errors
/// As [`fetch_readable`].
pub(crate) async fn fetch_whole(
    client: &mut impl VenueClient,
    venue: &Venue,
    query: &KlinesQuery<'_>,
) -> Result<Stretch, RequestError> {
    let mut rows = BTreeMap::new();
    let (mut odd, mut unknown) = (Vec::new(), Vec::new());
    let mut spans = vec![(query.first_us, query.last_us)];
    while let Some((from, to)) = spans.pop() {
        let limit = u32::try_from((to - from) / query.interval.len_us() + 1).unwrap_or(query.limit);
        let part = KlinesQuery { first_us: from, last_us: to, limit, ..*query };
        let mut answer = fetch_readable(client, venue, &part).await?;
        if answer.rows.is_empty() && answer.rejects.is_empty() {
            answer = fetch_readable(client, venue, &part).await?;
        }
        odd.append(&mut answer.rejects);
        match (answer.rows.first().map(|row| row.open_time_us), answer.rows.last().map(|row| row.open_time_us)) {
            (Some(first), Some(last)) => {
                // Nothing but the candle at an end of what was requested: there is nothing else.
                spans.extend((from < first && first < to).then_some((from, first)));
                spans.extend((from < last && last < to).then_some((last, to)));
            }
            _ => unknown.push((from, to)),
        }
        rows.extend(answer.rows.into_iter().map(|row| (row.open_time_us, row)));
    }
    Ok(Stretch { rows: rows.into_values().collect(), odd, unknown })
}

/// The mantissa of `num` at `scale`.
fn at(num: Num, scale: u8) -> Option<i128> {
    let by = scale.checked_sub(num.scale)?;
    num.mantissa.checked_mul(10_i128.checked_pow(by.into())?)
}

/// A final bar of a venue's candle; `None` when its numbers do not fit one. `unit`: what amounts are worth, for those whose
/// candles do not say it.
pub fn bar(k: &Candle, unit: Unit) -> Option<KlineData> {
    let worth = |volume: Option<Num>| match unit {
        // Its size, whatever the price.
        Unit::Inverse(size) if k.quote_volume.is_none() && k.trade_count.is_some() => {
            let volume = volume?;
            let mantissa = volume.mantissa.checked_mul(size.mantissa)?;
            Some(Num { mantissa, scale: volume.scale.checked_add(size.scale)? })
        }
        Unit::Base | Unit::Contract(_) | Unit::Inverse(_) | Unit::Unknown => None,
    };
    let quote_volume = k.quote_volume.or_else(|| worth(k.volume));
    let taker_buy_quote_volume = k.taker_buy_quote_volume.or_else(|| worth(k.taker_buy_volume));
    let trim = |n: Option<Num>| n.unwrap_or_default().normalized();
    let price_scale = k.prices().iter().map(|n| n.scale).max()?;
    let amounts = [k.volume, k.taker_buy_volume].map(Option::unwrap_or_default);
    let [volume, taker_buy] = amounts;
    let (quote, taker_buy_quote) = (trim(quote_volume), trim(taker_buy_quote_volume));
    let most = quote.scale.max(taker_buy_quote.scale);
    // A turnover with more decimals than price times amount has needs them in the amount.
    let amount_scale = volume.scale.max(taker_buy.scale).max(most.saturating_sub(price_scale));
    let quote_scale = price_scale.checked_add(amount_scale)?;
    let price = |n: Num| i64::try_from(at(n, price_scale)?).ok();
    let trade_count = u64::try_from(k.trade_count.unwrap_or(0)).ok()?;
    let known = [quote_volume, k.taker_buy_volume, taker_buy_quote_volume].iter().all(Option::is_some);
    let sparse = if known && k.trade_count.is_some() { 0 } else { SPARSE };
    let flat = if volume.is_zero() && trade_count == 0 { FLAT } else { 0 };
    Some(KlineData {
        open_time_us: k.open_time_us,
        open: price(k.open)?,
        high: price(k.high)?,
        low: price(k.low)?,
        close: price(k.close)?,
        volume: at(volume, amount_scale)?,
        quote_volume: at(quote, quote_scale)?,
        taker_buy_volume: at(taker_buy, amount_scale)?,
        taker_buy_quote_volume: at(taker_buy_quote, quote_scale)?,
        trade_count,
        flags: FINAL | sparse | flat,
        price_scale,
        amount_scale,
        ..KlineData::default()
    })
}

/// Flat bars between two bars of a venue that leaves candles without a trade out.
pub(crate) fn flats(interval: Interval, before: &KlineData, until_us: i64) -> impl Iterator<Item = KlineData> {
    let (first, close) = (interval.next(before.open_time_us), before.close);
    let (p, a) = (before.price_scale, before.amount_scale);
    std::iter::successors(Some(first), move |open| Some(interval.next(*open)))
        .take_while(move |open| *open < until_us)
        .map(move |open| {
            let flat = KlineData::flat(open, close, p, a);
            KlineData { flags: flat.flags | FINAL, ..flat }
        })
}

/// The last open time whose candle is settled at `now_us`.
pub(crate) fn last_settled(interval: Interval, now_us: i64) -> i64 {
    interval.open_of(now_us - SETTLE_US) - interval.len_us()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::kline::decimal;

    fn num(text: &str) -> Num {
        Num::parse(text.as_bytes()).unwrap()
    }

    fn kline() -> Candle {
        Candle {
            open_time_us: 60_000_000,
            open: num("1.50"),
            high: num("2"),
            low: num("1.25"),
            close: num("1.5"),
            volume: Some(num("10.5")),
            quote_volume: Some(num("15.75000000")),
            trade_count: Some(3),
            taker_buy_volume: Some(num("4.25")),
            taker_buy_quote_volume: Some(num("6.375")),
        }
    }

    #[test]
    fn a_venues_candle_keeps_every_digit() {
        let b = bar(&kline(), Unit::Base).unwrap();
        assert_eq!((b.price_scale, b.amount_scale), (2, 2));
        assert_eq!((b.open, b.high, b.low, b.close), (150, 200, 125, 150));
        assert_eq!(
            (b.volume, b.quote_volume, b.taker_buy_volume, b.taker_buy_quote_volume),
            (1050, 157_500, 425, 63_750)
        );
        assert_eq!((b.trade_count, b.flags), (3, FINAL));
        let long = bar(&Candle { quote_volume: Some(num("15.12345678")), ..kline() }, Unit::Base).unwrap();
        assert_eq!(decimal(long.quote_volume, 8, 0), "15.12345678");
        assert_eq!(decimal(long.volume, u32::from(long.amount_scale), 0), "10.5");
    }

    #[test]
    fn what_a_venue_does_not_send_is_marked_and_what_does_not_fit_is_refused() {
        let sparse = bar(&Candle { trade_count: None, quote_volume: None, ..kline() }, Unit::Base).unwrap();
        assert_eq!((sparse.flags, sparse.quote_volume), (FINAL | SPARSE, 0));
        let empty = bar(&Candle { volume: Some(num("0.000")), trade_count: Some(0), ..kline() }, Unit::Base).unwrap();
        assert_eq!(empty.flags, FINAL | FLAT);
        assert!(bar(&Candle { trade_count: Some(-1), ..kline() }, Unit::Base).is_none());
        assert!(bar(&Candle { open: num("9000000000000000000"), ..kline() }, Unit::Base).is_none());
    }

    #[test]
    fn inverse_contracts_give_the_quote_volume_that_their_candles_do_not_have() {
        // A candle of Binance's COIN-M documentation, whose volumes in the base asset are left out: 206 contracts of 100 USD.
        let k = Candle {
            volume: Some(num("206")),
            taker_buy_volume: Some(num("119")),
            quote_volume: None,
            taker_buy_quote_volume: None,
            ..kline()
        };
        let b = bar(&k, Unit::Inverse(num("100"))).unwrap();
        assert_eq!(
            (b.quote_volume, b.taker_buy_quote_volume, b.flags),
            (2_060_000, 1_190_000, FINAL),
            "at two decimals"
        );
        assert_eq!(bar(&k, Unit::Base).unwrap().flags & SPARSE, SPARSE, "nobody says what they are worth");
        assert_eq!(bar(&kline(), Unit::Inverse(num("100"))), bar(&kline(), Unit::Base), "what a venue reports is kept");
        assert_eq!(
            bar(&Candle { trade_count: None, ..k.clone() }, Unit::Inverse(num("100"))).unwrap().flags & SPARSE,
            SPARSE
        );
    }

    #[test]
    fn silence_between_two_candles_is_flat_and_a_candle_settles_a_minute_after_its_end() {
        let b = bar(&kline(), Unit::Base).unwrap();
        let all: Vec<KlineData> = flats(Interval::M1, &b, 240_000_000).collect();
        assert_eq!(all.iter().map(|f| f.open_time_us / 60_000_000).collect::<Vec<_>>(), [2, 3]);
        assert!(all.iter().all(|f| f.close == 150 && f.volume == 0 && f.flags == FINAL | FLAT));
        assert_eq!(flats(Interval::M1, &b, 120_000_000).count(), 0);
        let minutes = |n: i64| n * 60_000_000;
        assert_eq!(last_settled(Interval::M1, minutes(5)), minutes(3));
        assert_eq!(last_settled(Interval::M1, minutes(5) - 1), minutes(2));
    }
}
