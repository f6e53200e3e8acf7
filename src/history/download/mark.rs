//! Names of what lies beside a file until it is here: whose it is, and of which attempt.
//!
//! ```text
//!  <file>.<tag>.<node>-<run>-<attempt>.partial         its bytes so far; the tag says of which upload
//!  .<file>.CHECKSUM.<node>-<run>-<attempt>.tmp         its checksum, before it is published
//! ```
//! Every attempt writes under a name of its own. Who takes over a file removes what earlier attempts left, so one that
//! lost its lease and does not know it yet (its process was stopped) finds nothing any more that it could publish.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wal_format::durable;

/// Ending of bytes that are not whole yet.
const ENDING: &str = ".partial";
/// Ending of what is whole and has no name yet.
const TEMPORARY: &str = ".tmp";
/// Hexadecimal digits of a node and of a run.
const DIGITS: usize = 8;

/// One downloader: a machine, and a run of the program on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DownloadWorker {
    node: String,
    run: String,
}

/// One attempt at one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub worker: DownloadWorker,
    /// Counts in the manifest: a later attempt has a higher one.
    pub attempt: u64,
}

impl DownloadWorker {
    /// A new run on a machine.
    pub(super) fn new(node: &str, random: u64) -> Self {
        let run = format!("{random:016x}");
        Self { node: hashed(node, DIGITS), run: run.get(..DIGITS).unwrap_or_default().to_owned() }
    }

    /// As a part of file names and leases.
    pub(super) fn word(&self) -> String {
        format!("{}-{}", self.node, self.run)
    }

    /// What the names of all runs on this machine begin with.
    pub(super) fn of_node(&self) -> String {
        format!("{}-", self.node)
    }
}

impl Mark {
    /// As a part of file names.
    fn word(&self) -> String {
        format!("{}-{}", self.worker.word(), self.attempt)
    }

    fn parse(word: &str) -> Option<Mark> {
        let mut parts = word.split('-');
        let mut part = || parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned);
        let (node, run, attempt) = (part()?, part()?, part()?.parse().ok()?);
        parts.next().is_none().then_some(Mark { worker: DownloadWorker { node, run }, attempt })
    }

    /// True when both were made on one machine.
    pub(super) fn same_node(&self, other: &Mark) -> bool {
        self.worker.node == other.worker.node
    }
}

/// Where the bytes of an upload lie; without a tag there is nothing to resume by.
pub(super) fn partial(dest: &Path, etag: Option<&str>, mark: &Mark) -> PathBuf {
    let name = dest.file_name().unwrap_or_default().to_string_lossy();
    let tag = etag.map_or_else(|| "untagged".to_owned(), tag_word);
    dest.with_file_name(format!("{name}.{tag}.{}{ENDING}", mark.word()))
}

/// Where a checksum waits for its name.
pub(super) fn checksum(dest: &Path, mark: &Mark) -> PathBuf {
    let name = dest.file_name().unwrap_or_default().to_string_lossy();
    dest.with_file_name(format!(".{name}.CHECKSUM.{}{TEMPORARY}", mark.word()))
}

/// A tag as a part of a file name: itself where it is plain, else its hash.
fn tag_word(etag: &str) -> String {
    if !etag.is_empty() && etag.len() <= 64 && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return etag.to_owned();
    }
    format!("x{}", hashed(etag, 32))
}

fn hashed(text: &str, digits: usize) -> String {
    let mut hex = lake::hash::sha256_hex(text.as_ref());
    hex.truncate(digits);
    hex
}

/// Something that an attempt left.
#[derive(Debug)]
pub(super) struct Left {
    pub path: PathBuf,
    pub bytes: u64,
    /// `None` for a name that this program does not give.
    pub mark: Option<Mark>,
    /// The upload that its bytes are of.
    tag: Option<String>,
}

