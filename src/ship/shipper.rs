//! The third consumer of a log: what was committed goes into the store, chunk by chunk.
//!
//! ```text
//!  log --read--> chunk being filled --[chunk_s old, chunk_mib large, the run ends]--> pack --> PUT, create only
//!                                                                                                | answered
//!                                                                         acks/ship.ack  <-------+
//! ```
//!
//! Why every record is in exactly one chunk. A chunk begins where the one before it ended, and is put before the next one
//! is begun. Killed before the PUT, or while nobody knows whether it was carried out, the next start finds in the store
//! whether it is there: chunks after the acknowledged position are *adopted* (read, compared with what the log says, passed),
//! and only what is after them is packed anew. In the process a PUT without an answer is repeated with the same bytes: under
//! its name is nothing, or those bytes, or something that must not be there, which stops the shipper of this log.
//!
//! The store may be away for as long as it likes: one chunk waits in memory, the rest in the log, whose segments stay. Nothing
//! waits for the shipper but the deletion of segments, and so a shipper that stands is an alarm.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use capture::SHIP_READER;
use fold::source::{AckStore, LiveLog, LocalAck, RecordSource, SourceError, Step};
use lake::{LakeError, LakeStore};
use ops::backoff::{Backoff, random};
use ops::clock;
use ops::failpoint;
use ops::shutdown::Shutdown;
use wal_format::{
    AckError, Checkpoint, Incarnation, KnownRun, Lineage, LineageError, Position, Run, SegmentId, Seq, error_chain,
};

use crate::chunks::{Chunks, ClaimError, GetError};
use crate::codec::{Chunk, ChunkStep, ChunkWriter, PackError, PackedChunk, Packer};
use crate::retire::retire;
use crate::stats::LogStats;

/// How long a wait at the end of the log is at most.
const WAIT: Duration = Duration::from_millis(50);
/// Between two looks whether there is a log.
const LOG_POLL: Duration = Duration::from_millis(200);
/// After the request to stop the store has this long to take the last chunk.
const STOP_PATIENCE_NS: u64 = 5_000_000_000;
/// Longest pause between two attempts to put.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Records between two looks at the clock.
const CLOCK_EVERY: u32 = 64;

/// Places at which a test may kill the shipper.
pub const FAILPOINTS: &[&str] =
    &["ship.before_claim", "ship.before_put", "ship.after_put", "ship.after_ack", "ship.after_adopt"];

/// What is shipped of one log, and how.
#[derive(Clone, Debug)]
pub struct LogShipper {
    /// Name of the log's directory.
    pub venue: String,
    /// The log.
    pub dir: PathBuf,
    /// Where to.
    pub store: Arc<dyn LakeStore>,
    /// A chunk is put when its first record is this old.
    pub chunk_ns: u64,
    /// A chunk is put when its records have so many bytes.
    pub chunk_bytes: usize,
    /// zstd level of chunks.
    pub level: i32,
    /// Hours to keep a segment, where the shipper is the only reader and so deletes them; `None` = that is a compactor's.
    pub only: Option<u64>,
    /// What it counts and shows.
    pub stats: Arc<LogStats>,
    /// Asks to stop: what was read is put first.
    pub shutdown: Shutdown,
}

/// Shipping a log failed.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// Nobody can say whose log it is.
    #[error("identify the log in {}", dir.display())]
    Lineage {
        /// Where it lies.
        dir: PathBuf,
        /// Why not.
        source: LineageError,
    },
    /// The log or the acknowledgement cannot be read or stored.
    #[error("ship the log {}", dir.display())]
    Log {
        /// Where it lies.
        dir: PathBuf,
        /// Why not.
        source: Box<SourceError>,
    },
    /// The store fails.
    #[error("ship to {}", place.display())]
    Store {
        /// Where the chunks lie.
        place: PathBuf,
        /// What it said.
        source: LakeError,
    },
    /// The run is another copy's.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A chunk that is in the store cannot be read.
    #[error("read a chunk that is in the store already; move it away if it cannot be mended, it is shipped again")]
    Get(#[from] GetError),
    /// A chunk that is in the store is not one that this log could have put there.
    #[error(
        "{} holds something else than the log {}: {what}. Nothing more is shipped of this log; find out who else ships to \
         this place, and move the object or the log away",
        path.display(), dir.display()
    )]
    Conflict {
        /// The object.
        path: PathBuf,
        /// The log.
        dir: PathBuf,
        /// What differs.
        what: String,
    },
    /// A chunk cannot be made.
    #[error("pack a chunk")]
    Pack(#[from] PackError),
    /// The store did not take the last chunk in time; the log keeps it.
    #[error("asked to stop before the store took the last chunk; the log keeps it, and the next start ships it")]
    Stopped,
}

