//! Published files as text: JSON lines and CSV, zstd-compressed; byte for byte what the writers of arrow give, whose
//! casts and sorts for types that no table has would cost more to compile than the rest of this crate (a test holds both
//! against each other).
//!
//! A text file is made of the finished Parquet file of the same rows ([`super::join_pieces`]), batch by batch: the
//! same rows in the same order, whatever was staged when, and the same bytes for the same rows and settings. Staged
//! pieces are Parquet in every format. Text carries no footer: where its rows come from is in the manifest,
//! which names the file and its SHA-256.
//!
//! Times are RFC 3339 in UTC; `payload` of `frames` is hex. JSON leaves a null out, CSV writes it as nothing, and
//! begins with one line of column names. Never durable by itself: the caller publishes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};
use lexical_core::FormattedSize;
use sha2::{Digest, Sha256};

use super::piece::{Hashing, Sum, hex};
use super::read::TableFile;
use super::{FileInfo, LakeError, LakeFormat};

type Sink = zstd::stream::write::Encoder<'static, BufWriter<Hashing<File>>>;

/// Writes the rows of the lake's Parquet file `parquet` to `dest` as `format`. One zstd frame with a content checksum.
///
/// # Errors
/// When reading or writing fails; `dest` is then of no use.
pub fn write_text(parquet: &Path, dest: &Path, format: LakeFormat, zstd_level: i32) -> Result<FileInfo, LakeError> {
    let source = TableFile::open(parquet)?;
    let failed = |err| LakeError::io("write", dest)(err);
    let file = File::create(dest).map_err(LakeError::io("create", dest))?;
    let hashing = Hashing { inner: file, sum: Sum::Sha256(Sha256::new()), bytes: 0 };
    let mut sink = Sink::new(BufWriter::with_capacity(1 << 18, hashing), zstd_level).map_err(failed)?;
    sink.include_checksum(true).map_err(failed)?;
    let mut rows = 0;
    let mut first = true;
    for group in 0..source.groups() {
        for batch in source.batches(group)? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            let columns = columns(&batch, parquet)?;
            match format {
                LakeFormat::Parquet => return Err(failed(io::Error::other("Parquet is no text"))),
                LakeFormat::Jsonl => write_jsonl(&mut sink, &columns, batch.num_rows()).map_err(failed)?,
                LakeFormat::Csv => write_csv(&mut sink, &columns, batch.num_rows(), first).map_err(failed)?,
            }
            first = false;
        }
    }
    let buffered = sink.finish().map_err(failed)?;
    let hashing = buffered.into_inner().map_err(|err| failed(err.into_error()))?;
    let sha256 = match hashing.sum {
        Sum::Sha256(sum) => hex(&sum.finalize()),
        Sum::None | Sum::Crc32(_) => String::new(),
    };
    Ok(FileInfo { rows, bytes: hashing.bytes, inexact: source.inexact(), sha256, groups: source.groups(), copied: 0 })
}

