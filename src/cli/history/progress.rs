//! How a download is watched: bars with rate and time left on a terminal, JSON lines for scripts, plain lines
//! otherwise. Data lines go to stdout, everything else to stderr.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wal_format::plain;

use history::ArchivePath;
use history::download::Watch;
use ops::clock;

/// Between two plain lines.
const LINE_EVERY_NS: u64 = 10_000_000_000;

/// Watches a download.
pub(super) struct Progress {
    json: bool,
    bar: Option<ProgressBar>,
    files: AtomicU64,
    ended: AtomicU64,
    bytes: AtomicU64,
    received: AtomicU64,
    started_ns: u64,
    last_line_ns: Mutex<u64>,
}

impl Progress {
    /// Bars when stderr is a terminal and the output is not JSON.
    pub(super) fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
            let style = "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} {eta} left";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        let now = clock::now().mono_ns;
        Self {
            json,
            bar,
            files: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            received: AtomicU64::new(0),
            started_ns: now,
            last_line_ns: Mutex::new(now),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        let text = plain::line(text);
        match &self.bar {
            Some(bar) => bar.println(&*text),
            None => eprintln!("{text}"),
        }
    }

    fn message(&self) -> String {
        format!("{}/{} files", self.ended.load(Ordering::Relaxed), self.files.load(Ordering::Relaxed))
    }

    /// A plain line, if the last one is old enough.
    fn now_and_then(&self) {
        let now = clock::now().mono_ns;
        {
            let mut last = self.last_line_ns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if now.saturating_sub(*last) < LINE_EVERY_NS {
                return;
            }
            *last = now;
        }
        let (received, bytes) = (self.received.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let seconds = (now.saturating_sub(self.started_ns) / 1_000_000_000).max(1);
        let rate = received / seconds;
        let left = bytes.saturating_sub(received).checked_div(rate);
        let left = left.map_or_else(String::new, |s| format!(", about {} min left", s.div_ceil(60)));
        let mib = |n: u64| n as f64 / f64::from(1 << 20);
        self.line(&format!(
            "{}, {:.1} of {:.1} MiB, {:.1} MiB/s{left}",
            self.message(),
            mib(received),
            mib(bytes),
            mib(rate)
        ));
    }
}

impl Watch for Progress {
    fn listed(&self, files: u64, bytes: u64) {
        self.files.store(files, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_length(bytes);
            bar.set_message(self.message());
        }
    }

    fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.inc(bytes),
            None if self.json => {}
            None => self.now_and_then(),
        }
    }

    fn file(&self, path: &ArchivePath, state: &'static str, bytes: u64, error: Option<&str>) {
        if state != "retry" {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(self.message());
        }
        if self.json {
            let line = serde_json::json!({ "file": path.to_string(), "state": state, "bytes": bytes, "error": error });
            // A reader that went away does not end the download.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        } else if state == "dead" {
            self.line(&format!("dead letter: {path}: {}", error.unwrap_or_default()));
        }
    }
}
