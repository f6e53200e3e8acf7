//! What both databases must do; each case gets an empty one.

use super::*;

pub(super) fn a_checkpoint_reads_back_whole_after_a_restart(place: &Place<'_>) {
    let huge = KlineData {
        open: i64::MAX,
        low: -5,
        volume: i128::from(i64::MAX) * 1_000_000,
        quote_volume: i128::MAX / 3,
        trade_count: u64::MAX / 2,
        first_trade_id: NO_ID,
        last_trade_id: NO_ID,
        revision: u32::MAX,
        flags: 0,
        price_scale: 18,
        amount_scale: 18,
        ..bar(3, 1)
    };
    let mut first = checkpoint(1, [bar(1, 101), bar(2, 102), huge]);
    first.registry.push((1, Registered { listing_time_ms: None, ..symbol("\u{5e01}\u{5b89}'USDT") }));
    first.bars.push((1, Interval::W1, bar(0, 9)));
    let mut db = place.open();
    assert_eq!(db.load_feed("binance-spot").unwrap(), None);
    assert!(db.load_registry().unwrap().is_empty());
    assert_eq!(db.commit(&first).unwrap(), Committed { serial: 1, bars: 4, ..Committed::default() });
    drop(db);
    let mut db = place.open();
    assert_eq!(
        db.load_feed("binance-spot").unwrap(),
        Some(SavedFeed { logs: first.logs.clone(), state: first.state.clone(), serial: 1 })
    );
    assert_eq!(db.load_registry().unwrap(), first.registry.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>());
    assert_eq!(minutes(db.as_mut()), [bar(1, 101), bar(2, 102), huge]);
    assert_eq!(
        db.newest("binance-spot", "\u{5e01}\u{5b89}'USDT", Interval::W1, 5).unwrap(),
        [bar(0, 9)],
        "a name with anything in it"
    );
    assert_eq!(db.series().unwrap().len(), 2);
    // The next checkpoint moves only what it names.
    let mut second = checkpoint(2, [bar(2, 222)]);
    second.registry.clear();
    second.logs.pop();
    db.commit(&second).unwrap();
    let saved = db.load_feed("binance-spot").unwrap().unwrap();
    assert_eq!(saved.logs[0].position, position(2));
    assert_eq!(saved.logs[1].position, Position::START);
    assert_eq!(minutes(db.as_mut())[1], bar(2, 222));
}

pub(super) fn a_commit_that_fails_leaves_nothing(place: &Place<'_>) {
    let mut db = place.open();
    db.commit(&checkpoint(1, [bar(1, 1)])).unwrap();
    let mut bad = checkpoint(2, [bar(1, 999), bar(2, 2)]);
    bad.registry.push((1, symbol("NEW")));
    bad.old = vec![old(tick(1, 99, "1.00", "1"))];
    bad.marks = vec![Mark {
        symbol_index: 77,
        interval: Interval::M1,
        from_us: 0,
        to_us: 9 * MIN,
        before_us: i64::MAX,
        gap: true,
    }];
    // The mark fails after everything else.
    let error = db.commit(&bad).unwrap_err();
    let said = wal_format::error_chain(&error);
    assert!(said.contains("77"), "{said}");
    for db in [&mut db, &mut place.open()] {
        assert_eq!(minutes(db.as_mut()), [bar(1, 1)]);
        assert_eq!(db.load_feed("binance-spot").unwrap().unwrap().logs[0].position, position(1));
        assert_eq!(db.load_registry().unwrap().len(), 1);
    }
    // The database itself refuses in the middle of a commit.
    place.run("DROP TABLE positions").unwrap();
    bad.marks.clear();
    assert!(db.commit(&bad).is_err());
    assert_eq!(minutes(db.as_mut()), [bar(1, 1)]);
    assert_eq!(db.load_registry().unwrap().len(), 1);
    place
        .run(
            "CREATE TABLE positions (feed TEXT, log TEXT, log_uuid TEXT, segment BIGINT, byte_offset BIGINT, \
             seq BIGINT, incarnation TEXT, PRIMARY KEY (feed, log))",
        )
        .unwrap();
    db.commit(&bad).unwrap();
    assert_eq!(minutes(db.as_mut()).len(), 2);
    assert_eq!(db.load_registry().unwrap()[1].symbol, "NEW");
}

