//! Finds the numbers of a frame that mean a time or an id, by the shape of its channel. Pre-parses; never changes anything.

/// A number inside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Byte offset in the combined frame.
    pub at: u32,
    /// Bytes of its recorded text.
    pub bytes: u8,
    /// What it means.
    pub kind: SlotKind,
    /// Its recorded value.
    pub value: i64,
}

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Milliseconds since 1970. 0 means none and stays.
    Time,
    /// Open time of a candle of this length, ms.
    KlineOpen(u32),
    /// Close time of a candle of this length, ms.
    KlineClose(u32),
    /// Next funding time.
    Funding,
    /// An id of the stream's own rule.
    Id(Bound),
    /// A trade id named by an aggregate or a candle.
    Range,
    /// A time whose value here is in ms and whose text is in whole seconds.
    TimeS,
    /// Nanoseconds since 1970.
    TimeNs,
    /// Open time of a candle of this length in ms; the text is in seconds.
    KlineOpenS(u32),
    /// An id that moves with the stream's own and is not its frame's.
    Seq,
    /// The last eight digits of a hexadecimal id.
    Hex,
}

/// Which end of a frame's id range an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The frame's only id.
    Only,
    /// The first id of the frame (depth `U`).
    First,
    /// The last id of the frame (depth `u`).
    Last,
    /// The last id of the frame before (depth `pu`).
    Before,
}

/// Shapes of events that hold times or ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Trade,
    AggTrade,
    BookTicker,
    Depth,
    MarkPrice,
    ForceOrder,
    Kline(u32),
    Ticker,
    Other,
}

/// The shape of a channel's events.
pub(crate) fn shape_of(channel: &str) -> Shape {
    match channel {
        "/market/level2" | "/contractMarket/level2" | "spot.order_book_update" | "futures.order_book_update" => {
            return Shape::Depth;
        }
        "/market/ticker" | "/contractMarket/tickerV2" | "spot.book_ticker" | "futures.book_ticker" => {
            return Shape::BookTicker;
        }
        _ => {}
    }
    match channel.split('@').next().unwrap_or("") {
        "trade" => Shape::Trade,
        "aggTrade" => Shape::AggTrade,
        "bookTicker" => Shape::BookTicker,
        "markPrice" => Shape::MarkPrice,
        "forceOrder" => Shape::ForceOrder,
        "ticker" | "miniTicker" => Shape::Ticker,
        depth if depth.starts_with("depth") || depth == "rpiDepth" => Shape::Depth,
        kline => match kline.strip_prefix("kline_").and_then(interval_ms) {
            Some(interval) => Shape::Kline(interval),
            None => Shape::Other,
        },
    }
}

