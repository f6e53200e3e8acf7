//! KuCoin futures, classic protocol.
//!
//! Quirks: amounts are lots (see the contract size in `symbols`); a frame of `/contractMarket/level2` carries one
//! change as text; mark prices and funding rates are JSON numbers on one topic under two subjects; there is no
//! public stream of liquidations; only the last 100 trades can be asked for again.

use super::super::{
    Channel, ConnectionPlan, Continuity, Control, DecodeError, Decoded, Frame, Heartbeat, KlinePage, Limits, RestKline,
    RestRequest, Rows, StreamKey, Symbol, Token, Venue, VenueId, Want,
};
use super::{Market, control, decode, klines, listing, plan, rest, token, topic};

/// The market; use it through [`super::super::venue`].
#[derive(Clone, Copy, Debug)]
pub struct KucoinFutures;

impl Venue for KucoinFutures {
    fn id(&self) -> VenueId {
        VenueId::KucoinFutures
    }

    fn channels(&self) -> &'static [Channel] {
        &[
            Channel::Trades,
            Channel::BookTicker,
            Channel::Depth,
            Channel::DepthSnapshot,
            Channel::MarkPrice,
            Channel::Tickers,
            Channel::VenueKlines,
        ]
    }

    fn default_limits(&self) -> Limits {
        super::limits()
    }

    fn rest_base(&self) -> &'static str {
        "https://api-futures.kucoin.com"
    }

    fn ws_base(&self) -> &'static str {
        "wss://ws-api-futures.kucoin.com"
    }

    fn listing_request(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/api/v1/contracts/active".to_owned(),
            weight: 3,
            channel: "symbols".to_owned(),
            ..RestRequest::default()
        }
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Vec<Symbol>, DecodeError> {
        listing::parse(Market::Futures, body)
    }

    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        plan::connections(Market::Futures, wants, limits)
    }

    fn subscribe_messages(&self, streams: &[String], limits: &Limits, first_id: u64, _now_s: i64) -> Vec<String> {
        plan::subscribe_messages(streams, limits, first_id)
    }

    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        topic::of_frame(payload).map(StreamKey::name)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        topic::channel_of(Market::Futures, key)
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

    fn waits_for_welcome(&self) -> bool {
        true
    }

    fn ping_message(&self, id: u64, _now_s: i64) -> Option<String> {
        Some(plan::ping_message(id))
    }

    fn pace_group(&self) -> &'static str {
        super::PACE_GROUP
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        Some(rest::snapshot_request(Market::Futures, symbol, levels))
    }

    fn klines_page(&self) -> Option<KlinePage> {
        Some(klines::page(Market::Futures))
    }

    fn klines_request(
        &self,
        symbol: &str,
        interval: &str,
        start_ms: i64,
        end_ms: i64,
        _limit: u32,
    ) -> Option<RestRequest> {
        klines::request(Market::Futures, symbol, interval, (start_ms, end_ms))
    }

    fn parse_klines(&self, body: &[u8]) -> Result<Vec<RestKline>, DecodeError> {
        klines::parse(Market::Futures, body)
    }

    fn heartbeat(&self) -> Heartbeat {
        super::HEARTBEAT
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        decode(Market::Futures, frame, rows)
    }

    fn continuity(&self, channel: Channel) -> Continuity {
        match channel {
            // One change a frame: first and final id are its sequence.
            Channel::Depth => Continuity::DepthFirstFinal,
            _ => Continuity::None,
        }
    }
}
