//! What one WebSocket client has not been sent yet: bounded, newest state of a bar in place of an older one, never
//! an older state after a newer one. Putting into it never waits, so a slow client delays no other.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::super::text::{self, Unit};
use super::control::Topic;
use crate::binance::{Family, agg_id, texts as trade_texts};
use crate::json::json_text;
use kline::db::Source;
use model::{Interval, KlineData, Tick};

/// Entries a client may be behind before only the newest state of each bar is kept.
pub(super) const BEHIND_MAX: usize = 4_096;

/// How a symbol is called, made once.
#[derive(Debug)]
pub(crate) struct Name {
    pub venue: String,
    pub symbol: String,
    /// As JSON, with quotes.
    pub json: String,
    /// As in names of streams.
    pub lower: String,
}

/// Symbol index and interval.
pub(super) type Slot = (u32, Interval);

/// The form in which a stream shows its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub topic: Topic,
    /// As combined streams carry it.
    pub combined: bool,
    pub unit: Unit,
}

/// Texts of one event, made once for all who want them in the same form.
#[derive(Debug, Default)]
struct Texts {
    /// The forms that most clients want: in ms, alone and combined.
    usual: [OnceLock<Utf8Bytes>; 2],
    rare: Mutex<Vec<(Form, Utf8Bytes)>>,
}

impl Texts {
    fn get(&self, form: Form, usual: bool, make: impl FnOnce() -> String) -> Utf8Bytes {
        if usual && form.unit == Unit::Ms {
            let [alone, combined] = &self.usual;
            return if form.combined { combined } else { alone }.get_or_init(|| make().into()).clone();
        }
        let mut rare = self.rare.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = rare.iter().find(|(f, _)| *f == form) {
            return text.clone();
        }
        let text: Utf8Bytes = make().into();
        rare.push((form, text.clone()));
        text
    }
}

/// An event as combined streams carry it.
pub(super) fn wrapped(combined: bool, stream: impl FnOnce() -> String, event: &str) -> String {
    if combined { format!("{{\"stream\":{},\"data\":{event}}}", json_text(&stream())) } else { event.to_owned() }
}

/// A state of a bar.
#[derive(Debug)]
pub(super) struct BarUpdate {
    pub name: Arc<Name>,
    pub slot: Slot,
    pub bar: KlineData,
    pub now_us: i64,
    events: Texts,
    object: OnceLock<String>,
}

impl BarUpdate {
    pub fn new(name: Arc<Name>, slot: Slot, bar: KlineData, now_us: i64) -> Self {
        Self { name, slot, bar, now_us, events: Texts::default(), object: OnceLock::new() }
    }

    /// As the exchange's streams have it.
    pub fn event(&self, form: Form) -> Utf8Bytes {
        let (n, interval) = (&self.name, self.slot.1);
        let bar = text::Bar { venue: &n.venue, symbol: &n.json, interval, bar: &self.bar, unit: form.unit };
        self.events.get(form, matches!(form.topic, Topic::Bar(_)), || match form.topic {
            Topic::Continuous(_, contract) => {
                let stream = || format!("{}_{}@continuousKline_{interval}", n.lower, contract.as_str().to_lowercase());
                wrapped(form.combined, stream, &text::continuous(&bar, contract.as_str(), self.now_us))
            }
            _ => {
                let stream = || format!("{}@kline_{interval}", n.lower);
                wrapped(form.combined, stream, &text::event(&bar, self.now_us))
            }
        })
    }

    pub fn object(&self) -> &str {
        let n = &self.name;
        self.object.get_or_init(|| text::object(&n.venue, &n.json, self.slot.1, &self.bar, Some(Source::Live)))
    }
}

/// A trade, as `@aggTrade` or as `@trade`.
#[derive(Debug)]
pub(super) struct TradeUpdate {
    name: Arc<Name>,
    tick: Tick,
    topic: Topic,
    now_us: i64,
    events: Texts,
}

impl TradeUpdate {
    pub fn new(name: Arc<Name>, tick: Tick, aggregate: bool, now_us: i64) -> Self {
        Self { name, tick, topic: Topic::Trade { aggregate }, now_us, events: Texts::default() }
    }

    /// As the exchange's streams have it.
    pub fn event(&self, combined: bool, unit: Unit) -> Utf8Bytes {
        let form = Form { topic: self.topic, combined, unit };
        self.events.get(form, true, || {
            let topic = if self.is_aggregate() { "aggTrade" } else { "trade" };
            wrapped(combined, || format!("{}@{topic}", self.name.lower), &self.text(unit))
        })
    }

    /// The venue's name.
    pub fn venue(&self) -> &str {
        &self.name.venue
    }

