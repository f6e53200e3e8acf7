//! What the collector counts: atomics, what each connection does, and the Prometheus text.
//!
//! Counting never waits and never fails. Counters are kept in memory only: what must survive is in the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;
use wal_format::{WriterStats, flags};

use super::latency::Appends;
use super::stream_table::StreamTable;
use super::watchdog::{StreamStat, Streams};
use model::VenueId;
use ops::exposition::{self, Exposition};
use ops::health::{Conditions, Health};
use ops::memory::{Held, Pressure};
pub use ops::status::{ConnState, Counts};
use ops::supervise::Supervisor;

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
            pub(super) connections: Mutex<BTreeMap<Place, Connection>>,
            pub(super) expected: Mutex<Expected>,
            /// How long appends take.
            pub(super) appends: Appends,
            /// Of the log's present run.
            stats: Mutex<Option<Arc<WriterStats>>>,
            supervisor: Supervisor,
            failed: Mutex<Option<String>>,
            pub(super) no_listing: Mutex<Option<String>>,
        }

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
    /// Data frames of streams that were not requested.
    unasked: "tapedeck_collector_unasked_frames_total", "Data frames of streams nobody requested; a rise means the venue renamed streams.";
    /// Errors the venue sent.
    refused: "tapedeck_collector_venue_errors_total", "Errors sent by the venue; a rise means a wrong or refused subscription.";
    /// Requests that came too early for the venue.
    throttled: "tapedeck_collector_throttled_total", "Requests the venue wants to be asked again later; a rise means that the pace is too fast.";
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

/// Which connection: the number of the plan, and which of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Number of the planned connection.
    pub number: usize,
    /// Redundant line, 0 = first.
    pub line: u32,
}

impl Place {
    /// The other line of the same planned connection.
    pub(super) fn other(self) -> Place {
        Place { line: 1 - self.line.min(1), ..self }
    }

    /// Flags of the frames that come over it.
    #[inline]
    pub(super) fn flags(self) -> u8 {
        if self.line > 0 { flags::SECOND_LINE } else { 0 }
    }
}

/// What a connection slot does now, and why it does not deliver.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) state: ConnState,
    pub(super) conn: u32,
    /// Why it waits or connects: the last error, the ban.
    pub(super) why: Option<String>,
    /// Until when it waits.
    pub(super) until: Option<Instant>,
    /// What the venue refused last.
    pub(super) refused: Option<String>,
    /// Streams that it refuses, with its words.
    pub(super) refused_streams: BTreeMap<String, String>,
    pub(super) request_counts: RequestCounts,
    pub(super) streams: Arc<Streams>,
    pub(super) stream_table: Arc<StreamTable>,
}

/// How far the requests of a connection are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestCounts {
    /// Wait for their pace.
    pub(super) waiting: usize,
    /// Were sent and have no answer.
    pub(super) unanswered: usize,
    /// Were asked before, without an answer.
    pub(super) asked_again: usize,
}

/// From when on silence is remarkable, ns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pub(super) stream_silence_ns: u64,
}

impl Connection {
    /// Its streams without those that are no longer wanted.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &StreamStat> {
        let dropped = self.stream_table.dropped();
        self.streams.iter().filter(move |s| !dropped.contains(&s.name))
    }

    fn new(state: ConnState, conn: u32, streams: &Arc<Streams>, stream_table: &Arc<StreamTable>) -> Self {
        Self {
            state,
            conn,
            why: None,
            until: None,
            refused: None,
            refused_streams: BTreeMap::new(),
            request_counts: RequestCounts::default(),
            streams: Arc::clone(streams),
            stream_table: Arc::clone(stream_table),
        }
    }
}

