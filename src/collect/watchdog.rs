//! Silence: of a whole connection (it is replaced) and of single streams (they are reported).
//!
//! An acknowledgement proves nothing: unknown and delisted streams are acknowledged and stay silent for ever.
//! Only a frame proves a stream. The receiving task counts frames here; the watchdog compares once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::{Equivalent, HashMap};
use tokio::time::Instant;

use ops::clock;
use venue::StreamKey;

/// Frames of one stream. Written by the connection that owns it, read by any task.
#[derive(Debug)]
pub struct StreamStat {
    /// The stream's name as subscribed.
    pub name: String,
    /// Quiet by nature (liquidations): silence says nothing.
    pub quiet: bool,
    frames: AtomicU64,
    last_ns: AtomicU64,
    /// First frame on this connection, ns since epoch.
    first_ns: AtomicU64,
    /// Usual time between two frames on connections before, ns; 0 = not known.
    usual_ns: AtomicU64,
    /// When it was made, ns since epoch.
    since_ns: u64,
    /// It is no longer wanted: frames may still come, none are owed.
    left: AtomicBool,
}

/// Frames from which on the time between two of them is known.
const USUAL_FRAMES: u64 = 10;
/// A stream is overdue after so many of its usual times.
const USUAL_TIMES: u64 = 20;
/// And after this where they are not known: quiet symbols trade once in a while, ns.
const UNKNOWN_NS: u64 = 3_600_000_000_000;

impl StreamStat {
    /// Frames since the connection opened.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Usual time between two frames, ns; `None` = too few came to know.
    fn usual_ns(&self) -> Option<u64> {
        let (frames, first) = (self.frames(), self.first_ns.load(Ordering::Relaxed));
        if frames >= USUAL_FRAMES && self.last_ns() > first {
            return Some((self.last_ns() - first) / (frames - 1));
        }
        Some(self.usual_ns.load(Ordering::Relaxed)).filter(|ns| *ns > 0)
    }

    /// For how long nothing came, ns, when that is far longer than is usual for this stream and at least
    /// `silence_ns`. Streams that are quiet by nature owe nothing.
    pub(crate) fn overdue_ns(&self, wall_ns: u64, silence_ns: u64) -> Option<u64> {
        let silent = wall_ns.saturating_sub(self.last_ns().max(self.since_ns));
        (!self.quiet && silent > self.patience_ns(silence_ns)).then_some(silent)
    }

    /// From when on silence is too long, ns.
    fn patience_ns(&self, silence_ns: u64) -> u64 {
        self.usual_ns().map_or(UNKNOWN_NS, |ns| ns.saturating_mul(USUAL_TIMES)).max(silence_ns)
    }

    /// How often what makes it overdue has passed, for a stream that is overdue by its own pace; 0 = it is not, or its pace
    /// is not known.
    pub(crate) fn times_overdue(&self, wall_ns: u64, silence_ns: u64) -> u64 {
        let overdue = self.overdue_ns(wall_ns, silence_ns).filter(|_| self.is_busy());
        overdue.map_or(0, |ns| ns.checked_div(self.patience_ns(silence_ns)).unwrap_or(u64::MAX))
    }

    /// Its pace is known.
    pub(crate) fn is_busy(&self) -> bool {
        !self.quiet && self.usual_ns().is_some()
    }

    /// How long it has been subscribed, ns.
    pub fn age_ns(&self, wall_ns: u64) -> u64 {
        wall_ns.saturating_sub(self.since_ns)
    }

    /// When its connection was opened or, later, it was added to it, ns since epoch.
    pub fn since_ns(&self) -> u64 {
        self.since_ns
    }

    fn left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Receive time of the last frame, on this connection or one before it, ns since epoch; 0 = none yet.
    pub fn last_ns(&self) -> u64 {
        self.last_ns.load(Ordering::Relaxed)
    }
}

/// Channel and symbol of a [`StreamKey`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OwnedKey(Box<[u8]>, Box<[u8]>);

// Both hash as two byte slices, one after the other.
impl Equivalent<OwnedKey> for StreamKey<'_> {
    fn equivalent(&self, key: &OwnedKey) -> bool {
        *self.channel == *key.0 && *self.symbol == *key.1
    }
}

/// The streams of one connection.
#[derive(Debug)]
pub struct Streams {
    stats: Vec<Arc<StreamStat>>,
    index: HashMap<OwnedKey, usize, foldhash::fast::FixedState>,
}

