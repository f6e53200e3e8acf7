//! `exchangeInfo`: the recorded symbols that are listed, as the newest listing has them.
//!
//! Nothing is made up: what no listing of ours says is absent, and so is a symbol of which none was recorded, or which
//! has left the listing. What concerns orders alone is not kept.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::family::{Family, FoundSymbol};
use crate::app::Shared;
use crate::error::{ApiError, ApiResult};
use crate::json::json as body;
use crate::params::{Params, SpotUnit};
use crate::text::Unit;
use crate::time::now_us;
use kline::{Facts, KlineHub};
use venue::UNKNOWN;

pub(super) async fn spot(app: State<Shared>, SpotUnit(unit): SpotUnit, params: Params) -> ApiResult<Response> {
    let hub = app.hub()?;
    // What an account may trade is not kept: an answer that pays no attention to it would be another one.
    if params.get("permissions")?.is_some() {
        return Err(ApiError::new(-1130, "Data sent for parameter 'permissions' is not valid: not kept here."));
    }
    let symbols = chosen(&hub, Family::Spot, &params)?;
    Ok(answer(&app, None, unit, symbols))
}

pub(super) async fn usdm(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let hub = app.hub()?;
    let symbols = chosen(&hub, Family::Usdm, &params)?;
    Ok(answer(&app, Some("U_MARGINED"), Unit::Ms, symbols))
}

pub(super) async fn coinm(app: State<Shared>) -> Response {
    answer(&app, Some("C_MARGINED"), Unit::Ms, Vec::new())
}

fn answer(app: &State<Shared>, futures: Option<&str>, unit: Unit, symbols: Vec<Value>) -> Response {
    // The limit is that of this server.
    let limit = app.cfg.weight_per_minute;
    let mut info = json!({
        "timezone": "UTC",
        "serverTime": unit.convert_us(now_us()),
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}],
        "symbols": symbols,
    });
    if let (Some(kind), Some(members)) = (futures, info.as_object_mut()) {
        members.insert("futuresType".to_owned(), kind.into());
    }
    body(info.to_string())
}

/// `symbol`, or `symbols`, or all; those of a status.
fn chosen(hub: &KlineHub, family: Family, params: &Params) -> ApiResult<Vec<Value>> {
    let status = status(params)?;
    let found = match (params.get("symbol")?, params.list("symbols")?) {
        (Some(_), Some(_)) => return Err(ApiError::combination()),
        (None, None) => FoundSymbol::all(family, hub),
        _ if status.is_some() => return Err(ApiError::combination()),
        (Some(_), None) => vec![FoundSymbol::find(family, hub, params.symbol("symbol")?)?],
        (None, Some(list)) => {
            list.iter().map(|symbol| FoundSymbol::find(family, hub, symbol)).collect::<ApiResult<Vec<_>>>()?
        }
    };
    let all = params.get("symbol")?.is_none() && params.get("symbols")?.is_none();
    let mut symbols = Vec::new();
    for found in &found {
        match listed(hub, found) {
            Some(facts) if status.is_none_or(|s| s == facts.status) => symbols.push(symbol(found, &facts)),
            // Its candles are served; of the rest nobody knows.
            None if !all => return Err(ApiError::symbol()),
            _ => {}
        }
    }
    Ok(symbols)
}

/// `symbolStatus`: which symbols a list is about.
pub(super) fn status(params: &Params) -> ApiResult<Option<&str>> {
    match params.get("symbolStatus")? {
        None => Ok(None),
        Some(status @ ("TRADING" | "HALT" | "BREAK")) => Ok(Some(status)),
        Some(_) => Err(ApiError::value("symbolStatus")),
    }
}

/// What the newest listing says of a symbol that is in it.
pub(super) fn listed(hub: &KlineHub, found: &FoundSymbol) -> Option<Arc<Facts>> {
    // One that left the listing trades no more, whatever its status was. Without assets clients cannot name it: one
    // odd entry would cost them all markets.
    let whole = |f: &Arc<Facts>| !f.base.is_empty() && !f.quote.is_empty();
    hub.registry().facts(found.index).filter(|f| f.trading || f.status != "TRADING").filter(whole)
}

/// The fields of the listing that only this venue has.
fn rules(facts: &Facts) -> Map<String, Value> {
    serde_json::from_str(&facts.rules).unwrap_or_default()
}

/// The venue's name for what kind of contract it is.
pub(crate) fn contract(hub: &KlineHub, found: &FoundSymbol) -> String {
    let facts = hub.registry().facts(found.index);
    let word = facts.as_deref().and_then(|f| Some(rules(f).get("contractType")?.as_str()?.to_owned()));
    // A name without a date is that of a perpetual.
    word.unwrap_or_else(|| if found.symbol.contains('_') { "" } else { "PERPETUAL" }.to_owned())
}

fn symbol(found: &FoundSymbol, facts: &Facts) -> Value {
    let mut entry = rules(facts);
    if !entry.contains_key("filters") {
        // Version 1 kept the steps alone.
        let step = |filter: &str, name: &str, value: &Option<String>| {
            value.as_ref().map(|step| json!({"filterType": filter, name: step}))
        };
        let filters =
            [step("PRICE_FILTER", "tickSize", &facts.tick_size), step("LOT_SIZE", "stepSize", &facts.lot_size)];
        entry.insert("filters".to_owned(), filters.into_iter().flatten().collect());
    }
    let words = [
        ("symbol", &found.symbol),
        ("status", &facts.status),
        ("baseAsset", &facts.base),
        ("quoteAsset", &facts.quote),
    ];
    let said = words.into_iter().filter(|(_, word)| *word != UNKNOWN);
    entry.extend(said.map(|(name, word)| (name.to_owned(), word.as_str().into())));
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn facts(rules: &str) -> Facts {
        Facts {
            base: "BTC".into(),
            quote: "USDT".into(),
            status: "TRADING".into(),
            trading: true,
            tick_size: Some("0.01".into()),
            rules: rules.to_owned(),
            ..Facts::default()
        }
    }

    #[test]
    fn facts_are_those_of_the_listing_or_absent() {
        let found = FoundSymbol { venue: "binance-usdm", symbol: "BTCUSDT_261225".into(), index: 0 };
        let listing = r#"{"pair":"BTCUSDT","contractType":"CURRENT_QUARTER","deliveryDate":1798185600000,"pricePrecision":1,"filters":[{"filterType":"LOT_SIZE","minQty":"0.001","maxQty":"120"}]}"#;
        let mut want: Value = serde_json::from_str(listing).unwrap();
        let mut with = |name: &str, word: &str| {
            want.as_object_mut().unwrap().insert(name.into(), word.into());
        };
        with("symbol", "BTCUSDT_261225");
        with("status", "TRADING");
        with("baseAsset", "BTC");
        with("quoteAsset", "USDT");
        assert_eq!(symbol(&found, &facts(listing)), want);
        let only_steps = symbol(&found, &facts(""));
        assert_eq!(only_steps["filters"], json!([{"filterType": "PRICE_FILTER", "tickSize": "0.01"}]));
        let names: Vec<&String> = only_steps.as_object().unwrap().keys().collect();
        assert_eq!(names, ["baseAsset", "filters", "quoteAsset", "status", "symbol"]);
    }
}
