//! One task takes every change of the hub once and puts it into the mailboxes of those who want it. It never waits
//! for a client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::mailbox::{BarUpdate, Mailbox, Name, Slot, TradeUpdate};
use crate::json::json_text;
use crate::time::now_us;
use kline::{KlineHub, Pushed};
use model::{Interval, Tick};
use ops::shutdown::Shutdown;
use ops::supervise::{Supervisor, Task};

/// Which bars a native client wants; `None` = all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub venue: Option<String>,
    pub symbols: Option<Vec<String>>,
    pub intervals: Option<Vec<Interval>>,
}

impl Filter {
    /// True for a bar that is wanted.
    pub fn has(&self, venue: &str, symbol: &str, interval: Interval) -> bool {
        self.venue.as_ref().is_none_or(|v| *v == venue)
            && self.symbols.as_ref().is_none_or(|s| s.iter().any(|s| s == symbol))
            && self.intervals.as_ref().is_none_or(|i| i.contains(&interval))
    }

    fn wants(&self, name: &Name, interval: Interval) -> bool {
        self.has(&name.venue, &name.symbol, interval)
    }
}

type Boxes = Vec<Arc<Mailbox>>;

#[derive(Default)]
struct Topics {
    bars: HashMap<Slot, Boxes>,
    /// By symbol, single trades and aggregates apart.
    trades: HashMap<(u32, bool), Boxes>,
    native: Vec<(Arc<Mailbox>, Filter)>,
    names: Vec<Arc<Name>>,
    /// Last change handed out.
    sequence: u64,
}

impl Topics {
    /// Gives native clients what they want of a change. What many of them would look for in all of it is sorted once.
    fn put_native(&self, updates: &[Arc<BarUpdate>], sequence: u64) {
        let mut by_symbol: HashMap<&str, Vec<&Arc<BarUpdate>>> = HashMap::new();
        if self.native.iter().any(|(_, f)| f.symbols.is_some()) {
            for bar in updates {
                by_symbol.entry(&bar.name.symbol).or_default().push(bar);
            }
        }
        for (mailbox, filter) in &self.native {
            let wanted = |n: &&Arc<BarUpdate>| filter.wants(&n.name, n.slot.1);
            match &filter.symbols {
                None => mailbox.put(updates.iter().filter(wanted), sequence),
                Some(symbols) => {
                    let bars = symbols.iter().filter_map(|s| by_symbol.get(s.as_str())).flatten().copied();
                    mailbox.put(bars.filter(wanted), sequence);
                }
            }
        }
    }
}

/// See the module.
pub(crate) struct Dispatcher {
    hub: Arc<KlineHub>,
    topics: Mutex<Topics>,
    trading: AtomicBool,
    boxes: Mutex<Vec<Weak<Mailbox>>>,
    supervisor: Supervisor,
    shutdown: Shutdown,
}

impl Dispatcher {
    /// Starts the task.
    pub fn start(hub: Arc<KlineHub>, supervisor: Supervisor, shutdown: Shutdown) -> Arc<Dispatcher> {
        let (sequence, changes) = hub.subscribe();
        let topics = Mutex::new(Topics { sequence, ..Topics::default() });
        let trading = AtomicBool::new(false);
        let this = Arc::new(Dispatcher { hub, topics, trading, boxes: Mutex::default(), supervisor, shutdown });
        let (task, mut first) = (Arc::clone(&this), Some(changes));
        this.supervisor.spawn(Task::Push, "bars", &this.shutdown, move || {
            let (task, changes) = (Arc::clone(&task), first.take());
            async move { task.follow(changes).await }
        });
        this
    }

