//! Moves recorded frames through time: event times to now, ids on by a whole span per loop.
//!
//! Every frame is pre-parsed into constant text and number slots (`slots`), so rendering is copying and printing integers.
//!
//! Ids after `k` loops are `id + k * span`, where the span is chosen by the id rule, so that the border between two loops is as whole
//! as the recording itself:
//! - trade `t`, aggregate `a`: last - first + 1 (next = previous + 1);
//! - aggregate `f`/`l`: last `l` - first `f` + 1 (`f` = previous `l` + 1);
//! - spot depth: last `u` - first `U` + 1 (`U` = previous `u` + 1);
//! - USD-M depth: last `u` - first `pu` (`pu` = previous `u`);
//! - book ticker `u`: the depth span of its symbol where that keeps it increasing, else its own.
//!
//! Worked example: USD-M depth recorded as (pu 10, u 14), (pu 14, u 20). Span 10. Loop 1 is (pu 20, u 24), (pu 24, u 30).

use crate::script::{StreamInfo, Timeline};
use crate::slots::{Bound, Shape, Slot, SlotKind, shape_of};

/// By how much the end of a hexadecimal id moves from one loop to the next.
const HEX_STEP: i64 = 0x0010_0003;

const FUNDING_INTERVAL_MS: i64 = 8 * 3_600_000;

/// By how much ids move from one loop to the next, per stream.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    own: Vec<i64>,
    range: Vec<i64>,
}

/// First and last ids of one stream.
#[derive(Clone, Default)]
pub(crate) struct Track {
    first: Option<i64>,
    before: Option<i64>,
    last: Option<i64>,
    range_first: Option<i64>,
    range_last: Option<i64>,
}

impl Track {
    /// Takes the numbers of the next frame.
    pub(crate) fn note(&mut self, slots: &[Slot]) {
        for slot in slots.iter().filter(|slot| slot.value >= 0) {
            match slot.kind {
                SlotKind::Id(Bound::Only) => {
                    self.first.get_or_insert(slot.value);
                    self.last = Some(slot.value);
                }
                SlotKind::Id(Bound::First) => {
                    self.first.get_or_insert(slot.value);
                }
                SlotKind::Id(Bound::Last) => self.last = Some(slot.value),
                SlotKind::Id(Bound::Before) => {
                    self.before.get_or_insert(slot.value);
                }
                SlotKind::Range => {
                    self.range_first.get_or_insert(slot.value);
                    self.range_last = Some(slot.value);
                }
                _ => {}
            }
        }
    }
}

impl Spans {
    /// Reads the spans off a merged timeline.
    pub fn of(timeline: &Timeline) -> Spans {
        let mut tracks = vec![Track::default(); timeline.streams.len()];
        for frame in &timeline.frames {
            if let Some(track) = tracks.get_mut(frame.stream as usize) {
                track.note(timeline.slots(frame));
            }
        }
        Spans::of_tracks(&tracks, timeline)
    }

    /// The spans of streams whose ids were noted frame by frame, by place.
    pub(crate) fn from_tracks(tracks: &[Track], streams: &[StreamInfo]) -> Spans {
        let mut tracks = tracks.to_vec();
        tracks.resize(streams.len(), Track::default());
        Spans::of_tracks(&tracks, &Timeline::of_streams(streams))
    }

    /// The spans of one stream alone.
    pub(crate) fn single(own: i64, range: i64) -> Spans {
        Spans { own: vec![own], range: vec![range] }
    }

    /// Spans of the ids of a stream and of the trades it names.
    pub(crate) fn of_stream(&self, stream: usize) -> (i64, i64) {
        let at = |spans: &[i64]| spans.get(stream).copied().unwrap_or(0);
        (at(&self.own), at(&self.range))
    }

    fn of_tracks(tracks: &[Track], timeline: &Timeline) -> Spans {
        let mut spans = Spans {
            own: tracks
                .iter()
                .map(|track| match (track.before, track.first, track.last) {
                    (Some(before), _, Some(last)) => last - before,
                    (None, Some(first), Some(last)) => last - first + 1,
                    _ => 0,
                })
                .collect(),
            range: tracks
                .iter()
                .map(|track| track.range_first.zip(track.range_last).map_or(0, |(first, last)| last - first + 1))
                .collect(),
        };
        for (stream, info) in timeline.streams.iter().enumerate() {
            let borrowed = match shape_of(info.channel()) {
                // One id space for the whole book of a symbol, unless that would let its book ticker step back.
                Shape::BookTicker | Shape::Depth if !info.is_depth() => spans
                    .depth_of(timeline, &info.symbol)
                    .filter(|&depth| depth >= spans.own.get(stream).copied().unwrap_or(0)),
                _ => None,
            };
            if let (Some(depth), Some(own)) = (borrowed, spans.own.get_mut(stream)) {
                *own = depth;
            }
            if let Shape::Kline(_) = shape_of(info.channel())
                && let Some(trades) = spans.trades_of(timeline, &info.symbol)
                && let Some(range) = spans.range.get_mut(stream)
            {
                *range = trades;
            }
        }
        spans
    }

