//! What downloads ask of a manifest: offer what was listed, lease, keep, finish, fail. A lease names one attempt of one
//! process: a worker that lost it (its machine slept, another one took over) changes nothing any more.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::Serialize;

use super::file::{FileRow, Listed};
use super::read::MirrorManifest;
use crate::error::Result;
use crate::market::{BarInterval, Kind, Market, Period};
use crate::path::ArchivePath;
use crate::select::Selection;

/// A selection as a database can judge it: names instead of globs.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Empty = all; so everywhere here.
    pub markets: BTreeSet<Market>,
    /// Periods.
    pub periods: BTreeSet<Period>,
    /// Kinds.
    pub kinds: BTreeSet<Kind>,
    /// Intervals.
    pub intervals: BTreeSet<BarInterval>,
    /// Symbols; `None` = all, an empty set = none.
    pub symbols: Option<BTreeSet<String>>,
    /// First day.
    pub from: Option<Date>,
    /// Last day.
    pub to: Option<Date>,
}

impl Scope {
    /// The scope of a selection; symbols that only globs name are left open.
    pub fn of(s: &Selection) -> Scope {
        Scope {
            markets: s.markets.clone(),
            periods: s.periods.clone(),
            kinds: s.kinds.clone(),
            intervals: s.intervals.clone(),
            symbols: s.symbols.names().cloned(),
            from: s.from,
            to: s.to,
        }
    }
}

/// What to do with files that were listed.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// Scheme, host and prefix in front of the paths.
    pub base_url: &'a str,
    /// Name of the mirror that asks.
    pub holder: &'a str,
    /// Files on the dead-letter list get another chance.
    pub retry_dead: bool,
    /// False when a file that the manifest says is here is not.
    pub is_there: &'a dyn Fn(&FileRow) -> bool,
}

/// What [`Queue::offer`] did with one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Offered {
    /// New; queued.
    New,
    /// It is in the queue already, or a worker downloads it.
    Waiting,
    /// It was here, but its archive has other bytes or another checksum now; queued.
    Changed,
    /// It was here and was removed; queued.
    Vanished,
    /// It is here.
    Here,
    /// It is on the dead-letter list.
    Dead,
    /// It was on the dead-letter list and is queued again.
    Revived,
}

impl Offered {
    /// True when there is something to download.
    pub(crate) fn is_work(self) -> bool {
        !matches!(self, Offered::Here | Offered::Dead)
    }
}

/// The right to download one file, once.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The row as it was leased; `attempts` counts this one.
    pub row: FileRow,
    /// Who holds it: the name of the mirror, `#`, and who of those that fill it.
    pub holder: String,
}

/// What a download that went right found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Entity tag of the bytes.
    pub etag: Option<String>,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// SHA-256 out of the `.CHECKSUM`.
    pub published_sha256: Option<String>,
}

/// A download that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Why, in plain words.
    pub error: String,
    /// Failures in a row, this one included.
    pub failures: u64,
    /// Not again before this many us.
    pub wait_us: i64,
    /// To the dead-letter list.
    pub dead: bool,
}

/// What is left of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Files to be downloaded.
    pub queued: u64,
    /// Files that a worker downloads.
    pub leased: u64,
}

/// What is to be downloaded, and where else it may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes of the files that are queued or leased, as listed.
    pub left_bytes: u64,
    /// Bytes that other mirrors of the manifest have room for.
    pub elsewhere_bytes: u64,
}

/// One run of a command, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Number.
    pub id: i64,
    /// `node:folder`.
    pub holder: String,
    /// `download`, `clean`, `verify`.
    pub command: String,
    /// Begun, us.
    pub started_us: i64,
    /// Ended, us; `None` while it runs or when it was killed.
    pub finished_us: Option<i64>,
    /// `done`, `failed` or `stopped`.
    pub outcome: Option<String>,
    /// Its summary.
    pub summary: Option<serde_json::Value>,
}

/// The queue of downloads. Calls may block on the disk or the network.
pub trait Queue: MirrorManifest {
    /// Takes over what the archive lists; answers one by one, in order. Files are sorted by path.
    ///
    /// # Errors
    /// When the database refuses; nothing is changed then.
    fn offer(&mut self, files: &[Listed], offer: &Offer<'_>) -> Result<Vec<Offered>>;

    /// Puts back what those leased whose names begin with `holders`: they were killed, and their lock says that they
    /// are gone. Answers which files.
    ///
    /// # Errors
    /// When the database refuses; so for every method here.
    fn recover(&mut self, holders: &str) -> Result<Vec<ArchivePath>>;

    /// The next file of the scope, those that failed least first. Two callers never get the same one while the
    /// lease of the first is good.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn lease(&mut self, holder: &str, scope: &Scope, lease_s: u64) -> Result<Option<Lease>>;

    /// Keeps a lease for `lease_s` more. False when it was lost.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn keep(&mut self, lease: &Lease, lease_s: u64) -> Result<bool>;

    /// True while the lease is the holder's.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn holds(&mut self, lease: &Lease) -> Result<bool>;

    /// The file is in the holder's mirror. False when the lease was lost. Said twice of one lease it is true twice.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn finish(&mut self, lease: &Lease, done: &Done) -> Result<bool>;

    /// The file is not. False when the lease was lost.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn fail(&mut self, lease: &Lease, failed: &Failed) -> Result<bool>;

    /// Back into the queue without blame.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn release(&mut self, lease: &Lease) -> Result<()>;

    /// What is left to do.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn pending(&mut self, scope: &Scope) -> Result<Pending>;

    /// Notes that a mirror has room for so many bytes more; answers what is to be downloaded of a scope, and the room
    /// that other mirrors noted within a day.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn room(&mut self, mirror: &str, free_bytes: u64, scope: &Scope) -> Result<Room>;

    /// Rows that `holder` finished between two instants, us, the second exclusive, in order of their paths.
    ///
    /// # Errors
    /// When the database cannot be read, and the first error of `each`.
    fn finished(
        &mut self,
        holder: &str,
        between_us: (i64, i64),
        each: &mut dyn FnMut(FileRow) -> Result<()>,
    ) -> Result<()>;

    /// A command begins; answers its number.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn begin_run(&mut self, holder: &str, command: &str) -> Result<i64>;

    /// A command ended.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn end_run(&mut self, id: i64, outcome: &str, summary: &serde_json::Value) -> Result<()>;

    /// The newest runs, newest first.
    ///
    /// # Errors
    /// See [`Queue::recover`].
    fn runs(&mut self, n: usize) -> Result<Vec<Run>>;
}
