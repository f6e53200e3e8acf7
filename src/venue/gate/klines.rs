//! Candles over REST.
//!
//! ```text
//! spot     GET /api/v4/spot/candlesticks?currency_pair=&interval=&from=s&to=s     at most 1000
//!          ["1539852480","971519.677","0.0021724","0.0021922","0.0021724","0.0021737","471.1","true"]
//!          time, QUOTE volume, close, high, low, open, base volume, closed
//! futures  GET /api/v4/futures/usdt/candlesticks?contract=&interval=&from=s&to=s  at most 2000
//!          {"t":1539852480,"v":97151,"c":"1.032","h":"1.032","l":"1.032","o":"1.032","sum":"3580"}
//! ```
//! On spot a week is `7d`, which Gate does not say to begin on Mondays: it is not requested. Source: Gate's API v4
//! documentation, "Market K-line chart" and "Futures market K-line chart".

use super::super::klines::{self, RestKlines};
use super::super::message::{MessageName, Raw, Result, percent_encode, utf8};
use super::super::{KlinesQuery, RestRequest, json};
use super::field::opt_time;
use super::market::Market;
use model::row::Candle;
use model::{Channel, Interval};

const OF: MessageName = MessageName("candlesticks");

/// Both ends of a range count, so a range has a point more than intervals.
pub(super) fn request(market: Market, query: &KlinesQuery<'_>) -> Option<RestRequest> {
    let KlinesQuery { symbol, interval, first_us, last_us, .. } = *query;
    let path = match market {
        Market::Spot if interval == Interval::W1 => return None,
        Market::Spot => "/api/v4/spot/candlesticks?currency_pair=",
        Market::Futures => "/api/v4/futures/usdt/candlesticks?contract=",
    };
    let (name, from, to) = (percent_encode(symbol), first_us / 1_000_000, last_us / 1_000_000);
    let path = format!("{path}{name}&interval={interval}&from={from}&to={to}");
    Some(RestRequest::of(Channel::VenueKlines.as_str(), Some(symbol), path, 1))
}

pub(super) fn parse(market: Market, body: &[u8]) -> Result<RestKlines> {
    let time = |t: Raw<'_>| opt_time(OF, "t", t)?.map_or_else(|| OF.wrong("t"), Ok);
    let open_time = |raw: &str| {
        let [t] = match market {
            Market::Spot => OF.elements("row", raw)?,
            Market::Futures => json::object(raw, &["t"], &mut |_| ())?,
        };
        time(t)
    };
    klines::read(utf8(body)?, open_time, |row| {
        let (t, o, h, l, c, base, quote) = match market {
            Market::Spot => {
                let [t, quote, c, h, l, o, base] = OF.elements("row", row)?;
                (t, o, h, l, c, base, quote)
            }
            Market::Futures => {
                let [t, v, c, h, l, o, quote] = json::object(row, &["t", "v", "c", "h", "l", "o", "sum"], &mut |_| ())?;
                (t, o, h, l, c, v, quote)
            }
        };
        let open_time_us = time(t)?;
        let prices = [OF.num("o", o)?, OF.num("h", h)?, OF.num("l", l)?, OF.num("c", c)?];
        Ok(Candle::of(open_time_us, prices, OF.opt_num("v", base)?, OF.opt_num("sum", quote)?))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::Num;

    fn num(text: &str) -> Num {
        Num::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn spot_rows_begin_with_the_quote_volume_and_futures_rows_are_objects() {
        // Rows of Gate's documentation.
        let spot = br#"[["1539852480","971519.677","0.0021724","0.0021922","0.0021724","0.0021737","471.1","true"]]"#;
        let row = parse(Market::Spot, spot).unwrap().rows.remove(0);
        assert_eq!(row.open_time_us, 1_539_852_480_000_000);
        assert_eq!((row.open, row.high), (num("0.0021737"), num("0.0021922")));
        assert_eq!((row.low, row.close), (num("0.0021724"), num("0.0021724")));
        assert_eq!((row.volume, row.quote_volume), (Some(num("471.1")), Some(num("971519.677"))));
        let futures = br#"[{"t":1539852480,"v":97151,"c":"1.032","h":"1.032","l":"1.031","o":"1.032","sum":"3580"}]"#;
        let row = parse(Market::Futures, futures).unwrap().rows.remove(0);
        assert_eq!((row.low, row.volume, row.quote_volume), (num("1.031"), Some(num("97151")), Some(num("3580"))));
        assert!(parse(Market::Spot, br#"{"label":"INVALID_CURRENCY_PAIR"}"#).is_err());
        assert!(parse(Market::Futures, br#"[{"t":1539852480}]"#).is_err());
    }

    #[test]
    fn weeks_are_asked_for_only_where_they_begin_on_mondays() {
        let query = KlinesQuery {
            symbol: "BTC_USDT",
            interval: Interval::W1,
            first_us: 60_000_000,
            last_us: 120_000_000,
            limit: 2,
        };
        assert!(request(Market::Spot, &query).is_none());
        let week = request(Market::Futures, &query).unwrap();
        assert_eq!(
            week.path_and_query,
            "/api/v4/futures/usdt/candlesticks?contract=BTC_USDT&interval=1w&from=60&to=120"
        );
    }
}
