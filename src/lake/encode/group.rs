//! A chunk of rows in log order becomes one row group: sorted by symbol, then receive order.

use std::io::Write;
use std::ops::Range;

use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::Encoding;
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::chunk::{Bound, ChunkWriter, levels};
use super::{delta, dict, rle};
use crate::lake::buffer::RowsChunk;
use crate::lake::column::{Column, Kind, NULL_DEC, NULL_F64, NULL_I64, NULL_WORD, SIDES, Spec};
use crate::lake::{LakeError, WriteSettings};

/// Texts longer than this get no minimum and maximum.
const MAX_BOUND_BYTES: usize = 64;
/// A page of texts or payloads ends when it passes this, whatever the row target says.
const MAX_TEXT_PAGE_BYTES: usize = 1 << 20;

/// What is reused from row group to row group: the compressor and scratch space.
pub(crate) struct Encoder {
    zstd: Compressor<'static>,
    level: i32,
    page_rows: usize,
    body: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(settings: &WriteSettings) -> std::io::Result<Self> {
        Ok(Self {
            zstd: Compressor::new(settings.zstd_level)?,
            level: settings.zstd_level,
            page_rows: settings.page_rows.max(1),
            body: Vec::new(),
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
        .convert(&chunk.table().schema(chunk.numeric()))?;
    let (order, ends) = symbol_order(chunk);
    let mut pages = cut_pages(&ends, encoder.page_rows);
    cut_heavy_pages(chunk, &order, &mut pages);
    for (i, (spec, column)) in chunk.specs().iter().zip(&chunk.columns).enumerate() {
        let descr = schema.column(i);
        let mut w = ColumnEncoder {
            encoder,
            descr,
            spec: *spec,
            order: &order,
            pages: &pages,
        };
        let (bytes, close) = w.encode(column, chunk)?;
        out.append_column(&bytes, close)?;
    }
    Ok(())
}

/// Row numbers sorted by symbol (null first), rows of one symbol in log order; and where each symbol ends.
fn symbol_order(chunk: &RowsChunk) -> (Vec<u32>, Vec<usize>) {
    let symbols = chunk.symbols();
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
    let mut order = vec![0_u32; symbols.len()];
    for (row, s) in symbols.iter().enumerate() {
        if let Some(n) = next.get_mut(slot(*s)) {
            if let Some(o) = order.get_mut(*n) {
                *o = row as u32;
            }
            *n += 1;
        }
    }
    (order, ends)
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
        let above = ends
            .get(upto(limit))
            .copied()
            .filter(|e| *e <= limit + target / 2);
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
            let bytes: usize = heavy
                .iter()
                .map(|t| t.get(row).map_or(0, <[u8]>::len))
                .sum();
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

struct ColumnEncoder<'a> {
    encoder: &'a mut Encoder,
    descr: ColumnDescPtr,
    spec: Spec,
    order: &'a [u32],
    pages: &'a [Range<usize>],
}

type Encoded = (bytes::Bytes, parquet::column::writer::ColumnCloseResult);

impl ColumnEncoder<'_> {
    fn encode(&mut self, column: &Column, chunk: &RowsChunk) -> Result<Encoded> {
        match column {
            Column::Int32(v) => self.int32(v),
            Column::Int64(v) => self.int64(&self.sorted(v)),
            Column::Derived => {
                let mut us = self.sorted(chunk.recv_ns());
                us.iter_mut().for_each(|t| *t = t.div_euclid(1_000));
                self.int64(&us)
            }
            Column::Double(v) => self.number(
                self.sorted(v).into_iter().map(|b| {
                    if b == NULL_F64 {
                        None
                    } else {
                        Some(sortable(b))
                    }
                }),
                |k| Bound::F64(f64::from_bits(unsortable(k))),
                |k, out| out.extend_from_slice(&unsortable(k).to_le_bytes()),
            ),
            Column::Decimal(v) => self.number(
                self.sorted(v)
                    .into_iter()
                    .map(|d| if d == NULL_DEC { None } else { Some(d) }),
                Bound::Dec,
                |d, out| out.extend_from_slice(&d.to_be_bytes()),
            ),
            Column::Word(v) => {
                let words = self.sorted(v);
                let text = |i: u32| {
                    chunk
                        .words
                        .get(i as usize)
                        .map_or(b"".as_slice(), |w| w.as_bytes())
                };
                self.words(
                    words.into_iter().map(|w| (w != NULL_WORD).then_some(w)),
                    chunk.words.len(),
                    text,
                )
            }
            Column::Side(v) => {
                let codes = self.sorted(v);
                let text = |i: u32| {
                    SIDES
                        .get(i as usize)
                        .map_or(b"".as_slice(), |w| w.as_bytes())
                };
                self.words(
                    codes.into_iter().map(|c| Some(u32::from(c))),
                    SIDES.len(),
                    text,
                )
            }
            Column::Bool(v) => self.bools(&self.sorted(v)),
            Column::Text(t) => {
                let values: Vec<Option<&[u8]>> =
                    self.order.iter().map(|r| t.get(*r as usize)).collect();
                self.texts(&values)
            }
        }
    }

    fn sorted<T: Copy>(&self, v: &[T]) -> Vec<T> {
        self.order.iter().map(|r| v[*r as usize]).collect()
    }

    fn writer(&mut self, encoding: Encoding, bounded: bool) -> ChunkWriter<'_> {
        ChunkWriter::new(
            self.descr.clone(),
            &mut self.encoder.zstd,
            self.encoder.level,
            encoding,
            bounded,
        )
    }

    fn int32(&mut self, v: &[i32]) -> Result<Encoded> {
        let values = self.sorted(v);
        let mut body = std::mem::take(&mut self.encoder.body);
        let pages = self.pages;
        let mut w = self.writer(Encoding::DELTA_BINARY_PACKED, true);
        for page in pages {
            let values = part(&values, page)?;
            body.clear();
            delta::delta32(values, &mut body);
            w.page(&body, values.len(), 0, min_max(values, Bound::I32))?;
        }
        let done = w.close();
        self.encoder.body = body;
        done
    }

    fn int64(&mut self, values: &[i64]) -> Result<Encoded> {
        let plain = self.spec.kind == Kind::NoisyInt64;
        let nullable = self.spec.nullable;
        let mut body = std::mem::take(&mut self.encoder.body);
        let pages = self.pages;
        let encoding = if plain {
            Encoding::PLAIN
        } else {
            Encoding::DELTA_BINARY_PACKED
        };
        let mut w = self.writer(encoding, true);
        let mut dense = Vec::new();
        for page in pages {
            let all = part(values, page)?;
            body.clear();
            let mut values = all;
            if nullable {
                levels(all.iter().map(|v| *v != NULL_I64), &mut body);
                if all.contains(&NULL_I64) {
                    dense.clear();
                    dense.extend(all.iter().copied().filter(|v| *v != NULL_I64));
                    values = &dense;
                }
            }
            if plain {
                body.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            } else {
                delta::delta64(values, &mut body);
            }
            w.page(
                &body,
                all.len(),
                all.len() - values.len(),
                min_max(values, Bound::I64),
            )?;
        }
        let done = w.close();
        self.encoder.body = body;
        done
    }

    /// Numbers as sortable keys: a sorted dictionary where it pays, else PLAIN.
    fn number<T: dict::Key>(
        &mut self,
        values: impl Iterator<Item = Option<T>>,
        bound: impl Fn(T) -> Bound,
        plain: impl Fn(T, &mut Vec<u8>),
    ) -> Result<Encoded> {
        let sparse: Vec<Option<T>> = if self.spec.nullable {
            values.collect()
        } else {
            return self.dense_number(&values.flatten().collect::<Vec<T>>(), &[], bound, plain);
        };
        let dense: Vec<T> = sparse.iter().flatten().copied().collect();
        let valid: Vec<bool> = sparse.iter().map(Option::is_some).collect();
        self.dense_number(&dense, &valid, bound, plain)
    }

    fn dense_number<T: dict::Key>(
        &mut self,
        values: &[T],
        valid: &[bool],
        bound: impl Fn(T) -> Bound,
        plain: impl Fn(T, &mut Vec<u8>),
    ) -> Result<Encoded> {
        if let Some(d) = dict::distinct(values) {
            let mut page = Vec::with_capacity(d.values.len() * size_of::<T>());
            d.values.iter().for_each(|v| plain(*v, &mut page));
            let entry = |i: u32| d.values.get(i as usize).copied().map(&bound);
            return self.indices(&page, d.values.len(), &d.indices, valid, true, entry);
        }
        let mut body = std::mem::take(&mut self.encoder.body);
        let pages = self.pages;
        let nullable = self.spec.nullable;
        let mut w = self.writer(Encoding::PLAIN, true);
        let mut at = 0;
        for page in pages {
            body.clear();
            let filled = filled(page, valid, nullable, &mut body)?;
            let values = part(values, &(at..at + filled))?;
            at += filled;
            values.iter().for_each(|v| plain(*v, &mut body));
            w.page(
                &body,
                page.len(),
                page.len() - filled,
                min_max(values, &bound),
            )?;
        }
        let done = w.close();
        self.encoder.body = body;
        done
    }

    /// Words given as indices into a sorted list, of which some may not occur.
    fn words<'t>(
        &mut self,
        values: impl Iterator<Item = Option<u32>>,
        words: usize,
        text: impl Fn(u32) -> &'t [u8],
    ) -> Result<Encoded> {
        let sparse: Vec<Option<u32>> = values.collect();
        let mut rank = vec![NULL_WORD; words];
        let mut last = None;
        for w in sparse.iter().flatten() {
            if last != Some(*w)
                && let Some(r) = rank.get_mut(*w as usize)
            {
                *r = 0;
            }
            last = Some(*w);
        }
        let mut page = Vec::new();
        let mut used = Vec::new();
        for (i, r) in rank.iter_mut().enumerate().filter(|(_, r)| **r == 0) {
            *r = used.len() as u32;
            used.push(i as u32);
            plain_text(text(i as u32), &mut page);
        }
        if used.len() > 65_536 {
            let texts: Vec<Option<&[u8]>> = sparse.iter().map(|w| w.map(&text)).collect();
            return self.texts(&texts);
        }
        let indices: Vec<u32> = sparse
            .iter()
            .flatten()
            .map(|w| rank.get(*w as usize).copied().unwrap_or_default())
            .collect();
        let valid: Vec<bool> = if self.spec.nullable {
            sparse.iter().map(Option::is_some).collect()
        } else {
            Vec::new()
        };
        let entry = |i: u32| used.get(i as usize).map(|w| Bound::Text(text(*w).to_vec()));
        let bounded = used.iter().all(|w| text(*w).len() <= MAX_BOUND_BYTES);
        self.indices(&page, used.len(), &indices, &valid, bounded, entry)
    }

