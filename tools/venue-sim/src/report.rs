//! Exactly what was sent: per connection and stream, per REST request; and the transcript file.
//!
//! A message counts when its last byte was handed to the socket. A message that was only partly handed over when its connection
//! ended counts as `unconfirmed`, and nowhere else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::closes::CloseReport;
use crate::listing::ListingReport;

/// Everything a simulation sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SimReport {
    /// Everything that can be sent was sent and flushed.
    pub finished: bool,
    /// By venue id.
    pub venues: BTreeMap<String, VenueReport>,
    /// Sums over all venues.
    pub totals: Totals,
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// WebSocket connections that were opened.
    pub connections: u64,
    /// Data frames.
    pub frames_sent: u64,
    /// Acks, errors and events.
    pub control_sent: u64,
    /// Garbage messages.
    pub garbage_sent: u64,
    /// Payload bytes of all of them.
    pub bytes_sent: u64,
    /// Messages cut in the middle.
    pub unconfirmed: u64,
    /// REST requests answered.
    pub rest_requests: u64,
    /// Bytes of their bodies.
    pub rest_bytes: u64,
}

/// One venue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VenueReport {
    /// Playing has begun.
    pub started: bool,
    /// Every frame was played.
    pub played_out: bool,
    /// Loops completed.
    pub loops: u64,
    /// Frames that were due, per source stream, whether or not anyone was subscribed.
    pub played: BTreeMap<String, u64>,
    /// WebSocket connections in the order of opening.
    pub connections: Vec<ConnReport>,
    /// REST.
    pub rest: RestReport,
    /// Connections ended by faults, in order.
    #[serde(default)]
    pub closes: Vec<CloseReport>,
    /// Symbols that appeared, stopped or went while it ran, in order.
    #[serde(default)]
    pub listing: Vec<ListingReport>,
    /// What was over a limit.
    #[serde(default)]
    pub limits: LimitsReport,
    /// How much of the limits was used. Venues that share limits report the same.
    #[serde(default)]
    pub usage: UsageReport,
}

/// The most that one address used of what a venue allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// REST weight allowed in a window.
    pub weight: u64,
    /// That window, ms.
    pub weight_window_ms: u64,
    /// The most in a window as the venue cuts it.
    pub weight_most: u64,
    /// The most in any time as long as a window.
    pub weight_most_rolling: u64,
    /// Upgrades allowed in a window.
    pub connects: u64,
    /// That window, ms.
    pub connect_window_ms: u64,
    /// The most upgrades in any such window.
    pub connects_most: u64,
}

/// What clients did beyond the limits of a venue, and what it led to. All zero = well behaved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsReport {
    /// Client messages over the window of their connection. An enforcing venue closes at the first.
    pub messages_over: u64,
    /// Text messages of more bytes than the venue reads. Binance answers none of them, an enforcing venue neither.
    #[serde(default)]
    pub messages_too_long: u64,
    /// Upgrades over the window of their address.
    pub connects_over: u64,
    /// REST requests over the weight of their address.
    pub weight_over: u64,
    /// Messages that left a connection with too many streams.
    pub streams_over: u64,
    /// Requests and upgrades refused for one of these, with 429 or 418.
    pub throttles: u64,
    /// Bans.
    pub bans: u64,
}

/// One WebSocket connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnReport {
    /// Number over all venues, as in the transcript.
    pub id: u32,
    /// Number within the venue, from 1.
    pub number: u32,
    /// Path and query as asked.
    pub path: String,
    /// Wall time of opening, ns since 1970.
    pub opened_ns: u64,
    /// Wall time of the end.
    pub closed_ns: Option<u64>,
    /// How it ended, one sentence.
    pub end: Option<String>,
    /// Data frames.
    pub frames_sent: u64,
    /// Acks, errors and events.
    pub control_sent: u64,
    /// Garbage messages.
    pub garbage_sent: u64,
    /// Payload bytes of all messages.
    pub bytes_sent: u64,
    /// Messages that were only partly handed to the socket.
    pub unconfirmed: u64,
    /// Data frames left out on request (silence and drop faults).
    pub withheld: u64,
    /// Data frames whose `stream` was rewritten to another speed of the same channel.
    pub rewritten: u64,
    /// Text messages received.
    pub client_messages: u64,
    /// Pings sent.
    pub pings_sent: u64,
    /// Pongs received.
    pub pongs_received: u64,
    /// SHA-256 over all message payloads (data, control, garbage; no pings, no close) in send order, hex.
    pub sha256: String,
    /// By delivered stream name.
    pub streams: BTreeMap<String, StreamReport>,
}

/// One stream of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Frames.
    pub frames: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// First id of the first frame that has one.
    pub first_id: Option<i64>,
    /// Last id of the last frame that has one.
    pub last_id: Option<i64>,
}

/// REST of one venue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestReport {
    /// Requests answered.
    pub requests: u64,
    /// Body bytes.
    pub bytes: u64,
    /// The requests in order, at most [`REST_LOG_MAX`].
    pub answers: Vec<RestAnswer>,
}

/// One answered request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestAnswer {
    /// Path and query as asked.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// Body bytes.
    pub bytes: u64,
    /// SHA-256 of the body, hex.
    pub sha256: String,
}

/// Requests kept one by one; later ones are only counted.
pub const REST_LOG_MAX: usize = 10_000;

