//! The files of a unit to one stream of rows in the order of their keys.
//!
//! ```text
//!  first way: every file is in order                     second way: some file is not
//!   monthly ----------------+                             all files --> memory --sort--> rows
//!   daily 1, daily 2, ... --+--> rows                                     | more than the budget
//!                                                                         +-> sorted runs on disk --merge--> rows
//! ```
//! The first way holds a chunk of each stream and is the usual one; at the first row that is out of order it gives
//! up, and the unit is done again the second way. Both give the same rows in the same order: by key, then by file
//! (the monthly one first), then by line.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use wal_format::regular;

use super::input::{FillError, Input, InputCounts, InputFile};
use super::quarantine::Quarantine;
use super::row::{Origin, Row};

/// Rows of a chunk that stay in the second-level cache from the parser to the columns.
const CACHED_ROWS: usize = 4_096;

/// Takes the rows of a unit.
pub(crate) trait Sink<R> {
    /// Rows in order; rows with one key follow each other, the one that counts first.
    fn rows(&mut self, rows: &[R], quarantine: &mut Quarantine) -> Result<(), StreamError>;
}

/// Why a unit did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A row is out of order: only the second way works.
    #[error("a row is out of order")]
    Disorder,
    /// File `input` of the unit cannot be used.
    #[error("file {input} of the unit: {error}")]
    Input {
        /// Which.
        input: usize,
        /// Why.
        error: super::zip::ZipError,
    },
    /// The disk.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] lake::LakeError),
}

impl StreamError {
    fn of(input: usize, error: FillError) -> Self {
        match error {
            FillError::Zip(error) => Self::Input { input, error },
            FillError::Quarantine(error) => Self::Io(error),
        }
    }
}

/// What was learnt of a file while reading it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    /// Counts.
    pub counts: InputCounts,
    /// What is unusual about the zip.
    pub notes: Vec<&'static str>,
}

/// Files that follow each other, read one after the other.
struct Chain<'f, R> {
    files: &'f [(u16, InputFile)],
    next: usize,
    open: Option<Input<R>>,
    chunk: Vec<R>,
    at: usize,
    last: Option<(i64, i64)>,
}

impl<'f, R: Row> Chain<'f, R> {
    fn new(files: &'f [(u16, InputFile)]) -> Self {
        Self { files, next: 0, open: None, chunk: Vec::new(), at: 0, last: None }
    }

    /// Refills the chunk; false when there are no more rows. Rows must be in order.
    fn refill(&mut self, rows: usize, met: &mut [Met], quarantine: &mut Quarantine) -> Result<bool, StreamError> {
        self.chunk.clear();
        self.at = 0;
        loop {
            if self.open.is_none() {
                let Some((index, file)) = self.files.get(self.next) else { break };
                let input = Input::open(file, *index);
                self.open = Some(input.map_err(|error| StreamError::Input { input: usize::from(*index), error })?);
            }
            let Some((index, file)) = self.files.get(self.next) else { break };
            let Some(input) = &mut self.open else { break };
            let from = self.chunk.len();
            let more =
                input.fill(&mut self.chunk, rows, quarantine).map_err(|e| StreamError::of(usize::from(*index), e))?;
            // The file itself compared each of its rows with those before.
            let first = self.chunk.get(from).map(Row::key);
            if input.counts.unordered > 0 || first.is_some_and(|first| Some(first) < self.last) {
                return Err(StreamError::Disorder);
            }
            self.last = self.chunk.last().map_or(self.last, |row| Some(row.key()));
            if more {
                break;
            }
            if let Some(met) = met.get_mut(usize::from(*index)) {
                *met = Met { counts: input.counts.clone(), notes: input.zip_notes(&file.path) };
            }
            self.open = None;
            self.next += 1;
        }
        Ok(!self.chunk.is_empty())
    }

    fn held(&self) -> &[R] {
        self.chunk.get(self.at..).unwrap_or_default()
    }
}

/// The first way. `files`: the monthly one, and the daily ones in order. `rows`: rows of a chunk.
pub(crate) fn stream<R: Row>(
    files: [&[(u16, InputFile)]; 2],
    rows: &dyn Fn() -> usize,
    met: &mut [Met],
    quarantine: &mut Quarantine,
    sink: &mut dyn Sink<R>,
) -> Result<(), StreamError> {
    let [mut a, mut b] = files.map(Chain::<R>::new);
    let rows = || rows().min(CACHED_ROWS);
    let mut merged: Vec<R> = Vec::new();
    loop {
        let more_a = !a.held().is_empty() || a.refill(rows(), met, quarantine)?;
        let more_b = !b.held().is_empty() || b.refill(rows(), met, quarantine)?;
        match (more_a, more_b) {
            (false, false) => return Ok(()),
            (true, false) => {
                sink.rows(a.held(), quarantine)?;
                a.at = a.chunk.len();
            }
            (false, true) => {
                sink.rows(b.held(), quarantine)?;
                b.at = b.chunk.len();
            }
            (true, true) => {
                merged.clear();
                while let (Some(x), Some(y)) = (a.chunk.get(a.at), b.chunk.get(b.at)) {
                    if x.key() <= y.key() {
                        merged.push(*x);
                        a.at += 1;
                    } else {
                        merged.push(*y);
                        b.at += 1;
                    }
                }
                sink.rows(&merged, quarantine)?;
            }
        }
    }
}