    /// Any texts: a dictionary where it pays, else PLAIN.
    fn texts(&mut self, values: &[Option<&[u8]>]) -> Result<Encoded> {
        let binary = self.spec.kind == Kind::Binary;
        let dense: Vec<&[u8]> = values.iter().flatten().copied().collect();
        let valid: Vec<bool> = values.iter().map(Option::is_some).collect();
        let bounded = !binary && dense.iter().all(|t| t.len() <= MAX_BOUND_BYTES);
        let bound = |t: &[u8]| Bound::Text(t.to_vec());
        if !binary && let Some(d) = dict::distinct_texts(&dense) {
            let mut page = Vec::new();
            d.values.iter().for_each(|v| plain_text(v, &mut page));
            let entry = |i: u32| d.values.get(i as usize).map(|t| bound(t));
            return self.indices(&page, d.values.len(), &d.indices, &valid, bounded, entry);
        }
        let mut body = std::mem::take(&mut self.encoder.body);
        let pages = self.pages;
        let nullable = self.spec.nullable;
        let mut w = self.writer(Encoding::PLAIN, bounded);
        let mut at = 0;
        for page in pages {
            body.clear();
            let filled = filled(page, &valid, nullable, &mut body)?;
            let values = part(&dense, &(at..at + filled))?;
            at += filled;
            values.iter().for_each(|v| plain_text(v, &mut body));
            let bounds = if bounded {
                min_max(values, bound)
            } else {
                None
            };
            w.page(&body, page.len(), page.len() - filled, bounds)?;
        }
        let done = w.close();
        self.encoder.body = body;
        done
    }

