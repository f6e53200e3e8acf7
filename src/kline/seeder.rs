//! Requests seeds of bars from one venue, beside the feed: a thread of its own, one symbol after the other,
//! paced, and as patient as the venue is out of order. Knows neither the log nor the candles.
//!
//! ```text
//!  consumer --SeedRequest--> seeder --REST--> venue   one thread per venue that gives seeds
//!           <-SeedAnswer---           (fails: again later, the others meanwhile)
//! ```
//! What is wanted is in the feed's own state and not here: after a restart the consumer requests it again.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;
use tracing::{info, warn};

use super::client::RetryingClient;
use super::request_error::RequestError;
use super::seed::{self, First};
use capture::{Capture, VenueConfig};
use model::Channel;
use model::interval::Interval;
use model::kline::KlineData;
use model::unit::Unit;
use ops::shutdown::Shutdown;
use venue::Venue;
use wal_format::error_chain;

/// A request that fails is repeated for this long before other symbols have their turn.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(1_800);
/// Tries of one symbol, over about half a day; the next start of the service tries again.
const TRIES_MAX: u32 = 30;

/// A symbol whose first bars lack a seed.
pub(super) struct SeedRequest {
    /// The venue's own spelling.
    pub symbol: String,
    /// The first recorded row.
    pub first: First,
    /// What its amounts are worth.
    pub unit: Unit,
    /// Where the answer goes; closed when nobody waits any more.
    pub reply: UnboundedSender<SeedAnswer>,
}

/// What the venue gave.
pub(super) struct SeedAnswer {
    /// As in the want.
    pub symbol: String,
    /// As in the want.
    pub first: First,
    /// See [`seed::seeds`].
    pub seeds: Vec<(Interval, KlineData)>,
}

/// A want and when it is tried.
struct Due {
    at: Instant,
    tries: u32,
    want: SeedRequest,
}

/// Works until `ended` or until nobody can want anything any more.
///
/// # Errors
/// When requests cannot be set up at all.
pub(super) fn run(
    cfg: &Capture,
    config: &VenueConfig,
    venue: &'static Venue,
    source: Channel,
    wants: &mut UnboundedReceiver<SeedRequest>,
    ended: &Shutdown,
) -> Result<(), RequestError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RequestError::Runtime)?;
    runtime.block_on(async {
        let mut client = RetryingClient::new(cfg, config)?.patient(PATIENCE);
        let mut due: Vec<Due> = Vec::new();
        loop {
            due.retain(|d| !d.want.reply.is_closed());
            let next = due.iter().enumerate().min_by_key(|(_, d)| d.at).map(|(i, d)| (i, d.at));
            let ready = async {
                match next {
                    Some((i, at)) => {
                        tokio::time::sleep_until(at).await;
                        i
                    }
                    None => std::future::pending().await,
                }
            };
            let chosen = tokio::select! {
                biased;
                () = ended.wait() => return Ok(()),
                want = wants.recv() => match want {
                    Some(want) => {
                        due.push(Due { at: Instant::now(), tries: 0, want });
                        continue;
                    }
                    None => return Ok(()),
                },
                i = ready => i,
            };
            let Due { tries, want, .. } = due.swap_remove(chosen);
            let found = tokio::select! {
                biased;
                () = ended.wait() => return Ok(()),
                found = seed::seeds(&mut client, venue, source, &want.symbol, &want.first, want.unit) => found,
            };
            match found {
                Ok(seeds) => {
                    info!(venue = %config.id, symbol = want.symbol, intervals = seeds.len(), "the first bars are seeded");
                    let SeedRequest { symbol, first, reply, .. } = want;
                    // Nobody listens only when the feed restarted: it requests again.
                    let _ = reply.send(SeedAnswer { symbol, first, seeds });
                }
                Err(err) => {
                    let error = error_chain(&err);
                    let tries = tries + 1;
                    if tries >= TRIES_MAX {
                        warn!(venue = %config.id, symbol = want.symbol, error, "the first bars stay marked until the next start");
                        continue;
                    }
                    let wait = RETRY_FIRST.saturating_mul(1 << (tries - 1).min(20)).min(RETRY_MAX);
                    warn!(
                        venue = %config.id, symbol = want.symbol, error, wait_s = wait.as_secs(),
                        "the seeds of the first bars are requested again"
                    );
                    due.push(Due { at: Instant::now() + wait, tries, want });
                }
            }
        }
    })
}
