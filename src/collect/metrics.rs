//! What the collector counts: atomics, a snapshot for status, and the Prometheus text.
//!
//! Counting never waits and never fails. Counters are kept in memory only: what must survive is in the log.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;
use wal_format::WriterStats;

use super::watchdog::Streams;
use crate::venue::VenueId;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $name:literal, $help:literal;)+) => {
        /// Counters of one venue.
        #[derive(Debug, Default)]
        pub struct VenueMetrics {
            $($(#[$doc])* pub $field: Counter,)+
            connections: Mutex<BTreeMap<usize, Connection>>,
            stats: OnceLock<Arc<WriterStats>>,
            failed: Mutex<Option<String>>,
        }

        /// The counters of one venue at one time.
        #[derive(Clone, Debug, Serialize, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $field: u64,)+ }

        impl VenueMetrics {
            /// All counters.
            pub fn counts(&self) -> Counts {
                Counts { $($field: self.$field.get(),)+ }
            }
        }

        const NAMES: &[(&str, &str, fn(&Counts) -> u64)] = &[$(($name, $help, |c| c.$field),)+];
    };
}

counters! {
    /// WebSocket messages and REST bodies appended to the log.
    frames: "tapedeck_collector_frames_total", "Frames appended to the log; no rise means that nothing arrives.";
    /// Bytes of them.
    bytes: "tapedeck_collector_bytes_total", "Bytes of the frames appended to the log.";
    /// Messages that are no data: acknowledgements, errors, notices.
    control: "tapedeck_collector_control_frames_total", "Frames that carry no data: acknowledgements, errors, notices.";
    /// Data frames of streams that were not asked for.
    unasked: "tapedeck_collector_unasked_frames_total", "Data frames of streams nobody asked for; a rise means the venue renamed streams.";
    /// Errors the venue sent.
    refused: "tapedeck_collector_venue_errors_total", "Errors sent by the venue; a rise means a wrong or refused subscription.";
    /// Connection attempts.
    attempts: "tapedeck_collector_connect_attempts_total", "Connection attempts; a steady rise means that connections do not last.";
    /// Connections opened.
    connects: "tapedeck_collector_connects_total", "Connections opened.";
    /// Connections that ended unplanned.
    disconnects: "tapedeck_collector_disconnects_total", "Connections that ended unplanned; each one is a GAP record.";
    /// Planned replacements.
    rotations: "tapedeck_collector_rotations_total", "Planned replacements of a connection.";
    /// Connections replaced because they were silent.
    stale: "tapedeck_collector_stale_connections_total", "Connections replaced because nothing arrived on them.";
    /// Reports of silent streams.
    silent_streams: "tapedeck_collector_silent_streams_total", "Streams that were acknowledged and delivered nothing, or stopped.";
    /// REST requests answered with success.
    rest_ok: "tapedeck_collector_rest_ok_total", "REST requests that were answered.";
    /// REST requests that failed.
    rest_errors: "tapedeck_collector_rest_errors_total", "REST requests that failed; each one is an event of the log.";
    /// Frames larger than a record.
    too_large: "tapedeck_collector_too_large_frames_total", "Frames larger than a record may be; each one is an event instead.";
    /// Failures of the log.
    log_errors: "tapedeck_collector_log_errors_total", "Times the log took no record; from then until it does the sockets of the venue are closed.";
}

/// What a connection slot does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnState {
    /// Waits for its pace or its back-off, or is being opened.
    Connecting,
    /// Open; subscriptions are being sent or answered.
    Subscribing,
    /// Every subscription was answered.
    Live,
    /// Ended for good.
    Stopped,
}

#[derive(Debug)]
struct Connection {
    state: ConnState,
    conn: u32,
    streams: Arc<Streams>,
}

/// One connection in a [`Snapshot`].
#[derive(Clone, Debug, Serialize)]
pub struct ConnSnapshot {
    /// Number of the planned connection.
    pub slot: usize,
    /// Ordinal in the log; 0 = never open yet.
    pub conn: u32,
    /// What it does.
    pub state: ConnState,
    /// Its streams.
    pub streams: Vec<StreamSnapshot>,
}

/// One stream in a [`Snapshot`].
#[derive(Clone, Debug, Serialize)]
pub struct StreamSnapshot {
    /// Name.
    pub stream: String,
    /// Frames on the present connection.
    pub frames: u64,
    /// Receive time of the last one, ns since epoch; 0 = none.
    pub last_ns: u64,
}

/// One venue in a [`Snapshot`].
#[derive(Clone, Debug, Serialize)]
pub struct VenueSnapshot {
    /// Venue id.
    pub venue: String,
    /// Why it does not record at present, if so.
    pub failed: Option<String>,
    /// Counters.
    pub counts: Counts,
    /// Its connections.
    pub connections: Vec<ConnSnapshot>,
}

/// Everything at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// All venues.
    pub venues: Vec<VenueSnapshot>,
}

