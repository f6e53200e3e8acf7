//! The same records through SQLite, ns per record: what a user would reach for first. Other logs: `rivals`.

use std::path::Path;
use std::time::Instant;

/// Records of one commit where a store needs commits.
pub(crate) const BATCH: u64 = 1_000;

/// SQLite in WAL mode with `synchronous = NORMAL`, one transaction per batch.
pub(crate) fn sqlite(path: &Path, payload: &[u8], records: u64) -> anyhow::Result<f64> {
    std::fs::create_dir_all(path)?;
    let mut db = rusqlite::Connection::open(path.join("log.db"))?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE log (seq INTEGER PRIMARY KEY, payload BLOB)",
    )?;
    let start = Instant::now();
    let mut seq = 0;
    while seq < records {
        let batch = db.transaction()?;
        {
            let mut insert = batch.prepare("INSERT INTO log VALUES (?1, ?2)")?;
            for _ in 0..BATCH {
                insert.execute(rusqlite::params![i64::try_from(seq)?, payload])?;
                seq += 1;
            }
        }
        batch.commit()?;
    }
    let ns = start.elapsed().as_nanos() as f64 / seq as f64;
    drop(db);
    std::fs::remove_dir_all(path)?;
    Ok(ns)
}
