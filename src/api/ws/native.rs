//! `/v1/stream`: all bars as of one instant, then every change, on one socket.
//!
//! ```text
//!  {"type":"snapshot","sequence":S,"swap":N,"klines":[..]}
//!  {"type":"delta","previous":S,"sequence":T,"conflated":0,"skipped":false,"klines":[..]}
//!  {"type":"delta","previous":T, ..}
//! ```
//! `previous` is the `sequence` of the message before: a client that finds another one missed something. Subscribing comes
//! before the snapshot is taken; changes that the snapshot has already are left out, so nothing goes back. A slow
//! client gets fewer deltas with the newest states; `skipped` = closes may be missing too, read REST. `every_ms` paces the
//! deltas: one at most in that time, states of a bar that newer ones replaced meanwhile left out, closes kept.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::dispatch::{Dispatcher, Filter};
use super::mailbox::{BarUpdate, Mailbox, Update};
use super::socket::{End, SocketSession, SocketWriter, accept, run};
use super::upgrade::Upgrade;
use crate::app::Shared;
use crate::error::{ApiError, ApiResult};
use crate::native::filter;
use crate::params::Params;
use crate::time::now_us;
use kline::{FlatKlineStore, KlineHub};
use model::Interval;

/// Between two looks for the next swap.
const LOOK: Duration = Duration::from_millis(2);
/// Longer than any swap takes beside its interval.
const SWAP_PATIENCE: Duration = Duration::from_secs(10);
/// The slowest pace of deltas, ms: one that a reader of the socket does not take for silence.
const EVERY_MS_MAX: i64 = 1_000;

pub(super) async fn open(app: State<Shared>, params: Params, upgrade: Upgrade) -> ApiResult<Response> {
    let (Some(hub), Some(dispatcher)) = (app.hub.clone(), app.dispatcher.clone()) else {
        return Err(ApiError::no_candles());
    };
    let filter = filter(&hub, &params)?;
    let mailbox = dispatcher.mailbox();
    let every = match params.number("every_ms")? {
        None => Duration::ZERO,
        Some(ms) if ms <= EVERY_MS_MAX => Duration::from_millis(ms.unsigned_abs()),
        Some(_) => return Err(ApiError::value("every_ms")),
    };
    let session = Native {
        app: Arc::clone(&app),
        hub,
        dispatcher,
        mailbox,
        filter,
        previous: 0,
        closed: false,
        every,
        next: Instant::now(),
    };
    accept(&app, upgrade, move |socket| async move {
        let app = Arc::clone(&session.app);
        run(&app, socket, session).await;
    })
}

struct Native {
    app: Shared,
    hub: Arc<KlineHub>,
    dispatcher: Arc<Dispatcher>,
    mailbox: Arc<Mailbox>,
    filter: Filter,
    previous: u64,
    closed: bool,
    /// Between two deltas.
    every: Duration,
    /// Not before this.
    next: Instant,
}

fn list<'a>(bars: impl Iterator<Item = &'a str>) -> String {
    bars.collect::<Vec<_>>().join(",")
}

/// Waits for the swap after the present one; false when there was none.
async fn next_swap(number: impl Fn() -> u64, patience: Duration) -> bool {
    let (before, until) = (number(), tokio::time::Instant::now() + patience);
    while number() == before {
        if tokio::time::Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

impl SocketSession for Native {
    fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    async fn begin(&mut self, out: &mut SocketWriter<'_>) -> Result<(), End> {
        self.previous = self.dispatcher.want_all(&self.mailbox, self.filter.clone());
        // Changes are pushed before the swap that shows them: one that was pushed before the subscription is certainly
        // in the swap after it.
        let patience = self.hub.swap_interval() + SWAP_PATIENCE;
        if !next_swap(|| self.hub.swap_number(), patience).await {
            return Err(End::Close(CloseCode::Again, "the candles are stopped; try again"));
        }
        let mut whole = FlatKlineStore::default();
        let swap = self.hub.whole(&mut whole);
        let now = now_us();
        let mut bars = Vec::new();
        for index in 0..u32::try_from(whole.symbols()).unwrap_or(u32::MAX) {
            let (Some(name), Some(states)) = (self.dispatcher.name(index), whole.symbol(index)) else { continue };
            for (interval, bar) in Interval::ALL.into_iter().zip(states) {
                if !bar.is_empty() && self.filter.has(&name.venue, &name.symbol, interval) {
                    bars.push(BarUpdate::new(Arc::clone(&name), (index, interval), *bar, now));
                }
            }
        }
        self.mailbox.known(bars.iter().map(|b| (b.slot, &b.bar)));
        let text = format!(
            "{{\"type\":\"snapshot\",\"sequence\":{},\"swap\":{swap},\"klines\":[{}]}}",
            self.previous,
            list(bars.iter().map(BarUpdate::object))
        );
        out.write([Message::text(text)]).await
    }

    async fn on_message(&mut self, _text: &str, out: &mut SocketWriter<'_>) -> Result<(), End> {
        out.write([Message::text(
            "{\"code\":2,\"msg\":\"Invalid request: this socket takes no requests\",\"id\":null}",
        )])
        .await
    }

    async fn send(&mut self, out: &mut SocketWriter<'_>) -> Result<(), End> {
        if !self.every.is_zero() {
            tokio::time::sleep_until(self.next).await;
            self.next = Instant::now() + self.every;
        }
        let batch = self.mailbox.take();
        self.app.counts.conflated.fetch_add(batch.conflated, Relaxed);
        let bars = || batch.updates.iter().filter_map(|n| if let Update::Bar(b) = n { Some(b) } else { None });
        if bars().next().is_none() || self.closed {
            return Ok(());
        }
        // A delta of changes that the snapshot had the number of already still moves on by one chain link.
        let sequence = batch.sequence.max(self.previous);
        let text = format!(
            "{{\"type\":\"delta\",\"previous\":{},\"sequence\":{sequence},\"conflated\":{},\"skipped\":{},\"klines\":[{}]}}",
            self.previous,
            batch.conflated,
            batch.skipped,
            list(bars().map(|b| b.object()))
        );
        self.previous = sequence;
        out.write([Message::text(text)]).await
    }

    fn close(&mut self) {
        self.closed = true;
        self.dispatcher.drop_all(&self.mailbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_snapshot_waits_for_as_long_as_swaps_are_apart_and_not_for_ever() {
        let looks = std::sync::atomic::AtomicU64::new(0);
        assert!(next_swap(|| u64::from(looks.fetch_add(1, Relaxed) > 20), Duration::from_secs(60)).await);
        assert!(!next_swap(|| 7, LOOK * 3).await);
    }
}
