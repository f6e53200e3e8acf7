//! A chunk of rows in log order becomes one row group: sorted by symbol, then receive order.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use parquet::arrow::ArrowSchemaConverter;
use parquet::errors::Result;
use parquet::file::writer::SerializedRowGroupWriter;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::columns::{ColumnEncoder, Scratch};
use crate::column::Column;
use crate::rows::RowsChunk;
use crate::{LakeError, WriteSettings};

/// A page of texts or payloads ends when it passes this, whatever the row target says.
const MAX_TEXT_PAGE_BYTES: usize = 1 << 20;

/// What is reused from row group to row group: the compressor and scratch space.
pub(crate) struct Encoder {
    zstd: Compressor<'static>,
    level: i32,
    page_rows: usize,
    sorted: (Vec<u32>, Vec<u32>),
    scratch: Scratch,
}

impl Encoder {
    pub(crate) fn new(settings: &WriteSettings) -> std::io::Result<Self> {
        let mut zstd = Compressor::new(settings.zstd_level)?;
        if matches!(settings.zstd_level, 3 | 4) {
            // These levels look for matches of 5 bytes and more. Our values repeat in fours (half of a double or a
            // time): 0.8 % smaller for the same time.
            zstd.set_parameter(CParameter::MinMatch(4))?;
        }
        Ok(Self {
            zstd,
            level: settings.zstd_level,
            page_rows: settings.page_rows.max(1),
            sorted: Default::default(),
            scratch: Scratch::default(),
        })
    }
}

/// Writes every column of `chunk` to `out`. The order of the rows and all bytes depend on nothing but the rows
/// and the settings.
pub(crate) fn encode_group<W: Write + Send>(
    encoder: &mut Encoder,
    chunk: &RowsChunk,
    out: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<()> {
    let schema = ArrowSchemaConverter::new()
        .schema_root("row")
        .convert(&chunk.table().schema(chunk.numeric(), chunk.version()))?;
    let (mut order, mut place) = std::mem::take(&mut encoder.sorted);
    let ends = symbol_order(chunk, &mut order, &mut place);
    let mut pages = cut_pages(&ends, encoder.page_rows);
    cut_heavy_pages(chunk, &order, &mut pages);
    for (i, (spec, column)) in chunk.specs().iter().zip(&chunk.columns).enumerate() {
        let mut w = ColumnEncoder {
            zstd: &mut encoder.zstd,
            level: encoder.level,
            scratch: &mut encoder.scratch,
            descr: schema.column(i),
            spec: *spec,
            order: &order,
            place: &place,
            as_is: ends.len() <= 1,
            pages: &pages,
        };
        let (bytes, close) = w.encode(column, chunk)?;
        out.append_column(&bytes, close)?;
    }
    encoder.sorted = (order, place);
    Ok(())
}

/// Gives row numbers sorted by symbol (null first), rows of one symbol in log order, and the place of each row in
/// that order; returns where each symbol ends.
fn symbol_order(chunk: &RowsChunk, order: &mut Vec<u32>, place: &mut Vec<u32>) -> Vec<usize> {
    let symbols = chunk.symbols();
    if let Some(only) = symbols.first()
        && symbols.iter().all(|s| s == only)
    {
        for rows in [&mut *order, &mut *place] {
            rows.clear();
            rows.extend(0..symbols.len() as u32);
        }
        return vec![symbols.len()];
    }
    // NULL_WORD + 1 wraps to 0.
    let slot = |s: u32| s.wrapping_add(1) as usize;
    let mut counts = vec![0_usize; chunk.words.len() + 1];
    for s in symbols {
        if let Some(c) = counts.get_mut(slot(*s)) {
            *c += 1;
        }
    }
    let mut next = Vec::with_capacity(counts.len());
    let mut ends = Vec::new();
    let mut at = 0;
    for c in &counts {
        next.push(at);
        at += c;
        if *c > 0 {
            ends.push(at);
        }
    }
    order.resize(symbols.len(), 0);
    place.clear();
    for (row, s) in symbols.iter().enumerate() {
        // Counted above: every slot exists and holds as many rows as it was given room for.
        let at = &mut next[slot(*s)];
        order[*at] = row as u32;
        place.push(*at as u32);
        *at += 1;
    }
    ends
}

/// Cuts rows into pages of about `target` rows: at the last end of a symbol between half the target and the
/// target, else at the first one up to one and a half, else at the target.
fn cut_pages(ends: &[usize], target: usize) -> Vec<Range<usize>> {
    let total = ends.last().copied().unwrap_or_default();
    let mut pages = Vec::new();
    let mut start = 0;
    while start < total {
        let limit = start + target;
        let upto = |x: usize| ends.partition_point(|e| *e <= x);
        let below = upto(limit)
            .checked_sub(1)
            .and_then(|i| ends.get(i).copied())
            .filter(|e| *e > start && *e >= start + target / 2);
        let above = ends.get(upto(limit)).copied().filter(|e| *e <= limit + target / 2);
        let end = below.or(above).unwrap_or(limit).min(total);
        pages.push(start..end);
        start = end;
    }
    pages
}

/// Cuts pages further where texts and payloads are long.
fn cut_heavy_pages(chunk: &RowsChunk, order: &[u32], pages: &mut Vec<Range<usize>>) {
    let heavy: Vec<_> = chunk
        .columns
        .iter()
        .filter_map(|c| match c {
            Column::Text(t) if t.bytes_held() > MAX_TEXT_PAGE_BYTES => Some(t),
            _ => None,
        })
        .collect();
    if heavy.is_empty() {
        return;
    }
    let mut cut = Vec::with_capacity(pages.len());
    for page in pages.iter() {
        let mut start = page.start;
        let mut held = 0;
        for at in page.clone() {
            let row = order.get(at).map_or(0, |r| *r as usize);
            let bytes: usize = heavy.iter().map(|t| t.get(row).map_or(0, <[u8]>::len)).sum();
            if held > 0 && held + bytes > MAX_TEXT_PAGE_BYTES {
                cut.push(start..at);
                start = at;
                held = 0;
            }
            held += bytes;
        }
        cut.push(start..page.end);
    }
    *pages = cut;
}

/// The check before a chunk is written.
pub(crate) fn check_size(
    path: &Path,
    chunk: &RowsChunk,
    settings: &WriteSettings,
) -> std::result::Result<(), LakeError> {
    if chunk.version() != settings.schema_version {
        let what =
            format!("rows of schema version {} were to be written as {}", chunk.version(), settings.schema_version);
        return Err(LakeError::Foreign { path: path.to_owned(), table: chunk.table().as_str(), what });
    }
    let max = settings.group_rows(chunk.table());
    if chunk.rows() == 0 || chunk.rows() > max {
        return Err(LakeError::GroupSize { table: chunk.table().as_str(), rows: chunk.rows(), max });
    }
    Ok(())
}