pub(super) fn the_last_state_of_a_bar_is_stored_and_queries_take_either_end(place: &Place<'_>) {
    let mut db = place.open();
    let open = KlineData { flags: 0, ..bar(9, 8) };
    let states = (1..9).map(|m| bar(m, m)).chain([open, KlineData { revision: 1, ..bar(4, 44) }]);
    assert_eq!(db.commit(&checkpoint(1, states)).unwrap().bars, 9);
    let q = HistoryQuery {
        venue: "binance-spot".to_owned(),
        symbol: "BTCUSDT".to_owned(),
        interval: Interval::M1,
        start_us: Some(2 * MIN),
        end_us: Some(7 * MIN),
        limit: 3,
        newest_first: false,
    };
    let mut opens =
        |q: &HistoryQuery| -> Vec<i64> { db.query(q).unwrap().iter().map(|b| b.open_time_us / MIN).collect() };
    assert_eq!(opens(&q), [2, 3, 4]);
    assert_eq!(opens(&HistoryQuery { newest_first: true, ..q.clone() }), [5, 6, 7]);
    assert_eq!(opens(&HistoryQuery { limit: 99, start_us: None, ..q.clone() }), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(opens(&HistoryQuery { limit: 99, end_us: None, ..q.clone() }), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(opens(&HistoryQuery { symbol: "ETHUSDT".to_owned(), ..q.clone() }), [0_i64; 0]);
    assert_eq!(opens(&HistoryQuery { interval: Interval::M5, ..q.clone() }), [0_i64; 0]);
    assert_eq!(db.query(&q).unwrap()[2], KlineData { revision: 1, ..bar(4, 44) });
    let series = Series { venue: q.venue.clone(), symbol: q.symbol.clone(), interval: Interval::M1 };
    assert_eq!(db.opens(&series, 7 * MIN, 20 * MIN, false).unwrap(), [7, 8].map(|m| m * MIN), "not the open one");
    assert_eq!(db.opens(&series, 8 * MIN, 20 * MIN, true).unwrap(), [8, 9].map(|m| m * MIN));
}

pub(super) fn trades_of_bars_out_of_memory_are_added_to_the_stored_ones(place: &Place<'_>) {
    let mut db = place.open();
    let mut c = checkpoint(1, [bar(1, 150)]);
    c.old = vec![
        old(tick(1, 11, "2.255", "0.5")),
        old(tick(5, 51, "9", "1")),
        old(tick(1, 9, "1.00", "0.1")),
        old(tick(5, 52, "8", "1")),
    ];
    assert_eq!(db.commit(&c).unwrap(), Committed { serial: 1, bars: 1, revised: 2, ..Committed::default() });
    let bars = minutes(db.as_mut());
    let first = bars[0];
    assert_eq!((first.price_scale, first.amount_scale), (3, 2));
    assert_eq!((first.open, first.high, first.low, first.close), (1_000, 2_255, 1_000, 2_255));
    assert_eq!((first.volume, first.taker_buy_volume, first.trade_count), (110, 60, 3));
    assert_eq!(first.quote_volume, 75_000 + 112_750 + 10_000);
    assert_eq!((first.revision, first.flags), (2, FINAL));
    let lone = bars[1];
    assert_eq!((lone.open, lone.close, lone.trade_count), (9, 8, 2));
    assert_eq!((lone.revision, lone.flags), (1, FINAL | GAP), "what else was in it nobody knows");
    // A tick that no candle can hold is counted, not fatal.
    let mut c = checkpoint(2, []);
    c.old = vec![old(tick(1, 12, "9300000000000000", "1"))];
    assert_eq!(db.commit(&c).unwrap().refused, 1);
    assert_eq!(minutes(db.as_mut())[0], first);
}

pub(super) fn a_mark_flags_stored_bars_but_none_that_is_in_memory(place: &Place<'_>) {
    let mut db = place.open();
    db.commit(&checkpoint(1, (1..7).map(|m| bar(m, m)))).unwrap();
    let mark = Mark {
        symbol_index: 0,
        interval: Interval::M1,
        from_us: 2 * MIN + 30,
        to_us: 6 * MIN,
        before_us: 5 * MIN,
        gap: true,
    };
    let with = |marks: Vec<Mark>, n| Checkpoint { marks, ..checkpoint(n, []) };
    assert_eq!(db.commit(&with(vec![mark, mark], 2)).unwrap().marked, 3);
    let flagged = |db: &mut dyn CandleDb| -> Vec<i64> {
        let q = GapQuery { symbol: Some("BTCUSDT".to_owned()), limit: 9, ..GapQuery::default() };
        db.gaps(&q).unwrap().iter().map(|g| g.bar.open_time_us / MIN).collect()
    };
    assert_eq!(flagged(db.as_mut()), [2, 3, 4]);
    assert_eq!(minutes(db.as_mut())[1], KlineData { revision: 1, flags: FINAL | GAP, ..bar(2, 2) });
    let nothing = GapQuery { interval: Some(Interval::W1), limit: 9, ..GapQuery::default() };
    assert!(db.gaps(&nothing).unwrap().is_empty());
    let late = GapQuery { venue: Some("binance-spot".to_owned()), start_us: Some(3 * MIN), limit: 1, ..nothing };
    assert_eq!(db.gaps(&GapQuery { interval: None, ..late }).unwrap()[0].bar.open_time_us, 3 * MIN);
    assert_eq!(db.commit(&with(vec![Mark { to_us: 4 * MIN - 1, gap: false, ..mark }], 3)).unwrap().marked, 2);
    assert_eq!(flagged(db.as_mut()), [4]);
    assert_eq!(minutes(db.as_mut())[1], KlineData { revision: 2, ..bar(2, 2) });
}

pub(super) fn history_fills_missing_bars_and_gaps_and_nothing_else(place: &Place<'_>) {
    let mut db = place.open();
    let gap = KlineData { flags: FINAL | GAP, ..bar(2, 2) };
    let open = KlineData { flags: 0, ..bar(4, 4) };
    db.commit(&checkpoint(1, [bar(1, 1), gap, open])).unwrap();
    let official: Vec<NamedBar> = (0..6).map(|m| named(bar(m, 70 + m))).collect();
    let did = db.put_history(&official, Source::Official, false).unwrap();
    assert_eq!(did, Filled { inserted: 3, replaced: 0, kept: 3 });
    assert_eq!(minutes(db.as_mut()), [bar(0, 70), bar(1, 1), gap, bar(3, 73), open, bar(5, 75)]);
    let did = db.put_history(&official, Source::Official, true).unwrap();
    assert_eq!(did, Filled { inserted: 0, replaced: 2, kept: 4 });
    assert_eq!(minutes(db.as_mut())[2], KlineData { revision: 1, ..bar(2, 72) });
    assert_eq!(minutes(db.as_mut())[4], KlineData { revision: 1, ..bar(4, 74) }, "nobody closed it");
    // The archive is trusted less than REST, a rebuilt bar more.
    let other = [named(bar(3, 33))];
    assert_eq!(db.put_history(&other, Source::Archive, true).unwrap().kept, 1);
    assert_eq!(db.put_history(&other, Source::Rebuilt, true).unwrap().replaced, 1);
    let q = HistoryQuery {
        venue: "binance-spot".to_owned(),
        symbol: "BTCUSDT".to_owned(),
        interval: Interval::M1,
        start_us: None,
        end_us: None,
        limit: 99,
        newest_first: false,
    };
    let sources: Vec<Source> = db.stored(&q).unwrap().iter().map(|s| s.source).collect();
    assert_eq!(
        sources,
        [Source::Official, Source::Live, Source::Official, Source::Rebuilt, Source::Official, Source::Official]
    );
    assert!(db.put_history(&[named(open)], Source::Official, true).is_err(), "an open bar is no history");
}

pub(super) fn our_bars_win_over_the_venues_unless_they_have_a_gap(place: &Place<'_>) {
    let mut db = place.open();
    db.commit(&checkpoint(1, [])).unwrap();
    let official: Vec<NamedBar> = (1..5).map(|m| named(bar(m, 70 + m))).collect();
    db.put_history(&official, Source::Official, true).unwrap();
    let gap = KlineData { flags: FINAL | GAP, ..bar(2, 2) };
    let open = KlineData { flags: 0, ..bar(3, 3) };
    let mut c = checkpoint(2, [bar(1, 1), gap, open]);
    c.old = vec![old(tick(4, 41, "5", "1"))];
    let did = db.commit(&c).unwrap();
    assert_eq!((did.bars, did.revised, did.refused), (1, 0, 1));
    let ours = KlineData { revision: 1, ..bar(1, 1) };
    assert_eq!(minutes(db.as_mut()), [ours, bar(2, 72), bar(3, 73), bar(4, 74)]);
    // Repaired at last: now it is ours again.
    let repaired = KlineData { revision: 2, ..bar(2, 2) };
    db.commit(&checkpoint(3, [repaired])).unwrap();
    assert_eq!(minutes(db.as_mut())[1], repaired);
}

pub(super) fn silence_of_ours_takes_no_candle_of_the_venues_place(place: &Place<'_>) {
    let mut db = place.open();
    db.commit(&checkpoint(1, [])).unwrap();
    let flat = |minute: i64| KlineData { flags: FINAL | FLAT, ..KlineData::flat(minute * MIN, 5, 2, 2) };
    let official = [named(bar(1, 71)), named(flat(2))];
    db.put_history(&official, Source::Official, true).unwrap();
    db.commit(&checkpoint(2, [flat(1), KlineData { open: 6, ..flat(2) }])).unwrap();
    assert_eq!(minutes(db.as_mut()), [bar(1, 71), KlineData { open: 6, revision: 1, ..flat(2) }]);
}

pub(super) fn flat_bars_behind_an_old_trade_go_on_at_its_close(place: &Place<'_>) {
    let mut db = place.open();
    let flat = |minute: i64| KlineData { flags: FINAL | FLAT, ..KlineData::flat(minute * MIN, 1, 2, 2) };
    db.commit(&checkpoint(1, [bar(1, 1), flat(2), flat(3), flat(4), bar(5, 9), flat(6)])).unwrap();
    let mut c = checkpoint(2, []);
    c.old = vec![old(tick(2, 15, "0.725", "1")), OldTrade { before_us: 4 * MIN, ..old(tick(2, 16, "0.5", "1")) }];
    // Memory has the fourth minute, and brings it.
    c.old.iter_mut().for_each(|trade| trade.before_us = 4 * MIN);
    db.commit(&c).unwrap();
    let bars = minutes(db.as_mut());
    let closes: Vec<String> =
        bars.iter().map(|b| model::kline::decimal(b.close.into(), b.price_scale.into(), 0)).collect();
    assert_eq!(closes, ["0.01", "0.5", "0.5", "0.01", "0.09", "0.01"]);
    assert_eq!(bars.iter().map(|b| b.revision).collect::<Vec<_>>(), [0, 2, 2, 0, 0, 0], "at each of the two closes");
    assert_eq!((bars[2].open, bars[2].high, bars[2].low, bars[2].trade_count), (500, 500, 500, 0));
}

pub(super) fn flat_bars_go_on_at_the_last_of_the_old_trades_of_one_checkpoint_in_whatever_order_they_came(
    place: &Place<'_>,
) {
    let mut db = place.open();
    let flat =
        |minute: i64, price: i64| KlineData { flags: FINAL | FLAT, ..KlineData::flat(minute * MIN, price, 2, 2) };
    db.commit(&checkpoint(1, [bar(1, 1)].into_iter().chain((2..7).map(|minute| flat(minute, 1))))).unwrap();
    // The later trade came first, when memory began at the fourth minute; it does not any more now.
    let mut c = checkpoint(2, (4..7).map(|minute| flat(minute, 50)));
    let trade = |minute: i64, price: &str, memory: i64| OldTrade {
        before_us: memory * MIN,
        ..old(tick(minute, minute * 10, price, "1"))
    };
    c.old = vec![trade(3, "0.5", 4), trade(2, "0.25", 9)];
    db.commit(&c).unwrap();
    let closes: Vec<String> =
        minutes(db.as_mut()).iter().map(|b| model::kline::decimal(b.close.into(), b.price_scale.into(), 0)).collect();
    assert_eq!(closes, ["0.01", "0.25", "0.5", "0.5", "0.5", "0.5"]);
}

pub(super) fn old_trades_make_the_same_bars_and_revisions_however_checkpoints_part_them(place: &Place<'_>) {
    let mut db = place.open();
    let flat = |minute: i64| KlineData { flags: FINAL | FLAT, ..KlineData::flat(minute * MIN, 1, 2, 2) };
    // Minute, id, price, where memory begins: of neighbours, of one bar, of an earlier one, of one that is not there, and
    // of one whose close stays.
    let trades = [
        (2, 20, "0.2", 6),
        (3, 31, "0.3", 6),
        (3, 32, "0.35", 6),
        (5, 50, "0.5", 7),
        (4, 40, "0.4", 7),
        (2, 19, "0.1", 8),
        (11, 110, "1.1", 14),
        (11, 111, "1.2", 14),
        (1, 11, "0.001", 14),
    ];
    let named = |part: usize| format!("P{part}USDT");
    let registry: Vec<_> = (0..=trades.len()).map(|part| (part as u32, symbol(&named(part)))).collect();
    let mut n = 0;
    let mut stored = Vec::new();
    for part in 0..=trades.len() {
        let index = part as u32;
        let mut commit = |bars: Vec<KlineData>, old: Vec<OldTrade>| {
            n += 1;
            let bars = bars.into_iter().map(|bar| (index, Interval::M1, bar)).collect();
            db.commit(&Checkpoint { bars, old, registry: registry.clone(), ..checkpoint(n, []) }).unwrap();
        };
        commit([bar(1, 1)].into_iter().chain((2..10).map(flat)).chain((12..14).map(flat)).collect(), Vec::new());
        let old = trades.map(|(minute, id, price, memory)| OldTrade {
            before_us: memory * MIN,
            ..old(Tick { symbol_index: index, ..tick(minute, id, price, "1") })
        });
        let (first, second) = old.split_at(part);
        [first, second].into_iter().filter(|part| !part.is_empty()).for_each(|part| commit(Vec::new(), part.to_vec()));
        stored.push(db.newest("binance-spot", &named(part), Interval::M1, 99).unwrap());
    }
    for (part, bars) in stored.iter().enumerate() {
        assert_eq!(*bars, stored[0], "parted before trade {part}");
    }
    let revisions: Vec<_> = stored[0].iter().map(|b| (b.open_time_us / MIN, b.revision)).collect();
    let expected = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 1), (7, 0), (8, 0), (9, 0), (11, 1), (12, 2), (13, 2)];
    assert_eq!(revisions, expected);
}

