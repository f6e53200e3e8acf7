//! What is asked of a venue: connections within its limits, REST requests, tokens, what is missing.

use model::Channel;

/// The longest text of a request over WebSocket, bytes. Binance reads 4,096 bytes with the frame's header and mask, and
/// does not answer what is longer before its next ping, if at all; no other venue names a limit, and none is requested
/// more.
pub const REQUEST_BYTES_MAX: usize = 4_088;

/// Limits of a venue that the collector keeps; every one has a configuration key of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Streams on one socket.
    pub streams_per_connection: usize,
    /// Streams in one subscribe message; [`REQUEST_BYTES_MAX`] cuts long names earlier.
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
    /// Levels requested in a REST depth snapshot.
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

/// What a message asks of some streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To begin.
    Subscribe,
    /// To end.
    Unsubscribe,
}

impl Verb {
    /// `subscribe` or `unsubscribe`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Subscribe => "subscribe",
            Verb::Unsubscribe => "unsubscribe",
        }
    }
}

/// One connection to open and what to subscribe on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionPlan {
    /// Appended to the venue's (or the configured) WebSocket base.
    pub path_and_query: String,
    /// Stream names in the order they are subscribed.
    pub streams: Vec<String>,
    /// The wants that each of the streams serves, same order.
    pub wants: Vec<Vec<Want>>,
}

/// One message that subscribes streams, or ends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeMessage {
    /// What is sent.
    pub text: String,
    /// The streams it is about.
    pub streams: Vec<String>,
}

/// Ids that were never delivered, as [`Venue::repair_request`](super::Venue::repair_request) needs to know them.
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
    /// Trade time of the last row before the gap, us; for venues that are asked by time.
    pub after_us: Option<i64>,
    /// Trade time of the first row after the gap, us.
    pub before_us: Option<i64>,
    /// Page of the same gap, from 0; for venues that page by number.
    pub page: u32,
}

/// The answer of [`Streams::token_request`](super::Streams::token_request).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token; not for logs.
    pub token: String,
    /// Where it may be used, in the venue's order; at least one.
    pub servers: Vec<TokenServer>,
}

/// One server that a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenServer {
    /// WebSocket base to connect to.
    pub endpoint: String,
    /// The client pings this often, ms.
    pub ping_interval_ms: u64,
    /// A pong is due after a ping within this, ms.
    pub ping_timeout_ms: u64,
}
