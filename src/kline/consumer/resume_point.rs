//! Where a feed continues: what the database says, against the log that is there and what was acknowledged of it. Pure.
//!
//! ```text
//!  database     log                  ack         the feed
//!  a place      had that run         not beyond  goes on there
//!  a place      had that run         beyond      goes on there; reports: an older copy of the database
//!  a place      never had that run   any         goes on with the first record of its own runs; reports: the log was restored
//!  a place      is another one       any         begins at its start, with what the feed remembers; reports it
//!  none         any                  somewhere   begins again, without the stored bars; reports: the database was deleted
//!  none         any                  none        begins: the first start
//! ```
//! The database is stored before the ack, so an ack beyond it is never left by a kill. Worked example: the database of
//! noon is put back at one. Its feed is at 2:500, the ack at 2:900. The log holds what no manifest covers: what it
//! still has is read again, what it has no more is a lost range, and its bars are marked.

use wal_format::{Ack, Checkpoint, CheckpointError, Lineage, Position, Seq};

use crate::db::{SavedFeed, SavedPosition};

/// Why candles do not simply go on. The names are in metrics: never rename, never reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Break {
    /// The database knows nothing of a log that was acknowledged: it was deleted or emptied.
    DatabaseDeleted,
    /// The database is older than what was acknowledged: it was restored from a backup.
    DatabaseRestored,
    /// Rows of the database are missing that belong together.
    RowsMissing,
    /// The log is another one.
    LogReplaced,
    /// The log is another copy: it, or the database, was restored from a backup or cloned.
    LogRestored,
    /// Records of the log cannot be read any more.
    LogLost,
    /// Bars are made of another channel than before.
    SourceChanged,
}

