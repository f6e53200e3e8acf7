//! Recordings as one timeline per venue: reads files, cuts them into frames, merges them by receive time.
//!
//! A frame keeps its exact bytes. A frame that was recorded without its `{"stream":..,"data":..}` wrapper gets one, its data keep
//! their bytes. Lines that are REST depth snapshots become the base of the order book; control replies are left out and counted.
//!
//! Formats, distinguished by their first line:
//! - `<receive time> <frame>`; 19 digits ns, 16 us, 13 ms (the `hft` recordings);
//! - `<unix seconds with a fraction>: <frame>` after a `<url> <-> <t>` line (the `cryptofeed` recordings);
//! - one frame per line, its own event time as receive time.
//!
//! Frames of KuCoin and Gate stay whole; REST order books in lines of the `cryptofeed` form are bases as well.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

use crate::restamp::Spans;
use crate::slots::{Shape, Slot, SlotKind, find_slots, number_after, shape_of};

/// Longest unpacked recording, bytes; a guard against a compressed bomb given by mistake.
const RECORDING_BYTES_MAX: u64 = 4 << 30;

/// A stream that the source can deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Full name, `btcusdt@depth@100ms`.
    pub name: String,
    /// Symbol in the venue's spelling, `BTCUSDT`; empty for all-market streams.
    pub symbol: String,
}

impl StreamInfo {
    /// Splits a stream name.
    pub fn of(name: &str) -> StreamInfo {
        // KuCoin: `/market/candles:BTC-USDT_1min`; Gate: `spot.trades BTC_USDT`.
        if let Some((prefix, rest)) = name.split_once(':').or_else(|| name.split_once(' ')) {
            let is_candle = prefix.ends_with("andles") || prefix.ends_with("limitCandle");
            let symbol = rest.strip_suffix("_1min").filter(|_| is_candle).unwrap_or(rest);
            return StreamInfo { name: name.to_owned(), symbol: symbol.to_owned() };
        }
        let symbol = name.split('@').next().unwrap_or("").to_uppercase();
        let symbol = if symbol.starts_with('!') { String::new() } else { symbol };
        StreamInfo { name: name.to_owned(), symbol }
    }

    /// The part after the symbol: `depth@100ms`; on KuCoin and Gate the part before it.
    pub fn channel(&self) -> &str {
        if let Some((prefix, _)) = self.name.split_once(':').or_else(|| self.name.split_once(' ')) {
            return prefix;
        }
        self.name.split_once('@').map_or("", |(_, channel)| channel)
    }

    /// True for the diff depth stream of any speed (not for the partial books `depth5`, `depth10`, `depth20`).
    pub fn is_depth(&self) -> bool {
        match self.channel() {
            "/market/level2" | "/contractMarket/level2" | "spot.order_book_update" | "futures.order_book_update" => {
                true
            }
            channel => channel == "depth" || channel.starts_with("depth@"),
        }
    }
}

/// One frame of a timeline.
#[derive(Clone, Copy, Debug)]
pub struct FrameRec {
    /// Index into [`Timeline::streams`].
    pub stream: u32,
    /// Receive time of the recorder, ns; never decreases inside one file.
    pub recv_ns: i64,
    start: usize,
    bytes: u32,
    /// Bytes before the `data` value.
    pub head_bytes: u32,
    slots_at: u32,
    slots: u32,
}

/// A recorded REST depth answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedBook {
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// Receive time, ns.
    pub recv_ns: i64,
}

/// Everything recorded of one venue, in playing order.
#[derive(Debug, Default)]
pub struct Timeline {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    /// Frames in playing order.
    pub frames: Vec<FrameRec>,
    /// Streams in order of first appearance.
    pub streams: Vec<StreamInfo>,
    /// By how much ids move from one loop to the next.
    pub spans: Spans,
    /// Recorded depth snapshots by symbol.
    pub books: HashMap<String, RecordedBook>,
    /// Receive time of the first frame, ns.
    pub first_ns: i64,
    /// Receive time of the last frame plus one mean distance, minus that of the first: what one loop takes, ns.
    pub loop_ns: i64,
    /// Event time minus receive time, at most, ms: how far the recorder's clock was behind.
    pub skew_ms: i64,
    /// Lines that were neither frame nor snapshot.
    pub skipped_lines: u64,
    by_stream: OnceLock<Vec<Vec<u32>>>,
}

