//! Stored REST bodies.
//!
//! ```text
//! spot   {"lastUpdateId":33933317943,"bids":[["23171.42000000","0.03000000"]],"asks":[..]}
//! USD-M  {"lastUpdateId":1570255790655,"E":1654232606707,"T":1654232606695,"bids":[..],"asks":[..]}
//! ```
//! The body does not name its symbol: the meta beside it does. Listings and trades: `listing.rs`, `repair.rs`.

use super::super::DecodeError;
use super::super::message::utf8;
use super::field::Context;
use super::market::Market;
use super::{listing, messages, repair};
use crate::frame::{answered, book_symbol};
use model::{Channel, Decoded, RestMeta, Rows};

/// Rows of a REST body.
pub(super) fn decode(market: Market, body: &[u8], meta: &RestMeta, rows: &mut Rows) -> Result<Decoded, DecodeError> {
    answered(meta)?;
    match meta.channel.as_str() {
        "symbols" => {
            rows.listed(listing::parse(market, body)?);
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
