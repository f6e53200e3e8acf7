//! One line of statistics every `stats_interval_s`: what the candles did since the line before. Shown at every log level
//! (`[log] stats`), because it is how one sees that all is well.

use std::sync::Arc;
use std::time::Duration;

use super::hub::{KlineHub, KlineStats};
use ops::hist::Counted;
use ops::shutdown::Shutdown;
use ops::telemetry::STATS;

/// Between two looks at the request to stop.
const LOOK: Duration = Duration::from_millis(200);

/// What one line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub trades: u64,
    pub closed: u64,
    pub revised: u64,
    pub queue: u64,
    pub queue_max: u64,
    /// p50, p99, p99.9 and the longest, us: from received to visible.
    pub latency_us: [u64; 4],
}

/// The counters at the line before.
pub(super) struct Reporter {
    stats: KlineStats,
    latency: Counted,
}

impl Reporter {
    /// The first line reports what comes from now on.
    pub fn new(hub: &KlineHub) -> Self {
        hub.latency().take_max_ns();
        Self { stats: hub.stats(), latency: hub.latency().counted() }
    }

    /// What came since the line before.
    pub fn line(&mut self, hub: &KlineHub) -> Line {
        let (stats, latency) = (hub.stats(), hub.latency().counted());
        let since = latency.since(&self.latency);
        let us = |per_mille| since.quantile_ns(per_mille).unwrap_or(0).div_ceil(1_000);
        let max = hub.latency().take_max_ns().div_ceil(1_000);
        let line = Line {
            trades: stats.ticks.saturating_sub(self.stats.ticks),
            closed: stats.closed.saturating_sub(self.stats.closed),
            revised: stats.revised.saturating_sub(self.stats.revised),
            queue: stats.queued,
            queue_max: hub.take_queued_max(),
            // A quantile is the top of its bucket, which may lie above the longest.
            latency_us: [us(500).min(max), us(990).min(max), us(999).min(max), max],
        };
        (self.stats, self.latency) = (stats, latency);
        line
    }
}

/// Writes lines until `ended`.
pub(super) fn run(hub: &Arc<KlineHub>, every: Duration, ended: &Shutdown) {
    let mut reporter = Reporter::new(hub);
    loop {
        let mut left = every;
        while !left.is_zero() {
            if ended.requested() {
                return;
            }
            let pause = left.min(LOOK);
            std::thread::sleep(pause);
            left -= pause;
        }
        let Line { trades, closed, revised, queue, queue_max, latency_us: [p50, p99, p999, max] } = reporter.line(hub);
        tracing::info!(
            target: STATS, seconds = every.as_secs(), trades, bars_closed = closed, bars_revised = revised,
            queue, queue_max, latency_p50_us = p50, latency_p99_us = p99, latency_p999_us = p999, latency_max_us = max,
            "candles"
        );
    }
}
