//! Currency pairs and contracts.
//!
//! ```text
//! [{"id":"ETH_USDT","base":"ETH","quote":"USDT","precision":2,"amount_precision":3,"trade_status":"tradable",
//!   "buy_start":1516378650,"sell_start":1516378650,["delisting_time":0,"type":"normal",]..},..]
//! [{"name":"BTC_USDT","type":"direct","quanto_multiplier":"0.0001","order_price_round":"0.1","order_size_min":1,
//!   "in_delisting":false,["status":"trading","create_time":1546300800,"launch_time":..,"delisted_time":..,]..},..]
//! ```
//! A contract in delisting trades until it is gone, so it counts as trading; `delisted_time`, in seconds like the others,
//! says when that is.

use super::super::json;
use super::super::listing::{self, Entry, UNKNOWN};
use super::super::message::{MessageName, Raw, Result};
use super::field;
use super::market::Market;
use model::Listing;
use model::number::Num;
use model::{Symbol, SymbolKind};

const CONTRACTS: MessageName = MessageName("contracts");

/// All symbols of a listing, those that do not trade included.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Listing> {
    let text = String::from_utf8_lossy(body);
    match market {
        Market::Spot => listing::read(MessageName("currency_pairs"), &text, pair),
        Market::Futures => listing::read(CONTRACTS, &text, contract),
    }
}

fn pair(entry: &mut Entry, raw: &str) -> Result<Symbol> {
    let keys = [
        "id", "base", "quote", "precision", "amount_precision", "trade_status", "buy_start", "sell_start",
        "delisting_time",
    ];
    let [name, base, quote, precision, amount_precision, status, buy, sell, delisting] =
        json::object(raw, &keys, &mut |_| ())?;
    let name = entry.name("id", name)?;
    let status = entry.word("trade_status", status);
    // Some pairs may be sold before they may be bought, or the other way round.
    let starts = [entry.int("buy_start", buy), entry.int("sell_start", sell)];
    let start = starts.into_iter().flatten().filter(|s| *s > 0).min();
    Ok(Symbol {
        base: entry.word("base", base).unwrap_or_default(),
        quote: entry.word("quote", quote).unwrap_or_default(),
        trading: status.as_deref().is_none_or(|s| matches!(s, "tradable" | "buyable" | "sellable")),
        status: status.unwrap_or_else(|| UNKNOWN.to_owned()),
        listing_time_ms: start.and_then(|s| s.checked_mul(1_000)),
        end_time_ms: entry.int("delisting_time", delisting).filter(|s| *s > 0).and_then(|s| s.checked_mul(1_000)),
        tick_size: power(entry, "precision", precision),
        lot_size: power(entry, "amount_precision", amount_precision),
        contract_size: None,
        kind: SymbolKind::Spot,
        rules: String::new(),
        name,
    })
}

/// 10^-digits.
fn power(entry: &mut Entry, field: &'static str, digits: Raw<'_>) -> Option<Num> {
    if digits == Some("null") {
        entry.wrong(field);
    }
    let digits = entry.int(field, digits)?;
    match u8::try_from(digits) {
        Ok(scale @ 0..=38) => Some(Num { mantissa: 1, scale }),
        _ => {
            entry.wrong(field);
            None
        }
    }
}

fn contract(entry: &mut Entry, raw: &str) -> Result<Symbol> {
    let keys = [
        "name", "type", "quanto_multiplier", "order_price_round", "order_size_min", "launch_time", "create_time",
        "status", "in_delisting", "enable_decimal", "delisted_time",
    ];
    let [name, kind, quanto, round, least, launch, create, status, in_delisting, decimals, delisted] =
        json::object(raw, &keys, &mut |_| ())?;
    let name = entry.name("name", name)?;
    // Dated contracts are called `BTC_USDT_20260925`.
    let (pair, dated) = match name.rsplit_once('_') {
        Some((pair, date)) if pair.contains('_') && date.bytes().all(|b| b.is_ascii_digit()) => (pair, true),
        _ => (name.as_str(), false),
    };
    let (base, quote) = pair.rsplit_once('_').unwrap_or_else(|| {
        entry.wrong("name");
        (pair, "")
    });
    let kind = match (kind.and_then(|kind| entry.word("type", Some(kind))).as_deref(), dated) {
        (Some("inverse"), false) => SymbolKind::InversePerpetual,
        (Some("inverse"), true) => SymbolKind::InverseDated,
        (_, false) => SymbolKind::Perpetual,
        (_, true) => SymbolKind::Dated,
    };
    let delisting = entry.flag("in_delisting", in_delisting).unwrap_or(false);
    let status = match status {
        Some(sent) => entry.word("status", Some(sent)).unwrap_or_else(|| UNKNOWN.to_owned()),
        None => if delisting { "delisting" } else { "trading" }.to_owned(),
    };
    let mut time = |field, raw: Raw<'_>| {
        let time = field::opt_time(CONTRACTS, field, raw.filter(|raw| *raw != "null"));
        entry.or_note(time).flatten()
    };
    let start = time("launch_time", launch).or_else(|| time("create_time", create));
    let end = time("delisted_time", delisted);
    let mut size = |field, raw| entry.num(field, raw).filter(|n| !n.is_zero());
    let (tick_size, least) = (size("order_price_round", round), size("order_size_min", least));
    // 0 means that a contract is worth 1 in quote units (inverse).
    let contract_size = size("quanto_multiplier", quanto);
    // The least order is one contract, or a part of one where parts are traded.
    let whole = Some(Num { mantissa: 1, scale: 0 });
    Ok(Symbol {
        base: base.to_owned(),
        quote: quote.to_owned(),
        trading: matches!(status.as_str(), "trading" | "delisting" | UNKNOWN),
        status,
        listing_time_ms: start.map(|us| us / 1_000),
        end_time_ms: end.map(|us| us / 1_000),
        tick_size,
        lot_size: if entry.flag("enable_decimal", decimals).unwrap_or(false) { least } else { whole },
        contract_size,
        kind,
        rules: String::new(),
        name,
    })
}
