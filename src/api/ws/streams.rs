//! One WebSocket session of a client that speaks Binance's stream protocol: what it subscribed, and what it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio_tungstenite::tungstenite::Message;

use super::control::{self, BadRequest, ControlRequest, Topic};
use super::dispatch::Dispatcher;
use super::mailbox::{BarUpdate, Form, Mailbox, Update, wrapped};
use super::socket::{End, SocketSession, SocketWriter, run};
use super::upgrade::WebSocket;
use crate::app::Shared;
use crate::binance::{Family, FoundSymbol, info};
use crate::error::{ApiError, ApiResult};
use crate::text::{Unit, intervals};
use crate::time::now_us;
use kline::KlineHub;

/// Which market a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    /// Spot, then USD-M.
    Any,
    Spot,
    Usdm,
    /// User-data paths: no market data here.
    Private,
}

impl Market {
    /// Where a symbol is looked for, in this order.
    fn families(self) -> &'static [Family] {
        match self {
            Self::Any => &[Family::Spot, Family::Usdm],
            Self::Spot => &[Family::Spot],
            Self::Usdm => &[Family::Usdm],
            Self::Private => &[],
        }
    }
}

/// A stream that is served.
pub(super) struct Resolved {
    name: String,
    found: FoundSymbol,
    topic: Topic,
}

/// Requested streams, resolved.
#[derive(Default)]
pub(super) struct ResolvedStreams {
    found: Vec<Resolved>,
    /// Those that are not served, and why. As on the exchange, they do not fail the others.
    unknown: Vec<(String, String)>,
}

impl ResolvedStreams {
    /// The first error, when no requested stream is served.
    pub fn refused(&self) -> Option<&str> {
        self.unknown.first().filter(|_| self.found.is_empty()).map(|(_, why)| why.as_str())
    }
}

/// What the URL of a socket, or SET_PROPERTY, says of its streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamOptions {
    pub market: Market,
    pub combined: bool,
    /// Of spot's events.
    pub unit: Unit,
}

/// A socket that speaks as Binance's streams do.
pub(super) struct StreamSession {
    app: Shared,
    hub: Arc<KlineHub>,
    dispatcher: Arc<Dispatcher>,
    mailbox: Arc<Mailbox>,
    address: StreamOptions,
    streams: BTreeMap<String, (u32, Topic)>,
    /// The topics that are subscribed of each slot: symbol and interval, by index.
    bars: BTreeMap<(u32, usize), Vec<Topic>>,
    /// Names as requested, where they are not in lower case: clients expect them back.
    requested_names: BTreeMap<(u32, Topic), String>,
    /// Well-formed streams that are not served yet; resolved again when the registry grows.
    pending_streams: Vec<String>,
    /// Symbols of the registry when `pending_streams` were last resolved.
    registry_len_seen: usize,
    first: ResolvedStreams,
}

impl StreamSession {
    pub fn new(app: Shared, address: StreamOptions) -> ApiResult<Self> {
        let (Some(hub), Some(dispatcher)) = (app.hub.clone(), app.dispatcher.clone()) else {
            return Err(ApiError::no_candles());
        };
        let mailbox = dispatcher.mailbox();
        Ok(Self {
            app,
            hub,
            dispatcher,
            mailbox,
            address,
            streams: BTreeMap::new(),
            bars: BTreeMap::new(),
            requested_names: BTreeMap::new(),
            pending_streams: Vec::new(),
            registry_len_seen: 0,
            first: ResolvedStreams::default(),
        })
    }

    /// Resolves names of streams; an error when there are too many.
    pub fn resolve(&self, names: Vec<String>) -> Result<ResolvedStreams, String> {
        let new = names.iter().filter(|n| !self.streams.contains_key(*n)).count();
        if self.streams.len() + self.pending_streams.len() + new > self.app.cfg.max_subscriptions {
            return Err(format!(
                "Invalid request: too many streams; at most {} on one connection",
                self.app.cfg.max_subscriptions
            ));
        }
        let mut resolved = ResolvedStreams::default();
        for name in names {
            match self.find(&name) {
                Ok((found, topic)) => resolved.found.push(Resolved { name, found, topic }),
                Err(why) => resolved.unknown.push((name, why)),
            }
        }
        Ok(resolved)
    }

