//! Cleaning as a whole: real files of the archive, the change of units, sorting on disk, memory pressure, a run that
//! is killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use history::clean::zip::ZipReader;
use ops::memory::Level;
use proptest::prelude::*;

use crate::support::archive::{Archive, How, tree};
use crate::support::{Dice, recordings, runs, seed, tapedeck};

const UM_AGG: &str = "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-08-";
const AGG: &str = "agg_trades/exchange=binance-usdm/BTCUSDT";
const SPOT_5M: &str = "venue_klines/exchange=binance-spot/BTCUSDT-5m";
const MINUTE_MS: i64 = 60_000;
/// 2024-08-01 00:00 UTC, ms.
const MONTH: i64 = 1_722_470_400_000;
const DAY_MS: i64 = 86_400_000;

fn bars(first_ms: i64, count: i64, micros: bool) -> String {
    let unit = if micros { 1_000 } else { 1 };
    (0..count)
        .map(|i| {
            let open = (first_ms + i * 5 * MINUTE_MS) * unit;
            let close = open + 5 * MINUTE_MS * unit - 1;
            let (whole, tenths) = ((12 * i + 126) / 10, (12 * i + 126) % 10);
            format!("{open},1.1,1.3,1.0,1.2,{}.5,{close},{whole}.{tenths},{},4.25,5.1,0\n", i + 10, i + 1)
        })
        .collect()
}

#[test]
fn milliseconds_go_over_into_microseconds_without_a_seam() {
    let archive = Archive::new();
    let new_year = 1_735_689_600_000;
    let path = |month: &str| format!("data/spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-{month}.zip");
    archive.put(&path("2024-12"), bars(new_year - 31 * DAY_MS, 31 * 288, false));
    archive.put(&path("2025-01"), bars(new_year, 31 * 288, true));
    archive.clean();
    let opens = archive.ints(SPOT_5M, "open_time");
    assert_eq!(opens.len(), 62 * 288);
    assert!(opens.windows(2).all(|w| w[1] - w[0] == 300_000_000));
    let closes = archive.ints(SPOT_5M, "close_time");
    assert!(opens.iter().zip(closes).all(|(o, c)| c - o == 299_999_000));
    let stats = archive.stats(SPOT_5M);
    assert_eq!((stats["missing_times"]["count"].as_u64(), stats["rows"].as_u64()), (Some(0), Some(62 * 288)));
    assert_eq!(stats["defects"].as_object().unwrap().len(), 0, "{}", stats["defects"]);
    assert_eq!(stats["missing_rate"], 0.0);
}

/// A tool that reads the CSV by itself: rows, first and last open time in us, exact sums of the decimal columns.
fn independent(csv: &Path) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/archive_sums.py");
    let out = std::process::Command::new("python3").arg(script).arg(csv).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Puts a CSV of the archive into a mirror, cleans it, and compares with [`independent`].
fn compare(path: &str, series: &str, csv: &[u8]) {
    let archive = Archive::new();
    archive.put(path, csv);
    // Exact decimals: sums of quote volumes have more digits than a double.
    let summary = archive.clean_as(How { decimal: true, ..How::default() });
    assert!(summary.failed.is_empty() && summary.refused.is_empty(), "{summary:?}");
    let file = archive.dir.path().join("a.csv");
    std::fs::write(&file, csv).unwrap();
    let expected = independent(&file);
    let opens = archive.ints(series, "open_time");
    assert_eq!(expected["rows"], opens.len());
    assert_eq!(expected["first"], opens[0]);
    assert_eq!(expected["last"], *opens.last().unwrap());
    assert_eq!(expected["count"], archive.ints(series, "trade_count").iter().sum::<i64>());
    let columns =
        ["open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"];
    for column in columns {
        let sum = model::kline::decimal(archive.decimal_sum(series, column), 18, 0);
        assert_eq!(expected[column], sum, "{column} of {path}");
    }
    assert_eq!(archive.stats(series)["missing_times"]["missing"], expected["missing"], "{path}");
}

