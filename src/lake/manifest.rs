//! The account of a part: what its log range held and what became of every frame.
//!
//! A manifest is JSON with a fixed field order, so the same log range and settings give the same bytes. Files
//! carry its digest and it carries theirs; to break that circle [`PartManifest::digest`] leaves `files` out.
//!
//! Its last field, `self_sha256`, is the SHA-256 of the file itself with those 64 digits as zeros: a manifest that was
//! altered is recognised without anything beside it. Those of version 1 have none; their files' footers hold
//! them ([`PartManifest::load_proven`]).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use wal_format::{Incarnation, Run, Seq};

use super::piece::hex;
use super::read::TableFile;
use super::{Lake, LakeError, SchemaVersion, Table, WriteSettings};
use model::row::DriftItem;

/// Version of the manifest's own format.
pub const MANIFEST_VERSION: u32 = 1;

/// What is between the other fields and the digits of the manifest's own SHA-256, and after them.
const SEAL: (&str, &str) = (",\n  \"self_sha256\": \"", "\"\n}\n");
/// The digits while the SHA-256 is computed.
const NO_DIGITS: [u8; 64] = [b'0'; 64];

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Segment id.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u64,
    /// Seq expected there.
    pub seq: u64,
}

/// One run of the log's writer: what distinguishes equal numbers of two copies of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRun {
    /// Which run, counted from 1.
    pub epoch: u32,
    /// 16 hex digits.
    #[serde(serialize_with = "incarnation_to_hex", deserialize_with = "incarnation_of_hex")]
    pub incarnation: Incarnation,
}

impl From<Run> for EpochRun {
    fn from(run: Run) -> Self {
        Self { epoch: run.epoch, incarnation: run.incarnation }
    }
}

impl From<EpochRun> for Run {
    fn from(run: EpochRun) -> Self {
        Self { epoch: run.epoch, incarnation: run.incarnation }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn incarnation_to_hex<S: Serializer>(incarnation: &Incarnation, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(incarnation)
}

fn incarnation_of_hex<'de, D: Deserializer<'de>>(from: D) -> Result<Incarnation, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// The runs of a range of records as manifests and states write them: nothing where all are of version 1.
pub fn runs_to_write(runs: &[Run]) -> Vec<EpochRun> {
    match runs.iter().all(|run| run.incarnation.is_version_1()) {
        true => Vec::new(),
        false => runs.iter().copied().map(EpochRun::from).collect(),
    }
}

/// And back: without any they are those of version 1 from the first record's to the last one's before `end`.
pub fn runs_of(written: &[EpochRun], first: LogPosition, end: LogPosition) -> Vec<Run> {
    if !written.is_empty() {
        return written.iter().copied().map(Run::from).collect();
    }
    let (first, last) = (Seq(first.seq).epoch(), Seq(end.seq.saturating_sub(1).max(first.seq)).epoch());
    // Of a range of runs only the ends are known to have been there.
    let ends = [first, last];
    let runs = ends.iter().take(if first == last { 1 } else { 2 });
    runs.map(|epoch| Run { epoch: *epoch, incarnation: Incarnation::VERSION_1 }).collect()
}

/// What became of the frames of one channel. `decoded + control + undecodable` over all channels is `frames`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Became rows (possibly none: an update that changes nothing).
    pub decoded: u64,
    /// Acknowledgements, errors, pongs, notices.
    pub control: u64,
    /// Kept as rows of `frames`.
    pub undecodable: u64,
    /// Of those decoded: rows of `frames` as well, because one of several independent items in them could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_part: u64,
}

/// Missing ids of one symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Channel name.
    pub channel: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// First missing id.
    pub from_id: i64,
    /// Last missing id.
    pub to_id: i64,
    /// Why, as far as known (`undecodable`, `connection`, `venue`, `trades_skipped`, `ids_restarted`).
    pub cause: String,
    /// Time of the last row before it, us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_us: Option<i64>,
    /// Time of the first row after it, us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_us: Option<i64>,
    /// Ids of it that came late all the same, in this part.
    #[serde(default)]
    pub filled: u64,
}

