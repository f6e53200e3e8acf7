//! Trades over REST, as a client needs them to fill a gap: `trades`, `historicalTrades`, `aggTrades` of spot, USD-M and COIN-M.
//!
//! Parameters, weights, row shapes and error bodies are those of the "Market Data endpoints" pages of the markets. Assumed, because no
//! document says it: a `limit` above the maximum is cut to it. Left out: USD-M gives aggregates by time only of the last 24 hours.

use std::fmt::Write as _;

use crate::binance::Market;
use crate::http::{Answer, Head};
use crate::rest::{error, has_symbol};
use crate::tape::{Kind, Row, Want, rows};
use crate::venue::Venue;

/// Longest window of USD-M aggregates, ms.
const WINDOW_MS: i64 = 3_600_000;

/// Weight and answer of a path below the venue's prefix, `None` when it is not about trades.
pub(crate) fn answer<'q>(
    venue: &Venue,
    head: &Head,
    path: &str,
    get: &dyn Fn(&str) -> Option<&'q str>,
) -> Option<(u32, Answer)> {
    let spot = venue.market == Market::Spot;
    let (kind, weight) = match (path, spot) {
        ("/trades" | "/historicalTrades", true) => (Kind::Trade, 25),
        ("/trades", false) => (Kind::Trade, 5),
        ("/historicalTrades", false) => (Kind::Trade, 20),
        ("/aggTrades", true) => (Kind::Agg, 4),
        ("/aggTrades", false) => (Kind::Agg, 20),
        _ => return None,
    };
    let is_history = path == "/historicalTrades";
    if is_history && !spot && head.header("x-mbx-apikey").is_none_or(str::is_empty) {
        return Some((weight, error(401, -2014, "API-key format invalid.")));
    }
    let limits = if is_history && !spot { (100, 500) } else { (500, 1_000) };
    let answer = parameters(venue, kind, is_history, get, limits).map(|(symbol, want, limit)| {
        let body = body(&rows(venue, symbol, kind, want, limit), kind, venue.market);
        Answer::json(200, body)
    });
    Some((weight, answer.unwrap_or_else(|refusal| refusal)))
}

fn parameters<'q>(
    venue: &Venue,
    kind: Kind,
    is_history: bool,
    get: &dyn Fn(&str) -> Option<&'q str>,
    (usual, most): (usize, usize),
) -> Result<(&'q str, Want, usize), Answer> {
    let Some(symbol) = get("symbol") else {
        return Err(error(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."));
    };
    let number = |name: &str| match get(name).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(value)) if value >= 0 => Ok(Some(value)),
        Some(_) => {
            let msg = format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.");
            Err(error(400, -1100, &msg))
        }
    };
    let limit = match number("limit")? {
        None => usual,
        Some(0) => return Err(error(400, -1130, "Data sent for parameter 'limit' is not valid.")),
        Some(limit) => usize::try_from(limit).unwrap_or(most).min(most),
    };
    let from = if kind == Kind::Agg || is_history { number("fromId")? } else { None };
    let (start, end) = if kind == Kind::Agg { (number("startTime")?, number("endTime")?) } else { (None, None) };
    if !has_symbol(venue, symbol) {
        return Err(error(400, -1121, "Invalid symbol."));
    }
    let want = match (from, start, end) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            return Err(error(400, -1128, "Combination of optional parameters invalid."));
        }
        (Some(from), None, None) => Want::From(from),
        (None, Some(start), Some(end)) if venue.market != Market::Spot && end.saturating_sub(start) > WINDOW_MS => {
            let msg = "Lookup interval is too big. More than 1 hours between startTime and endTime.";
            return Err(error(400, -1127, msg));
        }
        (None, Some(start), end) => Want::Since(start, end.unwrap_or(i64::MAX)),
        (None, None, Some(end)) => Want::Until(end),
        (None, None, None) => Want::Newest,
    };
    Ok((symbol, want, limit))
}

fn body(rows: &[Row], kind: Kind, market: Market) -> String {
    let spot = market == Market::Spot;
    let mut body = "[".to_owned();
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        let Row { id, price, amount, normal, first, last, time_ms, maker } = row;
        let _ = match kind {
            Kind::Trade => {
                let quote = product(price, amount, if spot { 8 } else { 2 });
                let tail = if spot { r#","isBestMatch":true"# } else { r#","isRPITrade":false"# };
                write!(
                    body,
                    r#"{{"id":{id},"price":"{price}","qty":"{amount}","quoteQty":"{quote}","time":{time_ms},"isBuyerMaker":{maker}{tail}}}"#
                )
            }
            Kind::Agg => {
                let normal = match normal {
                    Some(normal) if market == Market::Usdm => format!(r#","nq":"{normal}""#),
                    _ => String::new(),
                };
                let tail = if spot { r#","M":true"# } else { "" };
                write!(
                    body,
                    r#"{{"a":{id},"p":"{price}","q":"{amount}"{normal},"f":{first},"l":{last},"T":{time_ms},"m":{maker}{tail}}}"#
                )
            }
        };
    }
    body.push(']');
    body
}

/// Price times amount, cut to `places` decimals.
fn product(price: &str, amount: &str, places: u32) -> String {
    let parse = |text: &str| -> Option<(i128, u32)> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        Some((format!("{whole}{fraction}").parse().ok()?, u32::try_from(fraction.len()).ok()?))
    };
    let (Some((price, of_price)), Some((amount, of_amount))) = (parse(price), parse(amount)) else {
        return "0".to_owned();
    };
    let scale = of_price.saturating_add(of_amount);
    let value = price.saturating_mul(amount);
    let value = match scale.checked_sub(places) {
        Some(cut) => value / 10_i128.pow(cut.min(38)),
        None => value.saturating_mul(10_i128.pow((places - scale).min(38))),
    };
    let unit = 10_i128.pow(places.min(38));
    format!("{}.{:0width$}", value / unit, (value % unit).abs(), width = places as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_amount_is_the_exact_product_cut_to_its_places() {
        assert_eq!(product("61837.63000000", "0.02000000", 8), "1236.75260000");
        assert_eq!(product("0.00000300", "0.01000000", 8), "0.00000003");
        assert_eq!(product("90000.10", "0.002", 2), "180.00");
        assert_eq!(product("5", "3", 2), "15.00");
    }

    #[test]
    fn rows_have_the_shapes_of_their_market() {
        let row = Row {
            id: 9,
            price: "1.50".into(),
            amount: "2.0".into(),
            normal: Some("2.0".into()),
            first: 4,
            last: 5,
            time_ms: 7,
            maker: true,
        };
        let text = |kind, spot| body(std::slice::from_ref(&row), kind, if spot { Market::Spot } else { Market::Usdm });
        assert_eq!(
            text(Kind::Trade, true),
            r#"[{"id":9,"price":"1.50","qty":"2.0","quoteQty":"3.00000000","time":7,"isBuyerMaker":true,"isBestMatch":true}]"#
        );
        assert_eq!(
            text(Kind::Trade, false),
            r#"[{"id":9,"price":"1.50","qty":"2.0","quoteQty":"3.00","time":7,"isBuyerMaker":true,"isRPITrade":false}]"#
        );
        assert_eq!(text(Kind::Agg, true), r#"[{"a":9,"p":"1.50","q":"2.0","f":4,"l":5,"T":7,"m":true,"M":true}]"#);
        assert_eq!(text(Kind::Agg, false), r#"[{"a":9,"p":"1.50","q":"2.0","nq":"2.0","f":4,"l":5,"T":7,"m":true}]"#);
    }
}
