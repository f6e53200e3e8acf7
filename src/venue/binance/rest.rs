//! REST: requests, and stored bodies to rows.
//!
//! ```text
//! spot   {"lastUpdateId":33933317943,"bids":[["23171.42000000","0.03000000"]],"asks":[..]}
//! USD-M  {"lastUpdateId":1570255790655,"E":1654232606707,"T":1654232606695,"bids":[..],"asks":[..]}
//! COIN-M the same with "symbol" and "pair"
//! ```
//! The body need not name its symbol: the meta beside it does. Listings and trades: `listing.rs`, `repair.rs`.

use super::super::message::{percent_encode, utf8};
use super::super::{DecodeError, KlinesQuery, Missing, Rest, RestKlines, RestRequest};
use super::field::Context;
use super::market::Market;
use super::{klines, listing, messages, repair, spot, usdm};
use crate::frame::{answered, book_symbol};
use model::{Channel, Decoded, Listing, RestMeta, Rows};

impl Rest for Market {
    fn listing_request(&self) -> RestRequest {
        let (path, weight) = match self {
            Self::Spot => ("/exchangeInfo?showPermissionSets=false", 20),
            Self::Usdm | Self::Coinm => ("/exchangeInfo", 1),
        };
        RestRequest::of("symbols", None, format!("{}{path}", self.api()), weight)
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Listing, DecodeError> {
        listing::parse(*self, body)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        let (limit, weight) = match self {
            Self::Spot => spot::snapshot(levels),
            Self::Usdm | Self::Coinm => usdm::snapshot(levels),
        };
        let path = format!("{}/depth?symbol={}&limit={limit}", self.api(), percent_encode(symbol));
        Some(RestRequest::of(Channel::DepthSnapshot.as_str(), Some(symbol), path, weight))
    }

    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        repair::request(*self, missing)
    }

    fn klines_request(&self, query: &KlinesQuery<'_>) -> Option<RestRequest> {
        Some(klines::request(*self, query))
    }

    fn parse_klines(&self, body: &[u8]) -> Result<RestKlines, DecodeError> {
        klines::parse(*self, body)
    }
}

/// Rows of a REST body.
pub(super) fn decode(market: Market, body: &[u8], meta: &RestMeta, rows: &mut Rows) -> Result<Decoded, DecodeError> {
    answered(meta)?;
    match meta.channel.as_str() {
        "symbols" => {
            rows.add_listing(listing::parse(market, body)?);
            Ok(Decoded::Symbols)
        }
        "depth_snapshot" => {
            messages::whole_book(&mut Context::new(market, body, rows), utf8(body)?, book_symbol(meta)?)?;
            Ok(Decoded::Rows(Channel::DepthSnapshot))
        }
        "trades" => repair::decode(market, Channel::Trades, body, meta, rows).map(|()| Decoded::Rows(Channel::Trades)),
        "agg_trades" => {
            repair::decode(market, Channel::AggTrades, body, meta, rows).map(|()| Decoded::Rows(Channel::AggTrades))
        }
        other => Err(DecodeError::UnknownType(format!("REST {other}"))),
    }
}