/// A gap that was requested over REST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// Channel name.
    pub channel: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// First missing id.
    pub from_id: i64,
    /// Last missing id.
    pub to_id: i64,
    /// Ids of it that the venue gave.
    pub rows: u64,
    /// Why not all, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What one of two redundant lines brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Frames with rows.
    pub frames: u64,
    /// Of them those that brought at least one row first.
    pub first: u64,
    /// Rows that this line brought first and the other one later.
    pub ahead: u64,
    /// How much later, mean, us.
    pub advantage_us: u64,
}

/// The ids of one symbol on one channel. Expected are `present + missing - filled`.
///
/// Depth counts update ids, everything else rows. Sums over the parts of a log are exact; in a single part
/// `filled` may be the larger one, when what an earlier part missed came late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// Channel name.
    pub channel: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Lowest id seen.
    pub first: i64,
    /// Highest id seen.
    pub last: i64,
    /// Ids that are in the rows of this part.
    #[serde(default)]
    pub present: u64,
    /// Ids of the gaps that were met in this part.
    #[serde(default)]
    pub missing: u64,
    /// Of `present` those that came late, into a gap.
    #[serde(default)]
    pub filled: u64,
    /// Rows that were removed because their ids were there.
    #[serde(default)]
    pub duplicates: u64,
}

/// `ts_recv - ts_event` over all rows that have both, µs. Negative when our clock is behind the venue's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockError {
    /// Rows counted.
    pub count: u64,
    /// Smallest; 0 when nothing was counted.
    pub min_us: i64,
    /// Largest; 0 when nothing was counted.
    pub max_us: i64,
    /// Mean, rounded down; 0 when nothing was counted.
    pub mean_us: i64,
    /// Sum the mean comes from.
    pub sum_us: i64,
    /// Rows by how late they came: (up to this many µs, rows), ascending, steps of a quarter of a power of two.
    /// The first step is 0 and below.
    #[serde(default)]
    pub steps: Vec<(i64, u64)>,
}

/// A published file of the part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its table.
    pub table: Table,
    /// Path below the lake's directory, with `/`.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
}

/// Records that the log lost inside the part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRecords {
    /// First lost seq.
    pub from_seq: u64,
    /// Last lost seq.
    pub to_seq: u64,
    /// Segment it happened in.
    pub segment: u64,
    /// Why.
    pub reason: String,
    /// The disk had answered for them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub below_durable: bool,
}

/// What a rebuilt manifest was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuiltFrom {
    /// The log: the account is whole.
    Log,
    /// The footers of its files.
    Files,
}

/// The manifest is not the one that was published: that one was damaged or gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// What it was made of.
    pub from: RebuiltFrom,
    /// [`PartManifest::digest`] of the one that the files were published with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_sha256: Option<String>,
    /// What is no longer known, as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

fn is_zero<T: Default + PartialEq>(n: &T) -> bool {
    *n == T::default()
}

