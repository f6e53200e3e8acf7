//! `history verify`: candles that follow from trades, rows that the live lake has too, files that were changed; and the
//! archive's candles in the candle database.

use history::verify::{VerifyJob, VerifyReport, verify};
use lake::{Common, Lake, Table, TableBuffer, WriteSettings, write_piece};
use model::row::{AggTrade, Side, Trade};
use model::{Interner, Num};

use crate::support::archive::Archive;
use crate::support::{Dice, both, run, seed};

const MINUTE_MS: i64 = 60_000;
/// 2024-08-08 00:00 UTC, ms.
const DAY: i64 = 1_723_075_200_000;
const TRADES: &str = "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip";
const AGGS: &str = "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-08-08.zip";
const BARS: &str = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-08-08.zip";

/// One trade: id, ms, price in cents, amount in hundred-thousandths, taker sold.
#[derive(Clone, Copy)]
struct T(i64, i64, i64, i64, bool);

fn cents(v: i64) -> String {
    format!("{}.{:02}", v / 100, v % 100)
}

fn small(v: i64) -> String {
    format!("{}.{:05}", v / 100_000, v % 100_000)
}

fn trades(dice: &mut Dice) -> Vec<T> {
    let mut at = DAY;
    (0..4_000)
        .map(|i| {
            at += dice.below(40_000) as i64;
            let price = 6_000_000 + dice.below(5_000) as i64;
            T(9_000 + i, at.min(DAY + 86_399_999), price, 1 + dice.below(300_000) as i64, dice.below(2) == 0)
        })
        .collect()
}

fn trades_csv(trades: &[T]) -> String {
    let line = |t: &T| {
        let quote = i128::from(t.2) * i128::from(t.3);
        let quote = format!("{}.{:07}", quote / 10_000_000, quote % 10_000_000);
        format!("{},{},{},{quote},{},{},True\n", t.0, cents(t.2), small(t.3), t.1, if t.4 { "True" } else { "False" })
    };
    trades.iter().map(line).collect()
}

/// Trades one by one as aggregates with their own ids.
fn aggs_csv(trades: &[T]) -> String {
    let line = |(i, t): (usize, &T)| {
        let maker = if t.4 { "True" } else { "False" };
        format!("{},{},{},{},{},{},{maker},True\n", 500 + i, cents(t.2), small(t.3), t.0, t.0, t.1)
    };
    trades.iter().enumerate().map(line).collect()
}

/// The day's candles, made here in integers: the other way to the same numbers.
fn bars_csv(trades: &[T]) -> String {
    let mut text = String::new();
    let mut close = trades[0].2;
    for m in 0..1_440 {
        let open_ms = DAY + m * MINUTE_MS;
        let inside: Vec<&T> = trades.iter().filter(|t| t.1.div_euclid(MINUTE_MS) * MINUTE_MS == open_ms).collect();
        let o = inside.first().map_or(close, |t| t.2);
        let h = inside.iter().map(|t| t.2).max().unwrap_or(close);
        let l = inside.iter().map(|t| t.2).min().unwrap_or(close);
        close = inside.last().map_or(close, |t| t.2);
        let volume: i64 = inside.iter().map(|t| t.3).sum();
        let quote: i64 = inside.iter().map(|t| t.2 * t.3).sum();
        let buys = || inside.iter().filter(|t| !t.4);
        let (buy, buy_quote): (i64, i64) = (buys().map(|t| t.3).sum(), buys().map(|t| t.2 * t.3).sum());
        let seven = |v: i64| format!("{}.{:07}0", v / 10_000_000, v % 10_000_000);
        text += &format!(
            "{open_ms},{},{},{},{},{},{},{},{},{},{},0\n",
            cents(o),
            cents(h),
            cents(l),
            cents(close),
            small(volume),
            open_ms + MINUTE_MS - 1,
            seven(quote),
            inside.len(),
            small(buy),
            seven(buy_quote)
        );
    }
    text
}

