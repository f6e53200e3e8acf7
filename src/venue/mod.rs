//! What an exchange speaks: symbols and limits, subscriptions, heartbeat, decode. Sans I/O.
//!
//! One folder per exchange, one file per market. The same file tells the collector what to subscribe and the
//! compactor what a frame means. Nothing in here opens a socket, reads a clock or spawns a task.

pub mod binance;
pub mod gap;
pub mod gate;
#[cfg(test)]
mod hostile;
mod json;
pub mod klines;
pub mod kucoin;
pub(crate) mod message;
pub mod number;
#[cfg(any(test, fuzzing))]
pub mod ordeal;
#[cfg(test)]
mod reviewed;
pub mod row;
pub mod symbol;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use klines::{KlinePage, RestKline};
pub use number::Num;
pub use row::{Decoded, Rows};
pub use symbol::{Interner, Symbol, SymbolId, SymbolKind};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every one, in the order of the design.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word used in configuration, paths and columns.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(s: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|v| v.as_str() == s).ok_or_else(|| {
                    UnknownWord::new($what, s, Self::ALL.iter().map(|v| v.as_str()))
                })
            }
        }
    };
}

words! {
    /// One exchange market with one protocol.
    VenueId, "venue" {
        /// Binance spot, JSON streams.
        BinanceSpot = "binance-spot",
        /// Binance spot, SBE streams.
        BinanceSpotSbe = "binance-spot-sbe",
        /// Binance USD-M futures.
        BinanceUsdm = "binance-usdm",
        /// KuCoin spot.
        KucoinSpot = "kucoin-spot",
        /// KuCoin futures.
        KucoinFutures = "kucoin-futures",
        /// Gate spot.
        GateSpot = "gate-spot",
        /// Gate USDT futures.
        GateFutures = "gate-futures",
    }
}

words! {
    /// What is subscribed, in venue-neutral words.
    Channel, "channel" {
        /// Every single trade.
        Trades = "trades",
        /// Aggregated trades.
        AggTrades = "agg_trades",
        /// Best bid and ask.
        BookTicker = "book_ticker",
        /// Order book changes.
        Depth = "depth",
        /// Whole order books over REST.
        DepthSnapshot = "depth_snapshot",
        /// Mark price and funding.
        MarkPrice = "mark_price",
        /// Forced orders.
        Liquidations = "liquidations",
        /// 24 h statistics.
        Tickers = "tickers",
        /// The venue's own candles.
        VenueKlines = "venue_klines",
    }
}

/// A word that is none of the known ones, with the nearest known one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {got:?}; did you mean {nearest:?}? known: {known}")]
pub struct UnknownWord {
    /// What kind of word.
    pub what: &'static str,
    /// What was written.
    pub got: String,
    /// The nearest known word.
    pub nearest: String,
    /// All known words.
    pub known: String,
}

impl UnknownWord {
    fn new(what: &'static str, got: &str, known: impl Iterator<Item = &'static str> + Clone) -> Self {
        let nearest = known.clone().min_by_key(|k| strsim::levenshtein(k, got)).unwrap_or_default();
        Self { what, got: got.to_owned(), nearest: nearest.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
    }
}

/// Limits of a venue that the collector keeps; every one has a configuration key of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Streams on one socket.
    pub streams_per_connection: usize,
    /// Streams in one subscribe message.
    pub params_per_subscribe: usize,
    /// Between two control messages of one connection, ms.
    pub subscribe_delay_ms: u64,
    /// Between two control messages to one host over all connections, ms.
    pub global_subscribe_delay_ms: u64,
    /// Between two connection starts, ms.
    pub connect_stagger_ms: u64,
    /// Connection attempts in any 5 minutes.
    pub connects_per_5_min: u32,
    /// Client messages a socket may send in any second, pongs included.
    pub messages_per_s: u32,
    /// Planned life of a connection, s: before the venue cuts it.
    pub lifetime_s: u64,
    /// A connection without any frame or ping for this long is dead, s.
    pub silence_timeout_s: u64,
    /// A stream that was acknowledged but delivered nothing for this long is reported, s.
    pub stream_silence_s: u64,
    /// REST weight that may be spent in any `rest_window_s`.
    pub rest_weight_per_window: u32,
    /// Length of the rolling window of `rest_weight_per_window`, s.
    pub rest_window_s: u64,
    /// Levels asked for in a REST depth snapshot.
    pub snapshot_levels: u32,
}

/// A symbol on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Want {
    /// The venue's own spelling.
    pub symbol: String,
    /// Channel.
    pub channel: Channel,
}