    /// Dictionary page and pages of indices. `valid` is empty where nothing is null.
    fn indices(
        &mut self,
        dictionary: &[u8],
        entries: usize,
        indices: &[u32],
        valid: &[bool],
        bounded: bool,
        entry: impl Fn(u32) -> Option<Bound>,
    ) -> Result<Encoded> {
        let width = rle::index_width(entries)
            .ok_or_else(|| ParquetError::General(format!("dictionary of {entries} entries")))?;
        let mut body = std::mem::take(&mut self.encoder.body);
        let pages = self.pages;
        let nullable = self.spec.nullable;
        let mut w = self.writer(Encoding::RLE_DICTIONARY, bounded);
        w.dictionary(dictionary, entries)?;
        let mut at = 0;
        for page in pages {
            body.clear();
            let filled = filled(page, valid, nullable, &mut body)?;
            let indices = part(indices, &(at..at + filled))?;
            at += filled;
            body.push(width);
            rle::hybrid(indices, width, &mut body);
            let bounds = if bounded {
                min_max(indices, |i| i).and_then(|(a, b)| entry(a).zip(entry(b)))
            } else {
                None
            };
            w.page(&body, page.len(), page.len() - filled, bounds)?;
        }
        let done = w.close();
        self.encoder.body = body;
        done
    }

