//! Binance USD-M futures, JSON streams.
//!
//! Quirks: a socket serves one category (`/public` or `/market`), a stream asked for in the wrong one is
//! acknowledged and stays silent; `@trade` is not documented but served on `/public`; partial depth looks like
//! depth changes, only the stream name tells; since 2026-06-30 all-market streams carry COIN-M rows too (`st` is
//! 2), which are left out; recordings before 2020 lack `a` in aggTrade and `X` in trade.

use super::super::{
    Channel, ConnectionPlan, Continuity, Control, DecodeError, Decoded, Frame, Heartbeat, KlinePage, Limits, Missing,
    RestKline, RestRequest, Rows, StreamKey, Symbol, Venue, VenueId, Want,
};
use super::{Market, control, decode, klines, listing, plan, repair};

/// The market; use it through [`super::super::venue`].
#[derive(Clone, Copy, Debug)]
pub struct BinanceUsdm;

const PUBLIC: &str = "/public/stream";
const MARKET: &str = "/market/stream";

/// Category and stream name behind the lower-case symbol.
fn suffix(channel: Channel) -> Option<plan::Stream> {
    let (path, suffix) = match channel {
        Channel::Trades => (PUBLIC, "@trade"),
        Channel::AggTrades => (MARKET, "@aggTrade"),
        Channel::BookTicker => (PUBLIC, "@bookTicker"),
        Channel::Depth => (PUBLIC, "@depth@100ms"),
        Channel::MarkPrice => (MARKET, "@markPrice@1s"),
        Channel::Liquidations => (MARKET, "@forceOrder"),
        Channel::Tickers => (MARKET, "@ticker"),
        Channel::VenueKlines => (MARKET, "@kline_1m"),
        Channel::DepthSnapshot => return None,
    };
    Some(plan::Stream { path, suffix })
}

impl Venue for BinanceUsdm {
    fn id(&self) -> VenueId {
        VenueId::BinanceUsdm
    }

    fn channels(&self) -> &'static [Channel] {
        &[
            Channel::Trades,
            Channel::AggTrades,
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
        Limits {
            streams_per_connection: 200,
            params_per_subscribe: 200,
            subscribe_delay_ms: 250,
            global_subscribe_delay_ms: 100,
            connect_stagger_ms: 1000,
            connects_per_5_min: 200,
            messages_per_s: 8,
            lifetime_s: 23 * 3600,
            silence_timeout_s: 240,
            stream_silence_s: 60,
            rest_weight_per_window: 1900,
            rest_window_s: 60,
            snapshot_levels: 1000,
        }
    }

    fn rest_base(&self) -> &'static str {
        "https://fapi.binance.com"
    }

    fn ws_base(&self) -> &'static str {
        "wss://fstream.binance.com"
    }

    fn listing_request(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/fapi/v1/exchangeInfo".to_owned(),
            weight: 1,
            channel: "symbols".to_owned(),
            ..RestRequest::default()
        }
    }

    fn parse_listing(&self, body: &[u8]) -> Result<Vec<Symbol>, DecodeError> {
        listing::parse(Market::Usdm, body)
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
        // Only these limits exist; any other one is refused.
        let (limit, weight) = match levels {
            ..=5 => (5, 2),
            6..=10 => (10, 2),
            11..=20 => (20, 2),
            21..=50 => (50, 2),
            51..=100 => (100, 5),
            101..=500 => (500, 10),
            _ => (1000, 20),
        };
        Some(plan::snapshot_request("/fapi/v1/depth", symbol, limit, weight))
    }

    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        repair::request(Market::Usdm, missing)
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
        klines::request(Market::Usdm, symbol, interval, (start_ms, end_ms), limit)
    }

    fn parse_klines(&self, body: &[u8]) -> Result<Vec<RestKline>, DecodeError> {
        klines::parse(body)
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat::ServerPing
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        decode(Market::Usdm, frame, rows)
    }

    fn continuity(&self, channel: Channel) -> Continuity {
        match channel {
            // Not documented, but without a hole in every recording at hand, off-book trades included.
            Channel::Trades => Continuity::TradeId,
            Channel::AggTrades => Continuity::AggId,
            Channel::Depth => Continuity::DepthPrevFinal,
            _ => Continuity::None,
        }
    }
}
