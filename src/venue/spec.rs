//! The facts of a market: constants, which are in its file in the folder of its exchange and nowhere else.
//!
//! What takes a decision or an argument is a method of [`Venue`](crate::Venue); what can be written down is here, so that
//! configuration, budget, candles, API and simulator read it instead of knowing the market.

use super::{Continuity, Heartbeat, KlinePage, Limits};
use model::{Channel, Throttling, VenueId};

/// Everything about one market that can be written down.
#[derive(Clone, Debug)]
pub struct VenueSpec {
    /// Which one.
    pub id: VenueId,
    /// Venues of one exchange that share what an address may do share a pace; this names it.
    pub pace_group: &'static str,
    /// The exchange's own API that ours speaks for it, beside the one that is the same for all; `None` = no other.
    pub api: Option<ApiFamily>,
    /// The channels it has.
    pub channels: &'static [Channel],
    /// Scheme and host of REST, without a slash at the end.
    pub rest_base: &'static str,
    /// Scheme and host of the WebSocket, without a slash at the end.
    pub ws_base: &'static str,
    /// Headers of every upgrade and REST request.
    pub headers: &'static [(&'static str, &'static str)],
    /// Header of the upgrade with the user's API key, without which there is no connection; `None` = needs no key.
    pub api_key_header: Option<&'static str>,
    /// Nothing may be subscribed before [`Control::Welcome`](crate::Control::Welcome).
    pub waits_for_welcome: bool,
    /// Who keeps the connection alive.
    pub heartbeat: Heartbeat,
    /// Safe limits, below the documented ones.
    pub limits: Limits,
    /// What the venue documents.
    pub documented: Documented,
    /// How it reports its limits over HTTP.
    pub throttling: Throttling,
    /// Symbols that trade, roughly; for estimates only.
    pub symbols: usize,
    /// How the ids of channels continue; nothing can be concluded from those of other channels.
    pub ids: &'static [(Channel, Continuity)],
    /// Which trades were made at the market.
    pub at_market: AtMarket,
    /// Amounts count contracts, whose size its listing gives.
    pub counts_contracts: bool,
    /// Channels whose missing rows can be requested over REST.
    pub repair: &'static [Channel],
    /// Channels whose trades can begin an open bar together with the venue's candles: they can be requested by id, and the
    /// candles have all nine fields.
    pub seeding: &'static [Channel],
    /// What one answer of candles holds; `None` where there are none to request.
    pub klines: Option<KlinePage>,
}

impl VenueSpec {
    /// How the ids of a channel continue.
    pub fn continuity(&self, channel: Channel) -> Continuity {
        self.ids.iter().find(|(of, _)| *of == channel).map_or(Continuity::None, |(_, ids)| *ids)
    }

    /// Trades of this kind (a word of the venue's) were not made at the market, and are in no candle.
    pub fn is_off_book(&self, kind: &str) -> bool {
        match self.at_market {
            AtMarket::All => false,
            AtMarket::Only(kinds) => !kinds.contains(&kind),
            AtMarket::AllBut(kinds) => kinds.contains(&kind),
        }
    }

    /// True when the upgrade needs the user's API key.
    pub fn needs_api_key(&self) -> bool {
        self.api_key_header.is_some()
    }

    /// Headers of a request; `api_key`: of the upgrade.
    pub fn headers(&self, api_key: Option<&str>) -> Vec<(&'static str, String)> {
        let key = self.api_key_header.zip(api_key);
        self.headers.iter().copied().chain(key).map(|(name, value)| (name, value.to_owned())).collect()
    }
}

/// An API of an exchange that clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiFamily {
    /// Binance spot, `/api/v3`.
    Spot,
    /// Binance USD-M futures, `/fapi/v1`.
    Usdm,
}

impl ApiFamily {
    /// That of a venue name; `None` also for a name that is no venue's.
    pub fn of(venue: &str) -> Option<Self> {
        crate::venue(venue.parse().ok()?).spec.api
    }
}

/// Which trades were made at the market, by the venue's word for their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtMarket {
    /// Every one.
    All,
    /// Those of these kinds, and those without a kind.
    Only(&'static [&'static str]),
    /// All but those of these kinds.
    AllBut(&'static [&'static str]),
}

/// What a venue documents per IP address or connection. `None` = nothing is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Documented {
    /// Streams on one socket.
    pub streams_per_connection: Option<usize>,
    /// Streams in one subscribe message.
    pub params_per_subscribe: Option<usize>,
    /// Client messages on one socket.
    pub messages: Option<Per<u32>>,
    /// Connection attempts.
    pub connects: Option<Per<u32>>,
    /// Connections at the same time.
    pub connections: Option<usize>,
    /// Life of a connection, s.
    pub lifetime_s: Option<u64>,
    /// Text of a message over WebSocket with the frame's header and mask, bytes; a longer one stays unanswered.
    pub message_bytes: Option<usize>,
    /// REST weight.
    pub rest: Per<u32>,
    /// Which pages say so.
    pub source: &'static str,
}

/// So much in any window of so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Per<T> {
    /// How much.
    pub most: T,
    /// Length of the window, s.
    pub window_s: u32,
}

impl Per<u32> {
    /// The same over another window, s.
    pub fn over(self, window_s: u32) -> u32 {
        self.most.saturating_mul(window_s) / self.window_s.max(1)
    }
}
