//! Frames composed by hand from the schema, to their rows; and the market around them.

use super::super::super::super::{Continuity, Control, Limits, Verb, Want};
use super::*;
use model::row::Side;

/// Two trades: 5000000001 of 0.00150 at 90000.12, sold; 5000000002 of 0.25000 at 90000.13, bought.
pub(super) const TRADES: &str = "1200102701000000 4022224648470600 0822224648470600 fefb190002000000 01f2052a01000000
    4c54890000000000 9600000000000000 0102f2052a010000 004d548900000000 00a8610000000000 0000074254435553 4454";
/// Update 81234567890: 1.20000 at 90000.11 bid, 0.34000 at 90000.12 asked.
pub(super) const BEST: &str = "3200112701000000 4022224648470600 d222f5e912000000 fefb4b5489000000 0000c0d401000000
    00004c5489000000 0000d08400000000 0000074254435553 4454";
/// Update 81234567891: one bid, two asks.
pub(super) const SNAPSHOT: &str = "1200122701000000 4022224648470600 d322f5e912000000 fefb100001004b54 890000000000c0d4
    0100000000001000 02004c5489000000 0000d08400000000 0000545489000000 0000010000000000 0000074254435553 4454";
/// Updates 81234567892 to 81234567899: the bid 90000.11 is gone.
pub(super) const DIFF: &str = "1a00132701000000 4022224648470600 d422f5e912000000 db22f5e912000000 fefb100001004b54
    8900000000000000 0000000000001000 0000074254435553 4454";

const EVENT_US: i64 = 1_767_225_600_123_456;

fn num(mantissa: impl Into<i128>, scale: u8) -> Num {
    let mantissa = mantissa.into();
    Num { mantissa, scale }
}

#[test]
fn one_frame_of_trades_becomes_a_row_for_each_of_them() {
    let (result, seen, drift) = decode(&hex(TRADES));
    assert_eq!(result, Ok(Decoded::Rows(Channel::Trades)));
    assert!(drift.items.is_empty());
    let first = Trade {
        symbol: SymbolId(0),
        ts_event_us: Some(EVENT_US),
        ts_trade_us: Some(1_767_225_600_123_400),
        id: Some(5_000_000_001),
        id_str: None,
        price: num(9_000_012, 2),
        amount: num(150, 5),
        side: Side::Sell,
        kind: None,
    };
    let second = Trade {
        id: Some(5_000_000_002),
        price: num(9_000_013, 2),
        amount: num(25_000, 5),
        side: Side::Buy,
        ..first.clone()
    };
    assert_eq!(seen, Seen { trades: vec![first, second], symbol: "BTCUSDT".to_owned(), ..Seen::default() });
}

#[test]
fn best_bid_and_ask_become_one_row() {
    let (result, seen, drift) = decode(&hex(BEST));
    assert_eq!(result, Ok(Decoded::Rows(Channel::BookTicker)));
    assert!(drift.items.is_empty());
    let row = BookTicker {
        symbol: SymbolId(0),
        ts_event_us: Some(EVENT_US),
        update_id: Some(81_234_567_890),
        bid_price: Some(num(9_000_011, 2)),
        bid_amount: Some(num(120_000, 5)),
        ask_price: Some(num(9_000_012, 2)),
        ask_amount: Some(num(34_000, 5)),
    };
    assert_eq!(seen, Seen { tickers: vec![row], symbol: "BTCUSDT".to_owned(), ..Seen::default() });
}

