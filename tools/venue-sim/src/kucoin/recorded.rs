//! Recorded KuCoin frames: whose topic a frame is, and where its times and sequences stand. Changes nothing.
//!
//! Sequences are texts or numbers, a trade's time is in ns, candles begin at seconds; trade ids are hexadecimal and move on by
//! loop, so that a trade played again is another trade.

use crate::slots::{Bound, Slot, SlotKind, integer_slot};

/// The topic of a data frame.
pub(crate) fn topic(frame: &[u8]) -> Option<String> {
    memchr::memmem::find(frame, br#""type":"message""#)?;
    let at = memchr::memmem::find(frame, br#""topic":""#)? + 9;
    let rest = frame.get(at..)?;
    let name = rest.get(..memchr::memchr(b'"', rest)?)?;
    String::from_utf8(name.to_vec()).ok()
}

/// Finds the numbers of a frame that restamping may change; gives the time of the frame, ms.
pub(crate) fn find_slots(channel: &str, frame: &[u8], slots: &mut Vec<Slot>) -> Option<i64> {
    let kinds: &[(&[u8], SlotKind)] = match channel {
        "/market/match" => &[
            (br#""sequence":"#, SlotKind::Id(Bound::Only)),
            (br#""time":"#, SlotKind::TimeNs),
            (br#""tradeId":"#, SlotKind::Hex),
        ],
        "/market/ticker" => &[(br#""sequence":"#, SlotKind::Id(Bound::Only)), (br#""time":"#, SlotKind::Time)],
        "/market/level2" => &[
            (br#""sequenceStart":"#, SlotKind::Id(Bound::First)),
            (br#""sequenceEnd":"#, SlotKind::Id(Bound::Last)),
            (br#""time":"#, SlotKind::Time),
        ],
        "/market/candles" => &[(br#""candles":["#, SlotKind::KlineOpenS(60_000)), (br#""time":"#, SlotKind::TimeNs)],
        "/market/snapshot" => &[(br#""datetime":"#, SlotKind::Time)],
        "/contractMarket/execution" | "/contractMarket/tickerV2" => &[
            (br#""sequence":"#, SlotKind::Id(Bound::Only)),
            (br#""sn":"#, SlotKind::Seq),
            (br#""ts":"#, SlotKind::TimeNs),
        ],
        "/contractMarket/level2" => &[
            (br#""sequence":"#, SlotKind::Id(Bound::Only)),
            (br#""sn":"#, SlotKind::Seq),
            (br#""timestamp":"#, SlotKind::Time),
        ],
        _ => &[(br#""timestamp":"#, SlotKind::Time)],
    };
    let from = slots.len();
    for &(key, kind) in kinds {
        slots.extend(memchr::memmem::find(frame, key).and_then(|at| integer_slot(frame, at + key.len(), kind)));
    }
    if channel == "/market/level2" {
        level_sequences(frame, slots);
    }
    let found = slots.get_mut(from..).unwrap_or(&mut []);
    found.sort_by_key(|slot| slot.at);
    found.iter().find_map(|slot| match slot.kind {
        SlotKind::Time => Some(slot.value),
        SlotKind::TimeNs => Some(slot.value.div_euclid(1_000_000)),
        _ => None,
    })
}

/// The third text of every `["price","size","sequence"]`.
fn level_sequences(frame: &[u8], slots: &mut Vec<Slot>) {
    let mut texts = 0;
    let mut at = 0;
    while let Some(&byte) = frame.get(at) {
        match byte {
            b'[' => texts = 0,
            b'"' => {
                let Some(end) = memchr::memchr(b'"', frame.get(at + 1..).unwrap_or(&[])) else { return };
                texts += 1;
                if texts == 3 && frame.get(at + end + 2) == Some(&b']') {
                    slots.extend(integer_slot(frame, at, SlotKind::Seq));
                }
                at += end + 1;
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sequences_are_found_in_texts_and_numbers_and_levels() {
        let frame = br#"{"data":{"sequenceStart":41,"symbol":"A-B","changes":{"asks":[["0.1","0","41"]],"bids":[["9","1","42"]]},"sequenceEnd":42},"subject":"trade.l2update","topic":"/market/level2:A-B","type":"message"}"#;
        assert_eq!(topic(frame).unwrap(), "/market/level2:A-B");
        let mut slots = Vec::new();
        assert_eq!(find_slots("/market/level2", frame, &mut slots), None);
        let found: Vec<_> = slots.iter().map(|slot| (slot.kind, slot.value)).collect();
        let ids = [
            (SlotKind::Id(Bound::First), 41),
            (SlotKind::Seq, 41),
            (SlotKind::Seq, 42),
            (SlotKind::Id(Bound::Last), 42),
        ];
        assert_eq!(found, ids);
        let frame = br#"{"data":{"sequence":"7","time":"1619378336197407320","tradeId":"6085c0a069bc50686d66da3c"},"topic":"/market/match:A-B","type":"message"}"#;
        slots.clear();
        assert_eq!(find_slots("/market/match", frame, &mut slots), Some(1_619_378_336_197));
        assert_eq!(slots.last().map(|slot| (slot.kind, slot.value)), Some((SlotKind::Hex, 0x6d66_da3c)));
    }

    #[test]
    fn control_frames_have_no_topic() {
        assert_eq!(topic(br#"{"id":"1","type":"ack"}"#), None);
    }
}
