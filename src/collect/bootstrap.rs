//! Whole order books over REST (channel `depth_snapshot`): after a connection with depth streams is subscribed,
//! and again after every reconnect, one snapshot per symbol within the REST weight.
//!
//! Deltas flow meanwhile; putting both together is the reader's work, nothing waits here. What is wanted:
//! [`super::snapshots`]. A symbol is requested until a book came: what is no book, whatever its HTTP status, is none.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::warn;

use super::feed::VenueFeed;
use super::rest::GetError;
use super::snapshots::Waiting;
use ops::backoff::{Backoff, after_refusal, jittered, random};
use ops::health::Reason;
use ops::telemetry::RateLimited;
use venue::DecodeError;

/// Longest pause of a symbol whose request failed. Others are requested meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often the status is looked at while nothing is fetched.
const TELL_EVERY: Duration = Duration::from_secs(10);

static FAILED: RateLimited = RateLimited::new(Duration::from_secs(30));

/// Why there is no book.
#[derive(Debug, thiserror::Error)]
enum BookError {
    /// No answer, or a refusal.
    #[error(transparent)]
    Get(#[from] GetError),
    /// An answer of another kind.
    #[error("read the order book: {0}")]
    NoBook(#[from] DecodeError),
}

/// Fetches what is wanted, one after the other, until the venue is to stop.
pub(super) async fn run(feed: &VenueFeed) {
    let mut backoff = Backoff::default();
    loop {
        let pause = tokio::select! {
            biased;
            () = feed.stop.wait() => return,
            pause = one(feed, &mut backoff) => pause,
        };
        let missing = feed.snapshots.missing(Instant::now());
        feed.metrics.conditions().set(Reason::BooksMissing, feed.id.as_str(), missing);
        if let Some(pause) = pause
            && feed.pause(pause).await
        {
            return;
        }
    }
}

/// One snapshot, if one is due before long; the pause that is due before the next one.
async fn one(feed: &VenueFeed, backoff: &mut Backoff) -> Option<Duration> {
    let mut waiting = timeout(TELL_EVERY, feed.snapshots.next()).await.ok()?;
    match fetch(feed, &waiting.symbol).await {
        Ok(()) => {
            *backoff = Backoff::default();
            None
        }
        Err(err) => {
            waiting.why = err.to_string();
            let refused = matches!(&err, BookError::Get(err) if err.give_up_on_request());
            let own = pause_after(&mut waiting, refused, random());
            if let Some(suppressed) = FAILED.allow() {
                warn!(venue = %feed.id, symbol = waiting.symbol, error = %err, again_s = own.as_secs(), suppressed,
                    "cannot get an order book snapshot");
            }
            feed.snapshots.again(waiting, Instant::now() + own);
            // A refusal of one symbol says nothing about the others.
            (!refused).then(|| backoff.next(&mut random))
        }
    }
}

async fn fetch(feed: &VenueFeed, symbol: &str) -> Result<(), BookError> {
    let Some(request) = feed.venue.rest.snapshot_request(symbol, feed.config.limits.snapshot_levels) else {
        return Ok(());
    };
    let body = feed.get(&request).await?;
    Ok(feed.venue.check_book(&request, &body)?)
}

/// How long a symbol waits after a failure; `random` in 0..1.
fn pause_after(waiting: &mut Waiting, refused: bool, random: f64) -> Duration {
    if refused {
        let pause = after_refusal(waiting.refusals);
        waiting.refusals = waiting.refusals.saturating_add(1);
        return pause;
    }
    waiting.failures = waiting.failures.saturating_add(1);
    jittered(Duration::from_secs(1), PAUSE_MAX, waiting.failures, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_that_is_refused_is_asked_for_ever_more_rarely_and_never_given_up() {
        let mut waiting = Waiting::new("A", Instant::now());
        let pauses: Vec<u64> = (0..20).map(|_| pause_after(&mut waiting, true, 0.0).as_secs()).collect();
        assert_eq!((pauses.get(..3), pauses.last()), (Some(&[60, 480, 3_600][..]), Some(&3_600)));
        let failed: Vec<u64> = (0..9).map(|_| pause_after(&mut waiting, false, 1.0).as_secs()).collect();
        assert_eq!(failed, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