#[test]
fn the_best_levels_are_a_whole_book_and_changes_are_not() {
    let level = |bid, level, price, amount| Level { bid, level, price: num(price, 2), amount: num(amount, 5) };
    let (result, seen, _) = decode(&hex(SNAPSHOT));
    assert_eq!(result, Ok(Decoded::Rows(Channel::Depth)));
    let book = DepthUpdate {
        symbol: SymbolId(0),
        ts_event_us: Some(EVENT_US),
        first_update_id: Some(81_234_567_891),
        final_update_id: Some(81_234_567_891),
        prev_update_id: None,
        is_snapshot: true,
        first_level: 0,
        level_count: 3,
    };
    let levels =
        vec![level(true, 0, 9_000_011, 120_000), level(false, 0, 9_000_012, 34_000), level(false, 1, 9_000_020, 1)];
    assert_eq!(seen, Seen { depth: vec![book.clone()], levels, symbol: "BTCUSDT".to_owned(), ..Seen::default() });

    let (result, seen, _) = decode(&hex(DIFF));
    assert_eq!(result, Ok(Decoded::Rows(Channel::Depth)));
    let changes = DepthUpdate {
        first_update_id: Some(81_234_567_892),
        final_update_id: Some(81_234_567_899),
        is_snapshot: false,
        level_count: 1,
        ..book
    };
    let levels = vec![level(true, 0, 9_000_011, 0)];
    assert_eq!(seen, Seen { depth: vec![changes], levels, symbol: "BTCUSDT".to_owned(), ..Seen::default() });
}

#[test]
fn the_test_encoder_writes_the_composed_frames() {
    let exponents = (-2, -5);
    let trades = Plain::Trades {
        event: EVENT_US,
        transact: 1_767_225_600_123_400,
        trades: vec![(5_000_000_001, 9_000_012, 150, true), (5_000_000_002, 9_000_013, 25_000, false)],
    };
    let best = Plain::Best { event: EVENT_US, id: 81_234_567_890, prices: [9_000_011, 120_000, 9_000_012, 34_000] };
    let snapshot = Plain::Snapshot {
        event: EVENT_US,
        id: 81_234_567_891,
        bids: vec![(9_000_011, 120_000)],
        asks: vec![(9_000_012, 34_000), (9_000_020, 1)],
    };
    let diff = Plain::Diff {
        event: EVENT_US,
        first: 81_234_567_892,
        last: 81_234_567_899,
        bids: vec![(9_000_011, 0)],
        asks: vec![],
    };
    for (plain, frame) in [(trades, TRADES), (best, BEST), (snapshot, SNAPSHOT), (diff, DIFF)] {
        assert_eq!(encode(&plain, exponents, "BTCUSDT", Newer::default()), hex(frame), "{plain:?}");
    }
}

/// A frame with one trade of these mantissas and exponents: its price and amount, or the reason.
fn number(mantissa: i64, exponent: i8) -> Result<Num, DecodeError> {
    let plain = Plain::Trades { event: 1, transact: 1, trades: vec![(1, mantissa, 1, true)] };
    let (result, seen, _) = decode(&encode(&plain, (exponent, 0), "X", Newer::default()));
    result.map(|_| seen.trades[0].price)
}

#[test]
fn exponents_are_those_of_the_frame_and_numbers_stay_exact() {
    assert_eq!(number(6_183_763_000_000, -8), Ok(num(6_183_763_000_000_i64, 8)));
    assert_eq!(number(6_183_763, -2), Ok(num(6_183_763, 2)));
    assert_eq!(number(42, 0), Ok(num(42, 0)));
    assert_eq!(number(42, 3), Ok(num(42_000, 0)));
    assert_eq!(number(i64::MAX, -18), Ok(num(i64::MAX, 18)));
    assert_eq!(number(700, -20), Ok(num(7, 18)));
    assert_eq!((number(7, -19), number(1, 19)), (Ok(num(7, 19)), Ok(num(10_i128.pow(19), 0))));
    assert_eq!((number(i64::MAX, 1), number(-7, -38)), (Ok(num(i128::from(i64::MAX) * 10, 0)), Ok(num(-7, 38))));
    assert_eq!(number(0, 127), Ok(num(0, 0)));
    assert_eq!(number(0, -128), Ok(num(0, 0)));
    for (mantissa, exponent) in [(7, -39), (1, 38), (i64::MAX, 20), (1, 127), (1, -128), (i64::MIN, -8)] {
        assert!(number(mantissa, exponent).is_err(), "{mantissa}e{exponent}");
    }
}