impl ShipError {
    /// Whether only a person can help: what is in the store is not this log's.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        match self {
            ShipError::Claim(ClaimError::Foreign { .. }) | ShipError::Conflict { .. } => true,
            ShipError::Get(err) => !matches!(err, GetError::Store(_)),
            _ => false,
        }
    }
}

/// A chunk that is being filled.
struct Filling {
    writer: ChunkWriter,
    since_ns: u64,
    /// Of the run that its steps are of; known once the reader is in it.
    incarnation: Incarnation,
}

/// One run over the log.
struct Session<'a> {
    shipper: &'a LogShipper,
    chunks: Chunks,
    ack: LocalAck,
    /// Behind what was acknowledged, or taken into the chunk that is being filled.
    at: Position,
    claimed: Option<Run>,
    packer: Packer,
    filling: Option<Filling>,
    /// The segment in which it was last looked what may be deleted.
    retired_at: SegmentId,
    /// The memory of the last body.
    spare: Vec<u8>,
}

impl LogShipper {
    /// Ships until asked to stop.
    ///
    /// # Errors
    /// Anything; the caller starts over, unless it is an alarm.
    pub fn run(&self) -> Result<(), ShipError> {
        let Some((lineage, ack)) = self.wait_for_log()? else { return Ok(()) };
        self.run_over(&lineage, ack)
    }

    /// Ships a log that is there.
    fn run_over(&self, lineage: &Lineage, ack: LocalAck) -> Result<(), ShipError> {
        let chunks = Chunks::new(Arc::clone(&self.store), &self.venue, lineage.log_uuid());
        let mut session = Session {
            shipper: self,
            at: self.begin(&ack, lineage),
            chunks,
            ack,
            claimed: None,
            packer: Packer::new(self.level)?,
            filling: None,
            retired_at: SegmentId(0),
            spare: Vec::new(),
        };
        session.adopt(lineage)?;
        self.stats.set_acked(session.at);
        session.ship()
    }

    /// Whose log it is, and this consumer's place in it, once there is one and nobody else ships it. `None` when asked to stop before.
    fn wait_for_log(&self) -> Result<Option<(Lineage, LocalAck)>, ShipError> {
        let mut said = false;
        while !self.shutdown.requested() {
            if self.dir.is_dir() {
                let lineage = wal_format::lineage(&self.dir);
                let lineage = lineage.map_err(|source| ShipError::Lineage { dir: self.dir.clone(), source })?;
                if let Some(lineage) = lineage {
                    match LocalAck::open(&self.dir, SHIP_READER) {
                        Ok(ack) => return Ok(Some((lineage, ack))),
                        Err(err @ AckError::ReaderHeld { .. }) => {
                            if !std::mem::replace(&mut said, true) {
                                tracing::info!(log = %self.dir.display(), "{err}: it ships, this process waits");
                            }
                        }
                        Err(err) => return Err(self.log(err.into())),
                    }
                }
            }
            std::thread::sleep(LOG_POLL);
        }
        Ok(None)
    }

    /// Where to go on. What cannot be believed costs a look at every chunk that is there.
    fn begin(&self, ack: &LocalAck, lineage: &Lineage) -> Position {
        match ack.acked() {
            Ok(None) => Position::START,
            Ok(Some(stored)) => match lineage.check(&Checkpoint::from(&stored)) {
                Ok(()) => stored.position,
                Err(err) => {
                    tracing::warn!(log = %self.dir.display(), error = %err, "what was shipped is looked up in the store");
                    Position::START
                }
            },
            Err(err) => {
                tracing::warn!(log = %self.dir.display(), error = %error_chain(&err), "what was shipped is looked up in the store");
                Position::START
            }
        }
    }

    fn log(&self, source: SourceError) -> ShipError {
        ShipError::Log { dir: self.dir.clone(), source: Box::new(source) }
    }

    fn conflict(&self, path: PathBuf, what: impl Into<String>) -> ShipError {
        ShipError::Conflict { path, dir: self.dir.clone(), what: what.into() }
    }
}

