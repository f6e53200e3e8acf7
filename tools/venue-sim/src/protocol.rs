//! What the simulator needs of an exchange's protocol, one variant per exchange: who answers an upgrade and a request, what is said to
//! a new connection, to a client's message and before an end, how a played frame looks on a connection, and when silence ends it.
//!
//! It only chooses; what is said is the exchanges' own modules'.

use std::net::IpAddr;
use std::time::Duration;

use crate::binance::{self, Market};
use crate::config::Heartbeat;
use crate::http::{Answer, Head};
use crate::limits::Verdict;
use crate::venue::{Batch, BatchFrame, Venue};
use crate::ws::Opcode;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Binance,
    /// Binance's market with binary data.
    BinanceSbe,
}

/// Ids of the venues that can be served.
pub(crate) const KNOWN: &str = "binance-spot, binance-spot-sbe and binance-usdm";

/// The exchange of a venue and which of its markets it is: spot, or futures settled in dollars.
pub(crate) fn of_venue(id: &str) -> Option<(Exchange, Market)> {
    let exchange = if id == "binance-spot-sbe" { Exchange::BinanceSbe } else { Exchange::Binance };
    Market::of(id).map(|market| (exchange, market))
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
    pub fn beat(self, market: Market, heartbeat: &Heartbeat) -> Beat {
        let ms = |configured: Option<u64>, usual: u64| Duration::from_millis(configured.unwrap_or(usual).max(1));
        match self {
            Exchange::Binance | Exchange::BinanceSbe => Beat {
                look_every: ms(heartbeat.ping_interval_ms, market.ping_interval_ms()),
                pings: true,
                patience: ms(heartbeat.pong_timeout_ms, market.pong_timeout_ms()),
                any_message: false,
                close: (1008, "Pong timeout"),
            },
        }
    }

    /// Client messages per window, the window in ms, REST weight per window, that window in ms, streams per connection.
    pub fn limits(self, market: Market) -> (u32, u64, u32, u64, usize) {
        match self {
            Exchange::Binance | Exchange::BinanceSbe => {
                (market.messages_per_s(), 1_000, market.rest_weight_per_min(), 60_000, usize::MAX)
            }
        }
    }
}

/// How a source stream goes to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Index into [`Session::names`].
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
}

/// The protocol state of one WebSocket connection.
#[derive(Debug)]
pub(crate) enum Session {
    Binance(binance::Session),
    Sbe(binance::Session),
}

impl Session {
    /// The session that an upgrade opens and the source streams it subscribes at once, or the refusal.
    pub fn open(venue: &Venue, head: &Head, path: &str) -> Result<(Session, Vec<u32>), Answer> {
        match venue.exchange {
            Exchange::Binance => binance::Session::open(venue.market, path, &head.query(), &venue.universe)
                .map(|(session, added)| (Session::Binance(session), added))
                .ok_or_else(|| Answer::json(404, "")),
            Exchange::BinanceSbe => match crate::rest::refuse_sbe(venue, head, path) {
                Some(refusal) => Err(refusal),
                None => binance::Session::open(venue.market, path, &head.query(), &venue.universe)
                    .map(|(session, added)| (Session::Sbe(session), added))
                    .ok_or_else(|| Answer::json(404, "")),
            },
        }
    }

    /// What the server says first, and whether it closes then.
    pub fn greeting(&mut self) -> Option<Reaction> {
        match self {
            Session::Binance(_) | Session::Sbe(_) => None,
        }
    }

    /// Names subscribed now, delivered or not.
    pub fn streams_asked(&self) -> usize {
        match self {
            Session::Binance(session) | Session::Sbe(session) => session.streams_asked(),
        }
    }

    /// Names that were ever delivered under, by index.
    pub fn names(&self) -> &[String] {
        match self {
            Session::Binance(session) | Session::Sbe(session) => &session.names,
        }
    }

    /// True when at least one stream is delivered.
    pub fn delivers(&self) -> bool {
        match self {
            Session::Binance(session) | Session::Sbe(session) => session.delivers(),
        }
    }

    /// Where frames of a source stream go.
    pub fn routes(&self, stream: u32) -> &[Route] {
        match self {
            Session::Binance(session) | Session::Sbe(session) => session.routes(stream),
        }
    }

    /// Source streams delivered now, once per subscribed name.
    pub fn delivered(&self) -> Vec<u32> {
        match self {
            Session::Binance(session) | Session::Sbe(session) => session.delivered(),
        }
    }

    /// Handles one text message of the client. `streams_max` is `usize::MAX` when limits are not enforced.
    pub fn on_text(&mut self, text: &[u8], venue: &Venue, streams_max: usize) -> Reaction {
        match self {
            Session::Binance(session) | Session::Sbe(session) => session.on_text(text, &venue.universe, streams_max),
        }
    }

    /// What a client that sent too many messages gets before it is closed, and how.
    pub fn too_many_messages(&self) -> Reaction {
        match self {
            Session::Binance(_) | Session::Sbe(_) => {
                Reaction { close: Some((1008, "Too many requests")), ..Reaction::default() }
            }
        }
    }

    /// The announcement of an end, where the exchange makes one.
    pub fn shutdown_notice(&self, now_ms: i64) -> Option<String> {
        match self {
            Session::Binance(session) | Session::Sbe(session) => Some(session.server_shutdown(now_ms)),
        }
    }

    /// How a frame looks here.
    pub fn dress(&self, route: Route, _batch: &Batch, _frame: &BatchFrame) -> Dress {
        match self {
            // Never wrapped, whatever the path.
            Session::Sbe(_) => Dress::Whole,
            Session::Binance(session) if !session.combined => Dress::Data,
            Session::Binance(_) if route.exact => Dress::Whole,
            Session::Binance(_) => Dress::Renamed,
        }
    }

    /// The opcode of data frames.
    pub fn opcode(&self) -> Opcode {
        match self {
            Session::Binance(_) => Opcode::Text,
            Session::Sbe(_) => Opcode::Binary,
        }
    }
}

/// Answers a request below the venue's base.
pub(crate) fn answer(venue: &Venue, head: &Head, path: &str, from: IpAddr, now_ms: i64) -> Answer {
    match venue.exchange {
        Exchange::Binance | Exchange::BinanceSbe => crate::rest::answer(venue, head, path, from, now_ms),
    }
}

/// The refusal of an address that did too much, `None` when it may pass.
pub(crate) fn turned_away(venue: &Venue, verdict: Verdict, now_ms: i64) -> Option<Answer> {
    match venue.exchange {
        Exchange::Binance | Exchange::BinanceSbe => crate::rest::turned_away(venue, verdict, now_ms),
    }
}

/// A status that a fault asks for, in the venue's words.
pub(crate) fn refusal(venue: &Venue, status: u16, retry_after_s: u32, now_ms: i64) -> Answer {
    match venue.exchange {
        Exchange::Binance | Exchange::BinanceSbe => crate::rest::refusal(venue, status, retry_after_s, now_ms),
    }
}
