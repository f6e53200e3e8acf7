//! Recorded minutes of the JSON streams as binary frames: the same rows and ids; and real frames where they are
//! at hand.
//!
//! Complete binary frames were only found without a licence, so none is in this repository. Where such a
//! collection is, `TAPEDECK_SHARED_DATA` names its folder; without it those tests say so and do nothing.

use std::path::PathBuf;

use super::super::super::super::gap::GapTracker;
use super::super::super::tests::{data, frame_of};
use super::*;
use model::row::Side;

/// The rows of the first `n` recorded frames with their receive time, each with the frame that would have carried
/// them.
fn as_sbe(n: usize) -> Vec<(u64, Rows, Vec<u8>)> {
    let json = venue(VenueId::BinanceSpot);
    let bytes = data("binance-spot/hft-btcusdt_20240809.zst");
    let mut frames = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        let Some(payload) = frame_of(line).filter(|f| f.starts_with(b"{\"stream\"")) else { continue };
        if frames.len() == n {
            break;
        }
        let received = line.split(|b| *b == b' ').next().unwrap();
        let received: u64 = std::str::from_utf8(received).unwrap().parse().unwrap();
        let mut rows = Rows::new();
        json.frames.decode(&Frame { kind: FrameKind::Text, payload, rest: None }, &mut rows).unwrap();
        for ticker in &mut rows.book_tickers {
            // The JSON stream sends no time.
            ticker.ts_event_us = Some((received / 1000) as i64);
        }
        let plain = plain(&rows);
        frames.push((received, rows, encode(&plain, (-8, -8), "BTCUSDT", Newer::default())));
    }
    frames
}

/// The mantissa as the wire has it.
fn word(n: Num) -> i64 {
    n.mantissa as i64
}

fn plain(rows: &Rows) -> Plain {
    let side = |bid: bool| {
        let levels = rows.levels.iter().filter(move |l| l.bid == bid);
        levels.map(|l| (word(l.price), word(l.amount))).collect::<Vec<_>>()
    };
    if let [t] = &rows.trades[..] {
        let trade = (t.id.unwrap(), word(t.price), word(t.amount), t.side == Side::Sell);
        return Plain::Trades { event: t.ts_event_us.unwrap(), transact: t.ts_trade_us.unwrap(), trades: vec![trade] };
    }
    if let [b] = &rows.book_tickers[..] {
        let prices = [b.bid_price, b.bid_amount, b.ask_price, b.ask_amount].map(|n| word(n.unwrap()));
        return Plain::Best { event: b.ts_event_us.unwrap(), id: b.update_id.unwrap(), prices };
    }
    let [d] = &rows.depth[..] else { panic!("rows of no known table") };
    Plain::Diff {
        event: d.ts_event_us.unwrap(),
        first: d.first_update_id.unwrap(),
        last: d.final_update_id.unwrap(),
        bids: side(true),
        asks: side(false),
    }
}

#[test]
fn binary_frames_of_a_recording_give_the_rows_of_its_json() {
    let frames = as_sbe(20_000);
    assert_eq!(frames.len(), 20_000);
    let mut tables = [0_usize; 3];
    for (_, json, frame) in frames {
        let (result, seen, drift) = decode(&frame);
        assert!(result.is_ok() && drift.items.is_empty());
        let there = Seen {
            trades: json.trades,
            tickers: json.book_tickers,
            depth: json.depth,
            levels: json.levels,
            symbol: "BTCUSDT".to_owned(),
        };
        assert_eq!(seen, there);
        let counts = [seen.trades.len(), seen.tickers.len(), seen.depth.len()];
        tables.iter_mut().zip(counts).for_each(|(all, n)| *all += n);
    }
    assert!(tables.iter().all(|n| *n > 500), "{tables:?}");
}

#[test]
fn ids_continue_across_and_inside_frames_and_a_lost_frame_is_one_gap() {
    let trades: Vec<_> = as_sbe(20_000).into_iter().filter_map(|(_, rows, _)| rows.trades.first().cloned()).collect();
    // Seven trades to a frame, as a busy second has them.
    let frames: Vec<Vec<u8>> = trades
        .chunks(7)
        .map(|chunk| {
            let trades = chunk.iter().map(|t| (t.id.unwrap(), word(t.price), word(t.amount), false));
            let plain = Plain::Trades { event: 1, transact: 1, trades: trades.collect() };
            encode(&plain, (-8, -8), "BTCUSDT", Newer::default())
        })
        .collect();
    let gaps = |lost: usize| {
        let mut tracker = GapTracker::new(sbe());
        let mut found = Vec::new();
        let mut seen = 0;
        for (_, payload) in frames.iter().enumerate().filter(|(i, _)| *i != lost) {
            let mut rows = Rows::new();
            sbe().frames.decode(&Frame { kind: FrameKind::Binary, payload, rest: None }, &mut rows).unwrap();
            tracker.observe_rows(&rows, &mut Vec::new(), &mut |gap| found.push((gap.channel, gap.row)));
            seen += rows.trades.len();
        }
        (found, seen)
    };
    assert_eq!(gaps(usize::MAX), (vec![], trades.len()));
    assert_eq!(gaps(11), (vec![(Channel::Trades, 0)], trades.len() - 7));
}

