//! Binance spot, SBE streams: market data as binary messages, everything else as JSON text.
//!
//! Quirks: the upgrade needs the header `X-MBX-APIKEY` with a key of type Ed25519 (no signature, no permissions;
//! the key's address list applies); data frames are never wrapped, so a stream is identified by template id and symbol;
//! there are no aggregates, candles or tickers; best bid and ask are culled, so their ids skip legally; many
//! small SUBSCRIBEs in a row get the socket closed with 1008, so a socket's streams go into as few as possible.
//!
//! The path is `/ws` without a stream. A stream in the path of the handshake would have it refused with 400 for as
//! long as that one stream does not exist, and then no other stream of the socket would be recorded either.
//!
//! Listing, books and missing trades come from the JSON REST of the same market, whose ids are the same.

use super::super::{
    ConnectionPlan, Continuity, Control, Decode, DecodeError, Frame, FrameKind, Limits, StreamKey, Streams,
    SubscribeMessage, Venue, VenueSpec, Verb, Want,
};
use super::market::Market;
use super::stream::Stream;
use super::{control, plan, sbe, spot, stream};
use model::{Channel, Decoded, Rows, VenueId};

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

/// The market; use it through [`venue`](crate::venue). Its REST is that of the JSON market.
pub(crate) static SPOT_SBE: Venue = Venue { spec: &SPEC, streams: &Sbe, rest: &Market::Spot, frames: &Sbe };

/// What is said over sockets with binary data.
struct Sbe;

/// Stream name after the lower-case symbol.
fn suffix(channel: Channel) -> Option<Stream> {
    let suffix = match channel {
        Channel::Trades => "@trade",
        Channel::BookTicker => "@bestBidAsk",
        Channel::Depth => "@depth",
        _ => return None,
    };
    Some(Stream { path: "/ws", suffix })
}

impl Streams for Sbe {
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

    fn stream_key(&self, stream: &str) -> (Vec<u8>, Vec<u8>) {
        match (sbe::template_of(stream), stream::symbol_of(stream)) {
            (Some(template), Some(symbol)) => (template.to_vec(), symbol.into_bytes()),
            _ => (stream.as_bytes().to_vec(), Vec::new()),
        }
    }
}

impl Decode for Sbe {
    fn stream_of<'a>(&self, payload: &'a [u8], binary: bool) -> Option<StreamKey<'a>> {
        if binary { sbe::stream_of(payload) } else { None }
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        sbe::channel_of(key.channel)
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::text_beside_binary(payload)
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        match frame.kind {
            FrameKind::Binary => sbe::decode(frame.payload, rows),
            FrameKind::Rest => Market::Spot.decode(frame, rows),
            // What is no known reply is reported as a refusal while it is recorded, and kept whole in `frames`.
            FrameKind::Text if control::control(frame.payload).is_some() => Ok(Decoded::Control),
            FrameKind::Text => Err(DecodeError::UnknownType("text".to_owned())),
        }
    }
}
