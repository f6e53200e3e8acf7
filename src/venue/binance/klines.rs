//! Candles over REST.
//!
//! ```text
//! spot   GET /api/v3/klines?symbol=&interval=&startTime=&endTime=&limit=    weight 2, at most 1000 rows
//! USD-M  GET /fapi/v1/klines?..                                             weight 1, 2, 5, 10 by limit
//!        [[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,
//!          "2434.19055334",308,"1756.87402397","28.46694368","0"],..]
//! ```
//! Open time, open, high, low, close, volume, close time, quote volume, trades, taker buy base, taker buy quote. COIN-M
//! (`/dapi/v1/klines`, the same weights) gives contracts for the volumes and the base asset where the others have the
//! quote asset: those are left out.
//! Source: Binance's documentation of the endpoints, "Kline/Candlestick Data".

use super::super::klines::{self, RestKlines};
use super::super::message::{percent_encode, utf8};
use super::super::{KlinesQuery, RestRequest};
use super::field::{MessageName, Result};
use super::market::Market;
use super::spot::PAGE;
use model::Channel;
use model::row::Candle;

const OF: MessageName = MessageName("klines");

pub(super) fn request(market: Market, query: &KlinesQuery<'_>) -> RestRequest {
    let KlinesQuery { symbol, interval, first_us, last_us, limit } = *query;
    let limit = limit.clamp(1, PAGE.rows);
    let weight = match (market, limit) {
        (Market::Spot, _) => 2,
        (_, ..100) => 1,
        (_, ..500) => 2,
        (_, _) => 5,
    };
    let (path, name) = (market.api(), percent_encode(symbol));
    let (start, end) = (first_us / 1000, last_us / 1000);
    let path = format!("{path}/klines?symbol={name}&interval={interval}&startTime={start}&endTime={end}&limit={limit}");
    RestRequest::of(Channel::VenueKlines.as_str(), Some(symbol), path, weight)
}

pub(super) fn parse(market: Market, body: &[u8]) -> Result<RestKlines> {
    let open_time = |raw: &str| {
        let [t] = OF.elements("row", raw)?;
        OF.time("0", t)
    };
    klines::read(utf8(body)?, open_time, |row| {
        let [t, open, high, low, close, volume, _, quote, n, buy, buy_quote] = OF.elements("row", row)?;
        Ok(Candle {
            open_time_us: OF.time("0", t)?,
            open: OF.num("1", open)?,
            high: OF.num("2", high)?,
            low: OF.num("3", low)?,
            close: OF.num("4", close)?,
            volume: Some(OF.num("5", volume)?),
            quote_volume: Some(OF.num("7", quote)?).filter(|_| market != Market::Coinm),
            trade_count: Some(OF.int("8", n)?),
            taker_buy_volume: Some(OF.num("9", buy)?),
            taker_buy_quote_volume: Some(OF.num("10", buy_quote)?).filter(|_| market != Market::Coinm),
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::venue;
    use model::kline::decimal;
    use model::{Interval, Num, VenueId};

    #[test]
    fn a_recorded_answer_reads_in_order_with_every_digit() {
        let body = include_bytes!("../../../tests/data/binance-spot/rest-klines-1m-BTCUSDT-2020-05-06.json");
        let rows = parse(Market::Spot, body).unwrap().rows;
        assert_eq!(rows.len(), 60);
        assert!(rows.windows(2).all(|w| w[1].open_time_us - w[0].open_time_us == 60_000_000));
        let text = std::str::from_utf8(body).unwrap();
        for row in &rows {
            let text_of = |n: Num| decimal(n.mantissa, n.scale.into(), n.scale.into());
            let [o, h, l, c] = [row.open, row.high, row.low, row.close].map(text_of);
            let [v, q, b, bq] = [row.volume, row.quote_volume, row.taker_buy_volume, row.taker_buy_quote_volume]
                .map(|n| text_of(n.unwrap()));
            let (open, close) = (row.open_time_us / 1000, row.open_time_us / 1000 + 59_999);
            let n = row.trade_count.unwrap();
            let sent =
                format!("[{open},\"{o}\",\"{h}\",\"{l}\",\"{c}\",\"{v}\",{close},\"{q}\",{n},\"{b}\",\"{bq}\",\"0\"]");
            assert!(text.contains(&sent), "{sent}");
        }
    }

    #[test]
    fn a_row_that_is_cut_or_no_row_is_an_error() {
        assert_eq!(parse(Market::Spot, b"[]").unwrap(), RestKlines::default());
        for bad in ["{}", "[[1,\"1\",\"1\"]]", "[7]", r#"{"code":-1121,"msg":"Invalid symbol."}"#, ""] {
            assert!(parse(Market::Spot, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_weight_of_a_request_follows_its_limit() {
        let (symbol, interval) = ("BTCUSDT", Interval::W1);
        let query = |limit| KlinesQuery { symbol, interval, first_us: 5_000, last_us: 9_000, limit };
        let ask = |id: VenueId, limit| venue(id).rest.klines_request(&query(limit)).unwrap();
        assert_eq!(
            ask(VenueId::BinanceSpotSbe, 7).path_and_query,
            "/api/v3/klines?symbol=BTCUSDT&interval=1w&startTime=5&endTime=9&limit=7"
        );
        assert_eq!(ask(VenueId::BinanceSpot, 1_000).weight, 2);
        assert_eq!([99, 100, 499, 500, 9_999].map(|l| ask(VenueId::BinanceUsdm, l).weight), [1, 2, 2, 5, 5]);
    }
}