impl Session<'_> {
    /// Passes over chunks that are in the store already: those of a PUT whose answer nobody got.
    fn adopt(&mut self, lineage: &Lineage) -> Result<(), ShipError> {
        let listed = self.chunks.list(self.at.seq).map_err(|source| self.store(source))?;
        for name in listed {
            let Some(mut chunk) = self.chunks.get(name)? else { continue };
            let header = chunk.header().clone();
            if lineage.knows(header.run) == KnownRun::No {
                let found = header.run.incarnation.to_string();
                let known = lineage.incarnation_of(header.run.epoch).unwrap_or_default();
                let run = Run { incarnation: known, ..header.run };
                return Err(ClaimError::Foreign { path: self.chunks.place_of(name), run, found }.into());
            }
            if header.start.seq != self.at.seq {
                let what = format!("it goes on at {}, and what was shipped ends at {}", header.start.seq, self.at.seq);
                return Err(self.shipper.conflict(self.chunks.place_of(name), what));
            }
            self.compare(&mut chunk)?;
            tracing::info!(log = %self.shipper.dir.display(), chunk = %name, "this chunk is in the store already");
            self.at = chunk.end();
            self.acknowledge()?;
            failpoint::hit("ship.after_adopt");
        }
        Ok(())
    }

    /// Whether the log still has what a chunk says. It may have less: a power cut took what was not on disk.
    fn compare(&self, chunk: &mut Chunk) -> Result<(), ShipError> {
        let name = chunk.header().name();
        let dir = &self.shipper.dir;
        let mut log = LiveLog::only_reading(dir, self.at).map_err(|source| self.shipper.log(source))?;
        while let Some(step) = chunk.next() {
            let ChunkStep::Record(shipped) = step else { continue };
            loop {
                match log.next().map_err(|source| self.shipper.log(source))? {
                    Step::Record(record) if record.seq < shipped.seq => {}
                    Step::Record(record) => {
                        let what = |r: &wal_format::RecordRef<'_>| (r.ts_recv_ns, r.conn, r.kind_raw, r.flags);
                        let same = what(&record) == what(&shipped) && record.payload == shipped.payload;
                        if record.seq == shipped.seq && !same {
                            let what = format!("record {} is another one", record.seq);
                            return Err(self.shipper.conflict(self.chunks.place_of(name), what));
                        }
                        break;
                    }
                    Step::Lost(_) => {}
                    Step::Tail | Step::End | Step::Blocked { .. } => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn ship(&mut self) -> Result<(), ShipError> {
        let dir = self.shipper.dir.clone();
        let mut source = LiveLog::open(&dir, self.at).map_err(|source| self.shipper.log(source))?;
        let mut to_look = CLOCK_EVERY;
        loop {
            let step = match source.next() {
                Err(err) if err.is_unreachable() => {
                    // What was read is safe first.
                    self.put()?;
                    return Err(self.shipper.log(err));
                }
                step => step.map_err(|source| self.shipper.log(source))?,
            };
            let blocked = matches!(step, Step::Blocked { .. });
            match step {
                Step::Record(record) => {
                    let (seq, next) = (record.seq, record.next);
                    self.filling(seq)?.writer.record(&record)?;
                    self.took(&source, seq, next);
                    to_look = to_look.saturating_sub(1);
                    if to_look == 0 || self.is_full() {
                        to_look = CLOCK_EVERY;
                        source.progressed();
                        self.put_if_due()?;
                    }
                }
                Step::Lost(lost) => {
                    tracing::warn!(log = %dir.display(), lost = %lost, "the log lost records; the chunk says so");
                    let next = source.position();
                    self.filling(lost.from)?.writer.lost(&lost, next)?;
                    self.took(&source, lost.from, next);
                }
                Step::Tail | Step::End | Step::Blocked { .. } => {
                    self.put_if_due()?;
                    if self.shipper.shutdown.requested() {
                        return self.put();
                    }
                    if blocked { std::thread::sleep(WAIT) } else { source.wait(self.wait()) }
                }
            }
        }
    }

    /// The chunk that takes a step with this seq: one of another run begins the next one.
    fn filling(&mut self, seq: Seq) -> Result<&mut Filling, ShipError> {
        if self.filling.as_ref().is_some_and(|filling| !filling.writer.takes(seq)) {
            self.put()?;
        }
        let filling = match self.filling.take() {
            Some(filling) => filling,
            None => {
                let (venue, uuid) = (&self.shipper.venue, self.chunks.log_uuid());
                let writer = ChunkWriter::new(venue, uuid, self.at, std::mem::take(&mut self.spare))?;
                Filling { writer, since_ns: clock::now().mono_ns, incarnation: Incarnation::VERSION_1 }
            }
        };
        Ok(self.filling.insert(filling))
    }

    /// A step was taken into the chunk; the reader is at `next`.
    fn took(&mut self, source: &LiveLog, seq: Seq, next: Position) {
        self.at = next;
        if let Some(filling) = &mut self.filling
            && filling.incarnation.is_version_1()
        {
            filling.incarnation = source.incarnation_of(seq.epoch());
        }
    }

    fn is_full(&self) -> bool {
        self.filling.as_ref().is_some_and(|filling| filling.writer.body_bytes() >= self.shipper.chunk_bytes)
    }

    /// How long to wait at the end of the log: no longer than the chunk that is being filled may.
    fn wait(&self) -> Duration {
        let now = clock::now().mono_ns;
        let left =
            |f: &Filling| Duration::from_nanos(f.since_ns.saturating_add(self.shipper.chunk_ns).saturating_sub(now));
        self.filling.as_ref().map_or(WAIT, left).min(WAIT)
    }

    fn put_if_due(&mut self) -> Result<(), ShipError> {
        let age = |f: &Filling| clock::now().mono_ns.saturating_sub(f.since_ns);
        let due = self.filling.as_ref().is_some_and(|f| !f.writer.is_empty() && age(f) >= self.shipper.chunk_ns);
        if due || self.is_full() { self.put() } else { Ok(()) }
    }

    /// Puts what is being filled and acknowledges it. Returns when the store has it.
    fn put(&mut self) -> Result<(), ShipError> {
        let Some(Filling { writer, incarnation, .. }) = self.filling.take() else { return Ok(()) };
        let end = writer.end();
        let Some(packed) = writer.finish(incarnation, &mut self.packer)? else { return Ok(()) };
        self.claim(packed.header.run)?;
        failpoint::hit("ship.before_put");
        self.until_answered(|me| me.put_once(&packed))?;
        failpoint::hit("ship.after_put");
        let stats = &self.shipper.stats;
        stats.shipped(u64::from(packed.header.records), packed.body.len() as u64, packed.bytes.len() as u64);
        self.spare = packed.body;
        self.acknowledge_at(end)?;
        self.retire();
        Ok(())
    }

    /// Deletes segments that the store has, where nobody else would. Looked at when a segment may have ended.
    fn retire(&mut self) {
        let Some(hours) = self.shipper.only.filter(|_| self.at.segment != self.retired_at) else { return };
        self.retired_at = self.at.segment;
        match retire(&self.shipper.dir, &self.chunks, hours) {
            Ok(0) => {}
            Ok(segments) => {
                tracing::info!(log = %self.shipper.dir.display(), segments, "deleted what the object store has")
            }
            Err(err) => {
                tracing::warn!(log = %self.shipper.dir.display(), error = %error_chain(&err), "no segment can be deleted at present");
            }
        }
    }

    fn claim(&mut self, run: Run) -> Result<(), ShipError> {
        if self.claimed != Some(run) {
            failpoint::hit("ship.before_claim");
            self.until_answered(|me| me.chunks.claim(run).map_err(ShipError::from))?;
            self.claimed = Some(run);
        }
        Ok(())
    }

    /// Once. What is there already under its name must be it.
    fn put_once(&self, packed: &PackedChunk) -> Result<(), ShipError> {
        let name = packed.header.name();
        match self.chunks.put(name, &packed.bytes) {
            Err(LakeError::Exists { path }) => match self.chunks.get(name)? {
                Some(there) if there.header() == &packed.header && there.body() == packed.body => Ok(()),
                Some(_) => Err(self.shipper.conflict(path, "a chunk of the same name has other content")),
                // It was deleted between the two.
                None => self.chunks.put(name, &packed.bytes).map_err(|source| self.store(source)),
            },
            put => put.map_err(|source| self.store(source)),
        }
    }

    /// Asks the store until it answers, however long; after the request to stop for a while.
    fn until_answered(&self, mut ask: impl FnMut(&Self) -> Result<(), ShipError>) -> Result<(), ShipError> {
        let (mut backoff, mut stop_ns) = (Backoff::up_to(PAUSE_MAX), None);
        let shutdown = &self.shipper.shutdown;
        loop {
            let err = match ask(self) {
                Err(err) if !err.is_alarm() => err,
                done => {
                    self.shipper.stats.answered();
                    return done;
                }
            };
            self.shipper.stats.refused(&error_chain(&err));
            let until = clock::now().mono_ns.saturating_add(nanos(backoff.next(&mut random)));
            loop {
                let now = clock::now().mono_ns;
                if shutdown.requested() && now >= *stop_ns.get_or_insert(now.saturating_add(STOP_PATIENCE_NS)) {
                    return Err(ShipError::Stopped);
                }
                if now >= until {
                    break;
                }
                std::thread::sleep(WAIT.min(Duration::from_nanos(until.saturating_sub(now))));
            }
        }
    }

    fn acknowledge(&mut self) -> Result<(), ShipError> {
        self.acknowledge_at(self.at)
    }

    /// Everything before `at` is in the store.
    fn acknowledge_at(&mut self, at: Position) -> Result<(), ShipError> {
        let stored = self.ack.checkpoint(self.chunks.log_uuid(), at).and_then(|at| self.ack.ack(&at, "shipped"));
        stored.map_err(|source| self.shipper.log(source))?;
        failpoint::hit("ship.after_ack");
        self.shipper.stats.set_acked(at);
        Ok(())
    }

    fn store(&self, source: LakeError) -> ShipError {
        ShipError::Store { place: self.chunks.place(), source }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
