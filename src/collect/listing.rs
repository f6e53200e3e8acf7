//! The venue's listing: fetched until it succeeds once, then refreshed for the life of the process, and at once when
//! another choice is made.
//!
//! Every answer is in the log. Newly listed and vanished symbols become events and are sent to the supervisor of the
//! connections, which subscribes the new ones and lets the others run out; what is chosen no more it ends.
//!
//! Three kinds of listing are no news about a symbol. One in which nothing trades that is recorded is maintenance: every
//! stream stays wanted, so that it is tried again with pauses and its interruption is written down, the listing is asked
//! for again soon, and health is red until something trades. Where an entry has no name, a recorded symbol that
//! seems to be gone may be that one: it stays. And one that lacks a recorded symbol may be truncated or old ([`Absent`]):
//! the symbol stays until several listings in a row lack it and its streams are silent as long.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use super::feed::{Choice, VenueFeed};
use super::log::LogStopped;
use super::supervisor::Change;
use super::wants;
use capture::pacing;
use model::select::{self, Selection, select};
use model::{Listing, RejectedEntry};
use ops::backoff::{Backoff, random};
use ops::clock::Stamp;
use ops::health::Reason;
use ops::telemetry::RateLimited;
use venue::Want;

/// When the second listing is fetched at the latest.
const SECOND: Duration = Duration::from_secs(60);

static LACKING: RateLimited = RateLimited::new(Duration::from_secs(30));

/// An error as a line of text.
type Why = String;

/// What is being recorded.
pub(super) struct Recorded {
    /// By this choice.
    pub(super) choice: Arc<Choice>,
    /// Every symbol on every channel.
    pub(super) wants: Vec<Want>,
    /// Nothing trades.
    maintenance: bool,
    odd: RejectedEntries,
}

/// The choice as it changes.
pub(super) type Choices = watch::Receiver<Arc<Choice>>;

