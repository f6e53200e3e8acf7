//! `history verify`: candles that follow from trades, rows that the live lake has too, files that were changed; and the
//! archive's candles in the candle database.

use tapedeck::history::verify::{Job, Report, verify};
use tapedeck::lake::{Common, Numeric, Table, TableBuffer, WriteSettings, write_piece};
use tapedeck::venue::row::{AggTrade, Side, Trade};
use tapedeck::venue::{Interner, Num};

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

fn proof(archive: &Archive, live: bool) -> Report {
    let live_dir = archive.dir.path().join("live");
    verify(&Job {
        mirror: archive.dir.path(),
        lake: &archive.lake(),
        live: live.then_some(live_dir.as_path()),
        selection: &Default::default(),
        quick: false,
        tell: &|_| {},
    })
    .unwrap()
}

fn of<'r>(report: &'r Report, series: &str) -> &'r tapedeck::history::verify::SeriesReport {
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
    assert_eq!(report.wrong(), 2, "trades and aggregates both say so");
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
    let num = |mantissa, scale| Num { mantissa, scale };
    let mut buffer = TableBuffer::new(table, Numeric::Double);
    for (i, t) in rows.iter().enumerate() {
        let c = Common { ts_recv_ns: t.1 * 1_000_000, seq: i as i64, conn: 1, flags: 0 };
        let symbol = if i % 7 == 6 { other } else { symbol };
        let side = if t.4 { Side::Sell } else { Side::Buy };
        let (price, amount) = (num(t.2 * 10_000, 6), num(t.3, 5));
        let (ts_event_us, ts) = (Some(t.1 * 1_000), t.1 * 1_000 + 7);
        if table == Table::Trades {
            let (id, ts_trade_us) = (Some(t.0), Some(ts));
            let row = Trade { symbol, ts_event_us, ts_trade_us, id, id_str: None, price, amount, side, kind: None };
            buffer.push_trade(&c, 0, &row);
        } else {
            let (agg_id, first_id, last_id) = (t.0, t.0, t.0);
            let row = AggTrade { symbol, ts_event_us, ts_trade_us: ts, agg_id, first_id, last_id, price, amount, side };
            buffer.push_agg_trade(&c, 0, &row);
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
