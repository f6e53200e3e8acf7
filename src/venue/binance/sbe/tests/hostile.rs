//! Later versions, damaged frames, and bytes of someone who means harm.

use proptest::prelude::*;

use super::vectors::{BEST, DIFF, SNAPSHOT, TRADES};
use super::*;
use model::row::Side;

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![0..=i64::MAX, 0_i64..1_000_000_000_000, Just(0), -1_000_000_i64..0]
}

fn levels() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((number(), number()), 0..25)
}

fn plain() -> impl Strategy<Value = Plain> {
    let time = 0..=i64::MAX;
    let id = (i64::MIN + 1)..=i64::MAX;
    let trade = (id.clone(), number(), number(), any::<bool>());
    prop_oneof![
        (time.clone(), time.clone(), prop::collection::vec(trade, 0..40))
            .prop_map(|(event, transact, trades)| Plain::Trades { event, transact, trades }),
        (time.clone(), id.clone(), prop::array::uniform4(number())).prop_map(|(event, id, prices)| Plain::Best {
            event,
            id,
            prices
        }),
        (time.clone(), id.clone(), levels(), levels()).prop_map(|(event, id, bids, asks)| Plain::Snapshot {
            event,
            id,
            bids,
            asks
        }),
        (time, id.clone(), id, levels(), levels()).prop_map(|(event, first, last, bids, asks)| Plain::Diff {
            event,
            first,
            last,
            bids,
            asks
        }),
    ]
}

fn newer() -> impl Strategy<Value = Newer> {
    let added = (0_u16..3, 0_u16..40, 0_u16..40, 0_usize..40);
    added.prop_map(|(version, root, entry, tail)| Newer { version, root, entry, tail })
}

/// What must come back.
fn expected(message: &Plain, (pe, qe): (i8, i8), symbol: &str) -> Seen {
    let price = |mantissa: i64| Num { mantissa: mantissa.into(), scale: pe.unsigned_abs() };
    let amount = |mantissa: i64| Num { mantissa: mantissa.into(), scale: qe.unsigned_abs() };
    let mut seen = Seen { symbol: symbol.to_owned(), ..Seen::default() };
    let book = |ts: i64, first, last, is_snapshot, bids: &[(i64, i64)], asks: &[(i64, i64)], seen: &mut Seen| {
        for (bid, side) in [(true, bids), (false, asks)] {
            let side =
                (0..).zip(side).map(|(level, (p, q))| Level { bid, level, price: price(*p), amount: amount(*q) });
            seen.levels.extend(side);
        }
        seen.depth.push(DepthUpdate {
            symbol: SymbolId(0),
            ts_event_us: Some(ts),
            first_update_id: Some(first),
            final_update_id: Some(last),
            prev_update_id: None,
            is_snapshot,
            first_level: 0,
            level_count: (bids.len() + asks.len()) as u32,
        });
    };
    match message {
        Plain::Trades { event, transact, trades } => {
            seen.trades.extend(trades.iter().map(|(id, p, q, maker)| Trade {
                symbol: SymbolId(0),
                ts_event_us: Some(*event),
                ts_trade_us: Some(*transact),
                id: Some(*id),
                id_str: None,
                price: price(*p),
                amount: amount(*q),
                side: if *maker { Side::Sell } else { Side::Buy },
                kind: None,
            }));
        }
        Plain::Best { event, id, prices } => seen.tickers.push(BookTicker {
            symbol: SymbolId(0),
            ts_event_us: Some(*event),
            update_id: Some(*id),
            bid_price: Some(price(prices[0])),
            bid_amount: Some(amount(prices[1])),
            ask_price: Some(price(prices[2])),
            ask_amount: Some(amount(prices[3])),
        }),
        Plain::Snapshot { event, id, bids, asks } => book(*event, *id, *id, true, bids, asks, &mut seen),
        Plain::Diff { event, first, last, bids, asks } => book(*event, *first, *last, false, bids, asks, &mut seen),
    }
    seen
}

/// Whatever the bytes are: an answer, never more rows than fit the frame, and the cheap look agrees.
fn survives(frame: &[u8]) {
    let (result, seen, _) = decode(frame);
    assert!(seen.trades.len() * 25 <= frame.len() && seen.levels.len() * 16 <= frame.len());
    assert!(seen.trades.capacity() * 25 <= 4 * frame.len() + 1000);
    let key = sbe().frames.stream_of(frame, true);
    if let Ok(Decoded::Rows(channel)) = result {
        let key = key.unwrap();
        assert_eq!((sbe().frames.channel_of(key), key.symbol), (Some(channel), seen.symbol.as_bytes()));
    }
    let _ = sbe().frames.control(frame);
}