impl Streams {
    /// No frames yet. Each name with whether silence is normal; `key` says what the frames of a stream carry.
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a str, bool)>, key: impl Fn(&str) -> (Vec<u8>, Vec<u8>)) -> Self {
        Self { stats: Vec::new(), index: HashMap::default() }.with(names, key)
    }

    /// These streams and some more after them; names that are known already stay where they are, and start again where
    /// they had been given up.
    pub fn with<'a>(
        &self,
        names: impl IntoIterator<Item = (&'a str, bool)>,
        key: impl Fn(&str) -> (Vec<u8>, Vec<u8>),
    ) -> Self {
        let (mut stats, mut index) = (self.stats.clone(), self.index.clone());
        let since_ns = clock::receive_ns();
        for (name, quiet) in names {
            let (channel, symbol) = key(name);
            let zero = || AtomicU64::new(0);
            let new = Arc::new(StreamStat {
                name: name.to_owned(),
                quiet,
                frames: zero(),
                last_ns: zero(),
                first_ns: zero(),
                usual_ns: zero(),
                since_ns,
                left: AtomicBool::new(false),
            });
            let at = *index.entry(OwnedKey(channel.into(), symbol.into())).or_insert(stats.len());
            match stats.get_mut(at) {
                Some(known) if known.left() => *known = new,
                Some(_) => {}
                None => stats.push(new),
            }
        }
        Self { stats, index }
    }

    /// Takes over when the streams of an earlier connection were last heard, and how often.
    pub fn carry(&self, before: &Streams) {
        for (key, i) in &self.index {
            let old = before.index.get(key).and_then(|i| before.stats.get(*i));
            if let (Some(new), Some(old)) = (self.stats.get(*i), old) {
                new.last_ns.fetch_max(old.last_ns(), Ordering::Relaxed);
                new.usual_ns.store(old.usual_ns().unwrap_or(0), Ordering::Relaxed);
            }
        }
    }

    /// Counts a frame received at `ts_ns`; false when the stream is none of these. One task calls this.
    #[inline]
    pub fn hit(&self, key: StreamKey<'_>, ts_ns: u64) -> bool {
        match self.index.get(&key).and_then(|i| self.stats.get(*i)) {
            Some(s) => {
                // One writer: a load and a store are enough and cost no locked instruction.
                let frames = s.frames.load(Ordering::Relaxed);
                if frames == 0 {
                    s.first_ns.store(ts_ns, Ordering::Relaxed);
                }
                s.frames.store(frames + 1, Ordering::Relaxed);
                s.last_ns.store(ts_ns, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    /// The stream of this name, where it is one of these and wanted.
    pub fn find(&self, name: &str, key: impl Fn(&str) -> (Vec<u8>, Vec<u8>)) -> Option<&StreamStat> {
        let (channel, symbol) = key(name);
        let at = self.index.get(&StreamKey { channel: &channel, symbol: &symbol })?;
        self.stats.get(*at).map(Arc::as_ref).filter(|s| !s.left())
    }

    /// When the stream of this name was last heard, ns since epoch, 0 = never; `None` when it is none of these.
    pub fn last_ns(&self, name: &str, key: impl Fn(&str) -> (Vec<u8>, Vec<u8>)) -> Option<u64> {
        self.find(name, key).map(StreamStat::last_ns)
    }

    /// Takes the pace of a stream that has none yet from `other`, another line of the same plan.
    pub(crate) fn learn(&self, other: &Streams) {
        for (key, i) in &self.index {
            let Some(new) = self.stats.get(*i).filter(|s| s.usual_ns().is_none()) else { continue };
            let pace = other.index.get(key).and_then(|i| other.stats.get(*i)).and_then(|s| s.usual_ns());
            new.usual_ns.store(pace.unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// The streams that are wanted, in the order they were subscribed.
    pub fn iter(&self) -> impl Iterator<Item = &StreamStat> {
        self.stats.iter().map(Arc::as_ref).filter(|s| !s.left())
    }

    /// All of them, those that were given up included.
    pub fn all(&self) -> impl Iterator<Item = &StreamStat> {
        self.stats.iter().map(Arc::as_ref)
    }

    /// These streams are no longer wanted: what still comes of them is no surprise, and silence is none either.
    pub fn leave<'a>(&self, names: impl IntoIterator<Item = &'a str>, key: impl Fn(&str) -> (Vec<u8>, Vec<u8>)) {
        for name in names {
            let (channel, symbol) = key(name);
            let at = self.index.get(&StreamKey { channel: &channel, symbol: &symbol });
            if let Some(s) = at.and_then(|i| self.stats.get(*i)) {
                s.left.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// A stream that should deliver and does not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Silent {
    /// Its name.
    pub stream: String,
    /// Frames it delivered before; 0 = acknowledged but never delivered.
    pub frames: u64,
    /// For how long nothing came, ms.
    pub silent_ms: u64,
}

#[derive(Debug)]
struct Watched {
    frames: u64,
    since: Instant,
    reported: bool,
    /// Quiet by nature (liquidations): silence says nothing.
    quiet: bool,
}

/// Watches one connection. Pure: every method gets the time.
#[derive(Debug)]
pub(crate) struct Watchdog {
    silence: Duration,
    stream_silence: Duration,
    last_activity: Instant,
    watched: Vec<Watched>,
    subscribed: bool,
}

impl Watchdog {
    /// Watches from `now`; `quiet` says for each stream whether silence is normal.
    pub fn new(now: Instant, silence: Duration, stream_silence: Duration, quiet: impl Iterator<Item = bool>) -> Self {
        let watched = quiet.map(|quiet| Watched { frames: 0, since: now, reported: false, quiet }).collect();
        Self { silence, stream_silence, last_activity: now, watched, subscribed: false }
    }

    /// Something arrived: a message, a ping, a pong.
    #[inline]
    pub fn active(&mut self, now: Instant) {
        self.last_activity = now;
    }

    /// Streams were added after the others; they owe frames from `now` on.
    pub fn added(&mut self, now: Instant, quiet: impl Iterator<Item = bool>) {
        self.watched.extend(quiet.map(|quiet| Watched { frames: 0, since: now, reported: false, quiet }));
    }

    /// How long nothing arrived.
    pub fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_activity)
    }

    /// When something arrived last.
    pub(crate) fn last_activity(&self) -> Instant {
        self.last_activity
    }

    /// All subscriptions are answered: from now on streams owe frames.
    pub fn subscribed(&mut self, now: Instant) {
        self.subscribed = true;
        for w in &mut self.watched {
            w.since = now;
        }
    }

    /// How long the connection has been silent, when that is too long.
    pub fn stale(&self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.last_activity);
        (silent >= self.silence).then_some(silent)
    }

    /// The streams that became silent since the last look; each silence is reported once.
    pub fn silent_streams(&mut self, now: Instant, streams: &Streams) -> Vec<Silent> {
        if !self.subscribed {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (w, s) in self.watched.iter_mut().zip(streams.all()) {
            let frames = s.frames();
            let silent = now.saturating_duration_since(w.since);
            if frames != w.frames || s.left() {
                (w.frames, w.since, w.reported) = (frames, now, false);
            } else if !w.quiet && !w.reported && silent >= self.stream_silence {
                w.reported = true;
                found.push(Silent {
                    stream: s.name.clone(),
                    frames,
                    silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
                });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(names: &[&str]) -> Streams {
        Streams::new(names.iter().map(|n| (*n, false)), |s| (s.into(), Vec::new()))
    }

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_connection_is_stale_only_when_neither_frame_nor_ping_came() {
        let t = Instant::now();
        let mut w = Watchdog::new(t, S(10), S(60), std::iter::empty());
        assert_eq!(w.stale(t + S(9)), None);
        w.active(t + S(9));
        assert_eq!(w.stale(t + S(18)), None);
        assert_eq!(w.stale(t + S(19)), Some(S(10)));
    }

    #[test]
    fn a_stream_that_was_acknowledged_and_never_delivers_is_reported_once() {
        let t = Instant::now();
        let s = streams(&["a@trade", "b@trade"]);
        let mut w = Watchdog::new(t, S(10), S(60), [false, false].into_iter());
        assert!(w.silent_streams(t + S(600), &s).is_empty(), "nothing is owed before the acknowledgement");
        w.subscribed(t + S(600));
        assert!(s.hit(StreamKey::name(b"a@trade"), 1));
        assert!(!s.hit(StreamKey::name(b"c@trade"), 1));
        assert!(w.silent_streams(t + S(659), &s).is_empty());
        let found = w.silent_streams(t + S(660), &s);
        assert_eq!(found, [Silent { stream: "b@trade".into(), frames: 0, silent_ms: 60_000 }]);
        assert!(w.silent_streams(t + S(700), &s).is_empty());
    }

    #[test]
    fn a_stream_that_stops_is_reported_again_after_it_came_back() {
        let t = Instant::now();
        let s = streams(&["a@trade"]);
        let mut w = Watchdog::new(t, S(10), S(60), [false].into_iter());
        w.subscribed(t);
        s.hit(StreamKey::name(b"a@trade"), 7);
        assert!(w.silent_streams(t + S(1), &s).is_empty());
        assert_eq!(w.silent_streams(t + S(61), &s).len(), 1);
        s.hit(StreamKey::name(b"a@trade"), 8);
        assert!(w.silent_streams(t + S(62), &s).is_empty());
        assert_eq!(w.silent_streams(t + S(122), &s)[0].frames, 2);
    }

    #[test]
    fn a_stream_that_is_quiet_by_nature_is_not_reported() {
        let t = Instant::now();
        let s = streams(&["a@forceOrder"]);
        let mut w = Watchdog::new(t, S(10), S(60), [true].into_iter());
        w.subscribed(t);
        assert!(w.silent_streams(t + S(3_600), &s).is_empty());
    }

    #[test]
    fn streams_that_are_added_share_the_counts_of_those_before_them_and_owe_frames_too() {
        let t = Instant::now();
        let old = streams(&["a@trade"]);
        let mut w = Watchdog::new(t, S(10), S(60), [false].into_iter());
        w.subscribed(t);
        old.hit(StreamKey::name(b"a@trade"), 7);
        let new = old.with([("b@trade", false), ("a@trade", false)], |s| (s.into(), Vec::new()));
        w.added(t + S(30), [false].into_iter());
        assert_eq!(new.iter().count(), 2);
        new.hit(StreamKey::name(b"a@trade"), 8);
        let counts: Vec<(&str, u64, u64)> = new.iter().map(|s| (s.name.as_str(), s.frames(), s.last_ns())).collect();
        assert_eq!(counts, [("a@trade", 2, 8), ("b@trade", 0, 0)]);
        assert!(w.silent_streams(t + S(40), &new).is_empty());
        let silent = w.silent_streams(t + S(90), &new);
        assert_eq!(silent.len(), 1);
        assert_eq!(silent[0].stream, "b@trade");
    }

    #[test]
    fn a_stream_that_was_given_up_owes_nothing_and_begins_anew_when_it_is_wanted_again() {
        let t = Instant::now();
        let key = |s: &str| (s.into(), Vec::new());
        let old = streams(&["a@trade", "b@trade"]);
        let mut w = Watchdog::new(t, S(10), S(60), [false, false].into_iter());
        w.subscribed(t);
        old.hit(StreamKey::name(b"a@trade"), 7);
        old.leave(["a@trade", "nobody@trade"], key);
        assert_eq!(old.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["b@trade"]);
        assert!(old.hit(StreamKey::name(b"a@trade"), 8), "on its way still, and no surprise");
        let silent = w.silent_streams(t + S(600), &old);
        assert_eq!(silent.iter().map(|s| s.stream.as_str()).collect::<Vec<_>>(), ["b@trade"]);
        let new = old.with([("a@trade", false)], key);
        assert_eq!((new.iter().count(), new.all().count()), (2, 2));
        assert_eq!(new.iter().next().map(|s| (s.frames(), s.last_ns())), Some((0, 0)));
        assert!(w.silent_streams(t + S(601), &new).is_empty());
        assert!(w.silent_streams(t + S(660), &new).is_empty());
        assert_eq!(w.silent_streams(t + S(661), &new)[0].frames, 0, "it owes frames again, from then on");
    }

    #[test]
    fn a_stream_is_overdue_by_its_own_pace_and_after_an_hour_where_that_is_not_known() {
        let s = streams(&["busy", "slow", "never"]);
        // After the streams were made, whatever the clock says.
        let t = s.stats[0].since_ns + 1_000_000_000;
        let second = 1_000_000_000;
        for i in 0..100 {
            s.hit(StreamKey::name(b"busy"), t + i * second / 10);
            if i % 10 == 0 {
                s.hit(StreamKey::name(b"slow"), t + i * 30 * second);
            }
        }
        let overdue =
            |s: &Streams, at: u64| s.iter().map(|s| s.overdue_ns(at, 60 * second).is_some()).collect::<Vec<_>>();
        // Ten a second: a minute of silence is a lot. One in five minutes: 100 minutes are.
        assert_eq!(overdue(&s, t + 65 * second), [false, false, false]);
        assert_eq!(overdue(&s, t + 71 * second), [true, false, false]);
        assert_eq!(overdue(&s, t + 2_700 * second + 5_900 * second), [true, false, true]);
        assert_eq!(overdue(&s, t + 2_700 * second + 6_100 * second), [true, true, true]);
        // A new connection knows what is usual, and waits from its own beginning.
        let new = streams(&["busy", "slow"]);
        new.carry(&s);
        let t = new.stats[0].since_ns.max(s.stats[1].last_ns());
        assert!(overdue(&new, t + 61 * second)[0]);
        assert!(!overdue(&new, t + 61 * second)[1]);
    }

    #[test]
    fn a_new_connection_knows_when_its_streams_were_last_heard() {
        let (old, new) = (streams(&["a", "b"]), streams(&["b", "c"]));
        old.hit(StreamKey::name(b"b"), 9);
        new.carry(&old);
        let ages: Vec<(u64, u64)> = new.iter().map(|s| (s.frames(), s.last_ns())).collect();
        assert_eq!(ages, [(0, 9), (0, 0)]);
    }
}