fn proof(archive: &Archive, live: bool) -> VerifyReport {
    let live_lake = Lake::open(&archive.dir.path().join("live"));
    verify(&VerifyJob {
        mirror: archive.dir.path(),
        lake: &Lake::open(&archive.lake()),
        live: live.then_some(&live_lake),
        selection: &Default::default(),
        quick: false,
        on_series: &|_| {},
    })
    .unwrap()
}

fn of<'r>(report: &'r VerifyReport, series: &str) -> &'r history::verify::SeriesReport {
    report.series.iter().find(|s| s.series == series).unwrap()
}

const SPOT_TRADES: &str = "trades/exchange=binance-spot/BTCUSDT";
const SPOT_AGGS: &str = "agg_trades/exchange=binance-spot/BTCUSDT";

#[test]
fn candles_follow_from_the_trades_and_a_changed_digit_is_found() {
    let mut dice = Dice::new(seed("candles of the archive"));
    let trades = trades(&mut dice);
    let archive = Archive::new();
    archive.put(TRADES, trades_csv(&trades));
    archive.put(AGGS, aggs_csv(&trades));
    let bars = bars_csv(&trades);
    archive.put(BARS, &bars);
    archive.clean();
    let report = proof(&archive, false);
    for series in [SPOT_TRADES, SPOT_AGGS] {
        let found = of(&report, series);
        let c = &found.candles["1m"];
        assert_eq!((c.different, c.in_holes, c.only_trades), (0, 0, 0), "{series}: {c:?}");
        assert!(c.equal > 1_400 && c.equal + c.only_archive == 1_440, "{c:?}");
        assert_eq!(found.wrong, Vec::<String>::new());
    }
    assert_eq!(report.wrong(), 0);
    // One digit of one candle with trades.
    let line = bars.lines().nth(700).unwrap();
    let mut fields: Vec<&str> = line.split(',').collect();
    let volume = format!("{}1", fields[5]);
    fields[5] = &volume;
    archive.put(BARS, bars.replace(line, &fields.join(",")));
    archive.clean();
    let report = proof(&archive, false);
    let c = &of(&report, SPOT_TRADES).candles["1m"];
    assert_eq!((c.different, c.by_field["volume"]), (1, 1));
    assert!(c.first[0].contains("2024-08-08T11:40:00Z: volume"), "{:?}", c.first);
    let say_so = report.series.iter().filter(|s| !s.candles.is_empty() && !s.wrong.is_empty());
    assert_eq!(say_so.count(), 2, "trades and aggregates both say so");
}

#[test]
fn a_candle_whose_trades_are_missing_is_not_held_against_the_archive_but_the_hole_is() {
    let mut dice = Dice::new(seed("holes"));
    let trades = trades(&mut dice);
    let archive = Archive::new();
    let holed: Vec<T> = trades.iter().filter(|t| !(10_000..10_003).contains(&t.0)).copied().collect();
    archive.put(TRADES, trades_csv(&holed));
    archive.put(BARS, bars_csv(&trades));
    archive.clean();
    let report = proof(&archive, false);
    let found = of(&report, SPOT_TRADES);
    let c = &found.candles["1m"];
    assert_eq!(c.different, 0, "{:?}", c.first);
    assert!((1..=3).contains(&c.in_holes), "{c:?}");
    assert_eq!(found.stats.missing_unexplained, 3);
    assert!(found.wrong.iter().any(|w| w.starts_with("3 ids or rows are missing")), "{:?}", found.wrong);
}

