//! Published files as text: JSON lines and CSV, zstd-compressed, through the writers of arrow.
//!
//! A text file is made of the finished Parquet file of the same rows ([`super::join_pieces`]), batch by batch: the
//! same rows in the same order, whatever was staged when, and the same bytes for the same rows and settings. Staged
//! pieces are Parquet in every format. Text carries no footer: where its rows come from stands in the manifest,
//! which names the file and its SHA-256.
//!
//! Times are RFC 3339 in UTC; `payload` of `frames` is hex. JSON leaves a null out, CSV writes it as nothing, and
//! begins with one line of column names. Never durable by itself: the caller publishes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, Schema};
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
    let io = |err| LakeError::io("write", dest)(err);
    let file = File::create(dest).map_err(LakeError::io("create", dest))?;
    let hashing = Hashing { inner: file, sum: Sum::Sha256(Sha256::new()), bytes: 0 };
    let mut sink = Sink::new(BufWriter::with_capacity(1 << 18, hashing), zstd_level).map_err(io)?;
    sink.include_checksum(true).map_err(io)?;
    let mut rows = 0;
    let mut first = true;
    for group in 0..source.groups() {
        for batch in source.batches(group)? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            let batch = with_offsets(&batch).map_err(|err| LakeError::parquet("write", dest)(err.into()))?;
            write_batch(&mut sink, &batch, format, first)
                .map_err(|err| LakeError::parquet("write", dest)(err.into()))?;
            first = false;
        }
    }
    let buffered = sink.finish().map_err(io)?;
    let hashing = buffered.into_inner().map_err(|err| io(err.into_error()))?;
    let sha256 = match hashing.sum {
        Sum::Sha256(sum) => hex(&sum.finalize()),
        Sum::None | Sum::Crc32(_) => String::new(),
    };
    Ok(FileInfo { rows, bytes: hashing.bytes, inexact: source.inexact(), sha256, groups: source.groups(), copied: 0 })
}

/// The batch with times in `+00:00` instead of `UTC`: the writers know offsets, and names of zones only with a table of
/// them that nothing else here needs.
fn with_offsets(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let column = match column.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => Arc::new(times.clone().with_timezone("+00:00")),
            None => column.clone(),
        };
        fields.push(Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone())));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn write_batch(sink: &mut impl Write, batch: &RecordBatch, format: LakeFormat, first: bool) -> Result<(), ArrowError> {
    match format {
        LakeFormat::Parquet => Err(ArrowError::NotYetImplemented("Parquet is no text".into())),
        LakeFormat::Jsonl => {
            let mut writer = arrow_json::LineDelimitedWriter::new(sink);
            writer.write(batch)?;
            writer.finish()
        }
        LakeFormat::Csv => arrow_csv::WriterBuilder::new().with_header(first).build(sink).write(batch),
    }
}