pub(super) fn two_processes_cannot_store_the_same_feed(place: &Place<'_>) {
    let (mut a, mut b) = (place.open(), place.open());
    let after = |since: i64, n: u64, price: i64| Checkpoint { since: Some(since), ..checkpoint(n, [bar(1, price)]) };
    assert_eq!(a.commit(&after(0, 1, 1)).unwrap().serial, 1);
    let saved = b.load_feed("binance-spot").unwrap().unwrap().serial;
    assert_eq!(b.commit(&after(saved, 2, 2)).unwrap().serial, 2);
    let error = a.commit(&after(1, 3, 3)).unwrap_err();
    let said = wal_format::error_chain(&error);
    assert!(said.contains("another process"), "{said}");
    assert_eq!(minutes(a.as_mut()), [bar(1, 2)]);
    b.commit(&after(2, 4, 4)).unwrap();
    // An index means one symbol for ever.
    let mut c = checkpoint(5, []);
    c.registry = vec![(0, symbol("OTHER"))];
    assert!(b.commit(&c).is_err());
    c.registry = vec![(2, symbol("OTHER"))];
    assert!(b.commit(&c).is_err());
}

pub(super) fn people_read_sums_and_times_with_plain_sql(place: &Place<'_>) {
    let mut db = place.open();
    let gap = KlineData { flags: FINAL | GAP, ..bar(2, 950) };
    db.commit(&checkpoint(1, [bar(1, 10_50), gap])).unwrap();
    // A division by zero is an error on one database and NULL on the other, so the check is a constraint.
    place.run("CREATE TABLE proof (ok INTEGER CHECK (ok = 1))").unwrap();
    let holds = |condition: &str| {
        place.run(&format!("INSERT INTO proof SELECT CASE WHEN {condition} THEN 1 ELSE 0 END")).is_ok()
    };
    assert!(holds("(SELECT sum(volume) FROM candles) = 1"));
    assert!(!holds("(SELECT sum(volume) FROM candles) = 2"), "the proof can fail");
    assert!(holds("(SELECT count(*) FROM candles WHERE \"open\" > 9.75) = 1"), "as numbers, not as texts");
    assert!(holds("(SELECT symbol FROM candles WHERE has_gap AND high = 9.5) = 'BTCUSDT'"));
    assert!(holds("(SELECT CAST(\"close\" AS TEXT) FROM klines WHERE open_time = 60000000) = '10.50'"));
    assert!(holds("(SELECT substr(CAST(min(open_at) AS TEXT), 1, 16) FROM candles) = '1970-01-01 00:01'"));
}

