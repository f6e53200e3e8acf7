//! The statements of the manifest, over either database.

use super::file::{FileRow, Former, Listed, State};
use super::queue::{Done, Failed, Lease, Offer, Offered, Pending, Queue, Room, Run, Scope};
use super::read::MirrorManifest;
use super::row::{SELECT, file_row, int};
use super::schema::{self, ManifestSql};
use crate::error::{HistoryError, Result};
use crate::path::{ArchivePath, url_of};
use crate::select::Selection;
use sql::Value;

/// What a mirror noted of its room counts for so long, us: a day.
const ROOM_US: i64 = 86_400_000_000;
/// Rows read at once.
const PAGE: usize = 500;

/// A row has other columns than were requested.
const ANOTHER_TABLE: HistoryError = HistoryError::Missing("a row of another table");

/// A manifest in a database.
pub(super) struct Store<S> {
    sql: S,
}

impl<S: ManifestSql> Store<S> {
    /// Makes the schema where it is missing.
    pub(super) fn open(sql: S) -> Result<Self> {
        let mut store = Self { sql };
        store.transaction(|s| {
            s.sql.batch(&schema::create::<S>())?;
            let what = "the manifest";
            Ok(sql::keep_version(&mut s.sql, "history_schema", what, schema::VERSION, |_, _| Ok(()))?)
        })?;
        Ok(store)
    }

    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.sql.begin()?;
        let done = work(self);
        sql::settle(&mut self.sql, done)
    }

    fn insert(&mut self, file: &Listed, offer: &Offer<'_>, now: i64) -> Result<()> {
        let series = &file.path.series;
        self.sql.execute(
            "INSERT INTO history_files (path, market, period, kind, symbol, bar_interval, first_day, last_day, etag, \
             size, last_modified, checksum_tag, url, state, lease_until, not_before, attempts, failures, history, \
             listed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 'queued', 0, 0, 0, 0, '[]', ?14)",
            &[
                Value::Text(file.path.to_string()),
                Value::text(series.market.as_str()),
                Value::text(series.period.as_str()),
                Value::text(series.kind.as_str()),
                Value::text(&series.symbol),
                Value::text(series.interval.map_or("", |i| i.as_str())),
                Value::Text(file.path.first_day.to_string()),
                Value::Text(file.path.last_day().to_string()),
                Value::maybe_text(file.etag.as_deref()),
                int(file.size),
                Value::text(&file.last_modified),
                Value::maybe_text(file.checksum_tag.as_deref()),
                Value::Text(url_of(offer.base_url, &file.path.to_string())),
                Value::Int(now),
            ],
        )?;
        Ok(())
    }

    /// Puts a row into the queue as the archive has it now.
    fn requeue(&mut self, file: &Listed, history: &[Former], offer: &Offer<'_>) -> Result<()> {
        self.sql.execute(
            "UPDATE history_files SET etag = ?2, size = ?3, last_modified = ?4, checksum_tag = ?5, url = ?6, \
             history = ?7, state = 'queued', holder = NULL, failures = 0, not_before = 0, lease_until = 0 \
             WHERE path = ?1",
            &[
                Value::Text(file.path.to_string()),
                Value::maybe_text(file.etag.as_deref()),
                int(file.size),
                Value::text(&file.last_modified),
                Value::maybe_text(file.checksum_tag.as_deref()),
                Value::Text(url_of(offer.base_url, &file.path.to_string())),
                Value::Text(serde_json::to_string(history)?),
            ],
        )?;
        Ok(())
    }

    fn offer_one(&mut self, file: &Listed, known: Option<FileRow>, offer: &Offer<'_>, now: i64) -> Result<Offered> {
        let Some(row) = known else {
            self.insert(file, offer, now)?;
            return Ok(Offered::New);
        };
        let change = difference(&row.listed, file);
        let mut history = row.history.clone();
        let offered = match (row.state, change) {
            // Whoever downloads it finds out what the archive has now.
            (State::Leased, _) | (State::Queued, None) => return Ok(Offered::Waiting),
            (State::Queued, Some(_)) => Offered::Waiting,
            (State::Dead, None) if !offer.retry_dead => return Ok(Offered::Dead),
            (State::Dead, _) => Offered::Revived,
            (State::Here, None) if row.holder.as_deref() != Some(offer.holder) || (offer.is_there)(&row) => {
                return Ok(Offered::Here);
            }
            (State::Here, None) => Offered::Vanished,
            (State::Here, Some(what)) => {
                history.push(former(&row, what, now));
                Offered::Changed
            }
        };
        self.requeue(file, &history, offer)?;
        Ok(offered)
    }

    fn set(&mut self, lease: &Lease, set: &str, values: Vec<Value>) -> Result<bool> {
        let mut params =
            vec![Value::Text(lease.row.listed.path.to_string()), Value::text(&lease.holder), int(lease.row.attempts)];
        params.extend(values);
        let sql = format!(
            "UPDATE history_files SET {set} WHERE path = ?1 AND state = 'leased' AND holder = ?2 AND attempts = ?3"
        );
        Ok(self.sql.execute(&sql, &params)? == 1)
    }
}

