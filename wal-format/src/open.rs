//! Opening and closing a log: the steps before the first append, and after the last.
//!
//! ```text
//!  LOCK -> survey -> next EPOCH, durable -> fresh segment -> EPOCH_START, CLOCK -> ready
//!                                                  +> threads: prepare, sync, repair of old tails
//! ```
//!
//! Nothing here looks into old segments beyond their names, headers that EPOCH cannot know (`survey`) and, for
//! prepared ones, whether they are still empty, so the time to the first append does not grow with the backlog. Files that
//! are not the log's are never touched, only named.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ack;
use crate::append::{Active, LogWriter, Parts};
use crate::boot;
use crate::control::{Control, ControlState};
use crate::epoch::{EpochFile, EpochState};
use crate::error::{CloseError, OpenError};
use crate::identity::hex;
use crate::incarnation::{Incarnation, Run};
use crate::layout::{
    ACKS_DIR, CONTROL_FILE, EPOCH_FILE, LOCK_FILE, QUARANTINE_DIR, REPAIR_LOCK_FILE, WRITER_LOCK_FILE,
};
use crate::options::LogOptions;
use crate::prepare::{self, Maker, Preparer};
use crate::record::{Kind, SegmentId, Seq};
use crate::repair::RepairThread;
use crate::segment;
use crate::slots::SlotError;
use crate::spill;
use crate::stats::WriterStats;
use crate::storage::Entry;
use crate::survey::{Survey, survey};
use crate::sync::{Syncer, SyncerSetup};

/// How long a writer on a full disk waits for another process to end its repair, to use what earlier runs left unused.
const REPAIR_MOST: Duration = Duration::from_secs(10);
/// Between two looks.
const REPAIR_PAUSE: Duration = Duration::from_millis(20);

impl LogWriter {
    /// Opens the log in `dir` for appending, creating it if there is none. On return the first
    /// records of the new epoch are in place; tails of earlier runs are repaired meanwhile.
    ///
    /// # Errors
    /// [`OpenError::LockHeld`] if another writer lives, [`OpenError::NoSpace`] if not even one
    /// segment can be had, and what else [`OpenError`] names.
    pub fn open(dir: &Path, options: LogOptions) -> Result<LogWriter, OpenError> {
        options.check()?;
        let storage = Arc::clone(&options.storage);
        let io = |action| move |source| OpenError::Io { action, path: dir.to_path_buf(), source };
        if dir.exists() && !dir.is_dir() {
            return Err(OpenError::NotADirectory { path: dir.to_path_buf() });
        }
        storage.create_dir_all(dir).map_err(io("create the directory"))?;
        let now = (options.clock)();
        let lock = storage.lock(dir, now)?;
        // Whoever repairs the tails of earlier runs meanwhile may be looking at any file that is there.
        let mut alone = storage.lock_repairs(dir).ok();
        let mut warnings = storage.warnings(dir);

        let mut entries = storage.list(dir).map_err(io("list"))?;
        foreign(dir, &entries, &mut warnings)?;
        let state_error = |source| match source {
            SlotError::Io { source, .. } if prepare::is_no_space(&source) => OpenError::NoSpace {
                path: dir.to_path_buf(),
                needed: options.segment_bytes,
                available: storage.available_bytes(dir),
            },
            source => OpenError::State { path: dir.join(EPOCH_FILE), source },
        };
        let (epoch_file, stored) = EpochFile::open(&*storage, dir).map_err(state_error)?;
        let damaged = epoch_file.found_damage();
        let Survey { before, last_epoch, warnings: found } = survey(&*storage, dir, &entries, stored, damaged)?;
        if !found.is_empty() {
            // Some of the names are in quarantine now.
            entries = storage.list(dir).map_err(io("list"))?;
            warnings.extend(found);
        }
        let boot_id = boot::boot_id();
        let state = next_epoch(&options, dir, before.as_ref(), last_epoch, boot_id, now.wall_ns)?;
        let first_id = first_free(&options, dir, &entries, before.as_ref(), damaged);
        let epoch = state.epoch;
        let log_uuid = state.log_uuid;
        let incarnation = state.incarnation();
        let (control, left) = Control::open(&*storage, dir, epoch, boot_id, now);
        let control = Arc::new(control);

        warnings.extend(spill::tidy(&*storage, dir, &options.spill_dirs, &log_uuid, options.segment_bytes));
        let all: Vec<String> = entries.iter().filter(|e| !e.is_dir).map(|e| e.name.clone()).collect();
        let donors =
            prepare::collect_donors(&options, dir, &all, alone.is_some()).map_err(io("rename unused segments in"))?;
        let stats = Arc::new(WriterStats::default());
        let mut maker = Maker {
            dir: dir.to_path_buf(),
            options: options.clone(),
            epoch_file,
            state: EpochState { next_segment: first_id, ..state },
            stored_next: SegmentId(0),
            boot_id,
            donors,
            stats: Arc::clone(&stats),
        };
        // The store of the new epoch is part of making its first segment.
        let first = make_first(&mut maker, &all, &mut alone)?;
        drop(alone);
        let active = Active::new(first, Seq::new(epoch, 0)).map_err(io("map the first segment in"))?;

        let syncer = Syncer::start(SyncerSetup {
            policy: options.sync,
            clock: Arc::clone(&options.clock),
            control: Arc::clone(&control),
            stats: Arc::clone(&stats),
            boot_id,
            first: Arc::clone(&active.live),
        })
        .map_err(io("start the sync thread for"))?;
        let preparer = Preparer::start(maker, Arc::clone(&active.live)).map_err(io("start the prepare thread for"))?;
        let mut writer = LogWriter::assemble(Parts {
            active,
            stats,
            control,
            syncer,
            preparer,
            repair: None,
            options,
            dir: dir.to_path_buf(),
            log_uuid,
            epoch,
            incarnation,
            warnings,
            lock,
        });
        writer.last_ts_ns = last_ts_before(left.as_ref(), now.wall_ns);
        if let Some(receive) = &writer.options.receive {
            receive.not_before(writer.last_ts_ns, now);
        }
        let (now, ts) = writer.now();
        let start =
            EpochStart { before: before.as_ref(), heartbeat_wall_ns: left.map(|left| left.heartbeat.wall_ns), boot_id };
        let json = start.json(&writer, now.wall_ns);
        writer.put(ts, 0, Kind::EpochStart, 0, json.as_bytes());
        writer.put_clock(ts, now);
        if writer.options.repair_tails {
            writer.repair = Some(RepairThread::start(dir, first_id));
        }
        Ok(writer)
    }

