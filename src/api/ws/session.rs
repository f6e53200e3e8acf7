//! One client of the exchange's streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::ws::{Message, WebSocket, close_code};

use super::super::binance::{Family, Found};
use super::super::error::{Answer, Refusal};
use super::super::{Shared, now_ms};
use super::control::{self, Ask, Bad, Topic};
use super::dispatch::Dispatcher;
use super::mailbox::{BarNews, Mailbox, News};
use super::{End, Market, Out};
use crate::kline::KlineHub;

/// What [`super::run`] drives.
pub(super) trait Session: Send {
    fn mailbox(&self) -> Arc<Mailbox>;
    /// Before anything else.
    fn begin(&mut self, out: &mut Out<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// The client said something.
    fn said(&mut self, text: &str, out: &mut Out<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// Something waits in the mailbox.
    fn send(&mut self, out: &mut Out<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// Gives everything back.
    fn end(&mut self);
}

/// A stream that exists here.
pub(super) struct Wanted {
    name: String,
    found: Found,
    topic: Topic,
}

/// See the module.
pub(super) struct Binance {
    app: Shared,
    hub: Arc<KlineHub>,
    dispatcher: Arc<Dispatcher>,
    mailbox: Arc<Mailbox>,
    market: Market,
    combined: bool,
    streams: BTreeMap<String, (u32, Topic)>,
    first: Vec<Wanted>,
}

impl Binance {
    pub fn new(app: Shared, market: Market, combined: bool) -> Answer<Self> {
        let (Some(hub), Some(dispatcher)) = (app.hub.clone(), app.dispatcher.clone()) else {
            return Err(Refusal::no_candles());
        };
        let mailbox = dispatcher.mailbox();
        Ok(Self { app, hub, dispatcher, mailbox, market, combined, streams: BTreeMap::new(), first: Vec::new() })
    }

    /// The streams behind these names, or why not.
    pub fn check(&self, names: &[String]) -> Result<Vec<Wanted>, String> {
        let new = names.iter().filter(|n| !self.streams.contains_key(*n)).count();
        if self.streams.len() + new > self.app.cfg.max_subscriptions {
            return Err(format!(
                "Invalid request: too many streams; one connection takes {}",
                self.app.cfg.max_subscriptions
            ));
        }
        names.iter().map(|name| self.find(name)).collect()
    }

    fn find(&self, name: &str) -> Result<Wanted, String> {
        let shown: String = name.chars().take(80).collect();
        let (symbol, topic) =
            control::stream(name).ok_or_else(|| format!("Invalid request: no such stream here: {shown}"))?;
        let markets: &[Family] = match &self.market {
            Some(family) => std::slice::from_ref(family),
            None => &[Family::Spot, Family::Usdm],
        };
        let found = markets
            .iter()
            .find_map(|family| family.find(&self.hub, &symbol).ok())
            .ok_or_else(|| format!("Invalid request: no such symbol here: {shown}"))?;
        if topic == (Topic::Trade { aggregate: false })
            && self.hub.stats().feeds.get(found.venue).is_some_and(|f| f.source == "agg_trades")
        {
            return Err(format!("Invalid request: only aggregates are known of this venue: {shown}"));
        }
        Ok(Wanted { name: name.to_owned(), found, topic })
    }

    /// Subscribes, and puts what the client must know to have no hole into the mailbox: the last closed bar and
    /// the open one.
    async fn want(&mut self, wanted: Vec<Wanted>) {
        let mut slots = Vec::new();
        for w in wanted {
            if self.streams.insert(w.name, (w.found.index, w.topic)).is_some() {
                continue;
            }
            match w.topic {
                Topic::Bar(interval) => {
                    let slot = (w.found.index, interval);
                    // Two names may mean one slot: upper and lower case.
                    if self.streams.values().filter(|s| **s == (slot.0, w.topic)).count() > 1 {
                        continue;
                    }
                    self.dispatcher.want_bars(&self.mailbox, slot);
                    slots.push(slot);
                }
                Topic::Trade { aggregate } => self.dispatcher.want_trades(&self.mailbox, w.found.index, aggregate),
            }
        }
        if slots.is_empty() {
            return;
        }
        // Asked for behind the subscription: a change is in one of the two, or in both and then sent once.
        let hub = Arc::clone(&self.hub);
        let asked = crate::supervise::blocking(move || {
            slots.into_iter().map(|slot| (slot, hub.newest_two(slot.0, slot.1))).collect::<Vec<_>>()
        });
        let now = now_ms();
        let mut first = Vec::new();
        for (slot, bars) in asked.await {
            let Some(name) = self.dispatcher.name(slot.0) else { continue };
            first.extend(bars.into_iter().map(|bar| Arc::new(BarNews::new(Arc::clone(&name), slot, bar, now))));
        }
        self.mailbox.put_first(first);
    }

    fn unwant(&mut self, names: &[String]) {
        for name in names {
            let Some((index, topic)) = self.streams.remove(name) else { continue };
            if self.streams.values().any(|s| *s == (index, topic)) {
                continue;
            }
            self.give_back(index, topic);
        }
    }

    fn give_back(&self, index: u32, topic: Topic) {
        match topic {
            Topic::Bar(interval) => self.dispatcher.drop_bars(&self.mailbox, (index, interval)),
            Topic::Trade { aggregate } => self.dispatcher.drop_trades(&self.mailbox, index, aggregate),
        }
    }

    pub async fn run(mut self, socket: WebSocket, wanted: Vec<Wanted>) {
        self.first = wanted;
        let app = Arc::clone(&self.app);
        super::run(&app, socket, self).await;
    }

    fn message(&self, news: &News) -> Message {
        let text = match news {
            News::Bar(bar) => bar.event(self.combined),
            News::Trade(trade) => trade.event(self.combined),
        };
        // Shared, not copied.
        Message::Text(text.clone())
    }
}

impl Session for Binance {
    fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    async fn begin(&mut self, _out: &mut Out<'_>) -> Result<(), End> {
        let wanted = std::mem::take(&mut self.first);
        self.want(wanted).await;
        Ok(())
    }

    async fn said(&mut self, text: &str, out: &mut Out<'_>) -> Result<(), End> {
        let (ask, id) = match control::ask(text) {
            Ok(asked) => asked,
            Err(bad) => return out.write([Message::text(bad.text())]).await,
        };
        let result = match ask {
            Ask::Subscribe(names) => match self.check(&names) {
                Ok(wanted) => {
                    self.want(wanted).await;
                    serde_json::Value::Null
                }
                Err(msg) => return out.write([Message::text(Bad { code: 2, msg, id }.text())]).await,
            },
            Ask::Unsubscribe(names) => {
                self.unwant(&names);
                serde_json::Value::Null
            }
            Ask::List => self.streams.keys().cloned().collect(),
            Ask::SetCombined(on) => {
                self.combined = on;
                serde_json::Value::Null
            }
            Ask::GetCombined => self.combined.into(),
        };
        out.write([Message::text(serde_json::json!({"result": result, "id": id}).to_string())]).await
    }

    async fn send(&mut self, out: &mut Out<'_>) -> Result<(), End> {
        let batch = self.mailbox.take();
        self.app.counts.conflated.fetch_add(batch.conflated, Relaxed);
        let messages: Vec<Message> = batch.news.iter().map(|news| self.message(news)).collect();
        out.write(messages).await?;
        if batch.overflow {
            return Err(End::Close(close_code::POLICY, "too slow: more trades than fit wait for this client"));
        }
        Ok(())
    }

    fn end(&mut self) {
        for (index, topic) in std::mem::take(&mut self.streams).into_values() {
            self.give_back(index, topic);
        }
    }
}
