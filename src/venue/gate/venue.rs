//! The venue that both Gate markets are: one protocol, told apart by a few facts that `spot.rs` and `futures.rs` hold.

use super::super::{
    ConnectionPlan, Control, DecodeError, Frame, Limits, Missing, RestKlines, RestRequest, StreamKey, SubscribeMessage,
    Venue, VenueSpec, Verb, Want,
};
use super::market::Market;
use super::{control, decode, klines, listing, plan};
use model::{Channel, Decoded, Listing, Rows};

/// A market; use it through [`super::super::venue`].
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub(super) market: Market,
    pub(super) spec: &'static VenueSpec,
    pub(super) ws_path: &'static str,
}

impl Venue for Gate {
    fn spec(&self) -> &'static VenueSpec {
        self.spec
    }

    fn listing_request(&self) -> RestRequest {
        plan::listing(self.market)
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Listing, DecodeError> {
        listing::parse(self.market, body)
    }

    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        plan::connections(self.market, self.ws_path, wants, limits)
    }

    fn messages(
        &self,
        verb: Verb,
        streams: &[String],
        limits: &Limits,
        first_id: u64,
        now_s: i64,
    ) -> Vec<SubscribeMessage> {
        plan::requests(self.market, verb, streams, limits, first_id, now_s)
    }

    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        control::stream_of(payload)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        self.market.channel_of(key.channel)
    }

    fn stream_key(&self, stream: &str) -> (Vec<u8>, Vec<u8>) {
        let (channel, symbol) = stream.split_once(' ').unwrap_or((stream, ""));
        (channel.as_bytes().to_vec(), symbol.as_bytes().to_vec())
    }

    fn ping_message(&self, id: u64, now_s: i64) -> Option<String> {
        Some(plan::ping(self.market, id, now_s))
    }

    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        plan::repair(self.market, missing)
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn may_answer(&self, payload: &[u8], request: &str) -> bool {
        control::may_answer(payload, request)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        Some(plan::snapshot(self.market, symbol, levels))
    }

    fn klines_request(
        &self,
        symbol: &str,
        interval: &str,
        start_ms: i64,
        end_ms: i64,
        _limit: u32,
    ) -> Option<RestRequest> {
        klines::request(self.market, symbol, interval, (start_ms, end_ms))
    }

    fn parse_klines(&self, body: &[u8]) -> Result<RestKlines, DecodeError> {
        klines::parse(self.market, body)
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        decode::decode(self.market, frame, rows)
    }
}