    /// Ends the log in order: SEAL, everything on disk, footer, threads joined, EPOCH says clean.
    /// Prepared segments stay for the next run.
    ///
    /// # Errors
    /// [`CloseError`] if something is not known to be on disk. All records are in the log.
    pub fn close(mut self) -> Result<(), CloseError> {
        let (now, ts) = self.now();
        let next = SegmentId(self.segment().0.saturating_add(1));
        let sealed = self.seal(ts, next, true);
        self.syncer.sealed(sealed, None);
        let last_seq = self.last_seq();
        let LogWriter { syncer, preparer, repair, control, lock, .. } = self;
        let synced = syncer.close();
        drop(repair);
        let mut stored = Ok(());
        if let Some(mut maker) = preparer.stop() {
            let state =
                EpochState { closed_wall_ns: Some(now.wall_ns), last_seq: Some(last_seq), ..maker.state.clone() };
            let path = maker.epoch_file.path().to_path_buf();
            stored = maker.epoch_file.store(&state).map_err(|source| CloseError::State { path, source });
        }
        control.closed();
        drop(lock);
        synced?;
        stored
    }
}

/// Names what is not the log's; refuses what blocks its names.
fn foreign(dir: &Path, entries: &[Entry], warnings: &mut Vec<String>) -> Result<(), OpenError> {
    for entry in entries {
        let name = entry.name.as_str();
        let is_segment = segment::parse_file_name(name).is_some() || segment::parse_tmp_name(name).is_some();
        let ours = match name {
            ACKS_DIR | QUARANTINE_DIR => entry.is_dir,
            LOCK_FILE | WRITER_LOCK_FILE | REPAIR_LOCK_FILE | EPOCH_FILE | CONTROL_FILE => !entry.is_dir,
            _ if is_segment => !entry.is_dir,
            // Compressed segments.
            _ => name.ends_with(".wal.zst") || name.ends_with(".wal.zst.tmp"),
        };
        if ours {
            continue;
        }
        let own = [ACKS_DIR, QUARANTINE_DIR, LOCK_FILE, WRITER_LOCK_FILE, REPAIR_LOCK_FILE, EPOCH_FILE, CONTROL_FILE];
        let reserved = is_segment || own.contains(&name);
        if reserved {
            return Err(OpenError::ForeignFile { path: dir.join(name) });
        }
        warnings.push(format!("{} is not a file of the log and is left alone", dir.join(name).display()));
    }
    Ok(())
}

/// The run that begins: above every one that may have been before, and with an incarnation of its own.
fn next_epoch(
    options: &LogOptions,
    dir: &Path,
    before: Option<&EpochState>,
    last_epoch: u32,
    boot_id: [u8; 16],
    wall_ns: u64,
) -> Result<EpochState, OpenError> {
    if last_epoch >= Seq::EPOCH_MAX {
        return Err(OpenError::EpochsUsedUp { path: dir.to_path_buf(), epoch: last_epoch });
    }
    let log_uuid = before.map_or_else(|| new_uuid(options), |b| b.log_uuid);
    let run = Run { epoch: last_epoch + 1, incarnation: Incarnation::draw(&*options.entropy) };
    let mut runs = before.map_or_else(Vec::new, |b| b.runs.clone());
    runs.push(run);
    Ok(EpochState { log_uuid, epoch: run.epoch, boot_id, started_wall_ns: wall_ns, runs, ..EpochState::default() })
}

/// A random (version 4) UUID.
fn new_uuid(options: &LogOptions) -> [u8; 16] {
    let high = u128::from((options.entropy)());
    let low = u128::from((options.entropy)());
    let mut uuid = (high << 64 | low).to_be_bytes();
    uuid[6] = (uuid[6] & 0x0F) | 0x40;
    uuid[8] = (uuid[8] & 0x3F) | 0x80;
    uuid
}

