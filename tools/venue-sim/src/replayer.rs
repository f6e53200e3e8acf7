//! Plays a [`Recording`]: one entry at a time, so that what is held does not grow with the length of the recording.
//!
//! Frames keep their bytes and their times; with restamping each is rendered as `restamp` does it for loaded recordings, the spans of
//! ids and the length of a loop being known once the first loop is over. Binary frames are never restamped. Streams are not known
//! beforehand: each gets its place when it is first subscribed or first played. A subscriber of another speed of a recorded stream gets
//! the recorded one under the name it subscribed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Pace, Repeat};
use crate::recall::Recall;
use crate::recording::{Entry, Item, Recording, RecordingSource};
use crate::restamp::{Spans, Track, Warp, render};
use crate::script::{StreamInfo, Timeline, combined_head, foreign_name, raw_stream_name};
use crate::venue::{Batch, BatchFrame, Universe, Venue};

/// Streams of a recording that are distinguished.
const PLACES_MAX: usize = 65_536;

/// What a step came to.
pub(crate) enum Shown {
    /// An entry was handled.
    Entry,
    /// Nothing is due before this time since the start.
    At(Duration),
    /// Everything was played.
    End,
}

/// Where frames of one name go.
struct Place {
    stream: u32,
    info: StreamInfo,
    /// Streams that get them under their own name.
    also: Vec<(u32, String)>,
    /// Streams known when `also` was made.
    known: usize,
}

/// Plays one recording.
pub(crate) struct Replayer {
    source: RecordingSource,
    recording: Box<dyn Recording>,
    pace: Pace,
    /// Loops to play; `None` = endless.
    loops: Option<u64>,
    round: u64,
    /// Entries of this round that were played.
    index: usize,
    /// Frames of all loops.
    frames: u64,
    /// The entry that is next, with its bytes in `bytes`.
    pending: Option<Entry>,
    bytes: Vec<u8>,
    first_ns: i64,
    last_ns: i64,
    /// What one loop takes, ns; 0 until the first is over.
    loop_ns: i64,
    restamp: bool,
    pub warp: Option<Warp>,
    places: HashMap<Vec<u8>, Place>,
    tracks: Vec<Track>,
    spans: Spans,
    pub recall: Arc<Recall>,
}

impl Replayer {
    /// Opens the recording and reads on to its first entry that is played.
    pub fn new(source: RecordingSource, pace: Pace, repeat: Repeat, restamp: bool) -> anyhow::Result<Replayer> {
        let recording = source.open(0)?;
        let mut replayer = Replayer {
            source,
            recording,
            pace,
            loops: match repeat {
                Repeat::Once => Some(1),
                Repeat::Times(count) => Some(count),
                Repeat::Forever => None,
            },
            round: 0,
            index: 0,
            frames: 0,
            pending: None,
            bytes: Vec::new(),
            first_ns: 0,
            last_ns: 0,
            loop_ns: 0,
            restamp,
            warp: None,
            places: HashMap::new(),
            tracks: Vec::new(),
            spans: Spans::default(),
            recall: Arc::new(Recall::new(restamp)),
        };
        replayer.look();
        if replayer.pending.is_none() {
            anyhow::bail!("it holds nothing to play in this range");
        }
        replayer.first_ns = replayer.pending.as_ref().map_or(0, |entry| entry.recv_ns);
        replayer.recall.at(replayer.first_ns);
        Ok(replayer)
    }

    pub fn is_unpaced(&self) -> bool {
        self.pace == Pace::Max
    }

    /// Fixes the times of this run.
    pub fn begin(&mut self, now_ms: i64) -> Option<Warp> {
        let factor = if let Pace::Times(factor) = self.pace { factor.max(1e-6) } else { 1.0 };
        let base_ms = self.first_ns.div_euclid(1_000_000);
        self.warp = self.restamp.then_some(Warp { start_ms: now_ms, base_ms, factor, loop_ms: 0.0 });
        self.warp
    }

    /// Loop, and entries of it that were played.
    pub fn position(&self) -> (u64, usize) {
        (self.round, self.index)
    }

    /// Reads up to the next entry that is played.
    fn look(&mut self) {
        while self.pending.is_none() {
            self.bytes.clear();
            let Some(entry) = self.recording.next(&mut self.bytes) else { return };
            if entry.ahead { self.remember(&entry) } else { self.pending = Some(entry) }
        }
    }

    fn remember(&mut self, entry: &Entry) {
        match &entry.item {
            Item::Listing { path } => self.recall.listing(path, &self.bytes),
            Item::Book { symbol } => {
                let shift = self.book_shift(symbol);
                self.recall.snapshot(symbol, &self.bytes, shift);
            }
            Item::Frame { stream: None } => {
                if let Some((name, head)) = name_of(&self.bytes) {
                    let data = data_of(&self.bytes, head);
                    self.recall.frame(&StreamInfo::of(&name), head == 0, data);
                }
            }
            Item::Frame { stream: Some(_) } => {}
        }
    }

    /// By how much ids of a book are further on in this loop.
    fn book_shift(&self, symbol: &str) -> i64 {
        let is_book = |place: &&Place| place.info.is_depth() && place.info.symbol == symbol;
        let stream = self.places.values().find(is_book).map(|place| place.stream);
        stream.map_or(0, |stream| self.spans.shift(stream as usize, self.round))
    }

