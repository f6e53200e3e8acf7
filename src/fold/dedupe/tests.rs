//! Two connections with lost frames and delays of their own, against a model that remembers every event.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use proptest::prelude::*;
use wal_format::{Kind, Position, RecordRef, Seq, record::flags as log_flags};

use super::arrival::{Again, KEEP_NS};
use super::lines::OPENING_NS;
use super::*;
use crate::gather::{Continuation, Gatherer, LogKind};
use lake::{PartManifest, WriteSettings, flags};
use model::{Channel, VenueId};
use venue::venue;

const MS: u64 = 1_000_000;
const T0: u64 = 1_723_161_600_000_000_000;

/// One record of a log.
#[derive(Clone, Debug)]
struct Rec {
    ts: u64,
    conn: u32,
    kind: Kind,
    second: bool,
    payload: String,
}

fn open(ts: u64, conn: u32, line: u32) -> Rec {
    Rec { ts, conn, kind: Kind::ConnOpen, second: false, payload: format!(r#"{{"url":"x","line":{line}}}"#) }
}

fn close(ts: u64, conn: u32) -> Rec {
    Rec { ts, conn, kind: Kind::ConnClose, second: false, payload: r#"{"cause":"server"}"#.to_owned() }
}

fn data(ts: u64, conn: u32, second: bool, payload: String) -> Rec {
    Rec { ts, conn, kind: Kind::Data, second, payload }
}

/// The n-th event of the venue: trades, tickers, book changes and mark prices of two symbols in turn.
fn event(n: u64) -> String {
    let symbol = ["BTCUSDT", "ETHUSDT"][(n / 4 % 2) as usize];
    let low = symbol.to_lowercase();
    let id = 1 + n / 8;
    match n % 4 {
        0 => format!(
            r#"{{"stream":"{low}@aggTrade","data":{{"e":"aggTrade","E":{n},"s":"{symbol}","a":{id},"p":"1.5","q":"2","f":{id},"l":{id},"T":{n},"m":true}}}}"#
        ),
        1 => format!(
            r#"{{"stream":"{low}@bookTicker","data":{{"e":"bookTicker","u":{},"E":{n},"T":{n},"s":"{symbol}","b":"1","B":"1","a":"2","A":"1"}}}}"#,
            1_000 + n * 7
        ),
        2 => format!(
            r#"{{"stream":"{low}@depth@100ms","data":{{"e":"depthUpdate","E":{n},"T":{n},"s":"{symbol}","U":{},"u":{},"pu":{},"b":[["1","{n}"]],"a":[]}}}}"#,
            id * 10 + 3,
            id * 10 + 9,
            id * 10 - 1
        ),
        _ => format!(
            r#"{{"stream":"{low}@markPrice@1s","data":{{"e":"markPriceUpdate","E":{n},"s":"{symbol}","p":"1.25","i":"1.2","P":"1","r":"0.0001","T":9}}}}"#
        ),
    }
}

/// What a run over a log gave.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Seqs of the records whose row stayed, by table.
    kept: Vec<(Table, Vec<i64>)>,
    duplicates: u64,
    gaps: Vec<(String, String, i64, i64)>,
    second_line_rows: u64,
}

/// Folds `log`; the gatherer is saved as JSON and loaded again before each record in `restarts`.
fn fold(log: &[Rec], restarts: &HashSet<usize>) -> (Outcome, Vec<lake::manifest::Line>) {
    let usdm = venue(VenueId::BinanceUsdm);
    let gatherer = |c: &Continuation| Gatherer::new(usdm, LogKind::Collected, WriteSettings::default(), c).unwrap();
    let mut g = gatherer(&Continuation::default());
    let tables = [Table::AggTrades, Table::BookTicker, Table::Depth, Table::MarkPrice];
    let mut out = Outcome {
        kept: tables.map(|t| (t, Vec::new())).to_vec(),
        duplicates: 0,
        gaps: Vec::new(),
        second_line_rows: 0,
    };
    let mut lines = Vec::new();
    let mut take = |g: &mut Gatherer| {
        let Some((part, symbols)) = g.part_and_symbols() else { return };
        for (table, seqs) in &mut out.kept {
            let chunk = part.buffer(*table).take_first(usize::MAX, symbols);
            seqs.extend((0..chunk.rows()).map(|i| chunk.key(i).unwrap().0));
        }
        out.duplicates += part.account.repeated;
        out.gaps.extend(part.account.gaps.iter().map(|g| (g.channel.clone(), g.symbol.clone(), g.from_id, g.to_id)));
        lines = part.account.lines.lines();
    };
    for (i, r) in log.iter().enumerate() {
        if restarts.contains(&i) {
            take(&mut g);
            let text = serde_json::to_string(&g.continuation()).unwrap();
            let saved: Continuation = serde_json::from_str(&text).unwrap();
            g = gatherer(&saved);
            assert_eq!(g.continuation(), saved, "loaded and saved again it is the same");
        }
        g.record(&RecordRef {
            position: Position::START,
            next: Position::START,
            seq: Seq(i as u64 + 1),
            ts_recv_ns: r.ts,
            conn: r.conn,
            kind_raw: r.kind as u8,
            flags: if r.second { log_flags::SECOND_LINE } else { 0 },
            payload: r.payload.as_bytes(),
        });
    }
    g.finish();
    take(&mut g);
    out.second_line_rows = log.iter().filter(|r| r.second).count() as u64;
    (out, lines)
}

/// What came over each of two connections: (lost on the first, lost on the second, delays in ms).
type Fate = (bool, bool, u64, u64);

/// The log of two connections over which the events came with these fates, 3 ms apart.
fn two_lines(fates: &[Fate]) -> (Vec<Rec>, Vec<u64>) {
    let mut log = Vec::new();
    let mut of_record: Vec<(Rec, u64)> = Vec::new();
    for (n, (lost_a, lost_b, delay_a, delay_b)) in (0_u64..).zip(fates) {
        let at = T0 + n * 3 * MS;
        // One connection keeps its order: a delay holds up what comes after it.
        let mut push = |conn: u32, delay: u64| {
            let before = of_record.iter().rev().find(|(r, _)| r.conn == conn).map_or(0, |(r, _)| r.ts);
            let ts = (at + delay * MS).max(before + 1);
            of_record.push((data(ts, conn, conn == 2, event(n)), n));
        };
        if !lost_a {
            push(1, *delay_a);
        }
        if !lost_b {
            push(2, *delay_b);
        }
    }
    of_record.sort_by_key(|(r, _)| (r.ts, r.conn));
    log.push(open(T0 - 2, 1, 0));
    log.push(open(T0 - 1, 2, 1));
    let mut events = vec![u64::MAX, u64::MAX];
    for (r, n) in of_record {
        log.push(r);
        events.push(n);
    }
    (log, events)
}

/// Seqs of the records that brought their event first, by table.
fn first_arrivals(events: &[u64]) -> Vec<Vec<i64>> {
    let mut seen = HashSet::new();
    let mut tables = vec![Vec::new(); 4];
    for (i, n) in events.iter().enumerate().filter(|(_, n)| **n != u64::MAX) {
        if seen.insert(*n) {
            tables[(*n % 4) as usize].push(i as i64 + 1);
        }
    }
    tables
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), 0..40_u64, 0..40_u64);
    prop::collection::vec(fate, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_union_of_two_lossy_lines_is_there_exactly_once_in_the_order_of_arrival(fates in fates()) {
        let (log, events) = two_lines(&fates);
        let (out, lines) = fold(&log, &HashSet::new());
        let expected = first_arrivals(&events);
        for ((table, kept), expected) in out.kept.iter().zip(&expected) {
            prop_assert_eq!(kept, expected, "{}", table);
        }
        let data = events.len() as u64 - 2;
        let first: u64 = expected.iter().map(|e| e.len() as u64).sum();
        prop_assert_eq!(out.duplicates, data - first);
        prop_assert_eq!(lines.iter().map(|l| l.frames).sum::<u64>(), data);
        prop_assert_eq!(lines.iter().map(|l| l.first).sum::<u64>(), first);
        // Exactly the aggregates that neither line brought are reported missing.
        for (s, symbol) in ["BTCUSDT", "ETHUSDT"].iter().enumerate() {
            let of_symbol = |n: &u64| n.is_multiple_of(4) && (n / 4 % 2) as usize == s;
            let present: HashSet<u64> = events.iter().copied().filter(|n| *n != u64::MAX && of_symbol(n)).collect();
            let (low, high) = (present.iter().min().copied(), present.iter().max().copied());
            let missing: HashSet<i64> = (0..fates.len() as u64)
                .filter(|n| of_symbol(n) && Some(*n) > low && Some(*n) < high && !present.contains(n))
                .map(|n| (1 + n / 8) as i64)
                .collect();
            let reported: Vec<i64> = out.gaps.iter()
                .filter(|g| g.0 == "agg_trades" && g.1 == *symbol)
                .flat_map(|g| g.2..=g.3)
                .collect();
            prop_assert_eq!(reported.len(), missing.len());
            prop_assert_eq!(reported.into_iter().collect::<HashSet<_>>(), missing);
        }
    }

    #[test]
    fn saved_and_loaded_at_any_record_nothing_changes(
        fates in fates(),
        restarts in prop::collection::hash_set(0..600_usize, 0..40),
        closed in 0..600_usize,
    ) {
        let (mut log, _) = two_lines(&fates);
        // A connection that ends, and a third one that comes, in the middle of it.
        let at = closed % log.len();
        let ts = log[at].ts;
        log.insert(at, open(ts, 3, 0));
        log.insert(at, close(ts, 1));
        for r in log.iter_mut().skip(at + 2).filter(|r| r.conn == 1) {
            r.conn = 3;
        }
        let (whole, _) = fold(&log, &HashSet::new());
        let (parts, _) = fold(&log, &restarts);
        prop_assert_eq!(whole, parts);
    }
}

fn kept(out: &Outcome, table: Table) -> &[i64] {
    &out.kept.iter().find(|(t, _)| *t == table).unwrap().1
}

#[test]
fn a_venue_that_repeats_itself_on_one_connection_is_kept() {
    let log = [
        open(T0, 1, 0),
        open(T0, 2, 1),
        data(T0 + MS, 1, false, event(1)),
        data(T0 + 2 * MS, 1, false, event(1)),
        data(T0 + 3 * MS, 2, true, event(1)),
        data(T0 + 4 * MS, 2, true, event(1)),
        data(T0 + 5 * MS, 2, true, event(1)),
        data(T0 + 6 * MS, 1, false, event(1)),
    ];
    let (out, lines) = fold(&log, &HashSet::new());
    assert_eq!(kept(&out, Table::BookTicker), [3, 4, 7]);
    // Measured against the repeat that stayed last: the second line was 1 and 2 ms late, and 1 ms first once.
    assert_eq!(lines[0].ahead, 2);
    assert_eq!(lines[0].advantage_us, 1_500);
    assert_eq!((lines[1].ahead, lines[1].advantage_us), (1, 1_000));
}

#[test]
fn a_rotation_shows_each_event_once_and_leaves_no_memory_behind() {
    let mut log = vec![open(T0, 1, 0)];
    // The first two minutes of a connection are over.
    let start = T0 + OPENING_NS + MS;
    log.push(data(start, 1, false, event(1)));
    log.push(open(start + MS, 2, 0));
    for n in 2..10 {
        log.push(data(start + n * 3 * MS, 1, false, event(n)));
        log.push(data(start + n * 3 * MS + 1, 2, false, event(n)));
    }
    log.push(close(start + 100 * MS, 1));
    log.push(data(start + 101 * MS, 2, false, event(10)));
    let (out, _) = fold(&log, &HashSet::new());
    assert_eq!(out.kept.iter().map(|(_, k)| k.len()).sum::<usize>(), 10);
    assert_eq!(out.duplicates, 8);

    let mut d = Dedupe::default();
    d.record(T0);
    d.opened(1, b"{}");
    d.record(start);
    d.opened(2, b"{}");
    for i in 0..10_u64 {
        for conn in [1, 2] {
            bring(&mut d, i, Carrier { conn, line: 0 });
        }
    }
    assert!(d.is_overlapping() && d.window.len() == 10);
    d.closed(1);
    assert!(!d.is_overlapping(), "one connection is left");
    d.record(start + KEEP_NS);
    d.arrive(Carrier { conn: 2, line: 0 }, &Rows::new(), &mut Vec::new(), &mut LineCounts::default());
    assert_eq!((d.window.len(), d.bytes()), (0, 0));
}

/// A row of one stream that is known by `key`.
fn bring(d: &mut Dedupe, key: u64, from: Carrier) -> Option<Again> {
    d.behind.heard(from.conn, d.lines.now_ns());
    match d.stream_arrives(3, SymbolId(0), key::older(key).of_stream(7), from) {
        Arrival::Again(again) => Some(again),
        Arrival::New | Arrival::Conflict => None,
    }
}

fn two_open_lines(at: u64) -> Dedupe {
    let mut d = Dedupe::default();
    d.record(at);
    d.opened(1, br#"{"line":0}"#);
    d.opened(2, br#"{"line":1}"#);
    d
}

#[test]
fn what_both_lines_brought_is_forgotten_at_once_and_what_one_lost_after_a_while() {
    let mut d = two_open_lines(T0);
    let mut at = T0 + OPENING_NS;
    for key in 0..50_000 {
        at += MS;
        d.record(at);
        d.window.expire(at, &d.behind);
        assert_eq!(bring(&mut d, key, Carrier { conn: 1, line: 0 }), None);
        // The second line loses every fifth.
        if key % 5 != 0 {
            assert!(bring(&mut d, key, Carrier { conn: 2, line: 1 }).is_some());
        }
    }
    assert_eq!(d.window.len() as u64, KEEP_NS / MS / 5);
    assert_eq!(d.take_evicted(), 0);
    d.record(at + KEEP_NS);
    d.window.expire(at + KEEP_NS, &d.behind);
    assert!(d.window.is_empty());
}

#[test]
fn a_window_that_is_too_small_drops_the_oldest_keys_and_counts_them() {
    let mut d = two_open_lines(T0);
    d.window.hold_at_most(100);
    for key in 0..150 {
        d.record(T0 + key * MS);
        bring(&mut d, key, Carrier { conn: 1, line: 0 });
    }
    assert_eq!((d.window.len(), d.take_evicted(), d.take_evicted()), (100, 50, 0));
    let again = |d: &mut Dedupe, key| bring(d, key, Carrier { conn: 2, line: 1 }).is_some();
    assert!(again(&mut d, 50) && again(&mut d, 149));
    assert!(!again(&mut d, 3), "it was forgotten");
    // What went in its time is not counted.
    d.behind.heard(1, T0 + 149 * MS);
    d.record(T0 + 149 * MS + KEEP_NS);
    d.window.expire(T0 + 149 * MS + KEEP_NS, &d.behind);
    assert_eq!((d.window.len(), d.take_evicted()), (0, 1), "the one that came in for it");
}

// The keys of 20 s of 17,000 rows a second fit.
const _: () = assert!(window::BYTES_MAX / window::KEY_BYTES > 20 * 17_000);

#[test]
fn rows_of_the_second_line_are_flagged_and_counted_in_the_manifest() {
    let usdm = venue(VenueId::BinanceUsdm);
    let mut g = Gatherer::new(usdm, LogKind::Collected, WriteSettings::default(), &Continuation::default()).unwrap();
    for (seq, r) in (1..).zip([open(T0, 1, 0), open(T0, 2, 1), data(T0 + MS, 2, true, event(0))]) {
        g.record(&RecordRef {
            position: Position::START,
            next: Position::START,
            seq: Seq(seq),
            ts_recv_ns: r.ts,
            conn: r.conn,
            kind_raw: r.kind as u8,
            flags: if r.second { log_flags::SECOND_LINE } else { 0 },
            payload: r.payload.as_bytes(),
        });
    }
    let lines = g.part.as_ref().unwrap().account.lines.lines();
    assert_eq!(lines.iter().map(|l| (l.frames, l.first)).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
    let mut m = PartManifest::new("l".into(), "v".into(), "h".into(), WriteSettings::default());
    m.lines = lines;
    assert_eq!(PartManifest::parse(&m.to_json().unwrap()).unwrap(), m);
    assert_eq!(flags::SECOND_LINE, 64);
}

/// Keys of the rows of `table` that stayed.
fn kept_of(log: &[Rec], table: Table) -> Vec<i64> {
    kept(&fold(log, &HashSet::new()).0, table).to_vec()
}

#[test]
fn two_lines_hundreds_of_messages_or_seconds_apart_show_each_row_once() {
    for late_ms in [350, 1_500, 10_000, 19_000] {
        let n = 3_000;
        let mut log = vec![open(T0 - 2, 1, 0), open(T0 - 1, 2, 1)];
        for i in 0..n {
            log.push(data(T0 + i * MS, 1, false, event(4 * i + 1)));
            log.push(data(T0 + (i + late_ms) * MS, 2, true, event(4 * i + 1)));
        }
        log.sort_by_key(|r| r.ts);
        let (out, lines) = fold(&log, &HashSet::new());
        assert_eq!(fold(&log, &HashSet::from([400, 3_100, 5_000])).0, out);
        let first: Vec<i64> =
            (1..).zip(&log).filter(|(_, r)| r.kind == Kind::Data && r.conn == 1).map(|(i, _)| i).collect();
        assert_eq!(kept(&out, Table::BookTicker), first, "{late_ms} ms");
        assert_eq!((out.duplicates, lines[0].ahead, lines[0].advantage_us), (n, n, late_ms * 1_000));
    }
}

fn trade(id: i64, price: u64, ts: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":{ts},"s":"BTCUSDT","a":{id},"p":"{price}","q":"2","f":{id},"l":{id},"T":{price},"m":true}}}}"#
    )
}

#[test]
fn the_same_id_with_other_content_is_another_row_on_whichever_line_it_comes() {
    let log = [
        open(T0, 1, 0),
        open(T0, 2, 1),
        data(T0 + MS, 1, false, trade(5, 100, 1)),
        data(T0 + 2 * MS, 2, true, trade(5, 101, 1)),
        // What the venue calls the time of the event is no content.
        data(T0 + 3 * MS, 2, true, trade(5, 100, 2)),
        data(T0 + 4 * MS, 1, false, trade(5, 101, 2)),
        data(T0 + 5 * MS, 1, false, trade(6, 102, 1)),
        data(T0 + 6 * MS, 2, true, trade(6, 102, 1)),
    ];
    assert_eq!(kept_of(&log, Table::AggTrades), [3, 4, 7]);
    let usdm = venue(VenueId::BinanceUsdm);
    let mut g = Gatherer::new(usdm, LogKind::Collected, WriteSettings::default(), &Continuation::default()).unwrap();
    record_all(&mut g, &log);
    let item = &g.decoder().rows.drift.items["same id, not the same row: agg_trades"];
    assert_eq!((item.count, item.sample.as_str()), (1, "BTCUSDT"));
    let ranges = g.id_ranges();
    let r = ranges.iter().find(|r| r.channel == "agg_trades").unwrap();
    assert_eq!((r.present, r.missing, r.duplicates), (2, 0, 3), "{r:?}");
}

fn record_all(g: &mut Gatherer, log: &[Rec]) {
    for (seq, r) in (1..).zip(log) {
        g.record(&RecordRef {
            position: Position::START,
            next: Position::START,
            seq: Seq(seq),
            ts_recv_ns: r.ts,
            conn: r.conn,
            kind_raw: r.kind as u8,
            flags: if r.second { log_flags::SECOND_LINE } else { 0 },
            payload: r.payload.as_bytes(),
        });
    }
}

#[test]
fn a_row_again_on_its_own_connection_stays_unless_it_asked_for_its_streams_once_more() {
    let subscribe = Rec { kind: Kind::Subscribe, ..data(T0 + 3 * MS, 1, false, "{}".into()) };
    let log = [
        open(T0, 1, 0),
        data(T0 + MS, 1, false, trade(5, 100, 1)),
        data(T0 + 2 * MS, 1, false, trade(5, 100, 1)),
        subscribe,
        data(T0 + 4 * MS, 1, false, trade(5, 100, 1)),
        data(T0 + 5 * MS, 1, false, trade(6, 101, 1)),
        data(T0 + 6 * MS, 1, false, trade(6, 101, 1)),
    ];
    assert_eq!(kept_of(&log, Table::AggTrades), [2, 3, 6, 7]);
    // The same beside a second line.
    let mut beside = log.to_vec();
    beside.insert(1, open(T0, 2, 1));
    assert_eq!(kept_of(&beside, Table::AggTrades), [3, 4, 7, 8]);
}

#[test]
fn a_connection_in_the_place_of_another_one_may_begin_with_its_last_rows() {
    let mut log = vec![open(T0, 1, 0)];
    for i in 0..20 {
        log.push(data(T0 + (i + 1) * MS, 1, false, trade(i as i64, 100 + i, 1)));
    }
    log.push(close(T0 + 30 * MS, 1));
    log.push(open(T0 + 900 * MS, 2, 0));
    for i in 15..25 {
        log.push(data(T0 + (1_000 + i) * MS, 2, false, trade(i as i64, 100 + i, 2)));
    }
    assert_eq!(kept_of(&log, Table::AggTrades), (2..22).chain(29..34).collect::<Vec<i64>>());
    // And when the collector was started again in between: its connections are counted from the start again.
    let epoch = Rec { kind: Kind::EpochStart, ..data(T0 + 40 * MS, 0, false, "{}".into()) };
    log[21] = epoch;
    log.iter_mut().skip(22).for_each(|r| r.conn = 1);
    assert_eq!(kept_of(&log, Table::AggTrades), (2..22).chain(29..34).collect::<Vec<i64>>());
}

/// As 697b6d1 saved it: two lines, two rows of `book_ticker` that the second one has not brought yet.
const OLDER: &str = r#"{"hour":478656,"clock_offset_ns":null,"ids":{"gaps":{},"disturbed":0,"last_seq":{"book_ticker":{"BTCUSDT":[5,null]}}},
  "dedupe":{"lines":{"open":{"1":0,"2":1},"now_ns":1723161600000000000,"opening_until_ns":1723161720000000000},
  "windows":{"book_ticker":{"BTCUSDT":{"carriers":[1],"entries":[
    {"k":KEY1,"t":1723161599000000000,"n":1,"c":[[1,1]]},{"k":KEY2,"t":1723161599500000000,"n":1,"c":[[1,1]]}]}}}}}"#;

#[test]
fn the_windows_of_version_1_go_on_where_they_were() {
    let id = |n: u64| {
        let row = model::row::BookTicker {
            symbol: SymbolId(0),
            ts_event_us: None,
            update_id: Some(1_000 + n as i64 * 7),
            bid_price: None,
            bid_amount: None,
            ask_price: None,
            ask_amount: None,
        };
        key::book_ticker(&row).id.to_string()
    };
    let text = OLDER.replace("KEY1", &id(1)).replace("KEY2", &id(9));
    let older: Continuation = serde_json::from_str(&text).unwrap();
    let usdm = venue(VenueId::BinanceUsdm);
    let mut g = Gatherer::new(usdm, LogKind::Collected, WriteSettings::default(), &older).unwrap();
    // Saved by this version it is the same.
    let again: Continuation = serde_json::from_str(&serde_json::to_string(&g.continuation()).unwrap()).unwrap();
    assert_eq!(
        Gatherer::new(usdm, LogKind::Collected, WriteSettings::default(), &again).unwrap().continuation(),
        again
    );
    let log = [1, 9, 17].map(|n| data(T0 + n * MS, 2, true, event(n)));
    record_all(&mut g, &log);
    let (part, symbols) = g.part_and_symbols().unwrap();
    assert_eq!(part.account.repeated, 2);
    let chunk = part.buffer(Table::BookTicker).take_first(usize::MAX, symbols);
    assert_eq!((chunk.rows(), chunk.key(0)), (1, Some((3, 0))));
}

#[test]
fn what_a_line_that_stalled_brings_late_stands_once_however_long_it_was_silent() {
    for stall_s in [15, 30, 100] {
        let mut log = vec![open(T0 - 2, 1, 0), open(T0 - 1, 2, 1)];
        let at = |n: u64| T0 + n * 50 * MS;
        let stalled = 1_000..1_000 + stall_s * 20;
        for n in 0..5_000 {
            let late = if stalled.contains(&n) { at(stalled.end) + n * MS / 100 } else { at(n) + 3 * MS };
            log.extend([data(at(n), 1, false, event(n)), data(late, 2, true, event(n))]);
        }
        log.sort_by_key(|r| r.ts);
        let (whole, _) = fold(&log, &HashSet::new());
        let kept: usize = whole.kept.iter().map(|(_, seqs)| seqs.len()).sum();
        assert_eq!((kept, whole.duplicates), (5_000, 5_000), "silent for {stall_s} s");
        let restarts = (0..log.len()).step_by(97).collect();
        assert_eq!(fold(&log, &restarts).0, whole, "whenever it is saved and loaded");
    }
}

#[test]
fn a_line_that_brings_nothing_any_more_holds_no_keys_once_it_is_closed() {
    let mut dedupe = Dedupe::default();
    let frame = |n: i64| body(n..n + 1, 1);
    for (conn, line) in [(1, 0), (2, 1)] {
        dedupe.opened(conn, format!(r#"{{"line":{line}}}"#).as_bytes());
    }
    let arrive = |dedupe: &mut Dedupe, conn: u32, n: i64| {
        dedupe.record(n as u64 * 1_000 * MS);
        let from = Carrier { conn, line: u8::from(conn == 2) };
        dedupe.arrive(from, &frame(n), &mut Vec::new(), &mut LineCounts::default());
    };
    arrive(&mut dedupe, 2, 1);
    (1..=100).for_each(|n| arrive(&mut dedupe, 1, n));
    assert_eq!(dedupe.window.len(), 100, "it may bring all of them still");
    dedupe.closed(2);
    arrive(&mut dedupe, 1, 130);
    assert!(dedupe.window.len() <= 1);
}

/// Rows of a fetched body: ids, and a price that distinguishes rows of one id.
fn body(ids: std::ops::Range<i64>, price: i64) -> Rows {
    let mut rows = Rows::new();
    let symbol = rows.symbols.intern("BTCUSDT");
    rows.trades.extend(ids.map(|id| model::row::Trade {
        symbol,
        ts_event_us: None,
        ts_trade_us: Some(id),
        id: Some(id),
        id_str: None,
        price: model::Num { mantissa: price.into(), scale: 0 },
        amount: model::Num::default(),
        side: model::row::Side::Buy,
        kind: None,
    }));
    rows
}

#[test]
fn a_gap_of_any_size_that_is_fetched_again_after_a_stop_has_no_row_twice() {
    let of_repairs = |saved: &SavedDedupe| {
        let mut dedupe = Dedupe::load(saved, &mut model::Interner::new()).of_repairs();
        // As if the gap were larger than what is remembered by content.
        dedupe.window.hold_at_most(50);
        dedupe
    };
    let mut dedupe = of_repairs(&SavedDedupe::default());
    let kept = |dedupe: &mut Dedupe, rows: &Rows| {
        let mut marks = Vec::new();
        dedupe.fetched(rows, &mut marks, &mut Vec::new());
        marks.iter().filter(|m| !m.duplicate).count()
    };
    let whole = body(1_000..1_400, 1);
    assert_eq!(kept(&mut dedupe, &body(1_000..1_300, 1)), 300);
    let saved = serde_json::to_string(&dedupe.save(&whole.symbols)).unwrap();
    let mut dedupe = of_repairs(&serde_json::from_str(&saved).unwrap());
    assert_eq!(dedupe.fetched_ids().of(Channel::Trades, "BTCUSDT"), [(1_000, 1_299)]);
    assert_eq!(kept(&mut dedupe, &whole), 100);
    assert_eq!(dedupe.take_evicted(), 0, "nothing is lost that has to be reported");
    // A venue that restarts its count: the gap ended, its ids say nothing any more.
    let (symbol, channel) = ("BTCUSDT".to_owned(), "trades".to_owned());
    dedupe.repaired(&Repair { channel, symbol, from_id: 1_000, to_id: 1_399, rows: 400, why: None });
    assert_eq!(kept(&mut dedupe, &body(1_000..1_400, 2)), 400);
}

/// Trades of a venue that restarts its count now and then: (new first id, rows of it).
fn counts() -> impl Strategy<Value = Vec<(i64, u8)>> {
    let first = prop_oneof![1..20_i64, 1_000..1_200_i64, 5_000_000..5_000_100_i64, Just(7_000_000_000)];
    prop::collection::vec((first, 1..40_u8), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn ids_that_begin_again_anywhere_lose_no_row_and_double_none(
        counts in counts(),
        late in 0..3_000_u64,
        lossy in prop::collection::hash_set(0..300_usize, 0..20),
        restarts in prop::collection::hash_set(0..600_usize, 0..10),
        two in prop::bool::ANY,
    ) {
        let rows: Vec<String> = counts
            .iter()
            .flat_map(|(first, n)| (0..i64::from(*n)).map(move |i| first + i))
            .zip(1..)
            .map(|(id, price)| trade(id, price, 1))
            .collect();
        let mut log = vec![open(T0 - 2, 1, 0)];
        if two {
            log.push(open(T0 - 1, 2, 1));
        }
        let mut brought = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let at = T0 + i as u64 * 10 * MS;
            if !lossy.contains(&i) || !two {
                brought.push(data(at, 1, false, row.clone()));
            }
            if two {
                brought.push(data(at + late * MS, 2, true, row.clone()));
            }
        }
        brought.sort_by_key(|r| r.ts);
        log.extend(brought);
        let (whole, _) = fold(&log, &HashSet::new());
        let mut seen = HashSet::new();
        let first: Vec<i64> = (1..)
            .zip(&log)
            .filter(|(_, r)| r.kind == Kind::Data && seen.insert(r.payload.clone()))
            .map(|(i, _)| i)
            .collect();
        prop_assert_eq!(kept(&whole, Table::AggTrades), first);
        prop_assert_eq!(fold(&log, &restarts).0, whole, "whenever it is saved and loaded");
    }
}
