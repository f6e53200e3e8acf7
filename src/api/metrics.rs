//! Series of candles and of this server, as Prometheus text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::app::App;
use kline::hub::FeedStatus;
use kline::latency::{BOUNDS_US, Counted};

fn series(out: &mut String, name: &str, kind: &str, help: &str, values: &[(String, u64)]) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP tapedeck_{name} {help}\n# TYPE tapedeck_{name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(out, "tapedeck_{name}{labels} {value}");
    }
}

/// How long live trades took to be visible.
fn histogram(out: &mut String, counted: &Counted) {
    let name = "tapedeck_kline_latency_seconds";
    let seconds = |ns: u64| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    let _ = writeln!(out, "# HELP {name} From receiving a trade to showing it in candles.\n# TYPE {name} histogram");
    for (bound_us, n) in BOUNDS_US.iter().zip(counted.bounded) {
        let bound = seconds(bound_us * 1_000);
        let bound = bound.trim_end_matches('0').trim_end_matches('.');
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {n}");
    }
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {0}\n{name}_count {0}", counted.count);
    let _ = writeln!(out, "{name}_sum {}", seconds(counted.sum_ns));
}

/// Appends them.
pub(super) fn write(out: &mut String, app: &App) {
    let c = &app.counts;
    let own = |v: &AtomicU64| vec![(String::new(), v.load(Relaxed))];
    series(out, "api_requests_total", "counter", "HTTP requests.", &own(&c.requests));
    series(out, "api_requests_limited_total", "counter", "Requests refused for their weight.", &own(&c.limited));
    series(out, "api_connections_refused_total", "counter", "Connections over the limit.", &own(&c.turned_away));
    series(out, "api_websockets", "gauge", "WebSockets open.", &own(&c.websockets));
    series(out, "api_websockets_slow_total", "counter", "WebSocket clients cut for being slow.", &own(&c.slow));
    series(out, "api_pushed_total", "counter", "Messages written to WebSocket clients.", &own(&c.pushed));
    series(out, "api_conflated_total", "counter", "Messages replaced by a newer state unsent.", &own(&c.conflated));
    let Some(hub) = &app.hub else { return };
    let s = hub.stats();
    let one = |v: u64| vec![(String::new(), v)];
    series(out, "kline_symbols", "gauge", "Symbols with candles.", &one(s.symbols as u64));
    series(out, "kline_trades_total", "counter", "Trades applied to candles.", &one(s.ticks));
    series(out, "kline_bars_closed_total", "counter", "Bars closed.", &one(s.closed));
    series(out, "kline_bars_revised_total", "counter", "Closed bars changed by late trades.", &one(s.revised));
    series(out, "kline_trades_refused_total", "counter", "Trades that no candle can hold.", &one(s.refused));
    series(
        out,
        "kline_swaps_delayed_total",
        "counter",
        "Swaps of the whole that a reader delayed.",
        &one(s.swaps_delayed),
    );
    series(out, "kline_queue_jobs", "gauge", "Batches that wait for the worker.", &one(s.queued));
    series(out, "kline_queue_jobs_max", "gauge", "Most that waited since the last statistics.", &one(s.queued_max));
    histogram(out, &hub.latency().counted());
    type Value = fn(&FeedStatus) -> u64;
    let feeds: [(&str, &str, &str, Value); 11] = [
        ("kline_feed_records_total", "counter", "Log records read for candles.", |f| f.records),
        ("kline_feed_behind_bytes", "gauge", "Bytes of the log not read yet for candles.", |f| f.behind_bytes),
        ("kline_feed_live", "gauge", "1 while the feed is at the end of its log.", |f| u64::from(f.activity == "live")),
        ("kline_feed_repeated_total", "counter", "Trades that came before on another line.", |f| f.repeated),
        ("kline_feed_off_book_total", "counter", "Trades that are not at the market.", |f| f.off_book),
        ("kline_feed_absurd_total", "counter", "Trades with an impossible price or time.", |f| f.absurd),
        ("kline_feed_early_total", "counter", "Trades whose time had not come: they waited for it.", |f| f.early),
        ("kline_checkpoints_total", "counter", "Checkpoints committed.", |f| f.checkpoints),
        (
            "kline_breaks_total",
            "counter",
            "Times that candles could not simply go on: a database deleted or restored, a log replaced or lost, another source. /v1/klines/stats tells each.",
            |f| f.breaks,
        ),
        ("kline_bars_stored_total", "counter", "Bars stored by checkpoints.", |f| f.bars_stored),
        ("kline_committed_timestamp_seconds", "gauge", "When the last checkpoint was committed.", |f| {
            f.committed_ns / 1_000_000_000
        }),
    ];
    for (name, kind, help, value) in feeds {
        let values: Vec<_> = s.feeds.iter().map(|(venue, f)| (format!("{{venue=\"{venue}\"}}"), value(f))).collect();
        series(out, name, kind, help, &values);
    }
}
