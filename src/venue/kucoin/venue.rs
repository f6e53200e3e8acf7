//! The venue that both KuCoin markets are: one protocol, told apart by a few facts that `spot.rs` and `futures.rs` hold.

use super::super::{
    ConnectionPlan, Control, DecodeError, Frame, Limits, RestKlines, RestRequest, StreamKey, SubscribeMessage, Token,
    Venue, VenueSpec, Verb, Want,
};
use super::market::Market;
use super::{control, decode, klines, listing, plan, rest, token, topic};
use model::{Channel, Decoded, Listing, Rows};

/// A market; use it through [`super::super::venue`].
#[derive(Clone, Copy, Debug)]
pub struct Kucoin {
    pub(super) market: Market,
    pub(super) spec: &'static VenueSpec,
    pub(super) listing_path: &'static str,
    pub(super) listing_weight: u32,
}

impl Venue for Kucoin {
    fn spec(&self) -> &'static VenueSpec {
        self.spec
    }

    fn listing_request(&self) -> RestRequest {
        RestRequest {
            path_and_query: self.listing_path.to_owned(),
            weight: self.listing_weight,
            channel: "symbols".to_owned(),
            ..RestRequest::default()
        }
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Listing, DecodeError> {
        listing::parse(self.market, body)
    }

    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        plan::connections(self.market, wants, limits)
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

    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        topic::of_frame(payload).map(StreamKey::name)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        topic::channel_of(self.market, key)
    }

    fn symbol_of(&self, key: StreamKey<'_>) -> Option<String> {
        topic::symbol_of(self.market, key)
    }

    fn token_request(&self) -> Option<RestRequest> {
        Some(token::request())
    }

    fn parse_token(&self, body: &[u8]) -> Result<Token, DecodeError> {
        token::parse(body)
    }

    fn connect_url(&self, ws_base: &str, _plan: &ConnectionPlan, token: Option<&Token>, connect_id: &str) -> String {
        token::connect_url(ws_base, token, connect_id)
    }

    fn redacted(&self, url: &str) -> String {
        token::redacted(url)
    }

    fn ping_message(&self, id: u64, _now_s: i64) -> Option<String> {
        Some(plan::ping_message(id))
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        Some(rest::snapshot_request(self.market, symbol, levels))
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