/// The order of all rows of a unit.
fn order<R: Row>(row: &R) -> ((i64, i64), Origin) {
    (row.key(), row.origin())
}

/// The second way. `budget`: rows held at once; runs go to `dir`. `rows`: rows of a chunk.
pub(crate) fn sort<R: Row>(
    files: &[(u16, InputFile)],
    budget: &dyn Fn() -> usize,
    rows: &dyn Fn() -> usize,
    dir: &Path,
    met: &mut [Met],
    quarantine: &mut Quarantine,
    sink: &mut dyn Sink<R>,
) -> Result<(), StreamError> {
    let mut held: Vec<R> = Vec::new();
    let mut runs: Vec<PathBuf> = Vec::new();
    for (index, file) in files {
        let at = usize::from(*index);
        let mut input = Input::<R>::open(file, *index).map_err(|error| StreamError::Input { input: at, error })?;
        loop {
            let chunk = rows();
            let upto = held.len().saturating_add(chunk);
            if held.capacity() < upto {
                // Twice as much, as a Vec grows by itself, but not past the budget.
                let more = held.len().min(budget().saturating_sub(held.len()));
                held.reserve_exact(more.max(chunk));
            }
            let more = input.fill(&mut held, upto, quarantine).map_err(|e| StreamError::of(at, e))?;
            if held.len() >= budget() {
                held.sort_unstable_by_key(order);
                let path = dir.join(format!("run.{:06}", runs.len()));
                store(&path, &held)?;
                runs.push(path);
                held.clear();
            }
            if !more {
                break;
            }
        }
        if let Some(met) = met.get_mut(at) {
            *met = Met { counts: input.counts.clone(), notes: input.zip_notes(&file.path) };
        }
    }
    held.sort_unstable_by_key(order);
    if runs.is_empty() {
        for chunk in held.chunks(rows().max(1)) {
            sink.rows(chunk, quarantine)?;
        }
        return Ok(());
    }
    if !held.is_empty() {
        let path = dir.join(format!("run.{:06}", runs.len()));
        store(&path, &held)?;
        runs.push(path);
    }
    drop(held);
    let result = merge(&runs, rows().max(1), quarantine, sink);
    for run in &runs {
        wal_format::durable::remove_file(run)?;
    }
    result
}

fn store<R: Row>(path: &Path, rows: &[R]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut bytes = Vec::with_capacity(R::BYTES);
    for row in rows {
        bytes.clear();
        row.store(&mut bytes);
        out.write_all(&bytes)?;
    }
    out.flush()
}

/// A sorted run, read back.
struct Run<R> {
    file: BufReader<File>,
    row: std::marker::PhantomData<R>,
}

impl<R: Row> Run<R> {
    fn next(&mut self) -> io::Result<Option<R>> {
        let mut bytes = [0_u8; 256];
        let Some(slot) = bytes.get_mut(..R::BYTES) else { return Ok(None) };
        match self.file.read_exact(slot) {
            Ok(()) => Ok(R::load(slot)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A row in the heap: ordered by the order of rows alone.
struct Head<R>(R, usize);

impl<R: Row> PartialEq for Head<R> {
    fn eq(&self, other: &Self) -> bool {
        order(&self.0) == order(&other.0)
    }
}

impl<R: Row> Eq for Head<R> {}

impl<R: Row> PartialOrd for Head<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Row> Ord for Head<R> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        order(&self.0).cmp(&order(&other.0))
    }
}

fn merge<R: Row>(
    runs: &[PathBuf],
    chunk_rows: usize,
    quarantine: &mut Quarantine,
    sink: &mut dyn Sink<R>,
) -> Result<(), StreamError> {
    let mut open = Vec::with_capacity(runs.len());
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (i, path) in runs.iter().enumerate() {
        // 64 KiB a run: a hundred runs take 6 MiB.
        let file = BufReader::with_capacity(64 * 1024, regular::open(path)?);
        let mut run = Run { file, row: std::marker::PhantomData };
        if let Some(row) = run.next()? {
            heads.push(Reverse(Head(row, i)));
        }
        open.push(run);
    }
    let mut chunk = Vec::with_capacity(chunk_rows);
    while let Some(Reverse(Head(row, i))) = heads.pop() {
        chunk.push(row);
        if chunk.len() >= chunk_rows {
            sink.rows(&chunk, quarantine)?;
            chunk.clear();
        }
        if let Some(run) = open.get_mut(i)
            && let Some(row) = run.next()?
        {
            heads.push(Reverse(Head(row, i)));
        }
    }
    sink.rows(&chunk, quarantine)
}
