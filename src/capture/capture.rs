//! The sections together: directories, logs, who reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::{Channel, VenueId};
use net::{General, Proxy, Tls};
use serde::Deserialize;
use settings::value::{filled, int};
use settings::{KeyProblem, Problem, Section, Source};

use crate::documented::beyond;
use crate::ship::{LogSource, Ship};
use crate::venues::{self, VenueConfig};
use crate::wal::Wal;

/// Name under which the compactor acknowledges what is in the lake.
pub const LAKE_READER: &str = "lake";
/// Name under which the compactor acknowledges what is in the candles.
pub const KLINES_READER: &str = "klines";

/// Name under which the shipper acknowledges what is in the object store.
pub const SHIP_READER: &str = "ship";

/// What is recorded and where it lies.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Root of wal/, lake/, archive/.
    pub data_dir: PathBuf,
    /// GiB that the disks of archive and lake should keep free; 0 = no such limit.
    pub min_free_gib: u64,
    /// Where processes share what they ask of the exchanges: below the data directory unless set.
    pub budget_dir: PathBuf,
    /// Section `[wal]`.
    pub wal: Wal,
    /// Section `[ship]`.
    pub ship: Ship,
    /// Sections `[source.<venue>]`: where the chunks of a log that another machine writes lie.
    pub sources: BTreeMap<VenueId, String>,
    /// Section `[tls]`.
    pub tls: Tls,
    /// The proxy of `[proxy]`, for who has none of its own.
    pub proxy: Option<Proxy>,
    /// Sections `[venues.*]`; a venue without a table is off.
    pub venues: BTreeMap<VenueId, VenueConfig>,
    /// Venues with the channel that candles are made of; a venue that is not here has none. Section `[klines]` says it.
    pub candles: BTreeMap<VenueId, Channel>,
}

/// Section `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    dir: PathBuf,
    #[serde(deserialize_with = "filled")]
    budget_dir: Option<PathBuf>,
    #[serde(deserialize_with = "int::<0, { 1 << 30 }, _, _>")]
    min_free_gib: u64,
}

impl Section for Data {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let is_empty = self.dir.as_os_str().is_empty();
        is_empty.then(|| KeyProblem::new("dir", "is empty", "name a directory")).into_iter().collect()
    }
}

impl Capture {
    /// Reads the sections, and `[proxy]` and `[tls]`; no candles. What is wrong with them is added to `problems`.
    pub fn read(source: &Source, problems: &mut Vec<Problem>) -> Capture {
        let Data { dir: data_dir, budget_dir, min_free_gib } = source.section("data", problems);
        let budget_dir = budget_dir.unwrap_or_else(|| data_dir.join("budget"));
        let wal = source.section("wal", problems);
        let ship = source.section("ship", problems);
        let proxy = source.section::<General>("proxy", problems).proxy;
        let tls = source.section("tls", problems);
        let table = |id| {
            let before = problems.len();
            let table = venues::table(source, id, proxy.as_ref(), problems);
            if problems.len() == before {
                let beyond = beyond(&table).into_iter();
                let name = |key: &str| format!("venues.{id}.{key}");
                problems.extend(beyond.map(|(key, what, fix)| source.problem(&name(key), what, fix)));
            }
            (id, table)
        };
        let mut venues: BTreeMap<VenueId, VenueConfig> = source.venues().into_iter().map(table).collect();
        let sources = source.venues_of("source").into_iter();
        let sources: BTreeMap<VenueId, String> =
            sources.map(|id| (id, source.section::<LogSource>(&format!("source.{id}"), problems).dir)).collect();
        // A log that is read from its chunks is enough to be compacted.
        for id in sources.keys() {
            venues.entry(*id).or_insert_with(|| venues::of_a_source(*id, proxy.as_ref()));
        }
        Capture { data_dir, min_free_gib, budget_dir, wal, ship, sources, tls, proxy, venues, candles: BTreeMap::new() }
    }

    /// `<data dir>/archive`: archived segments.
    pub fn archive_root(&self) -> PathBuf {
        self.data_dir.join("archive")
    }

    /// `<data dir>/wal`.
    pub fn wal_root(&self) -> PathBuf {
        self.data_dir.join("wal")
    }

    /// The log of one venue.
    pub fn wal_dir(&self, venue: VenueId) -> PathBuf {
        self.wal_root().join(venue.as_str())
    }

    /// The log of what was fetched over REST for gaps of the venue's log.
    pub fn repair_dir(&self, venue: VenueId) -> PathBuf {
        self.wal_root().join(format!("{venue}.repair"))
    }

    /// The readers that must have passed a segment of a venue's logs before it may go: the lake, the candles when they are
    /// made of this venue, the object store when it is shipped there; that one alone where nobody else reads the log. An
    /// ack of a reader that is not configured any more holds nothing back.
    pub fn readers(&self, id: VenueId) -> &'static [&'static str] {
        match (self.ship.is_on(), self.ship.only, self.candles.contains_key(&id)) {
            (true, true, _) => &[SHIP_READER],
            (true, false, true) => &[LAKE_READER, KLINES_READER, SHIP_READER],
            (true, false, false) => &[LAKE_READER, SHIP_READER],
            (false, _, true) => &[LAKE_READER, KLINES_READER],
            (false, _, false) => &[LAKE_READER],
        }
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
}
