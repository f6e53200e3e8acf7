//! Candles over REST.
//!
//! ```text
//! spot     GET /api/v1/market/candles?type=1min&symbol=&startAt=s&endAt=s     weight 3, at most 1500, newest first
//!          ["1545904980","0.058","0.049","0.058","0.049","0.018","0.000945"]  time, open, CLOSE, high, low, vol, turnover
//! futures  GET /api/v1/kline/query?symbol=&granularity=1&from=ms&to=ms        weight 3, at most 500, oldest first
//!          [1545904980000,3755.1,3756,3755,3755.5,120]                        time, open, HIGH, low, close, lots[, turnover]
//! ```
//! Minutes without a trade are left out. Source: KuCoin's documentation, "Get Klines" of both markets.

use super::super::klines::{self, RestKlines};
use super::super::message::{MessageName, Result, percent_encode};
use super::super::{KlinesQuery, RestRequest};
use super::envelope;
use super::field::time;
use super::market::Market;

use model::row::Candle;
use model::{Channel, Interval};

const OF: MessageName = MessageName("klines");

pub(super) fn request(market: Market, query: &KlinesQuery<'_>) -> RestRequest {
    let KlinesQuery { symbol, interval, first_us, last_us, .. } = *query;
    let word = match interval {
        Interval::M1 => "1min",
        Interval::M5 => "5min",
        Interval::M30 => "30min",
        Interval::H1 => "1hour",
        Interval::H4 => "4hour",
        Interval::D1 => "1day",
        Interval::W1 => "1week",
    };
    let name = percent_encode(symbol);
    let path = match market {
        // The end is not documented as inclusive: a second more holds the last candle either way.
        Market::Spot => format!(
            "/api/v1/market/candles?type={word}&symbol={name}&startAt={}&endAt={}",
            first_us / 1_000_000,
            last_us / 1_000_000 + 1
        ),
        Market::Futures => {
            let (minutes, from, to) = (interval.len_us() / Interval::M1.len_us(), first_us / 1000, last_us / 1000);
            format!("/api/v1/kline/query?symbol={name}&granularity={minutes}&from={from}&to={to}")
        }
    };
    RestRequest::of(Channel::VenueKlines.as_str(), Some(symbol), path, 3)
}

pub(super) fn parse(market: Market, body: &[u8]) -> Result<RestKlines> {
    let open_time = |raw: &str| {
        let [t] = OF.elements("row", raw)?;
        time(OF, "0", t)
    };
    klines::read(envelope::data(body)?, open_time, |row| {
        let [t, a, b, c, d, volume, turnover] = OF.elements("row", row)?;
        let (open, high, low, close) = match market {
            Market::Spot => (a, c, d, b),
            Market::Futures => (a, b, c, d),
        };
        let open_time_us = time(OF, "0", t)?;
        let prices = [OF.num("open", open)?, OF.num("high", high)?, OF.num("low", low)?, OF.num("close", close)?];
        Ok(Candle::of(open_time_us, prices, Some(OF.num("5", volume)?), OF.opt_num("6", turnover)?))
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
    fn spot_rows_have_the_close_before_the_high_and_futures_rows_do_not() {
        // Rows of KuCoin's documentation.
        let spot = br#"{"code":"200000","data":[["1545904980","0.058","0.049","0.058","0.049","0.018","0.000945"],
            ["1545904920","0.058","0.072","0.072","0.058","0.103","0.006986"]]}"#;
        let rows = parse(Market::Spot, spot).unwrap().rows;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].open_time_us, 1_545_904_920_000_000, "oldest first");
        assert_eq!((rows[0].high, rows[0].low, rows[0].close), (num("0.072"), num("0.058"), num("0.072")));
        assert_eq!((rows[1].close, rows[1].quote_volume), (num("0.049"), Some(num("0.000945"))));
        let futures = br#"{"code":"200000","data":[[1575331200000,7495.01,8309.67,7250.0,7463.55,120]]}"#;
        let rows = parse(Market::Futures, futures).unwrap().rows;
        assert_eq!((rows[0].high, rows[0].low, rows[0].close), (num("8309.67"), num("7250.0"), num("7463.55")));
        assert_eq!((rows[0].volume, rows[0].quote_volume), (Some(num("120")), None));
        assert!(parse(Market::Spot, br#"{"code":"400100","msg":"symbol not exists"}"#).is_err());
        assert!(parse(Market::Spot, br#"{"code":"200000","data":[["1545904980","0.058"]]}"#).is_err());
    }

    #[test]
    fn a_request_names_the_interval_as_the_market_does() {
        let query =
            |symbol, interval| KlinesQuery { symbol, interval, first_us: 60_000_000, last_us: 120_000_000, limit: 2 };
        let spot = request(Market::Spot, &query("BTC-USDT", Interval::W1));
        assert_eq!(spot.path_and_query, "/api/v1/market/candles?type=1week&symbol=BTC-USDT&startAt=60&endAt=121");
        let futures = request(Market::Futures, &query("XBTUSDTM", Interval::H4));
        assert_eq!(futures.path_and_query, "/api/v1/kline/query?symbol=XBTUSDTM&granularity=240&from=60000&to=120000");
    }
}