impl RestReport {
    /// Notes one answer.
    pub fn note(&mut self, path: &str, status: u16, body: &[u8]) {
        self.requests += 1;
        self.bytes += body.len() as u64;
        if self.answers.len() < REST_LOG_MAX {
            self.answers.push(RestAnswer {
                path: path.to_owned(),
                status,
                bytes: body.len() as u64,
                sha256: hex(&Sha256::digest(body)),
            });
        }
    }
}

impl SimReport {
    /// Adds up the totals.
    pub fn sum(&mut self) {
        let mut totals = Totals::default();
        for venue in self.venues.values() {
            totals.connections += venue.connections.len() as u64;
            totals.rest_requests += venue.rest.requests;
            totals.rest_bytes += venue.rest.bytes;
            for conn in &venue.connections {
                totals.frames_sent += conn.frames_sent;
                totals.control_sent += conn.control_sent;
                totals.garbage_sent += conn.garbage_sent;
                totals.bytes_sent += conn.bytes_sent;
                totals.unconfirmed += conn.unconfirmed;
            }
        }
        self.totals = totals;
    }
}

/// What kind of message was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A data frame of the delivered stream with this index.
    Data {
        /// Index into the connection's delivered names.
        name: u32,
        /// First and last id.
        ids: Option<(i64, i64)>,
    },
    /// Ack, error or event.
    Control,
    /// Garbage.
    Garbage,
}

/// Running counts of one connection.
#[derive(Debug, Default)]
pub struct ConnStats {
    report: ConnReport,
    names: Vec<String>,
    streams: Vec<StreamReport>,
    hash: Sha256,
}

impl ConnStats {
    /// Counts of a connection that opened now.
    pub fn open(id: u32, number: u32, path: &str) -> ConnStats {
        let report = ConnReport { id, number, path: path.to_owned(), opened_ns: wall_ns(), ..ConnReport::default() };
        ConnStats { report, ..ConnStats::default() }
    }

    /// Makes delivered name `index` known.
    pub fn name(&mut self, index: u32, name: &str) {
        let index = index as usize;
        if self.names.len() <= index {
            self.names.resize(index + 1, String::new());
            self.streams.resize(index + 1, StreamReport::default());
        }
        if let Some(slot) = self.names.get_mut(index) {
            name.clone_into(slot);
        }
    }

    /// Counts a message that is in the socket.
    pub fn confirm(&mut self, sent: Sent, payload: &[u8]) {
        let bytes = payload.len() as u64;
        self.hash.update(payload);
        self.report.bytes_sent += bytes;
        match sent {
            Sent::Data { name, ids } => {
                self.report.frames_sent += 1;
                if let Some(stream) = self.streams.get_mut(name as usize) {
                    stream.frames += 1;
                    stream.bytes += bytes;
                    if let Some((first, last)) = ids {
                        stream.first_id.get_or_insert(first);
                        stream.last_id = Some(last);
                    }
                }
            }
            Sent::Control => self.report.control_sent += 1,
            Sent::Garbage => self.report.garbage_sent += 1,
        }
    }

    /// The plain counters, to add to.
    pub fn counters(&mut self) -> &mut ConnReport {
        &mut self.report
    }

    /// Notes the end, once.
    pub fn close(&mut self, end: &str) {
        if self.report.closed_ns.is_none() {
            self.report.closed_ns = Some(wall_ns());
            self.report.end = Some(end.to_owned());
        }
    }

    /// The counts as they are now.
    pub fn report(&self) -> ConnReport {
        let mut report = self.report.clone();
        report.sha256 = hex(&self.hash.clone().finalize());
        report.streams =
            self.names.iter().cloned().zip(self.streams.iter().cloned()).filter(|(_, s)| s.frames > 0).collect();
        report
    }
}

/// The transcript file.
pub struct Transcript(Mutex<BufWriter<File>>);

impl Transcript {
    /// Creates the file, replacing an older one.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> anyhow::Result<Transcript> {
        let file = File::create(path).with_context(|| format!("create transcript {}", path.display()))?;
        Ok(Transcript(Mutex::new(BufWriter::with_capacity(1 << 20, file))))
    }

    /// Appends one message.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append(&self, conn: u32, payload: &[u8]) -> std::io::Result<()> {
        let mut file = lock(&self.0);
        file.write_all(&wall_ns().to_le_bytes())?;
        file.write_all(&conn.to_le_bytes())?;
        file.write_all(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        file.write_all(payload)
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&self) -> std::io::Result<()> {
        lock(&self.0).flush()
    }
}

/// Locks, whatever happened to an earlier holder: counters stay usable after a panic elsewhere.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall time, ns since 1970.
#[expect(clippy::disallowed_methods, reason = "the one place of the simulator, which needs nothing of ours")]
pub(crate) fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_report_adds_up_and_names_only_streams_that_sent() {
        let mut stats = ConnStats::open(3, 1, "/stream");
        stats.name(0, "a@trade");
        stats.name(1, "b@trade");
        stats.confirm(Sent::Control, b"{}");
        stats.confirm(Sent::Data { name: 0, ids: Some((5, 5)) }, b"abc");
        stats.confirm(Sent::Data { name: 0, ids: Some((6, 8)) }, b"def");
        let report = stats.report();
        assert_eq!((report.frames_sent, report.control_sent, report.bytes_sent), (2, 1, 8));
        assert_eq!(report.sha256, hex(&Sha256::digest(b"{}abcdef")));
        let stream = StreamReport { frames: 2, bytes: 6, first_id: Some(5), last_id: Some(8) };
        assert_eq!(report.streams, BTreeMap::from([("a@trade".to_owned(), stream)]));
    }
}
