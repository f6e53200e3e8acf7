//! What a reader hands out: records, lost ranges, and the reasons to wait.
//!
//! Types only, plus [`Backoff`], the pause between two looks at a quiet tail. No file is touched
//! here.

use std::fmt;
use std::time::Duration;

use crate::archive;
use crate::record::{Kind, Position, SegmentId, Seq};

/// One valid record with its payload: [`RecordRef`] or [`OwnedRecord`].
#[derive(Clone, Copy, Debug)]
pub struct Record<P> {
    /// Where it starts.
    pub position: Position,
    /// Where the record after it starts: the position to acknowledge once this one is safe.
    pub next: Position,
    /// Its number.
    pub seq: Seq,
    /// Receive time, ns since 1970-01-01 UTC; never decreases inside a log.
    pub ts_recv_ns: u64,
    /// Connection ordinal, unique within an epoch.
    pub conn: u32,
    /// The kind byte as stored; [`Record::kind`] names it if this version knows it.
    pub kind_raw: u8,
    /// Bits of [`crate::record::flags`].
    pub flags: u8,
    /// The payload, byte for byte as appended.
    pub payload: P,
}

/// A record, borrowed from the reader until its next call.
pub type RecordRef<'a> = Record<&'a [u8]>;

/// A record that outlives the reader's next step: held for later, or kept in memory.
pub type OwnedRecord = Record<Vec<u8>>;

impl<P: AsRef<[u8]>> Record<P> {
    /// The same with its payload borrowed.
    #[must_use]
    pub fn borrowed(&self) -> RecordRef<'_> {
        self.with(self.payload.as_ref())
    }

    /// A copy that keeps its payload.
    #[must_use]
    pub fn owned(&self) -> OwnedRecord {
        self.with(self.payload.as_ref().to_vec())
    }

    fn with<Q>(&self, payload: Q) -> Record<Q> {
        let Self { position, next, seq, ts_recv_ns, conn, kind_raw, flags, payload: _ } = *self;
        Record { position, next, seq, ts_recv_ns, conn, kind_raw, flags, payload }
    }
}

impl<'a> RecordRef<'a> {
    /// The kind, or `None` for one that a newer version wrote: carry it or skip it.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_raw(self.kind_raw)
    }

    /// Meta and body of a `Kind::Rest` record; `None` for other kinds and for a payload whose
    /// inner length does not fit.
    #[must_use]
    pub fn rest(&self) -> Option<RestRef<'a>> {
        if self.kind() != Some(Kind::Rest) {
            return None;
        }
        let (len, tail) = self.payload.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (meta, body) = tail.split_at_checked(len)?;
        Some(RestRef { meta, body })
    }
}

/// The two parts of a REST record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestRef<'a> {
    /// JSON about the request: venue, channel, symbol, url, status.
    pub meta: &'a [u8],
    /// The response body, byte for byte as received.
    pub body: &'a [u8],
}

/// Records that existed, or may have existed, and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// First lost seq.
    pub from: Seq,
    /// Last lost seq, inclusive. Equal to `from` when `exact` is false.
    pub to: Seq,
    /// Whether `to` is proven by a record after the lost range. When false, an unknown number of
    /// records from `from` on is missing at the end of that epoch (possibly none but `from`).
    pub exact: bool,
    /// Segment in which the lost range begins.
    pub segment: SegmentId,
    /// Offset in that segment at which the lost range begins, in bytes.
    pub offset: u64,
    /// Damaged bytes that were stepped over; 0 when the file itself is missing.
    pub bytes: u64,
    /// Why.
    pub reason: LostReason,
    /// These records had been reported durable: the disk or its file system lied, or something damaged
    /// them since.
    pub below_durable: bool,
}

impl LostRange {
    /// How many records are lost, if known.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.exact.then(|| self.to.0.saturating_sub(self.from.0).saturating_add(1))
    }

    /// First and last frame of the archive, from 0, that the lost bytes lie in, if an archive lost them.
    #[must_use]
    pub fn archive_frames(&self) -> Option<(usize, usize)> {
        let last = self.offset.saturating_add(self.bytes).saturating_sub(1).max(self.offset);
        let frame = archive::layout::data_frame_of;
        (self.reason == LostReason::ArchiveFrame).then(|| (frame(self.offset), frame(last)))
    }
}

impl fmt::Display for LostRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exact {
            write!(f, "lost {} to {}", self.from, self.to)?;
        } else {
            write!(f, "lost {} and possibly more", self.from)?;
        }
        write!(f, " in segment {} at offset {} ({} bytes, {}", self.segment, self.offset, self.bytes, self.reason)?;
        if let Some((first, last)) = self.archive_frames() {
            write!(f, " {first}")?;
            if last > first {
                write!(f, " to {last}")?;
            }
        }
        f.write_str(")")?;
        if self.below_durable { f.write_str("; they were known to be on disk") } else { Ok(()) }
    }
}

