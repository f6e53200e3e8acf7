//! Rows out of memory into the staging directory of their part, and the state that makes them count.
//!
//! ```text
//! lake/.staging/<venue>-<hour>-<part>/
//!     trades.000000.parquet      one row group each, fsynced before any state names it
//!     depth.000000.parquet
//!     state-<seq>.json           sha256 line, then everything needed to go on at that seq: the two newest
//! ```
//!
//! A piece counts only if a state lists it, with its size and CRC-32; what is merely newer than the last state is
//! deleted at the next start. So pieces may be written at any time and for any reason, and a state ([`write_state`])
//! is written only when no row is left in memory: everything before its position is in its pieces. Where pieces end
//! never shows in the published bytes ([`lake::join_pieces`]).
//!
//! All of it is a cache: the log holds everything after the newest manifest ([`super::retire`]). The state before
//! the newest stays, so that one bad file costs the work of minutes.

use lake::work::list;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use wal_format::{Position, Run, Seq, durable};

use super::error::CompactError;
use super::place::{Place, to_log_position, to_position};
use crate::failpoint;
use fold::account::Account;
use fold::gather::{Continuation, Gatherer, LogKind};
use fold::part::{OpenPart, Piece};
use lake::hash::{PayloadHash, SavedHash, sha256_hex};
use lake::manifest::{EpochRun, IdRange, LogPosition, runs_of, runs_to_write};
use lake::{self, Hour, Part, PieceFile, SchemaVersion, Table, WriteSettings, staged_path, staging_dir};
use model::Interner;
use model::row::{Drift, DriftItem};
use venue::Venue;

/// Version of the state's own format; another one is quarantined, and the part starts over from the log.
const STATE_VERSION: u32 = 2;
/// States of the open part that stay: the newest, and the one before it should the newest be damaged.
const GENERATIONS: usize = 2;

/// Stages the first `rows` buffered rows of one table as one piece.
///
/// # Errors
/// When the piece cannot be written; the rows are then gone from memory and the caller has to start over from
/// the last state.
pub fn stage_rows(
    place: &Place,
    part: &mut OpenPart,
    symbols: &Interner,
    table: Table,
    rows: usize,
) -> Result<(), CompactError> {
    failpoint::hit("stage.before_piece");
    let name = place.part_of(part);
    let of_table = &mut part.tables[table as usize];
    let index = of_table.pieces().last().map_or(0, |p| p.index + 1);
    let Some(buffer) = of_table.buffer.as_mut() else { return Ok(()) };
    let chunk = buffer.take_first(rows, symbols);
    if chunk.rows() == 0 {
        return Ok(());
    }
    let text_bytes = chunk.text_bytes(chunk.rows()) as u64;
    let path = staged_path(place.lake.work(), &name, table, index);
    let dir = staging_dir(place.lake.work(), &name);
    durable::create_dir_all(&dir).map_err(CompactError::file("create", &dir))?;
    let tmp = path.with_extension("tmp");
    let info = lake::write_piece(&tmp, &chunk, &part.settings, &[])?;
    failpoint::hit("stage.after_piece_written");
    durable::publish_file(&tmp, &path).map_err(CompactError::file("stage", &path))?;
    if buffer.is_empty() {
        // The vectors go with it: a quiet table holds no memory.
        of_table.buffer = None;
    }
    of_table.push_piece(Piece {
        index,
        rows: info.rows,
        bytes: info.bytes,
        inexact: info.inexact,
        crc32: Some(info.crc32),
        text_bytes,
    });
    failpoint::hit("stage.after_piece_published");
    Ok(())
}

/// Stages every full row group of the tables in `touched` (a bit per table).
///
/// # Errors
/// As [`stage_rows`].
#[inline]
pub fn stage_full(place: &Place, gatherer: &mut Gatherer, touched: u32) -> Result<(), CompactError> {
    let mut left = touched;
    while left != 0 {
        let index = left.trailing_zeros() as usize;
        left &= left - 1;
        let full = gatherer.part.as_ref().and_then(|p| p.tables.get(index)).is_some_and(|t| t.full().is_some());
        if full {
            stage_full_table(place, gatherer, index)?;
        }
    }
    Ok(())
}

#[cold]
fn stage_full_table(place: &Place, gatherer: &mut Gatherer, index: usize) -> Result<(), CompactError> {
    let Some((part, symbols)) = gatherer.part_and_symbols() else { return Ok(()) };
    let Some(table) = Table::ALL.get(index).copied() else { return Ok(()) };
    while let Some(rows) = part.tables[index].full() {
        stage_rows(place, part, symbols, table, rows)?;
    }
    Ok(())
}

/// Stages everything that is in memory of one table.
///
/// # Errors
/// As [`stage_rows`].
pub fn stage_table(place: &Place, gatherer: &mut Gatherer, table: Table) -> Result<(), CompactError> {
    stage_full(place, gatherer, 1 << table as u32)?;
    let Some((part, symbols)) = gatherer.part_and_symbols() else { return Ok(()) };
    match part.tables[table as usize].buffered() {
        0 => Ok(()),
        rows => stage_rows(place, part, symbols, table, rows),
    }
}

