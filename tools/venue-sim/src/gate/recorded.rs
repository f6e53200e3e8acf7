//! Recorded Gate frames: which channel and symbol a frame is of, and where its times and ids stand. Changes nothing.
//!
//! Times are seconds or ms, as numbers or texts, some texts with a fraction of a ms; an array frame is taken as its first symbol's.

use serde_json::Value;

use crate::slots::{Bound, Slot, SlotKind, integer_slot};

/// Channel and symbol of a data frame, with a blank between.
pub(crate) fn name(frame: &[u8]) -> Option<String> {
    memchr::memmem::find(frame, br#""event":"update""#)?;
    let value: Value = serde_json::from_slice(frame).ok()?;
    let channel = value.get("channel")?.as_str()?;
    let result = value.get("result")?;
    let row = result.as_array().map_or(Some(result), |rows| rows.first())?;
    let text = |key: &str| row.get(key).and_then(Value::as_str);
    let symbol = match text("s").or_else(|| text("currency_pair")).or_else(|| text("contract")) {
        Some(symbol) => symbol,
        None => text("n")?.strip_prefix("1m_")?,
    };
    Some(format!("{channel} {symbol}"))
}

/// Finds the numbers of a frame that restamping may change; gives the time of the frame, ms.
pub(crate) fn find_slots(channel: &str, frame: &[u8], slots: &mut Vec<Slot>) -> Option<i64> {
    use SlotKind::{Id, KlineOpenS, Seq, Time, TimeS};
    let word = channel.split_once('.').map_or("", |(_, word)| word);
    let has_market_id = memchr::memmem::find(frame, br#""id_market":"#).is_some();
    let trade_id = if has_market_id { Seq } else { Id(Bound::Only) };
    let kinds: &[(&[u8], SlotKind)] = match word {
        "trades" => &[
            (br#""id":"#, trade_id),
            (br#""id_market":"#, Id(Bound::Only)),
            (br#""create_time":"#, TimeS),
            (br#""create_time_ms":"#, Time),
        ],
        "order_book_update" => {
            &[(br#""t":"#, Time), (br#""E":"#, TimeS), (br#""U":"#, Id(Bound::First)), (br#""u":"#, Id(Bound::Last))]
        }
        "book_ticker" => &[(br#""t":"#, Time), (br#""u":"#, Id(Bound::Only))],
        "candlesticks" => &[(br#""t":"#, KlineOpenS(60_000))],
        _ => &[],
    };
    let from = slots.len();
    let result_at = memchr::memmem::find(frame, br#""result":"#)?;
    for (key, kind) in [(br#""time":"#.as_slice(), TimeS), (br#""time_ms":"#.as_slice(), Time)] {
        let head = frame.get(..result_at)?;
        slots.extend(memchr::memmem::find(head, key).and_then(|at| integer_slot(frame, at + key.len(), kind)));
    }
    for &(key, kind) in kinds {
        for at in memchr::memmem::find_iter(frame.get(result_at..)?, key) {
            slots.extend(integer_slot(frame, result_at + at + key.len(), kind));
        }
    }
    let found = slots.get_mut(from..)?;
    found.sort_by_key(|slot| slot.at);
    // Whole seconds follow the exact time beside them, so that both stay the same instant.
    let exact: Vec<i64> =
        found.iter().filter(|slot| slot.kind == Time && slot.value > 0).map(|slot| slot.value).collect();
    for slot in found.iter_mut().filter(|slot| slot.kind == TimeS) {
        let (start, end) = (slot.value * 1_000, slot.value * 1_000 + 999);
        slot.value = exact.iter().copied().find(|ms| (start..=end).contains(ms)).unwrap_or(start);
    }
    // Several trades of one frame are a range of ids.
    let mut ids: Vec<&mut Slot> = found.iter_mut().filter(|slot| slot.kind == Id(Bound::Only)).collect();
    if let [first, .., last] = ids.as_mut_slice() {
        (first.kind, last.kind) = (Id(Bound::First), Id(Bound::Last));
        let end = ids.len() - 1;
        for slot in ids.iter_mut().take(end).skip(1) {
            slot.kind = Seq;
        }
    }
    exact.iter().copied().max()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(channel: &str, frame: &str) -> Vec<(SlotKind, i64)> {
        let mut slots = Vec::new();
        find_slots(channel, frame.as_bytes(), &mut slots);
        slots.iter().map(|slot| (slot.kind, slot.value)).collect()
    }

    #[test]
    fn seconds_take_the_exact_time_beside_them() {
        let frame = r#"{"time":1619093543,"channel":"spot.trades","event":"update","result":{"id":816995772,"id_market":12,"create_time":1619093543,"create_time_ms":"1619093543708.2642","side":"sell","currency_pair":"DIS_USDT","amount":"0.2","price":"121.5"}}"#;
        assert_eq!(name(frame.as_bytes()).unwrap(), "spot.trades DIS_USDT");
        let at = 1_619_093_543_708;
        let slots = [
            (SlotKind::TimeS, at),
            (SlotKind::Seq, 816_995_772),
            (SlotKind::Id(Bound::Only), 12),
            (SlotKind::TimeS, at),
            (SlotKind::Time, at),
        ];
        assert_eq!(found("spot.trades", frame), slots);
    }

    #[test]
    fn a_symbol_named_like_a_key_is_not_a_number() {
        let frame = r#"{"time":1684930165,"time_ms":1684930165254,"channel":"futures.order_book_update","event":"update","result":{"U":5,"a":[{"p":"0.2983","s":0}],"b":[],"s":"RDNT_USDT","t":1684930165217,"u":9}}"#;
        assert_eq!(name(frame.as_bytes()).unwrap(), "futures.order_book_update RDNT_USDT");
        let ids = found("futures.order_book_update", frame);
        assert_eq!(ids.len(), 5);
        assert!(ids.contains(&(SlotKind::Id(Bound::First), 5)) && ids.contains(&(SlotKind::Id(Bound::Last), 9)));
    }

    #[test]
    fn acks_have_no_name() {
        let ack = br#"{"time":1,"channel":"spot.trades","event":"subscribe","result":{"status":"success"}}"#;
        assert_eq!(name(ack), None);
    }
}
