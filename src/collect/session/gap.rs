//! Interruptions written down: when a line did not deliver, and whether the other one did; and what is no interruption
//! because it is no longer wanted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use wal_format::Kind;

use super::super::feed::VenueFeed;
use super::super::log::LogStopped;
use super::super::metrics::Place;
use super::super::stream_table::StreamTable;
use super::super::watchdog::StreamStat;
use super::{Cause, LATE_NS};
use model::record::{self, Gap, UNSUBSCRIBED_EVENT};
use ops::clock::Stamp;
use venue::Want;

/// How an interruption began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GapStart {
    pub(crate) cause: Cause,
    pub(crate) from_ns: u64,
}

/// Interruptions of one line that are not written down yet: that of each stream is when the stream is subscribed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interruption {
    /// Of all streams that `apart` does not name; `None` = those are subscribed.
    rest: Option<GapStart>,
    /// Of these it began so.
    apart: BTreeMap<String, GapStart>,
}

impl From<GapStart> for Interruption {
    fn from(start: GapStart) -> Self {
        Self { rest: Some(start), apart: BTreeMap::new() }
    }
}

impl Interruption {
    /// Everything is interrupted by `start`; what was `before` goes on. `unanswered` streams were not subscribed either,
    /// each since the time beside it.
    pub(super) fn after(
        before: Option<&Self>,
        start: GapStart,
        unanswered: impl Iterator<Item = (String, u64)>,
    ) -> Self {
        if let Some(before) = before.filter(|before| before.rest.is_some()) {
            return before.clone();
        }
        let mut apart: BTreeMap<String, GapStart> =
            unanswered.map(|(stream, from_ns)| (stream, GapStart { from_ns, ..start })).collect();
        apart.extend(before.into_iter().flat_map(|before| before.apart.clone()));
        Self { rest: Some(start), apart }
    }

    /// Of `streams` all are subscribed that are not `pending`: ends their interruptions, and returns them by how they
    /// began. Those of the others go on.
    fn end(&mut self, streams: &[String], pending: &BTreeSet<String>) -> Vec<(GapStart, Vec<String>)> {
        let mut ended: Vec<(GapStart, Vec<String>)> = Vec::new();
        let before = std::mem::replace(self, Self { rest: None, apart: BTreeMap::new() });
        for stream in streams {
            let Some(start) = before.apart.get(stream).copied().or(before.rest) else { continue };
            if pending.contains(stream) {
                self.apart.insert(stream.clone(), start);
            } else if let Some((_, streams)) = ended.iter_mut().find(|(began, _)| *began == start) {
                streams.push(stream.clone());
            } else {
                ended.push((start, vec![stream.clone()]));
            }
        }
        ended
    }

    /// True when nothing of it goes on.
    pub(super) fn is_over(&self) -> bool {
        self.rest.is_none() && self.apart.is_empty()
    }
}

/// Writes down, as [`write_gap`] does, what of `gap` ends now because all of `streams` are subscribed that are not
/// `pending`.
pub(crate) fn end_gaps(
    feed: &VenueFeed,
    stream_table: &StreamTable,
    place: Place,
    conn: u32,
    gap: &mut Interruption,
    streams: &[String],
    pending: &BTreeSet<String>,
) -> Result<(), LogStopped> {
    let ended = gap.end(streams, pending);
    ended.into_iter().try_for_each(|(start, streams)| write_gap(feed, stream_table, place, conn, start, &streams))
}

/// Writes the Gap record of an interruption of the line at `place` that ends now. Streams that the other line delivered all
/// the time are an event, and not missing.
pub(crate) fn write_gap(
    feed: &VenueFeed,
    stream_table: &StreamTable,
    place: Place,
    conn: u32,
    gap: GapStart,
    streams: &[String],
) -> Result<(), LogStopped> {
    let stamp = Stamp::now();
    let reason = gap.cause.as_str();
    let line = place.line;
    let (here, there) = (feed.metrics.streams(place), feed.metrics.streams(place.other()));
    let delivered = |stream: &str| {
        let key = |s: &str| feed.venue.streams.stream_key(s);
        let there = there.as_ref().and_then(|there| there.find(stream, key));
        let here_ns = here.as_ref().and_then(|here| here.last_ns(stream, key)).unwrap_or(0);
        there.is_some_and(|there| delivers(there, here_ns, stamp.0))
    };
    let is_covered = |stream: &String| {
        gap.cause != Cause::Log && stream_table.covered(line, gap.from_ns, stream) && delivered(stream)
    };
    let (covered, missed): (Vec<String>, Vec<String>) = streams.iter().cloned().partition(is_covered);
    if !covered.is_empty() {
        let detail = json!({
            "reason": reason, "from_ns": gap.from_ns, "to_ns": stamp.0, "line": line, "streams": covered.len(),
        });
        feed.log.event(conn, "covered", detail)?;
    }
    if !missed.is_empty() {
        let record = Gap { reason, from_ns: gap.from_ns, to_ns: stamp.0, streams: &missed };
        feed.log.append(stamp, conn, Kind::Gap, 0, &record::to_json(&record))?;
    }
    Ok(())
}