/// Writes rows into a live lake, as the compactor lays it out.
fn live_lake(archive: &Archive, table: Table, rows: &[T]) {
    let mut names = Interner::new();
    let (symbol, other) = (names.intern("BTCUSDT"), names.intern("ETHUSDT"));
    let num = |mantissa: i64, scale| Num { mantissa: mantissa.into(), scale };
    let mut buffer = TableBuffer::new(table, &WriteSettings::default());
    for (i, t) in rows.iter().enumerate() {
        let c = Common { ts_recv_ns: t.1 * 1_000_000, seq: i as i64, conn: 1, flags: 0 };
        let symbol = if i % 7 == 6 { other } else { symbol };
        let side = if t.4 { Side::Sell } else { Side::Buy };
        let (price, amount) = (num(t.2 * 10_000, 6), num(t.3, 5));
        let (ts_event_us, ts) = (Some(t.1 * 1_000), t.1 * 1_000 + 7);
        if table == Table::Trades {
            let (id, ts_trade_us) = (Some(t.0), Some(ts));
            let row = Trade { symbol, ts_event_us, ts_trade_us, id, id_str: None, price, amount, side, kind: None };
            buffer.push(&c, 0, &row);
        } else {
            let (agg_id, first_id, last_id) = (t.0, t.0, t.0);
            let row = AggTrade { symbol, ts_event_us, ts_trade_us: ts, agg_id, first_id, last_id, price, amount, side };
            buffer.push(&c, 0, &row);
        }
    }
    let folder = archive.dir.path().join(format!("live/{table}/exchange=binance-spot/date=2024-08-08/hour=05"));
    std::fs::create_dir_all(&folder).unwrap();
    let chunk = buffer.take_first(usize::MAX, &names);
    write_piece(&folder.join("0badcafe-0000000000000000.parquet"), &chunk, &WriteSettings::default(), &[]).unwrap();
}

#[test]
fn rows_of_the_live_lake_are_compared_one_by_one() {
    let mut dice = Dice::new(seed("overlap"));
    let trades = trades(&mut dice);
    let archive = Archive::new();
    archive.put(TRADES, trades_csv(&trades));
    archive.clean();
    let part: Vec<T> = trades.iter().skip(500).take(700).copied().collect();
    live_lake(&archive, Table::Trades, &part);
    let report = proof(&archive, true);
    let o = of(&report, SPOT_TRADES).overlap.clone().unwrap();
    assert_eq!((o.days, o.compared, o.equal, o.different, o.only_live), (1, 600, 600, 0, 0), "{o:?}");
    // Every seventh row of the live lake is of another symbol: holes of the live lake, not of the archive.
    assert_eq!(o.only_archive, 99);
    assert_eq!(report.wrong(), 0);
    let mut changed = part;
    changed[3].2 += 1;
    changed[4].4 = !changed[4].4;
    live_lake(&archive, Table::Trades, &changed);
    let report = proof(&archive, true);
    let found = of(&report, SPOT_TRADES);
    assert_eq!(found.overlap.as_ref().unwrap().different, 2);
    assert_eq!(found.wrong, ["2 rows differ from the live lake"]);
    // And what the archive does not have.
    archive.put(TRADES, trades_csv(&trades.iter().filter(|t| t.0 != 9_505).copied().collect::<Vec<_>>()));
    archive.clean();
    let o = of(&proof(&archive, true), SPOT_TRADES).overlap.clone().unwrap();
    assert_eq!(o.only_live, 1);
}

#[test]
fn files_that_were_changed_or_lost_are_named() {
    let mut dice = Dice::new(seed("changed files"));
    let archive = Archive::new();
    archive.put(TRADES, trades_csv(&trades(&mut dice)));
    archive.clean();
    assert_eq!(proof(&archive, false).wrong(), 0);
    let file = archive.files(SPOT_TRADES).remove(0);
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    let found = proof(&archive, false);
    assert!(found.series[0].wrong[0].contains("is not what was written: SHA-256"), "{:?}", found.series[0].wrong);
    std::fs::remove_file(&file).unwrap();
    assert!(proof(&archive, false).series[0].wrong[0].contains("is gone; clean again"));
    archive.clean();
    assert_eq!(std::fs::read(&file).unwrap(), good, "cleaning makes what is gone again");
    assert_eq!(proof(&archive, false).wrong(), 0);
    archive.put_zip(TRADES, b"other bytes");
    assert!(proof(&archive, false).series[0].wrong[0].contains("is not what was cleaned"));
}

