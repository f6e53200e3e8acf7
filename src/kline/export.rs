//! Stored bars to a file: CSV, JSON lines or Parquet. Streams: a page of bars in memory, whatever the length.
//!
//! Prices and volumes are exact: decimal texts in CSV and JSON, DECIMAL(38, 18) in Parquet. Times are UTC.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::db::{CandleReader, DbError, HistoryQuery, Series, StoredBar};
use model::kline::{FLAT, GAP, KlineData, NO_ID, SEEDED, SPARSE, decimal};

/// Bars read at once.
const PAGE: usize = 16_384;
/// Decimals in Parquet.
const DECIMALS: u32 = 18;

model::words! {
    /// What is written.
    Format, "format", model::UnknownName {
        /// Comma-separated, one line of names.
        Csv = "csv",
        /// One JSON object a line.
        Jsonl = "jsonl",
        /// Apache Parquet.
        Parquet = "parquet",
    }
}

const NAMES: [&str; 18] = [
    "venue", "symbol", "interval", "open_time", "close_time", "open", "high", "low", "close", "volume", "quote_volume",
    "trade_count", "taker_buy_volume", "taker_buy_quote_volume", "first_trade_id", "last_trade_id", "is_final",
    "source",
];
const MORE: [&str; 5] = ["revision", "has_gap", "was_seeded", "is_flat", "is_sparse"];

enum Sink<W: Write + Send> {
    Csv(W),
    Jsonl(W),
    Parquet(Box<Option<ArrowWriter<W>>>, Option<W>),
}

/// Candles could not be written to a file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line of JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Columns in memory.
    #[error(transparent)]
    Arrow(Box<dyn std::error::Error + Send + Sync>),
    /// Columns in the file.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A count is out of range.
    #[error(transparent)]
    Range(#[from] std::num::TryFromIntError),
    /// A number does not fit the column.
    #[error("a bar of {symbol} has more than {DECIMALS} decimals; csv and jsonl have no such limit")]
    Decimals {
        /// Whose it is.
        symbol: String,
    },
    /// More rows came after the last ones.
    #[error("the Parquet file is closed already")]
    Closed,
}

fn arrow(err: impl std::error::Error + Send + Sync + 'static) -> ExportError {
    ExportError::Arrow(err.into())
}

/// Writes the bars of `series` that open from `from_us` on and before `to_us`; returns how many.
///
/// # Errors
/// When the database cannot be read, the file not be written, or a number has more than 18 decimals (Parquet).
pub fn export<W: Write + Send>(
    db: &mut dyn CandleReader,
    series: &[Series],
    (from_us, to_us): (Option<i64>, Option<i64>),
    format: Format,
    mut out: W,
) -> Result<u64, ExportError> {
    let mut sink = match format {
        Format::Csv => {
            writeln!(out, "{},{}", NAMES.join(","), MORE.join(","))?;
            Sink::Csv(out)
        }
        Format::Jsonl => Sink::Jsonl(out),
        Format::Parquet => Sink::Parquet(Box::new(None), Some(out)),
    };
    let mut total = 0;
    for series in series {
        let mut start_us = from_us;
        loop {
            let bars = db.stored(&HistoryQuery {
                start_us,
                end_us: to_us.map(|t| t - 1),
                ..HistoryQuery::of(&series.venue, &series.symbol, series.interval, PAGE)
            })?;
            let Some(last) = bars.last() else { break };
            start_us = Some(last.bar.open_time_us + 1);
            total += bars.len() as u64;
            sink.write(series, &bars)?;
            if bars.len() < PAGE {
                break;
            }
        }
    }
    sink.finish()?;
    Ok(total)
}