    /// Pushes `changes`; without any, those from now on, after the present state: a panic may have lost some.
    async fn follow(&self, changes: Option<Receiver<Pushed>>) {
        let mut changes = changes.unwrap_or_else(|| {
            let (_, changes) = self.hub.subscribe();
            self.catch_up();
            changes
        });
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = self.shutdown.wait() => return,
            };
            match change {
                Ok(pushed) => self.push(&pushed),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "pushes fell after; clients go on with the present state");
                    self.catch_up();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mailbox for a new client.
    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        let mailbox = Arc::<Mailbox>::default();
        let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        boxes.retain(|b| b.strong_count() > 0);
        boxes.push(Arc::downgrade(&mailbox));
        mailbox
    }

    /// Estimate of what waits for all clients, bytes.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        boxes.iter().filter_map(Weak::upgrade).map(|b| b.bytes_estimate()).sum()
    }

    /// How a symbol is called.
    pub fn name(&self, index: u32) -> Option<Arc<Name>> {
        self.named(&mut self.lock(), index)
    }

    fn named(&self, topics: &mut Topics, index: u32) -> Option<Arc<Name>> {
        if topics.names.len() <= index as usize {
            let all = self.hub.registry().all();
            topics.names.extend(all.into_iter().skip(topics.names.len()).map(|entry| {
                let (json, lower) = (json_text(&entry.symbol), entry.symbol.to_lowercase());
                Arc::new(Name { venue: entry.venue, symbol: entry.symbol, json, lower })
            }));
        }
        topics.names.get(index as usize).cloned()
    }

    fn push(&self, pushed: &Pushed) {
        let now = now_us();
        let mut topics = self.lock();
        // What came with catching up is not said again.
        if pushed.sequence <= topics.sequence {
            return;
        }
        topics.sequence = pushed.sequence;
        let mut updates = Vec::new();
        for update in pushed.updates.iter() {
            let slot = (update.symbol_index, update.interval);
            if topics.native.is_empty() && !topics.bars.contains_key(&slot) {
                continue;
            }
            let Some(name) = self.named(&mut topics, update.symbol_index) else { continue };
            let bar = Arc::new(BarUpdate::new(name, slot, update.bar, now));
            for mailbox in topics.bars.get(&slot).into_iter().flatten() {
                mailbox.put([&bar], pushed.sequence);
            }
            updates.push(bar);
        }
        topics.put_native(&updates, pushed.sequence);
        // Woken when all is there: one write to each client, not one for each of its streams.
        for mailbox in updates.iter().filter_map(|n| topics.bars.get(&n.slot)).flatten() {
            mailbox.notify();
        }
        for (mailbox, _) in &topics.native {
            mailbox.notify();
        }
    }

    /// After changes were missed: all clients get the present state of their subscriptions.
    #[cold]
    fn catch_up(&self) {
        // Numbered before the states are read: what changes between comes again, and older states are not sent.
        let (sequence, _) = self.hub.subscribe();
        let now = now_us();
        let mut topics = self.lock();
        topics.sequence = topics.sequence.max(sequence);
        for index in 0..u32::try_from(self.hub.registry().len()).unwrap_or(u32::MAX) {
            let (Some(name), Some(bars)) = (self.named(&mut topics, index), self.hub.latest(index)) else { continue };
            for (interval, bar) in Interval::ALL.into_iter().zip(bars).filter(|(_, b)| !b.is_empty()) {
                let updates = Arc::new(BarUpdate::new(Arc::clone(&name), (index, interval), bar, now));
                for mailbox in topics.bars.get(&(index, interval)).into_iter().flatten() {
                    mailbox.put([&updates], sequence);
                    mailbox.notify();
                }
                for (mailbox, _) in topics.native.iter().filter(|(_, f)| f.wants(&name, interval)) {
                    mailbox.skipped();
                    mailbox.put([&updates], sequence);
                    mailbox.notify();
                }
            }
        }
    }

    fn trades(&self, ticks: &[Tick]) {
        let now = now_us();
        let mut topics = self.lock();
        for tick in ticks {
            for aggregate in [false, true] {
                let key = (tick.symbol_index, aggregate);
                if !topics.trades.contains_key(&key) {
                    continue;
                }
                let Some(name) = self.named(&mut topics, tick.symbol_index) else { continue };
                let updates = Arc::new(TradeUpdate::new(name, *tick, aggregate, now));
                for mailbox in topics.trades.get(&key).into_iter().flatten() {
                    mailbox.put_trade(&updates);
                }
            }
        }
    }

    /// From now on the mailbox gets this slot.
    pub(super) fn want_bars(&self, mailbox: &Arc<Mailbox>, slot: Slot) {
        self.lock().bars.entry(slot).or_default().push(Arc::clone(mailbox));
    }

    /// From now on the mailbox gets this symbol's trades.
    pub(super) fn want_trades(self: &Arc<Self>, mailbox: &Arc<Mailbox>, symbol_index: u32, aggregate: bool) {
        self.lock().trades.entry((symbol_index, aggregate)).or_default().push(Arc::clone(mailbox));
        if self.trading.swap(true, Ordering::AcqRel) {
            return;
        }
        let (task, mut first) = (Arc::clone(self), Some(self.hub.subscribe_trades()));
        self.supervisor.spawn(Task::Push, "trades", &self.shutdown, move || {
            let (task, trades) = (Arc::clone(&task), first.take());
            async move { task.follow_trades(trades).await }
        });
    }

    /// Pushes `trades`; without any, those from now on.
    async fn follow_trades(&self, trades: Option<Receiver<Arc<[Tick]>>>) {
        let mut trades = trades.unwrap_or_else(|| self.hub.subscribe_trades());
        loop {
            let ticks = tokio::select! {
                ticks = trades.recv() => ticks,
                () = self.shutdown.wait() => return,
            };
            match ticks {
                Ok(ticks) => self.trades(&ticks),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "pushes of trades fell after"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// From now on the mailbox gets all that `filter` wants; returns the number of the last change before.
    pub(super) fn want_all(&self, mailbox: &Arc<Mailbox>, filter: Filter) -> u64 {
        let mut topics = self.lock();
        topics.native.push((Arc::clone(mailbox), filter));
        topics.sequence
    }

    /// No more of this slot.
    pub(super) fn drop_bars(&self, mailbox: &Arc<Mailbox>, slot: Slot) {
        remove(&mut self.lock().bars, &slot, mailbox);
        mailbox.forget(slot);
    }

    /// No more trades of this symbol.
    pub(super) fn drop_trades(&self, mailbox: &Arc<Mailbox>, symbol_index: u32, aggregate: bool) {
        remove(&mut self.lock().trades, &(symbol_index, aggregate), mailbox);
    }

    /// No more of anything.
    pub(super) fn drop_all(&self, mailbox: &Arc<Mailbox>) {
        self.lock().native.retain(|(m, _)| !Arc::ptr_eq(m, mailbox));
    }
}

fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Boxes>, key: &K, mailbox: &Arc<Mailbox>) {
    if let Some(boxes) = map.get_mut(key) {
        boxes.retain(|m| !Arc::ptr_eq(m, mailbox));
        if boxes.is_empty() {
            map.remove(key);
        }
    }
}
