//! What the parts of one venue share: the streams it has, who is connected, how far it has played, what it sent.
//!
//! The player writes `progress` and hands batches to the outlets; each connection owns its outlet and its statistics; REST reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use ::venue::VenueSpec;
use model::VenueId;
use tokio::sync::{Notify, mpsc};

use crate::binance::Market;
use crate::book::Books;
use crate::closes::{CloseReport, Closes, Ending, Planned};
use crate::config::Heartbeat;
use crate::faults::{Action, FaultId};
use crate::generate::MarketState;
use crate::kucoin::Tokens;
use crate::limits::{Allowance, Doors};
use crate::listing::{Listings, Standing};
use crate::protocol::Exchange;
use crate::recall::Recall;
use crate::report::{ConnStats, LimitsReport, RestReport, VenueReport, lock};
use crate::restamp::Warp;
use crate::script::{StreamInfo, Timeline};
use crate::seeded::SeededMarket;

/// Streams that a source which does not know them beforehand may have.
const OPEN_STREAMS_MAX: usize = 65_536;

/// Gate's subscription of the liquidations of all contracts.
const ALL_LIQUIDATIONS: &str = "futures.public_liquidates !all";

#[derive(Debug, Default)]
struct Streams {
    infos: Vec<StreamInfo>,
    by_name: HashMap<String, u32>,
    by_family: HashMap<String, Vec<u32>>,
    /// Of an open universe: played at least once.
    played: Vec<bool>,
}

impl Streams {
    fn add(&mut self, info: StreamInfo) -> u32 {
        let index = self.infos.len() as u32;
        self.by_name.entry(info.name.clone()).or_insert(index);
        self.by_family.entry(family(&info.name)).or_default().push(index);
        self.infos.push(info);
        self.played.push(false);
        index
    }
}

/// The streams of a source, found by name.
#[derive(Debug, Default)]
pub(crate) struct Universe {
    streams: RwLock<Streams>,
    /// Another speed of a channel is served too.
    families: bool,
    /// Streams are not known beforehand: each is added when it is first subscribed or played.
    open: bool,
}

impl Universe {
    pub fn new(streams: Vec<StreamInfo>) -> Universe {
        Universe { families: true, ..Universe::exact(streams) }
    }

    /// Every stream serves its own name only.
    pub fn exact(streams: Vec<StreamInfo>) -> Universe {
        let mut all = Streams::default();
        for info in streams {
            all.add(info);
        }
        Universe { streams: RwLock::new(all), ..Universe::default() }
    }

    /// Streams are added as they are met.
    pub fn open() -> Universe {
        Universe { open: true, ..Universe::default() }
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    fn read(&self) -> RwLockReadGuard<'_, Streams> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Streams known so far.
    pub fn count(&self) -> usize {
        self.read().infos.len()
    }

    /// The stream at a place.
    pub fn info(&self, stream: u32) -> Option<StreamInfo> {
        self.read().infos.get(stream as usize).cloned()
    }

    /// All streams, by place.
    pub fn infos(&self) -> Vec<StreamInfo> {
        self.read().infos.clone()
    }

    /// The source stream that serves a subscribed name, and whether the names agree. Another speed of the same channel serves too.
    pub fn resolve(&self, name: &str) -> Option<(u32, bool)> {
        if self.open {
            return self.meet(name, false).map(|stream| (stream, true));
        }
        let streams = self.read();
        match streams.by_name.get(name) {
            Some(&stream) => Some((stream, true)),
            None if self.families => streams.by_family.get(&family(name))?.first().map(|&stream| (stream, false)),
            None => None,
        }
    }

    /// The place of a stream of an open universe that is played.
    pub fn place(&self, name: &str) -> Option<u32> {
        self.meet(name, true)
    }

    fn meet(&self, name: &str, plays: bool) -> Option<u32> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let known = streams.by_name.get(name).copied();
        let room = streams.infos.len() < OPEN_STREAMS_MAX;
        let stream = known.or_else(|| room.then(|| streams.add(StreamInfo::of(name))))?;
        if let Some(played) = streams.played.get_mut(stream as usize) {
            *played |= plays;
        }
        Some(stream)
    }