/// One column of a batch.
enum Values<'a> {
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Time(&'a TimestampMicrosecondArray),
    Double(&'a Float64Array),
    /// With its scale.
    Decimal(&'a Decimal128Array, usize),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Bool(&'a BooleanArray),
}

impl<'a> Values<'a> {
    fn of(column: &'a ArrayRef) -> Option<Self> {
        let any = column.as_any();
        Some(match column.data_type() {
            DataType::Int32 => Values::Int32(any.downcast_ref()?),
            DataType::Int64 => Values::Int64(any.downcast_ref()?),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Values::Time(any.downcast_ref()?),
            DataType::Float64 => Values::Double(any.downcast_ref()?),
            DataType::Decimal128(_, scale) => Values::Decimal(any.downcast_ref()?, usize::try_from(*scale).ok()?),
            DataType::Utf8 => Values::Text(any.downcast_ref()?),
            DataType::Binary => Values::Bytes(any.downcast_ref()?),
            DataType::Boolean => Values::Bool(any.downcast_ref()?),
            _ => return None,
        })
    }

    /// What is written of a value that is not null. `json`: in its quotes where JSON wants some.
    fn write(&self, row: usize, json: bool, out: &mut Vec<u8>) -> io::Result<()> {
        let quote = if json { "\"" } else { "" };
        match self {
            Values::Int32(v) => write!(out, "{}", v.value(row)),
            Values::Int64(v) => write!(out, "{}", v.value(row)),
            Values::Time(v) => {
                // As many digits of a second as it takes in steps of three.
                let us = v.value(row);
                let digits = if us % 1_000_000 == 0 {
                    0
                } else if us % 1_000 == 0 {
                    3
                } else {
                    6
                };
                let time = jiff::Timestamp::from_microsecond(us).map_err(io::Error::other)?;
                write!(out, "{quote}{time:.digits$}{quote}")
            }
            Values::Double(v) => {
                let value = v.value(row);
                if json && !value.is_finite() {
                    return out.write_all(b"null");
                }
                // As arrow does it: the shortest digits in both, and an exponent from other sizes on.
                if json {
                    return out.write_all(lexical_core::write(value, &mut [0; f64::FORMATTED_SIZE_DECIMAL]));
                }
                out.write_all(ryu::Buffer::new().format(value).as_bytes())
            }
            Values::Decimal(v, scale) => {
                let value = v.value(row);
                let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
                let (whole, part) = digits.split_at(digits.len() - scale);
                let sign = if value < 0 { "-" } else { "" };
                let point = if part.is_empty() { "" } else { "." };
                write!(out, "{sign}{whole}{point}{part}")
            }
            Values::Text(v) if json => serde_json::to_writer(out, v.value(row)).map_err(io::Error::other),
            Values::Text(v) => out.write_all(v.value(row).as_bytes()),
            Values::Bytes(v) => write!(out, "{quote}{}{quote}", hex(v.value(row))),
            Values::Bool(v) => write!(out, "{}", v.value(row)),
        }
    }
}

/// The columns of a batch by name.
fn columns<'a>(batch: &'a RecordBatch, path: &Path) -> Result<Vec<(&'a str, &'a ArrayRef, Values<'a>)>, LakeError> {
    let schema = batch.schema_ref();
    let named = schema.fields().iter().zip(batch.columns());
    named
        .map(|(field, column)| {
            let what = || format!("column {} is {}, which no table has", field.name(), column.data_type());
            let values = Values::of(column);
            values
                .map(|values| (field.name().as_str(), column, values))
                .ok_or_else(|| LakeError::Damaged { path: path.to_owned(), what: what() })
        })
        .collect()
}

