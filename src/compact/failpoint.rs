//! Named places at which a test may kill the process, one for each instruction boundary that matters to the
//! exactly-once promise.
//!
//! In debug builds and with the cargo feature `failpoints`, `TAPEDECK_FAILPOINT=<name>` or `<name>:<n>` makes the
//! process send itself SIGKILL the first or n-th time it comes by; in every other build `hit` is nothing at
//! all. Points inside the publishing of a table carry its name, such as `publish.after_rename_trades`.
//!
//! `TAPEDECK_PANIC=<name>` or `<name>:<n>` makes it panic there instead, n times: see [`crate::supervise`].
//!
//! Unit tests arm a point for their own thread instead (`armed_for`): it unwinds, which loses everything that
//! was only in memory, as a kill does.

use ops::failpoint;
#[cfg(test)]
pub use ops::failpoint::armed_for;

/// Points that exist once.
const PLAIN: &[&str] = &[
    "session.record",
    "resume.before_cleanup",
    "resume.after_cleanup",
    "resume.after_ack",
    "stage.before_piece",
    "stage.after_piece_written",
    "stage.after_piece_published",
    "cut.before_pieces",
    "cut.before_state",
    "cut.after_state",
    "cut.after_ack",
    "cut.after_old_states_removed",
    "cut.after_retire",
    "archive.before_pack",
    "archive.after_frame",
    "archive.after_sync",
    "archive.after_proof",
    "archive.after_publish",
    "archive.after_unlink",
    "publish.before_part",
    "publish.before_manifest",
    "publish.after_manifest",
    "publish.after_ack",
    "publish.after_staging_removed",
    "publish.after_retire",
    "klines.before_commit",
    "klines.in_commit",
    "klines.after_commit",
    "klines.after_ack",
];

/// Points of a part that is published again.
const REWRITE: &[&str] =
    &["rewrite.after_commit", "rewrite.after_file", "rewrite.before_manifest", "rewrite.after_manifest"];

/// Points that exist once per table that has rows.
const PER_TABLE: &[&str] = &["publish.before_join", "publish.after_join", "publish.after_rename"];

/// The points of `replay --rewrite` alone, beside those of publishing.
#[cfg(test)]
pub(crate) fn rewrite_list() -> &'static [&'static str] {
    REWRITE
}

/// Every other name that [`hit`] and [`hit_table`] know.
pub fn list() -> Vec<String> {
    let tables = lake::Table::ALL;
    PLAIN
        .iter()
        .map(|p| (*p).to_owned())
        .chain(PER_TABLE.iter().flat_map(|p| tables.iter().map(move |t| format!("{p}_{t}"))))
        .collect()
}

/// Comes by the point `name`.
#[inline]
pub(crate) fn hit(name: &str) {
    debug_assert!(PLAIN.contains(&name) || REWRITE.contains(&name), "{name} is not in the list of failpoints");
    failpoint::hit(name);
}

/// Comes by the point `prefix` of one table.
#[inline]
pub(crate) fn hit_table(prefix: &str, table: lake::Table) {
    debug_assert!(PER_TABLE.contains(&prefix), "{prefix} is not in the list of failpoints");
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    failpoint::hit(&format!("{prefix}_{table}"));
    #[cfg(not(any(debug_assertions, feature = "failpoints")))]
    let _ = (prefix, table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed_once() {
        let mut all = list();
        let n = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), n);
        assert!(all.iter().any(|p| p == "publish.after_rename_trades"));
    }
}
