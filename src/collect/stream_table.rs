//! The streams of one planned connection as they change while it runs, shared by its lines.
//!
//! New listings are added, delisted symbols leave: their streams stay subscribed where they are and are left out
//! of the next connection. What is no longer wanted is dropped: every line ends it at the venue, on the connection
//! it has, and when all have done so it is forgotten. A stream may serve several channels and goes with the last of them.
//! The stream table also knows what its lines must know of each other: which address each of them uses, since when each of
//! them has delivered without a break, and whose turn it is to be replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use venue::{ConnectionPlan, Want};

/// Lines of a planned connection at most.
pub(super) const LINES_MAX: usize = 2;

#[derive(Debug)]
struct Entry {
    stream: String,
    /// What it is subscribed for; where it goes, what it was last subscribed for.
    wants: Vec<Want>,
    /// What it served before and is no longer wanted.
    past: Vec<Want>,
    /// Version of the stream table that brought it (again).
    added: u64,
    /// Version of the stream table that saw its symbol go, and how.
    leaving: Option<(u64, Leaving)>,
}

/// How a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// The symbol does not trade any more: the stream runs out.
    RunsOut,
    /// Not wanted: it is ended.
    Dropped,
    /// Another connection has it: it is ended here.
    Moved,
}

impl Entry {
    fn new(stream: String, wants: Vec<Want>, added: u64) -> Entry {
        Entry { stream, wants, past: Vec::new(), added, leaving: None }
    }

    fn is(&self, how: Leaving) -> bool {
        self.leaving.is_some_and(|(_, leaving)| leaving == how)
    }

    /// Nothing is expected of it any more.
    fn is_ended(&self) -> bool {
        self.is(Leaving::Dropped) || self.is(Leaving::Moved)
    }
}

/// A stream and what it serves.
pub(super) type Served = (String, Vec<Want>);

/// What changed since a version.
#[derive(Debug, Default)]
pub(super) struct News {
    /// To be subscribed.
    pub(super) added: Vec<Served>,
    /// To be ended.
    pub(super) dropped: Vec<Served>,
    /// The version that holds all of it.
    pub(super) version: u64,
}

#[derive(Debug, Default)]
struct Line {
    /// Version that its last subscribed connection started with.
    started: u64,
    /// Version up to which it ended at the venue what was dropped.
    ended: u64,
    /// Since when it has delivered without a break, ns since epoch.
    live_since_ns: Option<u64>,
    /// Streams that it has delivered only since then, ns since epoch; `u64::MAX` = it still requests them.
    late: BTreeMap<String, u64>,
    peer: Option<IpAddr>,
}

impl Line {
    /// It delivers, but for the streams that are `pending`.
    fn delivers(&mut self, pending: &BTreeSet<String>, now_ns: u64) {
        self.live_since_ns.get_or_insert(now_ns);
        for (_, since_ns) in self.late.iter_mut().filter(|(s, since)| **since == u64::MAX && !pending.contains(*s)) {
            *since_ns = now_ns;
        }
        self.late.extend(pending.iter().map(|stream| (stream.clone(), u64::MAX)));
    }
}

#[derive(Debug)]
struct State {
    entries: Vec<Entry>,
    lines: [Line; LINES_MAX],
    count: usize,
    closed: bool,
}

/// One planned connection, whatever its lines do.
#[derive(Debug)]
pub(super) struct StreamTable {
    path_and_query: String,
    version: AtomicU64,
    state: Mutex<State>,
    /// Held by the line that is being replaced, so that both never are at the same time.
    pub(super) turn: Semaphore,
}

