//! A mirror of the exchange's archive made by a test, cleaned, and read back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use history::Selection;
use history::clean::pack::pack;
use history::clean::plan::{Digests, plan};
use history::clean::unit::{Settings, digest};
use history::clean::{CleanJob, Record, Summary};
use lake::read::TableFile;
use lake::{Lake, Numeric, WriteSettings};
use ops::memory::Level;

/// How to clean.
#[derive(Clone, Copy)]
pub struct How {
    pub by_day: bool,
    pub force: bool,
    pub forget_gone: bool,
    pub chunk_rows: usize,
    pub stream_rows: u64,
    pub workers: usize,
    pub level: Level,
    /// Numbers as exact decimals, not as doubles.
    pub decimal: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            by_day: false,
            force: false,
            forget_gone: false,
            chunk_rows: 50_000,
            stream_rows: 5_000_000,
            workers: 2,
            level: Level::Normal,
            decimal: false,
        }
    }
}

/// A mirror and its lake in a folder of the test.
pub struct Archive {
    pub dir: tempfile::TempDir,
}

impl Archive {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    /// Where a file of the archive lies; its folder exists.
    pub fn place(&self, path: &str) -> PathBuf {
        let file = self.dir.path().join("data.binance.vision").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        file
    }

    /// Puts a CSV into the mirror as the archive has it: zip and checksum.
    pub fn put(&self, path: &str, csv: impl AsRef<[u8]>) {
        let name = Path::new(path).file_stem().unwrap().to_str().unwrap();
        self.put_zip(path, &pack(&format!("{name}.csv"), csv.as_ref()).unwrap());
    }

    /// Puts bytes into the mirror, with their checksum.
    pub fn put_zip(&self, path: &str, zip: &[u8]) {
        let file = self.place(path);
        std::fs::write(&file, zip).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let line = format!("{}  {name}\n", digest(&file).unwrap());
        std::fs::write(file.with_file_name(format!("{name}.CHECKSUM")), line).unwrap();
    }

    pub fn clean(&self) -> Summary {
        self.clean_as(How::default())
    }

    pub fn clean_as(&self, how: How) -> Summary {
        self.clean_some(&Default::default(), how)
    }

    /// Cleans what is meant.
    pub fn clean_some(&self, selection: &Selection, how: How) -> Summary {
        self.try_clean(selection, how).unwrap()
    }

    /// Cleans what is meant, or says why not.
    pub fn try_clean(&self, selection: &Selection, how: How) -> Result<Summary, history::HistoryError> {
        let level = || how.level;
        let settings = Settings {
            lake: Lake::open(&self.lake()),
            write: WriteSettings {
                row_group_rows: 1_000,
                page_rows: 128,
                numeric: if how.decimal { Numeric::Decimal } else { Numeric::Double },
                ..WriteSettings::default()
            },
            by_day: how.by_day,
            chunk_rows: how.chunk_rows,
            stream_rows: [how.stream_rows, how.stream_rows / 2, how.stream_rows / 5],
            workers: how.workers,
            level: &level,
            force: how.force,
            forget_gone: how.forget_gone,
        };
        let plan = plan(self.dir.path(), selection, &Digests::new()).unwrap();
        history::clean::run(&CleanJob { settings, plan, on_month: &|_| {} })
    }

    /// `stats.json` of a series: `agg_trades/exchange=binance-usdm/BTCUSDT`.
    pub fn stats(&self, series: &str) -> serde_json::Value {
        let path = self.lake().join("_stats").join(series).join("stats.json");
        serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
    }

    pub fn record(&self, series: &str, month: &str) -> Record {
        let path = self.lake().join("_manifests").join(series).join(format!("{month}.json"));
        let record: Record = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        record.check().unwrap();
        record
    }

    /// Lines that were put aside.
    pub fn aside(&self, series: &str, month: &str) -> Vec<serde_json::Value> {
        let path = self.lake().join("_quarantine").join(series).join(format!("{month}.jsonl"));
        let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// The Parquet files of a series, in order.
    pub fn files(&self, series: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let Ok(folders) = std::fs::read_dir(self.lake().join(series)) else { return files };
        for folder in folders {
            for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                files.push(file.unwrap().path());
            }
        }
        files.sort();
        files
    }

    /// A column of integers or times of a series, file after file.
    pub fn ints(&self, series: &str, column: &str) -> Vec<i64> {
        let mut all = Vec::new();
        self.each_batch(series, |batch| {
            let array = batch.column_by_name(column).unwrap();
            if let Some(a) = array.as_primitive_opt::<Int64Type>() {
                all.extend(a.values().iter().copied());
            } else if let Some(a) = array.as_primitive_opt::<Int32Type>() {
                all.extend(a.values().iter().map(|v| i64::from(*v)));
            } else {
                all.extend(array.as_primitive::<TimestampMicrosecondType>().values().iter().copied());
            }
        });
        all
    }

    pub fn doubles(&self, series: &str, column: &str) -> Vec<f64> {
        let mut all = Vec::new();
        self.each_batch(series, |batch| {
            all.extend(batch.column_by_name(column).unwrap().as_primitive::<Float64Type>().values().iter().copied());
        });
        all
    }

    /// The exact sum of a column of decimals, times 10^18.
    pub fn decimal_sum(&self, series: &str, column: &str) -> i128 {
        let mut sum = 0;
        self.each_batch(series, |batch| {
            let array = batch.column_by_name(column).unwrap();
            sum += array.as_primitive::<Decimal128Type>().values().iter().sum::<i128>();
        });
        sum
    }

    pub fn texts(&self, series: &str, column: &str) -> Vec<String> {
        let mut all = Vec::new();
        self.each_batch(series, |batch| {
            let array = batch.column_by_name(column).unwrap();
            all.extend(array.as_string::<i32>().iter().map(|t| t.unwrap_or_default().to_owned()));
        });
        all
    }

    fn each_batch(&self, series: &str, mut each: impl FnMut(&arrow_array::RecordBatch)) {
        for file in self.files(series) {
            let file = TableFile::open(&file).unwrap();
            for g in 0..file.groups() {
                for batch in file.batches(g).unwrap() {
                    each(&batch.unwrap());
                }
            }
        }
    }

    /// Every file of the lake and its bytes.
    pub fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        tree(&self.lake())
    }
}

/// Every file below a folder and its bytes; locks do not count.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.to_str().unwrap().ends_with(".lock") {
                all.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    all
}
