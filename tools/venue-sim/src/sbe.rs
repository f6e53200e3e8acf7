//! Binance spot SBE: rewrites the market's JSON frames as the binary ones (schema 1, version 0: `stream_1_0.xml` and
//! "SBE Market Data Streams" of binance-spot-api-docs). Encodes only; sockets and control messages are those of the JSON venue.
//!
//! - `@trade` -> 10000, all trades of one taker order in one frame; `@bookTicker` -> `@bestBidAsk` 10001; `@depth@..` -> `@depth` 10003,
//!   and while someone listens `@depth20` 10002, which is the book that REST would give at that moment.
//! - Times become microseconds: what lies below the millisecond is made up, the same for one millisecond everywhere.
//! - Exponents are as short as the values of the frame allow, so they differ from frame to frame as the schema lets them.

mod encode;

use crate::book::Books;
use crate::config::Market;
use crate::protocol::Exchange;
use crate::restamp::Warp;
use crate::script::StreamInfo;
use crate::slots::{Shape, shape_of};
use crate::venue::{Batch, BatchFrame, Material, Venue};

use encode::{best_bid_ask, depth_diff, depth_snapshot, trades};

/// Channels of a generated market that this venue has.
const CHANNELS: [&str; 3] = ["trades", "book_ticker", "depth"];

/// Levels of `@depth20`.
const LEVELS: usize = 20;

/// What a source stream becomes here.
#[derive(Clone, Copy, Debug)]
struct Target {
    shape: Shape,
    stream: u32,
    /// The `@depth20` stream of the symbol.
    snapshot: Option<u32>,
}

/// Rewrites the frames of one venue.
pub(crate) struct Transcoder {
    targets: Vec<Option<Target>>,
    symbols: Vec<String>,
    material: Material,
    books: Books,
}

impl Transcoder {
    /// A transcoder of these source streams, and the streams of this venue.
    pub fn new(sources: &[StreamInfo], material: Material) -> (Transcoder, Vec<StreamInfo>) {
        let mut streams: Vec<StreamInfo> = Vec::new();
        let targets = sources
            .iter()
            .map(|info| {
                let shape = shape_of(info.channel());
                let channel = match shape {
                    Shape::Trade => "trade",
                    Shape::BookTicker => "bestBidAsk",
                    Shape::Depth if info.is_depth() => "depth",
                    _ => return None,
                };
                let symbol = info.name.split('@').next()?;
                let mut add = |channel: &str| {
                    streams.push(StreamInfo { name: format!("{symbol}@{channel}"), symbol: info.symbol.clone() });
                    streams.len() as u32 - 1
                };
                let stream = add(channel);
                let snapshot = (channel == "depth").then(|| add("depth20"));
                Some(Target { shape, stream, snapshot })
            })
            .collect();
        let symbols = sources.iter().map(|info| info.symbol.clone()).collect();
        (Transcoder { targets, symbols, material, books: Books::new() }, streams)
    }

    /// Replaces the JSON frames from `first` on, which belong to one event, by what they are here.
    pub fn rewrite(&mut self, venue: &Venue, moment: &Moment, batch: &mut Batch, first: usize) {
        let Some(&BatchFrame { stream: source, start, .. }) = batch.frames.get(first) else { return };
        let json = batch.frames.split_off(first);
        let target = self.targets.get(source as usize).copied().flatten();
        let symbol = self.symbols.get(source as usize).map_or("", String::as_str);
        let mut encoded = Vec::new();
        let ids = target.and_then(|target| {
            let datas: Vec<&[u8]> = json.iter().map(|frame| batch.data(frame)).collect();
            match target.shape {
                Shape::Trade => trades(symbol, &datas, &mut encoded),
                Shape::BookTicker => best_bid_ask(symbol, datas.first()?, moment.time_ms, &mut encoded),
                _ => depth_diff(symbol, datas.first()?, &mut encoded),
            }
        });
        batch.bytes.truncate(start as usize);
        let (Some(target), Some(ids)) = (target, ids) else { return };
        push(batch, target.stream, &encoded, ids);
        if let Some(snapshot) = target.snapshot.filter(|&stream| venue.is_subscribed(stream)) {
            encoded.clear();
            let body = book(&self.material, &mut self.books, symbol, moment);
            if let Some(id) = body.and_then(|body| depth_snapshot(symbol, &body, moment.time_ms, &mut encoded)) {
                push(batch, snapshot, &encoded, (id, id));
            }
        }
    }
}

/// The depth answer of the moment, as JSON.
fn book(material: &Material, books: &mut Books, symbol: &str, moment: &Moment) -> Option<Vec<u8>> {
    match material {
        Material::Recorded(timeline) => {
            crate::book::depth(books, timeline, symbol, LEVELS, moment.position, moment.warp.as_ref())
        }
        Material::SeededMarket(_) | Material::Recording(_) => None,
        Material::Generated(market_state) => {
            let (id, bid) = market_state.latest(symbol)?;
            Some(crate::book::synthetic(
                id,
                None,
                bid,
                (market_state.decimals.price, market_state.decimals.amount),
                LEVELS,
            ))
        }
    }
}

fn push(batch: &mut Batch, stream: u32, bytes: &[u8], ids: (i64, i64)) {
    let start = batch.bytes.len() as u32;
    batch.bytes.extend_from_slice(bytes);
    batch.frames.push(BatchFrame { stream, start, end: batch.bytes.len() as u32, head_bytes: 0, ids: Some(ids) });
}

/// Where and when the market is at the frame being rewritten; book tickers carry no time of their own.
pub(crate) struct Moment {
    /// As in [`crate::venue::Progress`].
    pub position: (u64, usize),
    pub warp: Option<Warp>,
    pub time_ms: i64,
}

/// The part of a market that an exchange has: SBE knows three channels, the others all.
pub(crate) fn market_of(exchange: Exchange, market: &Market) -> Market {
    let mut market = market.clone();
    if exchange == Exchange::BinanceSbe {
        market.channels.retain(|channel| CHANNELS.contains(&channel.as_str()));
    }
    market
}
