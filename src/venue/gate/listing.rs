//! Currency pairs and contracts.
//!
//! ```text
//! [{"id":"ETH_USDT","base":"ETH","quote":"USDT","precision":2,"amount_precision":3,"trade_status":"tradable",
//!   "buy_start":1516378650,"sell_start":1516378650,["delisting_time":0,"type":"normal",]..},..]
//! [{"name":"BTC_USDT","type":"direct","quanto_multiplier":"0.0001","order_price_round":"0.1","order_size_min":1,
//!   "in_delisting":false,["status":"trading","create_time":1546300800,"launch_time":..,]..},..]
//! ```
//! A contract in delisting trades until it is gone, so it counts as trading.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::message::{Of, Raw};
use super::super::number::Num;
use super::super::{DecodeError, Symbol, SymbolKind, json};
use super::{Market, field};

#[derive(Deserialize)]
struct Pair<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    base: Cow<'a, str>,
    #[serde(borrow)]
    quote: Cow<'a, str>,
    precision: Option<u8>,
    amount_precision: Option<u8>,
    #[serde(borrow)]
    trade_status: Cow<'a, str>,
    buy_start: Option<i64>,
    sell_start: Option<i64>,
}

#[derive(Deserialize)]
struct Contract<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    quanto_multiplier: Option<&'a RawValue>,
    #[serde(borrow)]
    order_price_round: Option<&'a RawValue>,
    #[serde(borrow)]
    order_size_min: Option<&'a RawValue>,
    #[serde(borrow)]
    launch_time: Option<&'a RawValue>,
    #[serde(borrow)]
    create_time: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(default)]
    in_delisting: bool,
    #[serde(default)]
    enable_decimal: bool,
}

/// All symbols of a listing, those that do not trade included.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Vec<Symbol>, DecodeError> {
    match market {
        Market::Spot => {
            let pairs: Vec<Pair<'_>> = serde_json::from_slice(body).map_err(|e| json::malformed(&e))?;
            pairs.iter().map(pair).collect()
        }
        Market::Futures => {
            let contracts: Vec<Contract<'_>> = serde_json::from_slice(body).map_err(|e| json::malformed(&e))?;
            contracts.iter().map(contract).collect()
        }
    }
}

fn pair(entry: &Pair<'_>) -> Result<Symbol, DecodeError> {
    const OF: Of = Of("currency_pairs");
    name_is_usable(OF, "id", &entry.id)?;
    // Some pairs may be sold before they may be bought, or the other way round.
    let start = [entry.buy_start, entry.sell_start].into_iter().flatten().filter(|s| *s > 0).min();
    Ok(Symbol {
        name: entry.id.clone().into_owned(),
        base: entry.base.clone().into_owned(),
        quote: entry.quote.clone().into_owned(),
        status: entry.trade_status.clone().into_owned(),
        trading: matches!(entry.trade_status.as_ref(), "tradable" | "buyable" | "sellable"),
        listing_time_ms: start.and_then(|s| s.checked_mul(1_000)),
        tick_size: entry.precision.map(|p| power(OF, "precision", p)).transpose()?,
        lot_size: entry.amount_precision.map(|p| power(OF, "amount_precision", p)).transpose()?,
        contract_size: None,
        kind: SymbolKind::Spot,
    })
}

/// 10^-digits.
fn power(of: Of, field: &'static str, digits: u8) -> Result<Num, DecodeError> {
    if digits > 18 { of.wrong(field) } else { Ok(Num { mantissa: 1, scale: digits }.normalized()) }
}

fn contract(entry: &Contract<'_>) -> Result<Symbol, DecodeError> {
    const OF: Of = Of("contracts");
    name_is_usable(OF, "name", &entry.name)?;
    // Dated contracts are called `BTC_USDT_20260925`.
    let (pair, dated) = match entry.name.rsplit_once('_') {
        Some((pair, date)) if pair.contains('_') && date.bytes().all(|b| b.is_ascii_digit()) => (pair, true),
        _ => (entry.name.as_ref(), false),
    };
    let (base, quote) = pair.rsplit_once('_').map_or_else(|| OF.wrong("name"), Ok)?;
    let kind = match (entry.kind.as_ref(), dated) {
        ("inverse", false) => SymbolKind::InversePerpetual,
        ("inverse", true) => SymbolKind::InverseDated,
        (_, false) => SymbolKind::Perpetual,
        (_, true) => SymbolKind::Dated,
    };
    let status = match (entry.status.as_deref(), entry.in_delisting) {
        (Some(status), _) => status,
        (None, true) => "delisting",
        (None, false) => "trading",
    };
    let launch = field::opt_time(OF, "launch_time", raw(entry.launch_time))?;
    let start = launch.map_or_else(|| field::opt_time(OF, "create_time", raw(entry.create_time)), |us| Ok(Some(us)))?;
    let num = |field, value| OF.opt_num(field, raw(value)).map(|n| n.filter(|n| !n.is_zero()).map(Num::normalized));
    Ok(Symbol {
        name: entry.name.clone().into_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        status: status.to_owned(),
        trading: matches!(status, "trading" | "delisting"),
        listing_time_ms: start.map(|us| us / 1_000),
        tick_size: num("order_price_round", entry.order_price_round)?,
        // The least order is one contract, or a part of one where parts are traded.
        lot_size: match num("order_size_min", entry.order_size_min)? {
            min if entry.enable_decimal => min,
            _ => Some(Num { mantissa: 1, scale: 0 }),
        },
        // 0 means that a contract is worth 1 in quote units (inverse).
        contract_size: num("quanto_multiplier", entry.quanto_multiplier)?,
        kind,
    })
}

fn raw(value: Option<&RawValue>) -> Raw<'_> {
    value.map(RawValue::get).filter(|v| *v != "null")
}

fn name_is_usable(of: Of, field: &'static str, name: &str) -> Result<(), DecodeError> {
    if (1..=json::MAX_WORD).contains(&name.len()) { Ok(()) } else { of.wrong(field) }
}
