//! The configuration read again while recording: the lists of symbols and channels are taken over, everything else is
//! named and waits for the next start. A file that cannot be used changes nothing.
//!
//! Decides and reports; the listing of each venue does the rest, see [`super::listing`].

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::feed::{Choice, VenueFeed};
use super::metrics::{Metrics, Reloaded};
use ::settings::{ConfigErrors, Problem};
use capture::{Capture, Warning};
use ops::shutdown::Shutdown;
use ops::supervise::{self, Supervisor, Task};
use ops::telemetry::STATS;

/// Keys of a venue that may change while it is recorded.
const LIVE: [&str; 2] = ["symbols", "channels"];

/// A configuration that was read again.
pub struct Newer {
    /// What is to be recorded.
    pub capture: Capture,
    /// The keys whose values are others than at the start.
    pub changed: Vec<String>,
}

/// How a configuration is read again, and when.
pub struct Reload {
    asked: mpsc::Receiver<()>,
    read: Arc<dyn Fn() -> Result<Newer, ConfigErrors> + Send + Sync>,
}

impl Reload {
    /// `read` gives the configuration as it is now, checked, whenever `asked` says so.
    pub fn new(
        asked: mpsc::Receiver<()>,
        read: impl Fn() -> Result<Newer, ConfigErrors> + Send + Sync + 'static,
    ) -> Self {
        Self { asked, read: Arc::new(read) }
    }

    /// Takes over what comes until `shutdown`.
    pub(super) fn follow(self, feeds: &[Arc<VenueFeed>], metrics: &Arc<Metrics>, shutdown: &Shutdown) {
        let (feeds, of) = (feeds.to_vec(), Arc::clone(metrics));
        self.hand_on(metrics.supervisor(), shutdown, move |next| {
            let (result, later) = match next {
                Ok(newer) => take_over(newer, &feeds),
                Err(ConfigErrors(problems)) => {
                    refuse(problems, "everything is recorded as before");
                    (Reloaded::Refused, Vec::new())
                }
            };
            of.reloaded(result);
            for feed in &feeds {
                feed.log.note(0, "config_reload", json!({ "result": result.as_str(), "at_start": later }));
            }
        });
    }

    /// For a service that takes nothing over: says what a restart would change, until `shutdown`. Keys for which
    /// `means_nothing` are not named.
    pub fn report_only(
        self,
        supervisor: &Supervisor,
        shutdown: &Shutdown,
        means_nothing: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) {
        self.hand_on(supervisor, shutdown, move |next| match next {
            Ok(newer) => {
                let mut later = newer.changed.clone();
                later.retain(|key| !means_nothing(key));
                report_later(&later);
                if later.is_empty() {
                    info!(target: STATS, "the configuration was read again; nothing in it would change this service");
                }
            }
            Err(ConfigErrors(problems)) => refuse(problems, "this service goes on as it was started"),
        });
    }

    /// Hands what comes to `take`, until `shutdown`: a configuration that can be used, or the reasons why it cannot.
    fn hand_on(
        self,
        supervisor: &Supervisor,
        shutdown: &Shutdown,
        take: impl Fn(&Result<Newer, ConfigErrors>) + Send + Sync + 'static,
    ) {
        let (read, take) = (self.read, Arc::new(take));
        supervisor.each(Task::Reload, self.asked, shutdown, move |()| {
            let (read, take) = (Arc::clone(&read), Arc::clone(&take));
            async move { take(&supervise::blocking(move || read()).await) }
        });
    }
}

/// Gives every venue its new choice; says what waits for the next start.
fn take_over(newer: &Newer, feeds: &[Arc<VenueFeed>]) -> (Reloaded, Vec<String>) {
    let mut later = newer.changed.clone();
    later.retain(|key| !is_live(key));
    report_later(&later);
    for Warning { key, what, fix } in newer.capture.warnings() {
        warn!(key, fix, "{what}");
    }
    let mut result = Reloaded::Unchanged;
    for feed in feeds {
        // A venue without a table is recorded until the next start.
        let Some(config) = newer.capture.venues.get(&feed.id) else { continue };
        let choice = Choice::of(config);
        let is_other = feed.chosen.send_if_modified(|chosen| {
            let is_other = **chosen != choice;
            if is_other {
                *chosen = Arc::new(choice);
            }
            is_other
        });
        if is_other {
            info!(target: STATS, venue = %feed.id, "the list of symbols or channels changed; asking the venue what is listed");
            result = Reloaded::Applied;
        }
    }
    if result == Reloaded::Unchanged {
        info!(target: STATS, "the configuration was read again; no list of symbols or channels changed");
    }
    (result, later)
}

fn is_live(key: &str) -> bool {
    let key = key.strip_prefix("venues.").and_then(|rest| rest.split_once('.'));
    key.is_some_and(|(_, key)| LIVE.contains(&key))
}

fn report_later(keys: &[String]) {
    if !keys.is_empty() {
        warn!(keys = keys.join(" "), "these keys of the configuration changed; that takes effect at the next start");
    }
}

fn refuse(problems: &[Problem], so: &str) {
    for Problem { key, origin, what, fix } in problems {
        // One line, whatever the parser draws.
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        error!(key, origin, fix, "the configuration cannot be used, {so}: {what}");
    }
}