    /// Of an open universe: streams that were subscribed, are not in the recording, and are served by this one.
    pub fn siblings(&self, stream: u32) -> Vec<(u32, String)> {
        let streams = self.read();
        let Some(info) = streams.infos.get(stream as usize) else { return Vec::new() };
        let mut found = streams.by_family.get(&family(&info.name)).cloned().unwrap_or_default();
        if info.channel() == "futures.public_liquidates" {
            found.extend(streams.by_name.get(ALL_LIQUIDATIONS));
        }
        found.retain(|&other| other != stream && !streams.played.get(other as usize).copied().unwrap_or(true));
        let name = |other: u32| Some((other, streams.infos.get(other as usize)?.name.clone()));
        found.into_iter().filter_map(name).collect()
    }
}

/// A name without its speed: `x@depth@100ms` and `x@depth` are one family, `x@markPrice@1s` and `x@markPrice` another.
fn family(name: &str) -> String {
    let mut parts = name.split('@');
    let (symbol, channel) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    match channel {
        "depth" | "markPrice" => format!("{symbol}@{channel}@*"),
        _ => name.to_owned(),
    }
}

/// Frames that are due together, rendered once for every connection.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub bytes: Vec<u8>,
    pub frames: Vec<BatchFrame>,
}

/// One frame of a batch, in its combined form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchFrame {
    pub stream: u32,
    pub start: u32,
    pub end: u32,
    /// Bytes before the data value.
    pub head_bytes: u32,
    pub ids: Option<(i64, i64)>,
}

impl Batch {
    /// The whole frame.
    pub fn combined(&self, frame: &BatchFrame) -> &[u8] {
        self.bytes.get(frame.start as usize..frame.end as usize).unwrap_or(&[])
    }

    /// The data value alone.
    pub fn data(&self, frame: &BatchFrame) -> &[u8] {
        self.bytes.get((frame.start + frame.head_bytes) as usize..(frame.end as usize).saturating_sub(1)).unwrap_or(&[])
    }
}

/// What the server sends a connection.
#[derive(Debug)]
pub(crate) enum Order {
    /// Do this now.
    Act(Action),
    /// A fault that waits for this frame count was added.
    Await(u64, FaultId),
    /// End as planned, with notice if so planned.
    Close(Planned),
    /// The notice is over: end.
    End(Ending),
}

/// The player's end of one connection.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub id: u32,
    pub number: u32,
    pub path: String,
    /// Bounded: a full queue holds the player back, so nothing is dropped and memory stays small.
    pub batches: mpsc::Sender<Arc<Batch>>,
    /// Unbounded, but filled only by hand and by script.
    pub orders: mpsc::UnboundedSender<Order>,
    /// Batches queued or being written.
    pub pending: Arc<AtomicU64>,
    pub subscribed: Arc<AtomicBool>,
    /// A planned close has it already.
    pub doomed: Arc<AtomicBool>,
}

/// How far a venue has played.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub started: bool,
    pub done: bool,
    pub round: u64,
    /// Frames of this round that were played.
    pub index: usize,
    pub warp: Option<Warp>,
    pub played: Vec<u64>,
}

#[derive(Debug)]
struct Subscriptions {
    counts: Vec<u32>,
    changed: Instant,
}

/// What a venue plays.
#[derive(Clone)]
pub(crate) enum Material {
    Recorded(Arc<Timeline>),
    /// The generated market's latest ids and prices, for REST.
    Generated(Arc<MarketState>),
    /// The generated market of KuCoin or Gate.
    SeededMarket(Arc<SeededMarket>),
    /// What was played of a recording that is not loaded, for REST.
    Recording(Arc<Recall>),
}

