//! A log that is read from its chunks: [`RecordSource`] over an object store.
//!
//! ```text
//!  list after the position --> get, check all --> steps of the chunk --> list again (every 500 ms at the end)
//!                                  |
//!                                  +-- one is missing or damaged: wait a minute, look again; then a lost range, and on
//!                                  +-- the store does not answer: wait, however long
//!                                  +-- another copy's, or of a newer version: stand until a person looks
//! ```
//!
//! Chunks are put one after the other, so one that is missing although later ones are there will hardly come; but a store
//! may be slow to list, and a lost range cannot be taken back. So it is waited for before it is told.
//!
//! A machine that died and one that is slow look the same from here. The end of a log is believed when nothing came for
//! [`QUIET_NS`]: until then nobody publishes a part that may still go on.

use std::collections::VecDeque;
use std::time::Duration;

use fold::source::{RecordSource, Settled, SourceError, Step};
use lake::LakeError;
use ops::clock;
use wal_format::{Incarnation, LostRange, LostReason, Position, Seq, error_chain};

use crate::chunks::{Chunks, GetError};
use crate::codec::{Chunk, ChunkError, ChunkHeader, ChunkName, ChunkStep};

/// Between two looks for chunks that are new.
const POLL_NS: u64 = 500_000_000;
/// Between two looks at what is missing, damaged or does not answer.
const RETRY_NS: u64 = 1_000_000_000;
/// How long a chunk may be missing or damaged before it is a lost range.
const PATIENCE_NS: u64 = 60_000_000_000;
/// How long nothing may come before the log is taken to be at its end. A writer that lives writes its clock every 10 s.
const QUIET_NS: u64 = 900_000_000_000;

/// Reads the chunks of a log. See the module.
pub struct ChunkLog {
    chunks: Chunks,
    /// Behind the last chunk is the end, and what is missing is told at once.
    ends: bool,
    /// How long what is missing or damaged is waited for, ns.
    patience_ns: u64,
    position: Position,
    /// The store was asked which runs the log had.
    learned: bool,
    listed: VecDeque<ChunkName>,
    chunk: Option<Chunk>,
    /// Not before then is the store asked again, monotonic ns.
    look_ns: u64,
    /// Why nothing comes, while that is more than the end of the log.
    waits: Option<(String, bool)>,
    /// The seq at which something is missing, and since when.
    missing: Option<(Seq, u64)>,
    /// When the last chunk came, or this was opened.
    arrived_ns: u64,
}

/// What a look for the next chunk came to.
enum Found {
    Chunk,
    Nothing,
    Lost(LostRange),
}

impl ChunkLog {
    /// Follows the log from `from` on.
    #[must_use]
    pub fn follow(chunks: Chunks, from: Position) -> Self {
        Self {
            chunks,
            ends: false,
            patience_ns: PATIENCE_NS,
            position: from,
            learned: false,
            listed: VecDeque::new(),
            chunk: None,
            look_ns: 0,
            waits: None,
            missing: None,
            arrived_ns: clock::now().mono_ns,
        }
    }

    /// What is there, from `from` on: waits for nothing.
    #[must_use]
    pub fn recorded(chunks: Chunks, from: Position) -> Self {
        Self { ends: true, patience_ns: 0, ..Self::follow(chunks, from) }
    }

    /// Makes the next chunk ready.
    fn find(&mut self) -> Found {
        let now = clock::now().mono_ns;
        if now < self.look_ns && !self.ends {
            return Found::Nothing;
        }
        loop {
            let Some(name) = self.listed.front().copied() else {
                match self.list() {
                    Err(err) => return self.failed(now, &error_chain(&err)),
                    Ok(()) if self.listed.is_empty() => {
                        (self.look_ns, self.waits, self.missing) = (now.saturating_add(POLL_NS), None, None);
                        return Found::Nothing;
                    }
                    Ok(()) => continue,
                }
            };
            if name.last < self.position.seq {
                self.listed.pop_front();
                continue;
            }
            return match self.chunks.get(name) {
                Ok(Some(chunk)) => self.open(chunk, now),
                // It was deleted since it was listed; the next list says what is there.
                Ok(None) => {
                    self.failed(now, &format!("{} was deleted meanwhile", self.chunks.place_of(name).display()))
                }
                Err(GetError::Store(err)) => self.failed(now, &error_chain(&err)),
                Err(err @ GetError::Damaged { source: ChunkError::Newer { .. }, .. }) => {
                    self.stands(now, error_chain(&err))
                }
                Err(err) => self.damaged(name, now, &error_chain(&err)),
            };
        }
    }

    /// Chunks from the one on that has the position.
    fn list(&mut self) -> Result<(), LakeError> {
        if !self.learned {
            self.chunks.learn()?;
            self.learned = true;
        }
        let at = self.position.seq;
        let has = if at.counter() > 0 { self.chunks.last_before(at)? } else { None };
        self.listed = has.filter(|name| name.last >= at && name.first < at).into_iter().collect();
        self.listed.extend(self.chunks.list(at)?);
        Ok(())
    }

    /// A chunk that was checked: whether it follows.
    fn open(&mut self, mut chunk: Chunk, now: u64) -> Found {
        let header = chunk.header();
        let known = self.chunks.seen(header.run);
        if known != header.run.incarnation {
            let why = format!(
                "{} is of {}, and run {} of this log was {known}: another copy of the log, restored or cloned, shipped it",
                self.chunks.place_of(header.name()).display(),
                header.run,
                header.run.epoch
            );
            return self.stands(now, why);
        }
        if let Some((lost, next)) = missing_before(self.position, header) {
            let why = format!("chunks from {} on are missing in {}", self.position.seq, self.chunks.place().display());
            return self.lost(lost, next, now, why);
        }
        chunk.skip_to(self.position.seq);
        self.listed.pop_front();
        self.chunk = Some(chunk);
        (self.waits, self.missing, self.arrived_ns) = (None, None, now);
        Found::Chunk
    }

