//! The log of one venue as a recording to be played: its frames, listings and order books, in the order they came.
//!
//! What lies before the range is read for an hour back and only remembered, so that books and candles are there when
//! playing begins; a symbol whose book is not among it gets the first one of the next minutes. A frame that came
//! over a second connection too (redundant lines, the overlap of a rotation) is played once: when it came first.
//! The segments that are still to be played stay meanwhile ([`wal_format::Hold`]).
//! Ranges that the log lost are left out with a warning.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;
use venue_sim::{Entry, Item, Recording};
use wal_format::{Hold, Kind, Position, RecordRef, SegmentDirs, SegmentId, error_chain, flags};

use capture::Capture;
use fold::hold;
use fold::source::{RecordSource, RecordedLog, Step};
use fold::stored_logs::{StoredLogsError, logs_from};
use model::RestMeta;
use venue::{StreamKey, Venue};

/// How far before the range the log is read for books and candles, ns.
const LEAD_NS: u64 = 3_600_000_000_000;
/// How far into the range is looked for the first books, ns.
const LOOK_NS: u64 = 120_000_000_000;
/// A frame is compared for this time of the log, ns: lines differ by less.
const TWINS_KEEP_NS: u64 = 20_000_000_000;
/// Frames that are compared, of all streams together: 64 bytes each.
const TWINS_MAX: usize = 500_000;

/// What of a log is played, by receive time.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// From here on, ns since 1970-01-01 UTC.
    pub from_ns: u64,
    /// Before this, ns.
    pub to_ns: u64,
}

/// The recent frames of all streams. Of a frame that one connection brought n times, and every other one at most n
/// times, n are played.
#[derive(Default)]
struct Twins {
    /// By the hash of stream and frame: how often each connection brought it.
    brought: HashMap<u64, SmallVec<[(u32, u32); 2]>>,
    /// When each was first seen.
    order: VecDeque<(u64, u64)>,
}

impl Twins {
    /// True when another connection brought the same frame, and as often.
    fn is_known(&mut self, hash: u64, conn: u32, now_ns: u64) -> bool {
        while let Some((at_ns, old)) = self.order.front().copied() {
            if self.order.len() < TWINS_MAX && now_ns.saturating_sub(at_ns) <= TWINS_KEEP_NS {
                break;
            }
            self.order.pop_front();
            self.brought.remove(&old);
        }
        let brought = self.brought.entry(hash).or_insert_with(|| {
            self.order.push_back((now_ns, hash));
            SmallVec::new()
        });
        let played = brought.iter().map(|(_, times)| *times).max().unwrap_or(0);
        let times = match brought.iter_mut().find(|(of, _)| *of == conn) {
            Some((_, times)) => {
                *times = times.saturating_add(1);
                *times
            }
            None => {
                brought.push((conn, 1));
                1
            }
        };
        times <= played
    }
}

/// Reads the logs of one venue one after the other.
pub struct LogRecording {
    venue: &'static Venue,
    range: Range,
    /// Where each log lies, and where reading begins.
    logs: VecDeque<(SegmentDirs, Position)>,
    /// The log being read.
    reading: Option<(SegmentDirs, Box<dyn RecordSource>)>,
    /// Everything from here on is played.
    playing: bool,
    /// Found by looking ahead.
    ahead: VecDeque<(Entry, Vec<u8>)>,
    /// Listings and books remembered before playing begins.
    seen: HashSet<Item>,
    twins: Twins,
    /// What is still to be played stays.
    holds: Vec<Hold>,
    /// The segment being read.
    segment: SegmentId,
    /// Stream names of binary frames.
    names: HashMap<u64, Option<String>>,
    last_ns: u64,
}

impl LogRecording {
    /// Finds the logs of `venue` and where the range begins in them.
    ///
    /// # Errors
    /// When a directory or a segment cannot be read.
    pub fn open(cfg: &Capture, venue: &'static Venue, range: Range) -> Result<LogRecording, StoredLogsError> {
        let dir = cfg.wal_dir(venue.id());
        // Before anything is listed: what is listed stays.
        let holds = hold(&cfg.archive_root(), &dir, "replay --serve").unwrap_or_else(|err| {
            // A log that can only be read, such as a mounted backup: nobody deletes from it.
            tracing::warn!(venue = %venue.id(), error = error_chain(&err), "what is played is not kept from being deleted");
            Vec::new()
        });
        let found = logs_from(&cfg.archive_root(), &dir, range.from_ns.saturating_sub(LEAD_NS))?;
        Ok(LogRecording {
            venue,
            range,
            logs: found.into(),
            reading: None,
            playing: false,
            ahead: VecDeque::new(),
            seen: HashSet::new(),
            twins: Twins::default(),
            holds,
            segment: SegmentId(0),
            names: HashMap::new(),
            last_ns: 0,
        })
    }