/// The account of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartManifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// The log's uuid, 32 hex digits.
    pub log: String,
    /// Venue name.
    pub venue: String,
    /// `YYYY-MM-DDTHH`, UTC, of the receive time.
    pub hour: String,
    /// SHA-256 of the published manifest of the part before it in its log, lower-case hex; `None` for the first
    /// one. So the parts of a log are a chain: the newest link proves all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_sha256: Option<String>,
    /// How often the part was published again because a later decoder reads other rows; 0 = never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u32,
    /// SHA-256 of the manifests that this one replaces, the newest first, as many as `revision`: the part
    /// after it may name any of them as the one before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<String>,
    /// It was rebuilt by `verify --repair`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
    /// First record of the part.
    pub first: LogPosition,
    /// First record after the part.
    pub end: LogPosition,
    /// The runs of the writer that its records are of, ascending; empty = all of version 1, which drew no incarnations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<EpochRun>,
    /// The log ended here when the part was published, so that young gaps are reported; else they wait in the next.
    #[serde(default)]
    pub ends_log: bool,
    /// Records by kind.
    pub records: BTreeMap<String, u64>,
    /// Of the connections that ended (`conn_close` of `records`) those that ended as planned: replaced, or with the collector.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub planned_closes: u64,
    /// Data and REST records.
    pub frames: u64,
    /// What became of them, by channel; frames of no known channel count under `other`.
    pub channels: BTreeMap<String, FrameCounts>,
    /// Rows by table; tables without rows are left out.
    pub rows: BTreeMap<Table, u64>,
    /// Values that a double cannot carry, by table; zeros are left out.
    pub inexact_values: BTreeMap<Table, u64>,
    /// Rows removed because another line or a repair brought them too, by table; zeros are left out.
    pub duplicates: BTreeMap<Table, u64>,
    /// What each line brought, the first line first; empty without frames.
    #[serde(default)]
    pub lines: Vec<Line>,
    /// Missing ids, in log order: gaps that nothing filled within seconds.
    pub gaps: Vec<Gap>,
    /// What was requested over REST and came, in log order; only in repair logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<Repair>,
    /// Completeness, sorted by channel and symbol.
    pub ids: Vec<IdRange>,
    /// Clock error.
    pub clock: ClockError,
    /// SHA-256 over the payloads of all frames in log order, lower-case hex.
    pub payload_sha256: String,
    /// Unknown fields and types.
    pub drift: BTreeMap<String, DriftItem>,
    /// Lost ranges.
    pub lost: Vec<LostRecords>,
    /// `tapedeck <version>`.
    pub writer: String,
    /// Settings that shape bytes.
    pub settings: WriteSettings,
    /// Whatever the compactor needs to go on after this part.
    pub continuation: serde_json::Value,
    /// The published files, sorted by path.
    pub files: Vec<ManifestFile>,
}

impl PartManifest {
    /// An empty account.
    pub fn new(log: String, venue: String, hour: String, settings: WriteSettings) -> Self {
        Self {
            version: MANIFEST_VERSION,
            log,
            venue,
            hour,
            previous_sha256: None,
            revision: 0,
            supersedes: Vec::new(),
            rebuilt: None,
            first: LogPosition::default(),
            end: LogPosition::default(),
            epochs: Vec::new(),
            ends_log: false,
            records: BTreeMap::new(),
            planned_closes: 0,
            frames: 0,
            channels: BTreeMap::new(),
            rows: BTreeMap::new(),
            inexact_values: BTreeMap::new(),
            duplicates: BTreeMap::new(),
            lines: Vec::new(),
            gaps: Vec::new(),
            repairs: Vec::new(),
            ids: Vec::new(),
            clock: ClockError::default(),
            payload_sha256: String::new(),
            drift: BTreeMap::new(),
            lost: Vec::new(),
            writer: settings.created_by(),
            settings,
            continuation: serde_json::Value::Null,
            files: Vec::new(),
        }
    }

    /// The runs of the writer that its records are of, ascending.
    pub fn runs(&self) -> Vec<Run> {
        runs_of(&self.epochs, self.first, self.end)
    }

    /// Sum over all channels.
    pub fn totals(&self) -> FrameCounts {
        let mut t = FrameCounts::default();
        for c in self.channels.values() {
            t.decoded += c.decoded;
            t.control += c.control;
            t.undecodable += c.undecodable;
            t.in_part += c.in_part;
        }
        t
    }

    /// Proves that every frame and every row is accounted for.
    ///
    /// # Errors
    /// [`LakeError::Manifest`] with the two numbers that differ.
    pub fn check(&self) -> Result<(), LakeError> {
        let t = self.totals();
        let sum = t.decoded + t.control + t.undecodable;
        if sum != self.frames {
            return Err(LakeError::Manifest(format!(
                "{} frames, but {} decoded + {} control + {} undecodable = {sum}",
                self.frames, t.decoded, t.control, t.undecodable
            )));
        }
        if self.end.seq < self.first.seq {
            return Err(LakeError::Manifest(format!(
                "the part ends at seq {} before it begins at {}",
                self.end.seq, self.first.seq
            )));
        }
        let mut files: BTreeMap<Table, u64> = BTreeMap::new();
        for f in &self.files {
            *files.entry(f.table).or_default() += f.rows;
        }
        for table in Table::ALL {
            let rows = self.rows.get(table).copied().unwrap_or(0);
            let written = files.get(table).copied().unwrap_or(0);
            if rows != written {
                return Err(LakeError::Manifest(format!("{rows} rows of {table}, but its files hold {written}")));
            }
        }
        let kept = self.rows.get(&Table::Frames).copied().unwrap_or(0);
        if kept != t.undecodable + t.in_part {
            return Err(LakeError::Manifest(format!(
                "{} undecodable frames and {} decoded in part, but {kept} rows of frames",
                t.undecodable, t.in_part
            )));
        }
        Ok(())
    }

