//! REST: requests for books, stored bodies to rows.

use super::super::message::{Result, percent_encode};
use super::super::{DecodeError, KlinesQuery, Rest, RestKlines, RestRequest};
use super::field::Context;
use super::market::Market;
use super::{book, envelope, klines, listing};
use crate::frame::{answered, book_symbol};
use model::{Channel, Decoded, Listing, RestMeta, Rows};

impl Rest for Market {
    fn listing_request(&self) -> RestRequest {
        let (path, weight) = match self {
            Market::Spot => ("/api/v2/symbols", 4),
            Market::Futures => ("/api/v1/contracts/active", 3),
        };
        RestRequest::of("symbols", None, path, weight)
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Listing> {
        listing::parse(*self, body)
    }

    /// A whole book of `symbol`: spot gives 20 or 100 levels of each side without a key, futures all of them.
    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        let (path, weight) = match self {
            Market::Spot if levels <= 20 => ("/api/v1/market/orderbook/level2_20", 2),
            Market::Spot => ("/api/v1/market/orderbook/level2_100", 2),
            Market::Futures => ("/api/v1/level2/snapshot", 3),
        };
        let path = format!("{path}?symbol={}", percent_encode(symbol));
        Some(RestRequest::of(Channel::DepthSnapshot.as_str(), Some(symbol), path, weight))
    }

    fn klines_request(&self, query: &KlinesQuery<'_>) -> Option<RestRequest> {
        Some(klines::request(*self, query))
    }

    fn parse_klines(&self, body: &[u8]) -> Result<RestKlines> {
        klines::parse(*self, body)
    }
}

/// Rows of a stored body.
pub(super) fn decode(market: Market, body: &[u8], meta: &RestMeta, rows: &mut Rows) -> Result<Decoded> {
    answered(meta)?;
    match meta.channel.as_str() {
        "token" => Ok(Decoded::Control),
        "symbols" => {
            rows.add_listing(listing::parse(market, body)?);
            Ok(Decoded::Symbols)
        }
        "depth_snapshot" => {
            let mut cx = Context::new(market, body, rows);
            book::whole(&mut cx, envelope::data(body)?, book_symbol(meta)?)?;
            Ok(Decoded::Rows(Channel::DepthSnapshot))
        }
        other => Err(DecodeError::UnknownType(format!("REST {other}"))),
    }
}
