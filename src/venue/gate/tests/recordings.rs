//! Whole recordings: every frame is accounted for, the ids continue, and the candles agree with the trades.

use std::collections::BTreeMap;

use super::super::super::gap::GapTracker;
use super::*;

/// Decodes a recording and counts what its frames are.
fn play(market: Market) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut rows = Rows::new();
    for frame in recorded(market) {
        rows.clear();
        let name = match of(market).frames.decode(&text(frame.as_bytes()), &mut rows) {
            Ok(decoded) => format!("{decoded:?}"),
            Err(e) => format!("{e}: {frame}"),
        };
        *counts.entry(name).or_default() += 1;
    }
    assert!(rows.drift.items.is_empty(), "{:?}", rows.drift);
    counts
}

#[test]
fn every_recorded_spot_frame_is_decoded_or_control() {
    let counts = play(Market::Spot);
    assert_eq!(counts.values().sum::<usize>(), recorded(Market::Spot).len());
    let expected =
        [("Control", 22), ("Rows(Depth)", 114), ("Rows(Tickers)", 10), ("Rows(Trades)", 2), ("Rows(VenueKlines)", 8)];
    assert_eq!(counts, expected.map(|(k, n)| (k.to_owned(), n)).into());
}

#[test]
fn every_recorded_futures_frame_is_decoded_or_control() {
    let counts = play(Market::Futures);
    assert_eq!(counts.values().sum::<usize>(), recorded(Market::Futures).len());
    let expected = [("Control", 22), ("Rows(BookTicker)", 38), ("Rows(Depth)", 275)];
    assert_eq!(counts, expected.map(|(k, n)| (k.to_owned(), n)).into());
}

/// Plays the frames that `keep` says and returns the gaps found.
fn gaps(market: Market, mut keep: impl FnMut(usize) -> bool) -> Vec<String> {
    let mut tracker = GapTracker::new(of(market));
    let (mut rows, mut marks, mut found) = (Rows::new(), Vec::new(), Vec::new());
    let mut nth = 0;
    for frame in recorded(market) {
        rows.clear();
        if of(market).frames.decode(&text(frame.as_bytes()), &mut rows) != Ok(Decoded::Rows(Channel::Depth)) {
            continue;
        }
        nth += 1;
        if keep(nth) {
            tracker.observe_rows(&rows, &mut marks, &mut |gap| found.push(format!("{} {:?}", gap.symbol, gap.seen)));
        }
    }
    found
}

#[test]
fn the_recorded_books_have_no_gap_and_a_lost_frame_is_one() {
    for market in MARKETS {
        assert_eq!(gaps(market, |_| true), [""; 0], "{market:?}");
        assert_eq!(gaps(market, |nth| nth != 100).len(), 1, "{market:?}");
    }
}

#[test]
fn a_whole_book_among_the_changes_keeps_the_ids_going_and_shows_a_hole() {
    let frame = |first: i64, last: i64, full: bool| {
        format!(
            r#"{{"time":1,"channel":"futures.order_book_update","event":"update","result":{{"t":1,"s":"A_B","U":{first},"u":{last},"full":{full},"b":[{{"p":"1","s":"2"}}],"a":[]}}}}"#
        )
    };
    let gaps = |frames: &[String]| {
        let mut tracker = GapTracker::new(of(Market::Futures));
        let (mut rows, mut marks, mut found) = (Rows::new(), Vec::new(), 0);
        for frame in frames {
            rows.clear();
            of(Market::Futures).frames.decode(&text(frame.as_bytes()), &mut rows).unwrap();
            tracker.observe_rows(&rows, &mut marks, &mut |_| found += 1);
        }
        found
    };
    assert_eq!(gaps(&[frame(1, 4, false), frame(5, 9, true), frame(10, 10, false)]), 0);
    assert_eq!(gaps(&[frame(1, 4, false), frame(7, 9, true), frame(10, 10, false)]), 1);
}

