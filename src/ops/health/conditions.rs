//! What is wrong now, by name, of both services: one list for `/health`, `/v1/status`, `/metrics` and `tapedeck status`.
//!
//! Code that finds something that lasts raises a condition, and clears it when it is over:
//!
//! ```
//! # use tapedeck_ops::health::{Conditions, Reason};
//! # let conditions = Conditions::default();
//! conditions.raise(Reason::RepairFailing, "binance-spot", "segment 7 cannot be repaired: permission denied");
//! assert_eq!(conditions.problems(), ["binance-spot: segment 7 cannot be repaired: permission denied"]);
//! conditions.clear(Reason::RepairFailing, "binance-spot");
//! assert!(conditions.problems().is_empty());
//! ```
//! - Who looks again and again says what it sees: [`Conditions::set`] with a text, or with `None`.
//! - What is mended but not trusted yet stays red for a while: [`Conditions::clear_after`].
//! - A new kind of trouble is a new [`Reason`]: the enum is the list. Red reasons make `/health` 503, the others only
//!   are in the status.
//!
//! At hand as [`CompactorStatus::conditions`](crate::compactor::CompactorStatus::conditions) in the compactor, and in the
//! collector of [`Metrics`](collect::metrics::Metrics::conditions) and of each venue's metrics. One list per
//! service and not per process, so that tests that run two services see two. Raising is a short mutex; the text is
//! replaced, the time of the first raise stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::exposition::Exposition;
use model::Ban;

/// Why an operator should look. The names are used in metrics and alerts: never rename, never reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A task or thread panicked or ended; it is being restarted, or runs again and is not trusted yet.
    TaskDown,
    /// The log cannot be forced to disk: a power cut costs more than configured.
    SyncFailing,
    /// A tail that a dead writer left cannot be repaired.
    RepairFailing,
    /// A file system does not answer: what is said of disks and readers is old.
    LooksHang,
    /// What the lake's ack claims is not proved by any manifest: that log stands until a person decides.
    EvidenceMissing,
    /// An exchange asked to be left alone; what must not wait for it (a connection, a listing) is red by itself.
    Banned,
    /// A venue lists nothing that trades and is recorded: a maintenance.
    NothingTrades,
    /// A reader of a log failed and reads on from what it stored last, until it has stored what it failed at.
    StartingOver,
    /// Order books that a venue does not give: what is built of its depth updates has no beginning.
    BooksMissing,
    /// Receive times of a log, or the part that is open, lie ahead of the wall clock: that was wrong, or is.
    ClockAhead,
    /// An object store does not answer, refuses, or cannot do what is needed of it: what is published or shipped waits.
    StoreAway,
    /// What is in the object store is not this log's, or cannot be read: nothing is shipped until a person looks.
    ShippingStopped,
}

impl Reason {
    const ALL: [Reason; 12] = [
        Reason::TaskDown,
        Reason::SyncFailing,
        Reason::RepairFailing,
        Reason::LooksHang,
        Reason::EvidenceMissing,
        Reason::Banned,
        Reason::NothingTrades,
        Reason::StartingOver,
        Reason::BooksMissing,
        Reason::ClockAhead,
        Reason::StoreAway,
        Reason::ShippingStopped,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TaskDown => "task_down",
            Reason::SyncFailing => "sync_failing",
            Reason::RepairFailing => "repair_failing",
            Reason::LooksHang => "looks_hang",
            Reason::EvidenceMissing => "evidence_missing",
            Reason::Banned => "banned",
            Reason::NothingTrades => "nothing_trades",
            Reason::StartingOver => "starting_over",
            Reason::BooksMissing => "books_missing",
            Reason::ClockAhead => "clock_ahead",
            Reason::StoreAway => "store_away",
            Reason::ShippingStopped => "shipping_stopped",
        }
    }

    /// Whether `/health` is 503 while it holds.
    pub(crate) fn is_red(self) -> bool {
        match self {
            Reason::TaskDown
            | Reason::SyncFailing
            | Reason::RepairFailing
            | Reason::LooksHang
            | Reason::EvidenceMissing
            | Reason::NothingTrades
            | Reason::StartingOver
            | Reason::ClockAhead
            | Reason::StoreAway
            | Reason::ShippingStopped => true,
            Reason::Banned | Reason::BooksMissing => false,
        }
    }
}

/// One of them, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Why.
    pub reason: Reason,
    /// Of what: a venue, a log, a task; may be empty.
    pub of: String,
    /// `/health` is 503 because of it.
    pub red: bool,
    /// Since when, ns since 1970-01-01 UTC.
    pub since_ns: u64,
    /// One sentence.
    pub text: String,
}

#[derive(Debug)]
struct State {
    text: String,
    since_ns: u64,
    /// Over from then on, monotonic ns.
    until_mono_ns: Option<u64>,
}

/// All that is wrong in one service now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Conditions(Arc<Mutex<BTreeMap<(Reason, String), State>>>);

