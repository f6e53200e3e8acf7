//! What an exchange speaks: symbols and limits, subscriptions, heartbeat, decode. Sans I/O.
//!
//! One folder per exchange, one file per market. The same file tells the collector what to subscribe and the
//! compactor what a frame means. Nothing in here opens a socket, reads a clock or spawns a task.
#![forbid(unsafe_code)]

pub mod binance;
mod book;
mod frame;
pub mod gap;
mod gate;
#[cfg(test)]
mod hostile;
#[cfg(any(test, fuzzing))]
pub mod hostile_input;
#[cfg(test)]
mod independent;
mod json;
mod klines;
mod kucoin;
mod listing;
pub mod message;
mod plan;
mod protocol;
mod requests;
#[cfg(test)]
mod reviewed;
mod spec;

use model::VenueId;

pub use frame::{Continuity, Control, DecodeError, Frame, FrameKind, Heartbeat, StreamKey};
pub use klines::{KlinePage, KlinesQuery, RejectedKline, RestKlines};
pub use listing::UNKNOWN;
pub use model::{Method, RestRequest};
pub use protocol::{Decode, Rest, Streams, Venue};
pub use requests::{
    ConnectionPlan, Limits, Missing, REQUEST_BYTES_MAX, SubscribeMessage, Token, TokenServer, Verb, Want,
};
pub use spec::{ApiFamily, AtMarket, Documented, Per, VenueSpec};

/// The market of that name.
pub fn venue(id: VenueId) -> &'static Venue {
    match id {
        VenueId::BinanceSpot => &binance::spot::SPOT,
        VenueId::BinanceSpotSbe => &binance::spot_sbe::SPOT_SBE,
        VenueId::BinanceUsdm => &binance::usdm::USDM,
        VenueId::BinanceCoinm => &binance::coinm::COINM,
        VenueId::KucoinSpot => &kucoin::spot::SPOT,
        VenueId::KucoinFutures => &kucoin::futures::FUTURES,
        VenueId::GateSpot => &gate::spot::SPOT,
        VenueId::GateFutures => &gate::futures::FUTURES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_of_any_venue_is_longer_than_servers_read_whatever_the_names_are() {
        for id in VenueId::ALL {
            let venue = venue(*id);
            let symbols = (0..120).map(|n| format!("{n:04}{}_\"\u{5e01}-X", "LONGNAME".repeat(n % 15)));
            let wants: Vec<Want> = symbols
                .flat_map(|symbol| {
                    venue.spec.channels.iter().map(move |c| Want { symbol: symbol.clone(), channel: *c })
                })
                .collect();
            let limits = Limits { streams_per_connection: 400, params_per_subscribe: 400, ..venue.spec.limits.clone() };
            for plan in venue.streams.plan(&wants, &limits) {
                let asked = venue.streams.messages(Verb::Subscribe, &plan.streams, &limits, 1, 1_700_000_000);
                let ended = venue.streams.messages(Verb::Unsubscribe, &plan.streams, &limits, 1, 1_700_000_000);
                for messages in [asked, ended] {
                    assert!(messages.iter().all(|m| m.text.len() <= REQUEST_BYTES_MAX), "{id}");
                    let mut streams: Vec<String> = messages.iter().flat_map(|m| m.streams.clone()).collect();
                    let mut planned = plan.streams.clone();
                    streams.sort();
                    planned.sort();
                    assert_eq!(streams, planned, "{id}: every stream once");
                    for (nth, message) in messages.iter().enumerate() {
                        let rewritten = venue.streams.messages(
                            Verb::Subscribe,
                            &message.streams,
                            &limits,
                            1 + nth as u64,
                            1_700_000_000,
                        );
                        assert_eq!(rewritten.len(), 1, "{id}: rewritten, it is the same message");
                    }
                }
            }
        }
    }

    #[test]
    fn a_venue_found_by_its_name_says_that_name() {
        for id in VenueId::ALL {
            assert_eq!(venue(*id).id(), *id);
        }
    }
}