pub(super) fn a_newer_schema_is_refused(place: &Place<'_>) {
    drop(place.open());
    place.run("UPDATE tapedeck_schema SET version = 99").unwrap();
    let error = open(&place.url, place.dir).map(|_| ()).unwrap_err();
    let said = wal_format::error_chain(&error);
    assert!(said.contains("schema 99"), "{said}");
}

pub(super) fn the_last_bar_with_a_trade_before_a_time_is_found_behind_any_silence(place: &Place<'_>) {
    let mut db = place.open();
    let flat = |minute: i64| KlineData { flags: FINAL | FLAT, ..KlineData::flat(minute * MIN, 3, 2, 2) };
    let open = KlineData { flags: 0, ..bar(9, 9) };
    db.commit(&checkpoint(1, [bar(2, 2), bar(3, 3), flat(4), flat(5), open])).unwrap();
    let series = |symbol: &str, interval| Series { venue: "binance-spot".into(), symbol: symbol.into(), interval };
    let of = series("BTCUSDT", Interval::M1);
    let found: Vec<_> = [2, 3, 4, 6, 9, 10].map(|m| db.last_traded(&of, m * MIN).unwrap().map(|s| s.bar)).into();
    assert_eq!(found, [None, Some(bar(2, 2)), Some(bar(3, 3)), Some(bar(3, 3)), Some(bar(3, 3)), Some(open)]);
    assert_eq!(db.last_traded(&series("BTCUSDT", Interval::M5), 10 * MIN).unwrap(), None);
    assert_eq!(db.last_traded(&series("ETHUSDT", Interval::M1), 10 * MIN).unwrap(), None);
}