    /// The bytes that are published: indented JSON that ends with its own SHA-256, and a line feed.
    ///
    /// # Errors
    /// Never for values this crate makes; a `continuation` that is not JSON (a map with other keys than text).
    pub fn to_json(&self) -> Result<Vec<u8>, LakeError> {
        let mut bytes = self.bare_json()?;
        // The closing brace, and the line feed that version 1 ended with.
        bytes.truncate(bytes.len().saturating_sub("\n}\n".len()));
        bytes.extend_from_slice(SEAL.0.as_bytes());
        let mut sum = Sha256::new_with_prefix(&bytes);
        sum.update(NO_DIGITS);
        sum.update(SEAL.1);
        bytes.extend_from_slice(hex(&sum.finalize()).as_bytes());
        bytes.extend_from_slice(SEAL.1.as_bytes());
        Ok(bytes)
    }

    /// The fields as version 1 wrote them.
    fn bare_json(&self) -> Result<Vec<u8>, LakeError> {
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|e| LakeError::Manifest(format!("it is not JSON: {e}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// What the files' footers carry: [`PartManifest::digest`], that of the lost one for a rebuilt manifest.
    ///
    /// # Errors
    /// As [`PartManifest::to_json`].
    pub fn account_sha256(&self) -> Result<String, LakeError> {
        match self.rebuilt.as_ref().and_then(|r| r.account_sha256.clone()) {
            Some(account) => Ok(account),
            None => self.digest(),
        }
    }

    /// SHA-256 (lower-case hex) of the manifest with `files` emptied: it is stored in the files' footers.
    ///
    /// # Errors
    /// As [`PartManifest::to_json`].
    pub fn digest(&self) -> Result<String, LakeError> {
        let bare = PartManifest { files: Vec::new(), ..self.clone() };
        Ok(hex(&Sha256::digest(bare.bare_json()?)))
    }

    /// Reads a published manifest.
    ///
    /// # Errors
    /// When it cannot be read or is not a manifest of a known version.
    pub fn load(lake: &Lake, key: &str) -> Result<PartManifest, LakeError> {
        Ok(Self::load_hashed(lake, key)?.0)
    }

    /// Reads a published manifest, and returns the SHA-256 of its bytes (lower-case hex) that the next one carries.
    ///
    /// # Errors
    /// As [`PartManifest::load`].
    pub fn load_hashed(lake: &Lake, key: &str) -> Result<(PartManifest, String), LakeError> {
        let bytes = lake.read(key)?;
        let manifest = Self::parse(&bytes).map_err(|e| e.of_manifest(&lake.place(key)))?;
        Ok((manifest, hex(&Sha256::digest(&bytes))))
    }

    /// [`PartManifest::load_hashed`] for callers that act on what it says: one without a SHA-256 of its own is believed
    /// only as far as its published files were made with it. Without such files (text, or removed by retention) nothing
    /// speaks against it.
    ///
    /// # Errors
    /// As [`PartManifest::load`]; [`LakeError::Damaged`] when a file says that it was published with another account.
    pub fn load_proven(lake: &Lake, key: &str) -> Result<(PartManifest, String), LakeError> {
        let bytes = lake.read(key)?;
        let manifest = Self::parse(&bytes).map_err(|e| e.of_manifest(&lake.place(key)))?;
        if split_seal(&bytes).is_none() {
            let digest = manifest.digest()?;
            for file in manifest.files.iter().map(|f| &f.path).filter(|path| path.ends_with(".parquet")) {
                // One that cannot be read is reported by `verify`.
                let Ok(footer) = TableFile::get(lake, file) else { continue };
                if footer.key_value("manifest_sha256").is_some_and(|declared| declared != digest) {
                    return Err(LakeError::Damaged {
                        path: lake.place(key),
                        what: format!("{} was published with another account", lake.place(file).display()),
                    });
                }
            }
        }
        Ok((manifest, hex(&Sha256::digest(&bytes))))
    }

    /// Reads a manifest from its bytes.
    ///
    /// # Errors
    /// [`LakeError::Newer`] when a newer program wrote them; else when they are no manifest, or not as they were
    /// published.
    pub fn parse(bytes: &[u8]) -> Result<PartManifest, LakeError> {
        if let Some((front, digits)) = split_seal(bytes) {
            let mut sum = Sha256::new_with_prefix(front);
            sum.update(NO_DIGITS);
            sum.update(SEAL.1);
            if hex(&sum.finalize()).as_bytes() != digits {
                return Err(LakeError::Manifest("it was altered: its own SHA-256 does not fit".into()));
            }
        }
        let read = serde_json::from_slice::<PartManifest>(bytes);
        // What a newer program wrote may be anything else.
        let versions = match &read {
            Ok(m) => {
                Some(Versions { version: m.version, settings: SchemaOf { schema_version: m.settings.schema_version } })
            }
            Err(_) => serde_json::from_slice::<Versions>(bytes).ok(),
        };
        versions.map_or(Ok(()), |v| v.check())?;
        read.map_err(|e| LakeError::Manifest(format!("not a manifest: {e}")))
    }
}

/// What of a manifest says who can read it.
#[derive(Deserialize)]
struct Versions {
    version: u32,
    settings: SchemaOf,
}

#[derive(Deserialize)]
struct SchemaOf {
    #[serde(default)]
    schema_version: SchemaVersion,
}

impl Versions {
    fn check(&self) -> Result<(), LakeError> {
        let path = Path::new("the manifest");
        if self.version > MANIFEST_VERSION {
            let (what, found, known) = ("manifest", self.version, MANIFEST_VERSION);
            return Err(LakeError::Newer { path: path.to_owned(), what, found, known });
        }
        if self.settings.schema_version > SchemaVersion::NEWEST {
            return Err(self.settings.schema_version.newer(path));
        }
        match self.version {
            MANIFEST_VERSION => Ok(()),
            other => Err(LakeError::Manifest(format!("version {other} is not known, {MANIFEST_VERSION} is"))),
        }
    }
}

/// The bytes before the digits of the manifest's own SHA-256, and the digits; `None` when it carries none.
fn split_seal(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (front, digits) = bytes.strip_suffix(SEAL.1.as_bytes())?.split_last_chunk::<64>()?;
    front.ends_with(SEAL.0.as_bytes()).then_some((front, digits.as_slice()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_manifest_by_its_kind_or_its_length_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo.json");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let endless = dir.path().join("endless.json");
        std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
        let vast = dir.path().join("vast.json");
        std::fs::File::create(&vast).unwrap().set_len(10 << 30).unwrap();
        for (path, why) in [(&fifo, "a FIFO"), (&endless, "a device"), (&vast, "a file of its kind has at most")] {
            let key = path.file_name().unwrap().to_str().unwrap();
            let err = ops::chain(&PartManifest::load(&Lake::open(dir.path()), key).unwrap_err());
            assert!(err.contains(why) && err.contains(&path.display().to_string()), "{err}");
        }
        let err = ops::chain(&TableFile::open(&fifo).err().unwrap());
        assert!(err.contains("a FIFO"), "{err}");
    }

    fn manifest() -> PartManifest {
        let mut m = PartManifest::new(
            "0badcafe000000000000000000000000".into(),
            "binance-spot".into(),
            "2024-08-09T00".into(),
            WriteSettings::default(),
        );
        m.frames = 7;
        m.channels.insert("trades".into(), FrameCounts { decoded: 4, control: 1, undecodable: 2, in_part: 0 });
        m.rows = BTreeMap::from([(Table::Trades, 4), (Table::Frames, 2)]);
        m.files = [(Table::Frames, 2), (Table::Trades, 3), (Table::Trades, 1)]
            .map(|(table, rows)| ManifestFile {
                table,
                path: format!("{table}/x.parquet"),
                bytes: 1,
                rows,
                sha256: String::new(),
            })
            .to_vec();
        m
    }

    #[test]
    fn a_manifest_that_adds_up_passes_and_reads_back() {
        let m = manifest();
        m.check().unwrap();
        let json = m.to_json().unwrap();
        assert_eq!(PartManifest::parse(&json).unwrap(), m);
        assert_eq!(PartManifest::parse(&json).unwrap().to_json().unwrap(), json);
    }

    #[test]
    fn a_frame_or_row_that_is_not_accounted_for_fails() {
        let mut m = manifest();
        m.frames += 1;
        assert!(m.check().unwrap_err().to_string().contains("8 frames"));
        let mut m = manifest();
        m.files.pop();
        assert!(m.check().unwrap_err().to_string().contains("4 rows of trades"));
        let mut m = manifest();
        m.rows.insert(Table::Depth, 1);
        assert!(m.check().is_err());
        let mut m = manifest();
        m.channels.get_mut("trades").unwrap().undecodable = 1;
        m.channels.get_mut("trades").unwrap().decoded = 5;
        assert!(m.check().unwrap_err().to_string().contains("1 undecodable"));
    }

    #[test]
    fn the_digest_does_not_depend_on_the_files() {
        let a = manifest();
        let mut b = a.clone();
        b.files.clear();
        assert_eq!(a.digest().unwrap(), b.digest().unwrap());
        b.frames = 8;
        assert_ne!(a.digest().unwrap(), b.digest().unwrap());
    }

    #[test]
    fn a_manifest_with_any_bit_changed_is_refused_or_says_the_same() {
        let m = manifest();
        let good = m.to_json().unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // Bits of the name of the last field only make it look like one of version 1, which has nothing else
            // altered.
            if let Ok(read) = PartManifest::parse(&bad) {
                assert_eq!(read, m, "bit {bit}");
                assert!(bit / 8 + 90 > good.len(), "bit {bit} of {}", good.len() * 8);
            }
        }
    }

    #[test]
    fn runs_are_written_unless_all_are_of_version_1_and_read_back_either_way() {
        let old = |epoch| Run { epoch, incarnation: Incarnation::VERSION_1 };
        let new = Run { epoch: 3, incarnation: Incarnation(0xabcd_0000_0000_0001) };
        let mut m = manifest();
        m.first.seq = Seq::new(2, 7).0;
        m.end.seq = Seq::new(3, 0).0;
        m.epochs = runs_to_write(&[old(2)]);
        assert!(m.epochs.is_empty() && m.runs() == [old(2)], "nothing of run 3 is before its first record");
        m.end.seq = Seq::new(3, 1).0;
        assert_eq!(m.runs(), [old(2), old(3)]);
        m.epochs = runs_to_write(&[old(2), new]);
        let json = String::from_utf8(m.to_json().unwrap()).unwrap();
        assert!(json.contains("\"incarnation\": \"abcd000000000001\""), "{json}");
        assert_eq!(PartManifest::parse(json.as_bytes()).unwrap().runs(), [old(2), new]);
    }

    #[test]
    fn a_manifest_of_version_1_without_a_sum_of_its_own_still_reads() {
        let m = manifest();
        let old = m.bare_json().unwrap();
        assert!(old.ends_with(b"]\n}\n") && split_seal(&old).is_none());
        assert_eq!(PartManifest::parse(&old).unwrap(), m);
    }

    #[test]
    fn another_version_is_refused() {
        let json = String::from_utf8(manifest().bare_json().unwrap()).unwrap();
        let newer = json.replacen("\"version\": 1,", "\"version\": 2,", 1);
        assert!(matches!(
            PartManifest::parse(newer.as_bytes()),
            Err(LakeError::Newer { what: "manifest", found: 2, .. })
        ));
        // Of a schema that this program does not know it may not even know the tables.
        let settings = WriteSettings { schema_version: SchemaVersion(99), ..WriteSettings::default() };
        let m = PartManifest { settings, ..manifest() };
        let json = String::from_utf8(m.bare_json().unwrap()).unwrap();
        for newer in [json.clone(), json.replace("\"frames\": 2", "\"nobody_knows\": 2")] {
            let err = PartManifest::parse(newer.as_bytes()).unwrap_err().of_manifest(Path::new("x.json")).to_string();
            assert!(err.contains("x.json was written by a newer version of tapedeck") && err.contains("99"), "{err}");
        }
    }
}
