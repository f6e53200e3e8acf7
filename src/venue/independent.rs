//! Independent items are read independently, and numbers of up to 38 digits are numbers: at every venue, in every place.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::binance::binary_samples;
use super::hostile_input::numbers;
use super::reviewed::{blocks, meta, text};
use super::{Frame, FrameKind, venue};
use model::{Channel, Decoded, Interval, Listing, Num, Rows, VenueId};

/// A sound entry of the venue's listing.
fn entry(id: VenueId, name: &str) -> Value {
    let filters =
        json!([{"filterType": "PRICE_FILTER", "tickSize": "0.10"}, {"filterType": "LOT_SIZE", "stepSize": "1"}]);
    match id {
        VenueId::BinanceSpot | VenueId::BinanceSpotSbe => {
            json!({"symbol": name, "status": "TRADING", "baseAsset": "A", "quoteAsset": "B", "filters": filters})
        }
        VenueId::BinanceUsdm => json!({"symbol": name, "status": "TRADING", "baseAsset": "A", "quoteAsset": "B",
            "contractType": "PERPETUAL", "onboardDate": 1_569_398_400_000_i64, "filters": filters}),
        VenueId::BinanceCoinm => {
            json!({"symbol": name, "contractStatus": "TRADING", "baseAsset": "A", "quoteAsset": "B",
            "contractType": "PERPETUAL", "contractSize": 100, "onboardDate": 1_569_398_400_000_i64, "filters": filters})
        }
        VenueId::KucoinSpot => json!({"symbol": name, "baseCurrency": "A", "quoteCurrency": "B", "enableTrading": true,
            "priceIncrement": "0.1", "baseIncrement": "0.01", "tradingStartTime": null}),
        VenueId::KucoinFutures => json!({"symbol": name, "type": "FFWCSX", "firstOpenDate": 1_585_555_200_000_i64,
            "expireDate": null, "baseCurrency": "A", "quoteCurrency": "B", "lotSize": 1, "tickSize": 0.1,
            "multiplier": 0.001, "isInverse": false, "status": "Open"}),
        VenueId::GateSpot => json!({"id": name, "base": "A", "quote": "B", "precision": 2, "amount_precision": 3,
            "trade_status": "tradable", "buy_start": 1_516_378_650, "sell_start": 1_516_378_650}),
        VenueId::GateFutures => json!({"name": name, "type": "direct", "quanto_multiplier": "0.0001",
            "order_price_round": "0.1", "order_size_min": 1, "in_delisting": false, "status": "trading",
            "create_time": 1_546_300_800, "enable_decimal": true}),
    }
}

/// Names as the venue spells them.
fn names(id: VenueId) -> [&'static str; 3] {
    match id {
        VenueId::GateSpot | VenueId::GateFutures => ["AAA_USDT", "ODD_USDT", "ZZZ_USDT"],
        _ => ["AAA-USDT", "ODD-USDT", "ZZZ-USDT"],
    }
}

