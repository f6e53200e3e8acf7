//! The Parquet library at arm's length: what it says of bytes that are not those that were written is an error, whatever
//! it does.
//!
//! It computes with offsets and lengths of the file it reads, and at some damage panics instead of returning an error
//! (overflow checks of a debug build, a slice out of range). Code that reads a file of the lake calls it through
//! [`guarded`]; `tools/arrows.py` knows who may name its readers. A panic is caught without a line and without a count
//! ([`ops::supervise::catch`]): no task died, its caller has an error to report.
//!
//! Before it is let in to the pages, [`misplaced`] and [`PageIndexes`] hold the footer and the page index against the
//! length of the file: without overflow checks what does not fit is no panic but another number, and memory that is asked
//! for by a damaged length and not had ends the process.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::{LakeError, Object};

/// Bytes in front of the first page: the magic number.
const HEAD_BYTES: i64 = 4;
/// Bytes after the footer: its length and the magic number.
const TAIL_BYTES: i64 = 8;

/// Runs `work`, which calls the library on the bytes of `path`; its panic becomes an error like its errors.
///
/// What `work` was at when it panicked is in no state that anybody may look at: hand it in by value, or drop it when this
/// fails. That is what makes it unwind safe.
pub(crate) fn guarded<T>(
    verb: &'static str,
    path: &Path,
    work: impl FnOnce() -> ParquetResult<T>,
) -> Result<T, LakeError> {
    let done = ops::supervise::catch(work);
    let done = done.unwrap_or_else(|panicked| Err(ParquetError::General(format!("the Parquet library {panicked}"))));
    done.map_err(LakeError::parquet(verb, path))
}

/// The footer and the page index of a file, both checked.
///
/// # Errors
/// When they cannot be read, or do not fit the file.
pub(crate) fn metadata(path: &Path, content: &Object) -> Result<ParquetMetaData, LakeError> {
    let bytes = i64::try_from(content.size()).unwrap_or(i64::MAX);
    guarded("read the footer of", path, || {
        let footer = ParquetMetaDataReader::new().parse_and_finish(content)?;
        misplaced(&footer, bytes).map_or(Ok(()), |what| Err(ParquetError::General(what)))?;
        let indexes = PageIndexes::read(&footer, content)?;
        let mut reader =
            ParquetMetaDataReader::new_with_metadata(footer).with_page_index_policy(PageIndexPolicy::Optional);
        reader.read_page_indexes(&indexes)?;
        let metadata = reader.finish()?;
        misplaced_pages(&metadata).map_or(Ok(metadata), |what| Err(ParquetError::General(what)))
    })
}

/// Where the bytes of a column of a row group are; `None` when they are not in a file of `bytes` bytes.
fn range(column: &ColumnChunkMetaData, bytes: i64) -> Option<Range<i64>> {
    let data = column.data_page_offset();
    let start = column.dictionary_page_offset().unwrap_or(data);
    let end = start.checked_add(column.compressed_size())?;
    let fits = start >= HEAD_BYTES && data >= start && data <= end && end <= bytes - TAIL_BYTES;
    (fits && column.uncompressed_size() >= 0).then_some(start..end)
}

/// What of a footer does not fit a file of `bytes` bytes, if anything.
fn misplaced(footer: &ParquetMetaData, bytes: i64) -> Option<String> {
    let mut rows: i64 = 0;
    for (g, group) in footer.row_groups().iter().enumerate() {
        rows = match rows.checked_add(group.num_rows()) {
            Some(sum) if group.num_rows() >= 0 && group.total_byte_size() >= 0 => sum,
            _ => return Some(format!("row group {g} has {} rows", group.num_rows())),
        };
        for column in group.columns() {
            let name = column.column_path();
            if range(column, bytes).is_none() {
                return Some(format!("the pages of {name} in row group {g} are not in the file"));
            }
            if column.column_descr().max_rep_level() == 0 && column.num_values() != group.num_rows() {
                let (values, rows) = (column.num_values(), group.num_rows());
                return Some(format!("{name} has {values} values in row group {g} of {rows} rows"));
            }
        }
    }
    let declared = footer.file_metadata().num_rows();
    (declared != rows).then(|| format!("the footer declares {declared} rows, the row groups hold {rows}"))
}