/// The lowest segment id that nothing remembers. A `damaged` EPOCH may have lost the store of one id.
fn first_free(
    options: &LogOptions,
    dir: &Path,
    entries: &[Entry],
    before: Option<&EpochState>,
    damaged: bool,
) -> SegmentId {
    let id_of = |name: &str| {
        let stem = name.split('.').next().unwrap_or_default();
        segment::parse_file_name(&format!("{stem}.wal"))
    };
    let mut highest = before.map_or(0, |b| b.next_segment.0.saturating_sub(1)).saturating_add(u64::from(damaged));
    let quarantined = options.storage.list(&dir.join(QUARANTINE_DIR)).unwrap_or_default();
    for entry in entries.iter().chain(&quarantined) {
        highest = highest.max(id_of(&entry.name).map_or(0, |id| id.0));
    }
    let acks = ack::all(dir);
    for ack in acks.iter().filter(|ack| before.is_some_and(|b| b.log_uuid == ack.log_uuid)) {
        highest = highest.max(ack.position.segment.0);
    }
    SegmentId(highest.saturating_add(1))
}

/// The segment of the new run's first records: freshly allocated, which takes no look at any old
/// file; on a full disk one of `names` that an earlier run left unused, once nobody repairs them any more.
fn make_first(
    maker: &mut Maker,
    names: &[String],
    alone: &mut Option<Box<dyn Send>>,
) -> Result<segment::Segment, OpenError> {
    let error = match maker.make(false) {
        Ok(segment) => return Ok(segment),
        Err(error) => error,
    };
    let full = prepare::is_no_space(&error);
    let until = Instant::now() + REPAIR_MOST;
    while full && alone.is_none() && Instant::now() < until {
        std::thread::sleep(REPAIR_PAUSE);
        *alone = maker.options.storage.lock_repairs(&maker.dir).ok();
        if alone.is_some() {
            maker.donors = prepare::collect_donors(&maker.options, &maker.dir, names, true).unwrap_or_default();
        }
    }
    if full
        && !maker.donors.is_empty()
        && let Ok(segment) = maker.make(true)
    {
        return Ok(segment);
    }
    if full {
        return Err(OpenError::NoSpace {
            path: maker.dir.clone(),
            needed: maker.options.segment_bytes,
            available: maker.available(),
        });
    }
    Err(OpenError::Io { action: "make the first segment in", path: maker.dir.clone(), source: error })
}

/// The receive time of the log's last record, as far as the status page of the run before says: times go on from
/// there even if the wall clock was set back between the runs. A log may be days ahead whose clock was wrong for a
/// while and is right again: not to go on from there would file days under one hour. One wrong word of the page is
/// not to decide for years, though.
fn last_ts_before(left: Option<&ControlState>, wall_ns: u64) -> u64 {
    const BELIEVED_AHEAD_NS: u64 = 31 * 24 * 3600 * 1_000_000_000;
    left.map(|left| left.committed_ts_ns).filter(|ts| *ts <= wall_ns.saturating_add(BELIEVED_AHEAD_NS)).unwrap_or(0)
}

/// Payload of the first record of an epoch.
struct EpochStart<'a> {
    before: Option<&'a EpochState>,
    heartbeat_wall_ns: Option<u64>,
    boot_id: [u8; 16],
}

impl EpochStart<'_> {
    fn json(&self, writer: &LogWriter, wall_ns: u64) -> String {
        let (end, ended_wall_ns, source) = match self.before {
            None => ("none", None, "none"),
            Some(before) => match before.closed_wall_ns {
                Some(closed) => ("clean", Some(closed), "close"),
                None => ("unclean", self.heartbeat_wall_ns, "heartbeat"),
            },
        };
        let number = |n: Option<u64>| n.map_or("null".to_owned(), |n| n.to_string());
        // A wall clock that went back gives no downtime.
        let downtime = ended_wall_ns.filter(|at| *at != 0).and_then(|at| wall_ns.checked_sub(at));
        format!(
            concat!(
                "{{\"epoch\":{},\"incarnation\":\"{}\",\"log\":\"{}\",\"previous_epoch\":{},\"previous_end\":\"{}\",",
                "\"previous_last_seq\":{},\"downtime_ns\":{},\"downtime_from\":\"{}\",",
                "\"boot\":\"{}\",\"pid\":{},\"writer\":\"{}\"}}"
            ),
            writer.epoch,
            writer.incarnation,
            hex(&writer.log_uuid),
            number(self.before.map(|b| u64::from(b.epoch))),
            end,
            number(self.before.and_then(|b| b.last_seq).map(Seq::get)),
            number(downtime),
            source,
            hex(&self.boot_id),
            std::process::id(),
            escape(&writer.options.writer_version),
        )
    }
}

/// The text as the inside of a JSON string.
fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            c if (c as u32) < 0x20 => format!("\\u{:04x}", c as u32),
            c => c.to_string(),
        })
        .collect()
}
