//! Connections that may bring rows of long ago: one that is open and silent while another one brings what both carry.
//!
//! ```text
//!  A   1 2 3 4 5 6 7 8 9 ...              B owes since 4: keys from there on stay however old they are, until it is
//!  B   1 2 3 (stalled)       4 5 6 ...    heard again, 20 s longer, and on while what it brings is late
//! ```
//!
//! Any row of a connection clears what it owes. A connection that closes owes nothing. Bytes bound the keys as ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::arrival::KEEP_NS;

/// Streams of one connection are apart by less, ns. A debt that is younger is not saved: every line is a little late.
const SLACK_NS: u64 = 1_000_000_000;

/// How far behind one connection is, ns of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Debt {
    /// When another connection brought the first row that this one has not brought since it was heard last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owes_ns: Option<u64>,
    /// It brings rows of this time on, and may until the second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    late_ns: Option<(u64, u64)>,
}

/// The connections that are behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind(Vec<(u32, Debt)>);

/// Saved [`Behind`], by connection number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SavedBehind(BTreeMap<u32, Debt>);

impl SavedBehind {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Behind {
    pub(super) fn load(saved: &SavedBehind) -> Self {
        Self(saved.0.iter().map(|(conn, debt)| (*conn, *debt)).collect())
    }

    pub(super) fn save(&self, now_ns: u64) -> SavedBehind {
        let is_old = |debt: &Debt| {
            debt.late_ns.is_some() || debt.owes_ns.is_some_and(|at_ns| at_ns.saturating_add(SLACK_NS) <= now_ns)
        };
        SavedBehind(self.0.iter().filter(|(_, debt)| is_old(debt)).copied().collect())
    }

    /// `conn` brought something.
    #[inline]
    pub(super) fn heard(&mut self, conn: u32, now_ns: u64) {
        let Some(at) = self.0.iter().position(|(c, _)| *c == conn) else { return };
        let Some((_, debt)) = self.0.get_mut(at) else { return };
        if let Some(owes_ns) = debt.owes_ns.take().filter(|at_ns| at_ns.saturating_add(KEEP_NS) <= now_ns) {
            debt.late_ns = Some((owes_ns, now_ns.saturating_add(KEEP_NS)));
        }
        if debt.late_ns.is_none_or(|(_, until_ns)| until_ns <= now_ns) {
            self.0.swap_remove(at);
        }
    }

    /// `conn` brought a row that another one had brought at `at_ns`.
    #[inline]
    pub(super) fn repeated(&mut self, conn: u32, at_ns: u64, now_ns: u64) {
        if at_ns.saturating_add(KEEP_NS / 2) <= now_ns {
            self.debt(conn).late_ns = Some((at_ns, now_ns.saturating_add(KEEP_NS)));
        }
    }

    /// Another connection brought a row that `conn` carries too.
    #[inline]
    pub(super) fn owes(&mut self, conn: u32, now_ns: u64) {
        self.debt(conn).owes_ns.get_or_insert(now_ns);
    }

    pub(super) fn closed(&mut self, conn: u32) {
        self.0.retain(|(c, _)| *c != conn);
    }

    pub(super) fn restart(&mut self) {
        self.0.clear();
    }

    /// Keys from this time on may still be needed, however old they are.
    pub(super) fn reach_ns(&self, now_ns: u64) -> u64 {
        let reach = |debt: &Debt| {
            // Those of the slack before it are there still.
            let owes_ns = debt.owes_ns.filter(|at_ns| at_ns.saturating_add(KEEP_NS - SLACK_NS) <= now_ns);
            let late_ns = debt.late_ns.filter(|(_, until_ns)| now_ns < *until_ns).map(|(from_ns, _)| from_ns);
            owes_ns.into_iter().chain(late_ns).min()
        };
        self.0.iter().filter_map(|(_, debt)| reach(debt)).min().map_or(u64::MAX, |ns| ns.saturating_sub(SLACK_NS))
    }

    fn debt(&mut self, conn: u32) -> &mut Debt {
        let at = self.0.iter().position(|(c, _)| *c == conn).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push((conn, Debt::default()));
        }
        &mut self.0[at].1
    }
}
