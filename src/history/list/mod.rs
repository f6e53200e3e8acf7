//! What the archive has: folders of symbols and intervals, files with size, tag and checksum, over S3 listings.
//!
//! The listing, not the exchange's list of symbols, is the list of symbols: delisted ones stay in it. A folder that
//! cannot be listed is reported and does not stop the others. What has no name that is understood is reported
//! too: a new kind of file, or a new spelling, would be missing silently.

mod choose;
mod compare;
pub(crate) mod s3;
mod turn;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt, stream};

pub use self::compare::{Compared, Standing, compare};
use self::s3::{Next, Object, Page};
use self::turn::Turns;
use super::download::ask::Asker;
use super::download_error::DownloadError;
use super::manifest::Listed;
use super::market::{BarInterval, Kind, Market, Period};
use super::path::{ArchivePath, CHECKSUM, SeriesPath, is_symbol, kind_folder};
use super::select::Selection;

/// Largest page that is read, bytes: S3 sends about 400 KB.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// S3 keeps no larger object (50 TB); a listing that says so is wrong about it.
const FILE_BYTES_MAX: u64 = 50_000_000_000_000;
/// Names that are not understood and are listed one by one; all are counted.
const UNKNOWN_MAX: usize = 10_000;
/// Those that have a line of the log each.
const UNKNOWN_WARNED: u64 = 20;

/// What is listed and has no name of the archive that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// How many.
    pub count: u64,
    /// Bytes of all of them, as listed; folders have none.
    pub bytes: u64,
    /// The first ones, by name; a folder ends with `/`.
    pub first: Vec<UnknownKey>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The key of the object, or the prefix of the folder, as the server wrote it.
    pub key: String,
    /// Bytes, as listed.
    pub size: u64,
    /// Upload time, as listed.
    pub last_modified: String,
}

/// Lists the archive.
pub(crate) struct Lister<'a> {
    asker: &'a Asker,
    url: String,
    version: u64,
    workers: usize,
    problems: Mutex<Vec<(String, DownloadError)>>,
    unknown: Mutex<Unknown>,
}

/// A symbol's folders of one kind.
#[derive(Clone, Debug)]
struct Unit {
    market: Market,
    kind: Kind,
    periods: Vec<Period>,
    symbol: String,
}

impl<'a> Lister<'a> {
    /// Lists below `url` with up to `workers` requests at once; `version` is S3's, 1 or 2.
    pub fn new(asker: &'a Asker, url: &str, version: u64, workers: usize) -> Self {
        Self {
            asker,
            url: with_path(url),
            version,
            workers,
            problems: Mutex::new(Vec::new()),
            unknown: Mutex::default(),
        }
    }