    /// Of which symbol.
    pub fn index(&self) -> u32 {
        self.tick.symbol_index
    }

    /// In which stream.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    fn is_aggregate(&self) -> bool {
        self.topic == Topic::Trade { aggregate: true }
    }

    fn text(&self, unit: Unit) -> String {
        let aggregate = self.is_aggregate();
        let (t, symbol, now) = (&self.tick, &self.name.json, unit.convert_us(self.now_us));
        let (price, amount, _) = trade_texts(&self.name.venue, t);
        let (time, maker) = (unit.convert_us(t.ts_us), !t.taker_buy);
        let spot = Family::of(&self.name.venue) == Some(Family::Spot);
        let last = match (spot, aggregate) {
            (true, _) => ",\"M\":true",
            (false, true) => "",
            (false, false) => ",\"X\":\"MARKET\"",
        };
        if aggregate {
            format!(
                "{{\"e\":\"aggTrade\",\"E\":{now},\"s\":{symbol},\"a\":{},\"p\":\"{price}\",\"q\":\"{amount}\",\
                 \"f\":{},\"l\":{},\"T\":{time},\"m\":{maker}{last}}}",
                agg_id(t),
                t.first_id,
                t.last_id
            )
        } else {
            format!(
                "{{\"e\":\"trade\",\"E\":{now},\"s\":{symbol},\"t\":{},\"p\":\"{price}\",\"q\":\"{amount}\",\
                 \"T\":{time},\"m\":{maker}{last}}}",
                t.last_id
            )
        }
    }
}

/// One thing to be sent.
#[derive(Clone, Debug)]
pub(super) enum Update {
    Bar(Arc<BarUpdate>),
    Trade(Arc<TradeUpdate>),
}

/// The newest states a client knows of a slot: of the open bar, and of the last closed one.
#[derive(Clone, Copy, Debug)]
struct Seen {
    open: (i64, u64, u32),
    closed: (i64, u64, u32),
}

impl Seen {
    const NOTHING: Seen = Seen { open: (i64::MIN, 0, 0), closed: (i64::MIN, 0, 0) };

    /// Notes a state; false when the client knows a newer one of the same bar.
    fn admit(&mut self, bar: &KlineData) -> bool {
        let state = (bar.open_time_us, bar.trade_count, bar.revision);
        if bar.is_final() {
            if state.0 == self.closed.0 && state <= self.closed {
                return false;
            }
            self.closed = self.closed.max(state);
            return true;
        }
        // An open state after the close of the same bar, or of one after it, is old.
        if state < self.open || state.0 <= self.closed.0 {
            return false;
        }
        self.open = state;
        true
    }
}

/// What [`Mailbox::take`] gives.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub updates: Vec<Update>,
    /// Number of the last change that is in it or before it.
    pub sequence: u64,
    /// States that newer ones replaced.
    pub conflated: u64,
    /// States between are missing that were more than replaced: closes may be among them.
    pub skipped: bool,
    /// Trades cannot be conflated, and there were too many.
    pub overflow: bool,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Update>,
    /// Place of the newest entry of a slot.
    at: HashMap<Slot, usize>,
    seen: HashMap<Slot, Seen>,
    batch: Batch,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    /// Something was put and nobody woken since.
    unheard: AtomicBool,
    pub wake: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits in it, bytes; texts that are made already and shared with others count whole.
    pub fn bytes_estimate(&self) -> u64 {
        const ENTRY: usize = size_of::<Update>() + size_of::<BarUpdate>() + 512;
        const SLOT: usize = size_of::<(Slot, usize)>() + size_of::<(Slot, Seen)>();
        let inner = self.lock();
        (inner.queue.len() * ENTRY + inner.seen.len() * SLOT) as u64
    }

    /// Adds states of bars up to the change `sequence`. The client hears of them at [`Mailbox::ring`], so that what
    /// belongs together is sent together.
    pub fn put<'a>(&self, bars: impl IntoIterator<Item = &'a Arc<BarUpdate>>, sequence: u64) {
        let mut inner = self.lock();
        for bar in bars {
            inner.put(bar);
        }
        inner.batch.sequence = inner.batch.sequence.max(sequence);
        if !inner.queue.is_empty() {
            self.unheard.store(true, Ordering::Relaxed);
        }
    }

    /// Wakes the client if something was put since it was woken.
    pub fn notify(&self) {
        if self.unheard.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Adds a trade.
    pub(crate) fn put_trade(&self, trade: &Arc<TradeUpdate>) {
        let mut inner = self.lock();
        inner.queue.push_back(Update::Trade(Arc::clone(trade)));
        inner.bound();
        drop(inner);
        self.wake.notify_one();
    }

    /// The client knows these bars, whatever waits already: older states of them are not sent any more.
    pub fn known<'a>(&self, bars: impl IntoIterator<Item = (Slot, &'a KlineData)>) {
        let mut inner = self.lock();
        for (slot, bar) in bars {
            let mut known = Seen::NOTHING;
            known.admit(bar);
            inner.seen.insert(slot, known);
        }
        inner.admit_again();
    }

    /// Puts the states that a subscription begins with in front of what came meanwhile.
    pub(crate) fn put_first(&self, bars: Vec<Arc<BarUpdate>>) {
        let mut inner = self.lock();
        for bar in &bars {
            inner.seen.insert(bar.slot, Seen::NOTHING);
        }
        for bar in bars.into_iter().rev() {
            inner.queue.push_front(Update::Bar(bar));
        }
        inner.admit_again();
        drop(inner);
        self.wake.notify_one();
    }

    /// Some changes passed by unseen.
    pub fn skipped(&self) {
        self.lock().batch.skipped = true;
    }

    /// Forgets a slot.
    pub fn forget(&self, slot: Slot) {
        let mut inner = self.lock();
        inner.seen.remove(&slot);
        inner.queue.retain(|n| !matches!(n, Update::Bar(b) if b.slot == slot));
        inner.place();
    }

    /// Everything that waits.
    pub fn take(&self) -> Batch {
        let mut inner = self.lock();
        inner.at.clear();
        let sequence = inner.batch.sequence;
        let updates = inner.queue.drain(..).collect();
        let batch = std::mem::replace(&mut inner.batch, Batch { sequence, ..Batch::default() });
        Batch { updates, ..batch }
    }
}