/// Fetches until a listing with at least one chosen symbol came. `None` when the venue is to stop first.
pub(super) async fn first(feed: &VenueFeed, choices: &mut Choices) -> Option<Recorded> {
    let mut backoff = Backoff::default();
    let mut attempt = 0_u32;
    let mut odd = RejectedEntries::default();
    loop {
        attempt += 1;
        let choice = Arc::clone(&choices.borrow_and_update());
        let fetched = tokio::select! {
            biased;
            () = feed.stop.wait() => return None,
            fetched = fetch(feed) => fetched,
        };
        let wait = match fetched {
            Ok(mut listing) => {
                odd.report(feed, &listing.rejects).ok()?;
                let maintenance = !listing.trades();
                if maintenance {
                    // Whatever is listed will trade again: its streams are requested now, so that its first trade counts.
                    listing.symbols.iter_mut().for_each(|s| s.trading = true);
                }
                let selection = select(&choice.symbols, &listing.symbols);
                report(feed, &choice, &selection, None).ok()?;
                if !selection.symbols.is_empty() {
                    let wants = wants::wants(&selection.symbols, &choice.channels);
                    in_maintenance(feed, maintenance, false).ok()?;
                    return Some(Recorded { choice, wants, maintenance, odd });
                }
                warn!(venue = %feed.id, patterns = ?choice.symbols, listed = listing.symbols.len(),
                    "no listed symbol trades and matches; looking again");
                feed.metrics.listing(Some("it names no symbol that trades and is configured".to_owned()));
                match listing.symbols.is_empty() {
                    true => backoff.next(&mut random),
                    false => Duration::from_secs(feed.config.symbols_refresh_s),
                }
            }
            Err(why) => {
                let wait = backoff.next(&mut random).max(feed.rest.banned_for());
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
pub(super) async fn refresh(
    feed: &VenueFeed,
    recorded: Recorded,
    mut choices: Choices,
    supervisor: mpsc::Sender<Change>,
) {
    let Recorded { choice: mut made, wants, mut maintenance, mut odd } = recorded;
    let mut known: BTreeSet<Want> = wants.into_iter().collect();
    let (mut backoff, mut doubts) = (Backoff::default(), Backoff::default());
    let every = Duration::from_secs(feed.config.symbols_refresh_s);
    let mut absent = Absent::default();
    // The first listing may be one that lacks symbols, and nobody knows yet which: another one shows it soon.
    let mut wait = if maintenance { backoff.next(&mut random).min(every) } else { every.min(SECOND) };
    loop {
        if pause(feed, wait, &mut choices).await {
            return;
        }
        let choice = Arc::clone(&choices.borrow_and_update());
        let is_other = choice != made;
        let fetched = tokio::select! {
            biased;
            () = feed.stop.wait() => return,
            fetched = fetch(feed) => fetched,
        };
        wait = every;
        match fetched {
            Ok(listing) => {
                if odd.report(feed, &listing.rejects).is_err() {
                    return;
                }
                let mut selection = select(&choice.symbols, &listing.symbols);
                if selection.symbols.is_empty() && is_other && listing.trades() {
                    // A slip of the pen would end the recording of this venue.
                    error!(venue = %feed.id, patterns = ?choice.symbols, fix = "correct [venues.*] symbols and send SIGHUP again",
                        "no listed symbol trades and matches the new list; the symbols of before stay");
                    continue;
                }
                let before = std::mem::replace(&mut maintenance, selection.symbols.is_empty());
                if in_maintenance(feed, maintenance, before).is_err() {
                    return;
                }
                if maintenance {
                    wait = backoff.next(&mut random).min(every);
                    continue;
                }
                backoff = Backoff::default();
                let lacking = lacking(&selection, &known, &listing, &choice);
                if listing.has_nameless() {
                    selection.symbols.extend(lacking);
                } else {
                    let heard_ns = |symbol: &str| feed.metrics.symbol_heard_ns(symbol);
                    let kept = absent.keep(lacking, every, Stamp::now().0, heard_ns);
                    match kept.first() {
                        None => doubts = Backoff::default(),
                        Some(first) => {
                            wait = doubts.next(&mut random).min(every);
                            if let Some(suppressed) = LACKING.allow() {
                                warn!(venue = %feed.id, symbols = kept.len(), first, again_s = wait.as_secs(), suppressed,
                                    "the listing lacks symbols that are recorded: they stay until it does so again while they are silent");
                            }
                        }
                    }
                    selection.symbols.extend(kept);
                }
                let wants = wants::wants(&selection.symbols, &choice.channels);
                let change = change(&known, &wants, &choice);
                let logged = match is_other {
                    true => report(feed, &choice, &selection, Some((&made, &known))),
                    false => news(feed, &change),
                };
                if logged.is_err() || (!change.is_empty() && supervisor.send(change).await.is_err()) {
                    return;
                }
                if is_other {
                    warn_of_connections(feed, &wants);
                }
                (known, made) = (wants.into_iter().collect(), choice);
            }
            Err(why) => {
                // Minutes instead of seconds: recording goes on, only news are late. Somebody waits for a new choice, or
                // for the end of a maintenance.
                let factor = if is_other || maintenance { 1 } else { 10 };
                wait = (backoff.next(&mut random) * factor).min(every).max(feed.rest.banned_for());
                warn!(venue = %feed.id, wait_ms = wait.as_millis(), error = why, "cannot refresh the listing of symbols");
            }
        }
    }
}

/// Sleeps, or until another choice is made; true when the venue is to stop instead.
async fn pause(feed: &VenueFeed, time: Duration, choices: &mut Choices) -> bool {
    tokio::select! {
        biased;
        () = feed.stop.wait() => true,
        // The sender is the feed's own.
        _ = choices.changed() => false,
        () = tokio::time::sleep(time) => false,
    }
}

async fn fetch(feed: &VenueFeed) -> Result<Listing, Why> {
    let body = feed.get(&feed.venue.rest.listing_request()).await.map_err(|err| err.to_string())?;
    let listing = feed.venue.rest.parse_listing(&body).map_err(|err| format!("read the listing: {err}"))?;
    debug!(venue = %feed.id, listed = listing.symbols.len(), "listing of symbols fetched");
    Ok(listing)
}

/// Says that a maintenance begins, goes on or ends.
fn in_maintenance(feed: &VenueFeed, now: bool, before: bool) -> Result<(), LogStopped> {
    let why = "nothing that is recorded trades: the venue seems to be in maintenance; all streams are tried again";
    feed.metrics.listing(None);
    feed.metrics.conditions().set(Reason::NothingTrades, feed.id.as_str(), now.then(|| why.to_owned()));
    match (before, now) {
        (false, true) => {
            warn!(venue = %feed.id, "no symbol of the listing trades that is recorded: maintenance, not news about each of them; all streams stay and are tried again");
            feed.log.event(0, "maintenance", json!({ "state": "begins" }))?;
        }
        (true, false) => {
            info!(venue = %feed.id, "symbols trade again: the maintenance is over");
            feed.log.event(0, "maintenance", json!({ "state": "ends" }))?;
        }
        _ => {}
    }
    Ok(())
}

/// What is recorded and chosen and not in the listing.
fn lacking(selection: &Selection, known: &BTreeSet<Want>, listing: &Listing, choice: &Choice) -> BTreeSet<String> {
    let listed: HashSet<&str> = listing.symbols.iter().map(|s| s.name.as_str()).collect();
    let recorded: BTreeSet<&str> = known.iter().map(|w| w.symbol.as_str()).collect();
    let lacking = recorded.into_iter().filter(|s| !listed.contains(s) && !selection.symbols.contains(*s));
    lacking.filter(|s| select::names(&choice.symbols, s)).map(str::to_owned).collect()
}

/// Recorded symbols that the listing lacks, with when it first did, ns since epoch.
#[derive(Debug, Default)]
struct Absent(BTreeMap<String, u64>);

impl Absent {
    /// A symbol is gone when every listing lacks it for this long, two at least, and none of its streams delivers meanwhile.
    const FOR: Duration = Duration::from_secs(60);

    /// Which of the symbols that a listing lacks at `now_ns` stay. `every`: the time between two listings; `heard_ns`: when a
    /// symbol was last heard.
    fn keep(
        &mut self,
        lacking: BTreeSet<String>,
        every: Duration,
        now_ns: u64,
        heard_ns: impl Fn(&str) -> u64,
    ) -> BTreeSet<String> {
        self.0.retain(|symbol, _| lacking.contains(symbol));
        let doubt_ns = Self::FOR.min(every.saturating_mul(2)).as_nanos() as u64;
        let in_doubt = |symbol: &String| {
            let since_ns = *self.0.entry(symbol.clone()).or_insert(now_ns);
            now_ns.saturating_sub(since_ns.max(heard_ns(symbol))) < doubt_ns
        };
        lacking.into_iter().filter(in_doubt).collect()
    }
}

/// Entries that could not be read, or not as a whole: each is reported when it comes, and again when it has changed.
#[derive(Default)]
struct RejectedEntries(HashSet<(Option<String>, String)>);

impl RejectedEntries {
    /// Entries that are written out at once, and bytes of each.
    const REPORTED_MAX: usize = 20;
    const RAW_BYTES_MAX: usize = 2_048;

    fn report(&mut self, feed: &VenueFeed, entries: &[RejectedEntry]) -> Result<(), LogStopped> {
        let key = |e: &RejectedEntry| (e.name.clone(), e.why.clone());
        let new: Vec<&RejectedEntry> = entries.iter().filter(|e| !self.0.contains(&key(e))).collect();
        if !new.is_empty() {
            for entry in new.iter().take(Self::REPORTED_MAX) {
                let done = match entry.name {
                    Some(_) => "recorded all the same, what cannot be read is left out",
                    None => "it is not recorded: it has no name that can be used",
                };
                warn!(venue = %feed.id, symbol = entry.name, why = entry.why, "an entry of the listing cannot be read; {done}");
            }
            if let Some(more) = new.len().checked_sub(Self::REPORTED_MAX + 1) {
                warn!(venue = %feed.id, more = more + 1, "further entries of the listing cannot be read");
            }
            let raw = |e: &RejectedEntry| e.raw.chars().take(Self::RAW_BYTES_MAX).collect::<String>();
            let reported = new.iter().take(Self::REPORTED_MAX);
            let reported: Vec<_> =
                reported.map(|e| json!({ "symbol": e.name, "why": e.why, "entry": raw(e) })).collect();
            feed.log.event(0, "listing_entry_unreadable", json!({ "count": new.len(), "entries": reported }))?;
        }
        // What is not there any more would be news if it came back.
        self.0 = entries.iter().map(key).collect();
        Ok(())
    }
}

/// Says what was chosen; `before`: instead of what.
fn report(
    feed: &VenueFeed,
    choice: &Choice,
    selection: &Selection,
    before: Option<(&Choice, &BTreeSet<Want>)>,
) -> Result<(), LogStopped> {
    for pattern in &selection.unmatched {
        if select::is_exact(pattern) {
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
        let names = |choice: &Choice| choice.channels.iter().map(|c| c.as_str()).collect::<Vec<_>>();
        info!(venue = %feed.id, count = selection.symbols.len(), added = added.len(), removed = removed.len(),
            channels = names(choice).join(" "), "symbols chosen again");
        detail["added"] = json!(added);
        detail["removed"] = json!(removed);
        detail["channels"] = json!(names(choice));
        detail["channels_before"] = json!(names(made));
    } else {
        info!(venue = %feed.id, count = selection.symbols.len(), "symbols chosen");
    }
    feed.log.event(0, "symbols_selected", detail)?;
    Ok(())
}

/// What becomes of `known` by `wants`, which `choice` made.
fn change(known: &BTreeSet<Want>, wants: &[Want], choice: &Choice) -> Change {
    let now: BTreeSet<&Want> = wants.iter().collect();
    let chosen = |w: &Want| choice.channels.contains(&w.channel) && select::names(&choice.symbols, &w.symbol);
    let (gone, dropped) = known.iter().filter(|w| !now.contains(w)).cloned().partition(chosen);
    Change { added: wants.iter().filter(|w| !known.contains(w)).cloned().collect(), gone, dropped }
}

/// What the venue listed and delisted.
fn news(feed: &VenueFeed, change: &Change) -> Result<(), LogStopped> {
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

/// Warns of more connections than the venue allows.
pub(super) fn warn_of_connections(feed: &VenueFeed, wants: &[Want]) {
    let plans = feed.venue.streams.plan(wants, &feed.config.limits);
    let streams = plans.iter().map(|p| p.streams.len()).sum();
    for (key, what, fix) in pacing::connection_warnings(&feed.config, "", plans.len(), streams) {
        warn!(venue = %feed.id, key, fix, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Channel::{self, BookTicker, Trades};

    fn wants(symbols: &[&str], channels: &[Channel]) -> Vec<Want> {
        wants::wants(&symbols.iter().map(|s| (*s).to_owned()).collect(), channels)
    }

    #[test]
    fn a_symbol_that_one_listing_lacks_stays_and_is_gone_when_others_lack_it_and_it_is_silent() {
        let (every, s) = (Duration::from_secs(3_600), 1_000_000_000);
        let set = |symbols: &[&str]| symbols.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        let mut absent = Absent::default();
        let loud = |symbol: &str| if symbol == "LOUD" { 190 * s } else { 0 };
        assert_eq!(absent.keep(set(&["A", "LOUD"]), every, 100 * s, loud), set(&["A", "LOUD"]), "once is no news");
        assert_eq!(absent.keep(set(&["A", "LOUD"]), every, 159 * s, loud), set(&["A", "LOUD"]), "it may be an old one");
        assert_eq!(absent.keep(set(&["A", "LOUD"]), every, 200 * s, loud), set(&["LOUD"]), "what delivers is not gone");
        assert_eq!(absent.keep(set(&["LOUD"]), every, 250 * s, loud), set(&[]));
        assert_eq!(absent.keep(set(&["A"]), every, 260 * s, loud), set(&["A"]), "it was listed meanwhile");
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