pub(super) fn what_there_is_comes_in_the_order_of_the_key(place: &Place<'_>) {
    let mut db = place.open();
    assert_eq!(db.series().unwrap(), []);
    let mut c = checkpoint(1, [bar(1, 1), bar(2, 2)]);
    c.registry.push((1, symbol("AAVEUSDT")));
    c.bars.extend([(1, Interval::W1, bar(0, 1)), (1, Interval::M5, bar(0, 1)), (1, Interval::M5, bar(5, 1))]);
    db.commit(&c).unwrap();
    let mut reader = open_reader(&place.url, place.dir).unwrap();
    let all: Vec<_> = reader.series().unwrap().into_iter().map(|s| (s.symbol, s.interval)).collect();
    assert_eq!(
        all,
        [("AAVEUSDT", Interval::W1), ("AAVEUSDT", Interval::M5), ("BTCUSDT", Interval::M1)]
            .map(|(symbol, interval)| (symbol.to_owned(), interval))
    );
}

pub(super) fn a_database_that_is_not_there_is_not_made_by_a_reader(place: &Place<'_>) {
    let nowhere = match place.url.strip_prefix("sqlite:") {
        Some(_) => "sqlite:nowhere.db".to_owned(),
        None => place.url.replacen("/t", "/nowhere", 1),
    };
    for _ in 0..2 {
        let error = open_reader(&nowhere, place.dir).err().map(|err| wal_format::error_chain(&err)).unwrap();
        assert!(error.contains("nowhere"), "{error}");
    }
    let error = open("http://user:secret@host/x", place.dir).err().unwrap().to_string();
    assert!(error.contains("is no database") && !error.contains("secret"), "{error}");
}