fn listing(id: VenueId, entries: &[String]) -> Listing {
    let list = format!("[{}]", entries.join(","));
    let body = match id {
        VenueId::BinanceSpot | VenueId::BinanceSpotSbe | VenueId::BinanceUsdm | VenueId::BinanceCoinm => {
            format!(r#"{{"rateLimits":[],"symbols":{list}}}"#)
        }
        VenueId::KucoinSpot | VenueId::KucoinFutures => format!(r#"{{"code":"200000","data":{list}}}"#),
        VenueId::GateSpot | VenueId::GateFutures => list,
    };
    venue(id).rest.parse_listing(body.as_bytes()).unwrap_or_else(|e| panic!("{id}: {e}: {body}"))
}

/// What the exchange documents of its candles: rows of an answer, at least as many as are requested, and days of a range.
fn candles(id: VenueId) -> (u32, Option<u32>) {
    match id {
        VenueId::BinanceSpot | VenueId::BinanceSpotSbe => (1_000, None),
        VenueId::BinanceUsdm => (1_500, None),
        VenueId::BinanceCoinm => (1_500, Some(200)),
        VenueId::KucoinSpot => (1_500, None),
        VenueId::KucoinFutures => (500, None),
        VenueId::GateSpot => (1_000, None),
        VenueId::GateFutures => (2_000, None),
    }
}

#[test]
fn no_more_candles_are_asked_for_than_each_exchange_documents_and_contracts_are_of_a_size_that_its_listing_tells() {
    for id in VenueId::ALL.iter().copied() {
        let (spec, (rows_max, days_max)) = (venue(id).spec, candles(id));
        for interval in Interval::ALL {
            let rows = spec.klines.unwrap().rows_of(interval);
            let days = i64::from(rows) * interval.len_us() / Interval::D1.len_us();
            assert!(rows <= rows_max && days_max.is_none_or(|most| days <= i64::from(most)), "{id} {interval} {rows}");
        }
        let listed = listing(id, &[entry(id, names(id)[0]).to_string()]);
        assert_eq!(listed.symbols[0].contract_size.is_some(), spec.counts_contracts, "{id}");
    }
}

#[test]
fn an_odd_entry_of_a_listing_costs_only_itself_and_is_kept_as_it_was_sent() {
    let long = "X".repeat(129);
    let odd_values = [
        json!(null),
        json!({"a": 1}),
        json!([]),
        json!(-7),
        json!(1.5e300),
        json!("1e-99"),
        json!(""),
        json!(long),
        json!("\u{1}"),
        json!([{"filterType": null}, 7, {"filterType": "PRICE_FILTER", "tickSize": {"no": 1}}]),
    ];
    for id in VenueId::ALL.iter().copied() {
        let [first, odd, last] = names(id);
        let sound = [first, last].map(|name| entry(id, name).to_string());
        let clean = listing(id, &sound);
        assert!(clean.rejects.is_empty() && clean.symbols.len() == 2, "{id}: {:?}", clean.rejects);
        let fields: Vec<String> = entry(id, odd).as_object().unwrap().keys().cloned().collect();
        let mut odd_entries = 0;
        for (field, value) in fields.iter().flat_map(|f| odd_values.iter().map(move |v| (f, v))) {
            let mut wrong = entry(id, odd);
            wrong[field.as_str()] = value.clone();
            let raw = wrong.to_string();
            let got = listing(id, &[sound[0].clone(), raw.clone(), sound[1].clone()]);
            let others: Vec<_> = got.symbols.iter().filter(|s| s.name == first || s.name == last).collect();
            assert_eq!(others, clean.symbols.iter().collect::<Vec<_>>(), "{id} {raw}");
            let found = &got.rejects;
            assert!(found.len() <= 1 && found.iter().all(|e| e.raw == raw), "{id} {raw}: {found:?}");
            odd_entries += found.len();
            let itself = got.symbols.iter().find(|s| s.name == odd);
            match got.rejects.first() {
                Some(entry) if entry.name.is_none() => assert!(itself.is_none() && got.has_nameless(), "{id} {raw}"),
                // A name that is another usable word is that word.
                _ => assert!(got.symbols.len() == 3, "{id} {raw}"),
            }
        }
        assert!(odd_entries > 30, "{id}: {odd_entries}");
        for raw in
            ["null", "7", "[]", "{}", "\"x\"", r#"{"symbol":"A","symbol":"B","id":"A","id":"B","name":"A","name":"B"}"#]
        {
            let got = listing(id, &[raw.to_owned(), sound[0].clone(), sound[1].clone()]);
            assert_eq!(got.symbols, clean.symbols, "{id} {raw}");
            assert_eq!((got.rejects.len(), got.rejects[0].raw.as_str(), got.has_nameless()), (1, raw, true), "{id}");
        }
    }
}

#[test]
fn a_symbol_whose_status_or_steps_cannot_be_read_is_recorded_with_what_can() {
    for (id, status) in [
        (VenueId::BinanceSpot, "status"),
        (VenueId::BinanceUsdm, "status"),
        (VenueId::BinanceCoinm, "contractStatus"),
        (VenueId::KucoinSpot, "enableTrading"),
        (VenueId::KucoinFutures, "status"),
        (VenueId::GateSpot, "trade_status"),
        (VenueId::GateFutures, "status"),
    ] {
        let mut wrong = entry(id, names(id)[1]);
        wrong[status] = json!({});
        let got = listing(id, &[wrong.to_string()]);
        assert_eq!((got.symbols[0].trading, got.symbols[0].status.as_str()), (true, "unknown"), "{id}");
        assert!(got.rejects[0].why.contains(status), "{id}: {}", got.rejects[0].why);
        assert!(got.symbols[0].tick_size.is_some() && got.trades(), "{id}");
    }
    // 20 decimals are a number; 39 are none.
    let mut pair = entry(VenueId::GateSpot, "A_B");
    pair["precision"] = json!(20);
    let got = listing(VenueId::GateSpot, &[pair.to_string()]);
    assert_eq!((got.symbols[0].tick_size, got.rejects.len()), (Some(Num { mantissa: 1, scale: 20 }), 0));
    pair["precision"] = json!(39);
    let got = listing(VenueId::GateSpot, &[pair.to_string()]);
    assert_eq!((got.symbols[0].tick_size, got.rejects.len()), (None, 1));
}

#[test]
fn an_entry_that_comes_twice_is_one_symbol_and_the_one_that_trades_wins() {
    let halted = r#"{"symbol":"A","status":"BREAK","baseAsset":"A","quoteAsset":"B","filters":[]}"#.to_owned();
    let trades = halted.replace("BREAK", "TRADING");
    for list in [[halted.clone(), trades.clone()], [trades, halted]] {
        let got = listing(VenueId::BinanceSpot, &list);
        assert_eq!((got.symbols.len(), got.symbols[0].trading), (1, true));
        assert_eq!((got.rejects.len(), got.rejects[0].name.as_deref(), &got.rejects[0].raw), (1, Some("A"), &list[1]));
    }
}

#[test]
fn bytes_that_are_no_text_cost_only_the_entry_they_stand_in() {
    let mut body = br#"{"symbols":[{"symbol":"A","status":"TRADING","baseAsset":"A","quoteAsset":"B"},{"symbol":"B#","status":"TRADING"}]}"#.to_vec();
    let at = body.iter().position(|b| *b == b'#').unwrap();
    body[at] = 0xff;
    let got = venue(VenueId::BinanceSpot).rest.parse_listing(&body).unwrap();
    assert_eq!((got.symbols.len(), got.rejects.len(), got.rejects[0].name.is_none()), (1, 1, true));
}

/// What stands around the items, an item with `N` for its number, and what makes it odd.
struct Array {
    id: VenueId,
    /// Channel of the REST body.
    rest: Option<&'static str>,
    around: (&'static str, &'static str),
    item: &'static str,
    odd: (&'static str, &'static str),
    channel: Channel,
}

const ARRAYS: &[Array] = &[
    Array {
        id: VenueId::GateFutures,
        rest: None,
        around: (
            r#"{"time":1796008942,"time_ms":1796008942000,"channel":"futures.trades","event":"update","result":["#,
            "]}",
        ),
        item: r#"{"contract":"BTC_USDT","size":"5","id":N,"create_time":1796008942,"create_time_ms":1796008942000,"price":"96.4"}"#,
        odd: (r#""96.4""#, "null"),
        channel: Channel::Trades,
    },
    Array {
        id: VenueId::GateFutures,
        rest: None,
        around: (r#"{"time":1796008942,"channel":"futures.tickers","event":"update","result":["#, "]}"),
        item: r#"{"contract":"BTC_USDT","last":"N","volume_24h":"1","mark_price":"2","funding_rate":"0.1"}"#,
        odd: (r#""0.1""#, "{}"),
        channel: Channel::Tickers,
    },
    Array {
        id: VenueId::GateFutures,
        rest: None,
        around: (r#"{"time":1796008942,"channel":"futures.candlesticks","event":"update","result":["#, "]}"),
        item: r#"{"t":1796008920,"v":N,"c":"2","h":"3","l":"1","o":"2","n":"1m_BTC_USDT"}"#,
        odd: ("1m_BTC_USDT", "x"),
        channel: Channel::VenueKlines,
    },
    Array {
        id: VenueId::GateFutures,
        rest: None,
        around: (r#"{"time":1796008942,"channel":"futures.public_liquidates","event":"update","result":["#, "]}"),
        item: r#"{"price":"215.1","size":"-N","time":1541486601123,"contract":"BTC_USDT"}"#,
        odd: (r#""215.1""#, "[]"),
        channel: Channel::Liquidations,
    },
    Array {
        id: VenueId::GateSpot,
        rest: None,
        around: (r#"{"time":1796008942,"channel":"spot.order_book_update","event":"update","result":["#, "]}"),
        item: r#"{"t":1606294781123,"s":"BTC_USDT","U":N,"u":N,"b":[["1","2"]],"a":[["3","4"],["5","6"]]}"#,
        odd: (r#"["5","6"]"#, r#"["5",null]"#),
        channel: Channel::Depth,
    },
    Array {
        id: VenueId::GateSpot,
        rest: Some("trades"),
        around: ("[", "]"),
        item: r#"{"id":"N","create_time_ms":"1548000000123.456","sequence_id":"N","side":"buy","currency_pair":"A_B","amount":"1","price":"2"}"#,
        odd: (r#""buy""#, r#""up""#),
        channel: Channel::Trades,
    },
    Array {
        id: VenueId::GateFutures,
        rest: Some("trades"),
        around: ("[", "]"),
        item: r#"{"id":N,"create_time":1796008942,"contract":"BTC_USDT","size":3,"price":"96.4"}"#,
        odd: (r#""size":3"#, r#""size":0"#),
        channel: Channel::Trades,
    },
    Array {
        id: VenueId::BinanceUsdm,
        rest: None,
        around: (r#"{"stream":"!markPrice@arr","data":["#, "]}"),
        item: r#"{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"N","i":"2","P":"3","r":"0.1","T":1562306400000}"#,
        odd: (r#""i":"2""#, r#""i":"x""#),
        channel: Channel::MarkPrice,
    },
    Array {
        id: VenueId::BinanceUsdm,
        rest: None,
        around: (r#"{"stream":"!ticker@arr","data":["#, "]}"),
        item: r#"{"e":"24hrTicker","E":1796008942000,"s":"BTCUSDT","c":"N","o":"1","h":"2","l":"1","v":"1","q":"1"}"#,
        odd: (r#""e":"24hrTicker""#, r#""e":"unheard""#),
        channel: Channel::Tickers,
    },
    Array {
        id: VenueId::BinanceSpot,
        rest: None,
        around: ("[", "]"),
        item: r#"{"e":"trade","E":1,"s":"BTCUSDT","t":N,"p":"1","q":"1","T":1,"m":true,"M":true}"#,
        odd: (r#""m":true"#, r#""m":1"#),
        channel: Channel::Trades,
    },
    Array {
        id: VenueId::BinanceSpot,
        rest: Some("trades"),
        around: ("[", "]"),
        item: r#"{"id":N,"price":"4.00","qty":"12.00","quoteQty":"48.00","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}"#,
        odd: (r#""4.00""#, r#""4,0""#),
        channel: Channel::Trades,
    },
    Array {
        id: VenueId::BinanceUsdm,
        rest: Some("agg_trades"),
        around: ("[", "]"),
        item: r#"{"a":N,"p":"0.01","q":"4.70","f":N,"l":N,"T":1498793709153,"m":true}"#,
        odd: (r#""T":1498793709153"#, r#""T":null"#),
        channel: Channel::AggTrades,
    },
];

#[test]
fn an_odd_item_of_an_array_costs_only_itself_and_the_frame_says_which_one() {
    for a in ARRAYS {
        let item = |n: u32| a.item.replace('N', &n.to_string());
        let odd = |n: u32| {
            let odd = item(n).replacen(a.odd.0, a.odd.1, 1);
            assert_ne!(odd, item(n));
            odd
        };
        let rows_of = |items: &[String]| {
            let frame = format!("{}{}{}", a.around.0, items.join(","), a.around.1);
            let meta = a.rest.map(|channel| meta(channel, "BTCUSDT"));
            let kind = if a.rest.is_some() { FrameKind::Rest } else { FrameKind::Text };
            let mut rows = Rows::new();
            let frame = Frame { kind, payload: frame.as_bytes(), rest: meta.as_ref() };
            let decoded = venue(a.id).frames.decode(&frame, &mut rows);
            (decoded, rows)
        };
        let (decoded, clean) = rows_of(&[item(1), item(3)]);
        assert_eq!(decoded, Ok(Decoded::Rows(a.channel)), "{}", a.item);
        assert!(clean.rejects.is_empty() && !clean.is_empty());
        let (decoded, rows) = rows_of(&[item(1), odd(2), item(3)]);
        assert_eq!(decoded, Ok(Decoded::Rows(a.channel)), "{}", a.item);
        assert_eq!((rows.len(), rows.depth.len()), (clean.len(), clean.depth.len()), "{}", a.item);
        assert_eq!(numbers(&rows), numbers(&clean), "{}", a.item);
        assert_eq!((rows.rejects.count, rows.rejects.why.starts_with("item 2: ")), (1, true), "{}", rows.rejects.why);
        // Nothing that can be read: the frame is undecodable, with the reason of the first item.
        assert!(rows_of(&[odd(1), odd(2)]).0.is_err(), "{}", a.item);
        assert!(rows_of(&[item(1), "{\"".to_owned()]).0.is_err(), "an array that does not end is none");
    }
}

#[test]
fn an_odd_trade_of_a_binary_frame_costs_only_itself() {
    let mut checked = 0;
    for frame in binary_samples() {
        let decode = |payload: &[u8]| {
            let mut rows = Rows::new();
            let frame = Frame { kind: FrameKind::Binary, payload, rest: None };
            venue(VenueId::BinanceSpotSbe).frames.decode(&frame, &mut rows).map(|_| rows)
        };
        let Ok(clean) = decode(&frame) else { continue };
        if clean.trades.len() < 2 {
            continue;
        }
        // The null price of a trade, where its bytes are found.
        let price = (clean.trades[0].price.mantissa as i64).to_le_bytes();
        let at = frame.windows(8).position(|w| w == price).unwrap();
        let mut odd = frame.clone();
        odd[at..at + 8].copy_from_slice(&i64::MIN.to_le_bytes());
        let rows = decode(&odd).unwrap();
        assert_eq!((rows.trades.len(), rows.rejects.count), (clean.trades.len() - 1, 1));
        assert_eq!(rows.trades, clean.trades[1..]);
        checked += 1;
    }
    assert!(checked > 0, "no sample has two trades");
}

const WIDE: &str = "12345678901234567890.123456789012345678";

/// Where in a frame decimals stand that are no times.
fn decimals(frame: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = frame.as_bytes();
    let is_part = |b: u8| b.is_ascii_digit() || b == b'.' || b == b'-';
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + bytes[at..].iter().take_while(|b| is_part(**b)).count();
        let text = &frame[at..end];
        let ends = |b: Option<&u8>| matches!(b, Some(b'"' | b',' | b':' | b'[' | b']' | b'}'));
        let before = &frame[at.saturating_sub(20)..at];
        let is_time = ["time", "\"T\":", "\"E\":", "\"t\":"].iter().any(|word| before.contains(word));
        if text.contains('.')
            && text.len() > 2
            && !is_time
            && ends(at.checked_sub(1).and_then(|i| bytes.get(i)))
            && ends(bytes.get(end))
        {
            found.push(at..end);
        }
        at = end.max(at + 1);
    }
    found
}

#[test]
fn numbers_of_38_digits_in_any_field_of_any_venue_become_rows_with_every_digit() {
    let wide = Num::parse(WIDE.as_bytes()).unwrap();
    let files: [(&str, &[(&str, VenueId)]); 3] = [
        (
            include_str!("binance/tests/golden.txt"),
            &[("spot", VenueId::BinanceSpot), ("usdm", VenueId::BinanceUsdm), ("coinm", VenueId::BinanceCoinm)],
        ),
        (
            include_str!("kucoin/tests/golden.txt"),
            &[("spot", VenueId::KucoinSpot), ("futures", VenueId::KucoinFutures)],
        ),
        (include_str!("gate/tests/golden.txt"), &[("spot", VenueId::GateSpot), ("futures", VenueId::GateFutures)]),
    ];
    let mut kept = std::collections::BTreeMap::new();
    for (file, markets) in files {
        for golden in blocks(file, markets).iter().filter(|g| g.frame.is_ascii()) {
            let decode = |payload: &str| {
                let mut rows = Rows::new();
                let frame = Frame { payload: payload.as_bytes(), ..golden.as_frame() };
                venue(golden.market).frames.decode(&frame, &mut rows).map(|decoded| (decoded, rows))
            };
            let Ok((decoded @ Decoded::Rows(_), _)) = decode(golden.frame) else { continue };
            for place in decimals(golden.frame) {
                let mut frame = golden.frame.to_owned();
                frame.replace_range(place, WIDE);
                let (again, rows) = decode(&frame).unwrap_or_else(|e| panic!("{}: {e}: {frame}", golden.market));
                assert!(again == decoded && rows.rejects.is_empty(), "{frame}: {:?}", rows.rejects);
                // Some fields are in no table.
                *kept.entry(golden.market).or_insert(0) += usize::from(numbers(&rows).contains(&wide));
            }
        }
    }
    // All but the binary market have frames with rows in a golden file.
    let texts = VenueId::ALL.iter().filter(|id| **id != VenueId::BinanceSpotSbe);
    assert!(texts.clone().all(|id| kept.get(id).is_some_and(|n| *n >= 10)), "{kept:?}");
}

#[test]
fn an_id_of_a_trade_that_no_64_bits_hold_is_kept_digit_for_digit() {
    let id = "18446744073709551615";
    let frames = [
        (
            VenueId::BinanceSpot,
            format!(r#"{{"e":"trade","E":1,"s":"A","t":{id},"p":"1","q":"1","T":1,"m":true,"M":true}}"#),
        ),
        (
            VenueId::BinanceUsdm,
            format!(r#"{{"e":"trade","E":1,"T":1,"s":"A","t":{id},"p":"1","q":"1","X":"MARKET","m":true}}"#),
        ),
        (
            VenueId::GateSpot,
            format!(
                r#"{{"time":1,"channel":"spot.trades","event":"update","result":{{"id":{id},"create_time":1,"side":"buy","currency_pair":"A_B","amount":"1","price":"1"}}}}"#
            ),
        ),
        (
            VenueId::GateFutures,
            format!(
                r#"{{"time":1,"channel":"futures.trades","event":"update","result":[{{"size":"1","id":{id},"create_time":1,"price":"1","contract":"A_B"}}]}}"#
            ),
        ),
    ];
    for (venue_id, frame) in frames {
        let mut rows = Rows::new();
        venue(venue_id).frames.decode(&text(frame.as_bytes()), &mut rows).unwrap_or_else(|e| panic!("{venue_id}: {e}"));
        assert_eq!((rows.trades[0].id, rows.trades[0].id_str.as_deref()), (None, Some(id)), "{venue_id}");
    }
}

#[test]
fn a_day_of_a_rupiah_pair_is_a_row_in_the_fast_and_in_the_general_path() {
    let frames = [
        r#"{"stream":"usdtidr@ticker","data":{"e":"24hrTicker","E":1796008942000,"s":"USDTIDR","c":"16260.00","o":"16248.00","h":"16280.00","l":"16240.00","v":"50123456.12000000","q":"814503210987.12345678","n":2}}"#,
        r#"{"stream":"usdtidr@trade","data":{"e":"trade","E":1796008942003,"s":"USDTIDR","t":2,"p":"0.00000001","q":"123456789012.12345678","T":1796008942003,"m":false,"M":true}}"#,
        r#"{"stream":"usdtidr@depth@100ms","data":{"e":"depthUpdate","E":1796008942003,"s":"USDTIDR","U":1,"u":2,"b":[["0.00000001","123456789012.12345678"]],"a":[]}}"#,
    ];
    for frame in frames {
        let mut rows = Rows::new();
        venue(VenueId::BinanceSpot).frames.decode(&text(frame.as_bytes()), &mut rows).unwrap();
        assert!(numbers(&rows).iter().any(|n| n.to_string().len() > 19), "{frame}");
    }
}
