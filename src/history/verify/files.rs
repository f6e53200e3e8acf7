//! Files against their records: sizes, digests, rows, order.

use std::fs::Metadata;
use std::path::Path;

use serde::Serialize;
use sha2::Digest;

use super::rows::groups;
use crate::Kind;
use crate::clean::place::{Series, table};
use crate::clean::record::Record;
use crate::clean::unit::digest;
use crate::error::{HistoryError, Result};
use crate::path::HOST_DIR;
use lake::hash::{hash_all, hex};
use lake::{Lake, Object, Table};

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileCheck {
    /// Files of the archive.
    pub inputs: u64,
    /// Of them no longer in the mirror; what was cleaned from them stands.
    pub inputs_gone: u64,
    /// Files of the lake.
    pub outputs: u64,
    /// Rows read back.
    pub rows: u64,
    /// What is wrong.
    pub wrong: Vec<String>,
}

/// Of the series in `lake`, cleaned from files in `mirror`. `quick`: sizes only, no digests and no rows.
pub(super) fn check(
    (mirror, lake): (&Path, &Lake),
    series: &Series,
    records: &[Record],
    quick: bool,
) -> Result<FileCheck> {
    let mut c = FileCheck::default();
    let mut order = Order::default();
    for record in records {
        if let Err(why) = record.check() {
            c.wrong.push(format!("the record of {} does not add up: {why}", record.month));
        }
        for input in &record.inputs {
            c.inputs += 1;
            let path = mirror.join(HOST_DIR).join(&input.path);
            let there = match std::fs::metadata(&path) {
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => None,
                there => Some(there.map_err(HistoryError::file("look at", &path))?),
            };
            match state(
                there,
                Metadata::len,
                |_| digest(&path).map_err(HistoryError::file("read", &path)),
                (input.bytes, &input.sha256),
                quick,
            )? {
                State::Same => {}
                State::Gone => c.inputs_gone += 1,
                State::Other(what) => {
                    c.wrong.push(format!("{} is not what was cleaned: {what}; clean again", input.path));
                }
            }
        }
        for output in &record.outputs {
            c.outputs += 1;
            let object = lake.get(&output.path)?;
            let sum = |object: &Object| {
                let sum = object.reader(0).and_then(hash_all);
                let (sum, _) = sum.map_err(HistoryError::file("read", &lake.place(&output.path)))?;
                Ok(hex(&sum.finalize()))
            };
            match state(object, Object::size, sum, (output.bytes, &output.sha256), quick)? {
                State::Same => {}
                State::Gone => c.wrong.push(format!("{} is gone; clean again", output.path)),
                State::Other(what) => {
                    c.wrong.push(format!("{} is not what was written: {what}; clean again", output.path));
                }
            }
        }
    }
    let Some(table) = table(series.kind).filter(|_| !quick && c.wrong.is_empty()) else { return Ok(c) };
    for output in records.iter().flat_map(|r| &r.outputs) {
        let before = order.rows;
        order.file(lake, &output.path, series.kind, table)?;
        if order.rows.saturating_sub(before) != output.rows {
            c.wrong.push(format!(
                "{} has {} rows, its record {}",
                output.path,
                order.rows.saturating_sub(before),
                output.rows
            ));
        }
    }
    c.rows = order.rows;
    if order.backwards > 0 {
        c.wrong.push(format!("{} rows out of order", order.backwards));
    }
    Ok(c)
}

enum State {
    Same,
    Gone,
    Other(String),
}

/// What is there against length and SHA-256 of what should be.
fn state<T>(
    there: Option<T>,
    bytes_of: impl Fn(&T) -> u64,
    digest: impl Fn(&T) -> Result<String>,
    (bytes, sha256): (u64, &str),
    quick: bool,
) -> Result<State> {
    let Some(there) = there else { return Ok(State::Gone) };
    let found = bytes_of(&there);
    if found != bytes {
        return Ok(State::Other(format!("{found} bytes, not {bytes}")));
    }
    if !quick {
        let got = digest(&there)?;
        if got != sha256 {
            return Ok(State::Other(format!("SHA-256 {got}, not {sha256}")));
        }
    }
    Ok(State::Same)
}

/// Keys of rows, from file to file.
#[derive(Default)]
struct Order {
    rows: u64,
    backwards: u64,
    last_seq: Option<i64>,
    last_key: Option<i64>,
}

impl Order {
    fn file(&mut self, lake: &Lake, key: &str, kind: Kind, table: Table) -> Result<()> {
        // Rows without an id may share a time.
        let (name, unique) = match kind {
            Kind::Trades => ("id", true),
            Kind::AggTrades => ("agg_id", true),
            Kind::BookTicker => ("update_id", false),
            Kind::BookDepth | Kind::LiquidationSnapshot => ("ts_event", false),
            Kind::Metrics | Kind::FundingRate => ("ts_event", true),
            _ => ("open_time", true),
        };
        groups(lake, key, table, &mut |g| {
            self.rows += g.rows() as u64;
            for (seq, key) in g.ints("seq")?.iter().zip(g.ints(name)?) {
                let seq_forward = self.last_seq.is_none_or(|last| *seq > last);
                let key_forward = self.last_key.is_none_or(|last| *key > last || (*key == last && !unique));
                self.backwards += u64::from(!seq_forward || !key_forward);
                (self.last_seq, self.last_key) = (Some(*seq), Some(*key));
            }
            Ok(())
        })
    }
}
