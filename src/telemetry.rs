//! Log lines: set up once, to stderr, as text or JSON; and repeated warnings told once with a count.
//!
//! Lines of statistics have a target of their own, [`STATS`], shown at any level: `warn` is for what is wrong, and
//! somebody who reads a log wants to see every minute that it lives and how; so are answers to whoever sends SIGHUP.
//! `[log] stats = false` turns them off.
//!
//! Never writes to stdout: that belongs to data. Metrics are not here but with the parts that count.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Target of lines that say every so often, or when asked, how it goes; at level `info`.
pub const STATS: &str = "tapedeck::stats";

/// Sends log lines as configured (section `[log]`) to stderr. Called once per process; a second call does nothing.
///
/// A level that is no filter is said on stderr and becomes `warn`: log lines are no reason not to record.
pub fn init(log: &Log) {
    let filter = filter(log);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that somebody (a test) has set up log lines already; theirs stay.
    let _ = if log.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}

fn filter(log: &Log) -> EnvFilter {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|err| {
        eprintln!("log.level: {:?} is not a level or filter ({err}); using \"warn\"", log.level);
        EnvFilter::new("warn")
    });
    let stats = format!("{STATS}={}", if log.stats { "info" } else { "off" });
    match stats.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// Lets one warning through per interval and counts the others.
///
/// ```
/// # use std::time::Duration;
/// # use tapedeck::telemetry::RateLimited;
/// static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(30));
/// if let Some(suppressed) = REFUSED.allow() {
///     tracing::warn!(suppressed, "the venue refused a request");
/// }
/// ```
#[derive(Debug)]
pub struct RateLimited {
    every: Duration,
    // A std mutex: held for a comparison, never across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimited {
    /// At most one warning per `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// `Some(suppressed)` when the warning may be written now, with how many were kept back since the last one.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    /// [`RateLimited::allow`] for a given time.
    pub fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_shown_at_any_level_unless_they_are_turned_off() {
        let shown = |level: &str, stats| filter(&Log { level: level.to_owned(), json: false, stats }).to_string();
        assert_eq!(shown("error", true), "tapedeck::stats=info,error");
        assert_eq!(shown("trace", false), "tapedeck::stats=off,trace");
        assert_eq!(shown("no=level=this", true), "tapedeck::stats=info,warn");
    }

    #[test]
    fn repeated_warnings_are_told_once_per_interval_with_the_number_kept_back() {
        let limited = RateLimited::new(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(limited.allow_at(start), Some(0));
        for s in 1..10 {
            assert_eq!(limited.allow_at(start + Duration::from_secs(s)), None);
        }
        assert_eq!(limited.allow_at(start + Duration::from_secs(10)), Some(9));
        assert_eq!(limited.allow_at(start + Duration::from_secs(20)), Some(0));
    }
}