/// One connection to open and what to subscribe on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionPlan {
    /// Appended to the venue's (or the configured) WebSocket base.
    pub path_and_query: String,
    /// Stream names in the order they are subscribed.
    pub streams: Vec<String>,
    /// The wants behind the streams, same order.
    pub wants: Vec<Want>,
}

/// HTTP method of a REST request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Reads something.
    #[default]
    Get,
    /// Asks for something new, with an empty body (KuCoin's tokens).
    Post,
}

/// The ids a REST body was fetched for. Decoding keeps only rows with `from <= id <= to`: trades by their `id`,
/// aggregates by their `agg_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// First id wanted.
    pub from: i64,
    /// Last id wanted.
    pub to: i64,
}

impl Fill {
    /// True when `id` was asked for.
    pub fn holds(&self, id: i64) -> bool {
        (self.from..=self.to).contains(&id)
    }
}

/// Ids that were never delivered, as [`Venue::repair_request`] needs to know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing<'a> {
    /// [`Channel::Trades`] or [`Channel::AggTrades`].
    pub channel: Channel,
    /// The venue's own spelling.
    pub symbol: &'a str,
    /// First missing id.
    pub from: i64,
    /// Last missing id.
    pub to: i64,
    /// Trade time of the last row before the hole, us; for venues that are asked by time.
    pub after_us: Option<i64>,
    /// Trade time of the first row behind the hole, us.
    pub before_us: Option<i64>,
    /// Page of the same hole, from 0; for venues that page by number.
    pub page: u32,
}

/// The answer of [`Venue::token_request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// WebSocket base to connect to.
    pub endpoint: String,
    /// The token; not for logs.
    pub token: String,
    /// The client pings this often, ms.
    pub ping_interval_ms: u64,
    /// A pong is due after a ping within this, ms.
    pub ping_timeout_ms: u64,
}

/// What tells streams apart in data frames, found without parsing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey<'a> {
    /// Stream or channel name, or what stands for it.
    pub channel: &'a [u8],
    /// Symbol, where the frame carries it apart from the channel; else empty.
    pub symbol: &'a [u8],
}

impl<'a> StreamKey<'a> {
    /// A stream whose name says everything.
    pub fn name(name: &'a [u8]) -> Self {
        Self { channel: name, symbol: b"" }
    }
}

/// One REST request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestRequest {
    /// HTTP method.
    pub method: Method,
    /// Appended to the venue's (or the configured) REST base; percent-encoded.
    pub path_and_query: String,
    /// Weight it costs.
    pub weight: u32,
    /// Channel word stored with the body (`symbols`, `depth_snapshot`).
    pub channel: String,
    /// Symbol the request is about.
    pub symbol: Option<String>,
    /// Ids it asks for, when it repairs a hole.
    pub fill: Option<Fill>,
}

/// What is stored beside a REST body in the log, so that the body explains itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestMeta {
    /// Channel word (`symbols`, `depth_snapshot`).
    pub channel: String,
    /// Symbol the request was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Full request URL without secrets.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    /// Ids it was asked for, when it repairs a hole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
}

impl RestMeta {
    /// # Errors
    /// When the venue refused the request: its body is no answer.
    pub(crate) fn answered(&self) -> Result<(), DecodeError> {
        if self.status == 200 { Ok(()) } else { Err(DecodeError::HttpStatus(self.status)) }
    }

    /// The symbol of a book that was asked for: bodies of books do not name it.
    ///
    /// # Errors
    /// When the request was about none.
    pub(crate) fn book_symbol(&self) -> Result<&str, DecodeError> {
        let symbol = self.symbol.as_deref().filter(|s| !s.is_empty());
        symbol.ok_or(DecodeError::Field { message: "depth_snapshot", field: "symbol of the request" })
    }
}

/// How a frame arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// WebSocket text message.
    Text,
    /// WebSocket binary message.
    Binary,
    /// REST response body.
    Rest,
}

/// One stored frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// How it arrived.
    pub kind: FrameKind,
    /// Bytes as received.
    pub payload: &'a [u8],
    /// For [`FrameKind::Rest`].
    pub rest: Option<&'a RestMeta>,
}

/// A control frame, as far as the collector must understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The request with this id was accepted.
    Ack {
        /// Request id.
        id: Option<u64>,
    },
    /// The venue refused something.
    Error {
        /// Request id where sent.
        id: Option<u64>,
        /// The venue's code.
        code: i64,
        /// The venue's text.
        msg: String,
        /// The venue says that we ask too often: slow down, then ask again.
        throttled: bool,
    },
    /// The server is about to close: open a replacement at once.
    ServerShutdown,
    /// The connection may be used now, on venues where [`Venue::waits_for_welcome`].
    Welcome,
    /// The answer to [`Venue::ping_message`].
    Pong,
    /// Something else without rows.
    Other,
}

