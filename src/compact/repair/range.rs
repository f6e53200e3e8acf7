//! Missing ids of one symbol: what a repair is to fetch.

use lake::manifest::Gap;
use model::Channel;
use venue::gap::count;

/// What identifies one.
pub(super) type Key = (Channel, String, i64, i64);

/// Missing ids of one symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRange {
    /// Trades or aggregates.
    pub channel: Channel,
    /// The venue's own spelling.
    pub symbol: String,
    /// First missing id.
    pub from: i64,
    /// Last missing id.
    pub to: i64,
    /// Time of the last row before it, us.
    pub after_us: Option<i64>,
    /// Time of the first row after it, us.
    pub before_us: Option<i64>,
}

impl MissingRange {
    /// What is missing of a gap, if it can be fetched and is open.
    pub fn of(gap: &Gap) -> Option<Self> {
        let channel = gap.channel.parse().ok().filter(|c| matches!(c, Channel::Trades | Channel::AggTrades))?;
        let open = gap.cause != "trades_skipped" && gap.filled < count(gap.from_id, gap.to_id);
        open.then(|| Self {
            channel,
            symbol: gap.symbol.clone(),
            from: gap.from_id,
            to: gap.to_id,
            after_us: gap.after_us,
            before_us: gap.before_us,
        })
    }

    pub(super) fn key(&self) -> Key {
        (self.channel, self.symbol.clone(), self.from, self.to)
    }
}