    fn bools(&mut self, values: &[bool]) -> Result<Encoded> {
        let mut body = std::mem::take(&mut self.encoder.body);
        let pages = self.pages;
        let mut w = self.writer(Encoding::PLAIN, true);
        for page in pages {
            let values = part(values, page)?;
            body.clear();
            body.extend(values.chunks(8).map(|c| {
                c.iter()
                    .enumerate()
                    .fold(0_u8, |b, (i, v)| b | u8::from(*v) << i)
            }));
            w.page(&body, values.len(), 0, min_max(values, Bound::Bool))?;
        }
        let done = w.close();
        self.encoder.body = body;
        done
    }
}

/// Writes the levels of a page of a nullable column; returns how many rows hold a value.
fn filled(
    page: &Range<usize>,
    valid: &[bool],
    nullable: bool,
    body: &mut Vec<u8>,
) -> Result<usize> {
    if !nullable {
        return Ok(page.len());
    }
    let valid = part(valid, page)?;
    levels(valid.iter().copied(), body);
    Ok(valid.iter().filter(|v| **v).count())
}

fn part<'v, T>(values: &'v [T], page: &Range<usize>) -> Result<&'v [T]> {
    values.get(page.clone()).ok_or_else(|| {
        ParquetError::General(format!(
            "column of {} values, but rows {page:?} were to be written",
            values.len()
        ))
    })
}

fn min_max<T: Copy + Ord, B>(values: &[T], bound: impl Fn(T) -> B) -> Option<(B, B)> {
    let first = *values.first()?;
    let (min, max) = values
        .iter()
        .fold((first, first), |(a, b), v| (a.min(*v), b.max(*v)));
    Some((bound(min), bound(max)))
}

fn plain_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

/// Bits of a double as an integer that sorts like the double.
#[inline]
fn sortable(bits: u64) -> u64 {
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

#[inline]
fn unsortable(key: u64) -> u64 {
    if key >> 63 == 1 {
        key & !(1 << 63)
    } else {
        !key
    }
}

/// The check before a chunk is written.
pub(crate) fn check_size(
    chunk: &RowsChunk,
    settings: &WriteSettings,
) -> std::result::Result<(), LakeError> {
    let max = settings.group_rows(chunk.table());
    if chunk.rows() == 0 || chunk.rows() > max {
        return Err(LakeError::GroupSize {
            table: chunk.table().as_str(),
            rows: chunk.rows(),
            max,
        });
    }
    Ok(())
}
