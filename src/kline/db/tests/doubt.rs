//! A commit whose answer is lost: it may be stored or not, and the same checkpoint is given again, or another one by a
//! feed that restarted at what is stored.

use super::super::bars::BarSql;
use super::super::error::Result;
use super::super::schema::{Dialect, Rule};
use super::super::store::Store;
use super::*;
use sql::{Sql, SqlError, Value};

/// What happens at the next COMMIT.
#[derive(Clone, Copy, PartialEq)]
enum Loses {
    Nothing,
    Answer,
    Commit,
}

struct Flaky(Sqlite, Loses);

impl Sql for Flaky {
    fn begin(&mut self) -> std::result::Result<(), SqlError> {
        self.0.begin()
    }
    fn batch(&mut self, sql: &str) -> std::result::Result<(), SqlError> {
        if sql != "COMMIT" {
            return self.0.batch(sql);
        }
        let loses = std::mem::replace(&mut self.1, Loses::Nothing);
        if loses != Loses::Commit {
            self.0.batch(sql)?;
        }
        if loses == Loses::Nothing { Ok(()) } else { Err(SqlError::Lost) }
    }
    fn execute(&mut self, sql: &str, params: &[Value]) -> std::result::Result<u64, SqlError> {
        self.0.execute(sql, params)
    }
    fn rows(&mut self, sql: &str, params: &[Value]) -> std::result::Result<Vec<Vec<Value>>, SqlError> {
        self.0.rows(sql, params)
    }
}

impl BarSql for Flaky {
    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }
    fn put_bars(&mut self, rows: &[Vec<Value>], rule: Rule) -> Result<u64> {
        self.0.put_bars(rows, rule)
    }
}

#[test]
fn a_checkpoint_given_again_counts_once_whether_the_first_attempt_was_stored_or_not() {
    for loses in [Loses::Answer, Loses::Commit] {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Store::open(Flaky(Sqlite::open(&dir.path().join("k.db")).unwrap(), Loses::Nothing)).unwrap();
        db.commit(&checkpoint(1, [bar(1, 100)])).unwrap();
        let mut next = checkpoint(2, []);
        next.registry = vec![(1, symbol("NEW"))];
        next.since = Some(1);
        next.old = vec![old(tick(1, 11, "1", "1"))];
        db.sql.1 = loses;
        assert!(db.commit(&next).is_err());
        db.commit(&next).unwrap();
        assert_eq!(minutes(&mut db)[0].trade_count, 2, "once");
        let mut third = checkpoint(3, []);
        third.bars = vec![(1, Interval::M1, bar(1, 5))];
        assert_eq!(db.commit(&third).unwrap().bars, 1);
        assert_eq!(db.load_feed("binance-spot").unwrap().unwrap().logs[0].position, position(3));
    }
}

#[test]
fn a_checkpoint_behind_one_whose_answer_was_lost_is_stored_whole() {
    for loses in [Loses::Answer, Loses::Commit] {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Store::open(Flaky(Sqlite::open(&dir.path().join("k.db")).unwrap(), Loses::Nothing)).unwrap();
        db.commit(&checkpoint(1, [bar(1, 100)])).unwrap();
        db.sql.1 = loses;
        assert!(db.commit(&checkpoint(2, [bar(2, 200)])).is_err());
        // The feed reads its position, and goes on from there.
        let saved = db.load_feed("binance-spot").unwrap().unwrap();
        assert_eq!(saved.logs[0].position, position(if loses == Loses::Answer { 2 } else { 1 }));
        let third = Checkpoint { since: Some(saved.serial), ..checkpoint(3, [bar(3, 300)]) };
        assert_eq!(db.commit(&third).unwrap().bars, 1);
        assert_eq!(db.load_feed("binance-spot").unwrap().unwrap().logs[0].position, position(3));
        assert!(minutes(&mut db).iter().any(|b| b.open_time_us == bar(3, 300).open_time_us));
    }
}

#[test]
fn a_commit_that_is_stored_after_its_time_out_is_not_applied_again_by_the_feed_that_restarted_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(Flaky(Sqlite::open(&dir.path().join("k.db")).unwrap(), Loses::Nothing)).unwrap();
    let mut db = open();
    db.commit(&checkpoint(1, [bar(1, 100)])).unwrap();
    // A late trade and a mark: what is added twice would show.
    let mark =
        Mark { symbol_index: 0, interval: Interval::M1, from_us: MIN, to_us: MIN, before_us: i64::MAX, gap: true };
    let with_old = |n: u64, since: i64| Checkpoint {
        since: Some(since),
        old: vec![old(tick(1, 11, "1", "1"))],
        marks: vec![mark],
        ..checkpoint(n, [])
    };
    db.sql.1 = Loses::Commit;
    assert!(db.commit(&with_old(2, 1)).is_err(), "the server does not answer in time");
    let saved = db.load_feed("binance-spot").unwrap().unwrap().serial;
    assert_eq!(saved, 1, "and has not stored it yet");
    // It does so now.
    open().commit(&with_old(2, 1)).unwrap();
    // The feed has read the same trade again, and more.
    let said = wal_format::error_chain(&db.commit(&with_old(3, saved)).unwrap_err());
    assert!(said.contains("took too long"), "{said}");
    let saved = db.load_feed("binance-spot").unwrap().unwrap();
    assert_eq!((saved.serial, saved.logs[0].position), (2, position(2)));
    let bars = minutes(&mut db);
    assert_eq!((bars[0].trade_count, bars[0].revision), (2, 2), "once");
    let third = Checkpoint { since: Some(2), ..checkpoint(3, [bar(3, 300)]) };
    assert_eq!(db.commit(&third).unwrap().serial, 3);
}