#[test]
fn an_absent_side_is_no_price_and_an_absent_trade_price_is_refused() {
    let plain = Plain::Best { event: 1, id: 1, prices: [i64::MIN, i64::MIN, 5, 0] };
    let (result, seen, _) = decode(&encode(&plain, (0, 0), "X", Newer::default()));
    assert_eq!(result, Ok(Decoded::Rows(Channel::BookTicker)));
    assert_eq!((seen.tickers[0].bid_price, seen.tickers[0].ask_amount), (None, Some(num(0, 0))));
    let error = number(i64::MIN, -2).unwrap_err();
    assert_eq!(error.to_string(), "TradesStreamEvent: field price is missing or has the wrong type");
}

#[test]
fn a_flag_that_is_neither_true_nor_false_refuses_the_trade_and_the_frame_when_it_has_no_other() {
    let mut frame = hex(TRADES);
    let (_, all, _) = decode(&frame);
    frame[32 + 24] = 255;
    let (result, seen, _) = decode(&frame);
    assert_eq!((result, &seen.trades[..]), (Ok(Decoded::Rows(Channel::Trades)), &all.trades[1..]));
    let plain = Plain::Trades { event: 1, transact: 1, trades: vec![(1, 2, 3, true)] };
    let mut frame = encode(&plain, (0, 0), "X", Newer::default());
    frame[32 + 24] = 255;
    let error = decode(&frame).0.unwrap_err();
    assert_eq!(error, DecodeError::Field { message: "TradesStreamEvent", field: "isBuyerMaker" });
}

#[test]
fn unknown_templates_and_schemas_are_kept_by_name_and_counted() {
    let mut frame = hex(TRADES);
    frame[2..4].copy_from_slice(&10_004_u16.to_le_bytes());
    let (result, _, drift) = decode(&frame);
    assert_eq!(result, Err(DecodeError::UnknownType("SBE template 10004".to_owned())));
    assert_eq!(drift.items["SBE template 10004"].count, 1);
    assert_eq!(sbe().frames.stream_of(&frame, true), None);
    let mut frame = hex(BEST);
    frame[4..6].copy_from_slice(&2_u16.to_le_bytes());
    let (result, seen, drift) = decode(&frame);
    assert_eq!(result, Err(DecodeError::UnknownType("SBE schema 2".to_owned())));
    assert_eq!((seen, drift.items["SBE schema 2"].count), (Seen::default(), 1));
    assert_eq!(sbe().frames.stream_of(&frame, true), None);
}

#[test]
fn the_stream_of_a_frame_is_the_one_subscribed() {
    let streams = ["btcusdt@trade", "btcusdt@bestBidAsk", "btcusdt@depth20", "btcusdt@depth"];
    let channels = [Channel::Trades, Channel::BookTicker, Channel::Depth, Channel::Depth];
    for ((frame, stream), channel) in [TRADES, BEST, SNAPSHOT, DIFF].into_iter().zip(streams).zip(channels) {
        let frame = hex(frame);
        let key = sbe().frames.stream_of(&frame, true).unwrap();
        assert_eq!((key.channel.to_vec(), key.symbol.to_vec()), sbe().streams.stream_key(stream));
        assert_eq!(sbe().frames.channel_of(key), Some(channel));
        assert_eq!(sbe().frames.stream_of(&frame, false), None);
        // A damaged frame is still known to be one of that channel, but of no symbol.
        let damaged = sbe().frames.stream_of(&frame[..frame.len() - 1], true).unwrap();
        assert_eq!((sbe().frames.channel_of(damaged), damaged.symbol), (Some(channel), &b""[..]));
    }
    let plain = Plain::Best { event: 1, id: 1, prices: [1; 4] };
    let frame = encode(&plain, (0, 0), "币安人生USDT", Newer::default());
    let key = sbe().frames.stream_of(&frame, true).unwrap();
    assert_eq!((key.channel.to_vec(), key.symbol.to_vec()), sbe().streams.stream_key("币安人生usdt@bestBidAsk"));
}

