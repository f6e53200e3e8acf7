//! Fuzz target: a zip of the archive, and a CSV of every kind. Each line is a row, a place-holder or put aside, and
//! every row is written once; a panic, a lost line or a row out of order is a finding.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use history::clean::pack::pack;
use history::clean::plan::{Digests, plan};
use history::clean::unit::Settings;
use history::clean::{CleanJob, run};
use lake::WriteSettings;
use ops::memory::Level;

const FILES: [&str; 8] = [
    "futures/um/daily/aggTrades/A/A-aggTrades-2024-08-08",
    "spot/daily/trades/A/A-trades-2024-08-08",
    "spot/daily/klines/A/1m/A-1m-2024-08-08",
    "futures/um/daily/bookTicker/A/A-bookTicker-2024-08-08",
    "futures/um/daily/bookDepth/A/A-bookDepth-2024-08-08",
    "futures/um/daily/metrics/A/A-metrics-2024-08-08",
    "futures/um/monthly/fundingRate/A/A-fundingRate-2024-08",
    "futures/cm/daily/liquidationSnapshot/A/A-liquidationSnapshot-2024-08-08",
];

fn clean(dir: &Path, file: &str, zip: &[u8]) {
    let path = dir.join("data.binance.vision/data").join(format!("{file}.zip"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, zip).unwrap();
    let level = || Level::Normal;
    let settings = Settings {
        lake: dir.join("lake"),
        write: WriteSettings::default(),
        by_day: false,
        chunk_rows: 7,
        stream_rows: [1_000; 3],
        workers: 1,
        level: &level,
        force: true,
    };
    let plan = plan(dir, &Default::default(), &Digests::new()).unwrap();
    // The lines of every month are added up before it is published; a sum that is wrong is a failed month.
    let summary = run(&CleanJob { settings, plan, on_month: &|_| {} }).unwrap();
    assert!(summary.failed.is_empty(), "{:?}", summary.failed);
    std::fs::remove_dir_all(dir).unwrap();
}

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let dir = std::env::temp_dir().join(format!("archive-{}", std::process::id()));
    let file = FILES[usize::from(which) % FILES.len()];
    if which & 0x80 != 0 {
        clean(&dir, file, bytes);
    } else {
        clean(&dir, file, &pack("a.csv", bytes).unwrap());
    }
});
