//! Relations between keys: combinations that would hurt later are refused now, with the numbers that make them so
//! and the setting that would pass.

use super::source::Source;
use super::{Config, Problem, pacing};

/// Bytes one buffered row costs at most, measured over the tables (depth and trades are the ones that matter).
const ROW_BYTES: u64 = 120;
/// Tables of one venue that fill whole row groups at the same time in practice.
const BUSY_TABLES: u64 = 5;
/// Encoding one row group holds about this many copies of it for a moment.
const ENCODE_COPIES: u64 = 2;
/// What the process needs before the first row.
const BASE_MIB: u64 = 64;

/// Estimated peak memory of the compactor's row buffers, MiB.
pub fn compactor_estimate_mib(venues: u64, row_group_rows: u64) -> u64 {
    BASE_MIB + (((venues * BUSY_TABLES + ENCODE_COPIES) * row_group_rows * ROW_BYTES) >> 20)
}

pub(super) fn check(config: &Config, source: &Source, problems: &mut Vec<Problem>) {
    let venues = config.venues.len().max(1) as u64;
    let rows = config.lake.row_group_rows as u64;
    let need = compactor_estimate_mib(venues, rows);
    let allowed = config.memory.limit_mib * config.memory.elevated_percent / 100;
    if need > allowed {
        let mut fits = rows;
        while fits > 1_000 && compactor_estimate_mib(venues, fits) > allowed {
            fits /= 2;
        }
        problems.push(Problem {
            key: "lake.row_group_rows".into(),
            origin: source.origin("lake.row_group_rows"),
            what: format!(
                "{venues} venue(s) with row groups of {rows} rows need about {need} MiB, {}% of the limit of {} MiB is {allowed} MiB",
                config.memory.elevated_percent, config.memory.limit_mib
            ),
            fix: format!("write row_group_rows = {fits} or raise memory.limit_mib"),
        });
    }
    for v in config.venues.values() {
        for (key, what, fix) in pacing::beyond(v) {
            let key = format!("venues.{}.{key}", v.id);
            problems.push(Problem { origin: source.origin(&key), key, what, fix });
        }
        let l = &v.limits;
        // The limiter would hold such messages back anyway; a setting that cannot be honoured is a mistake.
        if l.subscribe_delay_ms > 0 && 1_000 / l.subscribe_delay_ms > u64::from(l.messages_per_s) {
            problems.push(Problem {
                key: format!("venues.{}.subscribe_delay_ms", v.id),
                origin: source.origin(&format!("venues.{}.subscribe_delay_ms", v.id)),
                what: format!(
                    "{} ms between subscriptions is {} messages in a second, the limit is {}",
                    l.subscribe_delay_ms,
                    1_000 / l.subscribe_delay_ms,
                    l.messages_per_s
                ),
                fix: format!("write at least {}", 1_000_u64.div_ceil(u64::from(l.messages_per_s))),
            });
        }
    }
}