/// Who keeps the connection alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The server sends protocol pings; the WebSocket layer answers.
    ServerPing,
    /// The client sends [`Venue::ping_message`].
    ClientText {
        /// Interval in ms; a token's own interval wins.
        every_ms: u64,
        /// The pong is due within this after the ping, ms.
        timeout_ms: u64,
    },
}

/// How the ids of a channel continue, for gap detection (EXCHANGES.md 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Nothing can be concluded from the ids.
    None,
    /// Each trade id is the one before plus 1.
    TradeId,
    /// Each aggregate id is the one before plus 1.
    AggId,
    /// As [`Continuity::AggId`], and the first trade id is the last trade id before plus 1.
    AggIdAndTrades,
    /// First update id = final update id before, plus 1.
    DepthFirstFinal,
    /// Previous update id = final update id before.
    DepthPrevFinal,
}

/// A frame that cannot become rows; it is kept as a row of `frames` with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON (or binary message) it should be.
    #[error("malformed at byte {at}: {what}")]
    Malformed {
        /// Byte offset, as near as known.
        at: usize,
        /// What was expected.
        what: String,
    },
    /// A field that must be there is not.
    #[error("{message}: field {field} is missing or has the wrong type")]
    Field {
        /// Message type.
        message: &'static str,
        /// Field name.
        field: &'static str,
    },
    /// A number that cannot be kept exactly.
    #[error("{message}.{field}: {source}")]
    Number {
        /// Message type.
        message: &'static str,
        /// Field name.
        field: &'static str,
        /// Why.
        source: number::NumError,
    },
    /// A well-formed message of an unknown type.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// A REST answer that is not a success.
    #[error("HTTP status {0}")]
    HttpStatus(u16),
}

impl VenueId {
    /// True when [`venue`] knows this market.
    pub fn implemented(self) -> bool {
        venue(self).is_some()
    }
}

/// The market of that name; `None` for those that are not implemented yet.
pub fn venue(id: VenueId) -> Option<&'static dyn Venue> {
    match id {
        VenueId::BinanceSpot => Some(&binance::spot::BinanceSpot),
        VenueId::BinanceSpotSbe => Some(&binance::spot_sbe::BinanceSpotSbe),
        VenueId::BinanceUsdm => Some(&binance::usdm::BinanceUsdm),
        VenueId::KucoinSpot => Some(&kucoin::spot::SPOT),
        VenueId::KucoinFutures => Some(&kucoin::futures::FUTURES),
        VenueId::GateSpot => Some(&gate::spot::SPOT),
        VenueId::GateFutures => Some(&gate::futures::FUTURES),
    }
}

/// One market of one exchange. Object safe; see [`venue`].
pub trait Venue: Send + Sync {
    /// Which one.
    fn id(&self) -> VenueId;

    /// The channels this venue has.
    fn channels(&self) -> &'static [Channel];

    /// Safe limits, below the documented ones.
    fn default_limits(&self) -> Limits;

    /// Scheme and host of REST, without a slash at the end.
    fn rest_base(&self) -> &'static str;

    /// Scheme and host of the WebSocket, without a slash at the end.
    fn ws_base(&self) -> &'static str;

    /// The request that lists all symbols.
    fn listing_request(&self) -> RestRequest;

    /// Reads the answer of [`Venue::listing_request`].
    ///
    /// # Errors
    /// When the body is not a listing; single damaged entries are an error too, because a symbol that is
    /// silently skipped would never be recorded.
    fn parse_listing(&self, body: &[u8]) -> Result<Vec<Symbol>, DecodeError>;

    /// Splits what is wanted into connections within the limits. Deterministic in the order of `wants`.
    /// Wants without a stream (such as [`Channel::DepthSnapshot`]) are left out.
    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan>;

    /// The texts that subscribe `streams`, with request ids counting up from `first_id`. `now_s`: unix time, s,
    /// for venues that check it.
    fn subscribe_messages(&self, streams: &[String], limits: &Limits, first_id: u64, now_s: i64) -> Vec<String>;

    /// As [`Venue::subscribe_messages`], to end the subscription of `streams`.
    fn unsubscribe_messages(&self, streams: &[String], limits: &Limits, first_id: u64, now_s: i64) -> Vec<String>;