impl VenueMetrics {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<Place, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, place: Place, change: impl FnOnce(&mut Connection)) {
        if let Some(c) = self.connections().get_mut(&place) {
            change(c);
        }
    }

    /// A slot that was never connected yet.
    pub(super) fn slot(&self, place: Place, streams: &Arc<Streams>, stream_table: &Arc<StreamTable>) {
        self.connections().entry(place).or_insert(Connection::new(ConnState::Connecting, 0, streams, stream_table));
    }

    /// A new connection of a slot.
    pub(super) fn connection(&self, place: Place, conn: u32, streams: &Arc<Streams>, stream_table: &Arc<StreamTable>) {
        self.connections().insert(place, Connection::new(ConnState::Subscribing, conn, streams, stream_table));
    }

    pub(super) fn state(&self, place: Place, state: ConnState) {
        self.change(place, |c| (c.state, c.until) = (state, None));
    }

    /// The slot waits until `until`, because of `why`.
    pub(super) fn waits(&self, place: Place, until: Option<Instant>, why: Option<String>) {
        self.change(place, |c| {
            (c.state, c.until) = (ConnState::Waiting, until);
            if why.is_some() {
                c.why = why;
            }
        });
    }

    /// How far the subscriptions are.
    pub(super) fn request_counts(&self, place: Place, request_counts: RequestCounts) {
        self.change(place, |c| c.request_counts = request_counts);
    }

    /// Why there is no listing of symbols yet.
    pub(super) fn listing(&self, why: Option<String>) {
        *self.no_listing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// The venue refused a request of this connection.
    pub(super) fn refusal(&self, place: Place, what: String) {
        self.change(place, |c| c.refused = Some(what));
    }

    /// Streams that the venue refuses on this connection now, with its words.
    pub(super) fn refused_streams(&self, place: Place, refused: BTreeMap<String, String>) {
        self.change(place, |c| c.refused_streams = refused);
    }

    /// Streams were added to a connection.
    pub(super) fn streams_are(&self, place: Place, streams: &Arc<Streams>) {
        self.change(place, |c| c.streams = Arc::clone(streams));
    }

    /// When the present or last connection of a slot delivered last, ns since epoch; 0 = never.
    pub(super) fn last_ns(&self, place: Place) -> u64 {
        let connections = self.connections();
        connections.get(&place).map_or(0, |c| c.streams.all().map(StreamStat::last_ns).max().unwrap_or(0))
    }

    /// When a stream of the planned connection `number` was last heard on any of its lines, ns since epoch; 0 = never.
    pub(super) fn last_heard_ns(&self, number: usize, stream: &str) -> u64 {
        let connections = self.connections();
        let lines = connections.iter().filter(|(place, _)| place.number == number);
        let stats = lines.flat_map(|(_, c)| c.streams.all()).filter(|s| s.name == stream);
        stats.map(StreamStat::last_ns).max().unwrap_or(0)
    }

    /// When a stream of `symbol` was last heard on any connection, ns since epoch; 0 = never.
    pub(super) fn symbol_heard_ns(&self, symbol: &str) -> u64 {
        let connections = self.connections();
        let of_symbol = connections.values().flat_map(|c| {
            let names = c.stream_table.streams_of(symbol);
            c.streams.all().filter(move |s| names.contains(&s.name))
        });
        of_symbol.map(StreamStat::last_ns).max().unwrap_or(0)
    }

    /// The streams of the present or last connection of a slot.
    pub(super) fn streams(&self, place: Place) -> Option<Arc<Streams>> {
        self.connections().get(&place).map(|c| Arc::clone(&c.streams))
    }

    /// The slot is gone.
    pub(super) fn gone(&self, place: Place) {
        self.connections().remove(&place);
    }

    pub(super) fn expects(&self, stream_silence_s: u64) {
        let stream_silence_ns = stream_silence_s.saturating_mul(1_000_000_000);
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = Expected { stream_silence_ns };
    }

    /// How many connections are in this state.
    pub(super) fn connections_in(&self, state: ConnState) -> usize {
        self.connections().values().filter(|c| c.state == state).count()
    }

    /// What connections and their streams hold, about, bytes.
    fn connections_bytes(&self) -> u64 {
        /// Read buffers of socket, TLS and WebSocket, and a message that is put together.
        const CONNECTION: u64 = 128 << 10;
        /// Name, counters and place in the index.
        const STREAM: u64 = 320;
        self.connections().values().map(|c| CONNECTION + c.streams.all().count() as u64 * STREAM).sum()
    }

    pub(super) fn writer(&self, stats: Arc<WriterStats>) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = Some(stats);
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

    /// What is wrong now in this process, other venues included.
    pub fn conditions(&self) -> &Conditions {
        self.supervisor.conditions()
    }

    /// Who watches the tasks of this process.
    pub(super) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Counters of the log's writer, once it is open.
    pub(crate) fn writer_stats(&self) -> Option<Arc<WriterStats>> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Metrics of one collector process.
#[derive(Debug, Default)]
pub struct Metrics {
    venues: BTreeMap<VenueId, Arc<VenueMetrics>>,
    pressure: Pressure,
    health: OnceLock<Arc<Health>>,
    supervisor: Supervisor,
    reloads: [Counter; Reloaded::ALL.len()],
}

/// What became of a configuration that was read again while recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// What may change while recording did.
    Applied,
    /// It did not.
    Unchanged,
    /// It cannot be used.
    Refused,
}

impl Reloaded {
    const ALL: [Reloaded; 3] = [Reloaded::Applied, Reloaded::Unchanged, Reloaded::Refused];

    /// The word in metrics and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Unchanged => "unchanged",
            Reloaded::Refused => "refused",
        }
    }
}

impl Metrics {
    /// Zeros for these venues.
    pub fn new(venues: impl IntoIterator<Item = VenueId>) -> Self {
        Self::supervised(venues, Supervisor::default())
    }

    /// [`Metrics::new`] of a service whose tasks `supervisor` watches.
    pub fn supervised(venues: impl IntoIterator<Item = VenueId>, supervisor: Supervisor) -> Self {
        let venue = |id| (id, Arc::new(VenueMetrics { supervisor: supervisor.clone(), ..VenueMetrics::default() }));
        Self { venues: venues.into_iter().map(venue).collect(), supervisor: supervisor.clone(), ..Self::default() }
    }

