//! Stored REST bodies.
//!
//! ```text
//! order book   {"id":..,"current":..,"update":..,"asks":[..],"bids":[..]}: the symbol is in the meta
//! trades       [{"id":"1232893232","create_time_ms":"1548000000123.456","sequence_id":"588018",..},..]
//! listing      [{"id":"ETH_USDT",..},..] and [{"name":"BTC_USDT",..},..]
//! ```

use super::super::DecodeError;
use super::super::message::{Context, utf8};
use super::market::Market;
use super::messages::{self, Sent};
use super::{book, listing};
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
            book::whole(&mut Context::new(market, body, rows), utf8(body)?, Some(book_symbol(meta)?))?;
            Ok(Decoded::Rows(Channel::DepthSnapshot))
        }
        "trades" => {
            let before = rows.trades.len();
            let mut cx = Context::new(market, body, rows);
            cx.items(utf8(body)?, &mut |cx, row| messages::trade(cx, row, Sent { us: None }))?;
            let mut fetched = rows.trades.split_off(before);
            if let Some(fill) = meta.fill {
                fetched.retain(|t| t.id.is_some_and(|id| fill.holds(id)));
            }
            // The venue lists the newest first.
            fetched.sort_by_key(|t| t.id);
            rows.trades.append(&mut fetched);
            Ok(Decoded::Rows(Channel::Trades))
        }
        other => Err(DecodeError::UnknownType(format!("REST {other}"))),
    }
}
