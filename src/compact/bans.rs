//! Bans of an exchange against repairs, seeds or the nightly comparison: what waits for their end is in no log, so they
//! are in the status.

use std::sync::Arc;
use std::time::Duration;

use capture::Capture;
use net::budget;
use ops::health::Conditions;
use ops::shutdown::Shutdown;

/// Looks until `shutdown`. All of it goes the way of the first line.
pub async fn watch(cfg: Arc<Capture>, conditions: Conditions, shutdown: Shutdown) {
    let budgets: Vec<_> = cfg.venues.values().map(|venue| (venue.id, budget::of(&cfg.exchange(venue), 0))).collect();
    loop {
        for (venue, budget) in &budgets {
            conditions.banned(venue.as_str(), budget.banned());
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::CompactorStatus;
    use model::VenueId;
    use net::budget::Class;
    use net::{dial, rest::RestClient};
    use ops::exposition;
    use ops::health::Reason;
    use venue::venue;

    /// Seen in the wild: a repair got a 418 at night, and only a log line showed it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_ban_of_a_repair_is_in_the_compactors_status_as_long_as_it_lasts() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut tcp, _) = server.accept().await.unwrap();
            let _ = tcp.read(&mut [0; 4_096]).await;
            let teapot = "HTTP/1.1 418 I'm a teapot\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
            let _ = tcp.write_all(teapot.as_bytes()).await;
        });
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[data]\ndir = {:?}\n[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\nrest_url = \"http://{at}\"\nws_url = \"ws://{at}\"\n",
            dir.path().display().to_string(),
        );
        let cfg = Arc::new(settings::from_text(&text, Capture::read).unwrap());
        let (status, shutdown) = (Arc::new(CompactorStatus::default()), Shutdown::new());
        let watching = tokio::spawn(watch(cfg.clone(), status.conditions().clone(), shutdown.clone()));
        let tls = dial::tls_config(&[]).unwrap();
        let rest = RestClient::new(&cfg.exchange(&cfg.venues[&VenueId::BinanceSpot]), &tls, Class::Background);
        assert!(rest.ask(&venue(VenueId::BinanceSpot).rest.listing_request()).await.is_err());
        drop(rest);
        let banned = || status.snapshot().conditions.iter().any(|c| c.reason == Reason::Banned && !c.red);
        let until = async |is: bool| {
            // Ten minutes, for a busy machine.
            for _ in 0..30_000 {
                if banned() == is {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("never {is}");
        };
        until(true).await;
        let shown = status.conditions().text(Reason::Banned, "binance-spot").unwrap();
        assert!(shown.contains("418") && shown.contains("until"), "{shown}");
        assert!(
            status.problems().is_empty()
                && exposition::text(|out| status.expose(out)).contains("conditions{reason=\"banned\"} 1\n")
        );
        until(false).await;
        shutdown.trigger();
        watching.await.unwrap();
    }
}