#[test]
fn the_command_cleans_verifies_and_fills_the_candle_database_from_the_archive() {
    let mut dice = Dice::new(seed("the command"));
    let trades = trades(&mut dice);
    let archive = Archive::new();
    archive.put(TRADES, trades_csv(&trades));
    archive.put(BARS, bars_csv(&trades));
    let config = archive.dir.path().join("t.toml");
    let (history, data) =
        (archive.dir.path().display().to_string(), archive.dir.path().join("data").display().to_string());
    std::fs::write(&config, format!("[data]\ndir = {data:?}\n[history]\ndir = {history:?}\n")).unwrap();
    let config = config.display().to_string();
    let early = run(&["history", "verify", "--config", &config]);
    assert_eq!(early.status.code(), Some(1), "{}", both(&early));
    assert!(both(&early).contains("nothing of this selection was cleaned yet"), "{}", both(&early));
    for cleaned in [2, 0] {
        let out = run(&["history", "clean", "--config", &config, "--symbols", "BTC*", "--json"]);
        assert_eq!(out.status.code(), Some(0), "{}", both(&out));
        let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((told["months"].as_u64(), told["cleaned"].as_u64()), (Some(2), Some(cleaned)));
    }
    let out = run(&["history", "verify", "--config", &config]);
    assert_eq!(out.status.code(), Some(0), "{}", both(&out));
    assert!(both(&out).contains("0 different"), "{}", both(&out));
    for inserted in [1_440, 0] {
        let fill = ["klines", "backfill", "--from-history", "--config", &config, "--interval", "1m", "--json"];
        let out = run(&fill);
        assert_eq!(out.status.code(), Some(0), "{}", both(&out));
        let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((told[0]["candles"].as_u64(), told[0]["inserted"].as_u64()), (Some(1_440), Some(inserted)));
    }
    let csv = archive.dir.path().join("k.csv").display().to_string();
    let out = run(&["klines", "export", "--config", &config, "--format", "csv", "--out", &csv]);
    assert_eq!(out.status.code(), Some(0), "{}", both(&out));
    let text = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(text.lines().count(), 1_441);
    // A damaged file: the rest is cleaned, and the exit code says that something is to be done.
    archive.put_zip(AGGS, b"PK");
    let out = run(&["history", "clean", "--config", &config]);
    assert_eq!(out.status.code(), Some(1), "{}", both(&out));
    assert!(both(&out).contains("damaged zip") && both(&out).contains("history download"), "{}", both(&out));
    let out = run(&["history", "verify", "--config", &config]);
    assert_eq!(out.status.code(), Some(1), "{}", both(&out));
}

const UM_DAY: &str = "data/futures/um/daily";
/// 2024-08-31 00:00 UTC, ms.
const LAST_DAY: i64 = 1_725_062_400_000;
const DAY_MS: i64 = 86_400_000;

/// Trades of USD-M, in the order they are given: id, ms, amount.
fn um_trades(trades: &[(i64, i64, i64)]) -> String {
    let line = |(id, ms, amount): &(i64, i64, i64)| format!("{id},1.0,{amount}.0,{amount}.0,{ms},false\n");
    format!("id,price,qty,quote_qty,time,is_buyer_maker\n{}", trades.iter().map(line).collect::<String>())
}