#[test]
fn recorded_snapshots_and_changes_meet() {
    for (market, file, key) in [
        (Market::Spot, "gate-spot/cryptofeed-GATEIO.http.0.0.order_book.zst", "currency_pair="),
        (Market::Futures, "gate-futures/cryptofeed-GATEIO_FUTURES.http.0.0.order_book.zst", "contract="),
    ] {
        let mut updates: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
        let mut rows = Rows::new();
        for frame in recorded(market) {
            rows.clear();
            of(market).frames.decode(&text(frame.as_bytes()), &mut rows).unwrap();
            for d in &rows.depth {
                let ids = (d.first_update_id.unwrap(), d.final_update_id.unwrap());
                updates.entry(rows.symbols.name(d.symbol).to_owned()).or_default().push(ids);
            }
        }
        let mut met = 0;
        let answers = bodies(file);
        assert_eq!(answers.len(), 10);
        for (url, body) in answers {
            let symbol = url.split_once(key).unwrap().1.split(['&', ' ']).next().unwrap();
            let (result, book) = decode_rest(market, body.as_bytes(), &meta("depth_snapshot", symbol));
            assert_eq!(result, Ok(Decoded::Rows(Channel::DepthSnapshot)));
            let id = book.depth[0].final_update_id.unwrap();
            assert!(book.depth[0].is_snapshot && book.depth[0].level_count as usize == book.levels.len());
            let Some(updates) = updates.get(symbol) else { continue };
            // As the venue says: an update with U <= id + 1 <= u takes the book on; those up to id are in it.
            let first = updates.iter().find(|(_, last)| *last > id);
            met += usize::from(first.is_some_and(|(first, last)| *first <= id + 1 && id < *last));
        }
        assert!(met >= 4, "{market:?} {met}");
    }
}

#[test]
fn recorded_candles_grow_by_what_the_trades_say() {
    let (mut turnover, mut volume): (BTreeMap<String, i128>, BTreeMap<String, i128>) = Default::default();
    let mut checked = 0;
    let mut rows = Rows::new();
    for frame in recorded(Market::Spot) {
        rows.clear();
        of(Market::Spot).frames.decode(&text(frame.as_bytes()), &mut rows).unwrap();
        for t in &rows.trades {
            let traded = t.price.to_decimal18().unwrap().0 * t.amount.to_decimal18().unwrap().0 / 10_i128.pow(18);
            *turnover.entry(rows.symbols.name(t.symbol).to_owned()).or_default() += traded;
        }
        for k in &rows.venue_klines {
            let symbol = rows.symbols.name(k.symbol).to_owned();
            assert_eq!(k.candle.volume, None, "2021 sent no base volume");
            let quote = k.candle.quote_volume.unwrap().to_decimal18().unwrap().0;
            let grown = volume.insert(symbol.clone(), quote).map(|before| quote - before);
            let traded = turnover.remove(&symbol);
            assert!(traded.is_none() || grown == traded, "{symbol} {grown:?} {traded:?}");
            checked += usize::from(traded.is_some());
        }
    }
    assert_eq!(checked, 2);
}

#[test]
fn the_recorded_listings_read_as_a_whole() {
    let (_, body) = bodies("gate-spot/cryptofeed-GATEIO.0.currency_pairs.zst").remove(0);
    let pairs = of(Market::Spot).rest.parse_listing(body.as_bytes()).unwrap().symbols;
    assert_eq!(pairs.len(), 1458);
    assert_eq!(pairs.iter().filter(|s| s.trading).count(), 1414);
    let pair = &pairs[0];
    assert_eq!((pair.name.as_str(), pair.base.as_str(), pair.quote.as_str()), ("IHT_ETH", "IHT", "ETH"));
    assert_eq!((pair.tick_size, pair.lot_size), (Some(num("0.000000001")), Some(num("0.1"))));
    assert_eq!((pair.status.as_str(), pair.listing_time_ms, pair.contract_size), ("tradable", None, None));

    let (_, body) = bodies("gate-futures/cryptofeed-GATEIO_FUTURES.0.contracts.zst").remove(0);
    let contracts = of(Market::Futures).rest.parse_listing(body.as_bytes()).unwrap().symbols;
    assert_eq!(contracts.len(), 302);
    let delisting: Vec<&str> = contracts.iter().filter(|s| s.status == "delisting").map(|s| s.name.as_str()).collect();
    assert_eq!(delisting.len(), 1);
    let knc = &contracts[0];
    assert_eq!((knc.name.as_str(), knc.base.as_str(), knc.quote.as_str()), ("KNC_USDT", "KNC", "USDT"));
    assert_eq!((knc.tick_size, knc.lot_size, knc.contract_size), (Some(num("0.0001")), Some(num("1")), Some(num("1"))));
    let btc = contracts.iter().find(|s| s.name == "BTC_USDT").unwrap();
    assert_eq!((btc.tick_size, btc.contract_size), (Some(num("0.1")), Some(num("0.0001"))));
    assert_eq!(btc.kind.as_str(), "perpetual");
    assert!(contracts.iter().all(|s| s.trading && s.contract_size.is_some()));
}
