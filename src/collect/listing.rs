//! The venue's listing: fetched until it succeeds once, then refreshed for the life of the process, and at once when
//! another choice is made.
//!
//! Every answer is in the log. Newly listed and vanished symbols become events and are told to the keeper of the
//! connections, which subscribes the new ones and lets the others run out; what is chosen no more it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use super::feed::{Choice, Feed};
use super::keeper::Change;
use super::log::LogStopped;
use super::plan::{self, Selection};
use crate::backoff::{Backoff, random};
use crate::config::pacing;
use crate::venue::Want;

/// An error as a line of text.
type Why = String;

/// What is being recorded.
pub(super) struct Recorded {
    /// By this choice.
    pub(super) choice: Arc<Choice>,
    /// Every symbol on every channel.
    pub(super) wants: Vec<Want>,
}

/// The choice as it changes.
pub(super) type Choices = watch::Receiver<Arc<Choice>>;

/// Fetches until a listing with at least one chosen symbol came. `None` when the venue is to stop first.
pub(super) async fn first(feed: &Feed, choices: &mut Choices) -> Option<Recorded> {
    let mut backoff = Backoff::default();
    let mut attempt = 0_u32;
    loop {
        attempt += 1;
        let choice = Arc::clone(&choices.borrow_and_update());
        let fetched = tokio::select! {
            biased;
            () = feed.stop.wait() => return None,
            fetched = fetch(feed, &choice) => fetched,
        };
        let wait = match fetched {
            Ok(selection) => {
                if report(feed, &choice, &selection, None).is_err() {
                    return None;
                }
                feed.metrics.listing(None);
                if !selection.symbols.is_empty() {
                    let wants = plan::wants(&selection.symbols, &choice.channels);
                    return Some(Recorded { choice, wants });
                }
                warn!(venue = %feed.id, patterns = ?choice.symbols,
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
        if pause(feed, wait, choices).await {
            return None;
        }
    }
}

/// Fetches every `symbols_refresh_s`, and whenever another choice is made, until the venue is to stop, and records
/// what changed.
pub(super) async fn refresh(feed: &Feed, recorded: Recorded, mut choices: Choices, keeper: mpsc::Sender<Change>) {
    let Recorded { choice: mut made, wants } = recorded;
    let mut known: BTreeSet<Want> = wants.into_iter().collect();
    let mut backoff = Backoff::default();
    let every = Duration::from_secs(feed.config.symbols_refresh_s);
    let mut wait = every;
    loop {
        if pause(feed, wait, &mut choices).await {
            return;
        }
        let choice = Arc::clone(&choices.borrow_and_update());
        let is_other = choice != made;
        let fetched = tokio::select! {
            biased;
            () = feed.stop.wait() => return,
            fetched = fetch(feed, &choice) => fetched,
        };
        wait = every;
        match fetched {
            Ok(selection) if is_other && selection.symbols.is_empty() => {
                // A slip of the pen would end the recording of this venue.
                error!(venue = %feed.id, patterns = ?choice.symbols, fix = "correct [venues.*] symbols and send SIGHUP again",
                    "no listed symbol trades and matches the new list; the symbols of before stay");
            }
            Ok(selection) => {
                backoff = Backoff::default();
                let wants = plan::wants(&selection.symbols, &choice.channels);
                let change = change(&known, &wants, &choice);
                let told = match is_other {
                    true => report(feed, &choice, &selection, Some((&made, &known))),
                    false => news(feed, &change),
                };
                if told.is_err() || (!change.is_empty() && keeper.send(change).await.is_err()) {
                    return;
                }
                if is_other {
                    pressure(feed, &wants);
                }
                (known, made) = (wants.into_iter().collect(), choice);
            }
            Err(why) => {
                // Minutes instead of seconds: recording goes on, only news are late. Somebody waits for a new choice.
                let factor = if is_other { 1 } else { 10 };
                wait = (backoff.next(&mut random) * factor).min(every);
                warn!(venue = %feed.id, wait_ms = wait.as_millis(), error = why, "cannot refresh the listing of symbols");
            }
        }
    }
}

/// Sleeps, or until another choice is made; true when the venue is to stop instead.
async fn pause(feed: &Feed, time: Duration, choices: &mut Choices) -> bool {
    tokio::select! {
        biased;
        () = feed.stop.wait() => true,
        // The sender is the feed's own.
        _ = choices.changed() => false,
        () = tokio::time::sleep(time) => false,
    }
}

async fn fetch(feed: &Feed, choice: &Choice) -> Result<Selection, Why> {
    let body = feed.rest.get(feed, &feed.venue.listing_request()).await.map_err(|err| err.to_string())?;
    let listing = feed.venue.parse_listing(&body).map_err(|err| format!("read the listing: {err}"))?;
    debug!(venue = %feed.id, listed = listing.len(), "listing of symbols fetched");
    Ok(plan::select(&choice.symbols, &listing))
}

/// Says what was chosen; `before`: instead of what.
fn report(
    feed: &Feed,
    choice: &Choice,
    selection: &Selection,
    before: Option<(&Choice, &BTreeSet<Want>)>,
) -> Result<(), LogStopped> {
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
    let not_trading: Vec<_> =
        selection.not_trading.iter().map(|(s, status)| json!({"symbol": s, "status": status})).collect();
    let mut detail = json!({
        "count": selection.symbols.len(), "patterns": choice.symbols, "unmatched": selection.unmatched,
        "not_trading": not_trading,
    });
    if let Some((made, known)) = before {
        let before: BTreeSet<String> = known.iter().map(|w| w.symbol.clone()).collect();
        let added: Vec<_> = selection.symbols.difference(&before).collect();
        let removed: Vec<_> = before.difference(&selection.symbols).collect();
        let words = |choice: &Choice| choice.channels.iter().map(|c| c.as_str()).collect::<Vec<_>>();
        info!(venue = %feed.id, count = selection.symbols.len(), added = added.len(), removed = removed.len(),
            channels = words(choice).join(" "), "symbols chosen anew");
        detail["added"] = json!(added);
        detail["removed"] = json!(removed);
        detail["channels"] = json!(words(choice));
        detail["channels_before"] = json!(words(made));
    } else {
        info!(venue = %feed.id, count = selection.symbols.len(), "symbols chosen");
    }
    feed.log.event(0, "symbols_selected", detail)?;
    Ok(())
}

/// What becomes of `known` by `wants`, which `choice` made.
fn change(known: &BTreeSet<Want>, wants: &[Want], choice: &Choice) -> Change {
    let now: BTreeSet<&Want> = wants.iter().collect();
    let chosen = |w: &Want| choice.channels.contains(&w.channel) && plan::names(&choice.symbols, &w.symbol);
    let (gone, dropped) = known.iter().filter(|w| !now.contains(w)).cloned().partition(chosen);
    Change { added: wants.iter().filter(|w| !known.contains(w)).cloned().collect(), gone, dropped }
}

/// What the venue listed and delisted.
fn news(feed: &Feed, change: &Change) -> Result<(), LogStopped> {
    let added: BTreeSet<&str> = change.added.iter().map(|w| w.symbol.as_str()).collect();
    let removed: BTreeSet<&str> = change.gone.iter().map(|w| w.symbol.as_str()).collect();
    for symbol in added {
        info!(venue = %feed.id, symbol, "newly listed");
        feed.log.event(0, "symbol_added", json!({ "symbol": symbol }))?;
    }
    for symbol in removed {
        warn!(venue = %feed.id, symbol, "does not trade any more; its streams stay subscribed until they are replaced");
        feed.log.event(0, "symbol_removed", json!({ "symbol": symbol }))?;
    }
    Ok(())
}

/// Warns of what presses hard on the venue.
pub(super) fn pressure(feed: &Feed, wants: &[Want]) {
    let plans = feed.venue.plan(wants, &feed.config.limits);
    let streams = plans.iter().map(|p| p.streams.len()).sum();
    for (key, what, fix) in pacing::pressure(&feed.config, "", plans.len(), streams) {
        warn!(venue = %feed.id, key, fix, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Channel::{self, BookTicker, Trades};

    fn wants(symbols: &[&str], channels: &[Channel]) -> Vec<Want> {
        plan::wants(&symbols.iter().map(|s| (*s).to_owned()).collect(), channels)
    }

    #[test]
    fn what_is_chosen_no_more_is_dropped_and_what_does_not_trade_any_more_only_leaves() {
        let known = wants(&["BTCUSDT", "ETHUSDT", "OLDUSDT"], &[Trades, BookTicker]).into_iter().collect();
        let now = wants(&["BTCUSDT", "XRPUSDT"], &[Trades]);
        let choice =
            Choice { symbols: ["BTC*", "OLDUSDT", "XRPUSDT"].map(str::to_owned).to_vec(), channels: vec![Trades] };
        let Change { added, gone, dropped } = change(&known, &now, &choice);
        assert_eq!(added, wants(&["XRPUSDT"], &[Trades]));
        assert_eq!(gone, wants(&["OLDUSDT"], &[Trades]).into_iter().collect());
        let mut rest = wants(&["ETHUSDT"], &[Trades]);
        rest.extend(wants(&["BTCUSDT", "ETHUSDT", "OLDUSDT"], &[BookTicker]));
        assert_eq!(dropped, rest.into_iter().collect());
        assert!(change(&now.iter().cloned().collect(), &now, &choice).is_empty());
    }
}
