//! The lake as a reader sees it: ids of all rows, and what the manifests say of those that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use lake::manifest::{Gap, Line, Repair};
use lake::read::TableFile;
use lake::{PartManifest, Table, flags};

/// Everything published of one venue.
pub struct Lake {
    dir: PathBuf,
    pub manifests: Vec<PartManifest>,
}

/// Ids of one table: symbol -> (id -> how often).
pub type Ids = BTreeMap<String, BTreeMap<i64, u32>>;

impl Lake {
    pub fn open(dir: &Path, venue: &str) -> Lake {
        let mut manifests = Vec::new();
        let mut todo = vec![dir.join("_manifests").join(format!("exchange={venue}"))];
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                todo.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
            } else if path.extension().is_some_and(|e| e == "json") {
                manifests.push(PartManifest::parse(&std::fs::read(&path).unwrap()).unwrap());
            }
        }
        Lake { dir: dir.to_owned(), manifests }
    }

    /// Ids in column `column` of `table`; `backfilled`: only rows that were fetched over REST, or only others.
    pub fn ids(&self, table: Table, column: &str, backfilled: Option<bool>) -> Ids {
        let mut ids = Ids::new();
        for f in self.manifests.iter().flat_map(|m| &m.files).filter(|f| f.table == table) {
            let file = TableFile::open(&self.dir.join(&f.path)).unwrap();
            for group in 0..file.groups() {
                for batch in file.batches(group).unwrap() {
                    let batch = batch.unwrap();
                    let symbols = arrow_cast_text(batch.column_by_name("symbol").unwrap());
                    let id = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
                    let flag = batch.column_by_name("flags").unwrap().as_primitive::<Int32Type>();
                    for (i, symbol) in symbols.into_iter().enumerate().filter(|(i, _)| id.is_valid(*i)) {
                        let is_backfilled = flag.value(i) & flags::BACKFILLED != 0;
                        if backfilled.is_none_or(|wanted| wanted == is_backfilled) {
                            *ids.entry(symbol).or_default().entry(id.value(i)).or_default() += 1;
                        }
                    }
                }
            }
        }
        ids
    }

    pub fn gaps(&self, channel: &str) -> Vec<&Gap> {
        self.manifests.iter().flat_map(|m| &m.gaps).filter(|g| g.channel == channel).collect()
    }

    pub fn repairs(&self) -> Vec<&Repair> {
        self.manifests.iter().flat_map(|m| &m.repairs).collect()
    }

    pub fn duplicates(&self) -> u64 {
        self.manifests.iter().flat_map(|m| m.duplicates.values()).sum()
    }

    /// Summed over the parts.
    pub fn lines(&self) -> Vec<Line> {
        let mut sum: Vec<Line> = Vec::new();
        for lines in self.manifests.iter().map(|m| &m.lines) {
            sum.resize(sum.len().max(lines.len()), Line::default());
            for (s, l) in sum.iter_mut().zip(lines) {
                s.frames += l.frames;
                s.first += l.first;
                s.ahead += l.ahead;
            }
        }
        sum
    }

    /// Every id stands once; the ids that are missing between the first and the last one, by symbol.
    #[track_caller]
    pub fn missing(ids: &Ids) -> BTreeMap<String, BTreeSet<i64>> {
        let mut missing = BTreeMap::new();
        for (symbol, ids) in ids {
            let twice: Vec<_> = ids.iter().filter(|(_, n)| **n != 1).collect();
            assert!(twice.is_empty(), "{symbol}: ids that stand more than once: {twice:?}");
            let (first, last) = (*ids.keys().next().unwrap(), *ids.keys().last().unwrap());
            let lacking: BTreeSet<i64> = (first..=last).filter(|id| !ids.contains_key(id)).collect();
            if !lacking.is_empty() {
                missing.insert(symbol.clone(), lacking);
            }
        }
        missing
    }

    /// Every missing id is inside a gap, and every id inside a gap is missing: nothing is unexplained.
    #[track_caller]
    pub fn assert_explained(&self, channel: &str, missing: &BTreeMap<String, BTreeSet<i64>>) {
        let mut told: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for gap in self.gaps(channel) {
            told.entry(gap.symbol.clone()).or_default().extend(gap.from_id..=gap.to_id);
        }
        assert_eq!(&told, missing, "{channel}: what the manifests tell and what is missing");
        for m in &self.manifests {
            for r in m.ids.iter().filter(|r| r.channel == channel && m.repairs.is_empty()) {
                assert!(r.present + r.missing >= r.filled, "{r:?}");
            }
        }
    }
}

/// Text columns may come with a dictionary.
fn arrow_cast_text(column: &dyn Array) -> Vec<String> {
    if let Some(plain) = column.as_string_opt::<i32>() {
        return plain.iter().map(|s| s.unwrap_or_default().to_owned()).collect();
    }
    let words = column.as_dictionary::<Int32Type>();
    let values = words.values().as_string::<i32>();
    words.keys().iter().map(|k| k.map_or("", |k| values.value(k as usize)).to_owned()).collect()
}
