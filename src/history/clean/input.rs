//! One file of the archive to rows: blocks of bytes, lines, the quick parser, the other one, the record of what is no
//! row. Holds one block and a chunk of rows, whatever the file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wal_format::regular;

use super::line::{Fields, is_header, is_in_another_order};
use super::quarantine::Quarantine;
use super::row::{Line, Origin, Row};
use super::zip::{ZipError, ZipReader};

/// Bytes held at once: they stay in the second-level cache between reading and parsing.
const BLOCK_BYTES: usize = 1 << 18;
/// A longer line is no row of the archive.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// First column names of all kinds: such a line inside a file is a header again.
const FIRST_COLUMNS: [&[u8]; 9] = [
    b"open_time", b"agg_trade_id", b"agg_id", b"trade_id", b"id", b"update_id", b"timestamp", b"create_time",
    b"calc_time",
];

/// What was met in one file. Every line that is neither blank nor a header is a row, a sentinel or rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputCounts {
    /// Lines that should be rows.
    pub lines: u64,
    /// Of them rows.
    pub rows: u64,
    /// Of them place-holders of the archive: price 0, amount 0, ids -1.
    pub sentinels: u64,
    /// Of them neither: rejected with line number and reason.
    pub rejected: u64,
    /// Lines of column names.
    pub headers: u64,
    /// Blank lines.
    pub blank: u64,
    /// Rows whose time was in microseconds.
    pub micros: u64,
    /// Rows whose key is below one before them in the file.
    pub unordered: u64,
    /// Rows whose time lies outside the day or month of the file, by less than a day or one candle.
    pub outside: u64,
    /// A byte order mark.
    pub bom: bool,
    /// Lines end with CR LF.
    pub crlf: bool,
    /// The last line has no end.
    pub no_final_newline: bool,
}

/// Why the quick way ended.
enum Stop<R> {
    /// No more lines, or rows enough.
    Done,
    /// The next line is not as usual.
    Unusual,
    /// A line whose time lies outside the period of the file.
    Outside(R),
}

/// Where the bytes come from.
enum Source {
    Zip(Box<ZipReader>),
    /// A bare CSV, as the benchmark and tests have it.
    Csv(File),
}

/// A file of the archive being read.
pub(crate) struct Input<R> {
    source: Source,
    index: u16,
    block: Vec<u8>,
    start: usize,
    end: usize,
    line: u64,
    eof: bool,
    /// The rest of a line that was too long is being left out.
    skipping: bool,
    greatest: Option<(i64, i64)>,
    span_us: (i64, i64),
    slack_us: i64,
    /// What was met so far.
    pub counts: InputCounts,
    row: std::marker::PhantomData<R>,
}

/// A file on the disk that is to be read.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    /// Where.
    pub path: PathBuf,
    /// First instant of its day or month and the first one after, us.
    pub span_us: (i64, i64),
    /// How far outside a row's time may lie.
    pub slack_us: i64,
}

impl<R: Row> Input<R> {
    /// Opens file number `index` of the unit. A name that ends in `.csv` is a bare CSV.
    pub(crate) fn open(file: &InputFile, index: u16) -> Result<Self, ZipError> {
        let is_csv = file.path.extension().is_some_and(|e| e == "csv");
        let source = if is_csv {
            Source::Csv(regular::open(&file.path)?)
        } else {
            Source::Zip(Box::new(ZipReader::open(&file.path)?))
        };
        Ok(Self {
            source,
            index,
            block: vec![0; BLOCK_BYTES],
            start: 0,
            end: 0,
            line: 0,
            eof: false,
            skipping: false,
            greatest: None,
            span_us: file.span_us,
            slack_us: file.slack_us,
            counts: InputCounts::default(),
            row: std::marker::PhantomData,
        })
    }