/// Why records are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// A HOLE record that recovery wrote over damage after a crash.
    Hole,
    /// Damage in a sealed segment, or in a crash tail that the reader was asked to step over.
    Damage,
    /// The end of an epoch or of a segment is missing: the next record's number says so.
    UncleanEnd,
    /// A segment file is gone that no acknowledgement released.
    MissingSegment,
    /// A frame of an archived segment does not give back its bytes, or the archive is truncated.
    ArchiveFrame,
    /// A segment whose header cannot be read or names another log, or one in `quarantine/`.
    Unreadable,
    /// A segment whose file could not be opened or read when a reader that waits for nothing came by: it may come back.
    Unreachable,
}

impl LostReason {
    /// The word used in logs, manifests and tools.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LostReason::Hole => "hole",
            LostReason::Damage => "damage",
            LostReason::UncleanEnd => "unclean_end",
            LostReason::MissingSegment => "missing_segment",
            LostReason::ArchiveFrame => "archive_frame",
            LostReason::Unreadable => "unreadable",
            LostReason::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step of a reader.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The next record.
    Record(RecordRef<'a>),
    /// Records that cannot be read; reading goes on after them.
    Lost(LostRange),
    /// Nothing further yet. Ask again after a [`Backoff`]. If
    /// [`crate::state::LogState::writer_alive`] is false too, the log ends here.
    Tail,
    /// A damaged or unsealed tail that no one has repaired yet, although the log goes on after it
    /// (or the damage lies inside it). A required reader waits, or calls
    /// [`crate::repair::repair`] when no writer lives; an ephemeral one calls
    /// [`crate::read::LogReader::skip_damaged`].
    AwaitRepair {
        /// The segment to be repaired.
        segment: SegmentId,
    },
}

/// The pause between two looks at a quiet tail: 50 us for the first looks, then doubled up to 5 ms.
///
/// The short ones last about as long as the gap between two records of a feed of 1,000 per second, so
/// such a feed never meets a long pause. A lone record is seen at most 5 ms after its commit, and an idle
/// reader costs 200 looks per second. Waiting itself is the caller's, so async callers can sleep their own
/// way.
#[derive(Clone, Debug)]
pub struct Backoff {
    next_us: u64,
    short_left: u32,
}

impl Backoff {
    const FIRST_US: u64 = 50;
    const LAST_US: u64 = 5_000;
    /// A pause of 50 us takes about 100 with the kernel's timer slack: 16 of them are 1.6 ms.
    const SHORT_PAUSES: u32 = 16;

    /// Starts at the shortest pause.
    #[must_use]
    pub fn new() -> Self {
        Backoff { next_us: Self::FIRST_US, short_left: Self::SHORT_PAUSES }
    }

    /// Back to the shortest pause: call it after each record.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// The pause to make now. After the short ones each is twice as long, up to the limit.
    pub fn pause(&mut self) -> Duration {
        let pause = Duration::from_micros(self.next_us);
        if self.short_left > 0 {
            self.short_left -= 1;
            return pause;
        }
        self.next_us = (self.next_us * 2).min(Self::LAST_US);
        pause
    }

    /// Sleeps for [`Backoff::pause`] on this thread.
    pub fn wait(&mut self) {
        std::thread::sleep(self.pause());
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind_raw: u8, payload: &[u8]) -> RecordRef<'_> {
        RecordRef {
            position: Position::START,
            next: Position::START,
            seq: Seq(7),
            ts_recv_ns: 1,
            conn: 1,
            kind_raw,
            flags: 0,
            payload,
        }
    }

    #[test]
    fn a_rest_record_splits_into_meta_and_body_and_refuses_a_length_that_does_not_fit() {
        let rest = Kind::Rest as u8;
        let got = record(rest, b"\x02\0\0\0{}body").rest();
        assert_eq!(got, Some(RestRef { meta: b"{}", body: b"body" }));
        assert_eq!(record(rest, b"\x07\0\0\0{}body").rest(), None);
        assert_eq!(record(rest, b"\xff\xff\xff\xff").rest(), None);
        assert_eq!(record(rest, b"\0\0").rest(), None);
        assert_eq!(record(Kind::Data as u8, b"\x02\0\0\0{}").rest(), None);
    }

    #[test]
    fn a_kind_of_a_newer_version_has_no_name() {
        assert_eq!(record(250, b"").kind(), None);
    }

    #[test]
    fn pauses_stay_short_for_a_while_then_double_to_five_milliseconds_and_start_over_on_reset() {
        let mut backoff = Backoff::new();
        assert!((0..Backoff::SHORT_PAUSES).all(|_| backoff.pause().as_micros() == 50));
        let pauses: Vec<u128> = (0..9).map(|_| backoff.pause().as_micros()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.pause().as_micros(), 50);
    }
}