impl StreamTable {
    /// The streams of `plan` on `lines` lines.
    pub(super) fn new(plan: ConnectionPlan, lines: u32) -> Self {
        let entries =
            plan.streams.into_iter().zip(plan.wants).map(|(stream, wants)| Entry::new(stream, wants, 1)).collect();
        let count = (lines as usize).clamp(1, LINES_MAX);
        let state = State { entries, lines: Default::default(), count, closed: false };
        Self {
            path_and_query: plan.path_and_query,
            version: AtomicU64::new(1),
            state: Mutex::new(state),
            turn: Semaphore::new(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grows with every change; cheap enough to look at all the time.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// True when streams of `plan` may be subscribed here too: the query may name streams, the path decides.
    pub(super) fn serves(&self, plan: &ConnectionPlan) -> bool {
        self.path() == path(&plan.path_and_query)
    }

    /// The path of its connections, without what the query says.
    pub(super) fn path(&self) -> &str {
        path(&self.path_and_query)
    }

    /// What a connection that opens now subscribes, and the version that says so. `None` = nothing is left to
    /// subscribe: the stream table is closed for good.
    pub(super) fn plan(&self) -> Option<(ConnectionPlan, u64)> {
        let mut state = self.lock();
        let staying = || state.entries.iter().filter(|e| e.leaving.is_none());
        if state.closed || staying().next().is_none() {
            state.closed = true;
            return None;
        }
        let plan = ConnectionPlan {
            path_and_query: self.path_and_query.clone(),
            streams: staying().map(|e| e.stream.clone()).collect(),
            wants: staying().map(|e| e.wants.clone()).collect(),
        };
        Some((plan, self.version()))
    }

    /// What changed since `version`.
    pub(super) fn since(&self, version: u64) -> News {
        let state = self.lock();
        let pairs = |of: &dyn Fn(&&Entry) -> bool| {
            state.entries.iter().filter(of).map(|e| (e.stream.clone(), e.wants.clone())).collect()
        };
        News {
            added: pairs(&|e| e.added > version && e.leaving.is_none()),
            dropped: pairs(&|e| e.is_ended() && e.leaving.is_some_and(|(at, _)| at > version)),
            version: self.version(),
        }
    }

    /// All streams that frames are missed of, those of symbols that left included.
    pub(super) fn streams(&self) -> Vec<String> {
        self.lock().entries.iter().filter(|e| !e.is_ended()).map(|e| e.stream.clone()).collect()
    }

    /// Streams that are subscribed for `symbol`.
    pub(super) fn streams_of(&self, symbol: &str) -> Vec<String> {
        let is_of = |e: &&Entry| !e.is_ended() && e.wants.iter().any(|w| w.symbol == symbol);
        self.lock().entries.iter().filter(is_of).map(|e| e.stream.clone()).collect()
    }

    /// Streams whose symbol left and that are subscribed still.
    pub(super) fn leaving(&self) -> BTreeSet<String> {
        self.lock().entries.iter().filter(|e| e.is(Leaving::RunsOut)).map(|e| e.stream.clone()).collect()
    }

    /// Streams that are no longer wanted and that may be subscribed still.
    pub(super) fn dropped(&self) -> BTreeSet<String> {
        self.lock().entries.iter().filter(|e| e.is_ended()).map(|e| e.stream.clone()).collect()
    }

    /// True when nothing is taken any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes back streams whose symbol is listed again, and wants that a stream of its own serves already; returns the
    /// others.
    pub(super) fn take_back(&self, new: Vec<Served>) -> Vec<Served> {
        let mut state = self.lock();
        if state.closed {
            return new;
        }
        let version = self.version() + 1;
        let (mut any, mut rest) = (false, Vec::new());
        for (stream, wants) in new {
            match state.entries.iter_mut().find(|e| e.stream == stream && !e.is(Leaving::Moved)) {
                Some(e) if e.leaving.is_none() => {
                    e.past.retain(|w| !wants.contains(w));
                    e.wants.extend(wants.into_iter().filter(|w| !e.wants.contains(w)).collect::<Vec<_>>());
                }
                Some(e) => {
                    (e.added, e.leaving, any) = (version, None, true);
                    let before = std::mem::replace(&mut e.wants, wants);
                    e.past.extend(before);
                    e.past.retain(|w| !e.wants.contains(w));
                }
                None => rest.push((stream, wants)),
            }
        }
        if any {
            self.version.store(version, Ordering::Release);
        }
        rest
    }

    /// Adds streams as far as `max` streams on the connection allow; returns the others.
    pub(super) fn add(&self, mut new: Vec<Served>, max: usize) -> Vec<Served> {
        let mut state = self.lock();
        let room = if state.closed { 0 } else { max.saturating_sub(state.entries.len()) };
        let rest = new.split_off(new.len().min(room));
        if !new.is_empty() {
            let added = self.version() + 1;
            state.entries.extend(new.into_iter().map(|(stream, wants)| Entry::new(stream, wants, added)));
            self.version.store(added, Ordering::Release);
        }
        rest
    }

    /// The symbols of `gone` left, and nobody wants `dropped` any more. A stream that serves nothing else is not
    /// subscribed by the next connection where a symbol left, and is ended on the present ones where nobody wants it.
    pub(super) fn leave(&self, gone: &BTreeSet<Want>, dropped: &BTreeSet<Want>) {
        self.go(|e| {
            if !e.wants.iter().any(|w| gone.contains(w) || dropped.contains(w)) {
                return None;
            }
            let (left, still): (Vec<Want>, Vec<Want>) =
                std::mem::take(&mut e.wants).into_iter().partition(|w| gone.contains(w) || dropped.contains(w));
            if still.is_empty() {
                let is_news = left.iter().any(|w| gone.contains(w));
                e.wants = left;
                return Some(if is_news { Leaving::RunsOut } else { Leaving::Dropped });
            }
            e.wants = still;
            e.past.extend(left);
            None
        });
    }

    /// Another connection has this stream: it is ended here.
    pub(super) fn moved(&self, stream: &str) {
        self.go(|e| (e.stream == stream).then_some(Leaving::Moved));
    }

    /// What the stream serves, where it is to be subscribed here.
    pub(super) fn wants_of(&self, stream: &str) -> Option<Vec<Want>> {
        let state = self.lock();
        let mut staying = state.entries.iter().filter(|e| e.leaving.is_none());
        staying.find(|e| e.stream == stream).map(|e| e.wants.clone())
    }

    fn go(&self, mut how: impl FnMut(&mut Entry) -> Option<Leaving>) {
        let mut state = self.lock();
        let version = self.version() + 1;
        let mut any = false;
        for e in state.entries.iter_mut().filter(|e| e.leaving.is_none()) {
            if let Some(how) = how(e) {
                e.leaving = Some((version, how));
                any = true;
            }
        }
        if any {
            self.version.store(version, Ordering::Release);
        }
    }

    /// A connection of `line` that started with `version` is subscribed: what left before that and is on no
    /// connection any more is forgotten, and makes room. Returns what of it had been dropped.
    #[must_use]
    pub(super) fn settled(&self, line: u32, version: u64, now_ns: u64) -> Vec<Want> {
        let mut state = self.lock();
        if let Some(l) = state.lines.get_mut(line as usize) {
            l.started = version;
            l.delivers(&BTreeSet::new(), now_ns);
        }
        forget(&mut state)
    }

    /// `line` delivers, but for the streams that the venue did not answer it about, or refused.
    pub(super) fn answered(&self, line: u32, pending: &BTreeSet<String>, now_ns: u64) {
        if let Some(l) = self.lock().lines.get_mut(line as usize) {
            l.delivers(pending, now_ns);
        }
    }

    /// `line` ended at the venue what was dropped up to `version`; what no line has any more is forgotten, makes room,
    /// and is returned. `u64::MAX`: the line is gone for good.
    #[must_use]
    pub(super) fn ended(&self, line: u32, version: u64) -> Vec<Want> {
        let mut state = self.lock();
        if let Some(l) = state.lines.get_mut(line as usize) {
            l.ended = l.ended.max(version);
        }
        forget(&mut state)
    }

    /// The connection of `line` ended without a replacement.
    pub(super) fn broken(&self, line: u32) {
        if let Some(l) = self.lock().lines.get_mut(line as usize) {
            l.live_since_ns = None;
            l.late.clear();
            l.peer = None;
        }
    }

    /// True when another line than `line` has been subscribed to `stream` without a break since `from_ns` at the latest:
    /// whether it delivered is its frames' to say.
    pub(super) fn covered(&self, line: u32, from_ns: u64, stream: &str) -> bool {
        let state = self.lock();
        let mut others = state.lines.iter().enumerate().filter(|(n, _)| *n != line as usize);
        others.any(|(_, l)| {
            l.live_since_ns.is_some_and(|since| since <= from_ns) && l.late.get(stream).is_none_or(|s| *s <= from_ns)
        })
    }

    /// `line` is connected to `peer` now.
    pub(super) fn connected(&self, line: u32, peer: Option<IpAddr>) {
        if let Some(l) = self.lock().lines.get_mut(line as usize) {
            l.peer = peer;
        }
    }

    /// Where another line than `line` is connected to.
    pub(super) fn other_peer(&self, line: u32) -> Option<IpAddr> {
        let state = self.lock();
        state.lines.iter().enumerate().filter(|(n, _)| *n != line as usize).find_map(|(_, l)| l.peer)
    }
}

/// Forgets what is on no connection any more; returns what of it had been dropped.
fn forget(state: &mut State) -> Vec<Want> {
    let lines = || state.lines.iter().take(state.count);
    let started = lines().map(|l| l.started).min().unwrap_or_default();
    let ended = lines().map(|l| l.started.max(l.ended)).min().unwrap_or_default();
    let mut forgotten = Vec::new();
    state.entries.retain(|e| match e.leaving {
        Some((at, Leaving::Dropped)) if at <= ended => {
            forgotten.extend(e.wants.iter().chain(&e.past).cloned());
            false
        }
        Some((at, Leaving::Moved)) => at > ended,
        Some((at, Leaving::RunsOut)) => at > started,
        _ => true,
    });
    forgotten
}

fn path(path_and_query: &str) -> &str {
    path_and_query.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::Channel;

    fn pair(symbol: &str) -> Served {
        (format!("{symbol}@trade"), vec![want(symbol, Channel::Trades)])
    }

    fn want(symbol: &str, channel: Channel) -> Want {
        Want { symbol: symbol.to_owned(), channel }
    }

    fn stream_table(symbols: &[&str], lines: u32) -> StreamTable {
        let (streams, wants) = symbols.iter().map(|s| pair(s)).unzip();
        StreamTable::new(ConnectionPlan { path_and_query: "/stream".into(), streams, wants }, lines)
    }

    fn wants(symbols: &[&str]) -> BTreeSet<Want> {
        symbols.iter().flat_map(|s| pair(s).1).collect()
    }

    fn names(entries: &[Served]) -> Vec<&str> {
        entries.iter().map(|(s, _)| s.as_str()).collect()
    }

    #[test]
    fn a_new_listing_is_reported_once_and_takes_only_the_room_there_is() {
        let r = stream_table(&["A", "B"], 1);
        let (plan, version) = r.plan().unwrap();
        assert_eq!(plan.streams, ["A@trade", "B@trade"]);
        let rest = r.add(vec![pair("C"), pair("D")], 3);
        assert_eq!(names(&rest), ["D@trade"]);
        let News { added, version, .. } = r.since(version);
        assert_eq!(names(&added), ["C@trade"]);
        assert!(r.since(version).added.is_empty());
        assert_eq!(r.version(), version);
    }

    #[test]
    fn a_symbol_that_left_stays_until_every_line_was_replaced_and_then_makes_room() {
        let r = stream_table(&["A", "B"], 2);
        for line in 0..2 {
            let _ = r.settled(line, r.plan().unwrap().1, 1);
        }
        r.leave(&wants(&["B"]), &BTreeSet::new());
        assert_eq!(r.leaving(), BTreeSet::from(["B@trade".to_owned()]));
        let (plan, version) = r.plan().unwrap();
        assert_eq!(plan.streams, ["A@trade"]);
        let _ = r.settled(0, version, 2);
        assert_eq!(r.streams().len(), 2, "the other line has it still");
        let _ = r.settled(1, version, 3);
        assert_eq!(r.streams(), ["A@trade"]);
        assert!(r.add(vec![pair("C")], 2).is_empty());
    }

    #[test]
    fn a_symbol_that_is_listed_again_is_subscribed_again_before_and_after_it_was_forgotten() {
        let r = stream_table(&["A", "B"], 1);
        let (_, version) = r.plan().unwrap();
        r.leave(&wants(&["B"]), &BTreeSet::new());
        assert!(r.take_back(vec![pair("B")]).is_empty());
        assert_eq!(names(&r.since(version).added), ["B@trade"]);
        r.leave(&wants(&["B"]), &BTreeSet::new());
        let _ = r.settled(0, r.plan().unwrap().1, 1);
        assert_eq!(names(&r.take_back(vec![pair("B")])), ["B@trade"]);
    }

    #[test]
    fn what_nobody_wants_is_ended_by_every_line_and_makes_room_when_the_last_one_has_done_so() {
        let r = stream_table(&["A", "B", "C"], 2);
        let version = r.plan().unwrap().1;
        for line in 0..2 {
            assert!(r.settled(line, version, 1).is_empty());
        }
        r.leave(&BTreeSet::new(), &wants(&["B"]));
        let News { added, dropped, version } = r.since(version);
        assert_eq!((names(&dropped), added.len()), (vec!["B@trade"], 0));
        assert!(r.since(version).dropped.is_empty());
        assert_eq!(r.streams(), ["A@trade", "C@trade"], "nothing is missed of it");
        assert!(r.leaving().is_empty() && r.dropped().contains("B@trade"));
        assert!(r.ended(0, version).is_empty(), "the other line has it still");
        assert_eq!(names(&r.add(vec![pair("D")], 3)), ["D@trade"]);
        assert_eq!(r.ended(1, version), pair("B").1);
        assert!(r.add(vec![pair("D")], 3).is_empty());
        // Wanted again before its end was even requested: it simply stays.
        r.leave(&BTreeSet::new(), &wants(&["C"]));
        assert!(r.take_back(vec![pair("C")]).is_empty());
        let news = r.since(version);
        assert_eq!((names(&news.added), news.dropped.len()), (vec!["C@trade", "D@trade"], 0));
        assert!(r.ended(0, u64::MAX).is_empty() && r.ended(1, u64::MAX).is_empty());
        // A line whose connection opened again never subscribed it.
        let r2 = stream_table(&["A", "B"], 1);
        r2.leave(&BTreeSet::new(), &wants(&["B"]));
        assert_eq!(r2.settled(0, r2.plan().unwrap().1, 1), pair("B").1);
    }

    #[test]
    fn a_stream_that_serves_several_channels_ends_with_its_last_want() {
        let [tickers, mark] = [want("A", Channel::Tickers), want("A", Channel::MarkPrice)];
        let set = |wants: &[&Want]| wants.iter().map(|w| (*w).clone()).collect::<BTreeSet<_>>();
        let plan = || ConnectionPlan {
            path_and_query: "/ws".into(),
            streams: vec!["tickers A".into(), "trades A".into()],
            wants: vec![vec![tickers.clone(), mark.clone()], pair("A").1],
        };
        let none = BTreeSet::new();
        for (first, last) in [(&tickers, &mark), (&mark, &tickers)] {
            let r = StreamTable::new(plan(), 1);
            let version = r.plan().unwrap().1;
            let _ = r.settled(0, version, 1);
            r.leave(&none, &set(&[first]));
            assert_eq!(r.version(), version, "it is wanted for {:?} still", last.channel);
            // Wanted again it is subscribed already.
            assert!(r.take_back(vec![("tickers A".into(), vec![first.clone()])]).is_empty());
            assert_eq!(r.version(), version);
            r.leave(&none, &set(&[first]));
            r.leave(&none, &set(&[last]));
            let News { dropped, version, .. } = r.since(version);
            assert_eq!(names(&dropped), ["tickers A"]);
            assert_eq!(r.ended(0, version).into_iter().collect::<BTreeSet<_>>(), set(&[&tickers, &mark]));
        }
        // The symbol leaves in the same moment as one of its channels: frames may still come.
        let r = StreamTable::new(plan(), 1);
        r.leave(&set(&[&mark]), &set(&[&tickers]));
        assert_eq!(r.leaving(), BTreeSet::from(["tickers A".to_owned()]));
    }

    #[test]
    fn a_stream_that_moved_is_ended_here_and_is_wanted_elsewhere() {
        let r = stream_table(&["A", "B"], 1);
        let version = r.plan().unwrap().1;
        let _ = r.settled(0, version, 1);
        r.moved("A@trade");
        let News { dropped, version, .. } = r.since(version);
        assert_eq!((names(&dropped), r.streams()), (vec!["A@trade"], vec!["B@trade".to_owned()]));
        assert_eq!(names(&r.take_back(vec![pair("A")])), ["A@trade"], "it is not taken back to where it was");
        assert!(r.wants_of("A@trade").is_none() && r.wants_of("B@trade").is_some());
        assert!(r.ended(0, version).is_empty(), "it is not forgotten on purpose");
        assert!(r.add(vec![pair("C")], 2).is_empty());
    }

    #[test]
    fn a_stream_table_without_streams_is_closed_and_takes_nothing_any_more() {
        let r = stream_table(&["A"], 1);
        r.leave(&wants(&["A"]), &BTreeSet::new());
        assert_eq!(r.plan(), None);
        assert_eq!(names(&r.take_back(vec![pair("A")])), ["A@trade"]);
        assert_eq!(names(&r.add(vec![pair("B")], 9)), ["B@trade"]);
    }

    #[test]
    fn an_interruption_is_covered_only_by_a_line_that_delivered_from_before_it() {
        let r = stream_table(&["A"], 2);
        let _ = r.settled(0, 1, 100);
        let _ = r.settled(1, 1, 200);
        let covered = |line, from_ns| r.covered(line, from_ns, "A@trade");
        assert!(covered(1, 150) && !covered(0, 150) && covered(0, 200));
        r.broken(0);
        assert!(!covered(1, 300));
        let _ = r.settled(0, 1, 400);
        assert!(!covered(1, 300) && covered(1, 400));
    }

    #[test]
    fn a_stream_that_the_other_line_is_not_answered_about_is_covered_by_nobody() {
        let r = stream_table(&["A", "B"], 2);
        let pending = |of: &[&str]| of.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        let covered = |from_ns| (r.covered(1, from_ns, "A@trade"), r.covered(1, from_ns, "B@trade"));
        // One request of the other line stays unanswered: what it does deliver counts.
        r.answered(0, &pending(&["B@trade"]), 100);
        assert_eq!(covered(150), (true, false));
        r.answered(0, &pending(&[]), 200);
        assert_eq!((covered(150), covered(200)), ((true, false), (true, true)));
        // A new listing that is requested on a connection that delivers.
        r.answered(0, &pending(&["B@trade"]), 300);
        assert_eq!(covered(400), (true, false));
        r.broken(0);
        let _ = r.settled(0, 1, 500);
        assert_eq!((covered(400), covered(500)), ((false, false), (true, true)));
    }
}