/// The candles of some days, from the trades' own times, whatever their order; every minute has one.
fn um_bars(trades: &[(i64, i64, i64)], from_ms: i64, to_ms: i64) -> String {
    (from_ms..to_ms)
        .step_by(60_000)
        .map(|open| {
            let inside = || trades.iter().filter(|t| (open..open + 60_000).contains(&t.1));
            let (volume, count) = (inside().map(|t| t.2).sum::<i64>(), inside().count());
            let close = open + 59_999;
            format!("{open},1.0,1.0,1.0,1.0,{volume}.0,{close},{volume}.0,{count},{volume}.0,{volume}.0,0\n")
        })
        .collect()
}

/// One trade at the beginning of every minute of two days, the last of August and the first of September.
fn over_the_month() -> Vec<(i64, i64, i64)> {
    (0..2 * 1_440).map(|m| (m + 1, LAST_DAY + m * MINUTE_MS + 10, 1)).collect()
}

/// A mirror with these trades, in two files, and the candles of `all`.
fn two_months(trades: &[(i64, i64, i64)], all: &[(i64, i64, i64)]) -> Archive {
    let archive = Archive::new();
    let second = trades.iter().position(|t| t.1 >= LAST_DAY + DAY_MS).unwrap();
    let days = [("2024-08-31", &trades[..second], LAST_DAY), ("2024-09-01", &trades[second..], LAST_DAY + DAY_MS)];
    for (day, of_day, from) in days {
        archive.put(&format!("{UM_DAY}/trades/AUSDT/AUSDT-trades-{day}.zip"), um_trades(of_day));
        archive.put(&format!("{UM_DAY}/klines/AUSDT/1m/AUSDT-1m-{day}.zip"), um_bars(all, from, from + DAY_MS));
    }
    archive.clean();
    archive
}

const UM_TRADES: &str = "trades/exchange=binance-usdm/AUSDT";

#[test]
fn a_trade_whose_time_steps_back_belongs_to_its_own_candle_however_late_it_comes() {
    let mut trades = over_the_month();
    // 2 ms before the edge that was passed; four hours late; a trade of August after one of September.
    for (behind, back_ms, amount) in
        [(10, 12, 5), (700, 4 * 60 * MINUTE_MS, 7), (1_440, 15, 3), (1_441, 26 * MINUTE_MS, 2)]
    {
        let at = trades[behind].1 - back_ms;
        trades.insert(behind + 1, (0, at, amount));
    }
    for (i, trade) in trades.iter_mut().enumerate() {
        trade.0 = i as i64 + 1;
    }
    let archive = two_months(&trades, &trades);
    let report = proof(&archive, false);
    let found = of(&report, UM_TRADES);
    let c = &found.candles["1m"];
    assert_eq!((c.compared, c.equal, c.only_archive, c.only_trades), (2_880, 2_880, 0, 0), "{c:?}");
    assert_eq!(found.wrong, Vec::<String>::new());
    assert_eq!(report.wrong(), 0);
}

#[test]
fn ids_that_are_missing_between_two_months_excuse_the_candles_at_the_edge_and_are_told_themselves() {
    let all = over_the_month();
    // The last four minutes of August and the first three of September.
    let holed: Vec<_> = all.iter().filter(|t| !(1_437..=1_443).contains(&t.0)).copied().collect();
    let archive = two_months(&holed, &all);
    let report = proof(&archive, false);
    let found = of(&report, UM_TRADES);
    let c = &found.candles["1m"];
    assert_eq!((c.different, c.compared), (0, 2_880), "{c:?}");
    assert_eq!((found.stats.missing_unexplained, found.stats.missing_ids.count), (7, 1));
    assert!(found.wrong.iter().all(|w| w.starts_with("7 ids or rows are missing")), "{:?}", found.wrong);
}

#[test]
fn ids_that_stand_in_two_months_are_told() {
    let mut trades = over_the_month();
    // September begins with the last trade of August once more.
    let again = trades[1_439];
    trades.insert(1_440, (again.0, LAST_DAY + DAY_MS, again.2));
    let archive = two_months(&trades, &over_the_month());
    let found = of(&proof(&archive, false), UM_TRADES).clone();
    assert_eq!(found.stats.defects["rows_in_two_months"].count, 1);
    assert!(found.wrong.iter().any(|w| w.contains("in two months")), "{:?}", found.wrong);
}

