//! `exchangeInfo` of both markets.
//!
//! ```text
//! {"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT",
//!   "filters":[{"filterType":"PRICE_FILTER","tickSize":"0.01000000",..},
//!              {"filterType":"LOT_SIZE","stepSize":"0.00001000",..}],
//!   "onboardDate":1569398400000,"contractType":"PERPETUAL",..}],..}
//! ```
//! The precisions of a symbol are not its steps: those are in the filters. Spot tells no listing time.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::number::Num;
use super::super::{DecodeError, Symbol, SymbolKind, json};
use super::Market;

#[derive(Deserialize)]
struct ExchangeInfo<'a> {
    #[serde(borrow)]
    symbols: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    base_asset: Cow<'a, str>,
    #[serde(borrow)]
    quote_asset: Cow<'a, str>,
    #[serde(borrow, default)]
    contract_type: Cow<'a, str>,
    onboard_date: Option<i64>,
    #[serde(borrow, default)]
    filters: Vec<Filter<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    #[serde(borrow)]
    filter_type: Cow<'a, str>,
    tick_size: Option<Cow<'a, str>>,
    step_size: Option<Cow<'a, str>>,
}

/// All symbols of a listing, those that do not trade included.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Vec<Symbol>, DecodeError> {
    let info: ExchangeInfo<'_> = serde_json::from_slice(body).map_err(|e| json::malformed(&e))?;
    info.symbols.iter().map(|e| symbol(market, e)).collect()
}

fn symbol(market: Market, entry: &Entry<'_>) -> Result<Symbol, DecodeError> {
    if entry.symbol.is_empty() || entry.symbol.len() > json::MAX_WORD {
        return Err(DecodeError::Field { message: "exchangeInfo", field: "symbol" });
    }
    Ok(Symbol {
        name: entry.symbol.clone().into_owned(),
        base: entry.base_asset.clone().into_owned(),
        quote: entry.quote_asset.clone().into_owned(),
        status: entry.status.clone().into_owned(),
        trading: entry.status == "TRADING",
        listing_time_ms: entry.onboard_date,
        tick_size: step(entry, "PRICE_FILTER", "tickSize", |f| f.tick_size.as_deref())?,
        lot_size: step(entry, "LOT_SIZE", "stepSize", |f| f.step_size.as_deref())?,
        contract_size: None,
        kind: kind(market, &entry.contract_type, &entry.symbol),
    })
}

fn step<'e>(
    entry: &'e Entry<'_>,
    filter: &str,
    field: &'static str,
    value: impl Fn(&'e Filter<'_>) -> Option<&'e str>,
) -> Result<Option<Num>, DecodeError> {
    let found = entry.filters.iter().find(|f| f.filter_type == filter);
    let Some(text) = found.and_then(value) else {
        return Ok(None);
    };
    let num =
        Num::parse(text.as_bytes()).map_err(|source| DecodeError::Number { message: "exchangeInfo", field, source })?;
    Ok(Some(num.normalized()))
}

/// `PERPETUAL` and `TRADIFI_PERPETUAL` never expire, quarters and months do; for words of the past or the future
/// the date behind the underscore decides.
fn kind(market: Market, contract_type: &str, symbol: &str) -> SymbolKind {
    match (market, contract_type) {
        (Market::Spot, _) => SymbolKind::Spot,
        (_, t) if t.contains("PERPETUAL") => SymbolKind::Perpetual,
        (_, t) if t.contains("QUARTER") || t.contains("MONTH") => SymbolKind::Dated,
        _ => match symbol.rsplit_once('_') {
            Some((_, date)) if date.bytes().all(|b| b.is_ascii_digit()) => SymbolKind::Dated,
            _ => SymbolKind::Perpetual,
        },
    }
}