/// What of the page index does not fit the row groups, if anything.
fn misplaced_pages(metadata: &ParquetMetaData) -> Option<String> {
    let index = metadata.page_index()?;
    for (g, group) in metadata.row_groups().iter().enumerate() {
        for (c, column) in group.columns().iter().enumerate() {
            let (Some(pages), Some(of)) = (index.offset_index(g, c), range(column, i64::MAX)) else { continue };
            let (mut at, mut row) = (of.start, -1);
            for page in pages.page_locations() {
                let end = page.offset.checked_add(i64::from(page.compressed_page_size));
                let begins = if row < 0 { page.first_row_index == 0 } else { page.first_row_index > row };
                let fits = page.offset >= at
                    && page.compressed_page_size >= 0
                    && end.is_some_and(|end| end <= of.end)
                    && begins
                    && page.first_row_index <= group.num_rows();
                if !fits {
                    return Some(format!("the page index of {} in row group {g} is damaged", column.column_path()));
                }
                (at, row) = (end.unwrap_or(of.end), page.first_row_index);
            }
        }
    }
    None
}

/// A file whose page indexes were read already, in one piece, and ask for no more memory than they have bytes.
struct PageIndexes<'a> {
    file: &'a Object,
    start: u64,
    bytes: Bytes,
}

impl<'a> PageIndexes<'a> {
    fn read(footer: &ParquetMetaData, file: &'a Object) -> ParquetResult<Self> {
        let columns = || footer.row_groups().iter().flat_map(|group| group.columns());
        let offsets = || columns().filter_map(|c| index(c.offset_index_offset(), c.offset_index_length()));
        let values = columns().filter_map(|c| index(c.column_index_offset(), c.column_index_length()));
        let all = offsets().chain(values).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
        if all.end > file.size() {
            return Err(ParquetError::EOF("the page index is not in the file".to_owned()));
        }
        let bytes = file.range(all.clone())?;
        for one in offsets() {
            let at = |n: u64| usize::try_from(n - all.start).unwrap_or(usize::MAX);
            let one = bytes.get(at(one.start)..at(one.end)).unwrap_or_default();
            if pages_declared(one).is_some_and(|pages| pages > one.len() as u64) {
                return Err(ParquetError::General("the page index declares more pages than it has bytes".to_owned()));
            }
        }
        Ok(Self { file, start: all.start, bytes })
    }
}

fn index(offset: Option<i64>, length: Option<i32>) -> Option<Range<u64>> {
    let (start, length) = (u64::try_from(offset?).ok()?, u64::try_from(length?).ok()?);
    Some(start..start.checked_add(length)?)
}

/// How many pages an offset index declares: Thrift's compact protocol, field 1, a list. `None` where that is
/// the library's to refuse.
fn pages_declared(index: &[u8]) -> Option<u64> {
    let (_field, list) = (index.first()?, *index.get(1)?);
    if list >> 4 != 15 {
        return Some(u64::from(list >> 4));
    }
    let mut declared: u64 = 0;
    for (byte, shift) in index.get(2..)?.iter().zip((0..63).step_by(7)) {
        declared |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(declared);
        }
    }
    None
}

impl Length for PageIndexes<'_> {
    fn len(&self) -> u64 {
        self.file.size()
    }
}

impl ChunkReader for PageIndexes<'_> {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| Some(at..at.checked_add(length)?)).filter(|range| range.end <= self.bytes.len()) {
            Some(range) => Ok(self.bytes.slice(range)),
            None => self.file.get_bytes(start, length),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_panic_of_the_library_is_an_error_that_names_the_file_and_no_task_that_died() {
        let path = Path::new("lake/trades/a.parquet");
        let damaged = || -> ParquetResult<u64> { panic!("attempt to subtract with overflow") };
        let err = guarded("read", path, damaged).unwrap_err();
        assert!(!err.is_retryable());
        let text = err.to_string();
        assert!(text.starts_with("cannot read lake/trades/a.parquet: ") && text.contains("subtract"), "{text}");
        assert!(text.contains("the Parquet library panicked at ") && text.contains("guard.rs"), "{text}");
        assert_eq!(guarded("read", path, || Ok(7)).unwrap(), 7);
    }
}