    /// The bytes of a chunk are not to be believed: what its name says is in it is lost.
    fn damaged(&mut self, name: ChunkName, now: u64, why: &str) -> Found {
        let at = self.position;
        let begins = if at.seq.epoch() == name.first.epoch() { at.seq } else { Seq::new(name.first.epoch(), 0) };
        // From the beginning nothing is expected before the first chunk that is there.
        let from = if at == Position::START { name.first } else { begins };
        let lost = LostRange { reason: LostReason::Damage, ..lost_range(at, from, name.last) };
        self.lost(lost, name.last.next(), now, why.to_owned())
    }

    /// Tells a lost range, if it was waited for long enough; `next` is the seq after it.
    fn lost(&mut self, lost: LostRange, next: Seq, now: u64, why: String) -> Found {
        let since = self.missing.filter(|(at, _)| *at == self.position.seq).map_or(now, |(_, since)| since);
        if now.saturating_sub(since) >= self.patience_ns {
            tracing::error!(log = %self.chunks.place().display(), lost = %lost, "{why}: reading goes on after it");
            (self.position.seq, self.waits) = (next, None);
            return Found::Lost(lost);
        }
        self.missing = Some((self.position.seq, since));
        self.listed.clear();
        (self.look_ns, self.waits) = (now.saturating_add(RETRY_NS), Some((why, false)));
        Found::Nothing
    }

    /// The store did not answer.
    fn failed(&mut self, now: u64, why: &str) -> Found {
        let why = format!("the store of {} does not answer: {why}", self.chunks.place().display());
        if self.waits.is_none() {
            tracing::warn!(log = %self.chunks.place().display(), "{why}; it is asked again every second");
        }
        self.listed.clear();
        (self.look_ns, self.waits) = (now.saturating_add(RETRY_NS), Some((why, false)));
        Found::Nothing
    }

    /// Only a person can help.
    fn stands(&mut self, now: u64, why: String) -> Found {
        if self.waits.as_ref().is_none_or(|(before, _)| *before != why) {
            tracing::error!(log = %self.chunks.place().display(), "{why}; nothing after it is read");
        }
        self.listed.clear();
        (self.look_ns, self.waits) = (now.saturating_add(RETRY_NS), Some((why, true)));
        Found::Nothing
    }
}

/// What is missing between a reader's position and a chunk, and the seq after that; `None` if the chunk follows.
fn missing_before(at: Position, chunk: &ChunkHeader) -> Option<(LostRange, Seq)> {
    let (first, start) = (chunk.first, chunk.start.seq);
    if at.seq == Seq(0) || first <= at.seq {
        return None;
    }
    if first.epoch() == at.seq.epoch() {
        let before = Seq(first.0.saturating_sub(1));
        return Some((lost_range(at, at.seq, before), first));
    }
    // A later run. Its first chunk says where the run before it ended; a reader of a log may have seen more of that one
    // than a power cut left for the shipper.
    if start.epoch() == at.seq.epoch() {
        let before = Seq(start.0.saturating_sub(1));
        return (start > at.seq).then(|| (lost_range(at, at.seq, before), start));
    }
    // Of a run in between, or nothing is known: the end of this one is missing, and maybe more.
    let next = Seq::new(if start > at.seq { start.epoch() } else { first.epoch() }, 0);
    Some((LostRange { exact: false, ..lost_range(at, at.seq, at.seq) }, next))
}

fn lost_range(at: Position, from: Seq, to: Seq) -> LostRange {
    let Position { segment, offset, .. } = at;
    let reason = LostReason::MissingSegment;
    LostRange { from, to, exact: true, segment, offset, bytes: 0, reason, below_durable: true }
}

impl RecordSource for ChunkLog {
    fn next(&mut self) -> Result<Step<'_>, SourceError> {
        if self.chunk.as_ref().is_none_or(Chunk::is_done) {
            // The next one may be there already.
            if self.chunk.take().is_some() {
                self.look_ns = 0;
            }
            match self.find() {
                Found::Chunk => {}
                Found::Lost(lost) => return Ok(Step::Lost(lost)),
                Found::Nothing => {
                    return Ok(match (&self.waits, self.ends) {
                        (Some((why, stuck)), ends) => Step::Blocked { why: why.clone(), stuck: *stuck || ends },
                        (None, true) => Step::End,
                        (None, false) => Step::Tail,
                    });
                }
            }
        }
        let from = self.position.seq;
        Ok(match self.chunk.as_mut().and_then(Chunk::next) {
            Some(ChunkStep::Record(record)) => {
                self.position = record.next;
                Step::Record(record)
            }
            Some(ChunkStep::Lost(lost, next)) => {
                self.position = next;
                Step::Lost(LostRange { from: lost.from.max(from), ..lost })
            }
            None => Step::Tail,
        })
    }

    fn position(&self) -> Position {
        self.position
    }

    fn incarnation_of(&self, epoch: u32) -> Incarnation {
        self.chunks.known(epoch).unwrap_or_default()
    }

    fn wait(&mut self, most: Duration) {
        let left = Duration::from_nanos(self.look_ns.saturating_sub(clock::now().mono_ns));
        std::thread::sleep(left.min(most));
    }

    fn settle(&mut self) -> Settled {
        let quiet_ns = clock::now().mono_ns.saturating_sub(self.arrived_ns);
        if self.waits.is_none() && quiet_ns >= QUIET_NS { Settled::Done } else { Settled::Written }
    }
}

#[cfg(test)]
mod tests;