pub(super) fn readers_do_not_wait_for_a_writer(place: &Place<'_>) {
    let mut db = place.open();
    db.commit(&checkpoint(1, [bar(1, 1)])).unwrap();
    let readers = Readers::new(&place.url, place.dir);
    let count = || readers.with(|r| Ok(r.newest("binance-spot", "BTCUSDT", Interval::M1, 9)?.len())).unwrap();
    assert_eq!(count(), 1);
    // A reader in the middle of another one, and a commit between two reads of one connection.
    let nested = readers
        .with(|r| {
            let before = r.newest("binance-spot", "BTCUSDT", Interval::M1, 9)?.len();
            db.commit(&checkpoint(2, [bar(2, 2)]))?;
            Ok((before, count(), r.newest("binance-spot", "BTCUSDT", Interval::M1, 9)?.len()))
        })
        .unwrap();
    assert_eq!(nested, (1, 2, 2));
    assert!(readers.with(|_| Err::<(), _>(DbError::TooManyTrades)).is_err(), "what a reader says is handed on");
    assert_eq!(count(), 2);
}

pub(super) fn a_task_of_a_runtime_opens_writes_and_leaves_it(place: &Place<'_>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let mut db = place.open();
        db.commit(&checkpoint(1, [bar(1, 101)])).unwrap();
        assert_eq!(minutes(db.as_mut()), [bar(1, 101)]);
        drop(db);
        let mut reader = open_reader(&place.url, place.dir).unwrap();
        assert_eq!(reader.newest("binance-spot", "BTCUSDT", Interval::M1, 9).unwrap().len(), 1);
    });
}

