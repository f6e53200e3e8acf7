//! The trades played so far, as REST gives them back: by id, by time, or the newest. Never more than was played.
//!
//! A recording is its own history: rows are rendered again from the frames, in every loop that was played. A generated market keeps
//! the newest trades and aggregates of each symbol in rings of bounded length.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::generate::{Candle, MarketState};
use crate::report::lock;
use crate::restamp::{Warp, render};
use crate::script::{FrameRec, Timeline};
use crate::slots::{Bound, Shape, SlotKind, shape_of};
use crate::text::decimal;
use crate::venue::{Material, Venue};

/// Rows that the rings of one generated venue keep together at most, whatever the length of each.
const ROWS_MAX: usize = 2_000_000;

/// Minutes of one symbol that are kept: two weeks.
const MINUTES_MAX: usize = 2 * 7 * 1_440;

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Trade,
    Agg,
}

/// Where the rows begin and end. Times are inclusive, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The last ones.
    Newest,
    /// From this id on.
    From(i64),
    /// The first ones from a time on, until another.
    Since(i64, i64),
    /// The last ones until a time.
    Until(i64),
}

/// One trade or aggregate. Amounts are texts in the venue's places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub id: i64,
    pub price: String,
    pub amount: String,
    /// Amount without retail-price-improvement orders, where the venue sends it.
    pub normal: Option<String>,
    pub first: i64,
    pub last: i64,
    pub time_ms: i64,
    pub maker: bool,
}

/// The rows of a symbol, oldest first.
pub(crate) fn rows(venue: &Venue, symbol: &str, kind: Kind, want: Want, limit: usize) -> Vec<Row> {
    match &venue.material {
        Material::Recorded(timeline) => {
            let (position, warp) = {
                let progress = lock(&venue.progress);
                ((progress.round, progress.index), progress.warp)
            };
            recorded(timeline, position, warp.as_ref(), symbol, kind, want, limit)
        }
        Material::SeededMarket(_) => Vec::new(),
        Material::Recording(recall) => recall.rows(symbol, kind, want, limit),
        Material::Generated(market_state) => generated(market_state, symbol, kind, want, limit),
    }
}

fn recorded(
    timeline: &Timeline,
    (round, index): (u64, usize),
    warp: Option<&Warp>,
    symbol: &str,
    kind: Kind,
    want: Want,
    limit: usize,
) -> Vec<Row> {
    let shape = if kind == Kind::Trade { Shape::Trade } else { Shape::AggTrade };
    let fits = |info: &crate::script::StreamInfo| info.symbol == symbol && shape_of(info.channel()) == shape;
    let Some(stream) = timeline.streams.iter().position(fits) else { return Vec::new() };
    let frames = timeline.frames_of(stream);
    let of_last_round = frames.partition_point(|&frame| (frame as usize) < index);
    // Without restamping every loop repeats the same ids: they are one history.
    let (loops, of_last_round) = match warp {
        Some(_) => (round, of_last_round),
        None => (0, if round > 0 { frames.len() } else { of_last_round }),
    };
    let frame = |at: u32| timeline.frames.get(at as usize);
    let id = |round: u64, frame: &FrameRec| {
        let own = timeline.slots(frame).iter().find(|slot| slot.kind == SlotKind::Id(Bound::Only));
        own.map_or(-1, |slot| slot.value.saturating_add(timeline.spans.shift(stream, round)))
    };
    let time = |round: u64, frame: &FrameRec| {
        let traded = timeline.slots(frame).iter().rev().find(|slot| slot.kind == SlotKind::Time);
        traded.map_or(0, |slot| warp.map_or(slot.value, |warp| warp.at(slot.value, round)))
    };
    let played = |from: u64| {
        (from..=loops).flat_map(move |round| {
            let count = if round == loops { of_last_round } else { frames.len() };
            frames.get(..count).unwrap_or(&[]).iter().map(move |&at| (round, at))
        })
    };
    // Whole loops before the first row of interest are stepped over by their last frame.
    let skip = |is_before: &dyn Fn(u64, &FrameRec) -> bool| {
        let last = frames.last().and_then(|&at| frame(at));
        (0..loops).take_while(|&round| last.is_some_and(|last| is_before(round, last))).count() as u64
    };
    let chosen: Vec<(u64, u32)> = match want {
        Want::Newest => {
            let mut newest: Vec<_> = played(0).rev().take(limit).collect();
            newest.reverse();
            newest
        }
        Want::From(from) => played(skip(&|round, last| id(round, last) < from))
            .filter(|&(round, at)| frame(at).is_some_and(|frame| id(round, frame) >= from))
            .take(limit)
            .collect(),
        Want::Since(start, end) => played(skip(&|round, last| time(round, last) < start))
            .filter(|&(round, at)| frame(at).is_some_and(|frame| (start..=end).contains(&time(round, frame))))
            .take(limit)
            .collect(),
        Want::Until(end) => {
            let mut last: Vec<_> = played(0)
                .rev()
                .filter(|&(round, at)| frame(at).is_some_and(|frame| time(round, frame) <= end))
                .take(limit)
                .collect();
            last.reverse();
            last
        }
    };
    chosen
        .into_iter()
        .filter_map(|(round, at)| {
            let frame = frame(at)?;
            let mut bytes = Vec::new();
            render(timeline, frame, round, warp, &mut bytes);
            let data = bytes.get(frame.head_bytes as usize..bytes.len().checked_sub(1)?)?;
            serde_json::from_slice::<Event>(data).ok().map(Event::row)
        })
        .collect()
}