#[test]
fn a_row_that_two_months_have_stands_in_the_lake_once_and_is_told() {
    let all = over_the_month();
    let name = |day: &str| format!("{UM_DAY}/trades/AUSDT/AUSDT-trades-{day}.zip");
    // August goes on for two trades of September, which begins with the last three of August.
    let (august, september) = (&all[..1_442], &all[1_437..]);
    let bars = |day: &str, from: i64, to: i64| {
        (format!("{UM_DAY}/klines/AUSDT/1m/AUSDT-1m-{day}.zip"), um_bars(&all, from, to))
    };
    let middle = LAST_DAY + DAY_MS;
    let archive = Archive::new();
    let put = |(path, csv): (String, String)| archive.put(&path, csv);
    // September is here first: what it has in common with August is found out when that comes.
    put((name("2024-09-01"), um_trades(september)));
    put(bars("2024-09-01", middle, middle + DAY_MS));
    archive.clean();
    assert_eq!(archive.record(UM_TRADES, "2024-09").tally.rows, 1_443);
    put((name("2024-08-31"), um_trades(august)));
    put(bars("2024-08-31", LAST_DAY, middle + MINUTE_MS));
    assert_eq!(archive.clean().cleaned, 4);
    let whole: Vec<i64> = (1..=2_880).collect();
    assert_eq!(archive.ints(UM_TRADES, "id"), whole);
    for (series, rows) in [(UM_TRADES, 5), ("venue_klines/exchange=binance-usdm/AUSDT-1m", 1)] {
        let record = archive.record(series, "2024-09");
        assert_eq!((record.in_two_months, record.tally.repeated), (rows, 0), "{series}");
    }
    let report = proof(&archive, false);
    let found = of(&report, UM_TRADES);
    assert_eq!((found.wrong.clone(), found.stats.repeated, found.stats.in_two_months), (Vec::new(), 0, 5));
    assert_eq!(found.stats.defects["rows_in_two_months"].count, 5, "it is told");
    assert_eq!(archive.clean().unchanged, 4, "what is clean stays as it is");
    // August is uploaded again as it should be: what September left out for it is in September.
    put((name("2024-08-31"), um_trades(&all[..1_440])));
    assert_eq!(archive.clean().cleaned, 2);
    assert_eq!(archive.ints(UM_TRADES, "id"), whole);
    assert_eq!(archive.record(UM_TRADES, "2024-09").in_two_months, 3);
    // Another value under the same id is another fact: both stay, and that is wrong.
    let mut other = september.to_vec();
    other[2].2 = 9;
    put((name("2024-09-01"), um_trades(&other)));
    archive.clean();
    let record = archive.record(UM_TRADES, "2024-09");
    assert_eq!((record.in_two_months, record.tally.rows), (2, 1_441));
    let found = of(&proof(&archive, false), UM_TRADES).clone();
    assert!(found.stats.repeated == 1 && found.wrong.iter().any(|w| w.contains("in two months")), "{found:?}");
    assert_eq!(archive.clean().unchanged, 4);
}

