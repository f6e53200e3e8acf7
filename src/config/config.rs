//! The checked configuration: its sections, and what follows from several of them.
//!
//! Made by [`crate::read`]; nothing behind it checks a value again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::api::Api;
use crate::collector::Collector;
use crate::history::History;
use crate::klines::Klines;
use crate::venues::VenueConfig;
use crate::wal::Wal;
use model::{Channel, VenueId};
use net::Tls;

use ops::memory::Settings as Memory;
use ops::telemetry::Log;
use settings::Origin;

/// Name under which the compactor acknowledges what is in the lake.
pub const LAKE_READER: &str = "lake";
/// Name under which the compactor acknowledges what is in the candles.
pub const KLINES_READER: &str = "klines";

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Root of wal/, lake/, archive/.
    pub data_dir: PathBuf,
    /// GiB that the disks of archive and lake should keep free; 0 = no such limit.
    pub min_free_gib: u64,
    /// Section `[wal]`.
    pub wal: Wal,
    /// Section `[tls]`.
    pub tls: Tls,
    /// Where processes share what they ask of the exchanges; `None` = below the data directory.
    pub budget_dir: Option<PathBuf>,
    /// Sections `[venues.*]`; a venue without a table is off.
    pub venues: BTreeMap<VenueId, VenueConfig>,
    /// Section `[lake]`.
    pub lake: lake::Settings,
    /// Section `[collector]`.
    pub collector: Collector,
    /// Section `[klines]`.
    pub klines: Klines,
    /// Section `[api]`.
    pub api: Api,
    /// Section `[history]`.
    pub history: History,
    /// Section `[memory]`.
    pub memory: Memory,
    /// Section `[log]`.
    pub log: Log,
    /// Every key with its value as TOML text and where it came from, in file order.
    pub effective: Vec<(String, String, Origin)>,
    /// What tells values apart, secret ones too.
    pub(crate) fingerprints: BTreeMap<String, u64>,
}

impl Config {
    /// `<data dir>/archive`: archived segments.
    pub fn archive_root(&self) -> PathBuf {
        self.data_dir.join("archive")
    }

    /// Where processes share what they ask of the exchanges.
    pub fn budget_dir(&self) -> PathBuf {
        self.budget_dir.clone().unwrap_or_else(|| self.data_dir.join("budget"))
    }

    /// `<data dir>/wal`.
    pub fn wal_root(&self) -> PathBuf {
        self.data_dir.join("wal")
    }

    /// The log of one venue.
    pub fn wal_dir(&self, venue: VenueId) -> PathBuf {
        self.wal_root().join(venue.as_str())
    }

    /// The log of what was fetched over REST for holes of the venue's log.
    pub fn repair_dir(&self, venue: VenueId) -> PathBuf {
        self.wal_root().join(format!("{venue}.repair"))
    }

    /// Configured venues with the channel that candles are made of: the one named in `klines.source`, else
    /// aggregates, else trades, whichever is recorded.
    pub fn kline_sources(&self) -> Vec<(VenueId, Channel)> {
        let recorded = |v: &VenueConfig, channel: Channel| v.channels.contains(&channel).then_some(channel);
        let source = |v: &VenueConfig| match self.klines.source.get(&v.id) {
            Some(None) => None,
            Some(Some(channel)) if recorded(v, *channel).is_some() => Some(*channel),
            _ => recorded(v, Channel::AggTrades).or_else(|| recorded(v, Channel::Trades)),
        };
        self.venues.values().filter_map(|v| Some((v.id, source(v)?))).collect()
    }

    /// The readers that must have passed a segment of a venue's logs before it may go: the lake, and the candles when
    /// they are made of this venue. An ack of a reader that is not configured any more holds nothing back.
    pub fn readers(&self, id: VenueId) -> &'static [&'static str] {
        let candles = self.kline_sources().iter().any(|(venue, _)| *venue == id);
        if candles { &[LAKE_READER, KLINES_READER] } else { &[LAKE_READER] }
    }

    /// Options of a log writer as configured.
    pub fn log_options(&self) -> wal_format::LogOptions {
        let mut o = wal_format::LogOptions::new(std::sync::Arc::new(ops::clock::now));
        o.receive = Some(std::sync::Arc::clone(ops::clock::receive()));
        o.segment_bytes = self.wal.segment_mib << 20;
        o.sync = self.wal.sync_policy();
        o.ready_segments = self.wal.ready_segments;
        o.spill_dirs.clone_from(&self.wal.spill_dirs);
        o.writer_version = concat!("tapedeck ", env!("CARGO_PKG_VERSION")).to_owned();
        o
    }

    /// Where the value of a key came from, for messages.
    pub(crate) fn origin_of(&self, key: &str) -> String {
        self.effective.iter().find(|(k, ..)| k == key).map_or_else(String::new, |(.., o)| o.to_string())
    }
}
