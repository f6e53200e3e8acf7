//! `exchangeInfo`: the symbols that have candles, with the steps of the newest listing.
//!
//! What no listing of ours keeps is not made up: largest price and amount are `0`, which the exchange's filters use
//! for "no rule" (Binance API documentation, "Filters"), and filters about orders are absent.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::error::{self, Answer, Refusal};
use super::super::params::Params;
use super::super::{Shared, now_ms};
use super::{Family, Found, hub};
use crate::kline::{Facts, KlineHub};

pub(super) async fn spot(app: State<Shared>, params: Params) -> Answer<Response> {
    let hub = hub(&app)?;
    let symbols: Vec<Value> = chosen(&hub, Family::Spot, &params)?.iter().map(|f| spot_symbol(&hub, f)).collect();
    Ok(error::json(
        json!({
            "timezone": "UTC",
            "serverTime": now_ms(),
            "rateLimits": [weight_limit(&app)],
            "exchangeFilters": [],
            "symbols": symbols,
        })
        .to_string(),
    ))
}

pub(super) async fn usdm(app: State<Shared>, params: Params) -> Answer<Response> {
    let hub = hub(&app)?;
    let symbols: Vec<Value> = chosen(&hub, Family::Usdm, &params)?.iter().map(|f| usdm_symbol(&hub, f)).collect();
    Ok(futures(&app, "U_MARGINED", symbols))
}

pub(super) async fn coinm(app: State<Shared>) -> Response {
    futures(&app, "C_MARGINED", Vec::new())
}

fn futures(app: &State<Shared>, kind: &str, symbols: Vec<Value>) -> Response {
    error::json(
        json!({
            "timezone": "UTC",
            "serverTime": now_ms(),
            "futuresType": kind,
            "rateLimits": [weight_limit(app)],
            "exchangeFilters": [],
            "assets": [],
            "symbols": symbols,
        })
        .to_string(),
    )
}

fn weight_limit(app: &State<Shared>) -> Value {
    json!({"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": app.cfg.weight_per_minute})
}

/// `symbol`, or `symbols`, or all.
fn chosen(hub: &KlineHub, family: Family, params: &Params) -> Answer<Vec<Found>> {
    match (params.get("symbol")?, params.list("symbols")?) {
        (Some(_), Some(_)) => Err(Refusal::new(-1128, "Combination of optional parameters invalid.")),
        (Some(_), None) => Ok(vec![family.find(hub, params.symbol("symbol")?)?]),
        (None, Some(list)) => list.iter().map(|symbol| family.find(hub, symbol)).collect(),
        (None, None) => Ok(family.all(hub)),
    }
}

/// Decimals of a step as text: `0.01` has 2.
fn decimals(step: Option<&str>) -> Option<usize> {
    step.map(|s| s.split_once('.').map_or(0, |(_, part)| part.len()))
}

/// A step with 8 decimals, as spot prints it.
fn eight(step: Option<&str>) -> String {
    let (whole, part) = step.unwrap_or("0").split_once('.').unwrap_or((step.unwrap_or("0"), ""));
    format!("{whole}.{part:0<8}")
}

fn facts(hub: &KlineHub, found: &Found) -> Facts {
    let known = hub.registry().facts(found.index);
    known.map_or_else(
        // No listing was recorded: the name is all there is.
        || Facts { base: found.symbol.clone(), status: "TRADING".into(), trading: true, ..Facts::default() },
        |f| (*f).clone(),
    )
}

fn status(facts: &Facts) -> &str {
    // A symbol that left the listing trades no more, whatever its last word was.
    if !facts.trading && facts.status == "TRADING" { "BREAK" } else { &facts.status }
}

fn spot_symbol(hub: &KlineHub, found: &Found) -> Value {
    let f = facts(hub, found);
    let (tick, step) = (eight(f.tick_size.as_deref()), eight(f.lot_size.as_deref()));
    json!({
        "symbol": found.symbol,
        "status": status(&f),
        "baseAsset": f.base,
        "baseAssetPrecision": 8,
        "quoteAsset": f.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [],
        "icebergAllowed": false,
        "ocoAllowed": false,
        "otoAllowed": false,
        "quoteOrderQtyMarketAllowed": false,
        "allowTrailingStop": false,
        "cancelReplaceAllowed": false,
        "isSpotTradingAllowed": f.trading,
        "isMarginTradingAllowed": false,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "0.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "0.00000000", "stepSize": step},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    })
}

fn usdm_symbol(hub: &KlineHub, found: &Found) -> Value {
    let f = facts(hub, found);
    let entry = hub.registry().get(found.index);
    // The precision of prices is that of trades, which may be finer than the step.
    let bar = hub.latest(found.index).and_then(|bars| bars.into_iter().find(|b| !b.is_empty()));
    let price = bar.map(|b| usize::from(b.price_scale)).max(decimals(f.tick_size.as_deref())).unwrap_or(0);
    let amount = bar.map(|b| usize::from(b.amount_scale)).max(decimals(f.lot_size.as_deref())).unwrap_or(0);
    let (tick, step) = (f.tick_size.clone().unwrap_or_default(), f.lot_size.clone().unwrap_or_default());
    let (pair, contract) = match (f.kind.as_str(), found.symbol.split_once('_')) {
        ("dated", Some((pair, _))) => (pair, "CURRENT_QUARTER"),
        _ => (found.symbol.as_str(), "PERPETUAL"),
    };
    json!({
        "symbol": found.symbol,
        "pair": pair,
        "contractType": contract,
        "deliveryDate": 4_133_404_800_000_i64,
        "onboardDate": entry.and_then(|e| e.listing_time_ms).unwrap_or(0),
        "status": status(&f),
        "baseAsset": f.base,
        "quoteAsset": f.quote,
        "marginAsset": f.quote,
        "pricePrecision": price,
        "quantityPrecision": amount,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "0", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "0", "stepSize": step},
        ],
        "orderTypes": [],
        "timeInForce": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_print_as_spot_prints_them() {
        assert_eq!(eight(Some("0.01")), "0.01000000");
        assert_eq!(eight(Some("1")), "1.00000000");
        assert_eq!(eight(None), "0.00000000");
        assert_eq!(decimals(Some("0.0001")), Some(4));
        assert_eq!(decimals(Some("1")), Some(0));
    }
}