#[test]
fn an_outage_of_the_exchange_is_told_with_its_source_and_is_nothing_wrong() {
    // 2021-04-01 00:00 UTC, ms; no trading on the 25th from 04:01 to 08:45, nor on the 20th from 02:00 to 04:30.
    let month = 1_617_235_200_000;
    let csv = |missing: &dyn Fn(i64) -> bool| -> String {
        let line = |h: i64| {
            let open = month + h * 60 * MINUTE_MS;
            format!("{open},1.0,1.0,1.0,1.0,5.0,{},5.0,3,2.0,2.0,0\n", open + 60 * MINUTE_MS - 1)
        };
        (0..30 * 24).filter(|h| !missing(*h)).map(line).collect()
    };
    let archive = Archive::new();
    let path = "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2021-04.zip";
    let outage = |h: i64| (24 * 24 + 5..24 * 24 + 8).contains(&h) || (19 * 24 + 2..19 * 24 + 4).contains(&h);
    archive.put(path, csv(&outage));
    archive.clean();
    let report = proof(&archive, false);
    let stats = &report.series[0].stats;
    assert_eq!((report.wrong(), stats.missing_times.missing, stats.missing_unexplained), (0, 5, 0));
    let told = stats.reported.join("\n");
    assert!(told.contains("2021-04-25 04:00:59 to 2021-04-25 08:45 UTC") && told.contains("#312"), "{told}");
    // An hour that nobody reported, in the middle of the month and right after the outage.
    for hour in [200, 24 * 24 + 8] {
        archive.put(path, csv(&|h| outage(h) || h == hour));
        archive.clean();
        let report = proof(&archive, false);
        assert_eq!(report.series[0].stats.missing_unexplained, 1, "hour {hour}");
        assert_eq!(report.wrong(), 1);
    }
    // Futures traded on.
    archive.put("data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2021-04.zip", csv(&outage));
    archive.clean();
    let futures = of(&proof(&archive, false), "venue_klines/exchange=binance-usdm/BTCUSDT-1h").clone();
    assert_eq!(futures.stats.missing_unexplained, 5);
}