/// The folder of frames that may not be copied.
fn shared(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TAPEDECK_SHARED_DATA").map(|root| PathBuf::from(root).join("binance-spot-sbe"));
    if folder.is_none() {
        eprintln!("{test}: skipped, TAPEDECK_SHARED_DATA is not set");
    }
    folder
}

#[test]
fn real_frames_decode_as_others_decoded_them() {
    let Some(folder) = shared("real frames") else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "sbe") {
            continue;
        }
        let frame = std::fs::read(&path).unwrap();
        let (result, seen, drift) = decode(&frame);
        assert_eq!(result, Ok(Decoded::Rows(Channel::Depth)), "{}", path.display());
        assert!(drift.items.is_empty(), "{}", path.display());
        let text = std::fs::read_to_string(path.with_extension("expected.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        let depth = &seen.depth[0];
        let id = |key: &str| expected.get(key).and_then(serde_json::Value::as_i64);
        assert_eq!(depth.ts_event_us, id("eventTime"));
        assert_eq!(depth.first_update_id, id("bookUpdateId").or(id("U")));
        assert_eq!(depth.final_update_id, id("bookUpdateId").or(id("u")));
        let parse = |v: &serde_json::Value| Num::parse(v.as_str().unwrap().as_bytes()).unwrap();
        let mut levels = Vec::new();
        for (bid, key) in [(true, "bids"), (false, "asks")] {
            for (level, pair) in (0..).zip(expected[key].as_array().unwrap()) {
                levels.push(Level { bid, level, price: parse(&pair[0]), amount: parse(&pair[1]) });
            }
        }
        assert_eq!(seen.levels, levels);
        assert!(path.to_string_lossy().contains(&seen.symbol), "{}", seen.symbol);
        let side = |bid| levels.iter().filter(|l| l.bid == bid).map(|l| (word(l.price), word(l.amount))).collect();
        let (bids, asks) = (side(true), side(false));
        let (event, first, last) =
            (depth.ts_event_us.unwrap(), depth.first_update_id.unwrap(), depth.final_update_id.unwrap());
        let plain = match depth.is_snapshot {
            true => Plain::Snapshot { event, id: first, bids, asks },
            false => Plain::Diff { event, first, last, bids, asks },
        };
        assert_eq!(encode(&plain, (-8, -8), &seen.symbol, Newer::default()), frame, "the encoder differs");
        checked += 1;
    }
    assert!(checked >= 3, "{checked} frames in {}", folder.display());
}

#[test]
fn the_start_of_a_real_frame_is_known_by_its_channel_and_refused() {
    let Some(folder) = shared("real prefixes") else { return };
    let text = std::fs::read_to_string(folder.join("real-prefixes.hex")).unwrap();
    let mut checked = 0;
    for (id, bytes) in text.lines().filter_map(|l| l.split_once(' ')).filter(|(id, _)| id.starts_with("100")) {
        let frame = hex(bytes);
        let channel = if id == "10001" { Channel::BookTicker } else { Channel::Depth };
        let key = sbe().frames.stream_of(&frame, true).unwrap();
        assert_eq!((sbe().frames.channel_of(key), key.symbol), (Some(channel), &b""[..]));
        assert!(matches!(decode(&frame).0, Err(DecodeError::Malformed { .. })));
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn frames_that_others_derived_from_the_recording_are_the_ones_we_would_write() {
    let Some(folder) = shared("derived frames") else { return };
    let file = std::fs::File::open(folder.join("derived-btcusdt_20240809.frames.zst")).unwrap();
    let bytes = zstd::decode_all(file).unwrap();
    let mut rest = &bytes[..];
    for (n, (received, _, frame)) in as_sbe(20_000).into_iter().enumerate() {
        let (head, tail) = rest.split_at(12);
        let length = u32::from_le_bytes(head[8..].try_into().unwrap()) as usize;
        assert_eq!((&head[..8], &tail[..length]), (&received.to_le_bytes()[..], &frame[..]), "frame {n}");
        rest = &tail[length..];
    }
    assert!(rest.is_empty());
}