impl Timeline {
    /// Reads and merges the recordings of one venue.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no frame.
    pub fn load<P: AsRef<Path>>(paths: &[P]) -> anyhow::Result<Timeline> {
        let mut timeline = Timeline::default();
        let mut ids = HashMap::new();
        for path in paths {
            let path = path.as_ref();
            let text = read_file(path)?;
            let before = (timeline.frames.len(), timeline.books.len());
            timeline.add(&text, &mut ids).with_context(|| format!("read recording {}", path.display()))?;
            if (timeline.frames.len(), timeline.books.len()) == before {
                bail!("read recording {}: it holds no frame", path.display());
            }
        }
        timeline.finish();
        Ok(timeline)
    }

    /// A timeline of text in memory.
    ///
    /// # Errors
    /// As [`Timeline::load`].
    #[cfg(test)]
    pub fn from_texts(texts: &[&[u8]]) -> anyhow::Result<Timeline> {
        let mut timeline = Timeline::default();
        let mut ids = HashMap::new();
        for text in texts {
            timeline.add(text, &mut ids)?;
        }
        timeline.finish();
        Ok(timeline)
    }

    /// Streams without frames.
    pub(crate) fn of_streams(streams: &[StreamInfo]) -> Timeline {
        Timeline { streams: streams.to_vec(), ..Timeline::default() }
    }

    /// One frame alone, of stream 0.
    pub(crate) fn single(info: &StreamInfo, frame: &[u8], head_bytes: usize, spans: Spans) -> Timeline {
        let mut timeline = Timeline { arena: frame.to_vec(), spans, ..Timeline::default() };
        let channel = info.channel();
        if head_bytes > 0 {
            let data = frame.get(head_bytes..frame.len().saturating_sub(1)).unwrap_or(&[]);
            find_slots(channel, data, head_bytes, &mut timeline.slots);
        } else if info.name.starts_with('/') {
            crate::kucoin::recorded::find_slots(channel, frame, &mut timeline.slots);
        } else {
            crate::gate::recorded::find_slots(channel, frame, &mut timeline.slots);
        }
        // Nothing here is larger than the frame.
        let _ = timeline.push_frame(0, 0, 0, head_bytes, 0);
        timeline
    }

    /// The whole frame, combined form.
    pub fn bytes(&self, frame: &FrameRec) -> &[u8] {
        self.arena.get(frame.start..frame.start + frame.bytes as usize).unwrap_or(&[])
    }

    /// The `data` value of a frame of Binance.
    pub fn data(&self, frame: &FrameRec) -> &[u8] {
        let bytes = self.bytes(frame);
        bytes.get(frame.head_bytes as usize..bytes.len().saturating_sub(1)).unwrap_or(&[])
    }

    /// The numbers of a frame that restamping may change, in text order.
    pub fn slots(&self, frame: &FrameRec) -> &[Slot] {
        self.slots.get(frame.slots_at as usize..(frame.slots_at + frame.slots) as usize).unwrap_or(&[])
    }

    /// Frames of a stream in playing order, as indices into [`Timeline::frames`].
    pub fn frames_of(&self, stream: usize) -> &[u32] {
        let lists = self.by_stream.get_or_init(|| {
            let mut lists = vec![Vec::new(); self.streams.len()];
            for (index, frame) in self.frames.iter().enumerate() {
                if let Some(list) = lists.get_mut(frame.stream as usize) {
                    list.push(index as u32);
                }
            }
            lists
        });
        lists.get(stream).map_or(&[], Vec::as_slice)
    }

