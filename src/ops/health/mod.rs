//! What no single crate sees: the disk that fills up, and a log without a consumer; and the list of all that is
//! wrong now, from all crates ([`Conditions`]).
//!
//! Looks every ten seconds, remembers two hours, and reports to `/health` and `/metrics` of both services.
//! Writes nothing and stops nothing: what to do about it is a person's decision.

mod conditions;
mod disk;
mod readers;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::disk::DiskGauge;
use self::readers::Readers;
use crate::chore;
use crate::clock;
use crate::exposition::Exposition;
use crate::host;
use crate::shutdown::Shutdown;
use model::VenueId;

pub use self::conditions::{Condition, Conditions, Reason};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// A look takes milliseconds; one that takes this long hangs.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);

/// A file system that is written to.
#[derive(Debug)]
pub struct WrittenDisk {
    /// `log` or `lake`.
    pub what: &'static str,
    /// A folder on it.
    pub dir: PathBuf,
    /// What has to be free for the next step, bytes.
    pub needs_bytes: u64,
}

/// A log and who has to read it.
#[derive(Debug)]
pub struct WatchedLog {
    /// Whose log.
    pub venue: VenueId,
    /// Its folder.
    pub dir: PathBuf,
    /// The readers that must pass a segment before it may go.
    pub readers: &'static [&'static str],
    /// A reader that acknowledges more rarely is not there, ns.
    pub patience_ns: u64,
}

/// One of them, with its history.
struct Disk {
    /// `log` or `lake`.
    what: &'static str,
    dir: PathBuf,
    gauge: Mutex<DiskGauge>,
}

/// Disks and readers of one process.
pub struct Health {
    disks: Vec<Disk>,
    readers: Vec<(VenueId, PathBuf, Mutex<Readers>)>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Health {
    /// Looks at these disks and at who reads these logs. `part_minutes`: how long the log waits for its part.
    pub fn new(disks: Vec<WrittenDisk>, logs: Vec<WatchedLog>, part_minutes: u64) -> Health {
        let disk = |d: WrittenDisk| Disk {
            what: d.what,
            dir: d.dir,
            gauge: Mutex::new(DiskGauge::new(d.needs_bytes, part_minutes)),
        };
        let log = |l: WatchedLog| (l.venue, l.dir, Mutex::new(Readers::new(l.readers, l.patience_ns)));
        Health { disks: disks.into_iter().map(disk).collect(), readers: logs.into_iter().map(log).collect() }
    }

    /// Looks once.
    pub fn look(&self) {
        let now = clock::now();
        for disk in &self.disks {
            if let Some(now_there) = host::disk(&disk.dir) {
                disk.gauge.lock().unwrap_or_else(PoisonError::into_inner).look(now_there.free_bytes, now);
            }
        }
        for (_, dir, readers) in &self.readers {
            // A log that is not there yet, or cannot be listed, is reported by whoever works with it.
            let Ok(state) = wal_format::log_state(dir) else { continue };
            readers.lock().unwrap_or_else(PoisonError::into_inner).look(&state, now.mono_ns);
        }
    }

    /// Looks until `shutdown`. A look that does not come back (a hung mount) is a condition: all chores wait behind it.
    pub async fn watch(self: Arc<Self>, conditions: Conditions, shutdown: Shutdown) {
        loop {
            let this = Arc::clone(&self);
            let mut look = pin!(chore::run(move || this.look()));
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.wait() => return,
                    () = look.as_mut() => break,
                    () = tokio::time::sleep(LOOK_PATIENCE) => {
                        let what = "looks at disks and directories do not come back: a file system hangs";
                        conditions.raise(Reason::LooksHang, "", what);
                    }
                }
            }
            conditions.clear(Reason::LooksHang, "");
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// One sentence per reason why an operator should act.
    pub fn problems(&self) -> Vec<String> {
        let mut all = Vec::new();
        for disk in &self.disks {
            let gauge = disk.gauge.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(gauge.problem().map(|p| format!("the disk of the {} ({}) {p}", disk.what, disk.dir.display())));
        }
        let now_ns = clock::now().mono_ns;
        for (id, _, readers) in &self.readers {
            let readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(readers.problems(now_ns).into_iter().map(|p| format!("{id}: {p}")));
        }
        all
    }

    /// For Prometheus.
    pub fn expose(&self, out: &mut Exposition) {
        let disks = self.disks.iter();
        let disks = disks.map(|d| (d.what, d.gauge.lock().unwrap_or_else(PoisonError::into_inner).clone()));
        disk::expose(out, &disks.collect::<Vec<_>>());
        if !self.readers.is_empty() {
            let logs = self.readers.iter();
            let logs = logs.map(|(id, _, r)| (*id, r.lock().unwrap_or_else(PoisonError::into_inner).clone()));
            readers::expose(out, &logs.collect::<Vec<_>>(), clock::now().mono_ns);
        }
    }
}