    /// Folders that could not be listed, and why.
    pub fn problems(&self) -> Vec<(String, DownloadError)> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was listed and is not understood.
    pub fn unknown(&self) -> Unknown {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands the files of a selection to `take`, a series of one symbol at a time, sorted. With `auto`, monthly files
    /// where they are and daily ones for the rest. `symbols` hears the names of a kind before its files come.
    ///
    /// # Errors
    /// The first error of `take` or `symbols`; folders that fail are in [`Lister::problems`].
    pub async fn walk<E>(
        &self,
        selection: &Selection,
        auto: bool,
        mut symbols: impl FnMut(&BTreeSet<String>) -> Result<(), E>,
        mut take: impl AsyncFnMut(Vec<Listed>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut folders: Vec<(Market, Kind, Vec<Period>)> = Vec::new();
        for (market, period, kind) in selection.kind_folders() {
            match folders.iter_mut().find(|(m, k, _)| (*m, *k) == (market, kind)) {
                Some((_, _, periods)) => periods.push(period),
                None => folders.push((market, kind, vec![period])),
            }
        }
        self.kinds(selection).await;
        for (market, kind, periods) in folders {
            let names = self.symbols(market, kind, &periods, selection).await;
            symbols(&names)?;
            let units = names.into_iter().map(|symbol| Unit { market, kind, periods: periods.clone(), symbol });
            let mut listed =
                stream::iter(units).map(|unit| self.unit(unit, selection, auto)).buffered(self.workers.max(1));
            while let Some(series) = listed.next().await {
                for files in series {
                    take(files).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks for kinds of files that nobody here knows, where every kind is meant.
    async fn kinds(&self, selection: &Selection) {
        if !selection.kinds.is_empty() {
            return;
        }
        for market in Market::ALL.iter().filter(|m| selection.markets.is_empty() || selection.markets.contains(m)) {
            for period in Period::ALL.iter().filter(|p| selection.periods.is_empty() || selection.periods.contains(p)) {
                let folder = format!("data/{}/{period}/", market.folder());
                for name in self.folders(&folder).await {
                    if !name.parse::<Kind>().is_ok_and(|kind| kind.exists(*market, *period)) {
                        self.note_unknown(&format!("{folder}{name}/"), 0, "");
                    }
                }
            }
        }
    }

    /// The symbols of a kind that are meant.
    async fn symbols(&self, market: Market, kind: Kind, periods: &[Period], selection: &Selection) -> BTreeSet<String> {
        if let Some(names) = selection.symbols.names() {
            return names.iter().filter(|name| is_symbol(name)).cloned().collect();
        }
        let mut names = BTreeSet::new();
        for period in periods {
            names.extend(self.folders(&kind_folder(market, *period, kind)).await);
        }
        names.retain(|name| selection.symbols.holds(name));
        names
    }

    /// The files of one symbol, one list per interval.
    async fn unit(&self, unit: Unit, selection: &Selection, auto: bool) -> Vec<Vec<Listed>> {
        let mut intervals: BTreeSet<Option<BarInterval>> = BTreeSet::new();
        if !unit.kind.has_intervals() {
            intervals.insert(None);
        } else if !selection.intervals.is_empty() {
            intervals.extend(selection.intervals.iter().map(|i| Some(*i)));
        } else {
            for period in &unit.periods {
                let folder = format!("{}{}/", kind_folder(unit.market, *period, unit.kind), unit.symbol);
                for name in self.folders(&folder).await {
                    match name.parse::<BarInterval>() {
                        Ok(interval) => drop(intervals.insert(Some(interval))),
                        Err(_) => self.note_unknown(&format!("{folder}{name}/"), 0, ""),
                    }
                }
            }
        }
        let mut all = Vec::new();
        'intervals: for interval in intervals {
            let (mut daily, mut monthly) = (Vec::new(), Vec::new());
            for period in &unit.periods {
                let symbol = unit.symbol.clone();
                let series = SeriesPath { market: unit.market, period: *period, kind: unit.kind, symbol, interval };
                // Without the months nobody knows which days are wanted, and the other way round.
                let Ok(files) = self.files(&series, selection).await else { continue 'intervals };
                match period {
                    Period::Daily => daily = files,
                    Period::Monthly => monthly = files,
                }
            }
            if auto {
                all.push(choose::monthly_first(monthly, daily, selection));
            } else {
                // Never in one list: a list is sorted by path.
                all.extend([daily, monthly]);
            }
        }
        all.retain(|files| !files.is_empty());
        all
    }

    /// The files of one folder that are meant, sorted.
    async fn files(&self, series: &SeriesPath, selection: &Selection) -> Result<Vec<Listed>, ()> {
        let folder = series.folder();
        // Names sort by date: the first days need not be requested, and after the last one nothing is.
        let mut at = selection.from.map(|from| {
            let name = series.file(from).to_string();
            Next::Behind(name.trim_end_matches(".zip").to_owned())
        });
        let mut files: Vec<Listed> = Vec::new();
        let mut checksums: HashMap<ArchivePath, Object> = HashMap::new();
        let mut turns = Turns::from(at.as_ref());
        loop {
            let page = self.page(&folder, at.as_ref(), &mut turns).await?;
            let mut behind = false;
            for prefix in &page.prefixes {
                self.note_unknown(prefix, 0, "");
            }
            for object in page.objects {
                // Some make an empty object of every folder.
                if object.key == folder {
                    continue;
                }
                let (key, is_checksum) = match object.key.strip_suffix(CHECKSUM) {
                    Some(key) => (key, true),
                    None => (object.key.as_str(), false),
                };
                let Some(path) = key.parse::<ArchivePath>().ok().filter(|p| p.series == *series) else {
                    self.note_unknown(&object.key, object.size, &object.last_modified);
                    continue;
                };
                if object.size > FILE_BYTES_MAX {
                    self.note_unknown(&object.key, object.size, &object.last_modified);
                    continue;
                }
                behind |= selection.to.is_some_and(|to| path.first_day > to);
                if !selection.holds_days(&path) {
                    continue;
                }
                if is_checksum {
                    checksums.insert(path, object);
                } else {
                    let Object { etag, size, last_modified, .. } = object;
                    files.push(Listed { path, etag, size, last_modified, checksum_tag: None });
                }
            }
            match page.next {
                Some(next) if !behind => at = Some(next),
                _ => break,
            }
        }
        files.sort_by_cached_key(|file| file.path.to_string());
        files.dedup_by(|a, b| a.path == b.path);
        for file in &mut files {
            let tag = checksums.remove(&file.path);
            file.checksum_tag = tag.map(|object| object.etag.unwrap_or(object.last_modified));
        }
        for alone in checksums.into_values() {
            self.note_unknown(&alone.key, alone.size, &alone.last_modified);
        }
        Ok(files)
    }

    /// Names of the folders in a folder; those of the pages that could be had.
    async fn folders(&self, folder: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = None;
        let mut turns = Turns::default();
        while let Ok(page) = self.page(folder, at.as_ref(), &mut turns).await {
            for prefix in &page.prefixes {
                match prefix.strip_prefix(folder).and_then(|rest| rest.strip_suffix('/')).filter(|name| is_symbol(name))
                {
                    Some(name) => names.push(name.to_owned()),
                    None => self.note_unknown(prefix, 0, ""),
                }
            }
            for object in page.objects.iter().filter(|object| object.key != folder) {
                self.note_unknown(&object.key, object.size, &object.last_modified);
            }
            match page.next {
                Some(next) => at = Some(next),
                None => break,
            }
        }
        names
    }

    /// One page, tried again as often as is worth it; a folder that fails, or does not end, is noted.
    async fn page(&self, folder: &str, at: Option<&Next>, turns: &mut Turns) -> Result<Page, ()> {
        let url = format!("{}?{}", self.url, s3::query(self.version, folder, at));
        let read = |body: Vec<u8>| s3::parse(&body);
        let page = self.asker.ask_again(&url, PAGE_BYTES_MAX, read).await;
        let page = page.and_then(|page| turns.take(&page).map(|()| page));
        page.map_err(|failure| {
            tracing::warn!(folder, %failure, "a folder of the archive cannot be listed");
            self.problems.lock().unwrap_or_else(PoisonError::into_inner).push((folder.to_owned(), failure));
        })
    }

    fn note_unknown(&self, key: &str, size: u64, last_modified: &str) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.count = unknown.count.saturating_add(1);
        if unknown.count <= UNKNOWN_WARNED {
            tracing::warn!(key, "unknown file name in the archive");
        }
        unknown.bytes = unknown.bytes.saturating_add(size);
        if unknown.first.len() < UNKNOWN_MAX {
            let (key, last_modified) = (key.to_owned(), last_modified.to_owned());
            unknown.first.push(UnknownKey { key, size, last_modified });
        }
    }
}

/// A query stands after a path, which buckets that are hosts of their own do not have.
fn with_path(url: &str) -> String {
    let has_none = url.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
    format!("{url}{}", if has_none { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_is_a_host_of_its_own_has_a_path() {
        for (url, with) in [
            ("https://bucket.s3.amazonaws.com", "https://bucket.s3.amazonaws.com/"),
            ("https://bucket.s3.amazonaws.com/", "https://bucket.s3.amazonaws.com/"),
            ("http://127.0.0.1:9000/bucket", "http://127.0.0.1:9000/bucket"),
        ] {
            assert_eq!(with_path(url), with);
        }
    }
}