    /// Whether the frame after this one is a further trade of the same taker order: same stream, time and side.
    pub fn same_order(&self, index: usize) -> bool {
        let (Some(one), Some(next)) = (self.frames.get(index), self.frames.get(index + 1)) else { return false };
        let is_trade =
            self.streams.get(one.stream as usize).is_some_and(|info| shape_of(info.channel()) == Shape::Trade);
        let time =
            |frame| self.slots(frame).iter().rev().find(|slot| slot.kind == SlotKind::Time).map(|slot| slot.value);
        let sold = |frame| memchr::memmem::find(self.data(frame), br#""m":true"#).is_some();
        is_trade && one.stream == next.stream && time(one) == time(next) && sold(one) == sold(next)
    }

    /// Symbols with at least one stream, sorted.
    pub fn symbols(&self) -> Vec<String> {
        let mut symbols: Vec<String> =
            self.streams.iter().filter(|s| !s.symbol.is_empty()).map(|s| s.symbol.clone()).collect();
        symbols.sort();
        symbols.dedup();
        symbols
    }

    fn add(&mut self, text: &[u8], ids: &mut HashMap<Vec<u8>, u32>) -> anyhow::Result<()> {
        let mut floor_ns = i64::MIN;
        let mut skew_ms = (!self.frames.is_empty()).then_some(self.skew_ms);
        for line in lines(text) {
            if let Some((symbol, recv_ns, body)) = rest_line(line) {
                self.books.entry(symbol).or_insert_with(|| RecordedBook { body: body.to_vec(), recv_ns });
                continue;
            }
            let Some((recv_ns, payload)) = split_line(line) else {
                self.skipped_lines += 1;
                continue;
            };
            if payload.starts_with(br#"{"lastUpdateId":"#) {
                self.add_book(recv_ns, payload, text);
                continue;
            }
            // A snapshot is written down late, so only frames push this on.
            let recv_ns = recv_ns.max(floor_ns);
            floor_ns = recv_ns;
            let start = self.arena.len();
            if let Some(name) = foreign_name(payload) {
                self.arena.extend_from_slice(payload);
                let stream = self.stream(name.as_bytes(), ids)?;
                let channel = self.streams.get(stream as usize).map_or("", StreamInfo::channel).to_owned();
                let slots_at = self.slots.len();
                let event_ms = if name.starts_with('/') {
                    crate::kucoin::recorded::find_slots(&channel, payload, &mut self.slots)
                } else {
                    crate::gate::recorded::find_slots(&channel, payload, &mut self.slots)
                };
                self.note_skew(event_ms, recv_ns, &mut skew_ms);
                self.push_frame(stream, recv_ns, start, 0, slots_at)?;
                continue;
            }
            let head_bytes = match combined_head(payload) {
                Some(head) => {
                    self.arena.extend_from_slice(payload);
                    head
                }
                None => {
                    let Some(name) = raw_stream_name(payload) else {
                        self.skipped_lines += 1;
                        continue;
                    };
                    self.arena.extend_from_slice(format!(r#"{{"stream":"{name}","data":"#).as_bytes());
                    let head = self.arena.len() - start;
                    self.arena.extend_from_slice(payload);
                    self.arena.push(b'}');
                    head
                }
            };
            let frame_bytes = self.arena.len() - start;
            let name = self.arena.get(start + 11..start + head_bytes - 9).unwrap_or(&[]).to_vec();
            let stream = self.stream(&name, ids)?;
            let channel = self.streams.get(stream as usize).map_or("", StreamInfo::channel).to_owned();
            let slots_at = self.slots.len();
            let data = self.arena.get(start + head_bytes..start + frame_bytes - 1).unwrap_or(&[]);
            let event_ms = find_slots(&channel, data, head_bytes, &mut self.slots);
            self.note_skew(event_ms, recv_ns, &mut skew_ms);
            self.push_frame(stream, recv_ns, start, head_bytes, slots_at)?;
        }
        self.skew_ms = skew_ms.unwrap_or(0);
        Ok(())
    }

    fn stream(&mut self, name: &[u8], ids: &mut HashMap<Vec<u8>, u32>) -> anyhow::Result<u32> {
        if let Some(&stream) = ids.get(name) {
            return Ok(stream);
        }
        let stream = u32::try_from(self.streams.len()).context("too many streams")?;
        ids.insert(name.to_vec(), stream);
        self.streams.push(StreamInfo::of(&String::from_utf8_lossy(name)));
        Ok(stream)
    }

    fn note_skew(&self, event_ms: Option<i64>, recv_ns: i64, skew_ms: &mut Option<i64>) {
        if let Some(event_ms) = event_ms {
            let ahead_ms = event_ms - recv_ns.div_euclid(1_000_000);
            *skew_ms = Some(skew_ms.map_or(ahead_ms, |known| known.max(ahead_ms)));
        }
    }

    /// Adds the frame whose bytes and slots end the arena and the slots.
    fn push_frame(
        &mut self,
        stream: u32,
        recv_ns: i64,
        start: usize,
        head_bytes: usize,
        slots_at: usize,
    ) -> anyhow::Result<()> {
        self.frames.push(FrameRec {
            stream,
            recv_ns,
            start,
            bytes: u32::try_from(self.arena.len() - start).context("a frame is longer than 4 GiB")?,
            head_bytes: u32::try_from(head_bytes).context("a frame head is too long")?,
            slots_at: u32::try_from(slots_at).context("too many numbers in the recordings of one venue")?,
            slots: u32::try_from(self.slots.len() - slots_at).context("too many numbers in one frame")?,
        });
        Ok(())
    }

    /// A snapshot line names no symbol: it belongs to the first symbol that this file plays.
    fn add_book(&mut self, recv_ns: i64, payload: &[u8], text: &[u8]) {
        let symbol = lines(text)
            .filter_map(split_line)
            .find_map(|(_, payload)| stream_name(payload))
            .map(|name| StreamInfo::of(&name).symbol)
            .unwrap_or_default();
        self.books.entry(symbol).or_insert_with(|| RecordedBook { body: payload.to_vec(), recv_ns });
    }

    fn finish(&mut self) {
        self.frames.sort_by_key(|frame| frame.recv_ns);
        self.first_ns = self.frames.first().map_or(0, |frame| frame.recv_ns);
        let span_ns = self.frames.last().map_or(0, |frame| frame.recv_ns) - self.first_ns;
        let count = i64::try_from(self.frames.len()).unwrap_or(i64::MAX).max(1);
        self.loop_ns = span_ns + (span_ns / count).max(1_000_000);
        self.spans = Spans::of(self);
    }
}

/// Reads a file and unpacks it by its ending.
fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| format!("open recording {}", path.display()))?;
    let mut text = Vec::new();
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    match ending {
        "zst" => zstd::stream::Decoder::new(file)?.take(RECORDING_BYTES_MAX).read_to_end(&mut text),
        "gz" => flate2::read::MultiGzDecoder::new(file).take(RECORDING_BYTES_MAX).read_to_end(&mut text),
        _ => { file }.take(RECORDING_BYTES_MAX).read_to_end(&mut text),
    }
    .with_context(|| format!("unpack recording {}", path.display()))?;
    Ok(text)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or(&[]);
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

/// Receive time and frame of a line, `None` for anything that was not received as a frame.
pub(crate) fn split_line(line: &[u8]) -> Option<(i64, &[u8])> {
    if line.first() == Some(&b'{') {
        let recv_ms = number_after(line, br#""E":"#).unwrap_or(0);
        return Some((recv_ms.saturating_mul(1_000_000), line));
    }
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole: i64 = std::str::from_utf8(line.get(..digits)?).ok()?.parse().ok()?;
    let (recv_ns, payload) = match line.get(digits)? {
        b' ' => {
            let to_ns = match digits {
                19 => 1,
                16 => 1_000,
                13 => 1_000_000,
                _ => return None,
            };
            (whole.checked_mul(to_ns)?, line.get(digits + 1..)?)
        }
        b'.' => {
            let fraction = line.get(digits + 1..)?;
            let places = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let payload = fraction.get(places..)?.strip_prefix(b": ")?;
            let mut nanos = 0;
            for place in 0..9 {
                nanos = nanos * 10
                    + fraction.get(place).filter(|_| place < places).map_or(0, |byte| i64::from(byte - b'0'));
            }
            (whole.checked_mul(1_000_000_000)?.checked_add(nanos)?, payload)
        }
        b':' => (whole.checked_mul(1_000_000_000)?, line.get(digits + 1..)?.strip_prefix(b" ")?),
        _ => return None,
    };
    (payload.first() == Some(&b'{')).then_some((recv_ns, payload))
}

/// Symbol, receive time and body of a recorded REST answer that names its symbol: `https://..?symbol=X -> 1619378326.66: {..}`.
fn rest_line(line: &[u8]) -> Option<(String, i64, &[u8])> {
    let text = line.strip_prefix(b"https://")?;
    let arrow = memchr::memmem::find(text, b" -> ")?;
    let (recv_ns, body) = split_line(text.get(arrow + 4..)?)?;
    let url = std::str::from_utf8(text.get(..arrow)?).ok()?;
    let (_, query) = url.split_once('?')?;
    let symbol = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        matches!(key, "symbol" | "currency_pair" | "contract").then_some(value)
    })?;
    Some((symbol.to_owned(), recv_ns, body))
}

/// The stream of a data frame of KuCoin or Gate.
pub(crate) fn foreign_name(payload: &[u8]) -> Option<String> {
    crate::kucoin::recorded::topic(payload).or_else(|| crate::gate::recorded::name(payload))
}

/// Bytes before the data value of a combined frame.
pub(crate) fn combined_head(payload: &[u8]) -> Option<usize> {
    let name = payload.strip_prefix(br#"{"stream":""#)?;
    let end = memchr::memchr(b'"', name)?;
    name.get(end..)?.starts_with(br#"","data":"#).then_some(11 + end + 9)
}

fn stream_name(payload: &[u8]) -> Option<String> {
    match combined_head(payload) {
        Some(head) => payload.get(11..head - 9).map(|name| String::from_utf8_lossy(name).into_owned()),
        None => raw_stream_name(payload),
    }
}

/// The stream a bare event most likely came from.
pub(crate) fn raw_stream_name(payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let text = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_str()).map(str::to_lowercase);
    let event = value.get("e").and_then(|e| e.as_str());
    let symbol = text(&value, "s").or_else(|| value.get("o").and_then(|order| text(order, "s")))?;
    let channel = match event {
        Some("trade") => "trade".to_owned(),
        Some("aggTrade") => "aggTrade".to_owned(),
        Some("bookTicker") | None => "bookTicker".to_owned(),
        Some("depthUpdate") => "depth@100ms".to_owned(),
        Some("markPriceUpdate") => "markPrice@1s".to_owned(),
        Some("forceOrder") => "forceOrder".to_owned(),
        Some("24hrTicker") => "ticker".to_owned(),
        Some("24hrMiniTicker") => "miniTicker".to_owned(),
        Some("kline") => format!("kline_{}", value.get("k")?.get("i")?.as_str()?),
        Some(_) => return None,
    };
    Some(format!("{symbol}@{channel}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HFT: &[u8] = b"1723161254206652067 {\"lastUpdateId\":7,\"bids\":[],\"asks\":[]}\n\
        1723161253937085768 {\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\",\"E\":1723161255343,\"s\":\"BTCUSDT\",\"t\":5}}\n";

    #[test]
    fn the_three_time_units_and_the_float_form_give_the_same_instant() {
        for line in ["1723161254206000000 {}", "1723161254206000 {}", "1723161254206 {}", "1723161254.206: {}"] {
            assert_eq!(split_line(line.as_bytes()), Some((1_723_161_254_206_000_000, b"{}".as_slice())), "{line}");
        }
    }

    #[test]
    fn lines_that_were_not_received_are_left_out() {
        for line in [
            "wss://x/stream?streams=a <-> 1626992740.17",
            "wss://x <- 1626992740.17: {\"id\":1}",
            "configuration: x",
            "",
        ] {
            assert_eq!(split_line(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn an_inline_snapshot_becomes_the_base_book_of_its_symbol() {
        let timeline = Timeline::from_texts(&[HFT]).unwrap();
        assert_eq!(timeline.frames.len(), 1);
        assert_eq!(timeline.books.get("BTCUSDT").unwrap().body, br#"{"lastUpdateId":7,"bids":[],"asks":[]}"#);
        assert_eq!(timeline.skew_ms, 1_723_161_255_343 - 1_723_161_253_937);
    }

    #[test]
    fn a_bare_event_is_wrapped_and_its_data_keep_their_bytes() {
        let raw = br#"{"e":"forceOrder","E":1791091027107,"o":{"s":"MANTAUSDT","S":"SELL"}}"#;
        let timeline = Timeline::from_texts(&[raw]).unwrap();
        let frame = timeline.frames.first().unwrap();
        assert_eq!(timeline.data(frame), raw);
        assert_eq!(timeline.streams.first().unwrap().name, "mantausdt@forceOrder");
    }

    #[test]
    fn two_recordings_merge_by_receive_time_and_keep_their_own_order() {
        let line =
            |time: i64, name: &str, id: u32| format!("{time} {{\"stream\":\"{name}\",\"data\":{{\"t\":{id}}}}}\n");
        let base = 1_723_161_254_000_000_000;
        // The second line of `a` steps back in time: it must still follow the first.
        let a = [line(base + 5, "a@trade", 1), line(base + 3, "a@trade", 2), line(base + 9, "a@trade", 3)].concat();
        let b = [line(base + 4, "b@trade", 4), line(base + 6, "b@trade", 5)].concat();
        let timeline = Timeline::from_texts(&[a.as_bytes(), b.as_bytes()]).unwrap();
        let order: Vec<String> =
            timeline.frames.iter().map(|f| String::from_utf8_lossy(timeline.data(f)).into_owned()).collect();
        assert_eq!(order, [r#"{"t":4}"#, r#"{"t":1}"#, r#"{"t":2}"#, r#"{"t":5}"#, r#"{"t":3}"#]);
    }
}