#[test]
fn made_up_files_clean_to_counts_ranges_and_sums_that_another_program_finds() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let path = "data/spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2024-08.zip";
    let csv = bars(MONTH, 500, false) + &bars(MONTH + 700 * 5 * MINUTE_MS, 300, false);
    compare(path, SPOT_5M, csv.as_bytes());
    let with_header = format!("open_time,open,high,low,close,volume,close_time,quote_volume,count,a,b,ignore\n{csv}");
    compare(path, SPOT_5M, with_header.as_bytes());
}

#[test]
fn byte_exact_files_of_the_exchange_clean_to_counts_ranges_and_sums_that_another_program_finds() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    for day in ["2020-01-01", "2020-01-03"] {
        let name = format!("BTCUSDT-1m-{day}.zip");
        let mut zip = ZipReader::open(&recordings().join("archive").join(&name)).unwrap();
        assert_eq!(zip.entry().name, format!("BTCUSDT-1m-{day}.csv"));
        let (mut csv, mut block) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            match zip.read(&mut block).unwrap() {
                0 => break,
                n => csv.extend_from_slice(&block[..n]),
            }
        }
        let series = "venue_klines/exchange=binance-spot/BTCUSDT-1m";
        compare(&format!("data/spot/daily/klines/BTCUSDT/1m/{name}"), series, &csv);
    }
}

#[test]
fn files_of_the_archive_clean_to_counts_ranges_and_sums_that_another_program_finds() {
    let Some(root) = std::env::var_os("TAPEDECK_SHARED_DATA").map(|r| PathBuf::from(r).join("archive")) else {
        eprintln!("skipped: TAPEDECK_SHARED_DATA is not set");
        return;
    };
    for (file, path, series) in [
        ("spot-BTCUSDT-5m-2024-08", "data/spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2024-08.zip", SPOT_5M),
        ("spot-BTCUSDT-5m-2024-12", "data/spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2024-12.zip", SPOT_5M),
        ("spot-BTCUSDT-5m-2025-01", "data/spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2025-01.zip", SPOT_5M),
        (
            "um-FILUSDT-1m-2025-02",
            "data/futures/um/monthly/klines/FILUSDT/1m/FILUSDT-1m-2025-02.zip",
            "venue_klines/exchange=binance-usdm/FILUSDT-1m",
        ),
    ] {
        let csv = zstd::decode_all(std::fs::File::open(root.join(format!("{file}.csv.zst"))).unwrap()).unwrap();
        compare(path, series, &csv);
    }
    // December in ms and January in us are one series.
    let archive = Archive::new();
    for month in ["2024-12", "2025-01"] {
        let file = std::fs::File::open(root.join(format!("spot-BTCUSDT-5m-{month}.csv.zst"))).unwrap();
        let path = format!("data/spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-{month}.zip");
        archive.put(&path, zstd::decode_all(file).unwrap());
    }
    archive.clean();
    let opens = archive.ints(SPOT_5M, "open_time");
    assert_eq!(opens.len(), 62 * 288);
    assert!(opens.windows(2).all(|w| w[1] - w[0] == 300_000_000));
    // The zips are the exchange's own bytes and verify against the checksums that were published with them.
    let archive = Archive::new();
    for day in ["2020-01-01", "2020-01-03"] {
        let name = format!("BTCUSDT-1m-{day}.zip");
        let place = archive.place(&format!("data/spot/daily/klines/BTCUSDT/1m/{name}"));
        for end in ["", ".CHECKSUM"] {
            std::fs::copy(root.join(format!("{name}{end}")), place.with_file_name(format!("{name}{end}"))).unwrap();
        }
    }
    let place = archive.place("data/spot/daily/klines/ADABTC/1m/ADABTC-1m-2021-11-28.zip");
    std::fs::copy(root.join("ADABTC-1m-2021-11-28.zip"), place).unwrap();
    let summary = archive.clean();
    assert!(summary.failed.is_empty() && summary.refused.is_empty(), "{summary:?}");
    let stats = archive.stats("venue_klines/exchange=binance-spot/BTCUSDT-1m");
    assert_eq!((stats["rows"].as_u64(), stats["missing_times"]["missing"].as_u64()), (Some(2_880), Some(1_440)));
    assert!(stats["checksums"].as_array().unwrap().iter().all(|c| c["state"] == "ok"));
    assert_eq!(archive.ints("venue_klines/exchange=binance-spot/ADABTC-1m", "open_time").len(), 1_440);
}

