//! Rejected lines, kept: one JSON line per rejected line, with file, line number, reason and the bytes.
//!
//! ```text
//! {"file":"data/...zip","line":17,"reason":"price: not a number","raw":"1,x,..."}
//! ```
//! Written file by file of the unit, so the order does not depend on how the files were read in turns. Bytes that
//! are not UTF-8 are hexadecimal under `raw_hex`; more than 4 KiB are truncated and `raw_bytes` says how many there were.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use wal_format::regular;

/// Bytes of a line that are kept.
const KEPT_BYTES: usize = 4 * 1024;

#[derive(Serialize)]
struct Entry<'a> {
    file: &'a str,
    line: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_bytes: Option<usize>,
}

/// Rejected lines, on their way to a file.
pub(crate) struct Quarantine {
    dir: PathBuf,
    names: Vec<String>,
    /// One per file of the unit, and the last one for rows that contradict another.
    parts: Vec<Option<BufWriter<File>>>,
    /// How many, by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Quarantine {
    /// Nothing yet. `names` are those of the unit's files; parts are written into `dir`, which exists.
    pub(crate) fn new(dir: &Path, names: Vec<String>) -> Self {
        let parts = (0..=names.len()).map(|_| None).collect();
        Self { dir: dir.to_owned(), names, parts, reasons: BTreeMap::new() }
    }

    /// Counts only: for a second reading of `files` files whose lines were rejected before.
    pub(crate) fn nowhere(files: usize) -> Self {
        Self { dir: PathBuf::new(), names: vec![String::new(); files], parts: Vec::new(), reasons: BTreeMap::new() }
    }

    /// Rejects a line.
    pub(crate) fn line(&mut self, input: u16, line: u64, reason: &str, raw: &[u8]) -> io::Result<()> {
        self.write(usize::from(input), usize::from(input), line, reason, raw)
    }

    /// Rejects a row that has the key of another one and other values.
    pub(crate) fn conflict(&mut self, input: usize, line: u64, reason: &str, row: &str) -> io::Result<()> {
        self.write(self.names.len(), input, line, reason, row.as_bytes())
    }

    fn write(&mut self, part: usize, input: usize, line: u64, reason: &str, raw: &[u8]) -> io::Result<()> {
        // Reasons are few and fixed; a conflict names the other line, which does not belong into the sum.
        let sum = reason.split(" as line ").next().unwrap_or(reason);
        match self.reasons.get_mut(sum) {
            Some(n) => *n += 1,
            None => {
                self.reasons.insert(sum.to_owned(), 1);
            }
        }
        let kept = raw.get(..raw.len().min(KEPT_BYTES)).unwrap_or(raw);
        let text = std::str::from_utf8(kept).ok();
        let entry = Entry {
            file: self.names.get(input).map_or("", String::as_str),
            line,
            reason,
            raw: text,
            raw_hex: text.is_none().then(|| lake::hash::hex(kept)),
            raw_bytes: (kept.len() < raw.len()).then_some(raw.len()),
        };
        let path = self.dir.join(format!("quarantine.{part:05}"));
        let Some(slot) = self.parts.get_mut(part) else { return Ok(()) };
        let out = match slot {
            Some(out) => out,
            None => slot.insert(BufWriter::new(File::create(path)?)),
        };
        serde_json::to_writer(&mut *out, &entry)?;
        out.write_all(b"\n")
    }

    /// How many lines were rejected.
    pub(crate) fn lines(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// Joins the parts to one file; `None` when nothing was rejected.
    pub(crate) fn finish(&mut self) -> io::Result<Option<PathBuf>> {
        if self.lines() == 0 {
            return Ok(None);
        }
        let joined = self.dir.join("quarantine.jsonl");
        let mut out = BufWriter::new(File::create(&joined)?);
        for (i, part) in self.parts.iter_mut().enumerate() {
            let Some(part) = part.take() else { continue };
            part.into_inner().map_err(io::IntoInnerError::into_error)?;
            io::copy(&mut regular::open(&self.dir.join(format!("quarantine.{i:05}")))?, &mut out)?;
        }
        out.flush()?;
        Ok(Some(joined))
    }
}