#[test]
fn sockets_are_opened_without_a_stream_and_subscribed_in_one_message() {
    let channels = sbe().spec.channels;
    let wants: Vec<Want> =
        (0..70).flat_map(|i| channels.iter().map(move |c| Want { symbol: format!("S{i}USDT"), channel: *c })).collect();
    let limits = sbe().spec.limits.clone();
    let plans = sbe().streams.plan(&wants, &limits);
    let sizes: Vec<usize> = plans.iter().map(|p| p.streams.len()).collect();
    assert_eq!(sizes, [198, 12]);
    assert_eq!(plans[0].streams[..3], ["s0usdt@trade", "s0usdt@bestBidAsk", "s0usdt@depth"]);
    for plan in &plans {
        assert_eq!(sbe().streams.connect_url("wss://host", plan, None, "1"), "wss://host/ws");
        assert_eq!(sbe().streams.messages(Verb::Subscribe, &plan.streams, &limits, 1, 0).len(), 1);
    }
    let few = Limits { params_per_subscribe: 9, ..limits };
    let messages = sbe().streams.messages(Verb::Subscribe, &plans[1].streams, &few, 4, 0);
    assert_eq!(messages.len(), 2);
    assert!(messages[1].text.ends_with(r#""s69usdt@depth"],"id":5}"#), "{}", messages[1].text);
}

#[test]
fn the_upgrade_carries_the_key_and_ids_continue_as_on_the_json_streams() {
    assert!(sbe().spec.needs_api_key());
    assert_eq!(sbe().spec.headers(Some("k3y")), [("X-MBX-APIKEY", "k3y".to_owned())]);
    assert_eq!(sbe().spec.headers(None), []);
    assert_eq!(sbe().spec.pace_group, venue(VenueId::BinanceSpot).spec.pace_group);
    let continuity = [Channel::Trades, Channel::Depth, Channel::BookTicker].map(|c| sbe().spec.continuity(c));
    assert_eq!(continuity, [Continuity::TradeId, Continuity::DepthFirstFinal, Continuity::None]);
    let snapshot = sbe().rest.snapshot_request("BTCUSDT", 1000).unwrap();
    assert_eq!(snapshot.path_and_query, "/api/v3/depth?symbol=BTCUSDT&limit=1000");
    assert_eq!(sbe().spec.rest_base, "https://api.binance.com");
}

#[test]
fn any_text_that_accepts_nothing_is_a_refusal_and_stays_in_the_lake() {
    let refused = |id, code, msg: &str, throttled| Some(Control::Error { id, code, msg: msg.to_owned(), throttled });
    let known = [
        (r#"{"result":null,"id":1}"#, Some(Control::Ack { id: Some(1) })),
        (r#"{"code":2,"msg":"Invalid","id":4}"#, refused(Some(4), 2, "Invalid", false)),
        (r#"{"error":{"code":-3,"msg":"bad"},"id":5}"#, refused(Some(5), -3, "bad", false)),
        (r#"{"e":"serverShutdown","E":1770123456789}"#, Some(Control::ServerShutdown)),
    ];
    let strange = [
        ("Too many requests", refused(None, 0, "Too many requests", true)),
        (r#"{"id":7}"#, refused(None, 0, r#"{"id":7}"#, false)),
        (r#"{"stream":"x@trade","data":{}}"#, refused(None, 0, r#"{"stream":"x@trade","data":{}}"#, false)),
        ("", None),
    ];
    let text = |payload: &str| {
        let frame = Frame { kind: FrameKind::Text, payload: payload.as_bytes(), rest: None };
        sbe().frames.decode(&frame, &mut Rows::new())
    };
    for (frame, control) in known {
        assert_eq!(sbe().frames.control(frame.as_bytes()), control, "{frame}");
        assert_eq!(text(frame), Ok(Decoded::Control), "{frame}");
    }
    for (frame, control) in strange {
        assert_eq!(sbe().frames.control(frame.as_bytes()), control, "{frame}");
        assert_eq!(text(frame), Err(DecodeError::UnknownType("text".to_owned())), "{frame}");
    }
    for frame in [TRADES, BEST, SNAPSHOT, DIFF] {
        assert_eq!(sbe().frames.control(&hex(frame)), None);
    }
}
