//! The venue that both JSON markets are: one protocol, told apart by the facts that `spot.rs` and `usdm.rs` hold.

use super::super::{
    ConnectionPlan, Control, DecodeError, Frame, Limits, Missing, RestKlines, RestRequest, StreamKey, SubscribeMessage,
    Venue, VenueSpec, Verb, Want,
};
use super::market::Market;
use super::{control, decode, klines, listing, plan, repair, stream};
use model::{Channel, Decoded, Listing, Rows};

/// A market; use it through [`super::super::venue`].
#[derive(Clone, Debug)]
pub struct Binance {
    pub(super) market: Market,
    pub(super) spec: &'static VenueSpec,
    /// Path of the listing, and its weight.
    pub(super) listing: (&'static str, u32),
    /// Path of a stream's socket, and its name behind the lower-case symbol.
    pub(super) stream: fn(Channel) -> Option<plan::Stream>,
    /// Paths that each serve a part of the streams, where that is so.
    pub(super) paths: &'static [&'static str],
    pub(super) snapshot_path: &'static str,
    /// How many levels a snapshot can be asked for, given how many are wanted; and its weight.
    pub(super) snapshot: fn(u32) -> (u32, u32),
}

impl Venue for Binance {
    fn spec(&self) -> &'static VenueSpec {
        self.spec
    }

    fn listing_request(&self) -> RestRequest {
        let (path, weight) = self.listing;
        RestRequest { path_and_query: path.to_owned(), weight, channel: "symbols".to_owned(), ..RestRequest::default() }
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Listing, DecodeError> {
        listing::parse(self.market, body)
    }

    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        plan::connections(wants, limits, self.stream)
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

    fn other_path(&self, path: &str) -> Option<&'static str> {
        self.paths.iter().copied().find(|other| self.paths.contains(&path) && *other != path)
    }

    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        control::stream_of(payload).map(StreamKey::name)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        control::channel_of(key.channel)
    }

    fn symbol_of(&self, key: StreamKey<'_>) -> Option<String> {
        stream::symbol_of(std::str::from_utf8(key.channel).ok()?).filter(|symbol| !symbol.starts_with('!'))
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        let (limit, weight) = (self.snapshot)(levels);
        Some(plan::snapshot_request(self.snapshot_path, symbol, limit, weight))
    }

    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        repair::request(self.market, missing)
    }

    fn klines_request(
        &self,
        symbol: &str,
        interval: &str,
        start_ms: i64,
        end_ms: i64,
        limit: u32,
    ) -> Option<RestRequest> {
        klines::request(self.market, symbol, interval, (start_ms, end_ms), limit)
    }

    fn parse_klines(&self, body: &[u8]) -> Result<RestKlines, DecodeError> {
        klines::parse(body)
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        decode::decode(self.market, frame, rows)
    }
}
