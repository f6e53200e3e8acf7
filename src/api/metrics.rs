//! Series of candles and of this server, for Prometheus.

use std::sync::atomic::Ordering::Relaxed;

use super::app::App;
use kline::hub::FeedStatus;
use ops::exposition::Exposition;

pub(super) fn expose(out: &mut Exposition, app: &App) {
    let c = &app.counts;
    out.one("tapedeck_api_requests_total", "HTTP requests.", c.requests.load(Relaxed));
    out.one("tapedeck_api_requests_limited_total", "Requests refused for their weight.", c.limited.load(Relaxed));
    out.one("tapedeck_api_connections_refused_total", "Connections over the limit.", c.turned_away.load(Relaxed));
    out.one("tapedeck_api_websockets", "WebSockets open.", c.websockets.load(Relaxed));
    out.one(
        "tapedeck_api_websockets_slow_total",
        "WebSocket clients disconnected for being slow.",
        c.slow.load(Relaxed),
    );
    out.one("tapedeck_api_pushed_total", "Messages written to WebSocket clients.", c.pushed.load(Relaxed));
    out.one("tapedeck_api_conflated_total", "Messages replaced by a newer state unsent.", c.conflated.load(Relaxed));
    let Some(hub) = &app.hub else { return };
    let s = hub.stats();
    out.one("tapedeck_kline_symbols", "Symbols with candles.", s.symbols);
    out.one("tapedeck_kline_trades_total", "Trades applied to candles.", s.ticks);
    out.one("tapedeck_kline_bars_closed_total", "Bars closed.", s.closed);
    out.one("tapedeck_kline_bars_revised_total", "Closed bars changed by late trades.", s.revised);
    out.one("tapedeck_kline_trades_refused_total", "Trades that no candle can hold.", s.refused);
    out.one("tapedeck_kline_swaps_delayed_total", "Swaps of the whole that a reader delayed.", s.swaps_delayed);
    out.one("tapedeck_kline_queue_jobs", "Batches that wait for the worker.", s.queued);
    out.one("tapedeck_kline_queue_jobs_max", "Most that waited since the last statistics.", s.queued_max);
    out.histogram(
        "tapedeck_kline_latency_seconds",
        "From receiving a trade to showing it in candles.",
        [([("", ""); 0], hub.latency().counted())],
    );
    let mut feeds = |name: &str, help, value: fn(&FeedStatus) -> u64| {
        let all = s.feeds.iter().map(|(venue, f)| ([("venue", venue)], value(f)));
        out.series(format!("tapedeck_kline_{name}"), help, all);
    };
    feeds("feed_records_total", "Log records read for candles.", |f| f.records);
    feeds("feed_behind_bytes", "Bytes of the log not read yet for candles.", |f| f.behind_bytes);
    feeds("feed_live", "1 while the feed is at the end of its log.", |f| u64::from(f.activity == "live"));
    feeds("feed_repeated_total", "Trades that came before on another line.", |f| f.repeated);
    feeds("feed_off_book_total", "Trades that are not at the market.", |f| f.off_book);
    feeds("feed_absurd_total", "Trades with an impossible price or time.", |f| f.absurd);
    feeds("feed_early_total", "Trades whose time had not come: they waited for it.", |f| f.early);
    feeds("checkpoints_total", "Checkpoints committed.", |f| f.checkpoints);
    feeds(
        "breaks_total",
        "Times that candles could not simply go on: a database deleted or restored, a log replaced or lost, another source. /v1/klines/stats lists each.",
        |f| f.breaks,
    );
    feeds("bars_stored_total", "Bars stored by checkpoints.", |f| f.bars_stored);
    feeds("committed_timestamp_seconds", "When the last checkpoint was committed.", |f| f.committed_ns / 1_000_000_000);
}
