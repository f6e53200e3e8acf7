//! Every kind of file in the archive's own shape: into which table, which columns, and what counts as missing.

use crate::support::archive::Archive;

const MINUTE: i64 = 60_000;
/// 2024-08-08 00:00 UTC, ms.
const DAY: i64 = 1_723_075_200_000;

fn bar(open_ms: i64, junk: &str) -> String {
    let close = open_ms + MINUTE - 1;
    format!("{open_ms},1.10,1.30,1.00,1.20,10.5,{close},12.6,7,4.25,5.1,{junk}\n")
}

#[test]
fn candles_with_holes_and_junk_in_the_last_column() {
    for (folder, table) in [
        ("klines", "venue_klines"),
        ("markPriceKlines", "mark_price_klines"),
        ("indexPriceKlines", "index_price_klines"),
        ("premiumIndexKlines", "premium_index_klines"),
    ] {
        let archive = Archive::new();
        let csv: String = (0..1_440)
            .filter(|m| !(220..240).contains(m))
            .map(|m| bar(DAY + m * MINUTE, if m % 2 == 0 { "0" } else { "junk" }))
            .collect();
        archive.put(&format!("data/futures/um/daily/{folder}/BTCUSDT/1m/BTCUSDT-1m-2024-08-08.zip"), csv);
        archive.clean();
        let series = format!("{table}/exchange=binance-usdm/BTCUSDT-1m");
        let opens = archive.ints(&series, "open_time");
        assert_eq!(opens.len(), 1_420);
        assert_eq!(archive.ints(&series, "close_time")[0], (DAY + MINUTE - 1) * 1_000);
        assert_eq!(archive.texts(&series, "interval")[0], "1m");
        assert_eq!(archive.texts(&series, "source")[0], "archive");
        assert_eq!(archive.doubles(&series, "taker_buy_quote_volume")[7], 5.1);
        let stats = archive.stats(&series);
        assert_eq!(stats["missing_times"]["missing"], 20);
        let hole = &stats["missing_times"]["list"][0];
        assert_eq!(hole["from"], (DAY + 220 * MINUTE) * 1_000);
        assert_eq!(hole["to"], (DAY + 239 * MINUTE) * 1_000);
        // 4 GAP_BEFORE and 128 ARCHIVE on the row after the hole, 128 elsewhere.
        let flags = archive.ints(&series, "flags");
        assert_eq!((flags[219], flags[220], flags[221]), (128, 132, 128));
    }
}

#[test]
fn spot_and_futures_trades_and_what_their_common_columns_hold() {
    let archive = Archive::new();
    let csv =
        format!("7,100.00000000,0.50000000,50.00000000,{DAY},True,True\n8,100.01000000,1.5,150.015,{DAY},False,True\n");
    archive.put("data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip", csv);
    archive.put(
        "data/futures/cm/daily/trades/BTCUSD_PERP/BTCUSD_PERP-trades-2024-08-08.zip",
        format!("id,price,qty,base_qty,time,is_buyer_maker\n7,60000.1,1,0.00166666,{DAY},false\n"),
    );
    archive.clean();
    let spot = "trades/exchange=binance-spot/BTCUSDT";
    assert_eq!(archive.ints(spot, "id"), [7, 8]);
    assert_eq!(archive.texts(spot, "side"), ["sell", "buy"]);
    assert_eq!(archive.ints(spot, "ts_trade"), [DAY * 1_000; 2]);
    // The zip of the test says that it was packed on 2024-01-02 03:04:06.
    assert_eq!(archive.ints(spot, "ts_recv_ns"), [1_704_164_646_000_000_000; 2]);
    assert_eq!(archive.ints(spot, "ts_recv"), [1_704_164_646_000_000; 2]);
    let first_seq = 202_408_i64 << 40;
    assert_eq!(archive.ints(spot, "seq"), [first_seq, first_seq + 1]);
    assert_eq!(archive.ints(spot, "conn"), [0, 0]);
    assert_eq!(archive.doubles(spot, "amount"), [0.5, 1.5]);
    assert_eq!(archive.ints("trades/exchange=binance-coinm/BTCUSD_PERP", "id"), [7]);
}