/// One venue.
pub(crate) struct Venue {
    pub id: String,
    /// What the exchange documents.
    pub spec: &'static VenueSpec,
    pub exchange: Exchange,
    pub market: Market,
    pub api_key: Option<String>,
    /// Channels that the other path serves.
    pub moved: Vec<String>,
    pub dead_servers: usize,
    pub universe: Universe,
    pub material: Material,
    pub restamp: bool,
    pub extra_symbols: bool,
    pub listings: Arc<Listings>,
    pub allowance: Allowance,
    /// Shared by the venues that share limits.
    pub doors: Arc<Doors>,
    pub limits: Mutex<LimitsReport>,
    pub closes: Closes,
    pub closed: Mutex<Vec<CloseReport>>,
    pub heartbeat: Heartbeat,
    /// Whether it is served over TLS.
    pub tls: bool,
    /// Tokens that clients may connect with.
    pub tokens: Tokens,
    pub token_life_ms: u64,
    /// Stream indices that must be subscribed before `AllStreams` starts.
    pub expected: Vec<u32>,
    pub outlets: Mutex<Vec<Outlet>>,
    pub stats: Mutex<Vec<Arc<Mutex<ConnStats>>>>,
    pub progress: Mutex<Progress>,
    pub rest: Mutex<RestReport>,
    pub books: Mutex<Books>,
    subscriptions: Mutex<Subscriptions>,
    /// Woken when subscriptions or connections change.
    pub changed: Notify,
}

impl Venue {
    pub fn new(
        wanted: &crate::config::SimVenue,
        id: VenueId,
        streams: Vec<StreamInfo>,
        material: Material,
        config: &crate::config::SimConfig,
        doors: Arc<Doors>,
        listings: Arc<Listings>,
    ) -> Venue {
        let spec = ::venue::venue(id).spec;
        let (exchange, market) = crate::protocol::of_venue(id);
        let is_sbe = exchange == Exchange::BinanceSbe;
        let universe = match &material {
            Material::Recording(_) => Universe::open(),
            _ if is_sbe => Universe::exact(streams),
            _ => Universe::new(streams),
        };
        let count = universe.count();
        let expected = if wanted.expected.is_empty() {
            let waits_for = |info: &StreamInfo| {
                let is_listed =
                    listings.standing(&info.symbol).is_none_or(|(standing, _)| standing != Standing::Absent);
                is_listed && !(is_sbe && info.channel() == "depth20")
            };
            (0..).zip(&universe.infos()).filter(|(_, info)| waits_for(info)).map(|(stream, _)| stream).collect()
        } else {
            wanted.expected.iter().filter_map(|name| universe.resolve(name)).map(|(stream, _)| stream).collect()
        };
        Venue {
            id: wanted.id.clone(),
            spec,
            exchange,
            market,
            api_key: wanted.api_key.clone(),
            moved: wanted.moved.clone(),
            dead_servers: wanted.dead_servers,
            universe,
            material,
            restamp: config.restamp,
            extra_symbols: config.extra_symbols,
            listings,
            allowance: Allowance::of(spec, &config.limits),
            doors,
            limits: Mutex::default(),
            closes: Closes::default(),
            closed: Mutex::default(),
            heartbeat: config.heartbeat,
            tls: config.tls.is_some(),
            tokens: Tokens::default(),
            token_life_ms: config.limits.token_life_ms,
            expected,
            outlets: Mutex::default(),
            stats: Mutex::default(),
            progress: Mutex::new(Progress { played: vec![0; count], ..Progress::default() }),
            rest: Mutex::default(),
            books: Mutex::default(),
            subscriptions: Mutex::new(Subscriptions { counts: vec![0; count], changed: Instant::now() }),
            changed: Notify::new(),
        }
    }

