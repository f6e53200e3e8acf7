//! One column of one row group: pages, statistics, page index.
//!
//! Data pages are of version 1: definition levels (for nullable columns) and values together, compressed.

use std::cmp::Ordering;
use std::io;

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::rle;

/// A smallest or largest value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    I32(i32),
    I64(i64),
    F64(f64),
    Bool(bool),
    Text(Vec<u8>),
    /// Big-endian two's complement of a decimal.
    Dec(i128),
}

impl Bound {
    fn order(&self, other: &Bound) -> Ordering {
        match (self, other) {
            (Self::I32(a), Self::I32(b)) => a.cmp(b),
            (Self::I64(a), Self::I64(b)) => a.cmp(b),
            (Self::F64(a), Self::F64(b)) => a.total_cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Dec(a), Self::Dec(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::I32(v) => v.to_le_bytes().to_vec(),
            Self::I64(v) => v.to_le_bytes().to_vec(),
            Self::F64(v) => v.to_le_bytes().to_vec(),
            Self::Bool(v) => vec![u8::from(*v)],
            Self::Text(v) => v.clone(),
            Self::Dec(v) => v.to_be_bytes().to_vec(),
        }
    }
}

/// Smallest and largest value of a page or column.
pub(crate) type Bounds = (Bound, Bound);

/// Writes the pages of one column chunk into memory.
pub(crate) struct ChunkWriter<'z> {
    descr: ColumnDescPtr,
    zstd: &'z mut Compressor<'static>,
    level: i32,
    sink: TrackedWrite<Vec<u8>>,
    /// Per page: rows, nulls, bounds; `None` bounds of a page with values make the column index invalid.
    pages: Vec<(usize, usize, Option<Bounds>)>,
    offsets: OffsetIndexBuilder,
    uncompressed: usize,
    dictionary_at: Option<i64>,
    data_at: Option<i64>,
    encoding: Encoding,
    bounded: bool,
}

impl<'z> ChunkWriter<'z> {
    /// A chunk whose data pages have `encoding`. With `bounded` false it has neither minimum nor maximum:
    /// for long texts and payloads those cost more than they prune.
    pub(crate) fn new(
        descr: ColumnDescPtr,
        zstd: &'z mut Compressor<'static>,
        level: i32,
        encoding: Encoding,
        bounded: bool,
    ) -> Self {
        Self {
            descr,
            zstd,
            level,
            sink: TrackedWrite::new(Vec::new()),
            pages: Vec::new(),
            offsets: OffsetIndexBuilder::new(),
            uncompressed: 0,
            dictionary_at: None,
            data_at: None,
            encoding,
            bounded,
        }
    }

    fn compress(&mut self, body: &[u8]) -> Result<Bytes> {
        self.zstd.compress(body).map(Bytes::from).map_err(|e: io::Error| ParquetError::External(Box::new(e)))
    }

    /// Writes the dictionary page: `plain` holds `entries` values in PLAIN encoding, sorted.
    pub(crate) fn dictionary(&mut self, plain: &[u8], entries: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.compress(plain)?,
            num_values: entries as u32,
            encoding: Encoding::PLAIN,
            is_sorted: true,
        };
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, plain.len()))?;
        self.dictionary_at = Some(spec.offset as i64);
        self.uncompressed += spec.uncompressed_size;
        Ok(())
    }

    /// Writes a data page of `rows` rows, `nulls` of them null; `body` holds levels and values.
    pub(crate) fn page(&mut self, body: &[u8], rows: usize, nulls: usize, bounds: Option<Bounds>) -> Result<()> {
        let page = Page::DataPage {
            buf: self.compress(body)?,
            num_values: rows as u32,
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, body.len()))?;
        self.data_at.get_or_insert(spec.offset as i64);
        self.uncompressed += spec.uncompressed_size;
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        self.pages.push((rows, nulls, bounds));
        Ok(())
    }

    /// The bytes of the chunk and what the file's footer says about them; offsets count from the first byte.
    pub(crate) fn close(self) -> Result<(Bytes, ColumnCloseResult)> {
        let bytes = Bytes::from(self.sink.into_inner()?);
        let rows: usize = self.pages.iter().map(|p| p.0).sum();
        let nulls: usize = self.pages.iter().map(|p| p.1).sum();
        let mut encodings = vec![self.encoding];
        if self.dictionary_at.is_some() {
            encodings.push(Encoding::PLAIN);
        }
        if self.descr.max_def_level() > 0 {
            encodings.push(Encoding::RLE);
        }
        let total = if self.bounded { total_bounds(&self.pages) } else { None };
        let metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(self.level.clamp(1, 22))?))
            .set_encodings(encodings)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(rows as i64)
            .set_data_page_offset(self.data_at.unwrap_or_default())
            .set_dictionary_page_offset(self.dictionary_at)
            .set_statistics(statistics(self.descr.physical_type(), total, nulls as u64))
            .build()?;
        let column_index =
            if self.bounded { Some(column_index(self.descr.physical_type(), &self.pages).build()?) } else { None };
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offsets.build()),
        };
        Ok((bytes, close))
    }
}

