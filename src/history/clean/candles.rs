//! The candles of a cleaned month once more, with every digit: for the candle database, which wants exact numbers
//! where the lake may hold doubles. Reads the zips again, in the order and with the choices of the record.

use std::path::Path;

use super::input::InputFile;
use super::merge::{Met, Sink, StreamError, sort, stream};
use super::quarantine::Quarantine;
use super::record::Record;
use super::row::{KlineRow, Row};
use crate::ArchivePath;
use crate::error::{HistoryError, Result};
use model::row::Candle;

/// Rows handled at once; candles of a month are few.
const CHUNK_ROWS: usize = 50_000;

struct Collect(Vec<KlineRow>);

impl Sink<KlineRow> for Collect {
    fn rows(&mut self, rows: &[KlineRow], _: &mut Quarantine) -> Result<(), StreamError> {
        for row in rows {
            if self.0.last().is_none_or(|last| last.key() != row.key()) {
                self.0.push(*row);
            }
        }
        Ok(())
    }
}

/// The candles of a month, oldest first.
///
/// # Errors
/// When a file that was cleaned is not in the mirror any more, or is damaged now.
pub fn candles(mirror: &Path, record: &Record) -> Result<Vec<Candle>> {
    let mut files: [Vec<(u16, InputFile)>; 2] = Default::default();
    for (i, input) in record.inputs.iter().enumerate().filter(|(_, i)| i.refused.is_none()) {
        let path: ArchivePath = input.path.parse().map_err(HistoryError::of("the record of", &record.month))?;
        let file = path.in_mirror(mirror);
        let found = std::fs::metadata(&file)
            .map_err(|source| HistoryError::NotInMirror { path: input.path.clone(), source })?;
        if found.len() != input.bytes {
            return Err(HistoryError::Changed(input.path.clone()));
        }
        let one =
            InputFile { path: file, span_us: path.span_us(), slack_us: super::unit::slack_us(path.series.interval) };
        let place = usize::from(path.series.period == crate::Period::Daily);
        if let Some(list) = files.get_mut(place) {
            list.push((u16::try_from(i).unwrap_or(u16::MAX), one));
        }
    }
    let [monthly, daily] = files;
    let mut met = vec![Met::default(); record.inputs.len()];
    let mut quarantine = Quarantine::nowhere(record.inputs.len());
    let mut all = Collect(Vec::new());
    let rows = || CHUNK_ROWS;
    let done = if record.sorted {
        let files: Vec<_> = monthly.into_iter().chain(daily).collect();
        // Everything fits: nothing goes to the disk.
        sort(&files, &|| usize::MAX, &rows, mirror, &mut met, &mut quarantine, &mut all)
    } else {
        stream([&monthly, &daily], &rows, &mut met, &mut quarantine, &mut all)
    };
    done.map_err(HistoryError::of("read candles of", format_args!("{} {}", record.symbol, record.month)))?;
    Ok(all.0.iter().map(KlineRow::candle).collect())
}