impl Conditions {
    /// It is so from now on, until it is cleared.
    pub fn raise(&self, reason: Reason, of: &str, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.lock();
        let state = all.entry((reason, of.to_owned())).or_insert_with(|| State {
            text: String::new(),
            since_ns: clock::wall_ns(),
            until_mono_ns: None,
        });
        (state.text, state.until_mono_ns) = (text, None);
    }

    /// It is over, at once.
    pub fn clear(&self, reason: Reason, of: &str) {
        self.lock().remove(&(reason, of.to_owned()));
    }

    /// It is over when it is not raised again for this long.
    pub(crate) fn clear_after(&self, reason: Reason, of: &str, quiet: Duration) {
        let until = clock::now().mono_ns.saturating_add(u64::try_from(quiet.as_nanos()).unwrap_or(u64::MAX));
        if let Some(state) = self.lock().get_mut(&(reason, of.to_owned())) {
            state.until_mono_ns = Some(until);
        }
    }

    /// What a look found: a text raises, `None` clears.
    pub fn set(&self, reason: Reason, of: &str, found: Option<String>) {
        match found {
            Some(text) => self.raise(reason, of, text),
            None => self.clear(reason, of),
        }
    }

    /// The exchange of `of` wants to hear nothing for so long, and why: that stands here as long as it lasts.
    pub fn banned(&self, of: &str, ban: Option<Ban>) {
        let Some(Ban { wait, why }) = ban else { return };
        let seconds = wait.as_secs_f64().ceil();
        let until = clock::wall_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let until = jiff::Timestamp::from_second(until / 1_000).map(|t| t.to_string()).unwrap_or_default();
        let text = format!("the exchange wants to hear nothing for {seconds} s, until {until}: {why}");
        self.raise(Reason::Banned, of, text);
        self.clear_after(Reason::Banned, of, wait);
    }

    /// The sentence of one of them, while it holds.
    pub fn text(&self, reason: Reason, of: &str) -> Option<String> {
        self.list().into_iter().find(|c| c.reason == reason && c.of == of).map(|c| c.text)
    }

    /// All of them, by reason.
    pub fn list(&self) -> Vec<Condition> {
        let now = clock::now().mono_ns;
        let mut all = self.lock();
        all.retain(|_, state| state.until_mono_ns.is_none_or(|until| now < until));
        let one = |((reason, of), state): (&(Reason, String), &State)| Condition {
            reason: *reason,
            of: of.clone(),
            red: reason.is_red(),
            since_ns: state.since_ns,
            text: state.text.clone(),
        };
        all.iter().map(one).collect()
    }

    /// One sentence per red one.
    pub fn problems(&self) -> Vec<String> {
        let red = self.list().into_iter().filter(|c| c.red);
        red.map(|c| if c.of.is_empty() { c.text } else { format!("{}: {}", c.of, c.text) }).collect()
    }

    /// For Prometheus.
    pub fn expose(&self, out: &mut Exposition) {
        let list = self.list();
        out.series(
            "tapedeck_conditions",
            "Things that are wrong now, by reason; /health names them. Must stay 0.",
            Reason::ALL.map(|r| ([("reason", r.as_str())], list.iter().filter(|c| c.reason == r).count())),
        );
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Reason, String), State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition;

    #[test]
    fn what_is_raised_is_red_until_it_is_cleared_and_keeps_its_first_time() {
        let c = Conditions::default();
        assert!(c.problems().is_empty());
        c.raise(Reason::SyncFailing, "gate-spot", "fdatasync: I/O error");
        let since = c.list()[0].since_ns;
        c.raise(Reason::SyncFailing, "gate-spot", "fdatasync: no space");
        c.raise(Reason::TaskDown, "", "the archiver panicked");
        assert_eq!(c.problems(), ["the archiver panicked", "gate-spot: fdatasync: no space"]);
        assert_eq!(c.list()[1].since_ns, since);
        let text = || exposition::text(|out| c.expose(out));
        assert!(text().contains("tapedeck_conditions{reason=\"sync_failing\"} 1\n"), "{}", text());
        c.set(Reason::SyncFailing, "gate-spot", None);
        c.clear(Reason::TaskDown, "");
        assert!(c.problems().is_empty());
        assert!(text().contains("tapedeck_conditions{reason=\"sync_failing\"} 0\n"));
    }

    #[test]
    fn what_is_mended_but_not_trusted_yet_stays_red_for_a_while_and_a_relapse_starts_over() {
        let c = Conditions::default();
        c.raise(Reason::TaskDown, "x", "panicked");
        c.clear_after(Reason::TaskDown, "x", Duration::from_secs(3_600));
        assert_eq!(c.problems().len(), 1);
        c.clear_after(Reason::TaskDown, "x", Duration::ZERO);
        assert!(c.problems().is_empty());
        c.raise(Reason::TaskDown, "x", "panicked");
        c.clear_after(Reason::TaskDown, "x", Duration::ZERO);
        c.raise(Reason::TaskDown, "x", "panicked again");
        assert_eq!(c.problems(), ["x: panicked again"]);
        // Nothing is said of what was never raised.
        c.clear_after(Reason::TaskDown, "y", Duration::from_secs(9));
        assert_eq!(c.list().len(), 1);
    }
}
