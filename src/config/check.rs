//! Relations between keys: combinations that would hurt later are refused now, with the numbers that make them so
//! and the setting that would pass.

use super::config::Config;
use lake::Table;
use settings::Problem;
use settings::{Origin, Source};

/// Bytes one buffered row costs at most, measured over the tables (depth and trades are the ones that matter).
const ROW_BYTES: u64 = 120;
/// Tables of one venue that fill whole row groups at the same time in practice.
const BUSY_TABLES: u64 = 5;
/// Encoding one row group holds about this many copies of it for a moment.
const ENCODE_COPIES: u64 = 2;
/// What the process needs before the first row.
const BASE_MIB: u64 = 64;

/// Tables that may hold rows at the same time of one venue: of its log and of its log of repairs.
const TABLES: u64 = 2 * Table::ALL.len() as u64;
/// Rows that one record may become: a depth message has some twenty levels.
const RECORD_ROWS: u64 = 20;

/// Estimated peak memory of the compactor's row buffers, MiB.
pub fn compactor_estimate_mib(venues: u64, row_group_rows: u64) -> u64 {
    BASE_MIB + (((venues * BUSY_TABLES + ENCODE_COPIES) * row_group_rows * ROW_BYTES) >> 20)
}

pub(super) fn check(config: &Config, source: &Source, problems: &mut Vec<Problem>) {
    let venues = config.capture.venues.len().max(1) as u64;
    let rows = config.lake.row_group_rows as u64;
    let need = compactor_estimate_mib(venues, rows);
    let allowed = config.memory.limit_mib * config.memory.elevated_percent / 100;
    if need > allowed {
        let mut fits = rows;
        while fits > 1_000 && compactor_estimate_mib(venues, fits) > allowed {
            fits /= 2;
        }
        let what = format!(
            "{venues} venue(s) with row groups of {rows} rows need about {need} MiB, {}% of the limit of {} MiB is {allowed} MiB",
            config.memory.elevated_percent, config.memory.limit_mib
        );
        let fix = format!("write row_group_rows = {fits} or raise memory.limit_mib");
        problems.push(source.problem("lake.row_group_rows", what, fix));
    }
    writers(config, source, venues, allowed, problems);
    batch(config, source, problems);
    candles(config, source, problems);
}

/// Open writers, each with half a row group on average. A configured number is taken as it is; the default
/// is no more than there are tables.
fn writers(config: &Config, source: &Source, venues: u64, allowed: u64, problems: &mut Vec<Problem>) {
    const KEY: &str = "lake.max_open_writers";
    let written = config.lake.max_open_writers as u64;
    let is_default = config.effective.iter().any(|(key, _, origin)| key == KEY && *origin == Origin::Default);
    let writers = if is_default { written.min(venues * TABLES) } else { written };
    let each = config.lake.row_group_rows as u64 * ROW_BYTES / 2;
    let need = BASE_MIB + ((writers * each) >> 20);
    if need <= allowed {
        return;
    }
    let fits = ((allowed.saturating_sub(BASE_MIB) << 20) / each.max(1)).max(1);
    let what = format!(
        "{writers} open writers with half a row group of {} rows each need about {need} MiB, {}% of the limit of {} MiB is {allowed} MiB",
        config.lake.row_group_rows, config.memory.elevated_percent, config.memory.limit_mib
    );
    problems.push(source.problem(KEY, what, format!("write max_open_writers = {fits}, or a smaller row_group_rows")));
}

/// A configured source that is not recorded: candles would be made of another one.
fn candles(config: &Config, source: &Source, problems: &mut Vec<Problem>) {
    const KEY: &str = "klines.source";
    if source.get(KEY).is_none_or(|(_, origin)| *origin == Origin::Default) {
        return;
    }
    for (id, channel) in &config.klines.source {
        let (Some(channel), Some(venue)) = (channel, config.capture.venues.get(id)) else { continue };
        if venue.channels.contains(channel) {
            continue;
        }
        let has = venue.channels.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
        let what = format!("{id} is to have candles of {channel}, which it does not record: its channels are {has}");
        let fix = format!("add \"{channel}\" to venues.{id}.channels, or name another source or \"none\"");
        problems.push(source.problem(KEY, what, fix));
    }
}

