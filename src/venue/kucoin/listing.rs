//! `/api/v2/symbols` of spot and `/api/v1/contracts/active` of futures.
//!
//! ```text
//! {"code":"200000","data":[{"symbol":"BTC-USDT","baseCurrency":"BTC","quoteCurrency":"USDT",
//!   "baseIncrement":"0.00000001","priceIncrement":"0.1","enableTrading":true,"tradingStartTime":null,..}]}
//! {"code":"200000","data":[{"symbol":"XBTUSDTM","type":"FFWCSX","firstOpenDate":1585555200000,"expireDate":null,
//!   "baseCurrency":"XBT","quoteCurrency":"USDT","lotSize":1,"tickSize":0.1,"multiplier":0.001,"isInverse":false,
//!   "status":"Open",..}]}
//! ```
//! Spot has no word of status, only whether trading is enabled. A contract counts in lots: `multiplier` is the base
//! amount of one lot; an inverse contract sends -1, its lots are worth 1 of the quote currency each.

use super::super::{Num, Symbol, SymbolKind, json};
use super::field::int;
use super::{Market, Of, Raw, Result, rest};

/// All symbols of a listing, those that do not trade included.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Vec<Symbol>> {
    let mut symbols = Vec::new();
    json::array(rest::data(body)?, &mut |entry| {
        symbols.push(match market {
            Market::Spot => pair(entry)?,
            Market::Futures => contract(entry)?,
        });
        Ok(())
    })?;
    Ok(symbols)
}

fn fields<'a, const N: usize>(entry: &'a str, keys: &[&str; N]) -> Result<json::Values<'a, N>> {
    Ok(json::object(entry, keys, &mut |_| ())?.map(|v| v.filter(|v| *v != "null")))
}

fn step(of: Of, field: &'static str, raw: Raw<'_>) -> Result<Option<Num>> {
    Ok(of.opt_num(field, raw)?.map(Num::normalized))
}

fn since(of: Of, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
    Ok(raw.map(|_| int(of, field, raw)).transpose()?.filter(|ms| *ms > 0))
}

fn pair(entry: &str) -> Result<Symbol> {
    const OF: Of = Of("symbols");
    let keys = [
        "symbol",
        "baseCurrency",
        "quoteCurrency",
        "enableTrading",
        "priceIncrement",
        "baseIncrement",
        "tradingStartTime",
    ];
    let [name, base, quote, enabled, tick, lot, start] = fields(entry, &keys)?;
    let trading = OF.flag("enableTrading", enabled)?;
    Ok(Symbol {
        name: OF.word("symbol", name)?.into_owned(),
        base: OF.word("baseCurrency", base)?.into_owned(),
        quote: OF.word("quoteCurrency", quote)?.into_owned(),
        status: if trading { "enabled" } else { "disabled" }.to_owned(),
        trading,
        listing_time_ms: since(OF, "tradingStartTime", start)?,
        tick_size: step(OF, "priceIncrement", tick)?,
        lot_size: step(OF, "baseIncrement", lot)?,
        contract_size: None,
        kind: SymbolKind::Spot,
    })
}

fn contract(entry: &str) -> Result<Symbol> {
    const OF: Of = Of("contracts");
    let keys = [
        "symbol",
        "baseCurrency",
        "quoteCurrency",
        "status",
        "firstOpenDate",
        "tickSize",
        "lotSize",
        "multiplier",
        "type",
        "expireDate",
        "isInverse",
    ];
    let [name, base, quote, status, open, tick, lot, multiplier, kind, expires, inverse] = fields(entry, &keys)?;
    let status = OF.word("status", status)?.into_owned();
    let inverse = OF.flag("isInverse", inverse)?;
    let dated = match kind.and_then(json::text).as_deref() {
        Some("FFICSX") => true,
        Some("FFWCSX") => false,
        _ => expires.is_some(),
    };
    let multiplier = step(OF, "multiplier", multiplier)?;
    Ok(Symbol {
        name: OF.word("symbol", name)?.into_owned(),
        base: OF.word("baseCurrency", base)?.into_owned(),
        quote: OF.word("quoteCurrency", quote)?.into_owned(),
        trading: status == "Open",
        status,
        listing_time_ms: since(OF, "firstOpenDate", open)?,
        tick_size: step(OF, "tickSize", tick)?,
        lot_size: step(OF, "lotSize", lot)?,
        contract_size: multiplier.map(|m| Num { mantissa: m.mantissa.saturating_abs(), ..m }),
        kind: match (inverse, dated) {
            (false, false) => SymbolKind::Perpetual,
            (false, true) => SymbolKind::Dated,
            (true, false) => SymbolKind::InversePerpetual,
            (true, true) => SymbolKind::InverseDated,
        },
    })
}
