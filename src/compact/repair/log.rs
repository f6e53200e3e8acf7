//! The repairer's own log, open only while there is something to write.
//!
//! A log that is open is taken to be alive, and its last hour stays open with it; so it is closed when repairs
//! have been quiet for a while, and opened again (a new epoch) by the next one.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use wal_format::{Append, Kind, LogOptions, LogWriter};

use crate::error::CompactError;
use lake::manifest::Repair;
use model::RestMeta;
use ops::clock;
use ops::supervise;

/// Connection number of everything in this log.
const CONN: u32 = 1;

pub(super) struct RepairLog {
    dir: PathBuf,
    options: LogOptions,
    // Never locked by two: a writer may be sent to another thread and not be shared by two, the task must be both.
    writer: Mutex<Option<LogWriter>>,
}

impl RepairLog {
    pub(super) fn new(dir: PathBuf, options: LogOptions) -> Self {
        Self { dir, options, writer: Mutex::new(None) }
    }

    pub(super) fn is_open(&mut self) -> bool {
        self.slot().is_some()
    }

    fn slot(&mut self) -> &mut Option<LogWriter> {
        self.writer.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    async fn writer(&mut self) -> Result<&mut LogWriter, CompactError> {
        if !self.is_open() {
            let (dir, options) = (self.dir.clone(), self.options.clone());
            let opened = supervise::blocking(move || LogWriter::open(&dir, options)).await;
            *self.slot() = Some(opened.map_err(CompactError::at("open the log", &self.dir))?);
        }
        self.slot().as_mut().ok_or(CompactError::Internal("the log is not open"))
    }

    /// Appends an answer.
    pub(super) async fn body(&mut self, stamp_ns: u64, meta: &RestMeta, body: &[u8]) -> Result<(), CompactError> {
        let meta = serde_json::to_vec(meta)?;
        self.writer().await?.append_rest(stamp_ns, CONN, &meta, body).map_err(CompactError::step("log an answer"))?;
        Ok(())
    }

    /// Appends what became of a gap.
    pub(super) async fn event(&mut self, kind: &str, done: &Repair) -> Result<(), CompactError> {
        let payload = serde_json::to_vec(&serde_json::json!({ "kind": kind, "detail": done }))?;
        let record =
            Append { ts_recv_ns: clock::receive_ns(), conn: CONN, kind: Kind::Event, flags: 0, payload: &payload };
        self.writer().await?.append(&record).map_err(CompactError::step("log a repair"))?;
        Ok(())
    }

    /// Seals and closes, if open; false when that failed: what was appended may be gone.
    pub(super) async fn close(&mut self) -> bool {
        let Some(writer) = self.slot().take() else { return true };
        match tokio::task::spawn_blocking(move || writer.close()).await {
            Ok(Ok(())) => return true,
            Ok(Err(err)) => tracing::warn!(log = %self.dir.display(), error = %err, "cannot close the repair log"),
            Err(err) => tracing::warn!(log = %self.dir.display(), error = %err, "closing the repair log failed"),
        }
        false
    }
}