/// Rows that come between two looks at memory, which nothing bounds.
fn batch(config: &Config, source: &Source, problems: &mut Vec<Problem>) {
    const KEY: &str = "lake.batch_rows";
    let (records, limit) = (config.lake.batch_rows as u64, config.memory.limit_mib);
    let need = (records * RECORD_ROWS * ROW_BYTES) >> 20;
    // An eighth: half of the limit is for rows, and a batch may come on top of them in every venue.
    let allowed = limit / 8;
    if need > allowed {
        let fits = (allowed << 20) / (RECORD_ROWS * ROW_BYTES);
        let what = format!(
            "{records} records between two looks at memory may become {need} MiB of rows, an eighth of the limit of {limit} MiB is {allowed} MiB"
        );
        let fix = format!("write batch_rows = {} or less; 256 to 512 is enough for any rate", fits.min(512));
        problems.push(source.problem(KEY, what, fix));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ConfigErrors;
    use super::*;

    const VENUE: &str = "[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n";

    /// The one problem of these keys, and nothing once its own advice is followed.
    fn refused(keys: &str, key: &str, advice: &str) -> String {
        let err = Config::from_toml(&format!("{keys}{VENUE}")).unwrap_err();
        let ConfigErrors(problems) = &err;
        assert_eq!(problems.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), [key], "{err}");
        assert!(problems[0].fix.contains(advice), "{err}");
        let (name, value) = advice.split_once(" = ").unwrap();
        let line = keys.lines().find(|l| l.starts_with(name)).unwrap();
        Config::from_toml(&format!("{}{VENUE}", keys.replace(line, &format!("{name} = {value}")))).unwrap();
        err.to_string()
    }

    #[test]
    fn four_hundred_and_fifty_open_writers_are_refused_on_four_gigabytes_and_the_advice_passes() {
        let keys = "[memory]\nlimit_mib = 4096\n[lake]\nmax_open_writers = 450\n";
        let said = refused(keys, "lake.max_open_writers", "max_open_writers = 401");
        assert!(said.contains("450 open writers") && said.contains("3439 MiB") && said.contains("3072 MiB"), "{said}");
    }

    #[test]
    fn a_batch_that_could_fill_the_memory_between_two_looks_is_refused_and_the_advice_passes() {
        let keys = "[memory]\nlimit_mib = 512\n[lake]\nbatch_rows = 50000\n";
        let said = refused(keys, "lake.batch_rows", "batch_rows = 512");
        assert!(said.contains("114 MiB") && said.contains("64 MiB"), "{said}");
    }

    #[test]
    fn a_source_of_candles_that_is_not_recorded_is_refused_where_somebody_named_it() {
        let err =
            Config::from_toml(&format!("[klines]\nsource = {{ binance-spot = \"agg_trades\" }}\n{VENUE}")).unwrap_err();
        let said = err.to_string();
        assert!(said.contains("klines.source") && said.contains("does not record: its channels are trades"), "{said}");
        for source in ["{ binance-spot = \"trades\" }", "{ binance-spot = \"none\" }", "{ gate-spot = \"trades\" }"] {
            Config::from_toml(&format!("[klines]\nsource = {source}\n{VENUE}")).unwrap();
        }
        // The default names aggregates for a venue whose trades alone may be recorded.
        let usdm = VENUE.replace("binance-spot", "binance-usdm");
        assert_eq!(Config::from_toml(&usdm).unwrap().capture.candles.len(), 1);
    }

    #[test]
    fn the_default_fits_one_venue_in_half_a_gigabyte_and_the_small_host_file_fits_all() {
        Config::from_toml(&format!("[memory]\nlimit_mib = 512\n{VENUE}")).unwrap();
        let small = include_str!("../../config/small-host.toml");
        let config = Config::from_toml(small).unwrap();
        assert!(config.memory.limit_mib <= 2_048 && config.capture.venues.len() >= 3);
    }
}