    /// Looks for the first listing and the first books after `from`.
    fn look_ahead(&mut self, stored: &SegmentDirs, from: Position, from_ns: u64) {
        let Some(mut log) = open(stored, from) else { return };
        let until = from_ns.saturating_add(LOOK_NS).min(self.range.to_ns);
        loop {
            match log.next() {
                Ok(Step::Record(record)) if record.ts_recv_ns >= until => return,
                Ok(Step::Record(record)) => {
                    let Some((item, body)) = rest(&record) else { continue };
                    if self.seen.insert(item.clone()) {
                        let entry = Entry { recv_ns: record.ts_recv_ns as i64, item, ahead: true };
                        self.ahead.push_back((entry, body.to_vec()));
                    }
                }
                Ok(Step::Lost(_)) => {}
                Ok(Step::Tail | Step::Blocked { .. } | Step::End) | Err(_) => return,
            }
        }
    }
}

fn open(stored: &SegmentDirs, from: Position) -> Option<Box<dyn RecordSource>> {
    match RecordedLog::open(stored, from) {
        Ok(log) => Some(Box::new(log)),
        Err(err) => {
            tracing::warn!(log = %stored.dir().display(), error = error_chain(&err), "cannot open the log");
            None
        }
    }
}

/// A listing or a book.
fn rest<'a>(record: &RecordRef<'a>) -> Option<(Item, &'a [u8])> {
    if record.kind() != Some(Kind::Rest) {
        return None;
    }
    let rest = record.rest()?;
    let meta: RestMeta = serde_json::from_slice(rest.meta).ok()?;
    if meta.status != 200 || meta.fill.is_some() {
        return None;
    }
    let item = match meta.channel.as_str() {
        "symbols" => {
            let url = meta.url.split_once("://").map_or(meta.url.as_str(), |(_, rest)| rest);
            let path = url.find('/').and_then(|at| url.get(at..)).unwrap_or("/");
            Item::Listing { path: path.split('?').next().unwrap_or(path).to_owned() }
        }
        "depth_snapshot" => Item::Book { symbol: meta.symbol? },
        _ => return None,
    };
    Some((item, rest.body))
}

