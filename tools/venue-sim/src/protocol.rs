//! What the simulator needs of an exchange's protocol, one variant per exchange: who answers an upgrade and a request, what is said to
//! a new connection, to a client's message and before an end, how a played frame looks on a connection, and when silence ends it.
//!
//! It only chooses; what is said is the exchanges' own modules'.

use std::net::IpAddr;
use std::time::Duration;

use model::VenueId;
use venue::VenueSpec;

use crate::binance::{self, Market};
use crate::config::Heartbeat;
use crate::http::{Answer, Head};
use crate::limits::Verdict;
use crate::names::Names;
use crate::report::wall_ns;
use crate::venue::{Batch, BatchFrame, Venue};
use crate::ws::Opcode;
use crate::{gate, kucoin};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Binance,
    /// Binance's market with binary data.
    BinanceSbe,
    Kucoin,
    Gate,
}

/// The exchange of a venue and which of its markets it is: spot, or futures settled in dollars; Binance also has some settled in base_volume.
pub(crate) fn of_venue(id: VenueId) -> (Exchange, Market) {
    match id {
        VenueId::BinanceSpot => (Exchange::Binance, Market::Spot),
        VenueId::BinanceSpotSbe => (Exchange::BinanceSbe, Market::Spot),
        VenueId::BinanceUsdm => (Exchange::Binance, Market::Usdm),
        VenueId::BinanceCoinm => (Exchange::Binance, Market::Coinm),
        VenueId::KucoinSpot => (Exchange::Kucoin, Market::Spot),
        VenueId::KucoinFutures => (Exchange::Kucoin, Market::Usdm),
        VenueId::GateSpot => (Exchange::Gate, Market::Spot),
        VenueId::GateFutures => (Exchange::Gate, Market::Usdm),
    }
}

/// When a connection is pinged, and when its silence ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    /// Time between two looks at the connection.
    pub look_every: Duration,
    /// Send a protocol ping at every look.
    pub pings: bool,
    /// End a connection that gave no sign of life for so long.
    pub patience: Duration,
    /// Every message is a sign of life; otherwise pongs alone.
    pub any_message: bool,
    /// Close code and reason of that end.
    pub close: (u16, &'static str),
}

impl Exchange {
    /// The heartbeat of a market with what the configuration overrides.
    pub fn beat(self, market: Market, spec: &VenueSpec, heartbeat: &Heartbeat) -> Beat {
        let ms = |configured: Option<u64>, usual: u64| Duration::from_millis(configured.unwrap_or(usual).max(1));
        match (self, spec.heartbeat) {
            (_, venue::Heartbeat::ServerPing { every_ms, timeout_ms }) => Beat {
                look_every: ms(heartbeat.ping_interval_ms, every_ms),
                pings: true,
                patience: ms(heartbeat.pong_timeout_ms, timeout_ms),
                any_message: false,
                close: (1008, "Pong timeout"),
            },
            // The client pings.
            (Exchange::Kucoin, _) => {
                let patience = ms(heartbeat.pong_timeout_ms, 60_000);
                Beat { look_every: patience / 4, pings: false, patience, any_message: true, close: (1000, "Bye") }
            }
            (_, _) => Beat {
                look_every: ms(heartbeat.ping_interval_ms, 20_000),
                // The server of futures was never seen to ping.
                pings: market == Market::Spot,
                patience: ms(heartbeat.pong_timeout_ms, 60_000),
                any_message: true,
                close: (1000, ""),
            },
        }
    }
}

/// How a source stream goes to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Index into [`Names::delivered_as`].
    pub name: u32,
    /// The subscribed name is the source's own.
    pub exact: bool,
}

/// What a message of the client leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaction {
    pub reply: Option<String>,
    /// Source streams newly delivered.
    pub added: Vec<u32>,
    /// Source streams no longer delivered.
    pub removed: Vec<u32>,
    /// The reply answers a ping in the protocol's own format.
    pub is_pong: bool,
    /// Close with this code and reason.
    pub close: Option<(u16, &'static str)>,
}

/// A played frame as one connection gets it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dress {
    /// As it was played.
    Whole,
    /// Its data value alone.
    Data,
    /// Under the subscribed name.
    Renamed,
    /// With its sizes in the form that this connection requested.
    Made(Vec<u8>),
}

/// The protocol state of one WebSocket connection.
#[derive(Debug)]
pub(crate) enum SimSession {
    Binance(binance::BinanceSession),
    Sbe(binance::BinanceSession),
    Kucoin(kucoin::KucoinSession),
    Gate(gate::GateSession),
}

