//! Every night the final minutes of the day before are compared with the venue's. What is found is logged.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::client::RetryingClient;
use super::compare::{CompareJob, compare};
use super::db;
use super::request_error::SeriesError;
use crate::settings::Config;
use capture::VenueConfig;
use model::interval::Interval;
use ops::clock;
use ops::shutdown::Shutdown;
use venue::venue;
use wal_format::error_chain;

/// After midnight UTC, when the candles of the day are settled and venues are past their own midnight work, us.
const AFTER_MIDNIGHT_US: i64 = 40 * 60_000_000;
const DAY_US: i64 = 86_400_000_000;

/// Compares once a night until it must stop.
///
/// # Cancel safety
/// It only reads; it may be dropped at any time.
pub async fn nightly(cfg: Arc<Config>, shutdown: Shutdown) {
    let rehearsed = rehearsed_every_us();
    loop {
        let now = now_us();
        let next = rehearsed.map_or_else(|| due(now), |every| now.saturating_add(every));
        let wait = Duration::from_micros((next - now).unsigned_abs());
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(wait) => {}
        }
        // A clock that was set back is waited for again.
        if now_us() < next {
            continue;
        }
        let day = Interval::D1.open_of(next) - DAY_US;
        for config in cfg.capture.venues.values() {
            let compared = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                compared = one_venue(&cfg, config, day) => compared,
            };
            if let Err(err) = compared {
                warn!(venue = %config.id, error = %error_chain(&err), "the nightly comparison of candles did not end");
            }
        }
    }
}

/// How often there is a night where a test wants it (`TAPEDECK_NIGHTLY=<seconds>`; debug builds and the cargo feature
/// `failpoints`).
fn rehearsed_every_us() -> Option<i64> {
    let said = std::env::var("TAPEDECK_NIGHTLY").ok().filter(|_| cfg!(any(debug_assertions, feature = "failpoints")));
    said?.parse::<i64>().ok().filter(|s| (1..=86_400).contains(s)).map(|s| s * 1_000_000)
}

fn now_us() -> i64 {
    i64::try_from(clock::wall_ns() / 1_000).unwrap_or(i64::MAX)
}

/// The next time to compare, after `now_us`.
fn due(now_us: i64) -> i64 {
    Interval::D1.open_of(now_us - AFTER_MIDNIGHT_US) + DAY_US + AFTER_MIDNIGHT_US
}

async fn one_venue(cfg: &Config, config: &VenueConfig, day: i64) -> Result<(), SeriesError> {
    let venue = venue(config.id);
    if !cfg.capture.candles.contains_key(&config.id) || venue.spec.klines.is_none() {
        return Ok(());
    }
    let mut reader = db::open_reader(cfg.klines.database.reveal(), &cfg.capture.data_dir)?;
    let mut client = RetryingClient::new(&cfg.capture, config)?;
    let mut all = super::compare::CompareReport::default();
    for entry in reader.load_registry()?.iter().filter(|e| e.venue == config.id.as_str()) {
        let job = CompareJob {
            venue,
            symbol: &entry.symbol,
            interval: Interval::M1,
            from_us: day,
            to_us: day.saturating_add(DAY_US),
        };
        match compare(reader.as_mut(), &mut client, &job, now_us()).await {
            Ok(report) => {
                all.compared += report.compared;
                all.different += report.different;
                all.left_out += report.left_out;
                all.only_venue += report.only_venue;
                all.only_ours += report.only_ours;
            }
            // A symbol that was delisted must not end the comparison of the others.
            Err(err) => {
                warn!(venue = %config.id, symbol = entry.symbol, error = %error_chain(&err), "candles not compared");
            }
        }
    }
    info!(
        venue = %config.id, compared = all.compared, different = all.different, left_out = all.left_out,
        only_venue = all.only_venue, only_ours = all.only_ours, requests = client.requests,
        "the minutes of yesterday were compared with the venue's"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_night_is_the_next_one_after_now() {
        let minute = 60_000_000;
        assert_eq!(due(0), 40 * minute);
        assert_eq!(due(40 * minute - 1), 40 * minute);
        assert_eq!(due(40 * minute), DAY_US + 40 * minute);
        assert_eq!(due(DAY_US - 1), DAY_US + 40 * minute);
    }
}
