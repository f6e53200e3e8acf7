//! Gaps that may still be filled: by the second line, by the connection that replaces another, by a late frame.
//!
//! A gap is reported [`SETTLE_NS`] of the log's own time after it was met, and only as far as it is open then: in the
//! next part, if the hour ends before. Where the log ends all gaps are reported. Both are functions of the log and of
//! what manifests say about their end, so a replay reports the same gaps at the same records. What comes later
//! still is counted as `filled`.
//!
//! A gap in front of an id that is not believed yet waits on, past the end of a part and of the log, until the rows
//! after it show whether it is one. So each missing id is reported once, and none for an odd id.

use serde::{Deserialize, Serialize};

use model::{Channel, Interner, SymbolId, UnknownName};
use venue::gap::GapTracker;

/// A gap that is open for this long is reported, ns of the time of the log.
pub(crate) const SETTLE_NS: u64 = 3_000_000_000;
/// Most gaps that wait; beyond it the oldest are reported early.
const PENDING_MAX: usize = 4_096;

/// Missing ids of one symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdGap {
    /// Channel.
    pub channel: Channel,
    /// Symbol.
    pub symbol: SymbolId,
    /// First missing id (of the trades inside when `cause` is `trades_skipped`).
    pub from: i64,
    /// Last missing id.
    pub to: i64,
    /// `undecodable` when a frame of the stream lies between the ids that is kept in `frames` because it could not be
    /// read; `connection` when a disconnect, a gap of our own making, a restart or lost records lie between the ids;
    /// `trades_skipped` when aggregates continue and the trades inside them do not; `ids_restarted` for the beginning
    /// of a new count that was not seen; else `venue`.
    pub cause: &'static str,
    /// Time of the last row before the gap, us.
    pub after_us: Option<i64>,
    /// Time of the first row after it, us.
    pub before_us: Option<i64>,
}

/// Causes, so that a saved one can be read back.
const CAUSES: [&str; 5] = ["undecodable", "connection", "trades_skipped", "ids_restarted", "venue"];

/// The gaps that wait, in the order in which they were met.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    gaps: std::collections::VecDeque<Waiting>,
}

/// A saved gap.
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unsure: bool,
}

/// A gap that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    /// When it was met, or looked at last, ns.
    met_ns: u64,
    gap: IdGap,
    /// The id after it is not believed yet.
    unsure: bool,
}

impl Pending {
    pub(super) fn load(saved: &[SavedPending], symbols: &mut Interner) -> Result<Self, UnknownName> {
        let mut pending = Self::default();
        for s in saved {
            let gap = IdGap {
                channel: s.channel.parse()?,
                symbol: symbols.intern(&s.symbol),
                from: s.from,
                to: s.to,
                cause: CAUSES.iter().copied().find(|c| *c == s.cause).unwrap_or("venue"),
                after_us: s.after_us,
                before_us: s.before_us,
            };
            pending.gaps.push_back(Waiting { met_ns: s.met_ns, gap, unsure: s.unsure });
        }
        Ok(pending)
    }

    pub(super) fn save(&self, symbols: &Interner) -> Vec<SavedPending> {
        let save = |Waiting { met_ns, gap: g, unsure }: &Waiting| SavedPending {
            met_ns: *met_ns,
            unsure: *unsure,
            channel: g.channel.as_str().to_owned(),
            symbol: symbols.name(g.symbol).to_owned(),
            from: g.from,
            to: g.to,
            cause: g.cause.to_owned(),
            after_us: g.after_us,
            before_us: g.before_us,
        };
        self.gaps.iter().map(save).collect()
    }

    pub(super) fn push(&mut self, gap: IdGap, now_ns: u64, unsure: bool) {
        if !unsure && gap.cause != "trades_skipped" {
            // What the believed ids went past is not to be reported by a gap in front of an id that is not believed.
            let same = |w: &&mut Waiting| w.unsure && w.gap.channel == gap.channel && w.gap.symbol == gap.symbol;
            for waiting in self.gaps.iter_mut().filter(same).filter(|w| w.gap.from <= gap.to && gap.from <= w.gap.to) {
                waiting.gap.from = gap.to.saturating_add(1);
            }
        }
        self.gaps.push_back(Waiting { met_ns: now_ns, gap, unsure });
    }

    #[inline]
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        match self.gaps.front() {
            None => false,
            Some(w) => w.met_ns.saturating_add(SETTLE_NS) <= now_ns || self.gaps.len() > PENDING_MAX,
        }
    }

    pub(super) fn settle(&mut self, now_ns: u64, all: bool, tracker: &GapTracker, symbols: &Interner) -> Vec<IdGap> {
        let mut open = Vec::new();
        let mut wait = Vec::new();
        while (all || self.is_due(now_ns))
            && let Some(waiting) = self.gaps.pop_front()
        {
            let gap = &waiting.gap;
            if gap.cause == "trades_skipped" {
                open.push(waiting.gap);
                continue;
            }
            match tracker.open(symbols.name(gap.symbol), gap.channel, gap.from, gap.to) {
                Some(parts) => open.extend(parts.into_iter().map(|(from, to)| IdGap { from, to, ..gap.clone() })),
                // Of too many that nobody knows, the oldest are left: the ids after them never went on.
                None if self.gaps.len() + wait.len() < PENDING_MAX => {
                    wait.push(Waiting { met_ns: now_ns, ..waiting });
                }
                None => {}
            }
        }
        self.gaps.extend(wait);
        open
    }
}
