//! What stops a log until a person has looked: evidence of what was published is missing, or cannot be believed.

use wal_format::Seq;

/// Why a log stops until a person has looked: trying again does not cure it. Nothing was published or deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EvidenceMissing {
    /// The newest manifest is there and cannot be believed.
    #[error(
        "the newest manifest of this log is no evidence: {why}\n  where: {path}\n  fix:   tapedeck verify --repair rebuilds it from the files it names; until then nothing of this log is published or deleted"
    )]
    Manifest {
        /// The manifest.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was published last was published by a newer program.
    #[error(
        "{what}\n  fix:   go on with the version of tapedeck that wrote it, or a later one; nothing of this log is published or deleted until then"
    )]
    Newer {
        /// The file, and which version it is of.
        what: String,
    },
    /// What was acknowledged is neither in the lake nor in the log.
    #[error(
        "the log was acknowledged up to {acked}, but the lake holds only what is before {at}, and the log no longer has what lies between\n  where: {lake}\n  fix:   is the lake's disk mounted, and is it the newest copy? put the lake back; or give up what is missing with tapedeck compactor --accept-loss {log}, which goes on with what the log has and records the lost range in the next manifest"
    )]
    Acknowledged {
        /// The acknowledged seq.
        acked: Seq,
        /// Where the lake ends.
        at: Seq,
        /// The lake.
        lake: String,
        /// The log's name in the status.
        log: String,
    },
    /// Published files that no manifest names, and a log that cannot give them again.
    #[error(
        "published files after the newest manifest are named by none, and the log no longer has what they hold: their manifest is missing\n  where: {path} and {others} others\n  fix:   put the manifest back, or tapedeck verify --repair makes it again from the files; or give them up with tapedeck compactor --accept-loss {log}, which quarantines them"
    )]
    Orphans {
        /// The first of them.
        path: String,
        /// How many more.
        others: usize,
        /// The log's name in the status.
        log: String,
    },
    /// A name that this log gives is taken by a file that is not this log's.
    #[error(
        "{path} is there already, and is not what this log publishes under that name: it is not overwritten\n  fix:   is it of another collector or of a copy of this log? move it out of the lake, or give this log a lake of its own"
    )]
    Taken {
        /// The file.
        path: String,
    },
    /// Rows that were staged here of a log that is not here any more.
    #[error(
        "rows of the log {log} are staged and wait to be published, and that log, or the run of it that they are of, is not in {dir} any more\n  where: {staged}\n  fix:   is the log's disk mounted? put that log back and its rows are published; or give them up with tapedeck compactor --accept-loss {name}, which quarantines them"
    )]
    Abandoned {
        /// The log that is gone, 32 hex digits.
        log: String,
        /// Where its rows are.
        staged: String,
        /// Where it was.
        dir: String,
        /// The name in the status.
        name: String,
    },
    /// EPOCH names a log of which there is no record, and all records that there are are of others.
    #[error(
        "EPOCH says that this is the log {log}, and every segment with records is of another one, {other} ({count} of them)\n  where: {dir}\n  fix:   was EPOCH copied from another log? put the right one back, or delete it: the segments then say whose they are; if the segments are strangers, move them out of the directory"
    )]
    Strangers {
        /// The log that EPOCH names, 32 hex digits.
        log: String,
        /// The log of the segments, 32 hex digits.
        other: String,
        /// How many segments.
        count: usize,
        /// The log's directory.
        dir: String,
    },
    /// A lake without anything of a log that has lost its beginning.
    #[error(
        "the lake holds nothing of this log, and the log no longer has its first records: it begins at {first}\n  where: {lake}\n  fix:   is the lake's disk mounted? put the lake back; or give up what is missing with tapedeck compactor --accept-loss {log}, which goes on with what the log has and records the lost range in the next manifest"
    )]
    Beginning {
        /// The first record there is.
        first: Seq,
        /// The lake.
        lake: String,
        /// The log's name in the status.
        log: String,
    },
}
