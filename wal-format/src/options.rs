//! What the owner of a log decides: sizes, sync policy, clock. Checked once, at open.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::OpenError;
use crate::layout::{
    BLOCK_BYTES, CLOCK_PAYLOAD_BYTES, DATA_START, PAYLOAD_BYTES_DEFAULT, RECORD_BYTES_MAX, RECORD_HEADER_BYTES,
    SEAL_BYTES, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SYNC_PAYLOAD_BYTES, footer_offset,
    is_segment_length, record_bytes,
};
use crate::receive::ReceiveClock;
use crate::record::ClockPair;
use crate::storage::{OsStorage, Storage};

/// When appended records are forced to disk. A killed process loses nothing under any policy;
/// this decides what a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// What the kernel had not written back.
    Never,
    /// The open segment and the one being synced.
    Roll,
    /// At most one interval and one sync; whichever limit is reached first.
    Interval {
        /// Milliseconds between syncs.
        interval_ms: u64,
        /// Bytes between syncs.
        bytes: u64,
    },
    /// Nothing that [`crate::SyncHandle::wait_durable`] returned for.
    Every,
}

impl SyncPolicy {
    /// 100 ms or 8 MiB: the default.
    pub const INTERVAL_DEFAULT: SyncPolicy = SyncPolicy::Interval { interval_ms: 100, bytes: 8 * 1024 * 1024 };
}

/// Reads wall and monotonic time together.
pub type Clock = Arc<dyn Fn() -> ClockPair + Send + Sync>;

/// How a [`crate::LogWriter`] works.
#[derive(Clone)]
#[non_exhaustive]
pub struct LogOptions {
    /// Length of a segment file in bytes: 64 KiB to 1 GiB, a multiple of 4 KiB. Default 128 MiB;
    /// below 1 MiB only of use to tests.
    pub segment_bytes: u64,
    /// Default: interval, 100 ms or 8 MiB.
    pub sync: SyncPolicy,
    /// Segments kept allocated ahead of need: what a full disk leaves to write on. Default 2, at
    /// least 1.
    pub ready_segments: usize,
    /// Directories on other disks, in order of preference, for segments that the log's own cannot hold
    /// ([`crate::spill`]). Default none.
    pub spill_dirs: Vec<PathBuf>,
    /// Longest accepted payload in bytes. Default 16 MiB. In short segments what fits one is the
    /// limit.
    pub max_payload_bytes: u32,
    /// How far ahead of the tail pages are faulted in, in bytes. Default 4 MiB. 0 turns it off.
    pub prefault_bytes: u64,
    /// The only source of time of this crate.
    pub clock: Clock,
    /// Where the owner reads receive times from: the log's own records are stamped with it, and it is shown what
    /// `clock` shows. `None` (the default): both are plain wall time, and a wall clock that went back holds the times
    /// of the log until it has caught up.
    pub receive: Option<Arc<ReceiveClock>>,
    /// Stored in each segment header; program and version.
    pub writer_version: String,
    /// Repair the tails of earlier runs on a background thread. Default true.
    pub repair_tails: bool,
    /// Where files live.
    pub storage: Arc<dyn Storage>,
    /// Random words for salts and the log's identity; the system's by default. A fixed source
    /// makes files reproducible in tests, and must not be used for a log of value.
    pub entropy: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl LogOptions {
    /// The defaults, with this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        LogOptions {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            sync: SyncPolicy::INTERVAL_DEFAULT,
            ready_segments: 2,
            spill_dirs: Vec::new(),
            max_payload_bytes: PAYLOAD_BYTES_DEFAULT,
            // At 64 MiB/s, four times our peak, the thread that faults pages in has 60 ms.
            prefault_bytes: 4 * 1024 * 1024,
            clock,
            receive: None,
            writer_version: concat!("wal-format ", env!("CARGO_PKG_VERSION")).to_owned(),
            repair_tails: true,
            storage: Arc::new(OsStorage),
            entropy: Arc::new(system_entropy),
        }
    }

    /// The longest payload that this log takes: the cap, or what fits a fresh segment beside the
    /// log's own records.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        let own = record_bytes(CLOCK_PAYLOAD_BYTES) * 2 + record_bytes(SYNC_PAYLOAD_BYTES);
        let room = footer_offset(self.segment_bytes)
            .saturating_sub(DATA_START + SEAL_BYTES + own as u64 + RECORD_HEADER_BYTES as u64);
        usize::try_from(room)
            .unwrap_or(usize::MAX)
            .min(self.max_payload_bytes as usize)
            .min(RECORD_BYTES_MAX - RECORD_HEADER_BYTES)
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = |option, got, allowed: String| Err(OpenError::Option { option, got, allowed });
        if !is_segment_length(self.segment_bytes) {
            return wrong(
                "segment_bytes",
                self.segment_bytes,
                format!("{SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} in steps of {BLOCK_BYTES}"),
            );
        }
        if self.ready_segments == 0 {
            return wrong("ready_segments", 0, "1 or more".to_owned());
        }
        if self.max_payload_bytes as usize > RECORD_BYTES_MAX - RECORD_HEADER_BYTES {
            return wrong(
                "max_payload_bytes",
                u64::from(self.max_payload_bytes),
                format!("up to {}", RECORD_BYTES_MAX - RECORD_HEADER_BYTES),
            );
        }
        if let SyncPolicy::Interval { interval_ms, bytes } = self.sync {
            if interval_ms == 0 {
                return wrong("sync interval_ms", 0, "1 or more".to_owned());
            }
            if bytes == 0 {
                return wrong("sync bytes", 0, "1 or more".to_owned());
            }
        }
        Ok(())
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("segment_bytes", &self.segment_bytes)
            .field("sync", &self.sync)
            .field("ready_segments", &self.ready_segments)
            .field("spill_dirs", &self.spill_dirs)
            .field("max_payload_bytes", &self.max_payload_bytes)
            .field("prefault_bytes", &self.prefault_bytes)
            .field("receive", &self.receive)
            .field("writer_version", &self.writer_version)
            .field("repair_tails", &self.repair_tails)
            .finish_non_exhaustive()
    }
}

/// Eight bytes of the kernel's random source; mixed from what std has if that cannot be read.
fn system_entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    use std::io::Read;

    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    match read {
        Ok(()) => u64::from_le_bytes(bytes),
        // RandomState is seeded by the system's random calls.
        Err(_) => std::hash::RandomState::new().build_hasher().finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> LogOptions {
        LogOptions::new(Arc::new(ClockPair::default))
    }

    #[test]
    fn defaults_are_valid_and_values_out_of_range_are_named() {
        assert!(options().check().is_ok());
        type Change = fn(&mut LogOptions);
        let wrong: [(&str, Change); 6] = [
            ("segment_bytes", |o| o.segment_bytes = 1000),
            ("segment_bytes", |o| o.segment_bytes = (128 << 20) + 1),
            ("ready_segments", |o| o.ready_segments = 0),
            ("max_payload_bytes", |o| o.max_payload_bytes = u32::MAX),
            ("sync interval_ms", |o| o.sync = SyncPolicy::Interval { interval_ms: 0, bytes: 1 }),
            ("sync bytes", |o| o.sync = SyncPolicy::Interval { interval_ms: 1, bytes: 0 }),
        ];
        for (name, change) in wrong {
            let mut options = options();
            change(&mut options);
            match options.check() {
                Err(OpenError::Option { option, .. }) => assert_eq!(option, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_system_gives_different_salts() {
        assert_ne!(system_entropy(), system_entropy());
    }
}
