//! `exchangeInfo` of all markets.
//!
//! ```text
//! {"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT",
//!   "filters":[{"filterType":"PRICE_FILTER","tickSize":"0.01000000",..},
//!              {"filterType":"LOT_SIZE","stepSize":"0.00001000",..}],
//!   "onboardDate":1569398400000,"contractType":"PERPETUAL",..}],..}
//! ```
//! The precisions of a symbol are not its steps: those are in the filters. Spot gives no listing time. COIN-M has
//! `contractStatus` for `status`, and `contractSize`, in the quote asset.

use super::super::json;
use super::super::listing::{self, Entry, UNKNOWN};
use super::field::{MessageName, Raw, Result};
use super::market::Market;
use super::rules;
use model::Listing;
use model::number::Num;
use model::{Symbol, SymbolKind};

const OF: MessageName = MessageName("exchangeInfo");

/// All symbols of a listing, those that do not trade included.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Listing> {
    let text = String::from_utf8_lossy(body);
    let [symbols] = json::object(&text, &["symbols"], &mut |_| ())?;
    match symbols.filter(|s| json::is_array(s)) {
        Some(symbols) => listing::read(OF, symbols, |entry, raw| symbol(market, entry, raw)),
        None => OF.wrong("symbols"),
    }
}

fn symbol(market: Market, entry: &mut Entry, raw: &str) -> Result<Symbol> {
    let (status_key, size_key) = match market {
        Market::Spot | Market::Usdm => ("status", ""),
        Market::Coinm => ("contractStatus", "contractSize"),
    };
    let keys = [
        "symbol", status_key, "baseAsset", "quoteAsset", "contractType", "onboardDate", "deliveryDate", "filters",
        size_key,
    ];
    let [name, status, base, quote, contract_type, onboard, delivery, filters, size] =
        json::object(raw, &keys, &mut |_| ())?;
    let name = entry.name("symbol", name)?;
    let status = entry.word(status_key, status);
    let contract_type = match (market, contract_type) {
        (Market::Spot, _) | (_, None) => None,
        // Empty where trading has not begun.
        (Market::Usdm | Market::Coinm, sent) => entry.text("contractType", sent),
    };
    let [tick_size, lot_size] = steps(entry, filters);
    Ok(Symbol {
        base: entry.word("baseAsset", base).unwrap_or_default(),
        quote: entry.word("quoteAsset", quote).unwrap_or_default(),
        trading: status.as_deref().is_none_or(|s| s == "TRADING"),
        status: status.unwrap_or_else(|| UNKNOWN.to_owned()),
        listing_time_ms: entry.int("onboardDate", onboard),
        // Of a perpetual one it is in 2100 until its delisting is planned.
        end_time_ms: entry.int("deliveryDate", delivery).filter(|ms| *ms > 0),
        tick_size,
        lot_size,
        contract_size: size.filter(|_| market == Market::Coinm).and_then(|size| entry.num("contractSize", Some(size))),
        kind: kind(market, contract_type.as_deref().unwrap_or_default(), &name),
        rules: rules::of(raw),
        name,
    })
}

/// The steps of price and amount. Filters that nobody knows yet say nothing of these.
fn steps(entry: &mut Entry, filters: Raw<'_>) -> [Option<Num>; 2] {
    let (mut tick, mut lot) = (None, None);
    let Some(filters) = filters else { return [None, None] };
    if !json::is_array(filters) {
        entry.wrong("filters");
        return [None, None];
    }
    let read = json::array(filters, &mut |raw| {
        let fields = json::object(raw, &["filterType", "tickSize", "stepSize"], &mut |_| ());
        let Some([kind, tick_size, step_size]) = entry.or_note(fields) else { return Ok(()) };
        match kind.and_then(json::text).as_deref() {
            Some("PRICE_FILTER") => tick = tick.or_else(|| entry.num("tickSize", tick_size)),
            Some("LOT_SIZE") => lot = lot.or_else(|| entry.num("stepSize", step_size)),
            Some(_) => {}
            None => entry.wrong("filterType"),
        }
        Ok(())
    });
    entry.or_note(read);
    [tick, lot]
}

/// `PERPETUAL` and `TRADIFI_PERPETUAL` never expire, quarters and months do; for words of the past or the future
/// the date after the underscore decides. Contracts of COIN-M are inverse.
fn kind(market: Market, contract_type: &str, symbol: &str) -> SymbolKind {
    let dated = match contract_type {
        t if t.contains("PERPETUAL") => false,
        t if t.contains("QUARTER") || t.contains("MONTH") => true,
        _ => symbol.rsplit_once('_').is_some_and(|(_, date)| date.bytes().all(|b| b.is_ascii_digit())),
    };
    match (market, dated) {
        (Market::Spot, _) => SymbolKind::Spot,
        (Market::Usdm, false) => SymbolKind::Perpetual,
        (Market::Usdm, true) => SymbolKind::Dated,
        (Market::Coinm, false) => SymbolKind::InversePerpetual,
        (Market::Coinm, true) => SymbolKind::InverseDated,
    }
}