#[test]
fn best_prices_depth_bands_metrics_funding_and_liquidations() {
    let archive = Archive::new();
    archive.put(
        "data/futures/um/daily/bookTicker/BTCUSDT/BTCUSDT-bookTicker-2024-01-08.zip",
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n\
         5,1.5,2,1.6,3,1704672000000,1704672000001\n4,1.4,2,1.6,3,1704672000000,1704672000000\n",
    );
    archive.put(
        "data/futures/um/daily/bookDepth/BTCUSDT/BTCUSDT-bookDepth-2024-08-08.zip",
        "timestamp,percentage,depth,notional\n2024-08-08 00:00:09,-5,10.5,20.5\n2024-08-08 00:00:09,-5.00,10.5,20.5\n\
         2024-08-08 00:00:09,0.20,1,2\n2024-08-08 00:00:09,1,1,2\n2024-08-08 00:00:39,-5.00,3,4\n2024-08-08 00:00:39,1,5",
    );
    archive.put(
        "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-08-08.zip",
        "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,\
         sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n\
         2024-08-08 00:10:00,BTCUSDT,2.5,3,1,1,1,\n2024-08-08 00:05:00,BTCUSDT,1.5,3,1,1,1,0.5\n\
         2024-08-08 00:05:00,BTCUSDT,1.50,3,1,1,1,0.5\n2024-08-08 00:20:00,BTCUSDT,4,3,1,1,1,1\n",
    );
    archive.put(
        "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-08.zip",
        "calc_time,funding_interval_hours,last_funding_rate\n1722470400003,8,0.00010000\n1722499200000,8,-0.00001\n\
         1722528000011,8,0.0001\n1722585600000,8,0.0002\n",
    );
    archive.put(
        "data/futures/cm/daily/liquidationSnapshot/BTCUSD_PERP/BTCUSD_PERP-liquidationSnapshot-2024-08-08.zip",
        format!(
            "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,\
             accumulated_fill_quantity\n{DAY},SELL,LIMIT,IOC,3,60000.1,60001,FILLED,1,3\n{DAY},SELL,LIMIT,IOC,3,60000.1,60001,FILLED,1,3\n"
        ),
    );
    archive.clean();
    let um = |table: &str| format!("{table}/exchange=binance-usdm/BTCUSDT");
    assert_eq!(archive.ints(&um("book_ticker"), "update_id"), [4, 5]);
    assert_eq!(archive.doubles(&um("book_ticker"), "bid_price"), [1.4, 1.5]);
    let depth = um("book_depth");
    assert_eq!(archive.doubles(&depth, "percentage"), [-5.0, 0.2, 1.0, -5.0], "one band once, in order");
    assert_eq!(archive.stats(&depth)["defects"]["duplicate_rows"]["count"], 1);
    assert_eq!(archive.aside(&depth, "2024-08")[0]["reason"], "line: cut off at the end of the file");
    let metrics = um("metrics");
    assert_eq!(archive.doubles(&metrics, "open_interest"), [1.5, 2.5, 4.0]);
    let stats = archive.stats(&metrics);
    assert_eq!((stats["duplicates"].as_u64(), stats["missing_times"]["missing"].as_u64()), (Some(1), Some(1)));
    assert_eq!(stats["missing_unexplained"], 0, "a reported defect of metrics");
    let funding = um("funding_rate");
    assert_eq!(archive.doubles(&funding, "funding_rate"), [0.0001, -0.00001, 0.0001, 0.0002]);
    assert_eq!(archive.stats(&funding)["missing_times"]["missing"], 1, "jitter of ms is no hole, 8 hours are");
    let liquidations = "liquidations/exchange=binance-coinm/BTCUSD_PERP";
    assert_eq!(archive.texts(liquidations, "status"), ["FILLED", "FILLED"], "two that are alike are two");
}

#[test]
fn a_file_per_day_has_the_rows_of_that_day_and_changing_back_leaves_nothing_behind() {
    use crate::support::archive::How;
    let archive = Archive::new();
    let days = ["2024-08-08", "2024-08-09"];
    for (d, day) in days.iter().enumerate() {
        let csv: String = (0..1_440).map(|m| bar(DAY + (d as i64 * 1_440 + m) * MINUTE, "0")).collect();
        archive.put(&format!("data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{day}.zip"), csv);
    }
    let series = "venue_klines/exchange=binance-spot/BTCUSDT-1m";
    archive.clean();
    let month = archive.tree();
    assert_eq!(archive.files(series).len(), 1);
    archive.clean_as(How { by_day: true, ..How::default() });
    let files: Vec<String> =
        archive.files(series).iter().map(|f| f.strip_prefix(archive.lake()).unwrap().display().to_string()).collect();
    assert_eq!(files, days.map(|d| format!("{series}/month=2024-08/BTCUSDT-1m-{d}.parquet")));
    assert_eq!(archive.record(series, "2024-08").outputs.iter().map(|o| o.rows).collect::<Vec<_>>(), [1_440, 1_440]);
    archive.clean();
    assert!(archive.tree() == month);
}