impl Inner {
    /// Drops what is older than what comes before it.
    fn admit_again(&mut self) {
        let seen = &mut self.seen;
        self.queue.retain(|n| match n {
            Update::Bar(b) => seen.entry(b.slot).or_insert(Seen::NOTHING).admit(&b.bar),
            Update::Trade(..) => true,
        });
        self.place();
    }

    fn put(&mut self, bar: &Arc<BarUpdate>) {
        if !self.seen.entry(bar.slot).or_insert(Seen::NOTHING).admit(&bar.bar) {
            return;
        }
        if let Some(Update::Bar(waiting)) = self.at.get(&bar.slot).and_then(|at| self.queue.get_mut(*at))
            && waiting.bar.open_time_us == bar.bar.open_time_us
        {
            *waiting = Arc::clone(bar);
            self.batch.conflated += 1;
            return;
        }
        self.at.insert(bar.slot, self.queue.len());
        self.queue.push_back(Update::Bar(Arc::clone(bar)));
        self.bound();
    }

    /// Too far behind: the newest state of each slot stays, and all trades, unless they alone are too many.
    fn bound(&mut self) {
        if self.queue.len() <= BEHIND_MAX.max(2 * self.at.len()) {
            return;
        }
        let before = self.queue.len();
        let newest: HashMap<Slot, i64> = self
            .queue
            .iter()
            .filter_map(|n| if let Update::Bar(b) = n { Some((b.slot, b.bar.open_time_us)) } else { None })
            .collect();
        self.queue.retain(|n| match n {
            Update::Bar(b) => newest.get(&b.slot) == Some(&b.bar.open_time_us),
            Update::Trade(..) => true,
        });
        self.batch.conflated += (before - self.queue.len()) as u64;
        self.batch.skipped = true;
        if self.queue.len() > BEHIND_MAX.max(self.at.len()) {
            self.batch.overflow = true;
            self.queue.retain(|n| matches!(n, Update::Bar(_)));
        }
        self.place();
    }