/// Lines of a day: in order, or thrown about; some twice, some of them broken.
fn mess(dice: &mut Dice, day: i64, count: usize, shuffled: bool) -> String {
    let mut lines: Vec<String> = Vec::new();
    for i in 0..count as i64 {
        let id = day * 10_000 + i;
        let at = MONTH + (day - 1) * DAY_MS + i * 5_000;
        let line = format!("{id},{}.25,0.5,{id},{id},{at},{}\n", 100 + i % 7, i % 2 == 0);
        match dice.below(40) {
            0 => lines.extend([line.clone(), line]),
            1 => lines.extend([format!("{id},broken\n"), line]),
            2 => lines.extend(["0,0,0,-1,-1,1722470400000,true\n".to_owned(), line]),
            _ => lines.push(line),
        }
    }
    if shuffled {
        for k in (1..lines.len()).rev() {
            lines.swap(k, dice.below(k as u64 + 1) as usize);
        }
    }
    lines.concat()
}

#[test]
fn rows_that_do_not_fit_into_memory_are_sorted_on_disk_to_the_same_bytes() {
    let mut dice = Dice::new(seed("sorted on disk"));
    let archive = Archive::new();
    for day in 8..11 {
        archive.put(&format!("{UM_AGG}{day:02}.zip"), mess(&mut dice, day, 4_000, day != 9));
    }
    archive.clean_as(How { force: true, ..How::default() });
    let whole = archive.tree();
    let expected: Vec<i64> = (8..11).flat_map(|d| (0..4_000).map(move |i| d * 10_000 + i)).collect();
    assert_eq!(archive.ints(AGG, "agg_id"), expected);
    assert!(archive.record(AGG, "2024-08").sorted);
    for (chunk_rows, stream_rows, workers, level) in [
        (100, 5_000_000, 1, Level::Normal),
        (1_000, 2_000, 1, Level::Normal),
        (7, 10_000, 1, Level::Critical),
        (333, 20_000, 3, Level::Elevated),
    ] {
        archive.clean_as(How { force: true, chunk_rows, stream_rows, workers, level, ..How::default() });
        assert!(archive.tree() == whole, "{chunk_rows} {stream_rows} {workers} {level:?}");
    }
    let verified = verify(&archive);
    assert_eq!(verified.series[0].files.rows, expected.len() as u64);
}

fn verify(archive: &Archive) -> history::verify::VerifyReport {
    let job = history::verify::VerifyJob {
        mirror: archive.dir.path(),
        lake: &lake::Lake::open(&archive.lake()),
        live: None,
        selection: &Default::default(),
        quick: false,
        on_series: &|_| {},
    };
    history::verify::verify(&job).unwrap()
}

