//! The venue's listing: fetched until it succeeds once, then refreshed for the life of the process.
//!
//! Every answer is in the log. Newly listed and vanished symbols become events and are told to the keeper of the
//! connections, which subscribes the new ones and lets the others run out.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::backoff::{Backoff, random};
use super::feed::Feed;
use super::keeper::Change;
use super::log::LogStopped;
use super::plan::{self, Selection};

/// An error as a line of text.
type Why = String;

/// Fetches until a listing with at least one chosen symbol came. `None` when the venue is to stop first.
pub(super) async fn first(feed: &Feed) -> Option<BTreeSet<String>> {
    let mut backoff = Backoff::default();
    let mut attempt = 0_u32;
    loop {
        attempt += 1;
        let fetched = tokio::select! {
            biased;
            () = feed.stop.wait() => return None,
            fetched = fetch(feed) => fetched,
        };
        let wait = match fetched {
            Ok(selection) => {
                if report(feed, &selection).is_err() {
                    return None;
                }
                feed.metrics.listing(None);
                if !selection.symbols.is_empty() {
                    return Some(selection.symbols);
                }
                warn!(venue = %feed.id, patterns = ?feed.config.symbols,
                    "no listed symbol trades and matches; looking again at the next refresh");
                feed.metrics.listing(Some("it names no symbol that trades and was asked for".to_owned()));
                Duration::from_secs(feed.config.symbols_refresh_s)
            }
            Err(why) => {
                let wait = backoff.next(&mut random);
                feed.metrics.listing(Some(why.clone()));
                warn!(venue = %feed.id, attempt, wait_ms = wait.as_millis(), error = why,
                    "cannot get the listing of symbols, trying again; nothing is recorded until then");
                wait
            }
        };
        if feed.pause(wait).await {
            return None;
        }
    }
}

/// Fetches every `symbols_refresh_s` until the venue is to stop, and records what changed.
pub(super) async fn refresh(feed: &Feed, mut known: BTreeSet<String>, keeper: mpsc::Sender<Change>) {
    let mut backoff = Backoff::default();
    let every = Duration::from_secs(feed.config.symbols_refresh_s);
    let mut wait = every;
    loop {
        if feed.pause(wait).await {
            return;
        }
        let fetched = tokio::select! {
            biased;
            () = feed.stop.wait() => return,
            fetched = fetch(feed) => fetched,
        };
        match fetched {
            Ok(selection) => {
                backoff = Backoff::default();
                wait = every;
                let Ok(change) = changes(feed, &known, &selection.symbols) else { return };
                if !(change.added.is_empty() && change.removed.is_empty()) && keeper.send(change).await.is_err() {
                    return;
                }
                known = selection.symbols;
            }
            Err(why) => {
                // Minutes instead of seconds: recording goes on, only news are late.
                wait = (backoff.next(&mut random) * 10).min(every);
                warn!(venue = %feed.id, wait_ms = wait.as_millis(), error = why, "cannot refresh the listing of symbols");
            }
        }
    }
}

async fn fetch(feed: &Feed) -> Result<Selection, Why> {
    let body = feed.rest.get(feed, &feed.venue.listing_request()).await.map_err(|err| err.to_string())?;
    let listing = feed.venue.parse_listing(&body).map_err(|err| format!("read the listing: {err}"))?;
    debug!(venue = %feed.id, listed = listing.len(), "listing of symbols fetched");
    Ok(plan::select(&feed.config.symbols, &listing))
}

fn report(feed: &Feed, selection: &Selection) -> Result<(), LogStopped> {
    for pattern in &selection.unmatched {
        if plan::is_exact(pattern) {
            warn!(venue = %feed.id, symbol = pattern, "the venue does not list this symbol; it is not recorded");
        } else {
            warn!(venue = %feed.id, pattern, "no symbol that trades matches this pattern");
        }
    }
    for (symbol, status) in &selection.not_trading {
        warn!(venue = %feed.id, symbol, status, "this symbol does not trade; it is not recorded");
    }
    info!(venue = %feed.id, count = selection.symbols.len(), "symbols chosen");
    let not_trading: Vec<_> =
        selection.not_trading.iter().map(|(s, status)| json!({"symbol": s, "status": status})).collect();
    feed.log.event(
        0,
        "symbols_selected",
        json!({
            "count": selection.symbols.len(), "patterns": feed.config.symbols, "unmatched": selection.unmatched,
            "not_trading": not_trading,
        }),
    )?;
    Ok(())
}

fn changes(feed: &Feed, before: &BTreeSet<String>, after: &BTreeSet<String>) -> Result<Change, LogStopped> {
    let change = Change {
        added: after.difference(before).cloned().collect(),
        removed: before.difference(after).cloned().collect(),
    };
    for symbol in &change.added {
        info!(venue = %feed.id, symbol, "newly listed");
        feed.log.event(0, "symbol_added", json!({ "symbol": symbol }))?;
    }
    for symbol in &change.removed {
        warn!(venue = %feed.id, symbol, "does not trade any more; its streams stay subscribed until they are replaced");
        feed.log.event(0, "symbol_removed", json!({ "symbol": symbol }))?;
    }
    Ok(change)
}