impl SimSession {
    /// The session that an upgrade opens and the source streams it subscribes at once, or the refusal.
    pub fn open(venue: &Venue, head: &Head, path: &str) -> Result<(SimSession, Vec<u32>), Answer> {
        match venue.exchange {
            Exchange::Binance => {
                binance::BinanceSession::open(venue.market, path, &head.query(), &venue.universe, &venue.moved)
                    .map(|(session, added)| (SimSession::Binance(session), added))
                    .ok_or_else(|| Answer::json(404, ""))
            }
            Exchange::BinanceSbe => match crate::rest::refuse_sbe(venue, head, path) {
                Some(refusal) => Err(refusal),
                None => binance::BinanceSession::open(venue.market, path, &head.query(), &venue.universe, &venue.moved)
                    .map(|(session, added)| (SimSession::Sbe(session), added))
                    .ok_or_else(|| Answer::json(404, "")),
            },
            // Also without a slash: a configured base has none at its end.
            Exchange::Kucoin if !matches!(path, "" | "/" | "/endpoint") => Err(Answer::json(404, "")),
            Exchange::Kucoin => Ok((SimSession::Kucoin(kucoin::KucoinSession::open(venue, &head.query())), Vec::new())),
            Exchange::Gate => {
                let served = if venue.market == Market::Spot { "/ws/v4" } else { "/v4/ws/usdt" };
                if path.trim_end_matches('/') != served {
                    return Err(Answer::json(404, ""));
                }
                let decimal_sizes = head.header("x-gate-size-decimal") == Some("1");
                Ok((SimSession::Gate(gate::GateSession::open(venue, decimal_sizes)), Vec::new()))
            }
        }
    }

    /// What the server says first, and whether it closes then.
    pub fn greeting(&mut self) -> Option<Reaction> {
        match self {
            SimSession::Kucoin(session) => Some(session.greeting()),
            SimSession::Binance(_) | SimSession::Sbe(_) | SimSession::Gate(_) => None,
        }
    }

    /// What it subscribed.
    pub fn names(&self) -> &Names {
        match self {
            SimSession::Binance(session) | SimSession::Sbe(session) => &session.names,
            SimSession::Kucoin(session) => &session.names,
            SimSession::Gate(session) => &session.names,
        }
    }

    /// Handles one text message of the client. `streams_max` is `usize::MAX` when limits are not enforced.
    pub fn on_text(&mut self, text: &[u8], venue: &Venue, streams_max: usize) -> Reaction {
        match self {
            SimSession::Binance(session) | SimSession::Sbe(session) => {
                session.on_text(text, &venue.universe, streams_max)
            }
            SimSession::Kucoin(session) => session.on_text(text, venue, streams_max),
            SimSession::Gate(session) => session.on_text(text, venue, (wall_ns() / 1_000_000) as i64),
        }
    }

    /// What a client that sent too many messages gets before it is closed, and how.
    pub fn too_many_messages(&self) -> Reaction {
        match self {
            SimSession::Kucoin(session) => session.too_many_messages(),
            SimSession::Binance(_) | SimSession::Sbe(_) | SimSession::Gate(_) => {
                Reaction { close: Some((1008, "Too many requests")), ..Reaction::default() }
            }
        }
    }

    /// The announcement of an end, where the exchange makes one.
    pub fn shutdown_notice(&self, now_ms: i64) -> Option<String> {
        match self {
            SimSession::Binance(session) | SimSession::Sbe(session) => Some(session.server_shutdown(now_ms)),
            SimSession::Gate(session) => Some(session.shutdown_notice(now_ms)),
            SimSession::Kucoin(_) => None,
        }
    }

    /// How a frame looks here.
    pub fn dress(&self, route: Route, batch: &Batch, frame: &BatchFrame) -> Dress {
        match self {
            // Never wrapped, whatever the path.
            SimSession::Sbe(_) => Dress::Whole,
            SimSession::Binance(session) if !session.combined => Dress::Data,
            SimSession::Binance(_) if route.exact => Dress::Whole,
            SimSession::Binance(_) => Dress::Renamed,
            SimSession::Gate(session) => session.dress(batch.combined(frame)),
            SimSession::Kucoin(_) => Dress::Whole,
        }
    }

    /// The opcode of data frames.
    pub fn opcode(&self) -> Opcode {
        match self {
            SimSession::Binance(_) | SimSession::Kucoin(_) | SimSession::Gate(_) => Opcode::Text,
            SimSession::Sbe(_) => Opcode::Binary,
        }
    }
}

/// Answers a request below the venue's base.
pub(crate) fn answer(venue: &Venue, head: &Head, path: &str, from: IpAddr, now_ms: i64) -> Answer {
    match venue.exchange {
        Exchange::Binance | Exchange::BinanceSbe => crate::rest::answer(venue, head, path, from, now_ms),
        Exchange::Kucoin => kucoin::rest::answer(venue, head, path, from, now_ms),
        Exchange::Gate => gate::rest::answer(venue, head, path, from, now_ms),
    }
}

/// The refusal of an address that did too much, `None` when it may pass.
pub(crate) fn turned_away(venue: &Venue, verdict: Verdict, now_ms: i64) -> Option<Answer> {
    match venue.exchange {
        Exchange::Binance | Exchange::BinanceSbe => crate::rest::turned_away(venue, verdict, now_ms),
        Exchange::Kucoin => kucoin::rest::turned_away(verdict, now_ms),
        Exchange::Gate => gate::rest::turned_away(venue, verdict, now_ms),
    }
}

/// A status that a fault sets, in the venue's format.
pub(crate) fn refusal(venue: &Venue, status: u16, retry_after_s: u32, now_ms: i64) -> Answer {
    match venue.exchange {
        Exchange::Binance | Exchange::BinanceSbe => crate::rest::refusal(venue, status, retry_after_s, now_ms),
        Exchange::Kucoin => kucoin::rest::refusal(status, retry_after_s),
        Exchange::Gate => gate::rest::refusal(venue, status, retry_after_s, now_ms),
    }
}