/// Stages everything that is in memory.
///
/// # Errors
/// As [`stage_rows`].
pub fn stage_all(place: &Place, gatherer: &mut Gatherer) -> Result<(), CompactError> {
    Table::ALL.iter().try_for_each(|table| stage_table(place, gatherer, *table))
}

/// Everything needed to go on with an open part at `position`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartState {
    version: u32,
    /// Venue name.
    pub venue: String,
    /// The log's uuid, 32 hex digits.
    pub log: String,
    /// The next record to read.
    pub position: LogPosition,
    /// Where the log lies ([`super::place::place_of`]); none in a state of version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<String>,
    /// Hour of the part.
    pub hour: i64,
    /// First record of the part.
    pub first: LogPosition,
    /// A record received at or after this opens the next part, ns; none in a state of version 1: the hour's end.
    #[serde(default)]
    pub ends_ns: Option<u64>,
    /// The runs that its records are of; empty = all of version 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    epochs: Vec<EpochRun>,
    /// Settings the part began with.
    pub settings: WriteSettings,
    /// Staged rows by table.
    pub pieces: BTreeMap<Table, Vec<Piece>>,
    /// The ledger.
    pub account: Account,
    /// Payload hash in the middle of its work.
    pub hash: SavedHash,
    /// Drift noted in the part so far.
    pub drift: BTreeMap<String, DriftItem>,
    /// First and last ids of the part.
    pub ids: Vec<IdRange>,
    /// Key of the last row of `events`.
    pub last_event: Option<(i64, i32)>,
    /// What outlives the part.
    pub continuation: Continuation,
}

impl PartState {
    /// The part's name.
    pub fn part(&self, place: &Place) -> Part {
        place.part(Hour(self.hour), Seq(self.first.seq), &self.runs())
    }

    /// The runs of the writer that its records are of.
    pub fn runs(&self) -> Vec<Run> {
        runs_of(&self.epochs, self.first, self.position)
    }

    /// Reads a state file's bytes.
    ///
    /// # Errors
    /// Why they are of no use: damaged, or of another version.
    pub fn parse(bytes: &[u8]) -> Result<PartState, String> {
        let damaged = || "it is damaged: its SHA-256 does not fit".to_owned();
        let (digest, body) = bytes.split_at_checked(64).ok_or_else(damaged)?;
        let body = body.strip_prefix(b"\n").ok_or_else(damaged)?;
        if sha256_hex(body).as_bytes() != digest {
            return Err(damaged());
        }
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let version = serde_json::from_slice::<Versioned>(body).map_err(|e| format!("it is no state: {e}"))?.version;
        if version != STATE_VERSION {
            return Err(format!("it is of version {version}, this program reads {STATE_VERSION}"));
        }
        let state: PartState = serde_json::from_slice(body).map_err(|e| format!("it cannot be read: {e}"))?;
        if state.settings.schema_version > SchemaVersion::NEWEST {
            let (found, known) = (state.settings.schema_version, SchemaVersion::NEWEST);
            return Err(format!("its rows are of schema version {found}, this program knows up to {known}"));
        }
        match PayloadHash::load(&state.hash) {
            Some(_) => Ok(state),
            None => Err("its payload hash cannot be loaded".to_owned()),
        }
    }