impl<W: Write + Send> Sink<W> {
    fn write(&mut self, series: &Series, bars: &[StoredBar]) -> Result<(), ExportError> {
        match self {
            Sink::Csv(out) => {
                for stored in bars {
                    let values: Vec<String> = values(series, stored).iter().map(csv).collect();
                    writeln!(out, "{}", values.join(","))?;
                }
            }
            Sink::Jsonl(out) => {
                for stored in bars {
                    let names = NAMES.iter().chain(&MORE).map(|n| (*n).to_owned());
                    let object: serde_json::Map<_, _> = names.zip(values(series, stored)).collect();
                    serde_json::to_writer(&mut *out, &object)?;
                    out.write_all(b"\n")?;
                }
            }
            Sink::Parquet(writer, out) => {
                let batch = batch(series, bars)?;
                if writer.is_none()
                    && let Some(out) = out.take()
                {
                    let properties =
                        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
                    **writer = Some(ArrowWriter::try_new(out, batch.schema(), Some(properties))?);
                }
                match writer.as_mut() {
                    Some(writer) => writer.write(&batch)?,
                    None => return Err(ExportError::Closed),
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), ExportError> {
        if let Sink::Parquet(writer, _) = &self
            && writer.is_none()
        {
            // A file without rows still says what its columns are.
            let nothing =
                Series { venue: String::new(), symbol: String::new(), interval: model::interval::Interval::M1 };
            self.write(&nothing, &[])?;
        }
        match self {
            Sink::Csv(mut out) | Sink::Jsonl(mut out) => out.flush()?,
            Sink::Parquet(writer, _) => {
                if let Some(writer) = *writer {
                    writer.close()?;
                }
            }
        }
        Ok(())
    }
}

fn scales(bar: &KlineData) -> (u32, u32) {
    (bar.price_scale.into(), bar.amount_scale.into())
}

/// The values of a bar, in the order of the names.
fn values(series: &Series, stored: &StoredBar) -> Vec<serde_json::Value> {
    let bar = &stored.bar;
    let (p, a) = scales(bar);
    let time = |us: i64| {
        let at = jiff::Timestamp::from_microsecond(us).map(|t| t.to_string());
        serde_json::Value::from(at.unwrap_or_else(|_| us.to_string()))
    };
    let number = |mantissa: i128, scale: u32| serde_json::Value::from(decimal(mantissa, scale, scale));
    let id = |v: i64| if v == NO_ID { serde_json::Value::Null } else { v.into() };
    let is = |flag: u16| serde_json::Value::from(bar.flags & flag != 0);
    vec![
        series.venue.as_str().into(),
        series.symbol.as_str().into(),
        series.interval.as_str().into(),
        time(bar.open_time_us),
        time(series.interval.close_of(bar.open_time_us)),
        number(bar.open.into(), p),
        number(bar.high.into(), p),
        number(bar.low.into(), p),
        number(bar.close.into(), p),
        number(bar.volume, a),
        number(bar.quote_volume, p + a),
        bar.trade_count.into(),
        number(bar.taker_buy_volume, a),
        number(bar.taker_buy_quote_volume, p + a),
        id(bar.first_trade_id),
        id(bar.last_trade_id),
        bar.is_final().into(),
        stored.source.as_str().into(),
        bar.revision.into(),
        is(GAP),
        is(SEEDED),
        is(FLAT),
        is(SPARSE),
    ]
}

fn csv(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `mantissa * 10^-scale` at [`DECIMALS`] decimals, if that is exact.
fn at_18(mantissa: i128, scale: u32) -> Option<i128> {
    match DECIMALS.checked_sub(scale) {
        Some(more) => mantissa.checked_mul(10_i128.checked_pow(more)?),
        None => {
            let by = 10_i128.checked_pow(scale - DECIMALS)?;
            (mantissa % by == 0).then(|| mantissa / by)
        }
    }
}

fn batch(series: &Series, bars: &[StoredBar]) -> Result<RecordBatch, ExportError> {
    let text = |of: &dyn Fn(&StoredBar) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(bars.iter().map(of)))
    };
    let time = |of: &dyn Fn(&KlineData) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(bars.iter().map(|s| of(&s.bar))).with_timezone("UTC"))
    };
    let number = |of: &dyn Fn(&KlineData) -> (i128, u32)| -> Result<ArrayRef, ExportError> {
        let mut column = Vec::with_capacity(bars.len());
        for stored in bars {
            let (mantissa, scale) = of(&stored.bar);
            let exact = at_18(mantissa, scale);
            column.push(exact.ok_or_else(|| ExportError::Decimals { symbol: series.symbol.clone() })?);
        }
        let column = Decimal128Array::from(column).with_precision_and_scale(38, 18);
        Ok(Arc::new(column.map_err(arrow)?))
    };
    let id = |of: &dyn Fn(&KlineData) -> i64| -> ArrayRef {
        Arc::new(bars.iter().map(|s| Some(of(&s.bar)).filter(|v| *v != NO_ID)).collect::<Int64Array>())
    };
    let is = |of: &dyn Fn(&KlineData) -> bool| -> ArrayRef {
        Arc::new(bars.iter().map(|s| Some(of(&s.bar))).collect::<BooleanArray>())
    };
    let close = |b: &KlineData| series.interval.close_of(b.open_time_us);
    let quote = |b: &KlineData| u32::from(b.price_scale) + u32::from(b.amount_scale);
    let counts = bars.iter().map(|s| i64::try_from(s.bar.trade_count)).collect::<Result<Vec<i64>, _>>()?;
    let columns: Vec<ArrayRef> = vec![
        text(&|_| series.venue.clone()),
        text(&|_| series.symbol.clone()),
        text(&|_| series.interval.as_str().to_owned()),
        time(&|b| b.open_time_us),
        time(&close),
        number(&|b| (b.open.into(), scales(b).0))?,
        number(&|b| (b.high.into(), scales(b).0))?,
        number(&|b| (b.low.into(), scales(b).0))?,
        number(&|b| (b.close.into(), scales(b).0))?,
        number(&|b| (b.volume, scales(b).1))?,
        number(&|b| (b.quote_volume, quote(b)))?,
        Arc::new(Int64Array::from(counts)),
        number(&|b| (b.taker_buy_volume, scales(b).1))?,
        number(&|b| (b.taker_buy_quote_volume, quote(b)))?,
        id(&|b| b.first_trade_id),
        id(&|b| b.last_trade_id),
        is(&KlineData::is_final),
        text(&|s| s.source.as_str().to_owned()),
        Arc::new(UInt32Array::from_iter_values(bars.iter().map(|s| s.bar.revision))),
        is(&|b| b.flags & GAP != 0),
        is(&|b| b.flags & SEEDED != 0),
        is(&|b| b.flags & FLAT != 0),
        is(&|b| b.flags & SPARSE != 0),
    ];
    let nullable = |name: &str| name.ends_with("trade_id");
    let named = NAMES.iter().chain(&MORE).zip(columns).map(|(name, column)| (*name, column, nullable(name)));
    RecordBatch::try_from_iter_with_nullable(named).map_err(arrow)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Decimal128Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::db::{self, NamedBar, Source};
    use model::interval::Interval;
    use model::kline::FINAL;

