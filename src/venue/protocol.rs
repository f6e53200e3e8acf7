//! One market of one exchange: its facts, and the three traits that are the seam between an exchange and everything that
//! records it. What two markets do alike is one implementation, which both name.
//!
//! Defaults are those of a market without that feature: no token, no repair, no candles.

use super::{
    ConnectionPlan, Control, DecodeError, Frame, FrameKind, KlinesQuery, Limits, Missing, RestKlines, RestRequest,
    StreamKey, SubscribeMessage, Token, VenueSpec, Verb, Want,
};
use model::{Channel, Decoded, Interval, Listing, Rows, VenueId};

/// One market of one exchange; see [`venue`](crate::venue).
#[derive(Clone, Copy)]
pub struct Venue {
    /// What can be written down of it.
    pub spec: &'static VenueSpec,
    /// What is said over its sockets.
    pub streams: &'static dyn Streams,
    /// What it is asked over REST.
    pub rest: &'static dyn Rest,
    /// What its frames mean.
    pub frames: &'static dyn Decode,
}

impl Venue {
    /// Which one.
    pub fn id(&self) -> VenueId {
        self.spec.id
    }

    /// Candles of this interval can be requested.
    pub fn has_klines(&self, interval: Interval) -> bool {
        let query = KlinesQuery { symbol: "", interval, first_us: 0, last_us: 0, limit: 1 };
        self.rest.klines_request(&query).is_some()
    }

    /// [`Rest::repair_request`], where the market can be asked for rows of the channel.
    pub fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        if self.spec.repair.contains(&missing.channel) { self.rest.repair_request(missing) } else { None }
    }

    /// Looks whether `body`, the answer to a [`Rest::snapshot_request`], is an order book.
    ///
    /// # Errors
    /// When it is something else.
    pub fn check_book(&self, request: &RestRequest, body: &[u8]) -> Result<(), DecodeError> {
        let meta = request.meta(String::new(), 200);
        let mut rows = Rows::new();
        self.frames.decode(&Frame { kind: FrameKind::Rest, payload: body, rest: Some(&meta) }, &mut rows)?;
        match rows.depth.is_empty() {
            true => Err(DecodeError::Malformed { at: 0, what: "an order book was expected".to_owned() }),
            false => Ok(()),
        }
    }
}

/// Sockets of a market: what is subscribed on which one, and how it is kept alive.
pub trait Streams: Send + Sync {
    /// Splits what is wanted into connections within the limits. Deterministic in the order of `wants`.
    /// Wants without a stream (such as [`Channel::DepthSnapshot`]) are left out.
    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan>;

    /// The messages that begin or end the subscription of `streams`, with request ids counting up from `first_id`, none
    /// longer than [`REQUEST_BYTES_MAX`](crate::REQUEST_BYTES_MAX). `now_s`: unix time, s, for venues that check it.
    fn messages(
        &self,
        verb: Verb,
        streams: &[String],
        limits: &Limits,
        first_id: u64,
        now_s: i64,
    ) -> Vec<SubscribeMessage>;

    /// False when a control frame that names no request cannot be the answer to `request`, one of
    /// [`Streams::messages`].
    fn may_answer(&self, payload: &[u8], request: &str) -> bool {
        let _ = (payload, request);
        true
    }

    /// The key (channel, symbol) that frames of a subscribed stream carry.
    fn stream_key(&self, stream: &str) -> (Vec<u8>, Vec<u8>) {
        (stream.as_bytes().to_vec(), Vec::new())
    }

    /// Another path where a stream may be served that stays silent on `path`; `None` where there is no other.
    fn other_path(&self, path: &str) -> Option<&'static str> {
        let _ = path;
        None
    }

    /// The request that must be answered before every connect; see [`Streams::parse_token`].
    fn token_request(&self) -> Option<RestRequest> {
        None
    }

    /// Reads the answer of [`Streams::token_request`].
    ///
    /// # Errors
    /// When the body is no token.
    fn parse_token(&self, body: &[u8]) -> Result<Token, DecodeError> {
        let _ = body;
        Err(DecodeError::Malformed { at: 0, what: "this venue has no tokens".to_owned() })
    }

    /// The URL of a planned connection. `ws_base` is the configured base, else that of a server of the token, else
    /// [`VenueSpec::ws_base`]; `connect_id` is unique in the process.
    fn connect_url(&self, ws_base: &str, plan: &ConnectionPlan, token: Option<&Token>, connect_id: &str) -> String {
        let _ = (token, connect_id);
        format!("{ws_base}{}", plan.path_and_query)
    }

    /// `url` without its secrets, for logs and records.
    fn redacted(&self, url: &str) -> String {
        url.to_owned()
    }

    /// The text that requests a pong. `now_s`: unix time, s.
    fn ping_message(&self, id: u64, now_s: i64) -> Option<String> {
        let _ = (id, now_s);
        None
    }
}

/// REST of a market: requests, and the answers that the collector and the candles read. Bodies that become rows go
/// through [`Decode::decode`].
pub trait Rest: Send + Sync {
    /// The request that lists all symbols.
    fn listing_request(&self) -> RestRequest;

    /// Reads the answer of [`Rest::listing_request`].
    ///
    /// # Errors
    /// When the body is not a listing. An entry that cannot be read is none: it is reported in [`Listing::rejects`].
    fn parse_listing(&self, body: &[u8]) -> Result<Listing, DecodeError>;

    /// The request for a whole order book with at least `levels` levels where the venue has it.
    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest>;

    /// The request for (the next part of) missing rows of a channel of [`VenueSpec::repair`]; its `fill` names the ids.
    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        let _ = missing;
        None
    }

    /// The request for candles; `None` for an interval that the venue does not have.
    fn klines_request(&self, query: &KlinesQuery<'_>) -> Option<RestRequest> {
        let _ = query; // whoever has candles over REST requests them
        None
    }

    /// Reads the answer of [`Rest::klines_request`]. Its last candle may be open still.
    ///
    /// # Errors
    /// When the body is no list of candles. A candle that cannot be read is none: it is reported in [`RestKlines::rejects`].
    fn parse_klines(&self, body: &[u8]) -> Result<RestKlines, DecodeError> {
        let _ = body;
        Err(DecodeError::Malformed { at: 0, what: "this venue has no candles".to_owned() })
    }
}

/// Frames of a market: whose they are, and the rows in them.
pub trait Decode: Send + Sync {
    /// Which stream a data frame belongs to, by a cheap look; `None` for anything else. `binary`: the opcode.
    fn stream_of<'a>(&self, payload: &'a [u8], binary: bool) -> Option<StreamKey<'a>>;

    /// The channel of a stream, under its venue-neutral name; `None` when it is none of ours.
    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel>;

    /// The symbol of a stream, in the venue's own spelling, where the key has it.
    fn symbol_of(&self, key: StreamKey<'_>) -> Option<String> {
        let symbol = std::str::from_utf8(key.symbol).ok()?;
        (!symbol.is_empty()).then(|| symbol.to_owned())
    }

    /// Understands a control frame; `None` when it is not one.
    fn control(&self, payload: &[u8]) -> Option<Control>;

    /// Turns one stored frame into rows appended to `rows`. An unknown field is drift, not an error.
    /// On an error rows may hold a part of the frame: the caller clears them.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame cannot become rows; the caller keeps it in table `frames`.
    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError>;
}
