//! Two lakes, or a lake and its replay, compared: first byte by byte, then row by row where bytes differ.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use wal_format::plain;

use super::column::{Column, NULL_DEC, NULL_F64, NULL_I64, NULL_WORD, SIDES};
use super::read::TableFile;
use super::rows::RowsChunk;
use super::{Lake, LakeError, Object};

/// A difference between two lakes `a` and `b`. Paths are relative to the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The file is only in `a`.
    OnlyInA(PathBuf),
    /// The file is only in `b`.
    OnlyInB(PathBuf),
    /// The rows are equal, the bytes are not (another version, other settings or key-values).
    Bytes(PathBuf),
    /// The rows differ.
    Rows {
        /// The file.
        path: PathBuf,
        /// Rows whose key is only in `a`.
        only_a: u64,
        /// Rows whose key is only in `b`.
        only_b: u64,
        /// Rows with the same key and other values.
        changed: u64,
        /// The first difference, as text.
        first: String,
    },
    /// A file other than Parquet (a manifest) differs.
    Other(PathBuf),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyInA(p) => write!(f, "{}: only in the first lake", p.display()),
            Self::OnlyInB(p) => write!(f, "{}: only in the second lake", p.display()),
            Self::Bytes(p) => write!(f, "{}: equal rows, other bytes", p.display()),
            Self::Other(p) => write!(f, "{}: other content", p.display()),
            Self::Rows { path, only_a, only_b, changed, first } => write!(
                f,
                "{}: {only_a} rows only in the first lake, {only_b} only in the second, {changed} changed; first: {}",
                path.display(),
                plain::line(first)
            ),
        }
    }
}

/// Compares all published files of two lakes, in path order.
///
/// # Errors
/// When a file cannot be read, or differs and is not a usable file of the lake.
pub fn diff_trees(a: &Lake, b: &Lake) -> Result<Vec<Difference>, LakeError> {
    let all = [a.list("", None, None)?, b.list("", None, None)?];
    diff_objects(a, b, all.into_iter().flatten().map(|meta| meta.key))
}

/// Compares what two lakes have under `keys`, in path order; what neither has is no difference.
///
/// # Errors
/// As [`diff_trees`].
pub fn diff_objects(a: &Lake, b: &Lake, keys: impl IntoIterator<Item = String>) -> Result<Vec<Difference>, LakeError> {
    let paths: BTreeSet<PathBuf> = keys.into_iter().map(PathBuf::from).collect();
    let mut out = Vec::new();
    for path in paths {
        let key = path.to_string_lossy();
        match (a.get(&key)?, b.get(&key)?) {
            (None, None) => {}
            (Some(_), None) => out.push(Difference::OnlyInA(path)),
            (None, Some(_)) => out.push(Difference::OnlyInB(path)),
            (Some(of_a), Some(of_b)) => out.extend(diff_files((&a.place(&key), of_a), (&b.place(&key), of_b), &path)?),
        }
    }
    Ok(out)
}

fn diff_files(a: (&Path, Object), b: (&Path, Object), name: &Path) -> Result<Option<Difference>, LakeError> {
    if same_bytes(&a, &b)? {
        return Ok(None);
    }
    if name.extension().is_none_or(|e| e != "parquet") {
        return Ok(Some(Difference::Other(name.to_owned())));
    }
    let mut d = RowDiff::default();
    let (a, b) = (TableFile::of(a.0, a.1)?, TableFile::of(b.0, b.1)?);
    if a.table() != b.table() || a.numeric() != b.numeric() {
        return Ok(Some(Difference::Rows {
            path: name.to_owned(),
            only_a: a.rows(),
            only_b: b.rows(),
            changed: 0,
            first: format!(
                "table {} with numbers as {} against table {} with numbers as {}",
                a.table(),
                a.numeric(),
                b.table(),
                b.numeric()
            ),
        }));
    }
    d.run(&mut Cursor::new(a), &mut Cursor::new(b))?;
    Ok(Some(match d.first {
        None => Difference::Bytes(name.to_owned()),
        Some(first) => {
            Difference::Rows { path: name.to_owned(), only_a: d.only_a, only_b: d.only_b, changed: d.changed, first }
        }
    }))
}