/// One object a line; a null is left out.
fn write_jsonl(sink: &mut impl Write, columns: &[(&str, &ArrayRef, Values<'_>)], rows: usize) -> io::Result<()> {
    let mut line = Vec::new();
    for row in 0..rows {
        line.clear();
        line.push(b'{');
        for (name, _, values) in columns.iter().filter(|(_, column, _)| column.is_valid(row)) {
            if line.len() > 1 {
                line.push(b',');
            }
            write!(line, "\"{name}\":")?;
            values.write(row, true, &mut line)?;
        }
        line.extend_from_slice(b"}\n");
        sink.write_all(&line)?;
    }
    Ok(())
}

/// One line a row; a null is nothing.
fn write_csv(
    sink: &mut impl Write,
    columns: &[(&str, &ArrayRef, Values<'_>)],
    rows: usize,
    header: bool,
) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new().from_writer(sink);
    if header {
        csv.write_record(columns.iter().map(|(name, ..)| name))?;
    }
    let mut value = Vec::new();
    for row in 0..rows {
        for (_, column, values) in columns {
            value.clear();
            if column.is_valid(row) {
                values.write(row, false, &mut value)?;
            }
            csv.write_field(&value)?;
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::TimestampMicrosecondType;
    use arrow_schema::{Field, Schema};
    use std::sync::Arc;

    /// As arrow writes it: times in `+00:00`, because it knows names of zones only with a table of them.
    fn as_arrow(batch: &RecordBatch, format: LakeFormat) -> Vec<u8> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let column: ArrayRef = match column.as_primitive_opt::<TimestampMicrosecondType>() {
                Some(times) => Arc::new(times.clone().with_timezone("+00:00")),
                None => column.clone(),
            };
            fields.push(Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone())));
            columns.push(column);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut out = Vec::new();
        match format {
            LakeFormat::Csv => {
                arrow_csv::WriterBuilder::new().with_header(true).build(&mut out).write(&batch).unwrap();
            }
            _ => {
                let mut writer = arrow_json::LineDelimitedWriter::new(&mut out);
                writer.write(&batch).unwrap();
                writer.finish().unwrap();
            }
        }
        out
    }

    fn ours(batch: &RecordBatch, format: LakeFormat) -> Vec<u8> {
        let mut out = Vec::new();
        let columns = columns(batch, Path::new("x")).unwrap();
        match format {
            LakeFormat::Csv => write_csv(&mut out, &columns, batch.num_rows(), true).unwrap(),
            _ => write_jsonl(&mut out, &columns, batch.num_rows()).unwrap(),
        }
        out
    }

    fn held_against_arrow(batch: &RecordBatch) {
        for format in [LakeFormat::Jsonl, LakeFormat::Csv] {
            let (ours, theirs) = (ours(batch, format), as_arrow(batch, format));
            assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{format:?}");
        }
    }

    #[test]
    fn rows_of_every_table_are_written_as_arrow_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        for table in crate::Table::ALL {
            for numeric in [crate::Numeric::Double, crate::Numeric::Decimal] {
                let path = dir.path().join(format!("{table}.parquet"));
                crate::tests::one_file(*table, numeric, 400, 11, &path);
                let file = TableFile::open(&path).unwrap();
                for group in 0..file.groups() {
                    file.batches(group).unwrap().for_each(|batch| held_against_arrow(&batch.unwrap()));
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn doubles_are_written_as_arrow_writes_them(values in proptest::collection::vec(
            proptest::prop_oneof![proptest::num::f64::ANY, -1e18..1e18, -1e-3..1e-3], 1..40)
        ) {
            let column: ArrayRef = Arc::new(Float64Array::from(values));
            let schema = Schema::new(vec![Field::new("d", DataType::Float64, true), Field::new("e", DataType::Float64, true)]);
            held_against_arrow(&RecordBatch::try_new(Arc::new(schema), vec![column.clone(), column]).unwrap());
        }
    }

    #[test]
    fn values_at_their_edges_are_written_as_arrow_writes_them() {
        let doubles =
            [0.0, -0.0, 1.0, 0.1, 1e-7, 1e-5, 123_456_789.123, 1e9, 1e16, 1e21, f64::MAX, f64::MIN_POSITIVE, f64::NAN];
        let n = doubles.len();
        let texts = [
            "", "a,b", "\"q\"", "line\nbreak", "\r", "\u{5e01}\u{1f600}", "\u{1}\t\u{7f}", " x ", "\\", "null", "#",
            "'", "-",
        ];
        let decimals = [0, 1, -1, 10_i128.pow(18), -10_i128.pow(18) - 5, 10_i128.pow(38) - 1, 1 - 10_i128.pow(38)];
        let times = [0, 1, -1, 1_000, 1_000_000, -62_135_596_800_000_000, 1_723_161_255_088_176, 1_723_161_255_088_000];
        let column = |name: &str, array: ArrayRef| (Field::new(name, array.data_type().clone(), true), array);
        let (fields, arrays): (Vec<_>, Vec<_>) = [
            column("d", Arc::new(Float64Array::from(doubles.to_vec()))),
            column("t", Arc::new(StringArray::from(texts.to_vec()))),
            column(
                "n",
                Arc::new(
                    Decimal128Array::from_iter((0..n).map(|i| (i % 5 != 4).then(|| decimals[i % decimals.len()])))
                        .with_precision_and_scale(38, 18)
                        .unwrap(),
                ),
            ),
            column(
                "at",
                Arc::new(
                    TimestampMicrosecondArray::from((0..n).map(|i| times[i % times.len()]).collect::<Vec<_>>())
                        .with_timezone("UTC"),
                ),
            ),
            column("b", Arc::new(BinaryArray::from(texts.map(str::as_bytes).to_vec()))),
            column("ok", Arc::new(BooleanArray::from((0..n).map(|i| Some(i % 2 == 0)).collect::<Vec<_>>()))),
            column(
                "i",
                Arc::new(Int32Array::from((0..n).map(|i| (i % 3 != 2).then_some(i32::MIN)).collect::<Vec<_>>())),
            ),
            column("l", Arc::new(Int64Array::from(vec![i64::MIN; n]))),
        ]
        .into_iter()
        .unzip();
        held_against_arrow(&RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap());
    }
}
