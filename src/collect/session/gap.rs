//! Interruptions written down: when a line did not deliver, and whether the other one did; and what is no interruption
//! because nobody wants it any more.

use std::collections::BTreeMap;

use serde_json::json;
use wal_format::Kind;

use super::super::feed::Feed;
use super::super::log::{LogStopped, Stamp};
use super::super::record::{self, Gap, UNSUBSCRIBED_EVENT};
use super::super::roster::Roster;
use super::Cause;
use crate::venue::Want;

/// An interruption that began and is written down when everything is subscribed again.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct GapStart {
    pub(in crate::collect) cause: Cause,
    pub(in crate::collect) from_ns: u64,
}

/// Writes the Gap record of an interruption of `line` that ends now, unless the other line covered all of it:
/// then that is an event, and nothing is missing.
pub(in crate::collect) fn write_gap(
    feed: &Feed,
    roster: &Roster,
    line: u32,
    conn: u32,
    gap: GapStart,
    streams: &[String],
) -> Result<(), LogStopped> {
    let stamp = Stamp::now();
    let reason = gap.cause.as_str();
    if gap.cause != Cause::Log && roster.covered(line, gap.from_ns) {
        let detail = json!({
            "reason": reason, "from_ns": gap.from_ns, "to_ns": stamp.0, "line": line, "streams": streams.len(),
        });
        feed.log.event(conn, "covered", detail)?;
        return Ok(());
    }
    let record = Gap { reason, from_ns: gap.from_ns, to_ns: stamp.0, streams };
    feed.log.append(stamp, conn, Kind::Gap, 0, &record::json(&record))?;
    Ok(())
}

/// Writes down that these are on no connection any more, because nobody wants them.
pub(in crate::collect) fn unsubscribed(feed: &Feed, conn: u32, wants: Vec<Want>) {
    if wants.is_empty() {
        return;
    }
    let mut channels: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for want in wants {
        channels.entry(want.channel.as_str()).or_default().push(want.symbol);
    }
    feed.log.note(conn, UNSUBSCRIBED_EVENT, json!({ "channels": channels }));
}
