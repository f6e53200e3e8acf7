//! One TOML file for both services, checked before anything starts.
//!
//! `config/tapedeck.toml` is compiled in and *is* the default: every key that may be set stands there. A user's
//! file and `TAPEDECK__SECTION__KEY` variables override single keys. Reading never stops at the first problem:
//! all of them are reported at once, each with the key, where the value came from, and what would pass.
//! Nothing behind [`Config`] checks a value again.

mod api;
mod change;
pub mod check;
mod history;
mod network;
pub mod pacing;
pub mod places;
pub mod proxy;
mod read;
pub mod room;
mod secret;
mod source;
mod venues;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use wal_format::regular;

use model::{Channel, VenueId};
use venue::Limits;

pub use api::Api;
pub use history::History;
pub use ops::memory::Settings as Memory;
pub use ops::telemetry::Log;
pub use pacing::Warning;
pub use proxy::{Credentials, Proxy, ProxyKind};
pub use secret::{DatabaseUrl, Secret, redact};
pub use source::Origin;

/// The shipped file, which is the default.
pub const DEFAULT_TOML: &str = include_str!("../../config/tapedeck.toml");

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
    pub lake: Lake,
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
    fingerprints: BTreeMap<String, u64>,
}

/// Section `[wal]`.
#[derive(Clone, Debug)]
pub struct Wal {
    /// Segment size, MiB.
    pub segment_mib: u64,
    /// When the log is forced to disk.
    pub sync: wal_format::SyncPolicy,
    /// Segments kept allocated ahead of need.
    pub ready_segments: usize,
    /// Directories on other disks for segments that the log's own cannot hold, in order of preference.
    pub spill_dirs: Vec<PathBuf>,
    /// Hours a segment is kept after every consumer acked it.
    pub retention_hours: u64,
    /// zstd level at which sealed, acked segments are archived; `None` = they are deleted.
    pub archive: Option<i32>,
    /// Hours an archived segment is kept after its last record; 0 = for ever.
    pub archive_retention_hours: u64,
    /// GiB of all archived segments together; 0 = no limit.
    pub archive_max_gib: u64,
}

/// Section `[tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificates that are trusted beside Mozilla's roots.
    pub extra_roots: Vec<rustls::pki_types::CertificateDer<'static>>,
}

/// One `[venues.<venue>]` table.
#[derive(Clone, Debug)]
pub struct VenueConfig {
    /// Which venue.
    pub id: VenueId,
    /// Exact names and globs.
    pub symbols: Vec<String>,
    /// Channels to record.
    pub channels: Vec<Channel>,
    /// The venue's limits with the configured overrides.
    pub limits: Limits,
    /// Listing refresh, s.
    pub symbols_refresh_s: u64,
    /// Missing trades are fetched over REST where the venue can.
    pub repair: bool,
    /// REST base: the venue's own unless set; no slash at the end.
    pub rest_url: String,
    /// WebSocket base where one is set; no slash at the end. `None` = the token's endpoint or the venue's own.
    pub ws_url: Option<String>,
    /// Connections per planned connection, 1 or 2; with 2 the same streams come twice, over different addresses.
    pub lines: u32,
    /// Every connection is replaced at this time of the day, s since midnight UTC.
    pub rotate_at_s: Option<u32>,
    /// Environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The proxy of line 0 and of line 1; `None` = direct. `[proxy]` and the venue's own keys are settled here.
    pub proxies: [Option<Proxy>; 2],
}

/// Section `[collector]`.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where the collector serves status, health and metrics.
    pub listen: SocketAddr,
}

/// Section `[lake]`.
#[derive(Clone, Debug)]
pub struct Lake {
    /// Where the tables are.
    pub dir: PathBuf,
    /// Hours a published hour is kept after its end; 0 = for ever.
    pub retention_hours: u64,
    /// GiB of all published files of the configured venues together; 0 = no limit.
    pub max_gib: u64,
    /// What is published.
    pub format: lake::LakeFormat,
    /// True for exact decimals instead of doubles.
    pub decimal: bool,
    /// zstd level of Parquet pages.
    pub zstd_level: i32,
    /// Rows of one row group.
    pub row_group_rows: usize,
    /// Log records decoded between two looks at the clock and at the shutdown request.
    pub batch_rows: usize,
    /// Soft limit of tables that hold rows in memory.
    pub max_open_writers: usize,
    /// A table without new rows for this long is staged, s.
    pub idle_stage_s: u64,
    /// Everything in memory is staged this often, s.
    pub ack_interval_s: u64,
    /// Minutes of the hour after which a part is published: 60 or a divisor of it.
    pub part_minutes: u64,
}

/// Section `[klines]`.
#[derive(Clone, Debug)]
pub struct Klines {
    /// What candles are made of, by venue; `None` = no candles of it. Venues that are not here: see
    /// [`Config::kline_sources`].
    pub source: BTreeMap<VenueId, Option<Channel>>,
    /// Between two swaps of the whole, ms.
    pub swap_interval_ms: u64,
    /// Between two checkpoints, s.
    pub flush_interval_s: u64,
    /// Between two lines of statistics, s.
    pub stats_interval_s: u64,
    /// The venue's REST candles begin the bars that were open at a symbol's first trade.
    pub seed: bool,
    /// `sqlite:<file below data.dir>` or `postgres://...`.
    pub database: DatabaseUrl,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `section.key`.
    pub key: String,
    /// Where the value came from.
    pub origin: String,
    /// What is wrong.
    pub what: String,
    /// What would pass.
    pub fix: String,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl std::error::Error for ConfigErrors {}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}\n  where: {}\n  fix:   {}", p.key, p.what, p.origin, p.fix)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads the defaults, then `file`, then `TAPEDECK__SECTION__KEY` variables out of `env`.
    ///
    /// Relative `data.dir` and `lake.dir` are relative to the working directory.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigErrors> {
        let mut source = source::Source::defaults();
        let mut problems = Vec::new();
        if let Some(path) = file {
            match regular::read_to_string(path, regular::SMALL_BYTES_MAX) {
                Ok(text) => source.overlay_file(path, &text, &mut problems),
                Err(err) => problems.push(Problem {
                    key: "--config".into(),
                    origin: path.display().to_string(),
                    what: format!("cannot read the configuration file: {err}"),
                    fix: "name an existing TOML file; config/tapedeck.toml in the repository is a complete one".into(),
                }),
            }
        }
        source.overlay_env(env, &mut problems);
        let config = read::read(&source, &mut problems);
        if problems.is_empty() {
            check::check(&config, &source, &mut problems);
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// Reads `text` as if it were a file; for tests and the demo.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found.
    pub fn from_toml(text: &str) -> Result<Config, ConfigErrors> {
        let mut source = source::Source::defaults();
        let mut problems = Vec::new();
        source.overlay_file(Path::new("<text>"), text, &mut problems);
        let config = read::read(&source, &mut problems);
        if problems.is_empty() {
            check::check(&config, &source, &mut problems);
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

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
        o.sync = self.wal.sync;
        o.ready_segments = self.wal.ready_segments;
        o.spill_dirs.clone_from(&self.wal.spill_dirs);
        o.writer_version = concat!("tapedeck ", env!("CARGO_PKG_VERSION")).to_owned();
        o
    }
}

/// Where the value of a key came from, for messages.
fn origin_of(config: &Config, key: &str) -> String {
    config.effective.iter().find(|(k, ..)| k == key).map_or_else(String::new, |(.., o)| o.to_string())
}

#[cfg(test)]
mod tests;