#[test]
fn a_candle_that_contradicts_itself_or_its_grid_is_named_and_is_wrong_where_nobody_reported_it() {
    const GOOD: &str = "1723075200000,10.0,12.0,9.0,11.0,5.0,1723078799999,50.0,3,2.0,20.0,0";
    let cases = [
        ("candles_off_their_grid", "1723075200001,10.0,12.0,9.0,11.0,5.0,1723078800000,50.0,3,2.0,20.0,0"),
        ("candles_that_end_early_or_late", "1723075200000,10.0,12.0,9.0,11.0,5.0,1723078799998,50.0,3,2.0,20.0,0"),
        ("candles_that_end_early_or_late", "1723075200000,10.0,12.0,9.0,11.0,5.0,1723082399999,50.0,3,2.0,20.0,0"),
        ("high_below_low", "1723075200000,10.0,9.0,12.0,11.0,5.0,1723078799999,50.0,3,2.0,20.0,0"),
        ("prices_outside_high_and_low", "1723075200000,10.0,10.5,9.0,11.0,5.0,1723078799999,50.0,3,2.0,20.0,0"),
        ("prices_outside_high_and_low", "1723075200000,10.0,12.0,10.5,11.0,5.0,1723078799999,55.0,3,2.0,22.0,0"),
        ("prices_not_positive", "1723075200000,10.0,12.0,-9.0,11.0,5.0,1723078799999,50.0,3,2.0,20.0,0"),
        ("prices_not_positive", "1723075200000,10.0,12.0,0,11.0,5.0,1723078799999,50.0,3,2.0,20.0,0"),
        ("more_bought_than_traded", "1723075200000,10.0,12.0,9.0,11.0,5.0,1723078799999,50.0,3,5.1,50.0,0"),
        ("more_bought_than_traded", "1723075200000,10.0,12.0,9.0,11.0,5.0,1723078799999,50.0,3,5.0,50.1,0"),
        ("volume_without_trades", "1723075200000,10.0,12.0,9.0,11.0,5.0,1723078799999,50.0,0,2.0,20.0,0"),
        ("trades_without_volume", "1723075200000,10.0,12.0,9.0,11.0,0.0,1723078799999,0.0,3,0.0,0.0,0"),
        ("quote_volume_does_not_fit", "1723075200000,10.0,12.0,9.0,11.0,5.0,1723078799999,80.0,3,2.0,20.0,0"),
    ];
    let named = |path: &str, series: &str, line: &str| {
        let archive = Archive::new();
        archive.put(path, format!("{line}\n"));
        archive.clean();
        assert_eq!(archive.ints(series, "open_time").len(), 1, "kept: {line}");
        let report = proof(&archive, false);
        let names: Vec<String> = report.series[0].stats.defects.keys().cloned().collect();
        (names, report.wrong())
    };
    let spot = ("data/spot/daily/klines/A/1h/A-1h-2024-08-08.zip", "venue_klines/exchange=binance-spot/A-1h");
    assert_eq!(named(spot.0, spot.1, GOOD), (Vec::new(), 0));
    for (name, line) in cases {
        assert_eq!(named(spot.0, spot.1, line), (vec![name.to_owned()], 1), "{line}");
    }
    // What is right elsewhere: a premium below zero without volume, quote volume in coins.
    let premium = "1723075200000,-0.1,0.1,-0.2,-0.1,0,1723078799999,0,12,0,0,0";
    let (path, series) = (
        "data/futures/um/daily/premiumIndexKlines/A/1h/A-1h-2024-08-08.zip",
        "premium_index_klines/exchange=binance-usdm/A-1h",
    );
    assert_eq!(named(path, series, premium), (Vec::new(), 0));
    let coins = "1723075200000,10.0,12.0,9.0,11.0,5,1723078799999,48.0,3,2,19.0,0";
    let (path, series) = (
        "data/futures/cm/daily/klines/A_PERP/1h/A_PERP-1h-2024-08-08.zip",
        "venue_klines/exchange=binance-coinm/A_PERP-1h",
    );
    assert_eq!(named(path, series, coins), (Vec::new(), 0));
    // A month begins on its first day; a week on Monday, which the 8th of August 2024 is not.
    let month = GOOD.replace("1723075200000", "1722470400000").replace("1723078799999", "1725148799999");
    let (path, series) =
        ("data/spot/monthly/klines/A/1mo/A-1mo-2024-08.zip", "venue_klines/exchange=binance-spot/A-1mo");
    assert_eq!(named(path, series, &month), (Vec::new(), 0));
    let week = GOOD.replace("1723078799999", "1723679999999");
    let (path, series) = ("data/spot/daily/klines/A/1w/A-1w-2024-08-08.zip", "venue_klines/exchange=binance-spot/A-1w");
    assert_eq!(named(path, series, &week), (vec!["candles_off_their_grid".to_owned()], 1));
    // Reported: candles of February 2018 that open half an hour beside the hour.
    let shifted = "1518168494789,10.0,12.0,9.0,11.0,5.0,1518172094788,50.0,3,2.0,20.0,0";
    let (path, series) = ("data/spot/daily/klines/A/1h/A-1h-2018-02-09.zip", "venue_klines/exchange=binance-spot/A-1h");
    assert_eq!(named(path, series, shifted), (vec!["candles_off_their_grid".to_owned()], 0));
}

#[test]
fn a_damaged_record_is_told_and_costs_its_own_month() {
    let archive = two_months(&over_the_month(), &over_the_month());
    let record = archive.lake().join("_manifests").join(UM_TRADES).join("2024-08.json");
    let good = std::fs::read(&record).unwrap();
    std::fs::write(&record, &good[..good.len() / 2]).unwrap();
    let report = proof(&archive, false);
    let told = of(&report, "_manifests/trades/exchange=binance-usdm/AUSDT/2024-08.json");
    assert!(told.wrong[0].contains("remove it and clean again"), "{:?}", told.wrong);
    let rest = of(&report, UM_TRADES);
    assert_eq!((rest.stats.months, rest.candles["1m"].compared), (1, 1_440));
    assert_eq!(archive.clean().cleaned, 1, "that month");
    assert_eq!(std::fs::read(&record).unwrap(), good);
    assert_eq!(proof(&archive, false).wrong(), 0);
}