    fn find(&self, name: &str) -> Result<(FoundSymbol, Topic), String> {
        let shown: String = name.chars().take(80).collect();
        let (symbol, topic) = control::stream(name).ok_or_else(|| {
            format!(
                "Invalid request: unknown stream {shown}; supported: @aggTrade, @trade, @kline_<interval> and, on USD-M, \
                 @continuousKline_<interval>; intervals {}",
                intervals()
            )
        })?;
        let markets = self.address.market.families();
        if markets.is_empty() {
            return Err(format!("Invalid request: no market data at this path, use /market or /public: {shown}"));
        }
        let fits = |family: &&Family| !matches!(topic, Topic::Continuous(..)) || **family == Family::Usdm;
        let found = markets
            .iter()
            .filter(fits)
            .find_map(|family| FoundSymbol::find(*family, &self.hub, &symbol).ok())
            .ok_or_else(|| format!("Invalid request: no such symbol is recorded (exchangeInfo lists them): {shown}"))?;
        if let Topic::Continuous(_, contract) = topic
            && contract.as_str() != info::contract(&self.hub, &found)
        {
            return Err(format!("Invalid request: this pair has no contract of that type: {shown}"));
        }
        if topic == (Topic::Trade { aggregate: false })
            && self.hub.stats().feeds.get(found.venue).is_some_and(|f| f.source == "agg_trades")
        {
            return Err(format!("Invalid request: this venue is recorded with agg_trades only, use aggTrade: {shown}"));
        }
        Ok((found, topic))
    }

    /// Subscribes streams that are served; keeps those that may be served later.
    async fn accept(&mut self, resolved: ResolvedStreams) {
        let pending = resolved.unknown.into_iter().map(|(name, _)| name).filter(|n| control::stream(n).is_some());
        self.pending_streams.extend(pending);
        self.pending_streams.sort();
        self.pending_streams.dedup();
        self.registry_len_seen = self.hub.registry().len();
        self.subscribe(resolved.found).await;
    }

    /// Subscribes, and puts the last closed bar and the open one into the mailbox, so that the client has no gap.
    async fn subscribe(&mut self, found: Vec<Resolved>) {
        let mut slots = Vec::new();
        for w in found {
            let symbol = w.name.split('@').next().unwrap_or_default();
            if symbol != symbol.to_lowercase() {
                self.requested_names.insert((w.found.index, w.topic), w.name.clone());
            }
            // Two names may mean one stream: upper and lower case.
            let there = self.streams.values().any(|s| *s == (w.found.index, w.topic));
            if self.streams.insert(w.name, (w.found.index, w.topic)).is_some() || there {
                continue;
            }
            match (w.topic, w.topic.interval()) {
                (Topic::Trade { aggregate }, _) => {
                    self.dispatcher.want_trades(&self.mailbox, w.found.index, aggregate);
                }
                (_, None) => {}
                (_, Some(interval)) => {
                    let slot = (w.found.index, interval);
                    let topics = self.bars.entry((slot.0, interval.index())).or_default();
                    if topics.is_empty() {
                        self.dispatcher.want_bars(&self.mailbox, slot);
                    }
                    topics.push(w.topic);
                    slots.push(slot);
                }
            }
        }
        if slots.is_empty() {
            return;
        }
        // Read after the subscription: a change is in one of the two, or in both and then sent once.
        let hub = Arc::clone(&self.hub);
        let newest = ops::supervise::blocking(move || {
            slots.into_iter().map(|slot| (slot, hub.newest_two(slot.0, slot.1))).collect::<Vec<_>>()
        });
        let now = now_us();
        let mut first = Vec::new();
        for (slot, bars) in newest.await {
            let Some(name) = self.dispatcher.name(slot.0) else { continue };
            first.extend(bars.into_iter().map(|bar| Arc::new(BarUpdate::new(Arc::clone(&name), slot, bar, now))));
        }
        self.mailbox.put_first(first);
    }

    fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            self.pending_streams.retain(|n| n != name);
            let Some((index, topic)) = self.streams.remove(name) else { continue };
            if self.streams.values().any(|s| *s == (index, topic)) {
                continue;
            }
            self.release(index, topic);
        }
    }

    fn release(&mut self, index: u32, topic: Topic) {
        self.requested_names.remove(&(index, topic));
        match (topic, topic.interval()) {
            (Topic::Trade { aggregate }, _) => self.dispatcher.drop_trades(&self.mailbox, index, aggregate),
            (_, None) => {}
            (_, Some(interval)) => {
                let key = (index, interval.index());
                let Some(topics) = self.bars.get_mut(&key) else { return };
                topics.retain(|t| *t != topic);
                if topics.is_empty() {
                    self.bars.remove(&key);
                    self.dispatcher.drop_bars(&self.mailbox, (index, interval));
                }
            }
        }
    }

    pub async fn run(mut self, socket: WebSocket, first: ResolvedStreams) {
        self.first = first;
        let app = Arc::clone(&self.app);
        run(&app, socket, self).await;
    }

    /// The messages of an update: one for each subscribed form.
    fn messages(&self, update: &Update, out: &mut Vec<Message>) {
        let (index, venue, topics) = match update {
            Update::Bar(bar) => {
                let topics = self.bars.get(&(bar.slot.0, bar.slot.1.index()));
                (bar.slot.0, bar.name.venue.as_str(), topics.map_or(&[][..], Vec::as_slice))
            }
            Update::Trade(trade) => (trade.index(), trade.venue(), std::slice::from_ref(trade.topic())),
        };
        let unit = if Family::of(venue) == Some(Family::Spot) { self.address.unit } else { Unit::Ms };
        let event = |topic: Topic, combined: bool| match update {
            Update::Bar(bar) => bar.event(Form { topic, combined, unit }),
            Update::Trade(trade) => trade.event(combined, unit),
        };
        out.extend(topics.iter().map(|topic| {
            let requested = self.requested_names.get(&(index, *topic)).filter(|_| self.address.combined);
            // Shared, not copied, where the name is ours.
            Message::Text(match requested {
                Some(name) => wrapped(true, || name.clone(), event(*topic, false).as_str()).into(),
                None => event(*topic, self.address.combined),
            })
        }));
    }
}

impl SocketSession for StreamSession {
    fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    async fn begin(&mut self, _out: &mut SocketWriter<'_>) -> Result<(), End> {
        let first = std::mem::take(&mut self.first);
        self.accept(first).await;
        Ok(())
    }

    async fn on_tick(&mut self) {
        let listed = self.hub.registry().len();
        if self.pending_streams.is_empty() || listed == self.registry_len_seen {
            return;
        }
        let names = std::mem::take(&mut self.pending_streams);
        // They were counted when they were requested.
        if let Ok(resolved) = self.resolve(names) {
            self.accept(resolved).await;
        }
    }

    async fn on_message(&mut self, text: &str, out: &mut SocketWriter<'_>) -> Result<(), End> {
        let (request, id) = match control::parse_request(text) {
            Ok(parsed) => parsed,
            Err(bad) => return out.write([Message::text(bad.text())]).await,
        };
        let mut unknown = Vec::new();
        let result = match request {
            ControlRequest::Subscribe(names) => {
                let resolved = match self.resolve(names) {
                    Ok(resolved) => resolved,
                    Err(msg) => return out.write([Message::text(BadRequest { code: 2, msg, id }.text())]).await,
                };
                if let Some(why) = resolved.refused() {
                    return out.write([Message::text(BadRequest { code: 2, msg: why.to_owned(), id }.text())]).await;
                }
                unknown.extend(resolved.unknown.iter().map(|(name, _)| name.clone()));
                self.accept(resolved).await;
                serde_json::Value::Null
            }
            ControlRequest::Unsubscribe(names) => {
                self.unsubscribe(&names);
                serde_json::Value::Null
            }
            ControlRequest::List => self.streams.keys().cloned().collect(),
            ControlRequest::SetCombined(on) => {
                self.address.combined = on;
                serde_json::Value::Null
            }
            ControlRequest::GetCombined => self.address.combined.into(),
        };
        let mut answer = serde_json::json!({"result": result, "id": id});
        if let Some(members) = answer.as_object_mut().filter(|_| !unknown.is_empty()) {
            // The exchange has no such field; its clients ignore it.
            members.insert("unknown".to_owned(), unknown.into());
        }
        out.write([Message::text(answer.to_string())]).await
    }

    async fn send(&mut self, out: &mut SocketWriter<'_>) -> Result<(), End> {
        let batch = self.mailbox.take();
        self.app.counts.conflated.fetch_add(batch.conflated, Relaxed);
        let mut messages = Vec::with_capacity(batch.updates.len());
        for update in &batch.updates {
            self.messages(update, &mut messages);
        }
        out.write(messages).await?;
        if batch.overflow {
            return Err(End::Slow("slow consumer: its buffer of trades is full"));
        }
        Ok(())
    }

    fn close(&mut self) {
        for (index, topic) in std::mem::take(&mut self.streams).into_values() {
            self.release(index, topic);
        }
    }
}