/// What the archive changed; `None` for nothing.
pub(crate) fn difference(was: &Listed, is: &Listed) -> Option<&'static str> {
    match (&was.etag, &is.etag) {
        (Some(a), Some(b)) if a != b => return Some("etag"),
        (Some(_), Some(_)) => {}
        // Without tags on both sides the time of the upload has to do.
        _ if was.last_modified != is.last_modified => return Some("last_modified"),
        _ => {}
    }
    if was.size != is.size {
        return Some("size");
    }
    (was.checksum_tag != is.checksum_tag).then_some("checksum")
}

fn former(row: &FileRow, what: &str, now: i64) -> Former {
    Former {
        noticed_us: now,
        what: what.to_owned(),
        etag: row.listed.etag.clone(),
        size: row.listed.size,
        last_modified: row.listed.last_modified.clone(),
        sha256: row.sha256.clone(),
    }
}

impl<S: ManifestSql> MirrorManifest for Store<S> {
    fn for_each(&mut self, selection: &Selection, each: &mut dyn FnMut(FileRow) -> Result<()>) -> Result<()> {
        let mut last = String::new();
        loop {
            let mut params = vec![Value::Text(last)];
            let condition = schema::condition::<S>(&Scope::of(selection), &mut params)?;
            let sql = format!(
                "SELECT {SELECT} FROM history_files WHERE path > ?1 AND {condition} ORDER BY path LIMIT {PAGE}"
            );
            let rows = self.sql.rows(&sql, &params)?;
            let full = rows.len() == PAGE;
            last = String::new();
            for row in &rows {
                let row = file_row(row)?;
                last = row.listed.path.to_string();
                if selection.holds(&row.listed.path) {
                    each(row)?;
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn get(&mut self, path: &ArchivePath) -> Result<Option<FileRow>> {
        let sql = format!("SELECT {SELECT} FROM history_files WHERE path = ?1");
        let rows = self.sql.rows(&sql, &[Value::Text(path.to_string())])?;
        rows.first().map(|row| file_row(row)).transpose()
    }

    fn mark_cleaned(&mut self, path: &ArchivePath, sha256: &str, outcome: &serde_json::Value) -> Result<bool> {
        let now = self.sql.now_us()?;
        let changed = self.sql.execute(
            "UPDATE history_files SET cleaned_sha256 = ?2, cleaned_at = ?3, cleaned = ?4 WHERE path = ?1 AND sha256 = ?2",
            &[
                Value::Text(path.to_string()),
                Value::text(sha256),
                Value::Int(now),
                Value::Text(serde_json::to_string(outcome)?),
            ],
        )?;
        Ok(changed == 1)
    }
}

impl<S: ManifestSql> Queue for Store<S> {
    fn offer(&mut self, files: &[Listed], offer: &Offer<'_>) -> Result<Vec<Offered>> {
        let (Some(first), Some(last)) = (files.first(), files.last()) else { return Ok(Vec::new()) };
        let now = self.sql.now_us()?;
        self.transaction(|s| {
            // One statement for all that is known already: most files of a second listing are.
            let sql = format!("SELECT {SELECT} FROM history_files WHERE path >= ?1 AND path <= ?2");
            let ends = [Value::Text(first.path.to_string()), Value::Text(last.path.to_string())];
            let mut known = std::collections::HashMap::new();
            for row in s.sql.rows(&sql, &ends)? {
                let row = file_row(&row)?;
                known.insert(row.listed.path.clone(), row);
            }
            files.iter().map(|file| s.offer_one(file, known.remove(&file.path), offer, now)).collect()
        })
    }

    fn recover(&mut self, holders: &str) -> Result<Vec<ArchivePath>> {
        let letters = i64::try_from(holders.chars().count())?;
        let rows = self.sql.rows(
            "UPDATE history_files SET state = 'queued', holder = NULL, lease_until = 0 \
             WHERE state = 'leased' AND substr(holder, 1, CAST(CAST(?2 AS BIGINT) AS INTEGER)) = ?1 RETURNING path",
            &[Value::text(holders), Value::Int(letters)],
        )?;
        rows.iter()
            .map(|row| Ok(row.first().ok_or(HistoryError::Missing("a row without columns"))?.str()?.parse()?))
            .collect()
    }

    fn lease(&mut self, holder: &str, scope: &Scope, lease_s: u64) -> Result<Option<Lease>> {
        let now = self.sql.now_us()?;
        let mut params = vec![Value::text(holder), Value::Int(now), Value::Int(now.saturating_add(micros(lease_s)))];
        let condition = schema::condition::<S>(scope, &mut params)?;
        let sql = format!(
            "UPDATE history_files SET state = 'leased', holder = ?1, lease_until = ?3, attempts = attempts + 1, \
             started_at = ?2 WHERE path = (SELECT path FROM history_files \
             WHERE state IN ('queued', 'leased') AND (state = 'queued' AND not_before <= ?2 \
             OR state = 'leased' AND lease_until < ?2) AND {condition} \
             ORDER BY failures, path LIMIT 1{}) RETURNING {SELECT}",
            S::SKIP_LOCKED
        );
        let rows = self.sql.rows(&sql, &params)?;
        rows.first().map(|row| Ok(Lease { row: file_row(row)?, holder: holder.to_owned() })).transpose()
    }

    fn keep(&mut self, lease: &Lease, lease_s: u64) -> Result<bool> {
        let until = self.sql.now_us()?.saturating_add(micros(lease_s));
        self.set(lease, "lease_until = ?4", vec![Value::Int(until)])
    }

    fn holds(&mut self, lease: &Lease) -> Result<bool> {
        let rows = self.sql.rows(
            "SELECT attempts FROM history_files WHERE path = ?1 AND state = 'leased' AND holder = ?2 AND attempts = ?3",
            &[Value::Text(lease.row.listed.path.to_string()), Value::text(&lease.holder), int(lease.row.attempts)],
        )?;
        Ok(!rows.is_empty())
    }

    fn finish(&mut self, lease: &Lease, done: &Done) -> Result<bool> {
        let now = self.sql.now_us()?;
        let mut history = lease.row.history.clone();
        let other = lease.row.sha256.as_ref().is_some_and(|sha256| *sha256 != done.sha256);
        if other && !history.iter().any(|f| f.sha256 == lease.row.sha256) {
            history.push(former(&lease.row, "sha256", now));
        }
        let mirror = lease.holder.rsplit_once('#').map_or(lease.holder.as_str(), |(mirror, _)| mirror);
        let ours = self.set(
            lease,
            "state = 'here', failures = 0, not_before = 0, lease_until = 0, finished_at = ?4, etag = ?5, size = ?6, \
             sha256 = ?7, published_sha256 = ?8, history = ?9, holder = ?10",
            vec![
                Value::Int(now),
                Value::maybe_text(done.etag.as_deref()),
                int(done.size),
                Value::text(&done.sha256),
                Value::maybe_text(done.published_sha256.as_deref()),
                Value::Text(serde_json::to_string(&history)?),
                Value::text(mirror),
            ],
        )?;
        if ours {
            return Ok(true);
        }
        // The answer to the first word may have been lost with its connection.
        let rows = self.sql.rows(
            "SELECT attempts FROM history_files WHERE path = ?1 AND state = 'here' AND holder = ?2 AND attempts = ?3",
            &[Value::Text(lease.row.listed.path.to_string()), Value::text(mirror), int(lease.row.attempts)],
        )?;
        Ok(!rows.is_empty())
    }

    fn fail(&mut self, lease: &Lease, failed: &Failed) -> Result<bool> {
        let not_before = self.sql.now_us()?.saturating_add(failed.wait_us);
        let state = if failed.dead { State::Dead } else { State::Queued };
        self.set(
            lease,
            "state = ?4, holder = NULL, lease_until = 0, not_before = ?5, failures = ?6, last_error = ?7",
            vec![Value::text(state.as_str()), Value::Int(not_before), int(failed.failures), Value::text(&failed.error)],
        )
    }

    fn release(&mut self, lease: &Lease) -> Result<()> {
        self.set(lease, "state = 'queued', holder = NULL, lease_until = 0, not_before = 0", Vec::new())?;
        Ok(())
    }

    fn pending(&mut self, scope: &Scope) -> Result<Pending> {
        let mut params = Vec::new();
        let condition = schema::condition::<S>(scope, &mut params)?;
        let sql = format!(
            "SELECT state, CAST(COUNT(*) AS BIGINT) FROM history_files \
             WHERE state IN ('queued', 'leased') AND {condition} GROUP BY state"
        );
        let mut pending = Pending::default();
        for row in self.sql.rows(&sql, &params)? {
            let [state, n] = row.as_slice() else { return Err(ANOTHER_TABLE) };
            let n = u64::try_from(n.int()?)?;
            match State::parse(state.str()?) {
                Some(State::Queued) => pending.queued = n,
                _ => pending.leased = n,
            }
        }
        Ok(pending)
    }

    fn room(&mut self, mirror: &str, free_bytes: u64, scope: &Scope) -> Result<Room> {
        let now = self.sql.now_us()?;
        self.sql.execute(
            "INSERT INTO history_mirrors (name, free_bytes, seen_at) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE SET free_bytes = excluded.free_bytes, seen_at = excluded.seen_at",
            &[Value::text(mirror), int(free_bytes), Value::Int(now)],
        )?;
        let mut params = vec![Value::text(mirror), Value::Int(now.saturating_sub(ROOM_US))];
        let condition = schema::condition::<S>(scope, &mut params)?;
        let sql = format!(
            "SELECT CAST((SELECT COALESCE(SUM(size), 0) FROM history_files \
             WHERE state IN ('queued', 'leased') AND {condition}) AS BIGINT), \
             CAST((SELECT COALESCE(SUM(free_bytes), 0) FROM history_mirrors WHERE name <> ?1 AND seen_at >= ?2) AS BIGINT)"
        );
        let rows = self.sql.rows(&sql, &params)?;
        let Some([left, elsewhere]) = rows.first().map(Vec::as_slice) else { return Err(ANOTHER_TABLE) };
        Ok(Room { left_bytes: u64::try_from(left.int()?)?, elsewhere_bytes: u64::try_from(elsewhere.int()?)? })
    }

    fn finished(
        &mut self,
        holder: &str,
        (from_us, to_us): (i64, i64),
        each: &mut dyn FnMut(FileRow) -> Result<()>,
    ) -> Result<()> {
        let mut last = String::new();
        loop {
            let sql = format!(
                "SELECT {SELECT} FROM history_files WHERE holder = ?1 AND finished_at >= ?2 AND finished_at < ?3 \
                 AND path > ?4 ORDER BY path LIMIT {PAGE}"
            );
            let params = [Value::text(holder), Value::Int(from_us), Value::Int(to_us), Value::Text(last.clone())];
            let rows = self.sql.rows(&sql, &params)?;
            for row in &rows {
                let row = file_row(row)?;
                last = row.listed.path.to_string();
                each(row)?;
            }
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn begin_run(&mut self, holder: &str, command: &str) -> Result<i64> {
        let now = self.sql.now_us()?;
        let rows = self.sql.rows(
            "INSERT INTO history_runs (holder, command, started_at) VALUES (?1, ?2, ?3) RETURNING id",
            &[Value::text(holder), Value::text(command), Value::Int(now)],
        )?;
        rows.first()
            .and_then(|row| row.first())
            .ok_or(HistoryError::Missing("an insert without an answer"))?
            .int()
            .map_err(Into::into)
    }

    fn end_run(&mut self, id: i64, outcome: &str, summary: &serde_json::Value) -> Result<()> {
        let now = self.sql.now_us()?;
        self.sql.execute(
            "UPDATE history_runs SET finished_at = ?2, outcome = ?3, summary = ?4 WHERE id = ?1",
            &[Value::Int(id), Value::Int(now), Value::text(outcome), Value::Text(summary.to_string())],
        )?;
        Ok(())
    }

    fn runs(&mut self, n: usize) -> Result<Vec<Run>> {
        let sql = format!(
            "SELECT id, holder, command, started_at, finished_at, outcome, summary FROM history_runs \
             ORDER BY id DESC LIMIT {n}"
        );
        let rows = self.sql.rows(&sql, &[])?;
        rows.iter()
            .map(|row| {
                let [id, holder, command, started, finished, outcome, summary] = row.as_slice() else {
                    return Err(ANOTHER_TABLE);
                };
                Ok(Run {
                    id: id.int()?,
                    holder: holder.str()?.to_owned(),
                    command: command.str()?.to_owned(),
                    started_us: started.int()?,
                    finished_us: finished.int().ok(),
                    outcome: outcome.str().ok().map(str::to_owned),
                    summary: summary.str().ok().and_then(|text| serde_json::from_str(text).ok()),
                })
            })
            .collect()
    }
}

fn micros(s: u64) -> i64 {
    i64::try_from(s).unwrap_or(i64::MAX / 4_000_000).saturating_mul(1_000_000)
}
