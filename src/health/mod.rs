//! What no single room sees: the disk that fills up, and a log that nobody reads off; and the list of all that is
//! wrong now, whoever found it ([`Conditions`]).
//!
//! Looks every ten seconds, remembers two hours, and tells `/health` and `/metrics` of both services.
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
use crate::config::Config;
use crate::host;
use crate::shutdown::Shutdown;
use crate::venue::VenueId;

pub use self::conditions::{Condition, Conditions, Reason};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// A look takes milliseconds; one that takes this long hangs.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);

/// One file system that is written to.
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
    /// Of a collector: the disk of the log, and whether the log is read off.
    pub fn of_collector(cfg: &Config) -> Health {
        let segments = (1 + cfg.wal.ready_segments as u64) * cfg.venues.len().max(1) as u64;
        let needs = segments * (cfg.wal.segment_mib << 20);
        let readers = |id: &VenueId| {
            // A reader that acknowledges this rarely is not there.
            let patience_ns = (3 * cfg.lake.ack_interval_s).max(900) * 1_000_000_000;
            (*id, cfg.wal_dir(*id), Mutex::new(Readers::new(cfg.readers(*id), patience_ns)))
        };
        Health {
            disks: vec![Disk::new("log", cfg.wal_root(), needs, cfg)],
            readers: cfg.venues.keys().map(readers).collect(),
        }
    }

    /// Of a compactor: the disk of the lake. It needs room for the hour it joins beside its pieces.
    pub fn of_compactor(cfg: &Config) -> Health {
        Health { disks: vec![Disk::new("lake", cfg.lake.dir.clone(), 1 << 30, cfg)], readers: Vec::new() }
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
            // A log that is not there yet, or cannot be listed, is told by whoever works with it.
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

    /// One sentence per reason why somebody should do something.
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

    /// Prometheus text.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        disk::prometheus(
            &mut out,
            self.disks.iter().map(|d| (d.what, d.gauge.lock().unwrap_or_else(PoisonError::into_inner).clone())),
        );
        if !self.readers.is_empty() {
            let now_ns = clock::now().mono_ns;
            let readers =
                self.readers.iter().map(|(id, _, r)| (*id, r.lock().unwrap_or_else(PoisonError::into_inner).clone()));
            readers::prometheus(&mut out, readers, now_ns);
        }
        out
    }
}

impl Disk {
    fn new(what: &'static str, dir: PathBuf, needs: u64, cfg: &Config) -> Disk {
        Disk { what, dir, gauge: Mutex::new(DiskGauge::new(needs, cfg.lake.part_minutes)) }
    }
}