impl Break {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DatabaseDeleted => "database_deleted",
            Self::DatabaseRestored => "database_restored",
            Self::RowsMissing => "rows_missing",
            Self::LogReplaced => "log_replaced",
            Self::LogRestored => "log_restored",
            Self::LogLost => "log_lost",
            Self::SourceChanged => "source_changed",
        }
    }

    /// Whether trades may be missing between what the feed remembers and the next record.
    pub(crate) fn loses(self) -> bool {
        matches!(self, Self::RowsMissing | Self::LogReplaced | Self::LogRestored | Self::LogLost)
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResumePoint {
    /// Where reading goes on.
    pub from: Position,
    /// The stored bars are gone on with. A bar that is made again from its first trade must not hold them already.
    pub restore: bool,
    /// Only the records received after what the feed remembers are new: nobody knows where it stood.
    pub by_time: bool,
    /// The break to report, and its text.
    pub broken: Option<(Break, String)>,
}

impl ResumePoint {
    /// Of the log called `name` in the feed.
    pub fn of(saved: Option<&SavedFeed>, name: &str, lineage: &Lineage, ack: Option<&Ack>) -> ResumePoint {
        // One of another log, or of a run that this one never had, says nothing about this one.
        let ack = ack.filter(|ack| lineage.check(&Checkpoint::from(*ack)).is_ok());
        let begin = |restore, broken| ResumePoint { from: Position::START, restore, by_time: false, broken };
        let Some(saved) = saved else {
            // What was acknowledged may have been taken back already: the ack itself says that there was a database.
            let what = "candles were acknowledged, and the database has none of them: it was deleted or emptied; they are made again from what the log still has";
            return begin(false, ack.map(|_| (Break::DatabaseDeleted, what.to_owned())));
        };
        let Some(place) = saved.logs.iter().find(|l| l.log == name) else {
            if name != "main" {
                return begin(true, None);
            }
            let what = "the database does not say any more how far the log is in the candles; they go on after the last record they know of".to_owned();
            return ResumePoint { by_time: true, ..begin(true, Some((Break::RowsMissing, what))) };
        };
        match lineage.check(&place.checkpoint()) {
            Err(err @ CheckpointError::OfAnotherLog { .. }) => {
                begin(true, Some((Break::LogReplaced, other_log_text(place, &err))))
            }
            Err(err @ CheckpointError::OfAnotherRun { run, .. }) => ResumePoint {
                // What came before that run is in the candles.
                from: Position { seq: Seq::new(run.epoch, 0), ..Position::START },
                ..begin(true, Some((Break::LogRestored, other_log_text(place, &err))))
            },
            Ok(()) => {
                let older = ack.filter(|ack| ack.position.seq > place.position.seq).map(|ack| {
                    let what = format!(
                        "candles were acknowledged up to {}, and the database is at {}: it was restored from a backup; what the log still has is read again",
                        ack.position.seq, place.position.seq
                    );
                    (Break::DatabaseRestored, what)
                });
                let state = saved.state.as_str();
                let forgot = || {
                    let what = "the database has no state of the feed any more; the bars that were open are marked";
                    matches!(state, "" | "null").then(|| (Break::RowsMissing, what.to_owned()))
                };
                ResumePoint { from: place.position, ..begin(true, older.or_else(forgot)) }
            }
        }
    }
}

fn other_log_text(place: &SavedPosition, err: &CheckpointError) -> String {
    format!("the place of the candles in the log ({}) is none of this log: {err}", place.position.seq)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wal_format::{Incarnation, LogWriter, SegmentId};

    /// A log of two runs, and their incarnations.
    fn log(dir: &std::path::Path) -> Lineage {
        for _ in 0..2 {
            let mut options = wal_format::LogOptions::new(std::sync::Arc::new(ops::clock::now));
            options.segment_bytes = 64 << 10;
            LogWriter::open(dir, options).unwrap().close().unwrap();
        }
        wal_format::lineage(dir).unwrap().unwrap()
    }

    #[test]
    fn a_feed_goes_on_where_the_database_says_unless_log_or_ack_contradict_it() {
        let dir = tempfile::tempdir().unwrap();
        let lineage = log(dir.path());
        let uuid = lineage.log_uuid();
        let run = |epoch| lineage.incarnation_of(epoch).unwrap();
        let at = |epoch, n| Position { segment: SegmentId(2), offset: 4_096 + n * 64, seq: Seq::new(epoch, n) };
        let saved = |log_uuid, incarnation, position, state: &str| SavedFeed {
            logs: vec![SavedPosition { log: "main".into(), log_uuid, incarnation, position }],
            state: state.to_owned(),
            serial: 1,
        };
        let ack = |epoch, n| Ack {
            log_uuid: uuid,
            incarnation: run(epoch),
            position: at(epoch, n),
            generation: 0,
            note: String::new(),
        };
        let of = |saved: Option<&SavedFeed>, ack: Option<&Ack>| {
            let ResumePoint { from, restore, by_time, broken } = ResumePoint::of(saved, "main", &lineage, ack);
            (from.seq, restore, by_time, broken.map(|(why, _)| why))
        };
        // As after any kill: the ack may be behind.
        let well = saved(uuid, run(2), at(2, 9), "{}");
        for ack in [None, Some(ack(2, 9)), Some(ack(2, 3)), Some(ack(1, 900))] {
            assert_eq!(of(Some(&well), ack.as_ref()), (Seq::new(2, 9), true, false, None));
        }
        assert_eq!(of(Some(&well), Some(&ack(2, 10))), (Seq::new(2, 9), true, false, Some(Break::DatabaseRestored)));
        // The first start, and a database that was there once.
        assert_eq!(of(None, None), (Seq(0), false, false, None));
        assert_eq!(of(None, Some(&ack(1, 5))), (Seq(0), false, false, Some(Break::DatabaseDeleted)));
        let of_another = Ack { log_uuid: [9; 16], ..ack(1, 5) };
        assert_eq!(of(None, Some(&of_another)), (Seq(0), false, false, None), "a new log beside an old ack");
        // Another log, another copy of this one, and one that has not come so far.
        let other = saved([9; 16], run(2), at(2, 9), "{}");
        assert_eq!(of(Some(&other), None), (Seq(0), true, false, Some(Break::LogReplaced)));
        for (epoch, incarnation) in [(2, Incarnation(77)), (3, Incarnation(78))] {
            let copy = saved(uuid, incarnation, at(epoch, 9), "{}");
            assert_eq!(of(Some(&copy), None), (Seq::new(epoch, 0), true, false, Some(Break::LogRestored)));
        }
        // Rows that belong together.
        let forgot = saved(uuid, run(2), at(2, 9), "");
        assert_eq!(of(Some(&forgot), None), (Seq::new(2, 9), true, false, Some(Break::RowsMissing)));
        let lost = SavedFeed { logs: Vec::new(), ..well };
        assert_eq!(of(Some(&lost), Some(&ack(2, 9))), (Seq(0), true, true, Some(Break::RowsMissing)));
        let repair = ResumePoint::of(Some(&lost), "repair", &lineage, None);
        assert_eq!((repair.from, repair.broken), (Position::START, None), "the repairer's log begins later");
    }
}