fn total_bounds(pages: &[(usize, usize, Option<Bounds>)]) -> Option<Bounds> {
    let mut total: Option<Bounds> = None;
    for (min, max) in pages.iter().filter_map(|p| p.2.as_ref()) {
        total = Some(match total {
            None => (min.clone(), max.clone()),
            Some((a, b)) => (
                if min.order(&a).is_lt() { min.clone() } else { a },
                if max.order(&b).is_gt() { max.clone() } else { b },
            ),
        });
    }
    total
}

fn column_index(kind: Type, pages: &[(usize, usize, Option<Bounds>)]) -> ColumnIndexBuilder {
    let mut index = ColumnIndexBuilder::new(kind);
    // The order of the pages is only claimed over pages that hold values.
    let bounds: Vec<&Bounds> = pages.iter().filter_map(|p| p.2.as_ref()).collect();
    let sorted = |at_most: Ordering| {
        bounds.windows(2).all(|w| {
            let (a, b) = (w[0], w[1]);
            a.0.order(&b.0) != at_most && a.1.order(&b.1) != at_most
        })
    };
    index.set_boundary_order(if sorted(Ordering::Greater) {
        BoundaryOrder::ASCENDING
    } else if sorted(Ordering::Less) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    });
    let nans = (kind == Type::DOUBLE).then_some(0);
    for (_, nulls, bounds) in pages {
        match bounds {
            Some((min, max)) => {
                index.append(false, min.bytes(), max.bytes(), *nulls as i64, nans);
            }
            None => index.append(true, Vec::new(), Vec::new(), *nulls as i64, nans),
        }
    }
    index
}

fn statistics(kind: Type, bounds: Option<Bounds>, nulls: u64) -> Statistics {
    let nulls = Some(nulls);
    let (min, max) = bounds.map_or((None, None), |(a, b)| (Some(a), Some(b)));
    macro_rules! of {
        ($make:ident, $variant:ident) => {
            Statistics::$make(
                min.and_then(|b| match b {
                    Bound::$variant(v) => Some(v),
                    _ => None,
                }),
                max.and_then(|b| match b {
                    Bound::$variant(v) => Some(v),
                    _ => None,
                }),
                None,
                nulls,
                false,
            )
        };
    }
    match kind {
        Type::BOOLEAN => of!(boolean, Bool),
        Type::INT32 => of!(int32, I32),
        Type::INT64 => of!(int64, I64),
        Type::DOUBLE => {
            let double = |b: Option<Bound>| match b {
                Some(Bound::F64(v)) => Some(v),
                _ => None,
            };
            Statistics::Double(
                ValueStatistics::new(double(min), double(max), None, nulls, false).with_nan_count(Some(0)),
            )
        }
        Type::FIXED_LEN_BYTE_ARRAY => {
            let fixed = |b: Option<Bound>| b.map(|b| FixedLenByteArray::from(ByteArray::from(b.bytes())));
            Statistics::fixed_len_byte_array(fixed(min), fixed(max), None, nulls, false)
        }
        _ => {
            let text = |b: Option<Bound>| b.map(|b| ByteArray::from(b.bytes()));
            Statistics::byte_array(text(min), text(max), None, nulls, false)
        }
    }
}

/// Definition levels of a page.
pub(crate) enum Level<'v> {
    /// This many rows, none null.
    AllSet(usize),
    /// Whether each row holds a value.
    Each(&'v [bool]),
}

/// Appends the definition levels of a page: a length, then 1 for a value and 0 for a null.
pub(crate) fn levels(level: Level<'_>, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    match level {
        Level::AllSet(rows) => rle::bit_run(true, rows, out),
        Level::Each(valid) => rle::bits(valid, out),
    }
    let len = ((out.len() - at - 4) as u32).to_le_bytes();
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&len);
    }
}