    /// Where the pieces of this state lie.
    pub fn piece_files(&self, place: &Place) -> Vec<(PieceFile, u64)> {
        let part = self.part(place);
        let file = |table: Table, p: &Piece| {
            (PieceFile { path: staged_path(place.lake.work(), &part, table, p.index), crc32: p.crc32 }, p.bytes)
        };
        self.pieces.iter().flat_map(|(table, pieces)| pieces.iter().map(|p| file(*table, p))).collect()
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CompactError> {
        let body = serde_json::to_vec(self).map_err(CompactError::step("write the state as JSON"))?;
        let mut bytes = sha256_hex(&body).into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// A gatherer that goes on where this state was written.
    ///
    /// # Errors
    /// When the state names something this version does not know.
    pub fn restore(
        &self,
        venue: &'static Venue,
        kind: LogKind,
        settings: WriteSettings,
    ) -> Result<Gatherer, CompactError> {
        let mut gatherer = Gatherer::new(venue, kind, settings, &self.continuation)?;
        let hour = Hour(self.hour);
        let ends_ns = self.ends_ns.unwrap_or(hour.end_ns());
        let mut part = OpenPart::new(hour, to_position(self.first), ends_ns, self.settings.clone());
        for (table, pieces) in &self.pieces {
            if let Some(t) = part.tables.get_mut(*table as usize) {
                t.set_pieces(pieces.clone());
            }
        }
        part.runs = self.runs();
        part.account = self.account.clone();
        part.hash = PayloadHash::load(&self.hash).ok_or(CompactError::Internal("load the payload hash"))?;
        part.last_event = self.last_event;
        gatherer.load_id_ranges(&self.ids);
        gatherer.decoder().rows.drift = Drift { items: self.drift.clone() };
        gatherer.part = Some(part);
        Ok(gatherer)
    }
}

/// An empty state of a part from `first` on whose position is `position`, for tests of decisions.
#[cfg(test)]
pub(crate) fn state_at(first: u64, position: u64) -> PartState {
    let at = |seq| LogPosition { segment: 1, offset: 4096 + seq * 64, seq };
    PartState {
        version: STATE_VERSION,
        venue: "binance-spot".into(),
        log: "0badcafe000000000000000000000000".into(),
        position: at(position),
        wal: None,
        hour: 7,
        first: at(first),
        ends_ns: None,
        epochs: Vec::new(),
        settings: WriteSettings::default(),
        pieces: BTreeMap::new(),
        account: Account::default(),
        hash: PayloadHash::default().save(),
        drift: BTreeMap::new(),
        ids: Vec::new(),
        last_event: None,
        continuation: Continuation::default(),
    }
}

/// Path of the state at `seq`.
pub fn state_path(dir: &Path, seq: Seq) -> PathBuf {
    dir.join(format!("state-{:016x}.json", seq.0))
}

/// True for the name of a state file.
pub fn is_state(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("state-") && n.ends_with(".json"))
}

/// A state with the recent keys of hundreds of streams is tens of MiB for a moment, and all venues write theirs at
/// about the same time: one after the other they need that room once.
static ONE_STATE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Writes the state of the open part at `position`, durably. Every row must be staged ([`stage_all`]).
///
/// # Errors
/// When it cannot be written; the state before it still holds.
pub fn write_state(place: &Place, gatherer: &mut Gatherer, position: Position) -> Result<(), CompactError> {
    let _turn = ONE_STATE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let continuation = gatherer.continuation();
    let ids = gatherer.id_ranges();
    let drift = gatherer.decoder().rows.drift.items.clone();
    let Some(part) = gatherer.part.as_ref() else { return Ok(()) };
    debug_assert!(part.tables.iter().all(|t| t.buffered() == 0), "a state may not leave rows in memory");
    let state = PartState {
        version: STATE_VERSION,
        venue: place.venue.clone(),
        log: place.log.clone(),
        wal: place.wal.clone(),
        position: to_log_position(position),
        hour: part.hour.0,
        first: to_log_position(part.first),
        ends_ns: Some(part.ends_ns),
        epochs: runs_to_write(&part.runs),
        settings: part.settings.clone(),
        pieces: Table::ALL
            .iter()
            .zip(&part.tables)
            .filter(|(_, t)| !t.pieces().is_empty())
            .map(|(table, t)| (*table, t.pieces().to_vec()))
            .collect(),
        account: part.account.clone(),
        hash: part.hash.save(),
        drift,
        ids,
        last_event: part.last_event,
        continuation,
    };
    let dir = staging_dir(place.lake.work(), &place.part_of(part));
    durable::create_dir_all(&dir).map_err(CompactError::file("create", &dir))?;
    let path = state_path(&dir, position.seq);
    durable::write_file(&path, &state.to_bytes()?).map_err(CompactError::file("write", &path))
}

/// Removes the states of the open part but the newest [`GENERATIONS`].
///
/// # Errors
/// When the directory cannot be listed or a file stays.
pub fn remove_older_states(place: &Place, part: &OpenPart) -> Result<(), CompactError> {
    let dir = staging_dir(place.lake.work(), &place.part_of(part));
    // By name is by seq.
    let states: Vec<PathBuf> = list(&dir)?.into_iter().filter(|path| is_state(path)).collect();
    for path in states.iter().rev().skip(GENERATIONS) {
        durable::remove_file(path).map_err(CompactError::file("remove", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_state_of_another_version_says_so() {
        let state = PartState { version: STATE_VERSION + 1, ..state_at(3, 9) };
        let why = PartState::parse(&state.to_bytes().unwrap()).unwrap_err();
        assert!(why.contains("version 3"), "{why}");
    }

    #[test]
    fn a_state_with_any_byte_changed_is_not_believed() {
        let bytes = state_at(3, 9).to_bytes().unwrap();
        assert_eq!(PartState::parse(&bytes).map(|s| s.position.seq), Ok(9));
        for at in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(PartState::parse(&bad).is_err(), "byte {at}");
        }
        for len in [0, 10, 64, 65, bytes.len() - 1] {
            assert!(PartState::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_state_of_version_1_ends_its_part_with_the_hour() {
        let venue = venue::venue(model::VenueId::BinanceSpot);
        let ends = |state: &PartState| {
            let settings = WriteSettings { part_minutes: 15, ..WriteSettings::default() };
            state.restore(venue, LogKind::Collected, settings).unwrap().part.unwrap().ends_ns
        };
        let state = state_at(3, 9);
        let text = serde_json::to_string(&state).unwrap().replace("\"ends_ns\":null,", "");
        assert!(!text.contains("ends_ns"), "{text}");
        assert_eq!(ends(&serde_json::from_str(&text).unwrap()), Hour(7).end_ns());
        assert_eq!(ends(&PartState { ends_ns: Some(5), ..state }), 5);
    }
}
