//! Who compacts one log: what it is given, what it calls its log, what it did. Its life is in [`super::lifecycle`].

use std::path::PathBuf;
use std::sync::Arc;

use wal_format::Seq;

use super::archive::Archiver;
use crate::repair::queue::RepairQueue;
use crate::settings::Config;
use fold::Mode;
use fold::gather::LogKind;
use lake::Lake;
use lake::hash::hex;
use model::VenueId;
use ops::compactor::{CompactorStatus, VenueStatus};
use ops::shutdown::Shutdown;
use ship::Chunks;
use venue::Venue;

/// What one venue's worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct VenueOutcome {
    /// Parts published.
    pub parts: u64,
    /// Rows in them.
    pub rows: u64,
    /// Records handled.
    pub records: u64,
    /// Segments deleted, archived ones included; without those that are left to the [`Archiver`].
    pub segments_retired: u64,
    /// Why nothing was done, if so.
    pub note: Option<String>,
    /// Up to where the log was read.
    #[serde(skip)]
    pub(crate) read_to: Seq,
    /// Where it failed last, until that is stored.
    #[serde(skip)]
    pub(crate) failed_at: Option<Seq>,
}

/// One venue's compactor.
pub struct CompactWorker {
    /// Configuration of all.
    pub cfg: Arc<Config>,
    /// Where it is published.
    pub lake: Lake,
    /// Which venue.
    pub id: VenueId,
    /// Its decoder.
    pub venue: &'static Venue,
    /// Which log of it.
    pub kind: LogKind,
    /// Where it is read, if it is written on another machine and comes in chunks.
    pub chunks: Option<Chunks>,
    /// Where gaps wait for the repairer, and what became of them; `None` without one.
    pub repair_queue: Option<Arc<RepairQueue>>,
    /// Who archives segments; `None` = they are archived, if at all, where they are retired.
    pub archiver: Option<Arc<Archiver>>,
    /// Goes on where what was acknowledged is neither in the lake nor in the log, and records the lost range.
    pub accept_loss: bool,
    /// Follow or drain.
    pub mode: Mode,
    /// Asks to stop.
    pub shutdown: Shutdown,
    /// Where to show what happens.
    pub status: Arc<CompactorStatus>,
}

/// The name of a venue's log in the status and on the command line.
pub fn log_name(id: VenueId, kind: LogKind) -> String {
    match kind {
        LogKind::Collected => id.to_string(),
        LogKind::Repairs => format!("{id}.repair"),
    }
}

impl CompactWorker {
    /// The log's directory; for what is remembered of a log of another machine, one of its own.
    pub fn dir(&self) -> PathBuf {
        if let Some(chunks) = &self.chunks {
            let log = hex(&chunks.log_uuid());
            return self.cfg.capture.data_dir.join("chunks").join(chunks.venue()).join(log);
        }
        match self.kind {
            LogKind::Collected => self.cfg.capture.wal_dir(self.id),
            LogKind::Repairs => self.cfg.capture.repair_dir(self.id),
        }
    }

    /// The log's name in the status.
    pub fn name(&self) -> String {
        let name = log_name(self.id, self.kind);
        match &self.chunks {
            // One venue may have several: of several machines, or of one whose disk was lost.
            Some(chunks) => format!("{name}@{}", hex(&chunks.log_uuid()).get(..8).unwrap_or_default()),
            None => name,
        }
    }

    /// Changes the log's status.
    pub fn update(&self, change: impl FnOnce(&mut VenueStatus)) {
        self.status.update(&self.name(), |s| {
            s.of_repairs = self.kind == LogKind::Repairs;
            change(s);
        });
    }
}
