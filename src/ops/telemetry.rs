//! Log lines: set up once, to stderr, as text or JSON; and repeated warnings logged once with a count.
//!
//! Lines of statistics have a target of their own, [`STATS`], shown at any level: `warn` is for what is wrong, and
//! readers of its log lines want to see every minute that it lives and how; so are responses to SIGHUP.
//! `[log] stats = false` turns them off.
//!
//! What others wrote into a message or a field (names of symbols, reasons of venues, paths) comes out with escapes for
//! all that a terminal would act upon, and cannot begin a line that looks like one of ours.
//!
//! Never writes to stdout: that belongs to data. Metrics are not here but with the parts that count.

use std::fmt::Debug;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer};
use settings::Section;
use settings::value::one_of;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use wal_format::plain::{self, Plain};

/// Section `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// tracing filter.
    #[serde(deserialize_with = "level")]
    pub level: String,
    /// True for JSON lines.
    #[serde(rename = "format", deserialize_with = "is_json")]
    pub json: bool,
    /// True for lines of statistics at any level.
    pub stats: bool,
}

impl Section for Log {}

fn level<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let word = String::deserialize(d)?;
    one_of(&word, &["error", "warn", "info", "debug", "trace"]).map(|()| word)
}

fn is_json<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    let word = String::deserialize(d)?;
    one_of(&word, &["text", "json"]).map(|()| word == "json")
}

/// Target of lines that say every so often, or when asked, how it goes; at level `info`.
pub const STATS: &str = "tapedeck::stats";

/// Sends log lines as configured (section `[log]`) to stderr. Called once per process; a second call does nothing.
///
/// A level that is no filter is said on stderr and becomes `warn`: log lines are no reason not to record.
pub fn init(log: &Log) {
    let filter = filter(log);
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // An error means that somebody (a test) has set up log lines already; theirs stay.
    let _ = if log.json {
        builder.json().flatten_event(true).with_writer(|| Plain(std::io::stderr())).try_init()
    } else {
        let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
        builder.fmt_fields(fields()).try_init()
    };
}

/// Message and fields as text. They are what others can put something into; level, time and target are ours.
fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", plain::message(&text)),
            name => write!(writer, "{name}={}", plain::line(&text)),
        }
    };
    debug_fn(field).delimited(" ")
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
/// # use tapedeck_ops::telemetry::RateLimited;
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
    fn nothing_that_others_wrote_into_a_log_line_acts_upon_a_terminal_or_looks_like_a_line_of_ours() {
        let written = Written::default();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(written.clone()).fmt_fields(fields()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let name = "EVIL\n2026-11-30 INFO all fine\u{1b}[2J";
            let error = std::io::Error::other(name);
            tracing::warn!(symbol = name, why = %name, error = %error, count = 7, "listing of {name} refused");
            tracing::warn!(name);
        });
        let text = String::from_utf8(written.0.lock().expect("a test's own").clone()).expect("log lines are text");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(
            text.contains(r"why=EVIL\u000a2026-11-30 INFO all fine\u001b[2J") && text.contains(" count=7"),
            "{text}"
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.iter().filter(|l| !l.starts_with("  ")).count(), 2, "{text}");
    }

    /// What was written, for a test.
    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("a test's own").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Written {
        type Writer = Written;

        fn make_writer(&self) -> Written {
            self.clone()
        }
    }

    #[test]
    fn repeated_warnings_are_logged_once_per_interval_with_the_number_kept_back() {
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
