//! A file of the lake as a table's metadata describes it: size, rows, partition, and what its footer says of its columns.
//!
//! Bounds are those of the row groups' statistics. They only ever spare a reader a file, so what is not known is left out.

use std::collections::HashMap;

use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Struct};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use crate::error::CommitterError;

/// A longer text is no bound: its beginning is one from below, none from above.
const TEXT_BYTES_MAX: usize = 64;

/// Describes a Parquet file.
///
/// # Errors
/// When the description is not complete: never.
pub fn describe(
    uri: &str,
    bytes: u64,
    footer: &ParquetMetaData,
    schema: &Schema,
    (spec_id, partition): (i32, Struct),
) -> Result<DataFile, CommitterError> {
    let mut columns = Columns::default();
    for group in footer.row_groups() {
        for chunk in group.columns() {
            if let Some(id) = schema.field_id_by_name(chunk.column_descr().name()) {
                let kind = schema.field_by_id(id).and_then(|field| field.field_type.as_primitive_type());
                columns.add(id, kind, chunk.num_values(), chunk.compressed_size(), chunk.statistics());
            }
        }
    }
    let offsets = footer.row_groups().iter().filter_map(|group| {
        let chunk = group.columns().first()?;
        Some(chunk.dictionary_page_offset().unwrap_or(i64::MAX).min(chunk.data_page_offset()))
    });
    let (lower, upper) = columns.bounds();
    let made = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(uri.to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(spec_id)
        .record_count(u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default())
        .file_size_in_bytes(bytes)
        .column_sizes(columns.sizes)
        .value_counts(columns.values)
        .null_value_counts(columns.nulls.into_iter().filter_map(|(id, n)| Some((id, n?))).collect())
        .lower_bounds(lower)
        .upper_bounds(upper)
        .split_offsets(Some(offsets.collect()))
        .build();
    made.map_err(|err| CommitterError::unfit(format!("describe {uri}: {err}")))
}

/// Whether two descriptions of the same path tell a reader the same.
pub fn same(a: &DataFile, b: &DataFile) -> bool {
    a.file_size_in_bytes() == b.file_size_in_bytes()
        && a.record_count() == b.record_count()
        && a.null_value_counts() == b.null_value_counts()
        && a.column_sizes() == b.column_sizes()
        && a.lower_bounds() == b.lower_bounds()
        && a.upper_bounds() == b.upper_bounds()
}

/// Sums over the row groups; `None` = not known for one of them.
#[derive(Default)]
struct Columns {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, Option<u64>>,
    bounds: HashMap<i32, Option<(Datum, Datum)>>,
}

impl Columns {
    fn add(&mut self, id: i32, kind: Option<&PrimitiveType>, values: i64, bytes: i64, stats: Option<&Statistics>) {
        let count = |n: i64| u64::try_from(n).unwrap_or_default();
        let sum = |of: &mut HashMap<i32, u64>, n: u64| {
            let total = of.entry(id).or_default();
            *total = total.saturating_add(n);
        };
        sum(&mut self.sizes, count(bytes));
        sum(&mut self.values, count(values));
        let nulls = stats.and_then(Statistics::null_count_opt);
        let total = self.nulls.entry(id).or_insert(Some(0));
        *total = total.zip(nulls).map(|(a, b)| a.saturating_add(b));
        // A group of nulls alone has no bounds and changes none.
        if nulls == Some(count(values)) {
            return;
        }
        let found = stats.zip(kind).and_then(|(stats, kind)| bounds(stats, kind));
        let merged = match (self.bounds.remove(&id), found) {
            (None, found) => found,
            (Some(Some((low, high))), Some((l, h))) => {
                Some((if l < low { l } else { low }, if h > high { h } else { high }))
            }
            _ => None,
        };
        self.bounds.insert(id, merged);
    }

    fn bounds(&mut self) -> (HashMap<i32, Datum>, HashMap<i32, Datum>) {
        let known = std::mem::take(&mut self.bounds).into_iter().filter_map(|(id, both)| Some((id, both?)));
        known.map(|(id, (low, high))| ((id, low), (id, high))).unzip()
    }
}

/// Lowest and highest value of a column's chunk, as far as they are exact enough to be told.
fn bounds(stats: &Statistics, kind: &PrimitiveType) -> Option<(Datum, Datum)> {
    match (stats, kind) {
        (Statistics::Int32(s), PrimitiveType::Int) => Some((Datum::int(*s.min_opt()?), Datum::int(*s.max_opt()?))),
        (Statistics::Int64(s), PrimitiveType::Long) => Some((Datum::long(*s.min_opt()?), Datum::long(*s.max_opt()?))),
        (Statistics::Int64(s), PrimitiveType::Timestamptz) => {
            Some((Datum::timestamptz_micros(*s.min_opt()?), Datum::timestamptz_micros(*s.max_opt()?)))
        }
        (Statistics::Double(s), PrimitiveType::Double) => {
            let (low, high) = (*s.min_opt()?, *s.max_opt()?);
            (low.is_finite() && high.is_finite()).then(|| (Datum::double(low), Datum::double(high)))
        }
        (Statistics::ByteArray(s), PrimitiveType::String) => {
            let text = |bytes: &[u8]| {
                let short = bytes.len() <= TEXT_BYTES_MAX;
                std::str::from_utf8(bytes).ok().filter(|_| short).map(Datum::string)
            };
            Some((text(s.min_opt()?.data())?, text(s.max_opt()?.data())?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn long(min: Option<i64>, max: Option<i64>, nulls: Option<u64>) -> Statistics {
        Statistics::int64(min, max, None, nulls, false)
    }

    fn of_groups(groups: &[(i64, Statistics)]) -> Columns {
        let mut columns = Columns::default();
        for (values, stats) in groups {
            columns.add(1, Some(&PrimitiveType::Long), *values, 100, Some(stats));
        }
        columns
    }

    #[test]
    fn bounds_are_those_of_all_groups_together() {
        let mut columns = of_groups(&[(5, long(Some(3), Some(9), Some(0))), (5, long(Some(-1), Some(4), Some(2)))]);
        let (low, high) = columns.bounds();
        assert_eq!((&low[&1], &high[&1]), (&Datum::long(-1), &Datum::long(9)));
        assert_eq!((columns.values[&1], columns.sizes[&1], columns.nulls[&1]), (10, 200, Some(2)));
    }

    #[test]
    fn a_group_that_does_not_say_leaves_the_column_without_bounds_in_any_order() {
        let (known, unknown) = (long(Some(3), Some(9), Some(0)), long(None, None, Some(0)));
        for groups in [[(5, known.clone()), (5, unknown.clone())], [(5, unknown), (5, known)]] {
            let (low, high) = of_groups(&groups).bounds();
            assert!(low.is_empty() && high.is_empty());
        }
    }

    #[test]
    fn a_group_of_nulls_alone_changes_no_bounds_and_unknown_nulls_stay_unknown() {
        let mut columns = of_groups(&[(5, long(Some(3), Some(9), Some(0))), (4, long(None, None, Some(4)))]);
        assert_eq!(columns.bounds().0[&1], Datum::long(3));
        let columns = of_groups(&[(5, long(Some(3), Some(9), None)), (4, long(None, None, Some(4)))]);
        assert_eq!(columns.nulls[&1], None);
    }

    #[test]
    fn doubles_that_are_not_finite_and_long_texts_are_no_bounds() {
        let double = Statistics::double(Some(f64::NEG_INFINITY), Some(1.0), None, Some(0), false);
        assert!(bounds(&double, &PrimitiveType::Double).is_none());
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let text = Statistics::byte_array(Some("a".into()), Some(long.as_str().into()), None, Some(0), false);
        assert!(bounds(&text, &PrimitiveType::String).is_none());
        assert!(bounds(&text, &PrimitiveType::Long).is_none(), "another type than the column's");
    }
}
