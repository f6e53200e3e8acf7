//! The player of one venue: waits for the subscriptions, then renders frames when they are due and hands them to every connection.
//!
//! One player per venue renders each frame once. Connections take batches through bounded queues: a connection that does not read
//! holds the whole venue back rather than losing anything (a real venue would cut it; the faults can).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{Pace, Repeat, StartWhen};
use crate::generate::FrameGenerator;
use crate::replayer::{Replayer, Shown};
use crate::report::{lock, wall_ns};
use crate::restamp::{Warp, render};
use crate::sbe::{Moment, Transcoder};
use crate::script::Timeline;
use crate::server::stopped;
use crate::venue::{Batch, BatchFrame, Venue};

/// A batch ends at whichever comes first; together with [`QUEUE_BATCHES`] this bounds what waits for one connection.
const BATCH_FRAMES_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Frames skipped before the player yields.
const STEPS_MAX: usize = 100_000;

/// Batches that may wait for one connection.
pub(crate) const QUEUE_BATCHES: usize = 4;

/// What a venue plays and how fast.
pub(crate) enum FrameFeed {
    /// A recording that was loaded whole.
    Loaded {
        timeline: Arc<Timeline>,
        pace: Pace,
        /// Loops to play; `None` = endless.
        loops: Option<u64>,
        round: u64,
        index: usize,
        warp: Option<Warp>,
    },
    Generated {
        generator: Box<dyn FrameGenerator>,
        /// Frames per second; `None` = as fast as possible.
        frames_per_s: Option<f64>,
    },
    /// A recording that is read while it is played.
    Streamed(Box<Replayer>),
    /// The same, rewritten as SBE.
    Sbe { json: Box<FrameFeed>, transcoder: Transcoder },
}

enum Next {
    /// More is due already.
    More,
    /// Nothing before this time since the start.
    At(Duration),
    /// Everything was played.
    End,
}

impl FrameFeed {
    pub fn recorded(timeline: Arc<Timeline>, pace: Pace, repeat: Repeat) -> FrameFeed {
        let loops = match repeat {
            Repeat::Once => Some(1),
            Repeat::Times(count) => Some(count),
            Repeat::Forever => None,
        };
        FrameFeed::Loaded { timeline, pace, loops, round: 0, index: 0, warp: None }
    }

    fn is_unpaced(&self) -> bool {
        match self {
            FrameFeed::Loaded { pace, .. } => *pace == Pace::Max,
            FrameFeed::Generated { frames_per_s, .. } => frames_per_s.is_none(),
            FrameFeed::Streamed(replayer) => replayer.is_unpaced(),
            FrameFeed::Sbe { json, .. } => json.is_unpaced(),
        }
    }

    /// Fixes the times of this run.
    fn begin(&mut self, restamp: bool, now_ms: i64) -> Option<Warp> {
        match self {
            FrameFeed::Loaded { timeline, pace, warp, .. } => {
                let loop_ms = timeline.loop_ns as f64 / 1e6;
                let frames = timeline.frames.len() as f64;
                let (factor, start_ms) = match *pace {
                    Pace::Recorded => (1.0, now_ms),
                    Pace::Times(factor) => (factor, now_ms),
                    Pace::PerSecond(rate) => (loop_ms / 1e3 * rate as f64 / frames.max(1.0), now_ms),
                    // Played in no time, so it ends about now instead of running into the future.
                    Pace::Max => (1.0, now_ms - loop_ms as i64),
                };
                let starting = Warp::starting(timeline, start_ms);
                *warp = restamp.then_some(Warp { factor: factor.max(1e-6), ..starting });
                *warp
            }
            FrameFeed::Generated { generator, .. } => {
                generator.begin(now_ms);
                None
            }
            FrameFeed::Streamed(replayer) => replayer.begin(now_ms),
            FrameFeed::Sbe { json, .. } => json.begin(restamp, now_ms),
        }
    }