/// Two symbols of one table, cleaned with one file a month and with one file a day.
fn half_cleaned_anew() -> Archive {
    use crate::support::archive::How;
    let archive = Archive::new();
    for (symbol, by_day) in [("AUSDT", false), ("BUSDT", true)] {
        let csv: String = (0..1_440).map(|m| bar(DAY + m * MINUTE, "0")).collect();
        archive.put(&format!("data/spot/daily/klines/{symbol}/1m/{symbol}-1m-2024-08-08.zip"), csv);
        let selection = history::Selection { symbols: history::Symbols::exactly(symbol), ..Default::default() };
        archive.clean_some(&selection, How { by_day, ..How::default() });
    }
    archive
}

/// The keys of a file's folders: `exchange=`, `month=`.
fn keys(archive: &Archive, series: &str) -> Vec<Vec<String>> {
    let key = |part: &std::path::Path| part.to_str().and_then(|p| p.split_once('=')).map(|(key, _)| key.to_owned());
    let of = |file: &std::path::PathBuf| {
        let below = file.strip_prefix(archive.lake()).unwrap().parent().unwrap().to_owned();
        below.iter().filter_map(|part| key(part.as_ref())).collect()
    };
    archive.files(series).iter().map(of).collect()
}

const A: &str = "venue_klines/exchange=binance-spot/AUSDT-1m";
const B: &str = "venue_klines/exchange=binance-spot/BUSDT-1m";

#[test]
fn files_of_days_and_files_of_months_have_the_same_keys_so_readers_take_them_as_one_table() {
    let archive = half_cleaned_anew();
    assert_eq!(keys(&archive, A), keys(&archive, B));
    assert_eq!((archive.ints(A, "open_time").len(), archive.ints(B, "open_time").len()), (1_440, 1_440));
}

#[test]
fn days_that_version_1_cleaned_move_to_their_month_also_where_it_was_killed_in_between() {
    use crate::support::archive::How;
    let archive = half_cleaned_anew();
    let tree = archive.tree();
    let record = archive.lake().join("_manifests").join(B).join("2024-08.json");
    let (month, day) = (archive.lake().join(B).join("month=2024-08"), archive.lake().join(B).join("date=2024-08-08"));
    let as_version_1 = |files: bool| {
        if files {
            std::fs::rename(&month, &day).unwrap();
        }
        let text = std::fs::read_to_string(&record).unwrap().replace("/month=2024-08/BUSDT", "/date=2024-08-08/BUSDT");
        std::fs::write(&record, text).unwrap();
        std::fs::remove_file(archive.lake().join(".layout")).unwrap();
    };
    // Before it began, and after the files moved.
    for files in [true, false] {
        as_version_1(files);
        let nobody = history::Selection { symbols: history::Symbols::exactly("AUSDT"), ..Default::default() };
        let summary = archive.clean_some(&nobody, How::default());
        assert_eq!((summary.cleaned, summary.unchanged), (0, 1));
        assert!(archive.tree() == tree, "the other symbol's files and record lie where they belong");
        assert_eq!(keys(&archive, A), keys(&archive, B));
    }
}

#[test]
fn files_of_the_mirror_whose_names_are_not_understood_are_told() {
    let archive = Archive::new();
    archive.put("data/spot/daily/klines/AUSDT/1m/AUSDT-1m-2024-08-08.zip", bar(DAY, "0"));
    for name in ["AUSDT-1m-20240809.zip", "AUSDT-1m-2024-08-10.zip.0a.partial", ".AUSDT.CHECKSUM.x.tmp"] {
        std::fs::write(archive.place(&format!("data/spot/daily/klines/AUSDT/1m/{name}")), "x").unwrap();
    }
    assert_eq!(archive.clean().unknown, ["data/spot/daily/klines/AUSDT/1m/AUSDT-1m-20240809.zip"]);
}

#[test]
fn workers_that_wait_for_memory_leave_nothing_undone_where_it_stays_critical() {
    use crate::support::archive::How;
    let archive = Archive::new();
    for s in 0..8 {
        archive.put(&format!("data/spot/daily/klines/A{s}/1m/A{s}-1m-2024-08-08.zip"), bar(DAY, "0"));
    }
    let how = How { workers: 4, level: ops::memory::Level::Critical, ..How::default() };
    assert_eq!(archive.clean_as(how).cleaned, 8);
}

#[test]
fn a_change_of_numbers_is_refused_where_it_would_leave_a_table_that_readers_refuse() {
    use crate::support::archive::How;
    use history::{Selection, Symbols};
    let archive = half_cleaned_anew();
    let tree = archive.tree();
    let how = How { decimal: true, ..How::default() };
    let one = Selection { symbols: Symbols::exactly("AUSDT"), ..Selection::default() };
    let refused = archive.try_clean(&one, how).unwrap_err().to_string();
    assert!(refused.contains("1 months of venue_klines") && refused.contains("clean all of it at once"), "{refused}");
    assert!(archive.tree() == tree, "nothing was changed");
    assert_eq!(archive.clean_as(how).cleaned, 2);
}
