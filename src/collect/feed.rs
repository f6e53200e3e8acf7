//! What every task of one venue needs: its settings, its log, its paces, its way to stop.
//!
//! Holds no state of its own besides the connection ordinals and what is chosen.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::watch;

use super::log::SharedLog;
use super::metrics::VenueMetrics;
use super::snapshots::Snapshots;
use super::strays::Strays;
use capture::VenueConfig;
use model::{Ban, Channel, VenueId};
use net::budget::Budget;
use net::dial::Dialer;
use net::rest::RestClient;
use ops::shutdown::Shutdown;
use venue::Venue;

/// One venue of one collector.
pub(super) struct VenueFeed {
    pub(super) id: VenueId,
    pub(super) venue: &'static Venue,
    pub(super) config: VenueConfig,
    pub(super) log: Arc<SharedLog>,
    pub(super) metrics: Arc<VenueMetrics>,
    /// What the addresses of both lines may do at the exchange.
    pub(super) budgets: [Arc<Budget>; 2],
    pub(super) rest: Arc<RestClient>,
    pub(super) snapshots: Snapshots,
    pub(super) strays: Strays,
    /// One per redundant line.
    pub(super) dialers: [Dialer; 2],
    pub(super) tls: Arc<ClientConfig>,
    /// Triggered by the process's shutdown and by a failing log.
    pub(super) stop: Shutdown,
    pub(super) conns: Arc<AtomicU32>,
    /// The user's key for venues that want one; never logged.
    pub(super) api_key: Option<String>,
    /// Where other processes leave their requests.
    pub(super) requests: PathBuf,
    /// What is to be recorded, as the configuration says now.
    pub(super) chosen: Arc<watch::Sender<Arc<Choice>>>,
}

/// What may change while recording: the symbols and channels of `[venues.<venue>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Exact names and globs.
    pub(super) symbols: Vec<String>,
    pub(super) channels: Vec<Channel>,
}

impl Choice {
    pub(super) fn of(config: &VenueConfig) -> Choice {
        Choice { symbols: config.symbols.clone(), channels: config.channels.clone() }
    }
}

impl VenueFeed {
    /// The same venue on the same log, to run once more under another `stop`.
    pub(super) fn again(&self, stop: Shutdown) -> VenueFeed {
        VenueFeed {
            id: self.id,
            venue: self.venue,
            config: self.config.clone(),
            log: Arc::clone(&self.log),
            metrics: Arc::clone(&self.metrics),
            budgets: self.budgets.clone(),
            rest: Arc::clone(&self.rest),
            snapshots: Snapshots::default(),
            strays: Strays::default(),
            dialers: self.dialers.clone(),
            tls: Arc::clone(&self.tls),
            stop,
            conns: Arc::clone(&self.conns),
            api_key: self.api_key.clone(),
            requests: self.requests.clone(),
            chosen: Arc::clone(&self.chosen),
        }
    }

    /// What is to be recorded now.
    pub(super) fn choice(&self) -> Arc<Choice> {
        Arc::clone(&self.chosen.borrow())
    }

    /// How line `line` (0 or 1) reaches the venue.
    pub(super) fn dialer(&self, line: u32) -> &Dialer {
        let [first, second] = &self.dialers;
        if line == 0 { first } else { second }
    }

    /// What the address that line `line` (0 or 1) leaves by may do.
    pub(super) fn budget(&self, line: u32) -> &Arc<Budget> {
        let [first, second] = &self.budgets;
        if line == 0 { first } else { second }
    }

    /// The exchange wants to hear nothing from the address of line `line` for a while.
    pub(super) async fn banned(&self, line: u32, ban: &Ban) {
        self.budget(line).ban(ban.clone()).await;
        self.report_ban(line);
    }

    /// A ban of the address of line `line`, whichever process received it, is in the status as long as it lasts.
    pub(super) fn report_ban(&self, line: u32) {
        self.metrics.conditions().banned(self.id.as_str(), self.budget(line).banned());
    }

    /// The ordinal of the next connection or REST request, from 1.
    pub(super) fn next_conn(&self) -> u32 {
        self.conns.fetch_add(1, Ordering::Relaxed)
    }

    /// Sleeps; true when the venue is to stop instead.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.wait() => true,
            () = tokio::time::sleep(time) => false,
        }
    }
}