/// Length of a candle; `None` for months, which have none.
fn interval_ms(name: &str) -> Option<u32> {
    let (count, unit) = name.split_at_checked(name.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    count.parse::<u32>().ok()?.checked_mul(unit_ms)
}

fn role(shape: Shape, parent: &[u8], key: &[u8]) -> Option<SlotKind> {
    use SlotKind::{Funding, Id, KlineClose, KlineOpen, Range, Time};
    Some(match (shape, parent, key) {
        (_, b"", b"E") => Time,
        (Shape::Trade | Shape::AggTrade | Shape::BookTicker | Shape::Depth, b"", b"T") => Time,
        (Shape::Trade, b"", b"t") | (Shape::AggTrade, b"", b"a") | (Shape::BookTicker, b"", b"u") => Id(Bound::Only),
        (Shape::AggTrade, b"", b"f" | b"l") | (Shape::Kline(_), b"k", b"f" | b"L") => Range,
        (Shape::Depth, b"", b"U") => Id(Bound::First),
        (Shape::Depth, b"", b"u") => Id(Bound::Last),
        (Shape::Depth, b"", b"pu") => Id(Bound::Before),
        (Shape::Depth, b"", b"lastUpdateId") => Id(Bound::Only),
        (Shape::MarkPrice, b"", b"T") => Funding,
        (Shape::ForceOrder, b"o", b"T") => Time,
        (Shape::Kline(interval), b"k", b"t") => KlineOpen(interval),
        (Shape::Kline(interval), b"k", b"T") => KlineClose(interval),
        (Shape::Ticker, b"", b"O" | b"C") => Time,
        _ => return None,
    })
}

/// Finds the numbers of one `data` value that restamping may change, appends them and gives back the event time.
/// `head_bytes` is what precedes the data in the combined frame. Recordings are trusted: text that is not JSON gives no slots.
pub fn find_slots(channel: &str, data: &[u8], head_bytes: usize, slots: &mut Vec<Slot>) -> Option<i64> {
    let shape = shape_of(channel);
    let mut event_ms = None;
    let mut parents: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = data.get(at) {
        match byte {
            b'{' => parents.push(b""),
            b'}' => {
                parents.pop();
            }
            b'"' => {
                let end = string_end(data, at + 1)?;
                let key = data.get(at + 1..end)?;
                at = end + 1;
                if data.get(at) != Some(&b':') {
                    continue;
                }
                at += 1;
                match data.get(at)? {
                    b'"' => at = string_end(data, at + 1)?,
                    b'{' => parents.push(key),
                    // The levels of a book hold no slots, and every id stands before them.
                    b'[' if shape == Shape::Depth => return event_ms,
                    b'-' | b'0'..=b'9' => {
                        let (value, bytes) = integer_at(data, at);
                        let parent = parents.last().copied().unwrap_or(b"");
                        if let (Some(value), Some(kind)) = (value, role(shape, parent, key)) {
                            if key == b"E" {
                                event_ms.get_or_insert(value);
                            }
                            slots.push(Slot {
                                at: u32::try_from(head_bytes + at).ok()?,
                                bytes: u8::try_from(bytes).ok()?,
                                kind,
                                value,
                            });
                        }
                        at += bytes;
                        continue;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        at += 1;
    }
    event_ms
}

fn string_end(data: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let end = at + memchr::memchr2(b'"', b'\\', data.get(at..)?)?;
        if data.get(end) == Some(&b'"') {
            return Some(end);
        }
        at = end + 2;
    }
}

/// The integer at `at` and the length of the number's text; no value when it has a fraction.
fn integer_at(data: &[u8], at: usize) -> (Option<i64>, usize) {
    let text = data.get(at..).unwrap_or(&[]);
    let bytes = text.iter().take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).count();
    (std::str::from_utf8(&text[..bytes]).ok().and_then(|text| text.parse().ok()), bytes)
}

/// The number at `at`, in quotes or not, as a slot.
pub(crate) fn integer_slot(frame: &[u8], at: usize, kind: SlotKind) -> Option<Slot> {
    let at = at + usize::from(frame.get(at) == Some(&b'"'));
    let rest = frame.get(at..)?;
    let (at, digits, radix) = match kind {
        SlotKind::Hex => {
            let bytes = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            (at + bytes.checked_sub(8)?, rest.get(bytes - 8..bytes)?, 16)
        }
        _ => {
            let bytes = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
            (at, rest.get(..bytes)?, 10)
        }
    };
    let value = i64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    Some(Slot { at: u32::try_from(at).ok()?, bytes: u8::try_from(digits.len()).ok()?, kind, value })
}

/// The integer after the first `key`.
pub(crate) fn number_after(text: &[u8], key: &[u8]) -> Option<i64> {
    let at = memchr::memmem::find(text, key)? + key.len();
    integer_at(text, at).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(channel: &str, data: &str) -> (Option<i64>, Vec<(SlotKind, i64)>) {
        let mut slots = Vec::new();
        let event_ms = find_slots(channel, data.as_bytes(), 100, &mut slots);
        for slot in &slots {
            let at = slot.at as usize - 100;
            assert_eq!(data.get(at..at + slot.bytes as usize), Some(slot.value.to_string().as_str()));
        }
        (event_ms, slots.iter().map(|slot| (slot.kind, slot.value)).collect())
    }

    #[test]
    fn ids_and_times_are_distinguished_by_channel_and_depth_of_nesting() {
        use SlotKind::{Id, KlineClose, KlineOpen, Range, Time};
        let trade = r#"{"e":"trade","E":5,"s":"a\"b","t":7,"p":"1.5","q":"2","b":88,"a":50,"T":4,"m":true,"M":true}"#;
        assert_eq!(found("trade", trade), (Some(5), vec![(Time, 5), (Id(Bound::Only), 7), (Time, 4)]));
        let depth = r#"{"e":"depthUpdate","E":9,"T":8,"s":"X","U":1,"u":3,"pu":0,"b":[["1","2"]],"a":[]}"#;
        let ids = vec![(Time, 9), (Time, 8), (Id(Bound::First), 1), (Id(Bound::Last), 3), (Id(Bound::Before), 0)];
        assert_eq!(found("depth@0ms", depth), (Some(9), ids));
        let kline = r#"{"e":"kline","E":9,"s":"X","k":{"t":0,"T":59999,"s":"X","i":"1m","f":4,"L":6,"n":3,"x":false}}"#;
        let slots = vec![(Time, 9), (KlineOpen(60_000), 0), (KlineClose(60_000), 59_999), (Range, 4), (Range, 6)];
        assert_eq!(found("kline_1m", kline), (Some(9), slots));
        let force = r#"{"e":"forceOrder","E":9,"o":{"s":"X","q":"1","T":8,"st":1}}"#;
        assert_eq!(found("forceOrder", force), (Some(9), vec![(Time, 9), (Time, 8)]));
        assert_eq!(found("trade", "<html>").0, None);
    }

    #[test]
    fn every_object_of_an_array_frame_is_looked_at() {
        let marks = r#"[{"e":"markPriceUpdate","E":1,"s":"A","T":2},{"e":"markPriceUpdate","E":3,"s":"B","T":4}]"#;
        let (event_ms, slots) = found("markPrice@1s", marks);
        assert_eq!((event_ms, slots.len()), (Some(1), 4));
    }
}
