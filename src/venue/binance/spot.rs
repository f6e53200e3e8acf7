//! Binance spot, JSON streams.
//!
//! Quirks: `bookTicker` and partial depth frames carry no type and no time, partial depth not even a symbol, so
//! sockets are combined ones (`/stream`); a stream that does not exist is acknowledged and stays silent; the
//! server pings every 20 s; times are µs when the socket was opened with `timeUnit=MICROSECOND`; trades
//! recorded until 2023 carry the order ids `b` and `a`; symbols may be other than ASCII.

use super::super::{
    Channel, ConnectionPlan, Continuity, Control, DecodeError, Decoded, Frame, Heartbeat, KlinePage, Limits, Missing,
    RestKline, RestRequest, Rows, StreamKey, Symbol, Venue, VenueId, Want,
};
use super::{Market, control, decode, klines, listing, plan, repair};

/// The market; use it through [`super::super::venue`].
#[derive(Clone, Copy, Debug)]
pub struct BinanceSpot;

/// Stream name behind the lower-case symbol.
fn suffix(channel: Channel) -> Option<plan::Stream> {
    let name = match channel {
        Channel::Trades => "@trade",
        Channel::AggTrades => "@aggTrade",
        Channel::BookTicker => "@bookTicker",
        Channel::Depth => "@depth@100ms",
        Channel::Tickers => "@ticker",
        Channel::VenueKlines => "@kline_1m",
        Channel::DepthSnapshot | Channel::MarkPrice | Channel::Liquidations => return None,
    };
    Some(plan::Stream { path: "/stream", suffix: name })
}

impl Venue for BinanceSpot {
    fn id(&self) -> VenueId {
        VenueId::BinanceSpot
    }

    fn channels(&self) -> &'static [Channel] {
        &[
            Channel::Trades,
            Channel::AggTrades,
            Channel::BookTicker,
            Channel::Depth,
            Channel::DepthSnapshot,
            Channel::Tickers,
            Channel::VenueKlines,
        ]
    }

    fn default_limits(&self) -> Limits {
        Limits {
            streams_per_connection: 200,
            params_per_subscribe: 200,
            subscribe_delay_ms: 250,
            global_subscribe_delay_ms: 100,
            connect_stagger_ms: 1000,
            connects_per_5_min: 200,
            messages_per_s: 4,
            lifetime_s: 23 * 3600,
            silence_timeout_s: 45,
            stream_silence_s: 60,
            rest_weight_per_window: 4800,
            rest_window_s: 60,
            snapshot_levels: 1000,
        }
    }

    fn rest_base(&self) -> &'static str {
        "https://api.binance.com"
    }

    fn ws_base(&self) -> &'static str {
        "wss://stream.binance.com:9443"
    }

    fn listing_request(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/api/v3/exchangeInfo?showPermissionSets=false".to_owned(),
            weight: 20,
            channel: "symbols".to_owned(),
            ..RestRequest::default()
        }
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Vec<Symbol>, DecodeError> {
        listing::parse(Market::Spot, body)
    }

    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        plan::connections(wants, limits, suffix)
    }

    fn subscribe_messages(&self, streams: &[String], limits: &Limits, first_id: u64, _now_s: i64) -> Vec<String> {
        plan::requests("SUBSCRIBE", streams, limits, first_id)
    }

    fn unsubscribe_messages(&self, streams: &[String], limits: &Limits, first_id: u64, _now_s: i64) -> Vec<String> {
        plan::requests("UNSUBSCRIBE", streams, limits, first_id)
    }

    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        control::stream_of(payload).map(StreamKey::name)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        control::channel_of(key.channel)
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest> {
        let limit = levels.clamp(1, 5000);
        let weight = match limit {
            ..=100 => 5,
            101..=500 => 25,
            501..=1000 => 50,
            _ => 250,
        };
        Some(plan::snapshot_request("/api/v3/depth", symbol, limit, weight))
    }

    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        repair::request(Market::Spot, missing)
    }

    fn klines_page(&self) -> Option<KlinePage> {
        Some(klines::PAGE)
    }

    fn klines_request(
        &self,
        symbol: &str,
        interval: &str,
        start_ms: i64,
        end_ms: i64,
        limit: u32,
    ) -> Option<RestRequest> {
        klines::request(Market::Spot, symbol, interval, (start_ms, end_ms), limit)
    }

    fn parse_klines(&self, body: &[u8]) -> Result<Vec<RestKline>, DecodeError> {
        klines::parse(body)
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat::ServerPing
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        decode(Market::Spot, frame, rows)
    }

    fn continuity(&self, channel: Channel) -> Continuity {
        match channel {
            Channel::Trades => Continuity::TradeId,
            Channel::AggTrades => Continuity::AggIdAndTrades,
            Channel::Depth => Continuity::DepthFirstFinal,
            _ => Continuity::None,
        }
    }
}