    /// By how much the ids of a stream are further on in loop `round`.
    pub fn shift(&self, stream: usize, round: u64) -> i64 {
        self.own.get(stream).copied().unwrap_or(0).saturating_mul(i64::try_from(round).unwrap_or(i64::MAX))
    }

    /// Span of the diff depth stream of a symbol.
    pub fn depth_of(&self, timeline: &Timeline, symbol: &str) -> Option<i64> {
        let stream = timeline.streams.iter().position(|info| info.symbol == symbol && info.is_depth())?;
        self.own.get(stream).copied()
    }

    fn trades_of(&self, timeline: &Timeline, symbol: &str) -> Option<i64> {
        let find =
            |shape| timeline.streams.iter().position(|info| info.symbol == symbol && shape_of(info.channel()) == shape);
        find(Shape::Trade)
            .and_then(|stream| self.own.get(stream).copied())
            .or_else(|| find(Shape::AggTrade).and_then(|stream| self.range.get(stream).copied()))
    }
}

/// Maps recorded times to the times of this run.
#[derive(Clone, Copy, Debug)]
pub struct Warp {
    /// Wall time of the first frame of the first loop, ms.
    pub start_ms: i64,
    /// Recorded time that maps to `start_ms`, in the exchange's clock.
    pub base_ms: i64,
    /// How much faster than recorded.
    pub factor: f64,
    /// Length of one loop in recorded time, ms.
    pub loop_ms: f64,
}

impl Warp {
    /// At the recorded pace, the first frame at `start_ms`.
    pub fn starting(timeline: &Timeline, start_ms: i64) -> Warp {
        let base_ms = timeline.first_ns.div_euclid(1_000_000) + timeline.skew_ms;
        Warp { start_ms, base_ms, factor: 1.0, loop_ms: timeline.loop_ns as f64 / 1e6 }
    }

    /// The time of this run for a recorded time in loop `round`.
    pub fn at(&self, recorded_ms: i64, round: u64) -> i64 {
        let since = (recorded_ms - self.base_ms) as f64 + round as f64 * self.loop_ms;
        self.start_ms + (since / self.factor).floor() as i64
    }
}