    /// Renders what is due, up to one batch.
    fn fill(&mut self, elapsed: Duration, venue: &Venue, batch: &mut Batch) -> Next {
        let mut stepped = 0;
        while batch.frames.len() < BATCH_FRAMES_MAX && batch.bytes.len() < BATCH_BYTES_MAX {
            if let Some(next) = self.step(elapsed, venue, batch) {
                return next;
            }
            stepped += 1;
            // Whatever steps over frames that nobody hears (unlisted symbols, channels a venue lacks) must not run for ever.
            if stepped > STEPS_MAX && batch.frames.is_empty() {
                return Next::At(elapsed + Duration::from_millis(1));
            }
        }
        Next::More
    }

    /// Renders one frame, or steps over one. Gives what comes next when nothing is due.
    fn step(&mut self, elapsed: Duration, venue: &Venue, batch: &mut Batch) -> Option<Next> {
        match self {
            FrameFeed::Loaded { timeline, pace, loops, round, index, warp } => {
                if *index == timeline.frames.len() {
                    if loops.is_some_and(|loops| *round + 1 >= loops) {
                        return Some(Next::End);
                    }
                    *index = 0;
                    *round += 1;
                }
                let Some(frame) = timeline.frames.get(*index) else { return Some(Next::End) };
                let due = due(timeline, *pace, frame.recv_ns, *round, *index);
                if due > elapsed {
                    return Some(Next::At(due));
                }
                *index += 1;
                if venue.listings.plays(frame.stream) {
                    let start = batch.bytes.len() as u32;
                    let ids = render(timeline, frame, *round, warp.as_ref(), &mut batch.bytes);
                    let end = batch.bytes.len() as u32;
                    let (stream, head_bytes) = (frame.stream, frame.head_bytes);
                    batch.frames.push(BatchFrame { stream, start, end, head_bytes, ids });
                }
            }
            FrameFeed::Generated { generator, frames_per_s } => {
                let Some(made) = generator.made() else { return Some(Next::End) };
                if let Some(rate) = frames_per_s {
                    let due = Duration::from_secs_f64(made as f64 / rate.max(1e-3));
                    if due > elapsed {
                        return Some(Next::At(due));
                    }
                }
                generator.next(batch);
            }
            FrameFeed::Streamed(replayer) => match replayer.step(elapsed, venue, batch) {
                Shown::Entry => {}
                Shown::At(due) => return Some(Next::At(due)),
                Shown::End => return Some(Next::End),
            },
            FrameFeed::Sbe { json, transcoder } => {
                let first = batch.frames.len();
                if let Some(next) = json.step(elapsed, venue, batch) {
                    return Some(next);
                }
                // The rest of a taker order goes with its first trade.
                while batch.frames.len() > first && json.goes_on() {
                    if json.step(Duration::MAX, venue, batch).is_some() {
                        break;
                    }
                }
                transcoder.rewrite(venue, &json.moment(), batch, first);
            }
        }
        None
    }

    /// Whether the next frame is another trade of the taker order of the last one.
    fn goes_on(&self) -> bool {
        match self {
            FrameFeed::Loaded { timeline, index, .. } => {
                index.checked_sub(1).is_some_and(|last| timeline.same_order(last))
            }
            FrameFeed::Generated { generator, .. } => generator.goes_on(),
            FrameFeed::Streamed(_) | FrameFeed::Sbe { .. } => false,
        }
    }

    /// Where the market is right after the last frame.
    fn moment(&self) -> Moment {
        let position = self.position();
        match self {
            FrameFeed::Loaded { timeline, round, index, warp, .. } => {
                let last = index.checked_sub(1).and_then(|last| timeline.frames.get(last));
                let recorded_ms = last.map_or(0, |frame| frame.recv_ns.div_euclid(1_000_000)) + timeline.skew_ms;
                let time_ms = warp.map_or(recorded_ms, |warp| warp.at(recorded_ms, *round));
                Moment { position, warp: *warp, time_ms }
            }
            FrameFeed::Generated { generator, .. } => Moment { position, warp: None, time_ms: generator.now_ms() },
            FrameFeed::Streamed(replayer) => Moment { position, warp: replayer.warp, time_ms: 0 },
            FrameFeed::Sbe { json, .. } => json.moment(),
        }
    }