    /// Gives a new connection its number within the venue and its statistics.
    pub fn admit(&self, id: u32, path: &str) -> (u32, Arc<Mutex<ConnStats>>) {
        let mut all = lock(&self.stats);
        let number = all.len() as u32 + 1;
        let stats = Arc::new(Mutex::new(ConnStats::open(id, number, path)));
        all.push(stats.clone());
        (number, stats)
    }

    /// Counts subscriptions in and out.
    pub fn subscribe(&self, added: &[u32], removed: &[u32]) {
        {
            let mut subscriptions = lock(&self.subscriptions);
            for &stream in added {
                if subscriptions.counts.len() <= stream as usize {
                    subscriptions.counts.resize(stream as usize + 1, 0);
                }
                if let Some(count) = subscriptions.counts.get_mut(stream as usize) {
                    *count += 1;
                }
            }
            for &stream in removed {
                if let Some(count) = subscriptions.counts.get_mut(stream as usize) {
                    *count = count.saturating_sub(1);
                }
            }
            if !added.is_empty() {
                subscriptions.changed = Instant::now();
            }
        }
        self.changed.notify_waiters();
    }

    /// Subscribed source streams, whether all expected ones are among them, and the time since the last new one.
    pub fn subscribed(&self) -> (usize, bool, std::time::Duration) {
        let subscriptions = lock(&self.subscriptions);
        let on = |stream: &u32| subscriptions.counts.get(*stream as usize).is_some_and(|&count| count > 0);
        let streams = subscriptions.counts.iter().filter(|&&count| count > 0).count();
        (streams, self.expected.iter().all(on), subscriptions.changed.elapsed())
    }

    /// The venue's time, ms: of a recording with its own times that of the recording, else that of the wall.
    pub fn time_ms(&self, wall_ms: i64) -> i64 {
        match &self.material {
            Material::Recording(recall) => recall.now_ms(wall_ms),
            _ => wall_ms,
        }
    }

    /// The listing that was recorded under a path, of a recording.
    pub fn recorded_listing(&self, path: &str) -> Option<Vec<u8>> {
        match &self.material {
            Material::Recording(recall) => recall.listing_of(path),
            _ => None,
        }
    }

    /// Whether anyone hears a stream.
    pub fn is_subscribed(&self, stream: u32) -> bool {
        lock(&self.subscriptions).counts.get(stream as usize).is_some_and(|&count| count > 0)
    }

    /// True when everything was played and every connection has flushed it.
    pub fn finished(&self) -> bool {
        lock(&self.progress).done
            && lock(&self.outlets).iter().all(|outlet| outlet.pending.load(Ordering::Acquire) == 0)
    }

    /// Everything sent so far.
    pub fn report(&self) -> VenueReport {
        let progress = lock(&self.progress);
        let played: BTreeMap<String, u64> =
            self.universe.infos().into_iter().zip(&progress.played).map(|(info, &count)| (info.name, count)).collect();
        VenueReport {
            started: progress.started,
            played_out: progress.done,
            loops: progress.round + u64::from(progress.done),
            played,
            connections: lock(&self.stats).iter().map(|stats| lock(stats).report()).collect(),
            rest: lock(&self.rest).clone(),
            closes: lock(&self.closed).clone(),
            listing: self.listings.changes(),
            limits: lock(&self.limits).clone(),
            usage: self.doors.usage(&self.allowance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_depth_speed_is_served_by_the_recorded_one_but_partial_books_are_not() {
        let universe = Universe::new(vec![StreamInfo::of("x@depth@0ms"), StreamInfo::of("x@trade")]);
        assert_eq!(universe.resolve("x@depth@0ms"), Some((0, true)));
        assert_eq!(universe.resolve("x@depth@100ms"), Some((0, false)));
        assert_eq!(universe.resolve("x@depth"), Some((0, false)));
        assert_eq!(universe.resolve("x@depth20"), None);
        assert_eq!(universe.resolve("X@trade"), None);
    }
}