#[test]
fn a_month_thrown_about_and_its_days_give_what_the_days_alone_give() {
    let mut dice = Dice::new(seed("month and days"));
    let days: Vec<String> = (8..12).map(|day| mess(&mut dice, day, 500, false)).collect();
    let archive = Archive::new();
    for (day, csv) in (8..).zip(&days) {
        archive.put(&format!("{UM_AGG}{day:02}.zip"), csv);
    }
    archive.clean();
    let ids = archive.ints(AGG, "agg_id");
    let prices = archive.doubles(AGG, "price");
    archive.put("data/futures/um/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-08.zip", days[2].clone() + &days[0]);
    archive.clean();
    assert_eq!((archive.ints(AGG, "agg_id"), archive.doubles(AGG, "price")), (ids, prices));
    assert!(archive.record(AGG, "2024-08").overlap >= 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_line_of_a_hostile_file_is_a_row_a_duplicate_a_place_holder_or_put_aside(
        parts in prop::collection::vec(prop_oneof![
            4 => (0_i64..40, 0_i64..3).prop_map(|(id, at)| {
                format!("{id},1.5,2,{id},{id},{},true\n", MONTH + 7 * DAY_MS + at).into_bytes()
            }),
            1 => prop::collection::vec(any::<u8>(), 0..60),
            1 => "[0-9,.\\-eE\"\r\n tTrue]{0,60}".prop_map(String::into_bytes),
            1 => Just(b"5,0,0,-1,-1,1723075200000,True,True\r\n".to_vec()),
            1 => Just(b"\n\n \r\n".to_vec()),
        ], 0..60),
        chunk_rows in 1_usize..20,
        stream_rows in 1_000_u64..2_000,
    ) {
        let csv = parts.concat();
        let archive = Archive::new();
        archive.put(&format!("{UM_AGG}08.zip"), &csv);
        let summary = archive.clean_as(How { chunk_rows, stream_rows, ..How::default() });
        prop_assert!(summary.failed.is_empty(), "{:?}", summary.failed);
        let record = archive.record(AGG, "2024-08");
        let counts = &record.inputs[0].counts;
        let blank = |l: &&[u8]| l.trim_ascii().is_empty();
        let lines = csv.split_inclusive(|b| *b == b'\n').filter(|l| !blank(l)).count() as u64;
        prop_assert_eq!(counts.lines + counts.headers, lines);
        let aside = archive.aside(AGG, "2024-08");
        prop_assert_eq!(aside.len() as u64, counts.rejected + record.conflicts);
        prop_assert_eq!(
            counts.lines,
            record.tally.rows + record.duplicates + record.conflicts + counts.sentinels + counts.rejected
        );
        let ids = archive.ints(AGG, "agg_id");
        prop_assert_eq!(ids.len() as u64, record.tally.rows);
        prop_assert!(ids.windows(2).all(|w| w[0] < w[1]));
    }
}

#[test]
fn a_clean_that_is_killed_anywhere_and_run_again_gives_the_same_tree() {
    let seed = seed("killed clean");
    let mut dice = Dice::new(seed);
    let archive = Archive::new();
    for (s, symbol) in ["BTCUSDT", "ETHUSDT", "XRPUSDT"].iter().enumerate() {
        for day in 8..12 {
            let path = format!("data/futures/um/daily/aggTrades/{symbol}/{symbol}-aggTrades-2024-08-{day:02}.zip");
            archive.put(&path, mess(&mut dice, day, 800, s == 1));
        }
        let path = format!("data/spot/monthly/klines/{symbol}/5m/{symbol}-5m-2024-08.zip");
        archive.put(&path, bars(MONTH, 2_000, false));
    }
    let config = archive.dir.path().join("t.toml");
    let folder = archive.dir.path().display().to_string();
    std::fs::write(
        &config,
        format!("[data]\ndir = {folder:?}\n[history]\ndir = {folder:?}\nfile_per = \"day\"\nclean_workers = 2\n"),
    )
    .unwrap();
    let clean = || {
        let mut c = tapedeck();
        c.args(["history", "clean", "--json", "--config"]).arg(&config);
        c.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        c
    };
    let whole = || {
        let started = std::time::Instant::now();
        let out = clean().output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        started.elapsed()
    };
    let length = whole();
    let expected = tree(&archive.lake());
    assert!(expected.len() > 30, "{}", expected.len());
    let mut killed = 0;
    for _ in 0..runs(10) {
        std::fs::remove_dir_all(archive.lake()).unwrap();
        // Some are killed once, some several times.
        for _ in 0..=dice.below(3) {
            let mut child = clean().spawn().unwrap();
            std::thread::sleep(Duration::from_micros(dice.below(length.as_micros() as u64)));
            killed += usize::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
        }
        whole();
        let got = tree(&archive.lake());
        let names = |t: &std::collections::BTreeMap<PathBuf, Vec<u8>>| t.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&got), names(&expected), "seed {seed}");
        assert!(got == expected, "other bytes; seed {seed}");
    }
    assert!(killed > 0, "no run was killed in time");
    println!("killed {killed} times");
}
