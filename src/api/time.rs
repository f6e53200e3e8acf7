//! The time of an answer: of the wall, in the units that answers are written in.

/// Wall time, us since epoch.
pub(super) fn now_us() -> i64 {
    i64::try_from(ops::clock::wall_ns() / 1_000).unwrap_or(i64::MAX)
}

/// Wall time, ms since epoch.
pub(super) fn now_ms() -> i64 {
    now_us() / 1_000
}