fn hash_of(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The stream that carries binary frames of this key.
fn binary_name(venue: &Venue, key: StreamKey<'_>) -> Option<String> {
    let symbol = std::str::from_utf8(key.symbol).ok()?.to_lowercase();
    ["trade", "bestBidAsk", "depth20", "depth"].into_iter().map(|channel| format!("{symbol}@{channel}")).find(|name| {
        let (channel, symbol) = venue.streams.stream_key(name);
        (channel.as_slice(), symbol.as_slice()) == (key.channel, key.symbol)
    })
}

impl Recording for LogRecording {
    fn next(&mut self, bytes: &mut Vec<u8>) -> Option<Entry> {
        bytes.clear();
        if let Some((entry, body)) = self.ahead.pop_front() {
            bytes.extend_from_slice(&body);
            return Some(entry);
        }
        loop {
            if self.reading.is_none() {
                let (stored, start) = self.logs.pop_front()?;
                self.reading = open(&stored, start).map(|log| (stored, log));
                continue;
            }
            let (stored, log) = self.reading.as_mut()?;
            let record = match log.next() {
                Ok(Step::Record(record)) => record,
                Ok(Step::Lost(lost)) => {
                    tracing::warn!(venue = %self.venue.id(), %lost.reason, from = %lost.from, to = %lost.to, "the log lost records here; they are not played");
                    continue;
                }
                // Who only looks back waits for nothing.
                Ok(Step::Tail | Step::Blocked { .. } | Step::End) => {
                    self.reading = None;
                    continue;
                }
                Err(err) => {
                    tracing::warn!(venue = %self.venue.id(), error = %err, "the log cannot be read further");
                    self.reading = None;
                    continue;
                }
            };
            if record.ts_recv_ns >= self.range.to_ns {
                return None;
            }
            // Segments of logs that were there one after the other have numbers of their own.
            if self.logs.is_empty() && record.position.segment != self.segment {
                self.segment = record.position.segment;
                for hold in &self.holds {
                    // What is not let go is held longer than needed, until the end.
                    let _ = hold.advance(self.segment);
                }
            }
            if !self.playing && record.ts_recv_ns >= self.range.from_ns {
                self.playing = true;
                let (at, ts_ns, stored) = (record.position, record.ts_recv_ns, stored.clone());
                self.look_ahead(&stored, at, ts_ns);
                // The record is read again after what was found.
                self.reading = open(&stored, at).map(|log| (stored, log));
                if let Some((entry, body)) = self.ahead.pop_front() {
                    bytes.extend_from_slice(&body);
                    return Some(entry);
                }
                continue;
            }
            let (item, body) = match record.kind() {
                Some(Kind::Data) => {
                    let binary = record.flags & flags::BINARY != 0;
                    let Some(key) = self.venue.frames.stream_of(record.payload, binary) else { continue };
                    let stream = hash_of(key);
                    if self.twins.is_known(hash_of((stream, record.payload)), record.conn, record.ts_recv_ns) {
                        continue;
                    }
                    let stream = if binary {
                        let venue = self.venue;
                        let name = self.names.entry(stream).or_insert_with(|| binary_name(venue, key));
                        let Some(name) = name else { continue };
                        Some(name.clone())
                    } else {
                        None
                    };
                    (Item::Frame { stream }, record.payload)
                }
                Some(Kind::Rest) => {
                    let Some((item, body)) = rest(&record) else { continue };
                    if !self.playing {
                        self.seen.insert(item.clone());
                    }
                    (item, body)
                }
                _ => continue,
            };
            // A clock that was set back between two runs does not turn the recording around.
            self.last_ns = self.last_ns.max(record.ts_recv_ns);
            bytes.extend_from_slice(body);
            let recv_ns = i64::try_from(self.last_ns).unwrap_or(i64::MAX);
            return Some(Entry { recv_ns, item, ahead: !self.playing });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_over_a_second_connection_is_a_twin_and_a_repetition_on_its_own_is_not() {
        let mut twins = Twins::default();
        assert!(!twins.is_known(7, 1, 0) && !twins.is_known(8, 1, 0));
        assert!(twins.is_known(7, 2, 0), "the other line brought it too");
        assert!(!twins.is_known(7, 1, 0), "the venue said it twice");
        assert!(twins.is_known(7, 2, 0), "and so did the other line");
        assert!(!twins.is_known(9, 2, 0) && twins.is_known(9, 1, 0));
    }

    #[test]
    fn a_line_that_is_seconds_behind_is_not_played_twice_and_nothing_is_compared_for_ever() {
        let mut twins = Twins::default();
        let second = 1_000_000_000;
        assert!((0..100_000).all(|frame| !twins.is_known(frame, 1, frame * 50_000)));
        assert!(
            (0..100_000).all(|frame| twins.is_known(frame, 2, 5 * second + frame * 50_000)),
            "5 s and 100,000 frames"
        );
        assert!(!twins.is_known(u64::MAX, 1, 100 * second));
        assert_eq!((twins.brought.len(), twins.order.len()), (1, 1));
        let many = TWINS_MAX as u64 + 10;
        (0..many).for_each(|frame| _ = twins.is_known(frame, 1, 100 * second));
        assert!(twins.brought.len() <= TWINS_MAX && twins.brought.len() == twins.order.len());
    }

    #[test]
    fn segments_that_are_still_to_be_played_are_held_and_those_behind_are_not() {
        let root = tempfile::tempdir().expect("a directory");
        let mut cfg =
            settings::from_text("[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n", Capture::read)
                .expect("valid");
        cfg.data_dir = root.path().to_owned();
        let dir = cfg.wal_dir(model::VenueId::BinanceSpot);
        let mut options = wal_format::LogOptions::new(std::sync::Arc::new(ops::clock::now));
        options.segment_bytes = 1 << 20;
        let mut log = wal_format::LogWriter::open(&dir, options).expect("opens");
        let frame = br#"{"stream":"btcusdt@trade","data":{}}"#;
        let long = [frame.as_slice(), &[b' '; 100_000]].concat();
        for at in 0..30u64 {
            let ts_recv_ns = 1_723_070_000_000_000_000 + at;
            let payload = [long.as_slice(), at.to_string().as_bytes()].concat();
            let append = wal_format::Append { ts_recv_ns, conn: 1, kind: Kind::Data, flags: 0, payload: &payload };
            log.append(&append).expect("appends");
        }
        log.close().expect("closes");
        let venue = venue::venue(model::VenueId::BinanceSpot);
        let mut recording = LogRecording::open(&cfg, venue, Range { from_ns: 0, to_ns: u64::MAX }).expect("opens");
        let held = || wal_format::holds(&dir).expect("lists").into_iter().map(|held| held.from.0).collect::<Vec<_>>();
        assert_eq!(held(), [0]);
        let mut bytes = Vec::new();
        while recording.next(&mut bytes).is_some() {}
        assert!(held()[0] > 1, "{:?}", held());
        drop(recording);
        assert!(held().is_empty());
    }
}