    fn place(&mut self) {
        self.at = (0..)
            .zip(&self.queue)
            .filter_map(|(at, n)| if let Update::Bar(b) = n { Some((b.slot, at)) } else { None })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ws::control::Contract;
    use model::kline::FINAL;

    fn name() -> Arc<Name> {
        Arc::new(Name { venue: "binance-spot".into(), symbol: "A".into(), json: "\"A\"".into(), lower: "a".into() })
    }

    fn bar(minute: i64, count: u64, closed: bool) -> Arc<BarUpdate> {
        slot_bar(0, minute, count, closed)
    }

    fn slot_bar(symbol: u32, minute: i64, count: u64, closed: bool) -> Arc<BarUpdate> {
        let data = KlineData {
            open_time_us: minute * 60_000_000,
            trade_count: count,
            flags: if closed { FINAL } else { 0 },
            ..KlineData::default()
        };
        Arc::new(BarUpdate::new(name(), (symbol, Interval::M1), data, 0))
    }

    fn states(batch: &Batch) -> Vec<(i64, u64, bool)> {
        let state = |n: &Update| match n {
            Update::Bar(b) => (b.bar.open_time_us / 60_000_000, b.bar.trade_count, b.bar.is_final()),
            Update::Trade(..) => unreachable!("no trades here"),
        };
        batch.updates.iter().map(state).collect()
    }

    #[test]
    fn a_newer_state_takes_the_place_of_an_older_one_and_closes_are_kept() {
        let m = Mailbox::default();
        m.put([&bar(1, 1, false), &bar(1, 2, false), &bar(1, 3, true), &bar(2, 1, false), &bar(2, 2, false)], 5);
        let batch = m.take();
        assert_eq!(states(&batch), [(1, 3, true), (2, 2, false)]);
        assert_eq!((batch.sequence, batch.conflated, batch.skipped), (5, 3, false));
        assert!(m.take().updates.is_empty());
    }

    #[test]
    fn a_client_is_woken_once_for_all_that_was_put_and_texts_are_shared() {
        use futures_util::FutureExt;
        let m = Mailbox::default();
        let woken = || m.wake.notified().now_or_never().is_some();
        m.put([&bar(1, 1, false)], 1);
        m.put([&slot_bar(1, 1, 1, false)], 1);
        assert!(!woken(), "not before all is there");
        m.notify();
        assert!(woken());
        m.notify();
        assert!(!woken(), "nothing was put since");
        // What is older than what the client knows is nothing to be woken for.
        m.take();
        m.put([&bar(0, 1, false)], 2);
        m.notify();
        assert!(!woken());
        let updates = bar(1, 1, false);
        let form = |topic, combined, unit| Form { topic, combined, unit };
        let (plain, contract) = (Topic::Bar(Interval::M1), Topic::Continuous(Interval::M1, Contract::Perpetual));
        for (topic, combined, unit) in
            [(plain, false, Unit::Ms), (plain, true, Unit::Ms), (plain, true, Unit::Us), (contract, false, Unit::Ms)]
        {
            let form = form(topic, combined, unit);
            assert_eq!(updates.event(form).as_ptr(), updates.event(form).as_ptr());
        }
        assert!(updates.event(form(plain, true, Unit::Ms)).contains("\"a@kline_1m\",\"data\":{\"e\":\"kline\""));
        let event = updates.event(form(contract, true, Unit::Ms));
        assert!(event.contains("\"a_perpetual@continuousKline_1m\",\"data\":{\"e\":\"continuous_kline\""), "{event}");
    }

    #[test]
    fn an_older_state_never_follows_a_newer_one() {
        let m = Mailbox::default();
        m.put([&bar(4, 9, false), &bar(5, 4, false)], 1);
        m.known([((0, Interval::M1), &bar(5, 10, false).bar)]);
        m.put([&bar(5, 9, false), &bar(4, 7, false), &bar(4, 7, true), &bar(4, 6, true), &bar(5, 10, false)], 1);
        assert_eq!(states(&m.take()), [(4, 7, true), (5, 10, false)]);
        m.put([&bar(5, 11, true), &bar(5, 11, false), &bar(5, 10, true), &bar(4, 7, true), &bar(4, 8, true)], 2);
        // A revision of an earlier bar passes; what is known of the last close does not.
        let last = states(&m.take());
        assert!(last.contains(&(5, 11, true)) && last.contains(&(4, 8, true)), "{last:?}");
        assert!(!last.contains(&(5, 11, false)) && !last.contains(&(5, 10, true)), "{last:?}");
    }

    #[test]
    fn what_a_subscription_begins_with_comes_before_what_came_meanwhile() {
        let m = Mailbox::default();
        m.put([&bar(6, 2, false)], 3);
        m.put_first(vec![bar(5, 8, true), bar(6, 1, false)]);
        assert_eq!(states(&m.take()), [(5, 8, true), (6, 1, false), (6, 2, false)]);
        m.put([&bar(6, 1, false), &bar(6, 3, false)], 4);
        assert_eq!(states(&m.take()), [(6, 3, false)]);
    }

    #[test]
    fn a_client_that_reads_nothing_costs_a_bounded_queue_and_gets_the_newest_states() {
        let m = Mailbox::default();
        for minute in 0..20_000 {
            m.put([&slot_bar(minute as u32 % 3, i64::from(minute), 1, true)], u64::from(minute as u32));
        }
        let batch = m.take();
        assert!(batch.skipped && batch.updates.len() <= BEHIND_MAX, "{}", batch.updates.len());
        assert_eq!(states(&batch).last(), Some(&(19_999, 1, true)));
        assert_eq!(batch.sequence, 19_999);
    }
}