    fn position(&self) -> (u64, usize) {
        match self {
            FrameFeed::Loaded { round, index, .. } => (*round, *index),
            FrameFeed::Generated { .. } => (0, 0),
            FrameFeed::Streamed(replayer) => replayer.position(),
            FrameFeed::Sbe { json, .. } => json.position(),
        }
    }
}

fn due(timeline: &Timeline, pace: Pace, recv_ns: i64, round: u64, index: usize) -> Duration {
    let recorded_s = || (recv_ns - timeline.first_ns) as f64 / 1e9 + round as f64 * timeline.loop_ns as f64 / 1e9;
    let seconds = match pace {
        Pace::Recorded => recorded_s(),
        Pace::Times(factor) => recorded_s() / factor.max(1e-6),
        Pace::PerSecond(rate) => (round as f64 * timeline.frames.len() as f64 + index as f64) / rate.max(1) as f64,
        Pace::Max => 0.0,
    };
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// Plays a venue until its end or the stop.
pub(crate) async fn play(
    venue: Arc<Venue>,
    mut feed: FrameFeed,
    start_when: StartWhen,
    mut stop: watch::Receiver<bool>,
) {
    tokio::select! {
        () = wait_for_start(&venue, start_when) => {}
        () = stopped(&mut stop) => return,
    }
    let warp = feed.begin(venue.restamp, (wall_ns() / 1_000_000) as i64);
    {
        let mut progress = lock(&venue.progress);
        progress.started = true;
        progress.warp = warp;
    }
    let began = Instant::now();
    loop {
        if feed.is_unpaced() {
            tokio::select! {
                () = wait_for_subscriber(&venue) => {}
                () = stopped(&mut stop) => return,
            }
        }
        let mut batch = Batch::default();
        let next = feed.fill(began.elapsed(), &venue, &mut batch);
        {
            let mut progress = lock(&venue.progress);
            (progress.round, progress.index) = feed.position();
            let known = venue.universe.count().max(progress.played.len());
            progress.played.resize(known, 0);
            for frame in &batch.frames {
                if let Some(count) = progress.played.get_mut(frame.stream as usize) {
                    *count += 1;
                }
            }
        }
        if !batch.frames.is_empty() {
            tokio::select! {
                () = hand_out(&venue, Arc::new(batch)) => {}
                () = stopped(&mut stop) => return,
            }
        }
        match next {
            Next::More => {}
            Next::At(due) => tokio::select! {
                () = tokio::time::sleep_until(began + due) => {}
                () = stopped(&mut stop) => return,
            },
            Next::End => break,
        }
    }
    lock(&venue.progress).done = true;
}

async fn hand_out(venue: &Venue, batch: Arc<Batch>) {
    let outlets = lock(&venue.outlets).clone();
    for outlet in outlets.iter().filter(|outlet| outlet.subscribed.load(Ordering::Acquire)) {
        outlet.pending.fetch_add(1, Ordering::AcqRel);
        // An error means that the connection ended; it has left the list already.
        let _ = outlet.batches.send(batch.clone()).await;
    }
}

async fn wait_for_subscriber(venue: &Venue) {
    loop {
        let changed = venue.changed.notified();
        if lock(&venue.outlets).iter().any(|outlet| outlet.subscribed.load(Ordering::Acquire)) {
            return;
        }
        // The timeout covers a change between the look and the wait.
        let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
    }
}

async fn wait_for_start(venue: &Venue, start_when: StartWhen) {
    loop {
        let changed = venue.changed.notified();
        let (streams, all_expected, quiet) = venue.subscribed();
        let starts = match start_when {
            StartWhen::FirstSubscribe => streams > 0,
            StartWhen::AllStreams => all_expected,
            StartWhen::Settled { streams: wanted, quiet_ms } => {
                streams >= wanted.max(1) && quiet >= Duration::from_millis(quiet_ms)
            }
        };
        if starts {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
    }
}
