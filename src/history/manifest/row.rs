//! A row of the table as a [`FileRow`], and back.

use super::file::{FileRow, Listed, State};
use crate::error::{HistoryError, Result};
use crate::path::ArchivePath;
use sql::Value;

/// What [`file_row`] reads, in order.
pub(super) const SELECT: &str = "path, etag, size, last_modified, checksum_tag, url, state, holder, attempts, failures, \
    last_error, sha256, published_sha256, history, listed_at, started_at, finished_at, cleaned_sha256, cleaned_at, \
    cleaned";

fn text(value: &Value) -> Result<String> {
    Ok(value.str()?.to_owned())
}

fn maybe_text(value: &Value) -> Result<Option<String>> {
    if *value == Value::Null { Ok(None) } else { Ok(Some(text(value)?)) }
}

fn maybe_int(value: &Value) -> Result<Option<i64>> {
    if *value == Value::Null { Ok(None) } else { Ok(Some(value.int()?)) }
}

fn count(value: &Value) -> Result<u64> {
    u64::try_from(value.int()?).map_err(HistoryError::step("a negative count in the manifest"))
}

/// The row of [`SELECT`].
pub(super) fn file_row(row: &[Value]) -> Result<FileRow> {
    let [
        path,
        etag,
        size,
        last_modified,
        checksum_tag,
        url,
        state,
        holder,
        attempts,
        failures,
        last_error,
        sha256,
        published_sha256,
        history,
        listed_at,
        started_at,
        finished_at,
        cleaned_sha256,
        cleaned_at,
        cleaned,
    ] = row
    else {
        return Err(HistoryError::Columns(row.len()));
    };
    let path: ArchivePath = path.str()?.parse()?;
    let word = state.str()?;
    let damaged = |what, source| HistoryError::Row { what, path: path.to_string(), source };
    let history = serde_json::from_str(history.str()?).map_err(|err| damaged("history of", err))?;
    let cleaned = maybe_text(cleaned)?.map(|text| serde_json::from_str(&text)).transpose();
    Ok(FileRow {
        url: text(url)?,
        state: State::parse(word)
            .ok_or_else(|| HistoryError::State { word: word.to_owned(), path: path.to_string() })?,
        holder: maybe_text(holder)?,
        attempts: count(attempts)?,
        failures: count(failures)?,
        last_error: maybe_text(last_error)?,
        sha256: maybe_text(sha256)?,
        published_sha256: maybe_text(published_sha256)?,
        history,
        listed_us: listed_at.int()?,
        started_us: maybe_int(started_at)?,
        finished_us: maybe_int(finished_at)?,
        cleaned_sha256: maybe_text(cleaned_sha256)?,
        cleaned_us: maybe_int(cleaned_at)?,
        cleaned: cleaned.map_err(|err| damaged("outcome of cleaning", err))?,
        listed: Listed {
            path,
            etag: maybe_text(etag)?,
            size: count(size)?,
            last_modified: text(last_modified)?,
            checksum_tag: maybe_text(checksum_tag)?,
        },
    })
}

/// A count as a parameter.
pub(super) fn int(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}