/// What attempts at `dest` left.
pub(super) fn left_of(dest: &Path) -> io::Result<Vec<Left>> {
    let (Some(dir), Some(name)) = (dest.parent(), dest.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for path in files(dir)? {
        let Some(found) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let of = |found: &str, ending: &str| {
            Some(found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(ending)?.to_owned())
        };
        let temporary = found.strip_prefix('.').and_then(|rest| of(rest, TEMPORARY));
        let Some(words) = of(found, ENDING).or(temporary) else { continue };
        let (tag, mark) = words.split_once('.').unwrap_or((&words, ""));
        // Somebody else may have published or removed it meanwhile.
        let Ok(about) = fs::metadata(&path) else { continue };
        let tag = found.ends_with(ENDING).then(|| tag.to_owned());
        all.push(Left { mark: Mark::parse(mark), tag, bytes: about.len(), path });
    }
    Ok(all)
}

/// Bytes of this upload that earlier attempts than `mark` left, most first.
pub(super) fn to_resume(left: Vec<Left>, etag: &str, mark: &Mark) -> Vec<Left> {
    let tag = tag_word(etag);
    let mut left = left;
    left.retain(|l| l.tag.as_ref() == Some(&tag) && l.mark.as_ref().is_none_or(|m| m.attempt < mark.attempt));
    left.sort_by_key(|l| std::cmp::Reverse(l.bytes));
    left
}

/// Removes what earlier attempts at `dest` left, and this one, except `keep`; with no mark everything.
pub(super) fn sweep(dest: &Path, mark: Option<&Mark>, keep: Option<&Path>) -> io::Result<()> {
    for left in left_of(dest)? {
        let later = mark.zip(left.mark.as_ref()).is_some_and(|(ours, its)| its.attempt > ours.attempt);
        if !later && Some(left.path.as_path()) != keep {
            durable::remove_file(&left.path)?;
        }
    }
    Ok(())
}

/// Removes what killed runs left of `names` in a folder: these files are here, or with somebody else.
pub(super) fn sweep_of(dir: &Path, names: &HashSet<String>) -> io::Result<()> {
    for path in files(dir)? {
        let Some(found) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let rest = if found.ends_with(ENDING) { Some(found) } else { found.strip_prefix('.') };
        let rest = rest.filter(|rest| rest.ends_with(ENDING) || rest.ends_with(TEMPORARY));
        let name = rest.and_then(|rest| rest.get(..rest.find(".zip.")? + ".zip".len()));
        if name.is_some_and(|name| names.contains(name)) {
            durable::remove_file(&path)?;
        }
    }
    Ok(())
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mark(node: &str, attempt: u64) -> Mark {
        Mark { worker: DownloadWorker::new(node, 0x1234_5678_9abc_def0), attempt }
    }

    #[test]
    fn a_mark_is_read_back_from_a_name_and_other_words_are_none() {
        let mark = mark("host-1", 12);
        assert_eq!(Mark::parse(&mark.word()), Some(mark.clone()));
        assert!(mark.word().starts_with(&mark.worker.of_node()) && mark.word().contains("-12345678-"));
        for word in ["", "a", "a-b", "a-b-c", "a-b-1-2", "a-b-x", "node-run-1"] {
            assert_eq!(Mark::parse(word), None, "{word}");
        }
    }

    #[test]
    fn an_attempt_sweeps_what_earlier_ones_left_of_its_file_and_nothing_of_later_ones_or_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("A-trades-2024-01-01.zip");
        let put = |path: &Path| fs::write(path, b"x").unwrap();
        let (old, own, new) = (mark("a", 1), mark("b", 2), mark("c", 3));
        for m in [&old, &own, &new] {
            put(&partial(&dest, Some("t-1"), m));
            put(&checksum(&dest, m));
        }
        put(&partial(&dest, Some("../x\u{e9}"), &old));
        put(&dir.path().join("A-trades-2024-01-01.zip.untagged.partial"));
        let others =
            ["A-trades-2024-01-02.zip.t.partial", "A-trades-2024-01-01.zip", "A-trades-2024-01-01.zip.CHECKSUM"];
        for other in others {
            put(&dir.path().join(other));
        }
        assert_eq!(left_of(&dest).unwrap().len(), 8);
        let found = to_resume(left_of(&dest).unwrap(), "t-1", &own);
        assert!(found.len() == 1 && found[0].mark.as_ref() == Some(&old) && !old.same_node(&own), "{found:?}");
        let keep = partial(&dest, Some("t-1"), &own);
        sweep(&dest, Some(&own), Some(&keep)).unwrap();
        let mut left: Vec<PathBuf> = left_of(&dest).unwrap().into_iter().map(|l| l.path).collect();
        left.sort();
        let mut kept = [keep, partial(&dest, Some("t-1"), &new), checksum(&dest, &new)];
        kept.sort();
        assert_eq!(left, kept);
        sweep(&dest, None, None).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        sweep(&dir.path().join("no/such/folder.zip"), None, None).unwrap();
        put(&checksum(&dir.path().join("A-trades-2024-01-02.zip"), &own));
        put(&checksum(&dir.path().join("A-trades-2024-01-03.zip"), &own));
        sweep_of(dir.path(), &["A-trades-2024-01-02.zip".to_owned()].into()).unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.len() == 3 && !names.iter().any(|n| n.to_string_lossy().contains("01-02")), "{names:?}");
    }
}
