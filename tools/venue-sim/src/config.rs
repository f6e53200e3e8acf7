//! What a simulation is made of. Plain data with defaults; nothing here acts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::access::Access;
use crate::faults::Fault;

/// Everything a simulation needs to start.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Venues to serve. Empty = those of the source.
    pub venues: Vec<SimVenue>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What is sent.
    pub source: Source,
    /// How fast it is sent.
    pub pace: Pace,
    /// How often a recording is played. A generated market ends by its own total.
    pub repeat: Repeat,
    /// Shift times to now and, from the second loop on, ids so that every id rule stays whole. Off = bytes as recorded.
    pub restamp: bool,
    /// When a venue begins to play.
    pub start_when: StartWhen,
    /// What goes wrong, and when. More can be added while it runs.
    pub faults: Vec<Fault>,
    /// The venue's limits.
    pub limits: Limits,
    /// Server pings.
    pub heartbeat: Heartbeat,
    /// Who may ask, and how much of the server one may hold.
    pub access: Access,
    /// Serve `wss` and `https` instead of plain text.
    pub tls: Option<TlsFiles>,
    /// Write every message payload that was sent to this file: repeat { u64 LE wall ns, u32 LE connection id, u32 LE length, payload }.
    pub transcript: Option<PathBuf>,
    /// List a few symbols that are halted, quiet, dated or not ASCII beside those that play.
    pub extra_symbols: bool,
    /// Trades, and as many aggregates, that a generated market keeps per symbol for REST. A recording keeps all that was played.
    pub trades_kept: usize,
    /// Seed of everything that is random.
    pub seed: u64,
}

impl SimConfig {
    /// Plays recordings once, as recorded, on a free loopback port.
    pub fn recordings(files: Vec<RecordingFile>) -> SimConfig {
        SimConfig::new(Source::Recordings(files))
    }

    /// Plays a generated market on the given venues.
    pub fn generated(venues: &[&str], market: Market) -> SimConfig {
        SimConfig {
            venues: venues.iter().map(|id| SimVenue::new(id)).collect(),
            ..SimConfig::new(Source::Generated(market))
        }
    }

    /// Plays every venue from its own source.
    pub fn venues(venues: Vec<SimVenue>) -> SimConfig {
        SimConfig { venues, ..SimConfig::new(Source::Recordings(Vec::new())) }
    }

    fn new(source: Source) -> SimConfig {
        SimConfig {
            venues: Vec::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            source,
            pace: Pace::Recorded,
            repeat: Repeat::Once,
            restamp: false,
            start_when: StartWhen::default(),
            faults: Vec::new(),
            limits: Limits::default(),
            heartbeat: Heartbeat::default(),
            access: Access::default(),
            tls: None,
            transcript: None,
            extra_symbols: true,
            trades_kept: 50_000,
            seed: 1,
        }
    }
}

/// One venue to serve.
#[derive(Clone, Debug, Default)]
pub struct SimVenue {
    /// `binance-spot`, `binance-spot-sbe` (plays recordings of `binance-spot`), `binance-usdm`, `kucoin-spot`, `kucoin-futures`,
    /// `gate-spot` or `gate-futures`.
    pub id: String,
    /// Streams that [`StartWhen::AllStreams`] waits for. Empty = every stream the source has, of symbols that are listed.
    pub expected: Vec<String>,
    /// Symbols of the source that are not listed at the start: [`crate::Action::List`] lists them.
    pub unlisted: Vec<String>,
    /// What this venue plays. `None` = the simulation's source. A market of its own is not shared with other venues.
    pub source: Option<Source>,
    /// The API key that opens the venue's WebSockets, where it requires one. `None` = any.
    pub api_key: Option<String>,
    /// Channels of USD-M (`trade`, `aggTrade`, ..) that the other of `/public` and `/market` serves than is documented.
    pub moved: Vec<String>,
    /// Servers that KuCoin's tokens name before the one that answers; nobody listens there.
    pub dead_servers: usize,
}

impl SimVenue {
    /// A venue that expects every stream of its source.
    pub fn new(id: &str) -> SimVenue {
        SimVenue { id: id.to_owned(), ..SimVenue::default() }
    }