    /// Plays the next entry if it is due.
    pub fn step(&mut self, elapsed: Duration, venue: &Venue, batch: &mut Batch) -> Shown {
        self.look();
        let Some(entry) = self.pending.take() else {
            return if self.next_round(&venue.universe) { Shown::Entry } else { Shown::End };
        };
        let due = self.due(entry.recv_ns);
        if due > elapsed {
            self.pending = Some(entry);
            return Shown::At(due);
        }
        self.index += 1;
        self.last_ns = entry.recv_ns;
        self.recall.at(entry.recv_ns);
        match &entry.item {
            Item::Frame { stream } => self.frame(stream.as_deref(), venue, batch),
            Item::Listing { .. } | Item::Book { .. } => self.remember(&entry),
        }
        Shown::Entry
    }

    fn due(&self, recv_ns: i64) -> Duration {
        let recorded_s = (recv_ns - self.first_ns) as f64 / 1e9 + self.round as f64 * self.loop_ns as f64 / 1e9;
        let seconds = match self.pace {
            Pace::Recorded => recorded_s,
            Pace::Times(factor) => recorded_s / factor.max(1e-6),
            Pace::PerSecond(rate) => self.frames as f64 / rate.max(1) as f64,
            Pace::Max => 0.0,
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
    }

    /// Begins the next loop; false when there is none.
    fn next_round(&mut self, universe: &Universe) -> bool {
        if self.index == 0 || self.loops.is_some_and(|loops| self.round + 1 >= loops) {
            return false;
        }
        if self.round == 0 {
            let span_ns = self.last_ns - self.first_ns;
            self.loop_ns = span_ns + (span_ns / self.index as i64).max(1_000_000);
            if let Some(warp) = &mut self.warp {
                warp.loop_ms = self.loop_ns as f64 / 1e6;
                self.spans = Spans::from_tracks(&self.tracks, &universe.infos());
            }
        }
        // A recording that cannot be opened again ends here.
        let Ok(recording) = self.source.open(self.round + 1) else { return false };
        self.recording = recording;
        self.round += 1;
        self.index = 0;
        self.recall.restart();
        true
    }

    fn frame(&mut self, stream: Option<&str>, venue: &Venue, batch: &mut Batch) {
        let (name, head) = match stream {
            Some(name) => (name.to_owned(), 0),
            None => match name_of(&self.bytes) {
                Some(named) => named,
                None => return,
            },
        };
        if head == BARE {
            self.bytes.splice(..0, format!(r#"{{"stream":"{name}","data":"#).into_bytes());
            self.bytes.push(b'}');
        }
        let head = if head == BARE { name.len() + 20 } else { head };
        if !self.places.contains_key(name.as_bytes()) {
            let place = venue.universe.place(&name).filter(|_| self.places.len() < PLACES_MAX);
            let Some(place) = place else { return };
            let info = StreamInfo::of(&name);
            self.places
                .insert(name.clone().into_bytes(), Place { stream: place, info, also: Vec::new(), known: usize::MAX });
        }
        let Some(place) = self.places.get_mut(name.as_bytes()) else { return };
        let known = venue.universe.count();
        if place.known != known {
            place.known = known;
            place.also = venue.universe.siblings(place.stream);
        }
        let start = batch.bytes.len();
        let mut ids = None;
        match &self.warp {
            Some(warp) if stream.is_none() => {
                let (own, range) = self.spans.of_stream(place.stream as usize);
                let single = Timeline::single(&place.info, &self.bytes, head, Spans::single(own, range));
                if let Some(frame) = single.frames.first() {
                    if self.round == 0 {
                        let index = place.stream as usize;
                        if self.tracks.len() <= index {
                            self.tracks.resize(index + 1, Track::default());
                        }
                        if let Some(track) = self.tracks.get_mut(index) {
                            track.note(single.slots(frame));
                        }
                    }
                    ids = render(&single, frame, self.round, Some(warp), &mut batch.bytes);
                }
            }
            _ => batch.bytes.extend_from_slice(&self.bytes),
        }
        let end = batch.bytes.len();
        let rendered = batch.bytes.get(start..end).unwrap_or(&[]);
        if stream.is_none() {
            self.recall.frame(&place.info, head == 0, data_of(rendered, head));
        }
        let head_bytes = u32::try_from(head).unwrap_or(0);
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        batch.frames.push(BatchFrame { stream: place.stream, start: at(start), end: at(end), head_bytes, ids });
        self.frames += 1;
        for (stream, name) in &place.also {
            let from = batch.bytes.len();
            if head == 0 {
                batch.bytes.extend_from_within(start..end);
            } else {
                batch.bytes.extend_from_slice(format!(r#"{{"stream":"{name}","data":"#).as_bytes());
                batch.bytes.extend_from_within(start + head..end);
            }
            let head_bytes = if head == 0 { 0 } else { at(name.len() + 20) };
            let end = at(batch.bytes.len());
            batch.frames.push(BatchFrame { stream: *stream, start: at(from), end, head_bytes, ids });
        }
    }
}

/// In the place of a head's length: the frame has none and gets one.
const BARE: usize = usize::MAX;

/// The stream of a frame and the bytes before its data.
fn name_of(frame: &[u8]) -> Option<(String, usize)> {
    if let Some(head) = combined_head(frame) {
        let name = frame.get(11..head.checked_sub(9)?)?;
        return Some((String::from_utf8_lossy(name).into_owned(), head));
    }
    if let Some(name) = foreign_name(frame) {
        return Some((name, 0));
    }
    raw_stream_name(frame).map(|name| (name, BARE))
}

/// The part of a frame that is its event.
fn data_of(frame: &[u8], head: usize) -> &[u8] {
    match head {
        0 | BARE => frame,
        _ => frame.get(head..frame.len().saturating_sub(1)).unwrap_or(&[]),
    }
}
