//! A commit whose answer is lost: it may be stored or not, and the same checkpoint is given again, or another one by a
//! feed that began anew at what is stored.

use super::super::bars::BarSql;
use super::super::schema::{Dialect, Rule};
use super::super::store::Store;
use super::*;
use crate::sql::{Sql, Value};

/// What happens at the next COMMIT.
#[derive(Clone, Copy, PartialEq)]
enum Loses {
    Nothing,
    Answer,
    Commit,
}

struct Flaky(Sqlite, Loses);

impl Sql for Flaky {
    fn begin(&mut self) -> Result<()> {
        self.0.begin()
    }
    fn batch(&mut self, sql: &str) -> Result<()> {
        if sql != "COMMIT" {
            return self.0.batch(sql);
        }
        let loses = std::mem::replace(&mut self.1, Loses::Nothing);
        if loses != Loses::Commit {
            self.0.batch(sql)?;
        }
        if loses == Loses::Nothing { Ok(()) } else { bail!("the connection broke") }
    }
    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        self.0.execute(sql, params)
    }
    fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>> {
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
        next.old = vec![(Interval::M1, MIN, tick(1, 11, "1", "1"))];
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
        // The feed reads where it stands, and goes on from there.
        let stands = db.load_feed("binance-spot").unwrap().unwrap().logs[0].position;
        assert_eq!(stands, position(if loses == Loses::Answer { 2 } else { 1 }));
        assert_eq!(db.commit(&checkpoint(3, [bar(3, 300)])).unwrap().bars, 1);
        assert_eq!(db.load_feed("binance-spot").unwrap().unwrap().logs[0].position, position(3));
        assert!(minutes(&mut db).iter().any(|b| b.open_time_us == bar(3, 300).open_time_us));
    }
}