pub(super) fn a_database_of_version_1_is_taken_over_with_places_of_runs_without_incarnation(place: &Place<'_>) {
    let mut db = place.open();
    db.commit(&checkpoint(1, [bar(1, 101)])).unwrap();
    drop(db);
    place.run("ALTER TABLE positions DROP COLUMN incarnation; UPDATE tapedeck_schema SET version = 1;").unwrap();
    let mut db = place.open();
    let saved = db.load_feed("binance-spot").unwrap().unwrap();
    assert_eq!(saved.logs.iter().map(|l| l.incarnation).collect::<Vec<_>>(), [Incarnation::VERSION_1; 2]);
    assert_eq!(saved.logs[0].position, position(1));
    db.commit(&checkpoint(2, [])).unwrap();
    drop(db);
    let saved = place.open().load_feed("binance-spot").unwrap().unwrap();
    assert_eq!(saved.logs, checkpoint(2, []).logs);
}

pub(super) fn a_feed_that_lost_its_row_or_its_places_says_what_is_left(place: &Place<'_>) {
    let mut db = place.open();
    db.commit(&checkpoint(1, [])).unwrap();
    place.run("DELETE FROM feeds").unwrap();
    let saved = db.load_feed("binance-spot").unwrap().unwrap();
    assert_eq!((saved.logs.len(), saved.state.as_str()), (2, ""));
    drop(db);
    let mut db = place.open();
    db.commit(&checkpoint(2, [])).unwrap();
    place.run("DELETE FROM positions").unwrap();
    let saved = db.load_feed("binance-spot").unwrap().unwrap();
    assert!(saved.logs.is_empty() && saved.state.contains("clock"), "{saved:?}");
    place.run("DELETE FROM feeds").unwrap();
    assert_eq!(db.load_feed("binance-spot").unwrap(), None);
}
