//! Missing trades: what is requested, and that of the answer only that becomes rows.

use super::super::super::Missing;
use super::*;
use model::{Channel, Fill};

fn missing(channel: Channel, from: i64, to: i64) -> Missing<'static> {
    Missing { channel, symbol: "币USDT", from, to, after_us: None, before_us: None, page: 0 }
}

#[test]
fn gaps_are_requested_by_id_a_page_at_a_time() {
    let ask = |id, channel, from, to| {
        let request = venue(id).repair_request(&missing(channel, from, to))?;
        assert_eq!((&*request.channel, request.symbol.as_deref()), (channel.as_str(), Some("币USDT")));
        let Fill { from, to } = request.fill.unwrap();
        Some((request.path_and_query, request.weight, from, to))
    };
    let is = |path: &str, weight, from, to| Some((path.to_owned(), weight, from, to));
    let (trades, aggs) = (Channel::Trades, Channel::AggTrades);
    let historical = "/api/v3/historicalTrades?symbol=%E5%B8%81USDT&fromId=7&limit=";
    for id in [VenueId::BinanceSpot, VenueId::BinanceSpotSbe] {
        assert_eq!(ask(id, trades, 7, 7), is(&format!("{historical}1"), 25, 7, 7));
        assert_eq!(ask(id, trades, 7, 5000), is(&format!("{historical}1000"), 25, 7, 1006));
    }
    let agg = |path: &str| format!("{path}?symbol=%E5%B8%81USDT&fromId=100&limit=3");
    assert_eq!(ask(VenueId::BinanceSpot, aggs, 100, 102), is(&agg("/api/v3/aggTrades"), 4, 100, 102));
    assert_eq!(ask(VenueId::BinanceUsdm, aggs, 100, 102), is(&agg("/fapi/v1/aggTrades"), 20, 100, 102));
    // USD-M gives single trades only to the owner of an API key; SBE has no aggregates.
    assert_eq!(ask(VenueId::BinanceUsdm, trades, 1, 2), None);
    assert_eq!(ask(VenueId::BinanceSpotSbe, aggs, 1, 2), None);
    for (from, to) in [(2, 1), (-1, 4)] {
        assert_eq!(ask(VenueId::BinanceSpot, trades, from, to), None);
    }
    assert_eq!(ask(VenueId::BinanceSpot, Channel::Depth, 1, 2), None);
    let last = i64::MAX;
    assert_eq!(ask(VenueId::BinanceSpot, trades, last, last).map(|r| (r.2, r.3)), Some((last, last)));
}

/// Decodes a body fetched for `fill`.
fn answer(id: VenueId, channel: Channel, body: &[u8], fill: Option<(i64, i64)>) -> Result<Rows, DecodeError> {
    let fill = fill.map(|(from, to)| Fill { from, to });
    let meta = RestMeta { channel: channel.as_str().to_owned(), fill, ..depth_meta("ETHBTC") };
    let mut rows = Rows::new();
    let frame = Frame { kind: FrameKind::Rest, payload: body, rest: Some(&meta) };
    assert_eq!(venue(id).frames.decode(&frame, &mut rows)?, Decoded::Rows(channel));
    Ok(rows)
}

#[test]
fn recorded_trades_become_the_rows_that_were_asked_for() {
    let body = data("binance-spot/rest-trades-ETHBTC-2023-03-20.json.zst");
    let all = answer(VenueId::BinanceSpot, Channel::Trades, &body, None).unwrap();
    assert!(all.drift.items.is_empty());
    assert_eq!(all.trades.len(), 1000);
    let raw: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    for (row, raw) in all.trades.iter().zip(&raw) {
        assert_eq!(row.id, raw["id"].as_i64());
        assert_eq!(row.ts_trade_us, raw["time"].as_i64().map(|ms| ms * 1000));
        assert_eq!(format!("{:.*}", usize::from(row.price.scale), row.price.to_f64()), raw["price"].as_str().unwrap());
        assert_eq!(row.side.as_str() == "sell", raw["isBuyerMaker"].as_bool().unwrap());
        assert_eq!((all.symbols.name(row.symbol), row.ts_event_us), ("ETHBTC", None));
    }
    let first = all.trades[0].id.unwrap();
    let some = answer(VenueId::BinanceSpotSbe, Channel::Trades, &body, Some((first + 5, first + 8))).unwrap();
    assert_eq!(some.trades, all.trades[5..=8]);
    let none = answer(VenueId::BinanceSpot, Channel::Trades, &body, Some((1, 2))).unwrap();
    assert!(none.is_empty());
}

#[test]
fn recorded_aggregates_become_the_rows_that_were_asked_for() {
    let body = data("binance-usdm/rest-aggTrades-LTCUSDT-2020-10-16.json.zst");
    let all = answer(VenueId::BinanceUsdm, Channel::AggTrades, &body, None).unwrap();
    assert!(all.drift.items.is_empty());
    assert_eq!(all.agg_trades.len(), 500);
    let raw: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    for (row, raw) in all.agg_trades.iter().zip(&raw) {
        let ids = [row.agg_id, row.first_id, row.last_id, row.ts_trade_us / 1000].map(Some);
        assert_eq!(ids, ["a", "f", "l", "T"].map(|k| raw[k].as_i64()));
        assert_eq!(row.amount, model::Num::parse(raw["q"].as_str().unwrap().as_bytes()).unwrap());
        assert_eq!(row.side.as_str() == "sell", raw["m"].as_bool().unwrap());
    }
    let first = all.agg_trades[0].agg_id;
    let some = answer(VenueId::BinanceSpot, Channel::AggTrades, &body, Some((first + 499, first + 900))).unwrap();
    assert_eq!(some.agg_trades, all.agg_trades[499..]);
}

#[test]
fn a_new_field_is_drift_and_a_damaged_row_refuses_the_body() {
    let row = r#"{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}"#;
    let body = |row: &str| format!("[{row}]").into_bytes();
    let decoded = |row: &str| answer(VenueId::BinanceSpot, Channel::Trades, &body(row), Some((28457, 28457)));
    assert_eq!(decoded(row).unwrap().trades.len(), 1);
    let grown = decoded(&row.replace("\"id\"", "\"new\":[1],\"id\"")).unwrap();
    assert_eq!(grown.trades.len(), 1);
    assert_eq!(grown.drift.items["field historicalTrades.new"].count, 1);
    // With the header for it, REST answers in us.
    let micros = decoded(&row.replace("1499865549590", "1499865549590123")).unwrap();
    assert_eq!(micros.trades[0].ts_trade_us, Some(1_499_865_549_590_123));
    for (from, to) in [("\"id\":28457,", ""), ("4.00000100", "4,0"), ("true,", "\"yes\","), ("1499865549590", "-1")] {
        assert!(decoded(&row.replacen(from, to, 1)).is_err(), "{from}");
    }
    for body in [&b"{}"[..], b"[1]", b"[", b"", b"\xff", br#"{"code":-1121,"msg":"Invalid symbol."}"#] {
        assert!(answer(VenueId::BinanceSpot, Channel::Trades, body, None).is_err());
    }
    let meta = RestMeta { channel: "trades".to_owned(), symbol: None, ..depth_meta("") };
    let frame = Frame { kind: FrameKind::Rest, payload: &body(row), rest: Some(&meta) };
    assert!(venue(VenueId::BinanceSpot).frames.decode(&frame, &mut Rows::new()).is_err());
}