/// True when a line that is subscribed to a stream delivers it too: it brought what the interrupted line did, whose last
/// frame is of `here_ns`, and is not overdue by its own pace since.
fn delivers(there: &StreamStat, here_ns: u64, now_ns: u64) -> bool {
    there.last_ns().saturating_add(LATE_NS) >= here_ns && there.overdue_ns(now_ns, LATE_NS).is_none()
}

/// Writes down that these are on no connection any more, because they are no longer wanted.
pub(crate) fn unsubscribed(feed: &VenueFeed, conn: u32, wants: Vec<Want>) {
    if wants.is_empty() {
        return;
    }
    let mut channels: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for want in wants {
        channels.entry(want.channel.as_str()).or_default().push(want.symbol);
    }
    feed.log.note(conn, UNSUBSCRIBED_EVENT, json!({ "channels": channels }));
}

#[cfg(test)]
mod tests {
    use super::super::super::watchdog::Streams;
    use super::*;
    use venue::StreamKey;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn a_line_covers_another_one_only_with_frames_not_by_being_subscribed() {
        const S: u64 = 1_000_000_000;
        let streams = Streams::new([("busy", false), ("slow", false)], |s| (s.into(), Vec::new()));
        let at = |n: usize| streams.all().nth(n).expect("two streams");
        let t = at(0).since_ns() + S;
        for i in 0..100 {
            streams.hit(StreamKey::name(b"busy"), t + i * S / 5);
        }
        streams.hit(StreamKey::name(b"slow"), t);
        let (last, slow) = (t + 99 * S / 5, t);
        assert!(
            delivers(at(0), last, last + S) && delivers(at(0), last + 9 * S, last + 9 * S),
            "a frame may be later here"
        );
        assert!(!delivers(at(0), last + 11 * S, last + 5 * S), "the other one had frames that this one has not");
        assert!(!delivers(at(0), last, last + 12 * S), "it was silent for the whole interruption, and is not usually");
        assert!(delivers(at(1), slow, slow + 600 * S), "nothing came on either, and seldom does");
    }

    fn start(cause: Cause, from_ns: u64) -> GapStart {
        GapStart { cause, from_ns }
    }

    #[test]
    fn the_interruption_of_a_stream_goes_on_until_that_stream_is_answered_over_connections_that_are_lost_again() {
        let (all, none) = (names(&["a", "b", "c"]), BTreeSet::new());
        let pending = |of: &[&str]| names(of).into_iter().collect::<BTreeSet<_>>();
        let first = start(Cause::Lost, 10);
        let mut gap = Interruption::after(None, first, std::iter::empty());
        assert_eq!(gap.end(&all, &pending(&["b", "c"])), [(first, names(&["a"]))]);
        assert!(gap.end(&all, &pending(&["b", "c"])).is_empty() && !gap.is_over(), "a is recorded once");
        // The connection is lost again while two of them are requested.
        let second = start(Cause::Server, 20);
        let unanswered = || [("b".to_owned(), 15), ("c".to_owned(), 15)].into_iter();
        let mut gap = Interruption::after(Some(&gap), second, unanswered());
        assert_eq!(gap.end(&all, &pending(&["c"])), [(second, names(&["a"])), (first, names(&["b"]))]);
        assert_eq!(gap.end(&all, &none), [(first, names(&["c"]))]);
        assert!(gap.is_over());
        // Nothing was subscribed in between: one interruption.
        let gap = Interruption::after(Some(&first.into()), second, unanswered());
        assert_eq!(gap.clone().end(&all, &none), [(first, all.clone())]);
        // What a connection never had is missing since it was requested, not since the last frame of the others.
        let mut gap = Interruption::after(None, second, unanswered());
        let asked = start(Cause::Server, 15);
        assert_eq!(gap.end(&all, &none), [(second, names(&["a"])), (asked, names(&["b", "c"]))]);
    }
}
