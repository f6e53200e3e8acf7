//! Binance spot, SBE streams: market data as binary messages, everything else as JSON text.
//!
//! Quirks: the upgrade needs the header `X-MBX-APIKEY` with a key of type Ed25519 (no signature, no permissions;
//! the key's address list applies); data frames are never wrapped, so a stream is told by template id and symbol;
//! there are no aggregates, candles or tickers; best bid and ask are culled, so their ids skip legally; many
//! small SUBSCRIBEs in a row get the socket closed with 1008, so a socket's streams go into as few as possible.
//!
//! The path is `/ws` without a stream. A stream in the path of the handshake would have it refused with 400 for as
//! long as that one stream does not exist, and then no other stream of the socket would be recorded either.
//!
//! Listing, books and missing trades come from the JSON REST of the same market, whose ids are the same.

use super::super::{
    ConnectionPlan, Continuity, Control, DecodeError, Frame, FrameKind, Limits, Missing, RestKlines, RestRequest,
    StreamKey, SubscribeMessage, Venue, VenueSpec, Verb, Want,
};
use super::spot::{self, SPOT};
use super::{control, plan, sbe, stream};
use model::{Channel, Decoded, Listing, Rows, VenueId};

/// Its facts: those of the JSON streams but for these. A socket's 200 streams fit one SUBSCRIBE, or two where names are
/// long.
const SPEC: VenueSpec = VenueSpec {
    id: VenueId::BinanceSpotSbe,
    channels: &[Channel::Trades, Channel::BookTicker, Channel::Depth, Channel::DepthSnapshot],
    ws_base: "wss://stream-sbe.binance.com:9443",
    api_key_header: Some("X-MBX-APIKEY"),
    ids: &[(Channel::Trades, Continuity::TradeId), (Channel::Depth, Continuity::DepthFirstFinal)],
    repair: &[Channel::Trades],
    seeding: &[Channel::Trades],
    ..spot::SPEC
};

/// The market; use it through [`super::super::venue`].
#[derive(Clone, Copy, Debug)]
pub struct BinanceSpotSbe;

/// Stream name behind the lower-case symbol.
fn suffix(channel: Channel) -> Option<plan::Stream> {
    let suffix = match channel {
        Channel::Trades => "@trade",
        Channel::BookTicker => "@bestBidAsk",
        Channel::Depth => "@depth",
        _ => return None,
    };
    Some(plan::Stream { path: "/ws", suffix })
}

impl Venue for BinanceSpotSbe {
    fn spec(&self) -> &'static VenueSpec {
        &SPEC
    }

    fn listing_request(&self) -> RestRequest {
        SPOT.listing_request()
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Listing, DecodeError> {
        SPOT.parse_listing(body)
    }

    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        plan::connections(wants, limits, suffix)
    }

    fn messages(
        &self,
        verb: Verb,
        streams: &[String],
        limits: &Limits,
        first_id: u64,
        _now_s: i64,
    ) -> Vec<SubscribeMessage> {
        plan::requests(verb, streams, limits, first_id)
    }

    fn stream_of<'a>(&self, payload: &'a [u8], binary: bool) -> Option<StreamKey<'a>> {
        if binary { sbe::stream_of(payload) } else { None }
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        sbe::channel_of(key.channel)
    }

    fn stream_key(&self, stream: &str) -> (Vec<u8>, Vec<u8>) {
        match (sbe::template_of(stream), stream::symbol_of(stream)) {
            (Some(template), Some(symbol)) => (template.to_vec(), symbol.into_bytes()),
            _ => (stream.as_bytes().to_vec(), Vec::new()),
        }
    }

    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        if SPEC.repair.contains(&missing.channel) { SPOT.repair_request(missing) } else { None }
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::text_beside_binary(payload)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        SPOT.snapshot_request(symbol, levels)
    }

    fn klines_request(
        &self,
        symbol: &str,
        interval: &str,
        start_ms: i64,
        end_ms: i64,
        limit: u32,
    ) -> Option<RestRequest> {
        SPOT.klines_request(symbol, interval, start_ms, end_ms, limit)
    }

    fn parse_klines(&self, body: &[u8]) -> Result<RestKlines, DecodeError> {
        SPOT.parse_klines(body)
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        match frame.kind {
            FrameKind::Binary => sbe::decode(frame.payload, rows),
            FrameKind::Rest => SPOT.decode(frame, rows),
            // What is no known reply is reported as a refusal while it is recorded, and kept whole in `frames`.
            FrameKind::Text if control::control(frame.payload).is_some() => Ok(Decoded::Control),
            FrameKind::Text => Err(DecodeError::UnknownType("text".to_owned())),
        }
    }
}
