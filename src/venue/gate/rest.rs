//! REST: requests, and stored bodies to rows.
//!
//! ```text
//! order book   {"id":..,"current":..,"update":..,"asks":[..],"bids":[..]}: the symbol is in the meta
//! trades       [{"id":"1232893232","create_time_ms":"1548000000123.456","sequence_id":"588018",..},..]
//! listing      [{"id":"ETH_USDT",..},..] and [{"name":"BTC_USDT",..},..]
//! ```

use super::super::message::{Context, percent_encode, utf8};
use super::super::{DecodeError, KlinesQuery, Missing, Rest, RestKlines, RestRequest};
use super::market::Market;
use super::messages::{self, Sent};
use super::{book, klines, listing};
use crate::frame::{answered, book_symbol};
use model::{Channel, Decoded, Fill, Listing, RestMeta, Rows};

/// Trades in one REST answer.
const PAGE: u32 = 1_000;
/// The venue serves no trades after this many.
const MAX_TRADES: u32 = 100_000;
/// How far to look back for trades when it is unknown what was before them, s.
const LOOK_BACK_S: i64 = 600;

impl Rest for Market {
    /// The documentation gives contracts a `limit` of 100; without one all of them come (302 in the recording of 2023),
    /// with one no more than that, so there is none.
    fn listing_request(&self) -> RestRequest {
        let path = match self {
            Market::Spot => "/api/v4/spot/currency_pairs",
            Market::Futures => "/api/v4/futures/usdt/contracts",
        };
        RestRequest::of("symbols", None, path, 1)
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Listing, DecodeError> {
        listing::parse(*self, body)
    }

    /// A whole book with its id, of as many levels as the changes have.
    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        let encoded = percent_encode(symbol);
        let limit = levels.clamp(1, 100);
        let path = match self {
            Market::Spot => format!("/api/v4/spot/order_book?currency_pair={encoded}&limit={limit}&with_id=true"),
            Market::Futures => {
                format!("/api/v4/futures/usdt/order_book?contract={encoded}&interval=0&limit={limit}&with_id=true")
            }
        };
        Some(RestRequest::of(Channel::DepthSnapshot.as_str(), Some(symbol), path, 1))
    }

    /// The trades of the seconds around a gap; neither market can be asked by id. The ids are sorted out when the
    /// body is read.
    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        if missing.channel != Channel::Trades || missing.page.checked_mul(PAGE)? >= MAX_TRADES {
            return None;
        }
        let second = |us: i64| us.div_euclid(1_000_000);
        let before = missing.before_us.map(|us| second(us).saturating_add(1));
        let from = match (missing.after_us, before) {
            (Some(us), _) => second(us),
            (None, Some(before)) => before.saturating_sub(LOOK_BACK_S),
            (None, None) => return None,
        };
        // Ends at now by default.
        let to = before.map(|before| format!("&to={before}")).unwrap_or_default();
        let symbol = percent_encode(missing.symbol);
        let path = match self {
            Market::Spot => {
                let page = missing.page + 1;
                format!("/api/v4/spot/trades?currency_pair={symbol}&from={from}{to}&limit={PAGE}&page={page}")
            }
            Market::Futures => {
                let offset = missing.page * PAGE;
                format!("/api/v4/futures/usdt/trades?contract={symbol}&from={from}{to}&limit={PAGE}&offset={offset}")
            }
        };
        let fill = Some(Fill { from: missing.from, to: missing.to });
        Some(RestRequest { fill, ..RestRequest::of(Channel::Trades.as_str(), Some(missing.symbol), path, 1) })
    }

    fn klines_request(&self, query: &KlinesQuery<'_>) -> Option<RestRequest> {
        klines::request(*self, query)
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
