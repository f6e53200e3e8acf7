//! Gate USDT futures, WebSocket v4.
//!
//! Quirks: sizes count contracts (`quanto_multiplier` base units each) and their sign is the side; without a
//! header on the upgrade they are integers and parts of contracts are cut off silently; one unknown contract
//! spoils the whole subscribe message; an idle socket dies after about 30 s; mark price and funding come only
//! with the ticker, whose frames become rows of two tables.

use super::super::{
    Channel, ConnectionPlan, Continuity, Control, DecodeError, Decoded, Frame, Heartbeat, KlinePage, Limits, Missing,
    RestKline, RestRequest, Rows, StreamKey, Symbol, Venue, VenueId, Want,
};
use super::{Market, control, decode, klines, listing, plan};

/// The market; use it through [`super::super::venue`].
#[derive(Clone, Copy, Debug)]
pub struct GateFutures;

const MARKET: Market = Market::Futures;

impl Venue for GateFutures {
    fn id(&self) -> VenueId {
        VenueId::GateFutures
    }

    fn channels(&self) -> &'static [Channel] {
        &[
            Channel::Trades,
            Channel::BookTicker,
            Channel::Depth,
            Channel::DepthSnapshot,
            Channel::MarkPrice,
            Channel::Liquidations,
            Channel::Tickers,
            Channel::VenueKlines,
        ]
    }

    fn default_limits(&self) -> Limits {
        plan::limits()
    }

    fn rest_base(&self) -> &'static str {
        "https://api.gateio.ws"
    }

    fn ws_base(&self) -> &'static str {
        "wss://fx-ws.gateio.ws"
    }

    fn listing_request(&self) -> RestRequest {
        plan::listing(MARKET)
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Vec<Symbol>, DecodeError> {
        listing::parse(MARKET, body)
    }

    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        plan::connections(MARKET, "/v4/ws/usdt", wants, limits)
    }

    fn subscribe_messages(&self, streams: &[String], limits: &Limits, first_id: u64, now_s: i64) -> Vec<String> {
        plan::subscribe_messages(MARKET, streams, limits, first_id, now_s)
    }

    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        control::stream_of(payload)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        MARKET.channel_of(key.channel)
    }

    fn stream_key(&self, stream: &str) -> (Vec<u8>, Vec<u8>) {
        let (channel, symbol) = stream.split_once(' ').unwrap_or((stream, ""));
        (channel.as_bytes().to_vec(), symbol.as_bytes().to_vec())
    }

    fn headers(&self, _api_key: Option<&str>) -> Vec<(&'static str, String)> {
        vec![("X-Gate-Size-Decimal", "1".to_owned())]
    }

    fn rest_headers(&self) -> Vec<(&'static str, String)> {
        // Without it sizes are integers: fractions of a contract are cut off, a size below one reads 0.
        self.headers(None)
    }

    fn ping_message(&self, id: u64, now_s: i64) -> Option<String> {
        Some(plan::ping(MARKET, id, now_s))
    }

    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        plan::repair(MARKET, missing)
    }

    fn pace_group(&self) -> &'static str {
        "gate"
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        Some(plan::snapshot(MARKET, symbol, levels))
    }

    fn klines_page(&self) -> Option<KlinePage> {
        Some(klines::page(MARKET))
    }

    fn klines_request(
        &self,
        symbol: &str,
        interval: &str,
        start_ms: i64,
        end_ms: i64,
        _limit: u32,
    ) -> Option<RestRequest> {
        klines::request(MARKET, symbol, interval, (start_ms, end_ms))
    }

    fn parse_klines(&self, body: &[u8]) -> Result<Vec<RestKline>, DecodeError> {
        klines::parse(MARKET, body)
    }

    fn heartbeat(&self) -> Heartbeat {
        plan::HEARTBEAT
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        decode(MARKET, frame, rows)
    }

    fn continuity(&self, channel: Channel) -> Continuity {
        match channel {
            // Not documented, but without a hole in every recording at hand.
            Channel::Trades => Continuity::TradeId,
            Channel::Depth => Continuity::DepthFirstFinal,
            _ => Continuity::None,
        }
    }
}