/// A trade or aggregate as a frame carries it.
#[derive(Deserialize)]
pub(crate) struct Event {
    t: Option<i64>,
    /// Of an aggregate; trades of old recordings carry an order id here.
    a: Option<i64>,
    p: String,
    q: String,
    nq: Option<String>,
    #[serde(default)]
    f: i64,
    #[serde(default)]
    l: i64,
    #[serde(rename = "T")]
    time_ms: i64,
    m: bool,
}

impl Event {
    /// The same as REST has it.
    pub fn row(self) -> Row {
        let Event { t, a, p: price, q: amount, nq: normal, f: first, l: last, time_ms, m: maker } = self;
        Row { id: t.or(a).unwrap_or(-1), price, amount, normal, first, last, time_ms, maker }
    }
}

fn generated(market_state: &MarketState, symbol: &str, kind: Kind, want: Want, limit: usize) -> Vec<Row> {
    let Some(at) = market_state.symbols.iter().position(|have| have == symbol) else { return Vec::new() };
    let Some(tape) = market_state.tapes.get(at) else { return Vec::new() };
    let tape = lock(tape);
    let ring = if kind == Kind::Trade { &tape.trades } else { &tape.aggs };
    let d = market_state.decimals;
    ring.choose(want, limit)
        .map(|deal| {
            let amount = decimal(deal.amount, d.lot_decimals, d.amount);
            Row {
                id: deal.id,
                price: decimal(deal.price, d.tick_decimals, d.price),
                normal: Some(amount.clone()),
                amount,
                first: deal.first,
                last: deal.last,
                time_ms: deal.time_ms,
                maker: deal.maker,
            }
        })
        .collect()
}

/// One trade (`first` = `last` = `id`) or aggregate of a generated market, in ticks and lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deal {
    pub id: i64,
    pub first: i64,
    pub last: i64,
    pub price: i64,
    pub amount: i64,
    pub time_ms: i64,
    pub maker: bool,
}

/// The newest deals of one kind.
#[derive(Debug, Default)]
pub(crate) struct Ring(VecDeque<Deal>);

impl Ring {
    fn push(&mut self, deal: Deal, keep: usize) {
        while self.0.len() >= keep.max(1) {
            self.0.pop_front();
        }
        self.0.push_back(deal);
    }

    fn choose(&self, want: Want, limit: usize) -> impl Iterator<Item = &Deal> {
        let (from, to) = match want {
            Want::Newest => (self.0.len().saturating_sub(limit), self.0.len()),
            Want::From(id) => (self.0.partition_point(|deal| deal.id < id), self.0.len()),
            Want::Since(start, end) => (
                self.0.partition_point(|deal| deal.time_ms < start),
                self.0.partition_point(|deal| deal.time_ms <= end),
            ),
            Want::Until(end) => {
                let to = self.0.partition_point(|deal| deal.time_ms <= end);
                (to.saturating_sub(limit), to)
            }
        };
        self.0.range(from.min(to)..to).take(limit)
    }
}

/// Open time of a minute.
pub(crate) fn minute_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(60_000) * 60_000
}

/// What a generated market remembers of one symbol.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    trades: Ring,
    aggs: Ring,
    /// Minutes with a trade, oldest first.
    minutes: VecDeque<Candle>,
    keep: usize,
}