proptest! {
    #[test]
    fn what_is_written_in_any_version_reads_back(
        message in plain(),
        exponents in (-18_i8..=0, -18_i8..=0),
        symbol in "[A-Z0-9]{1,20}|\\PC{1,30}",
        newer in newer(),
    ) {
        let (result, seen, drift) = decode(&encode(&message, exponents, &symbol, newer));
        prop_assert!(result.is_ok(), "{result:?}");
        prop_assert_eq!(&seen, &expected(&message, exponents, &symbol));
        let groups = usize::from(newer.entry) * (seen.trades.len() + seen.levels.len());
        let longer = usize::from(newer.root) + groups + newer.tail > 0;
        prop_assert_eq!(drift.items.len(), usize::from(longer) + usize::from(newer.version > 0));
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused(message in plain(), newer in newer(), symbol in "[A-Z]{1,12}") {
        let newer = Newer { tail: 0, ..newer };
        let frame = encode(&message, (-8, -8), &symbol, newer);
        for end in 0..frame.len() {
            let (result, seen, _) = decode(&frame[..end]);
            prop_assert!(matches!(result, Err(DecodeError::Malformed { .. })), "{end}: {result:?}");
            prop_assert_eq!(seen, Seen::default());
            survives(&frame[..end]);
        }
    }

    #[test]
    fn any_bytes_behind_a_good_header_are_survived(
        template in 9_999_u16..=10_004,
        block in any::<u16>(),
        schema in 0_u16..3,
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut frame: Vec<u8> = [block, template, schema, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
        frame.extend(rest);
        survives(&frame);
    }

    #[test]
    fn a_good_frame_with_bytes_changed_is_survived(
        message in plain(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut frame = encode(&message, (-8, -8), "BTCUSDT", Newer::default());
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        survives(&frame);
    }
}

#[test]
fn lengths_and_counts_that_are_not_there_are_refused() {
    let with = |frame: &str, at: usize, bytes: &[u8]| {
        let mut frame = hex(frame);
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        survives(&frame);
        decode(&frame).0
    };
    let malformed = |at, what: &str| Err(DecodeError::Malformed { at, what: what.to_owned() });
    // A root block of 17 bytes lacks a known field, one of 65535 is not there.
    for frame in [TRADES, BEST, SNAPSHOT, DIFF] {
        assert_eq!(with(frame, 0, &17_u16.to_le_bytes()), malformed(8, "a root block"));
        assert_eq!(with(frame, 0, &u16::MAX.to_le_bytes()), malformed(8, "a root block"));
    }
    assert_eq!(with(TRADES, 26, &24_u16.to_le_bytes()), malformed(32, "trades"));
    assert_eq!(with(TRADES, 26, &0_u16.to_le_bytes()), malformed(32, "trades"));
    assert_eq!(with(TRADES, 28, &u32::MAX.to_le_bytes()), malformed(32, "trades"));
    assert_eq!(with(TRADES, 26, &[0xff; 6]), malformed(32, "trades"));
    assert_eq!(with(SNAPSHOT, 26, &15_u16.to_le_bytes()), malformed(30, "bids or asks"));
    assert_eq!(with(SNAPSHOT, 28, &u16::MAX.to_le_bytes()), malformed(30, "bids or asks"));
    // No entries: their length says nothing, the rest must still fit.
    assert_eq!(with(DIFF, 54, &[0; 4]), Ok(Decoded::Rows(Channel::Depth)));
    let symbol = hex(BEST).len() - 8;
    for length in [8, 255] {
        assert_eq!(with(BEST, symbol, &[length]), malformed(symbol, "a symbol"));
    }
    assert_eq!(with(BEST, symbol, &[0]), malformed(symbol, "a symbol in UTF-8"));
    assert_eq!(with(BEST, symbol + 1, &[0xff]), malformed(symbol, "a symbol in UTF-8"));
    assert_eq!(
        with(BEST, 8, &[0xff; 8]),
        Err(DecodeError::Field { message: "BestBidAskStreamEvent", field: "eventTime" })
    );
}

#[test]
fn a_symbol_longer_than_any_is_refused() {
    let plain = Plain::Best { event: 1, id: 1, prices: [1; 4] };
    let decoded = |n| decode(&encode(&plain, (0, 0), &"X".repeat(n), Newer::default())).0;
    assert!(decoded(128).is_ok());
    assert!(decoded(129).is_err() && decoded(255).is_err());
}
