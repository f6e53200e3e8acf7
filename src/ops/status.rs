//! What a collector says of itself, as it goes over the wire: [`Status`] is the answer of its `/v1/status`, and
//! `tapedeck status` and the page read it. Who computes it is the collector.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::VenueId;
use serde::{Deserialize, Serialize};
use wal_format::regular;

use crate::health::Condition;
use crate::memory::MemoryReport;

/// What a connection slot does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnState {
    /// Waits: for the pace of connects, for the end of a ban, or before trying again.
    Waiting,
    /// Is being opened.
    #[default]
    Connecting,
    /// Open; subscriptions are being sent or answered.
    Subscribing,
    /// Every subscription was answered.
    Live,
    /// Ended for good.
    Stopped,
}

/// The counters of one venue at one time. What each is as a metric: `collect::metrics`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Counts {
    /// WebSocket messages and REST bodies appended to the log.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Messages that are no data: acknowledgements, errors, notices.
    pub control: u64,
    /// Data frames of streams that were not subscribed.
    pub unasked: u64,
    /// Errors the venue sent.
    pub refused: u64,
    /// Requests that came too early for the venue.
    pub throttled: u64,
    /// Connection attempts.
    pub attempts: u64,
    /// Connections opened.
    pub connects: u64,
    /// Connections that ended unplanned.
    pub disconnects: u64,
    /// Planned replacements.
    pub rotations: u64,
    /// Connections replaced because they were silent.
    pub stale: u64,
    /// Reports of silent streams.
    pub silent_streams: u64,
    /// REST requests answered with success.
    pub rest_ok: u64,
    /// REST requests that failed.
    pub rest_errors: u64,
    /// Frames larger than a record.
    pub too_large: u64,
    /// Failures of the log.
    pub log_errors: u64,
}

/// One stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Name as subscribed.
    pub stream: String,
    /// Frames on the present connection.
    pub frames: u64,
    /// Receive time of the last one, on this connection or one before, ns since epoch; 0 = none.
    pub last_ns: u64,
    /// How long ago that was, ms; `None` = never.
    pub age_ms: Option<u64>,
    /// Why it does not flow; `None` = it does.
    pub why: Option<String>,
}

/// One connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnStatus {
    /// Number of the planned connection.
    pub slot: usize,
    /// Redundant line, 0 = first.
    pub line: u32,
    /// Ordinal in the log; 0 = never open yet.
    pub conn: u32,
    /// What it does.
    pub state: ConnState,
    /// Why it does not deliver; `None` = it does.
    pub why: Option<String>,
    /// Its streams.
    pub streams: Vec<StreamStatus>,
}

/// One venue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VenueStatus {
    /// Venue id.
    pub venue: String,
    /// Why it does not record at present, if so.
    pub failed: Option<String>,
    /// Why the symbols are not known yet, if so.
    pub no_listing: Option<String>,
    /// Why nothing is asked of the exchange for a while, if so.
    #[serde(default)]
    pub banned: Option<String>,
    /// Counters.
    pub counts: Counts,
    /// Its connections.
    pub connections: Vec<ConnStatus>,
}

/// The whole collector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// All venues.
    pub venues: Vec<VenueStatus>,
    /// Memory of the process.
    #[serde(default)]
    pub memory: Option<MemoryReport>,
    /// What is wrong now.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Where the collector of `venue` says its address.
pub fn address_file(wal_root: &Path, venue: VenueId) -> PathBuf {
    wal_root.join(format!("{venue}.http"))
}

/// An address is never longer.
const ADDRESS_BYTES_MAX: u64 = 1 << 10;

/// Where the collector of `venue` answers, as far as it says so.
pub fn address(wal_root: &Path, venue: VenueId) -> Option<SocketAddr> {
    let text = regular::read_to_string(&address_file(wal_root, venue), ADDRESS_BYTES_MAX).ok()?;
    text.trim().parse().ok().filter(|a: &SocketAddr| a.ip().is_loopback())
}