    /// Which stream a data frame belongs to, by a cheap look; `None` for anything else. `binary`: the opcode.
    fn stream_of<'a>(&self, payload: &'a [u8], binary: bool) -> Option<StreamKey<'a>>;

    /// The channel of a stream, in venue-neutral words; `None` when it is none of ours.
    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        let _ = key;
        None
    }

    /// The key (channel, symbol) that frames of a subscribed stream carry.
    fn stream_key(&self, stream: &str) -> (Vec<u8>, Vec<u8>) {
        (stream.as_bytes().to_vec(), Vec::new())
    }

    /// Headers of the upgrade request.
    fn headers(&self, api_key: Option<&str>) -> Vec<(&'static str, String)> {
        let _ = api_key;
        Vec::new()
    }

    /// Headers of every REST request.
    fn rest_headers(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// True when the upgrade needs the user's API key.
    fn needs_api_key(&self) -> bool {
        false
    }

    /// The request that must be answered before every connect; see [`Venue::parse_token`].
    fn token_request(&self) -> Option<RestRequest> {
        None
    }

    /// Reads the answer of [`Venue::token_request`].
    ///
    /// # Errors
    /// When the body is no token.
    fn parse_token(&self, body: &[u8]) -> Result<Token, DecodeError> {
        let _ = body;
        Err(DecodeError::Malformed { at: 0, what: "this venue has no tokens".to_owned() })
    }

    /// The URL of a planned connection. `ws_base` is the configured base, else the token's endpoint, else
    /// [`Venue::ws_base`]; `connect_id` is unique in the process.
    fn connect_url(&self, ws_base: &str, plan: &ConnectionPlan, token: Option<&Token>, connect_id: &str) -> String {
        let _ = (token, connect_id);
        format!("{ws_base}{}", plan.path_and_query)
    }

    /// `url` without its secrets, for logs and records.
    fn redacted(&self, url: &str) -> String {
        url.to_owned()
    }

    /// True when nothing may be subscribed before [`Control::Welcome`].
    fn waits_for_welcome(&self) -> bool {
        false
    }

    /// The text that asks for a pong. `now_s`: unix time, s.
    fn ping_message(&self, id: u64, now_s: i64) -> Option<String> {
        let _ = (id, now_s);
        None
    }

    /// The request for (the next part of) missing trades or aggregates, where the venue can be asked for them.
    /// Its `fill` names the ids.
    fn repair_request(&self, missing: &Missing<'_>) -> Option<RestRequest> {
        let _ = missing;
        None
    }

    /// What one answer of candles holds; `None` where there are none to be asked for.
    fn klines_page(&self) -> Option<KlinePage> {
        None
    }

    /// The request for candles whose open times are `start_ms` to `end_ms`, inclusive, unix ms; `interval` is a word
    /// of the `klines` table. `limit`: at most as many as [`KlinePage::rows`]; venues that know no limit beside a
    /// range leave it out. `None` for an interval that the venue does not have.
    fn klines_request(
        &self,
        symbol: &str,
        interval: &str,
        start_ms: i64,
        end_ms: i64,
        limit: u32,
    ) -> Option<RestRequest> {
        let _ = (symbol, interval, start_ms, end_ms, limit);
        None
    }

    /// Reads the answer of [`Venue::klines_request`], oldest first. Its last candle may be open still.
    ///
    /// # Errors
    /// When the body is no list of candles.
    fn parse_klines(&self, body: &[u8]) -> Result<Vec<RestKline>, DecodeError> {
        let _ = body;
        Err(DecodeError::Malformed { at: 0, what: "this venue has no candles".to_owned() })
    }

    /// Venues of one exchange that share what an address may do share a pace; this names it.
    fn pace_group(&self) -> &'static str {
        self.id().as_str()
    }

    /// Understands a control frame; `None` when it is not one.
    fn control(&self, payload: &[u8]) -> Option<Control>;

    /// The request for a whole order book with at least `levels` levels where the venue has it.
    fn snapshot_request(&self, symbol: &str, levels: u32) -> Option<RestRequest>;

    /// Who keeps the connection alive.
    fn heartbeat(&self) -> Heartbeat;

    /// Turns one stored frame into rows appended to `rows`. An unknown field is drift, not an error.
    /// On an error rows may hold a part of the frame: the caller clears them.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame cannot become rows; the caller keeps it in table `frames`.
    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError>;

    /// How the ids of a channel continue.
    fn continuity(&self, channel: Channel) -> Continuity;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_word_reads_back_and_a_wrong_one_names_the_nearest() {
        for id in VenueId::ALL {
            assert_eq!(id.as_str().parse(), Ok(*id));
        }
        for channel in Channel::ALL {
            assert_eq!(channel.as_str().parse(), Ok(*channel));
        }
        assert_eq!("binance-usd-m".parse::<VenueId>().unwrap_err().nearest, "binance-usdm");
        assert_eq!("agg_trade".parse::<Channel>().unwrap_err().nearest, "agg_trades");
    }

    #[test]
    fn a_venue_found_by_its_name_says_that_name() {
        for id in VenueId::ALL {
            assert_eq!(venue(*id).unwrap().id(), *id);
        }
    }
}
