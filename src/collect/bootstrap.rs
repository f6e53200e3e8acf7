//! Whole order books over REST (channel `depth_snapshot`): after a connection with depth streams is subscribed,
//! and again after every reconnect, one snapshot per symbol within the REST weight.
//!
//! Deltas flow meanwhile; putting both together is the reader's work, nothing waits here. What is wanted:
//! [`super::snapshots`].

use std::time::Duration;

use tracing::warn;

use super::feed::Feed;
use ops::backoff::{Backoff, random};
use ops::telemetry::RateLimited;

/// Tries of one snapshot that the venue refuses (HTTP 4xx) before it is left out until the next reconnect.
const REFUSALS_MAX: u32 = 3;

static FAILED: RateLimited = RateLimited::new(Duration::from_secs(30));

/// Fetches what is wanted, one after the other, until the venue is to stop.
pub(super) async fn run(feed: &Feed) {
    let mut backoff = Backoff::default();
    loop {
        let fetched = tokio::select! {
            biased;
            () = feed.stop.wait() => return,
            fetched = one(feed) => fetched,
        };
        if fetched {
            backoff = Backoff::default();
        } else if feed.pause(backoff.next(&mut random)).await {
            return;
        }
    }
}

/// One snapshot; false when it failed and a pause is due.
async fn one(feed: &Feed) -> bool {
    let (symbol, refusals) = feed.snapshots.next().await;
    let Some(request) = feed.venue.rest.snapshot_request(&symbol, feed.config.limits.snapshot_levels) else {
        return true;
    };
    match feed.get(&request).await {
        Ok(_) => true,
        Err(err) => {
            let retryable = err.is_retryable();
            let refusals = if retryable { refusals } else { refusals + 1 };
            let again = retryable || refusals < REFUSALS_MAX;
            if let Some(suppressed) = FAILED.allow() {
                warn!(venue = %feed.id, symbol, error = %err, again, suppressed, "cannot get an order book snapshot");
            }
            if again {
                feed.snapshots.again(symbol, refusals);
            }
            false
        }
    }
}