impl VenueMetrics {
    pub(super) fn connection(&self, slot: usize, state: ConnState, conn: u32, streams: &Arc<Streams>) {
        let entry = Connection { state, conn, streams: Arc::clone(streams) };
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, entry);
    }

    pub(super) fn state(&self, slot: usize, state: ConnState) {
        if let Some(c) = self.connections.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&slot) {
            c.state = state;
        }
    }

    pub(super) fn writer(&self, stats: Arc<WriterStats>) {
        // Set once, when the log of this venue is opened.
        let _ = self.stats.set(stats);
    }

    pub(super) fn fail(&self, why: &str) {
        // The first reason is the one that matters.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
    }

    pub(super) fn resumed(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why this venue does not record at present, if so.
    pub fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counters of the log's writer, once it is open.
    pub fn writer_stats(&self) -> Option<&WriterStats> {
        self.stats.get().map(Arc::as_ref)
    }

    fn snapshot(&self, venue: VenueId) -> VenueSnapshot {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = |s: &super::watchdog::StreamStat| StreamSnapshot {
            stream: s.name.clone(),
            frames: s.frames(),
            last_ns: s.last_ns(),
        };
        VenueSnapshot {
            venue: venue.as_str().to_owned(),
            failed: self.failed(),
            counts: self.counts(),
            connections: connections
                .iter()
                .map(|(slot, c)| ConnSnapshot {
                    slot: *slot,
                    conn: c.conn,
                    state: c.state,
                    streams: c.streams.iter().map(stream).collect(),
                })
                .collect(),
        }
    }
}

/// Metrics of one collector process.
#[derive(Debug, Default)]
pub struct Metrics {
    venues: BTreeMap<VenueId, Arc<VenueMetrics>>,
}

impl Metrics {
    /// Zeros for these venues.
    pub fn new(venues: impl IntoIterator<Item = VenueId>) -> Self {
        Self { venues: venues.into_iter().map(|v| (v, Arc::default())).collect() }
    }

    /// The counters of one venue.
    pub fn venue(&self, id: VenueId) -> Option<&Arc<VenueMetrics>> {
        self.venues.get(&id)
    }

    /// Everything now, for status.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { venues: self.venues.iter().map(|(id, v)| v.snapshot(*id)).collect() }
    }

    /// Prometheus text exposition format.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let all: Vec<(VenueId, Counts)> = self.venues.iter().map(|(id, v)| (*id, v.counts())).collect();
        // Writing to a String cannot fail.
        for (name, help, get) in NAMES {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (id, counts) in &all {
                let _ = writeln!(out, "{name}{{venue=\"{id}\"}} {}", get(counts));
            }
        }
        let name = "tapedeck_collector_stream_last_frame_seconds";
        let _ = writeln!(
            out,
            "# HELP {name} Receive time of a stream's last frame, Unix time; a stream that stands still has stopped.\n# TYPE {name} gauge"
        );
        for (id, venue) in &self.venues {
            for c in venue.snapshot(*id).connections {
                for s in c.streams.iter().filter(|s| s.last_ns > 0) {
                    let stream = s.stream.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                    let (s, ms) = (s.last_ns / 1_000_000_000, s.last_ns / 1_000_000 % 1_000);
                    let _ = writeln!(out, "{name}{{venue=\"{id}\",stream=\"{stream}\"}} {s}.{ms:03}");
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::venue::StreamKey;

    fn named(stream: &str) -> (Vec<u8>, Vec<u8>) {
        (stream.into(), Vec::new())
    }

    #[test]
    fn the_text_has_help_type_and_one_line_per_venue_and_stream() {
        let m = Metrics::new([VenueId::BinanceSpot, VenueId::BinanceUsdm]);
        let v = m.venue(VenueId::BinanceSpot).unwrap();
        v.frames.add(3);
        let streams = Arc::new(Streams::new(&["a\"b@trade".to_owned(), "quiet@trade".to_owned()], named));
        streams.hit(StreamKey::name(b"a\"b@trade"), 1_700_000_000_250_000_000);
        v.connection(0, ConnState::Live, 4, &streams);
        let text = m.prometheus();
        assert!(text.contains("# TYPE tapedeck_collector_frames_total counter\n"), "{text}");
        assert!(text.contains("tapedeck_collector_frames_total{venue=\"binance-spot\"} 3\n"), "{text}");
        assert!(text.contains("tapedeck_collector_frames_total{venue=\"binance-usdm\"} 0\n"), "{text}");
        assert!(text.contains("stream=\"a\\\"b@trade\"} 1700000000.250\n"), "{text}");
        assert!(!text.contains("quiet@trade"), "{text}");
    }

    #[test]
    fn the_snapshot_shows_connections_with_the_age_of_their_streams_and_why_a_venue_stopped() {
        let m = Metrics::new([VenueId::BinanceSpot]);
        let v = m.venue(VenueId::BinanceSpot).unwrap();
        let streams = Arc::new(Streams::new(&["a@trade".to_owned()], named));
        streams.hit(StreamKey::name(b"a@trade"), 7);
        v.connection(0, ConnState::Subscribing, 4, &streams);
        v.state(0, ConnState::Live);
        v.fail("disk full");
        v.fail("a later reason");
        let json = serde_json::to_value(m.snapshot()).unwrap();
        let venue = &json["venues"][0];
        assert_eq!(venue["failed"], "disk full");
        assert_eq!(venue["connections"][0]["state"], "live");
        assert_eq!(venue["connections"][0]["streams"][0]["last_ns"], 7);
    }
}
