//! Sockets and their streams, and the messages that subscribe them.

use super::super::{ConnectionPlan, Limits, Streams, SubscribeMessage, Verb, Want, message, plan};
use super::market::Market;
use super::stream::Stream;
use super::{coinm, spot, usdm};
use model::Channel;

/// Streams the server takes on one socket, whatever the configuration says.
const MAX_STREAMS: usize = 1024;

impl Streams for Market {
    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        connections(
            wants,
            limits,
            match self {
                Self::Spot => spot::stream,
                Self::Usdm => usdm::stream,
                Self::Coinm => coinm::stream,
            },
        )
    }

    fn messages(
        &self,
        verb: Verb,
        streams: &[String],
        limits: &Limits,
        first_id: u64,
        _now_s: i64,
    ) -> Vec<SubscribeMessage> {
        requests(verb, streams, limits, first_id)
    }

    fn other_path(&self, path: &str) -> Option<&'static str> {
        match self {
            Self::Spot | Self::Coinm => None,
            Self::Usdm => usdm::PATHS.into_iter().find(|other| usdm::PATHS.contains(&path) && *other != path),
        }
    }
}

/// Sockets of at most `streams_per_connection` streams.
pub(super) fn connections(
    wants: &[Want],
    limits: &Limits,
    stream_of: fn(Channel) -> Option<Stream>,
) -> Vec<ConnectionPlan> {
    let room = limits.streams_per_connection.clamp(1, MAX_STREAMS);
    plan::connections(wants, room, |want| {
        let stream = stream_of(want.channel)?;
        Some((stream.path, stream_name(&want.symbol, stream.suffix)))
    })
}

/// The stream of a symbol: Binance lower-cases the whole symbol, which leaves scripts without case as they are.
fn stream_name(symbol: &str, suffix: &str) -> String {
    let mut name = symbol.to_lowercase();
    name.push_str(suffix);
    name
}

/// `SUBSCRIBE` (or `UNSUBSCRIBE`) messages of at most `params_per_subscribe` streams.
pub(super) fn requests(verb: Verb, streams: &[String], limits: &Limits, mut first_id: u64) -> Vec<SubscribeMessage> {
    let items: Vec<(&str, &str)> = streams.iter().map(|s| (s.as_str(), s.as_str())).collect();
    let method = verb.as_str().to_ascii_uppercase();
    message::subscribe_messages(&items, limits.params_per_subscribe, &mut first_id, |params, id| {
        // The keys are in the order of the documentation.
        let params = serde_json::Value::from(params.to_vec());
        format!(r#"{{"method":"{method}","params":{params},"id":{id}}}"#)
    })
}