    const MIN: i64 = 60_000_000;

    fn filled(n: i64) -> (tempfile::TempDir, Box<dyn db::CandleDb>, Vec<Series>) {
        let dir = tempfile::tempdir().unwrap();
        let mut db = db::open("sqlite:k.db", dir.path()).unwrap();
        let bars: Vec<NamedBar> = (0..n)
            .map(|m| NamedBar {
                venue: "binance-spot".to_owned(),
                symbol: "A,\"B".to_owned(),
                interval: Interval::M1,
                bar: KlineData {
                    volume: 12_345,
                    trade_count: 3,
                    first_trade_id: 7,
                    flags: FINAL,
                    ..KlineData::flat(m * MIN, 150 + m, 2, 3)
                },
            })
            .collect();
        db.put_history(&bars, Source::Official, false).unwrap();
        let series = db.series().unwrap();
        (dir, db, series)
    }

    #[test]
    fn texts_hold_every_digit_and_names_with_commas() {
        let (_dir, mut db, series) = filled(3);
        let mut out = Vec::new();
        let between = (Some(MIN), Some(2 * MIN));
        assert_eq!(export(db.as_mut(), &series, between, Format::Csv, &mut out).unwrap(), 1);
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("venue,symbol,interval,open_time,"));
        assert_eq!(
            lines.next().unwrap(),
            "binance-spot,\"A,\"\"B\",1m,1970-01-01T00:01:00Z,1970-01-01T00:01:59.999Z,1.51,1.51,1.51,1.51,12.345,\
             0.00000,3,0.000,0.00000,7,,true,official,0,false,false,false,false"
        );
        assert_eq!(lines.next(), None);
        let mut out = Vec::new();
        assert_eq!(export(db.as_mut(), &series, (None, None), Format::Jsonl, &mut out).unwrap(), 3);
        let rows: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(rows[2]["close"], "1.52");
        assert_eq!(rows[2]["symbol"], "A,\"B");
        assert_eq!(rows[2]["last_trade_id"], serde_json::Value::Null);
    }

    #[test]
    fn parquet_holds_exact_decimals_over_more_than_one_page() {
        let n = i64::try_from(PAGE).unwrap() + 5;
        let (dir, mut db, series) = filled(n);
        let path = dir.path().join("k.parquet");
        let file = std::fs::File::create(&path).unwrap();
        let written = export(db.as_mut(), &series, (None, None), Format::Parquet, file).unwrap();
        assert_eq!(written, n.unsigned_abs());
        let file = std::fs::File::open(&path).unwrap();
        let mut rows = 0;
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let close = batch.column_by_name("close").unwrap().as_primitive::<Decimal128Type>();
            for i in 0..batch.num_rows() {
                let cents = i128::from(150 + rows);
                assert_eq!(close.value(i), cents * 10_i128.pow(16));
                rows += 1;
            }
            assert_eq!(batch.column_by_name("last_trade_id").unwrap().null_count(), batch.num_rows());
        }
        assert_eq!(rows, n);
        assert_eq!(at_18(1_230, 20), None);
        assert_eq!(at_18(1_200, 20), Some(12));
    }
}
