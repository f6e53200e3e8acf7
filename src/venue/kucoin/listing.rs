//! `/api/v2/symbols` of spot and `/api/v1/contracts/active` of futures.
//!
//! ```text
//! {"code":"200000","data":[{"symbol":"BTC-USDT","baseCurrency":"BTC","quoteCurrency":"USDT",
//!   "baseIncrement":"0.00000001","priceIncrement":"0.1","enableTrading":true,"tradingStartTime":null,..}]}
//! {"code":"200000","data":[{"symbol":"XBTUSDTM","type":"FFWCSX","firstOpenDate":1585555200000,"expireDate":null,
//!   "baseCurrency":"XBT","quoteCurrency":"USDT","lotSize":1,"tickSize":0.1,"multiplier":0.001,"isInverse":false,
//!   "status":"Open",..}]}
//! ```
//! Spot has no status, only whether trading is enabled. A contract counts in lots: `multiplier` is the base
//! amount of one lot; an inverse contract sends -1, its lots are worth 1 of the quote currency each.

use super::super::json;
use super::super::listing::{self, Entry, UNKNOWN};
use super::super::message::{MessageName, Raw, Result};
use super::envelope;
use super::market::Market;

use model::{Listing, Num, Symbol, SymbolKind};

/// All symbols of a listing, those that do not trade included.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Listing> {
    let text = String::from_utf8_lossy(body);
    let entries = envelope::data(text.as_bytes())?;
    match market {
        Market::Spot => listing::read(MessageName("symbols"), entries, pair),
        Market::Futures => listing::read(MessageName("contracts"), entries, contract),
    }
}

fn since(entry: &mut Entry, field: &'static str, raw: Raw<'_>) -> Option<i64> {
    entry.int(field, raw).filter(|ms| *ms > 0)
}

fn pair(entry: &mut Entry, raw: &str) -> Result<Symbol> {
    let keys = [
        "symbol", "baseCurrency", "quoteCurrency", "enableTrading", "priceIncrement", "baseIncrement",
        "tradingStartTime",
    ];
    let [name, base, quote, enabled, tick, lot, start] = json::object(raw, &keys, &mut |_| ())?;
    let name = entry.name("symbol", name)?;
    if enabled.is_none() {
        entry.wrong("enableTrading");
    }
    let enabled = entry.flag("enableTrading", enabled);
    Ok(Symbol {
        base: entry.word("baseCurrency", base).unwrap_or_default(),
        quote: entry.word("quoteCurrency", quote).unwrap_or_default(),
        status: match enabled {
            Some(true) => "enabled",
            Some(false) => "disabled",
            None => UNKNOWN,
        }
        .to_owned(),
        trading: enabled.unwrap_or(true),
        listing_time_ms: since(entry, "tradingStartTime", start),
        end_time_ms: None,
        tick_size: entry.num("priceIncrement", tick),
        lot_size: entry.num("baseIncrement", lot),
        contract_size: None,
        kind: SymbolKind::Spot,
        rules: String::new(),
        name,
    })
}

fn contract(entry: &mut Entry, raw: &str) -> Result<Symbol> {
    let keys = [
        "symbol", "baseCurrency", "quoteCurrency", "status", "firstOpenDate", "tickSize", "lotSize", "multiplier",
        "type", "expireDate", "isInverse",
    ];
    let [name, base, quote, status, open, tick, lot, multiplier, kind, expires, inverse] =
        json::object(raw, &keys, &mut |_| ())?;
    let name = entry.name("symbol", name)?;
    let status = entry.word("status", status);
    let inverse = entry.flag("isInverse", inverse);
    let dated = match kind.and_then(json::text).as_deref() {
        Some("FFICSX") => true,
        Some("FFWCSX") => false,
        _ => expires.is_some_and(|date| date != "null"),
    };
    let multiplier = entry.num("multiplier", multiplier);
    Ok(Symbol {
        base: entry.word("baseCurrency", base).unwrap_or_default(),
        quote: entry.word("quoteCurrency", quote).unwrap_or_default(),
        trading: status.as_deref().is_none_or(|s| s == "Open"),
        status: status.unwrap_or_else(|| UNKNOWN.to_owned()),
        listing_time_ms: since(entry, "firstOpenDate", open),
        end_time_ms: since(entry, "expireDate", expires),
        tick_size: entry.num("tickSize", tick),
        lot_size: entry.num("lotSize", lot),
        contract_size: multiplier.map(|m| Num { mantissa: m.mantissa.abs(), scale: m.scale }),
        kind: match (inverse.unwrap_or(false), dated) {
            (false, false) => SymbolKind::Perpetual,
            (false, true) => SymbolKind::Dated,
            (true, false) => SymbolKind::InversePerpetual,
            (true, true) => SymbolKind::InverseDated,
        },
        rules: String::new(),
        name,
    })
}
