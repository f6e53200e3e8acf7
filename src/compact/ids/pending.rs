//! Holes that may still be filled: by the second line, by the connection that replaces another, by a late frame.
//!
//! A hole is told [`SETTLE_NS`] of the log's own time after it was met, and only as far as it is open then: in the
//! next part, if the hour ends before. Where the log ends all holes are told. Both are functions of the log and of
//! what manifests say about their end, so a replay tells the same holes at the same records. What comes later
//! still is counted as `filled`.

use serde::{Deserialize, Serialize};

use crate::venue::gap::GapTracker;
use crate::venue::{Channel, Interner, SymbolId, UnknownWord};

/// A hole that is open for this long is told, ns of the time of the log.
pub const SETTLE_NS: u64 = 3_000_000_000;
/// Most holes that wait; beyond it the oldest are told early.
const PENDING_MAX: usize = 4_096;

/// Missing ids of one symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Channel.
    pub channel: Channel,
    /// Symbol.
    pub symbol: SymbolId,
    /// First missing id (of the trades inside when `cause` is `trades_skipped`).
    pub from: i64,
    /// Last missing id.
    pub to: i64,
    /// `connection` when a disconnect, a gap of our own making, a restart or lost records lie between the ids;
    /// `trades_skipped` when aggregates continue and the trades inside them do not; else `venue`.
    pub cause: &'static str,
    /// Time of the last row before the hole, us.
    pub after_us: Option<i64>,
    /// Time of the first row behind it, us.
    pub before_us: Option<i64>,
}

/// Causes, so that a saved one can be read back.
const CAUSES: [&str; 3] = ["connection", "trades_skipped", "venue"];

/// The holes that wait, in the order in which they were met.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    holes: std::collections::VecDeque<(u64, Hole)>,
}

/// A saved hole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedPending {
    met_ns: u64,
    channel: String,
    symbol: String,
    from: i64,
    to: i64,
    cause: String,
    after_us: Option<i64>,
    before_us: Option<i64>,
}

impl Pending {
    pub(super) fn load(saved: &[SavedPending], symbols: &mut Interner) -> Result<Self, UnknownWord> {
        let mut pending = Self::default();
        for s in saved {
            let hole = Hole {
                channel: s.channel.parse()?,
                symbol: symbols.intern(&s.symbol),
                from: s.from,
                to: s.to,
                cause: CAUSES.iter().copied().find(|c| *c == s.cause).unwrap_or("venue"),
                after_us: s.after_us,
                before_us: s.before_us,
            };
            pending.holes.push_back((s.met_ns, hole));
        }
        Ok(pending)
    }

    pub(super) fn save(&self, symbols: &Interner) -> Vec<SavedPending> {
        let save = |(met_ns, h): &(u64, Hole)| SavedPending {
            met_ns: *met_ns,
            channel: h.channel.as_str().to_owned(),
            symbol: symbols.name(h.symbol).to_owned(),
            from: h.from,
            to: h.to,
            cause: h.cause.to_owned(),
            after_us: h.after_us,
            before_us: h.before_us,
        };
        self.holes.iter().map(save).collect()
    }

    pub(super) fn push(&mut self, hole: Hole, now_ns: u64) {
        self.holes.push_back((now_ns, hole));
    }

    #[inline]
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        match self.holes.front() {
            None => false,
            Some((met_ns, _)) => met_ns.saturating_add(SETTLE_NS) <= now_ns || self.holes.len() > PENDING_MAX,
        }
    }

    pub(super) fn settle(&mut self, now_ns: u64, all: bool, tracker: &GapTracker, symbols: &Interner) -> Vec<Hole> {
        let mut open = Vec::new();
        while (all || self.is_due(now_ns))
            && let Some((_, hole)) = self.holes.pop_front()
        {
            if hole.cause == "trades_skipped" {
                open.push(hole);
                continue;
            }
            let parts = tracker.open(symbols.name(hole.symbol), hole.channel, hole.from, hole.to);
            open.extend(parts.into_iter().map(|(from, to)| Hole { from, to, ..hole.clone() }));
        }
        open
    }
}