    /// Of a process whose memory is watched; its parts say what they hold.
    pub fn under(mut self, pressure: Pressure) -> Self {
        for venue in self.venues.values() {
            let of = Arc::clone(venue);
            pressure.probe("connections", Held::Own, move || of.connections_bytes());
        }
        self.pressure = pressure;
        self
    }

    /// Who looks at disks and readers; set once.
    pub(super) fn watched_by(&self, health: Arc<Health>) {
        let _ = self.health.set(health);
    }

    /// Who looks at disks and readers.
    pub(super) fn health(&self) -> Option<&Health> {
        self.health.get().map(Arc::as_ref)
    }

    /// The configuration was read again.
    pub(super) fn reloaded(&self, result: Reloaded) {
        let counters = Reloaded::ALL.iter().zip(&self.reloads);
        counters.filter(|(r, _)| **r == result).for_each(|(_, counter)| counter.add(1));
    }

    /// What is wrong now in this process.
    pub fn conditions(&self) -> &Conditions {
        self.supervisor.conditions()
    }

    /// Who watches the tasks of this process.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// How tight the process's memory is.
    pub fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    /// The counters of one venue.
    pub fn venue(&self, id: VenueId) -> Option<&Arc<VenueMetrics>> {
        self.venues.get(&id)
    }

    /// All venues.
    pub(super) fn venues(&self) -> impl Iterator<Item = (VenueId, &VenueMetrics)> {
        self.venues.iter().map(|(id, v)| (*id, v.as_ref()))
    }

    /// Prometheus text.
    pub fn prometheus(&self) -> String {
        exposition::text(|out| self.expose(out))
    }

    fn expose(&self, out: &mut Exposition) {
        let all: Vec<(VenueId, Counts)> = self.venues.iter().map(|(id, v)| (*id, v.counts())).collect();
        for (name, help, get) in NAMES {
            out.series(*name, help, all.iter().map(|(id, counts)| ([("venue", id)], get(counts))));
        }
        let mut last: BTreeMap<(VenueId, String), u64> = BTreeMap::new();
        for (id, venue) in &self.venues {
            // Two lines deliver the same streams: what counts is the younger frame.
            for c in venue.connections().values() {
                for s in c.wanted().filter(|s| s.last_ns() > 0) {
                    let known = last.entry((*id, s.name.clone())).or_default();
                    *known = s.last_ns().max(*known);
                }
            }
        }
        let seconds = |ns: &u64| (ns / 1_000_000) as f64 / 1e3;
        out.series(
            "tapedeck_collector_stream_last_frame_seconds",
            "Receive time of a stream's last frame, Unix time; a stream whose time stays the same has stopped.",
            last.iter().map(|((id, s), ns)| ([("venue", id.as_str()), ("stream", s.as_str())], seconds(ns))),
        );
        out.series(
            "tapedeck_collector_config_reloads_total",
            "Times the configuration was read again (SIGHUP), by what became of it; refused means that the file cannot be used.",
            Reloaded::ALL.iter().zip(&self.reloads).map(|(result, n)| ([("result", result.as_str())], n.get())),
        );
        self.conditions().expose(out);
        self.supervisor.expose(out);
        self.writers(out);
        self.flow(out);
        if let Some(health) = self.health() {
            health.expose(out);
        }
        self.pressure.report().expose(out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use venue::{ConnectionPlan, StreamKey};

    fn stream_table() -> Arc<StreamTable> {
        let plan = ConnectionPlan { path_and_query: String::new(), streams: Vec::new(), wants: Vec::new() };
        Arc::new(StreamTable::new(plan, 2))
    }

    fn streams(names: &[&str]) -> Arc<Streams> {
        Arc::new(Streams::new(names.iter().map(|n| (*n, false)), |s| (s.into(), Vec::new())))
    }

    #[test]
    fn the_text_has_help_type_and_one_line_per_venue_and_stream() {
        let m = Metrics::new([VenueId::BinanceSpot, VenueId::BinanceUsdm]);
        let v = m.venue(VenueId::BinanceSpot).unwrap();
        v.frames.add(3);
        for (line, at_ns) in [(0, 1_700_000_000_250_000_000), (1, 1_600_000_000_000_000_000)] {
            let streams = streams(&["a\"b@trade", "quiet@trade"]);
            streams.hit(StreamKey::name(b"a\"b@trade"), at_ns);
            v.connection(Place { number: 0, line }, 4, &streams, &stream_table());
        }
        let text = m.prometheus();
        assert!(text.contains("# TYPE tapedeck_collector_frames_total counter\n"), "{text}");
        assert!(text.contains("tapedeck_collector_frames_total{venue=\"binance-spot\"} 3\n"), "{text}");
        assert!(text.contains("tapedeck_collector_frames_total{venue=\"binance-usdm\"} 0\n"), "{text}");
        assert!(text.contains("stream=\"a\\\"b@trade\"} 1700000000.25\n"), "{text}");
        assert!(!text.contains("quiet@trade"), "{text}");
    }
}
