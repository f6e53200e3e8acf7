//! What a listing says of a symbol besides what all venues have: handed on as it stands, so that nothing is made up for
//! clients of the exchange's `exchangeInfo`. What concerns orders alone is left out.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Members of an entry that are handed on.
const MEMBERS: [&str; 19] = [
    "baseAssetPrecision",
    "quotePrecision",
    "quoteAssetPrecision",
    "baseCommissionPrecision",
    "quoteCommissionPrecision",
    "isSpotTradingAllowed",
    "isMarginTradingAllowed",
    "pair",
    "contractType",
    "deliveryDate",
    "onboardDate",
    "marginAsset",
    "pricePrecision",
    "quantityPrecision",
    "underlyingType",
    "underlyingSubType",
    "settlePlan",
    "liquidationFee",
    "marketTakeBound",
];
/// Filters that are handed on.
const FILTERS: [&str; 5] = ["PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE", "MIN_NOTIONAL", "NOTIONAL"];
/// More than a listing has to say of one symbol.
const MAX_BYTES: usize = 4 << 10;

/// Name and value of each member, in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() > 1_000 {
                        return Err(A::Error::custom("more members than an entry has"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[derive(Deserialize)]
struct Filter<'a> {
    #[serde(borrow, rename = "filterType")]
    kind: Cow<'a, str>,
}

/// The chosen members of an entry as a JSON object; empty when there are none.
pub(super) fn of(entry: &str) -> String {
    let Ok(Members(members)) = serde_json::from_str(entry) else { return String::new() };
    let mut out = String::new();
    let put = |out: &mut String, name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{}\"{name}\":{value}", if out.is_empty() { '{' } else { ',' });
    };
    for name in MEMBERS {
        if let Some((_, value)) = members.iter().find(|(n, _)| n == name)
            && value.get() != "null"
        {
            put(&mut out, name, value.get());
        }
    }
    let filters = members.iter().find(|(n, _)| n == "filters").map(|(_, value)| value.get());
    let filters: Vec<&RawValue> = filters.and_then(|f| serde_json::from_str(f).ok()).unwrap_or_default();
    let known = |f: &&&RawValue| serde_json::from_str::<Filter<'_>>(f.get()).is_ok_and(|f| FILTERS.contains(&&*f.kind));
    let filters: Vec<&str> = filters.iter().filter(known).map(|f| f.get()).collect();
    if !filters.is_empty() {
        put(&mut out, "filters", &format!("[{}]", filters.join(",")));
    }
    if !out.is_empty() {
        out.push('}');
    }
    if out.len() > MAX_BYTES { String::new() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_listing_says_is_handed_on_as_it_stands_and_nothing_else() {
        let entry = r#"{"symbol":"X","status":"TRADING","deliveryDate":1774598400000,"pair":"X","orderTypes":["LIMIT"],
            "pricePrecision":2,"marginAsset":null,"permissionSets":[["SPOT"]],
            "filters":[{"filterType":"PRICE_FILTER","minPrice":"0.10","maxPrice":"1e3","tickSize":"0.10"},
              {"filterType":"MAX_NUM_ORDERS","limit":200},7,{"minQty":"1","maxQty":"9000.000","filterType":"LOT_SIZE"}]}"#;
        assert_eq!(
            of(entry),
            r#"{"pair":"X","deliveryDate":1774598400000,"pricePrecision":2,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.10","maxPrice":"1e3","tickSize":"0.10"},{"minQty":"1","maxQty":"9000.000","filterType":"LOT_SIZE"}]}"#
        );
        for nothing in ["{}", "[]", "", r#"{"filters":[]}"#, r#"{"filters":null,"pair":null}"#] {
            assert_eq!(of(nothing), "", "{nothing}");
        }
        assert_eq!(of(&format!(r#"{{"pair":"{}"}}"#, "x".repeat(5_000))), "");
        assert_eq!(of(r#"{"filters":"none","pricePrecision":8}"#), r#"{"pricePrecision":8}"#);
    }
}