    /// A venue with a source of its own.
    pub fn playing(id: &str, source: Source) -> SimVenue {
        SimVenue { source: Some(source), ..SimVenue::new(id) }
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Source {
    /// Recorded frames, merged per venue by receive time.
    Recordings(Vec<RecordingFile>),
    /// A seeded market.
    Generated(Market),
    /// A recording that is read while it is played, of one venue.
    Recording(crate::recording::RecordingSource),
}

/// One recording of one venue.
#[derive(Clone, Debug)]
pub struct RecordingFile {
    /// Venue it belongs to.
    pub venue: String,
    /// `hft`, `cryptofeed` or JSON lines; plain, `.gz` or `.zst`.
    pub path: PathBuf,
}

impl RecordingFile {
    /// A recording of `venue`.
    pub fn new(venue: &str, path: impl Into<PathBuf>) -> RecordingFile {
        RecordingFile { venue: venue.to_owned(), path: path.into() }
    }
}

/// A generated market. Numbers are for the whole simulation; several venues share them evenly.
#[derive(Clone, Debug)]
pub struct Market {
    /// Symbols in the venue's spelling.
    pub symbols: Vec<String>,
    /// Channels: `trades`, `agg_trades`, `book_ticker`, `depth`, `mark_price`, `liquidations`, `venue_klines`, `tickers`; on KuCoin
    /// `ticker`, `depth5` and `depth50` as well.
    /// Those a venue lacks are left out there.
    pub channels: Vec<String>,
    /// Frames per second under [`Pace::Recorded`].
    pub frames_per_s: u64,
    /// End after this many frames. `None` = endless.
    pub total_frames: Option<u64>,
    /// Time of the first frame, ms since 1970; later ones follow at `frames_per_s`. `None` = the time of sending.
    pub start_ms: Option<i64>,
}

/// How fast frames are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As recorded.
    Recorded,
    /// So many times faster.
    Times(f64),
    /// So many frames per second over all venues.
    PerSecond(u64),
    /// As fast as the slowest subscribed socket takes them. Waits while nothing is subscribed.
    Max,
}

/// How often a recording is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Once.
    Once,
    /// So many times.
    Times(u64),
    /// Until stopped.
    Forever,
}

/// When a venue begins to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartWhen {
    /// With the first subscription of a stream it can deliver.
    FirstSubscribe,
    /// When every expected stream ([`SimVenue::expected`]) is subscribed, on whichever connections.
    AllStreams,
    /// When at least `streams` streams are subscribed and no new one came for `quiet_ms`.
    Settled {
        /// Streams that must be subscribed.
        streams: usize,
        /// Time without a new subscription, ms.
        quiet_ms: u64,
    },
}

impl Default for StartWhen {
    fn default() -> StartWhen {
        StartWhen::Settled { streams: 1, quiet_ms: 500 }
    }
}

/// Limits of the venue. Counted always, enforced only when asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Refuse, close and ban as the venue would.
    pub enforce: bool,
    /// Client messages in any window of a connection, pings and pongs included. `None` = the venue's: 5 on spot, 10 on USD-M.
    pub messages_per_s: Option<u32>,
    /// That window, ms. `None` = the venue's: a second.
    pub message_window_ms: Option<u64>,
    /// Bytes of a client's text message, header and mask included, beyond which it is neither done nor answered. `None` = 4,096:
    /// Binance's, whatever `enforce` says; on the others, which document none, only enforced when asked.
    pub message_bytes: Option<usize>,
    /// Streams per connection.
    pub streams_per_connection: usize,
    /// WebSocket connects of an address in any window of `connect_window_ms`.
    pub connects_per_5_min: usize,
    /// That window, ms: five minutes unless shortened. Strikes are forgotten after it as well.
    pub connect_window_ms: u64,
    /// REST weight of an address per window. `None` = the venue's: 6000 on spot, 2400 on USD-M.
    pub rest_weight_per_min: Option<u32>,
    /// That window, ms. `None` = the venue's: a minute.
    pub rest_window_ms: Option<u64>,
    /// Connections closed for too many messages before their address is throttled.
    pub strikes: u32,
    /// How long that lasts: REST and upgrades get 429, ms.
    pub throttle_ms: u64,
    /// Requests of a throttled or banned address that are put up with; the next one bans it.
    pub knocks: u32,
    /// The first ban, ms: REST and upgrades get 418. Every further one is twice as long.
    pub ban_ms: u64,
    /// The longest ban, ms.
    pub ban_max_ms: u64,
    /// How long a KuCoin token may be used for a connect, ms: a day unless shortened. Always enforced.
    pub token_life_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            enforce: false,
            messages_per_s: None,
            message_window_ms: None,
            message_bytes: None,
            streams_per_connection: 1024,
            connects_per_5_min: 300,
            connect_window_ms: 300_000,
            rest_weight_per_min: None,
            rest_window_ms: None,
            strikes: 3,
            throttle_ms: 60_000,
            knocks: 10,
            ban_ms: 120_000,
            ban_max_ms: 3 * 86_400_000,
            token_life_ms: 86_400_000,
        }
    }
}

/// Server pings. `None` = the venue's: 20 s and 60 s on spot, 180 s and 600 s on USD-M.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heartbeat {
    /// Time between two pings, ms.
    pub ping_interval_ms: Option<u64>,
    /// A connection whose last pong (or opening) is older than this is closed, ms.
    pub pong_timeout_ms: Option<u64>,
}

/// Certificate and key, PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}
