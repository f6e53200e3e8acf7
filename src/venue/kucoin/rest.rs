//! REST: requests for books, the envelope of every answer, stored bodies to rows.
//!
//! ```text
//! {"code":"200000","data":..}                      an answer
//! {"code":"429000","msg":"too many requests"}      a refusal, with HTTP status 200 or not
//! ```
//! A refusal is not a book: it stays undecodable, with its code as the reason.

use super::super::message::percent_encode;
use super::super::{DecodeError, RestRequest, json};
use super::{Context, Market, Of, Result, book, clip, listing, utf8};
use crate::frame::{answered, book_symbol};
use model::{Channel, Decoded, RestMeta, Rows};

const OF: Of = Of("REST answer");

/// The code of success.
const SUCCESS: &str = "200000";

/// A whole book of `symbol`: spot gives 20 or 100 levels of each side without a key, futures all of them.
pub(super) fn snapshot_request(market: Market, symbol: &str, levels: u32) -> RestRequest {
    let (path, weight) = match market {
        Market::Spot if levels <= 20 => ("/api/v1/market/orderbook/level2_20", 2),
        Market::Spot => ("/api/v1/market/orderbook/level2_100", 2),
        Market::Futures => ("/api/v1/level2/snapshot", 3),
    };
    RestRequest {
        path_and_query: format!("{path}?symbol={}", percent_encode(symbol)),
        weight,
        channel: Channel::DepthSnapshot.as_str().to_owned(),
        symbol: Some(symbol.to_owned()),
        ..RestRequest::default()
    }
}

/// What is in the envelope.
pub(super) fn data(body: &[u8]) -> Result<&str> {
    let [code, data, msg] = json::object(utf8(body)?, &["code", "data", "msg"], &mut |_| ())?;
    let Some(code) = code else {
        return OF.wrong("code");
    };
    let code = json::text(code).unwrap_or(code.into());
    if code != SUCCESS {
        let msg = msg.and_then(json::text).unwrap_or_default();
        return Err(DecodeError::Malformed {
            at: 0,
            what: format!("refused with code {}: {}", clip(&code), clip(&msg)),
        });
    }
    data.filter(|d| *d != "null").map_or_else(|| OF.wrong("data"), Ok)
}

/// Rows of a stored body.
pub(super) fn decode(market: Market, body: &[u8], meta: &RestMeta, rows: &mut Rows) -> Result<Decoded> {
    answered(meta)?;
    match meta.channel.as_str() {
        "token" => Ok(Decoded::Control),
        "symbols" => {
            rows.listed(listing::parse(market, body)?);
            Ok(Decoded::Symbols)
        }
        "depth_snapshot" => {
            let mut cx = Context::new(market, body, rows);
            book::whole(&mut cx, data(body)?, book_symbol(meta)?)?;
            Ok(Decoded::Rows(Channel::DepthSnapshot))
        }
        other => Err(DecodeError::UnknownType(format!("REST {other}"))),
    }
}