    /// Appends rows to `out` until it holds `upto`; false at the end of the file.
    pub(crate) fn fill(
        &mut self,
        out: &mut Vec<R>,
        upto: usize,
        quarantine: &mut Quarantine,
    ) -> Result<bool, FillError> {
        while out.len() < upto {
            let whole = match memchr::memrchr(b'\n', self.held()) {
                Some(last) => self.start + last + 1,
                None if self.eof => self.end,
                None => {
                    self.more(quarantine)?;
                    continue;
                }
            };
            if self.start == self.end {
                return Ok(false);
            }
            self.rows(whole, out, upto, quarantine)?;
        }
        Ok(true)
    }

    fn held(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads more bytes after those that are held.
    fn more(&mut self, quarantine: &mut Quarantine) -> Result<(), FillError> {
        self.block.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end > MAX_LINE_BYTES {
            // No line of the archive is this long: what is held is rejected, the rest of it left out.
            if !self.skipping {
                self.line += 1;
                self.counts.lines += 1;
                self.counts.rejected += 1;
                let held = self.block.get(..MAX_LINE_BYTES).unwrap_or_default();
                quarantine.line(self.index, self.line, "line: too long", held)?;
            }
            self.skipping = true;
            self.end = 0;
        }
        let room = self.block.get_mut(self.end..).unwrap_or_default();
        let got = match &mut self.source {
            Source::Zip(zip) => zip.read(room)?,
            Source::Csv(file) => file.read(room).map_err(ZipError::Io)?,
        };
        self.end += got;
        self.eof = got == 0;
        if self.line == 0 && self.held().starts_with(b"\xef\xbb\xbf") {
            self.start += 3;
            self.counts.bom = true;
        }
        Ok(())
    }

    /// Takes lines up to byte `whole` of the block, which is after a newline or the end of the file.
    fn rows(
        &mut self,
        whole: usize,
        out: &mut Vec<R>,
        upto: usize,
        quarantine: &mut Quarantine,
    ) -> Result<(), FillError> {
        if self.skipping {
            let tail = memchr::memchr(b'\n', self.held());
            self.start = tail.map_or(self.end, |n| self.start + n + 1);
            self.skipping = tail.is_none();
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        let mut done = Ok(());
        while self.start < whole && out.len() < upto && done.is_ok() {
            let line = match self.quick_rows(block.get(..whole).unwrap_or_default(), out, upto) {
                Stop::Done => break,
                Stop::Outside(row) => {
                    done = self.take(row, out, quarantine);
                    continue;
                }
                Stop::Unusual => block.get(self.start..whole).unwrap_or_default(),
            };
            self.line += 1;
            let len = memchr::memchr(b'\n', line);
            self.start += len.map_or(line.len(), |n| n + 1);
            let line = line.get(..len.unwrap_or(line.len())).unwrap_or_default();
            done = match self.careful(line, len.is_some(), quarantine) {
                Ok(Some(row)) => self.take(row, out, quarantine),
                Ok(None) => Ok(()),
                Err(err) => Err(err),
            };
        }
        self.block = block;
        done
    }

    /// Takes lines as the archive writes them, as long as there is nothing else to say about them.
    fn quick_rows(&mut self, whole: &[u8], out: &mut Vec<R>, upto: usize) -> Stop<R> {
        let (earliest, latest) = self.span_us;
        // Sums are kept here, not in memory, while rows pass.
        let (mut start, mut line) = (self.start, self.line);
        let (mut micros, mut unordered) = (0_u64, 0_u64);
        let mut greatest = self.greatest.unwrap_or((i64::MIN, i64::MIN));
        let (had, lines) = (out.len(), self.counts.lines);
        let mut first_end = 0;
        let stop = loop {
            if start >= whole.len() || out.len() >= upto {
                break Stop::Done;
            }
            let rest = whole.get(start..).unwrap_or_default();
            let Some((row, used)) = R::quick(rest, Origin::new(self.index, line + 1)) else { break Stop::Unusual };
            line += 1;
            start += used;
            if first_end == 0 {
                first_end = start;
            }
            let time = row.time_us();
            if time < earliest || time >= latest {
                break Stop::Outside(row);
            }
            let key = row.key();
            if key >= greatest {
                greatest = key;
            } else {
                unordered += 1;
            }
            micros += u64::from(row.origin().has(Origin::MICROS));
            out.push(row);
        };
        if lines == 0 && first_end > 1 {
            self.counts.crlf |= whole.get(first_end - 2) == Some(&b'\r');
        }
        (self.start, self.line) = (start, line);
        let taken = (out.len() - had) as u64;
        self.counts.lines += taken + u64::from(matches!(stop, Stop::Outside(_)));
        self.counts.rows += taken;
        self.counts.micros += micros;
        self.counts.unordered += unordered;
        if taken > 0 {
            self.greatest = Some(greatest);
        }
        stop
    }

    /// Takes a row that was counted as a line, unless its time is absurd.
    fn take(&mut self, row: R, out: &mut Vec<R>, quarantine: &mut Quarantine) -> Result<(), FillError> {
        let (earliest, latest) = self.span_us;
        let time = row.time_us();
        if time < earliest || time >= latest {
            if time < earliest - self.slack_us || time >= latest + self.slack_us {
                self.counts.rejected += 1;
                let text = row.text();
                quarantine.line(self.index, self.line, "time: outside the period of the file", text.as_bytes())?;
                return Ok(());
            }
            self.counts.outside += 1;
        }
        let key = row.key();
        if self.greatest.is_none_or(|g| key >= g) {
            self.greatest = Some(key);
        } else {
            self.counts.unordered += 1;
        }
        self.counts.rows += 1;
        self.counts.micros += u64::from(row.origin().has(Origin::MICROS));
        out.push(row);
        Ok(())
    }

    /// A line that the quick parser did not take. `ended`: a newline stood after it.
    fn careful(&mut self, line: &[u8], ended: bool, quarantine: &mut Quarantine) -> Result<Option<R>, FillError> {
        let text = match line {
            [text @ .., b'\r'] => {
                self.counts.crlf = true;
                text
            }
            text => text,
        };
        if text.trim_ascii().is_empty() {
            self.counts.blank += 1;
            return Ok(None);
        }
        let first = self.counts.lines == 0 && self.counts.headers == 0;
        let fields = if text.len() > MAX_LINE_BYTES { None } else { Fields::split(text) };
        let is_names = |f: &Fields<'_>| is_header(f) && (first || FIRST_COLUMNS.contains(&f.get(0)));
        if let Some(names) = fields.as_ref().filter(|f| is_names(f)) {
            if is_in_another_order(names, R::COLUMNS) {
                return Err(ZipError::Refused("its columns are in another order than is known").into());
            }
            self.counts.headers += 1;
            return Ok(None);
        }
        self.counts.lines += 1;
        self.counts.no_final_newline |= !ended;
        let why = match &fields {
            _ if !ended && R::OPEN_END => "line: cut off at the end of the file".to_owned(),
            None if text.len() > MAX_LINE_BYTES => "line: too long".to_owned(),
            None => "line: cannot be split into columns".to_owned(),
            Some(fields) => match R::parse(fields, Origin::new(self.index, self.line)) {
                Ok(Line::Row(row)) => return Ok(Some(row)),
                Ok(Line::Sentinel) => {
                    self.counts.sentinels += 1;
                    return Ok(None);
                }
                Err(reject) => reject.to_string(),
            },
        };
        self.counts.rejected += 1;
        quarantine.line(self.index, self.line, &why, text)?;
        Ok(None)
    }

    /// What is unusual about the zip itself.
    pub(crate) fn zip_notes(&self, path: &Path) -> Vec<&'static str> {
        let Source::Zip(zip) = &self.source else { return Vec::new() };
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let mut notes = Vec::new();
        if zip.entry().others > 0 {
            notes.push("further entries in the zip, not looked at");
        }
        if zip.entry().name != format!("{stem}.csv") {
            notes.push("the CSV in the zip has another name");
        }
        notes
    }
}

/// Why reading a file of the archive stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    /// The file itself.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// The record of rejected lines cannot be written.
    #[error("write rejected lines: {0}")]
    Quarantine(#[from] std::io::Error),
}