fn same_bytes(a: &(&Path, Object), b: &(&Path, Object)) -> Result<bool, LakeError> {
    let ((a, of_a), (b, of_b)) = (a, b);
    let mut fa = of_a.reader(0).map_err(LakeError::io("open", a))?;
    let mut fb = of_b.reader(0).map_err(LakeError::io("open", b))?;
    let mut ba = vec![0; 1 << 16];
    let mut bb = vec![0; 1 << 16];
    loop {
        let na = fill(&mut fa, &mut ba).map_err(LakeError::io("read", a))?;
        let nb = fill(&mut fb, &mut bb).map_err(LakeError::io("read", b))?;
        if ba.get(..na) != bb.get(..nb) {
            return Ok(false);
        }
        if na == 0 {
            return Ok(true);
        }
    }
}

fn fill(f: &mut impl Read, buf: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while let Some(room) = buf.get_mut(n..).filter(|r| !r.is_empty()) {
        match f.read(room)? {
            0 => break,
            k => n += k,
        }
    }
    Ok(n)
}

/// Walks a file in key order, one row group in memory. Row groups are ranges in log order.
struct Cursor {
    file: TableFile,
    group: usize,
    chunk: Option<RowsChunk>,
    row: usize,
}

impl Cursor {
    fn new(file: TableFile) -> Self {
        Self { file, group: 0, chunk: None, row: 0 }
    }

    fn current(&mut self) -> Result<Option<(i64, i32)>, LakeError> {
        loop {
            if let Some(key) = self.chunk.as_ref().and_then(|c| c.key(self.row)) {
                return Ok(Some(key));
            }
            if self.group >= self.file.groups() {
                return Ok(None);
            }
            self.chunk = Some(self.file.chunk(self.group)?);
            self.group += 1;
            self.row = 0;
        }
    }
}

#[derive(Default)]
struct RowDiff {
    only_a: u64,
    only_b: u64,
    changed: u64,
    first: Option<String>,
}

impl RowDiff {
    fn run(&mut self, a: &mut Cursor, b: &mut Cursor) -> Result<(), LakeError> {
        loop {
            match (a.current()?, b.current()?) {
                (None, None) => return Ok(()),
                (Some(k), other) if other.is_none_or(|o| k < o) => {
                    self.only_a += 1;
                    self.note(|| format!("seq {} row {} only in the first", k.0, k.1));
                    a.row += 1;
                }
                (_, Some(k)) if a.current()?.is_none_or(|o| k < o) => {
                    self.only_b += 1;
                    self.note(|| format!("seq {} row {} only in the second", k.0, k.1));
                    b.row += 1;
                }
                (Some(k), _) => {
                    if let (Some(ca), Some(cb)) = (&a.chunk, &b.chunk)
                        && let Some((name, va, vb)) = differing_cell(ca, a.row, cb, b.row)
                    {
                        self.changed += 1;
                        self.note(|| format!("seq {} row {}: {name} is {va} against {vb}", k.0, k.1));
                    }
                    a.row += 1;
                    b.row += 1;
                }
                (None, Some(_)) => return Ok(()),
            }
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.first.is_none() {
            self.first = Some(what());
        }
    }
}

/// Of files of two versions of the schema, what both can say.
fn differing_cell(a: &RowsChunk, row_a: usize, b: &RowsChunk, row_b: usize) -> Option<(&'static str, String, String)> {
    a.specs()
        .iter()
        .zip(a.columns.iter().zip(&b.columns))
        .map(|(spec, (ca, cb))| (spec.name, cell(a, ca, row_a), cell(b, cb, row_b)))
        .find(|(_, va, vb)| va != vb)
}

/// A value as text, `null` for none. Doubles print their shortest text, decimals times 10^18.
fn cell(chunk: &RowsChunk, column: &Column, row: usize) -> String {
    let text = match column {
        Column::Int32(v) => v.get(row).map(i32::to_string),
        Column::Int64(v) => v.get(row).filter(|x| **x != NULL_I64).map(i64::to_string),
        Column::Double(v) => v.get(row).filter(|x| **x != NULL_F64).map(|x| f64::from_bits(*x).to_string()),
        Column::Decimal(v) => v.get(row).filter(|x| **x != NULL_DEC).map(|x| format!("{x}e-18")),
        Column::Word(v) => {
            v.get(row).filter(|x| **x != NULL_WORD).and_then(|x| chunk.words.get(*x as usize)).map(|w| format!("{w:?}"))
        }
        Column::Side(v) => v.get(row).and_then(|x| SIDES.get(usize::from(*x))).map(|w| format!("{w:?}")),
        Column::Bool(v) => v.get(row).map(bool::to_string),
        Column::Text(t) => t.get(row).map(|t| format!("{:?}", String::from_utf8_lossy(t))),
        Column::Derived => None,
    };
    text.unwrap_or_else(|| "null".to_owned())
}