/// Appends a frame as it is in loop `round` and gives back its first and last id. Without a warp the bytes are as recorded.
pub fn render(
    timeline: &Timeline,
    frame: &crate::script::FrameRec,
    round: u64,
    warp: Option<&Warp>,
    out: &mut Vec<u8>,
) -> Option<(i64, i64)> {
    let bytes = timeline.bytes(frame);
    let slots = timeline.slots(frame);
    let stream = frame.stream as usize;
    let (mut first, mut last) = (None, None);
    let mut note = |bound, id| match bound {
        Bound::Only => (first, last) = (Some(id), Some(id)),
        Bound::First => first = Some(id),
        Bound::Last => last = Some(id),
        Bound::Before => {}
    };
    let Some(warp) = warp else {
        out.extend_from_slice(bytes);
        for slot in slots {
            if let SlotKind::Id(bound) = slot.kind {
                note(bound, slot.value);
            }
        }
        return first.zip(last);
    };
    let loops = i64::try_from(round).unwrap_or(i64::MAX);
    let shift = |spans: &[i64]| spans.get(stream).copied().unwrap_or(0).saturating_mul(loops);
    let (own_shift, range_shift) = (shift(&timeline.spans.own), shift(&timeline.spans.range));
    let mut done = 0;
    let mut event_ms = 0;
    let mut open_ms = 0;
    for slot in slots {
        let at = slot.at as usize;
        out.extend_from_slice(bytes.get(done..at).unwrap_or(&[]));
        done = at + slot.bytes as usize;
        let value = match slot.kind {
            SlotKind::Time if slot.value == 0 => 0,
            SlotKind::Time => {
                let time = warp.at(slot.value, round);
                if event_ms == 0 {
                    event_ms = time;
                }
                time
            }
            SlotKind::KlineOpen(interval) => {
                let interval = i64::from(interval);
                open_ms = (warp.at(slot.value, round) + interval / 2).div_euclid(interval) * interval;
                open_ms
            }
            SlotKind::TimeS if slot.value == 0 => 0,
            SlotKind::TimeS => warp.at(slot.value, round).div_euclid(1_000),
            SlotKind::TimeNs => {
                let ms = warp.at(slot.value.div_euclid(1_000_000), round);
                ms.saturating_mul(1_000_000) + slot.value.rem_euclid(1_000_000)
            }
            SlotKind::KlineOpenS(interval) => {
                let interval = i64::from(interval);
                let open_ms = warp.at(slot.value.saturating_mul(1_000), round) + interval / 2;
                open_ms.div_euclid(interval) * interval / 1_000
            }
            SlotKind::Seq => slot.value.saturating_add(own_shift),
            SlotKind::Hex => {
                let moved = slot.value.wrapping_add(loops.wrapping_mul(HEX_STEP)) & 0xffff_ffff;
                out.extend_from_slice(format!("{moved:08x}").as_bytes());
                continue;
            }
            SlotKind::KlineClose(interval) => open_ms + i64::from(interval) - 1,
            SlotKind::Funding if slot.value == 0 => 0,
            SlotKind::Funding => (event_ms.div_euclid(FUNDING_INTERVAL_MS) + 1) * FUNDING_INTERVAL_MS,
            SlotKind::Id(bound) => {
                let id = slot.value.saturating_add(own_shift);
                note(bound, id);
                id
            }
            SlotKind::Range if slot.value < 0 => slot.value,
            SlotKind::Range => slot.value.saturating_add(range_shift),
        };
        crate::text::push_int(out, value);
    }
    out.extend_from_slice(bytes.get(done..).unwrap_or(&[]));
    first.zip(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn warp(timeline: &Timeline) -> Warp {
        Warp::starting(timeline, 1_800_000_000_000)
    }

    /// Every frame of three loops as (stream, data).
    fn three_loops(timeline: &Timeline) -> Vec<(String, Value)> {
        let warp = warp(timeline);
        let mut seen = Vec::new();
        for round in 0..3 {
            for frame in &timeline.frames {
                let mut out = Vec::new();
                render(timeline, frame, round, Some(&warp), &mut out);
                let value: Value = serde_json::from_slice(&out).unwrap();
                seen.push((value["stream"].as_str().unwrap().to_owned(), value["data"].clone()));
            }
        }
        seen
    }

    fn of<'a>(seen: &'a [(String, Value)], channel: &str) -> Vec<&'a Value> {
        seen.iter().filter(|(stream, _)| stream.ends_with(channel)).map(|(_, data)| data).collect()
    }

    fn int(value: &Value, key: &str) -> i64 {
        value[key].as_i64().unwrap_or_else(|| panic!("{key} of {value}"))
    }

    fn line(time: i64, stream: &str, data: &str) -> String {
        format!("{time} {{\"stream\":\"{stream}\",\"data\":{data}}}\n")
    }

    const T0: i64 = 1_723_161_254_000_000_000;

    #[test]
    fn spot_ids_stay_whole_over_the_border_of_three_loops() {
        let text = [
            line(T0, "x@depth@100ms", r#"{"e":"depthUpdate","E":1723161255001,"s":"X","U":100,"u":110,"b":[["1","2"]],"a":[]}"#),
            line(T0 + 1, "x@trade", r#"{"e":"trade","E":1723161255002,"s":"X","t":7,"p":"1","q":"1","T":1723161255001,"m":true,"M":true}"#),
            line(T0 + 2, "x@bookTicker", r#"{"u":105,"s":"X","b":"1","B":"1","a":"2","A":"1"}"#),
            line(T0 + 3, "x@aggTrade", r#"{"e":"aggTrade","E":1723161255003,"s":"X","a":3,"p":"1","q":"1","f":7,"l":8,"T":1723161255003,"m":true,"M":true}"#),
            line(T0 + 4, "x@trade", r#"{"e":"trade","E":1723161255004,"s":"X","t":8,"p":"1","q":"1","T":1723161255004,"m":true,"M":true}"#),
            line(T0 + 5, "x@depth@100ms", r#"{"e":"depthUpdate","E":1723161255005,"s":"X","U":111,"u":120,"b":[],"a":[]}"#),
            line(T0 + 6, "x@aggTrade", r#"{"e":"aggTrade","E":1723161255006,"s":"X","a":4,"p":"1","q":"1","f":9,"l":9,"T":1723161255006,"m":true,"M":true}"#),
            line(T0 + 7, "x@bookTicker", r#"{"u":121,"s":"X","b":"1","B":"1","a":"2","A":"1"}"#),
        ]
        .concat();
        let timeline = Timeline::from_texts(&[text.as_bytes()]).unwrap();
        let seen = three_loops(&timeline);
        for pair in of(&seen, "@depth@100ms").windows(2) {
            assert_eq!(int(pair[1], "U"), int(pair[0], "u") + 1);
        }
        for pair in of(&seen, "@trade").windows(2) {
            assert_eq!(int(pair[1], "t"), int(pair[0], "t") + 1);
        }
        for pair in of(&seen, "@aggTrade").windows(2) {
            assert_eq!(int(pair[1], "a"), int(pair[0], "a") + 1);
            assert_eq!(int(pair[1], "f"), int(pair[0], "l") + 1);
        }
        for pair in of(&seen, "@bookTicker").windows(2) {
            assert!(int(pair[1], "u") > int(pair[0], "u"));
        }
    }

    #[test]
    fn usdm_depth_continues_by_pu_over_the_border_of_three_loops() {
        let text = [
            line(T0, "x@depth@0ms", r#"{"e":"depthUpdate","E":1723161255001,"T":1723161255000,"s":"X","U":12,"u":14,"pu":10,"b":[],"a":[]}"#),
            line(T0 + 1, "x@depth@0ms", r#"{"e":"depthUpdate","E":1723161255002,"T":1723161255001,"s":"X","U":17,"u":20,"pu":14,"b":[],"a":[]}"#),
        ]
        .concat();
        let timeline = Timeline::from_texts(&[text.as_bytes()]).unwrap();
        let seen = three_loops(&timeline);
        let depth = of(&seen, "@depth@0ms");
        assert_eq!(depth.len(), 6);
        for pair in depth.windows(2) {
            assert_eq!(int(pair[1], "pu"), int(pair[0], "u"));
            assert!(int(pair[1], "U") > int(pair[0], "u"));
        }
    }

    #[test]
    fn times_move_to_now_keep_their_distances_and_never_run_ahead_of_the_pace() {
        let text = [
            line(T0, "x@trade", r#"{"e":"trade","E":1723161255200,"s":"X","t":1,"T":1723161255190}"#),
            line(T0 + 50_000_000, "x@trade", r#"{"e":"trade","E":1723161255240,"s":"X","t":2,"T":1723161255239}"#),
        ]
        .concat();
        let timeline = Timeline::from_texts(&[text.as_bytes()]).unwrap();
        let seen = three_loops(&timeline);
        let trades = of(&seen, "@trade");
        // The recorder saw the first frame 1.2 s behind the exchange, the largest lag: it maps to the start.
        assert_eq!((int(trades[0], "E"), int(trades[0], "T")), (1_800_000_000_000, 1_799_999_999_990));
        assert_eq!((int(trades[1], "E"), int(trades[1], "T")), (1_800_000_000_040, 1_800_000_000_039));
        assert_eq!(int(trades[2], "E") - int(trades[0], "E"), 75, "one loop is 50 ms plus one mean distance");
    }

    #[test]
    fn candles_keep_whole_minutes_and_funding_stays_ahead() {
        let text = [
            line(T0, "x@kline_1m", r#"{"e":"kline","E":1723161255000,"s":"X","k":{"t":1723161240000,"T":1723161299999,"s":"X","i":"1m","f":-1,"L":-1,"o":"1","x":false}}"#),
            line(T0 + 1, "x@markPrice@1s", r#"{"e":"markPriceUpdate","E":1723161255001,"s":"X","p":"1","T":1723190400000}"#),
            line(T0 + 2, "x@markPrice@1s", r#"{"e":"markPriceUpdate","E":1723161255001,"s":"X","p":"1","T":0}"#),
        ]
        .concat();
        let timeline = Timeline::from_texts(&[text.as_bytes()]).unwrap();
        let seen = three_loops(&timeline);
        for kline in of(&seen, "@kline_1m") {
            let k = &kline["k"];
            assert_eq!(int(k, "t") % 60_000, 0);
            assert_eq!(int(k, "T"), int(k, "t") + 59_999);
            assert_eq!(int(k, "f"), -1);
        }
        let marks = of(&seen, "@markPrice@1s");
        assert!(int(marks[0], "T") > int(marks[0], "E") && int(marks[0], "T") % FUNDING_INTERVAL_MS == 0);
        assert_eq!(int(marks[1], "T"), 0);
    }

    #[test]
    fn rendering_without_a_warp_gives_the_recorded_bytes_and_ids() {
        let text =
            line(T0, "x@depth@0ms", r#"{"e":"depthUpdate","E":1,"T":2,"s":"X","U":12,"u":14,"pu":10,"b":[],"a":[]}"#);
        let timeline = Timeline::from_texts(&[text.as_bytes()]).unwrap();
        let mut out = Vec::new();
        let ids = render(&timeline, timeline.frames.first().unwrap(), 5, None, &mut out);
        assert_eq!(out, &text.as_bytes()[20..text.len() - 1]);
        assert_eq!(ids, Some((12, 14)));
    }
}