impl Tape {
    /// Tapes for so many symbols that keep `rows` each, fewer when that is too much together.
    pub fn of(symbols: usize, rows: usize) -> Vec<std::sync::Mutex<Tape>> {
        let keep = rows.min(ROWS_MAX / symbols.max(1)).max(1);
        (0..symbols).map(|_| std::sync::Mutex::new(Tape { keep, ..Tape::default() })).collect()
    }

    /// Notes one trade.
    pub fn trade(&mut self, deal: Deal) {
        self.trades.push(deal, self.keep);
        let open_ms = minute_of(deal.time_ms);
        if self.minutes.back().is_none_or(|last| last.open_ms != open_ms) {
            if self.minutes.len() >= MINUTES_MAX {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Candle { open_ms, ..Candle::default() });
        }
        if let Some(last) = self.minutes.back_mut() {
            last.add(deal.id, deal.price, deal.amount, deal.maker);
        }
    }

    /// The candles of minutes with a trade, oldest first.
    pub fn minutes(&self) -> impl Iterator<Item = &Candle> {
        self.minutes.iter()
    }

    /// Notes one aggregate.
    pub fn agg(&mut self, deal: Deal) {
        self.aggs.push(deal, self.keep);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NONE: [i64; 0] = [];
    const T0: i64 = 1_723_161_254_000_000_000;

    fn timeline() -> Timeline {
        let text: String = (0..5)
            .map(|k| {
                let data = format!(
                    r#"{{"e":"trade","E":{0},"s":"X","t":{1},"p":"1.50","q":"2.0","T":{0},"m":true,"M":true}}"#,
                    1_723_161_254_000_i64 + k * 10,
                    100 + k
                );
                format!("{} {{\"stream\":\"x@trade\",\"data\":{data}}}\n", T0 + k * 10_000_000)
            })
            .collect();
        Timeline::from_texts(&[text.as_bytes()]).unwrap()
    }

    fn ids(position: (u64, usize), warp: Option<&Warp>, want: Want, limit: usize) -> Vec<i64> {
        let rows = recorded(&timeline(), position, warp, "X", Kind::Trade, want, limit);
        rows.iter().map(|row| row.id).collect()
    }

    #[test]
    fn a_recording_gives_back_only_what_was_played() {
        assert_eq!(ids((0, 0), None, Want::From(0), 10), NONE);
        assert_eq!(ids((0, 3), None, Want::From(101), 10), [101, 102]);
        assert_eq!(ids((0, 3), None, Want::Newest, 2), [101, 102]);
        assert_eq!(
            ids((1, 1), None, Want::From(0), 10),
            [100, 101, 102, 103, 104],
            "the second loop says the same ids"
        );
        let rows = recorded(&timeline(), (0, 5), None, "X", Kind::Agg, Want::Newest, 9);
        assert_eq!(rows, [], "a channel that was not recorded has no history");
    }

    #[test]
    fn later_loops_are_found_by_their_own_ids_and_times() {
        let timeline = timeline();
        let warp = Warp::starting(&timeline, 1_800_000_000_000);
        assert_eq!(ids((2, 2), Some(&warp), Want::From(108), 10), [108, 109, 110, 111]);
        assert_eq!(ids((2, 2), Some(&warp), Want::Newest, 3), [109, 110, 111]);
        // One loop is 40 ms and one mean distance.
        let (start, end) = (1_800_000_000_048, 1_800_000_000_068);
        assert_eq!(ids((2, 2), Some(&warp), Want::Since(start, end), 10), [105, 106, 107]);
        assert_eq!(ids((2, 2), Some(&warp), Want::Until(end), 2), [106, 107]);
    }

    #[test]
    fn a_ring_forgets_the_oldest_and_answers_by_id_and_time() {
        let mut tape = Tape { keep: 3, ..Tape::default() };
        for id in 1..=5 {
            tape.trade(Deal { id, first: id, last: id, price: 1, amount: 1, time_ms: id * 10, maker: false });
        }
        let ids = |want, limit| tape.trades.choose(want, limit).map(|deal| deal.id).collect::<Vec<_>>();
        assert_eq!(ids(Want::From(0), 9), [3, 4, 5]);
        assert_eq!(ids(Want::From(4), 1), [4]);
        assert_eq!(ids(Want::From(9), 1), NONE);
        assert_eq!(ids(Want::Newest, 2), [4, 5]);
        assert_eq!(ids(Want::Since(31, 50), 9), [4, 5]);
        assert_eq!(ids(Want::Until(40), 1), [4]);
        assert_eq!(ids(Want::Since(60, 20), 9), NONE);
    }
}
