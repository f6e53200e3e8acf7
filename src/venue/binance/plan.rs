//! Sockets and their streams, and the messages that subscribe them.

use std::collections::{HashMap, HashSet};

use super::super::{ConnectionPlan, Limits, Streams, SubscribeMessage, Verb, Want, message};
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

/// Splits wants into sockets: one path each, at most `streams_per_connection` streams, the streams of a symbol
/// side by side and on one socket where they fit. Symbols keep the order of their first want; a want that comes
/// twice counts once.
pub(super) fn connections(
    wants: &[Want],
    limits: &Limits,
    stream_of: fn(Channel) -> Option<Stream>,
) -> Vec<ConnectionPlan> {
    let room = limits.streams_per_connection.clamp(1, MAX_STREAMS);
    let mut group_of: HashMap<(&'static str, &str), usize> = HashMap::new();
    let mut groups: Vec<(&'static str, Vec<(String, Want)>)> = Vec::new();
    let mut paths: Vec<&'static str> = Vec::new();
    let mut seen = HashSet::new();
    for want in wants {
        let Some(stream) = stream_of(want.channel) else {
            continue;
        };
        if !seen.insert(want) {
            continue;
        }
        if !paths.contains(&stream.path) {
            paths.push(stream.path);
        }
        let group = *group_of.entry((stream.path, &want.symbol)).or_insert_with(|| {
            groups.push((stream.path, Vec::new()));
            groups.len() - 1
        });
        let name = stream_name(&want.symbol, stream.suffix);
        if let Some((_, members)) = groups.get_mut(group) {
            members.push((name, want.clone()));
        }
    }
    let mut plans: Vec<ConnectionPlan> = Vec::new();
    for path in paths {
        let mut open = false;
        for (_, members) in groups.iter().filter(|(p, _)| *p == path) {
            let left = room - plans.last().map_or(0, |p| p.streams.len()).min(room);
            open &= members.len() <= left;
            for (name, want) in members {
                if plans.last().is_none_or(|p| p.streams.len() >= room) {
                    open = false;
                }
                if !open {
                    plans.push(ConnectionPlan {
                        path_and_query: path.to_owned(),
                        streams: Vec::new(),
                        wants: Vec::new(),
                    });
                    open = true;
                }
                if let Some(plan) = plans.last_mut() {
                    plan.streams.push(name.clone());
                    plan.wants.push(vec![want.clone()]);
                }
            }
        }
    }
    plans
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
        // The keys stand in the order of the documentation.
        let params = serde_json::Value::from(params.to_vec());
        format!(r#"{{"method":"{method}","params":{params},"id":{id}}}"#)
    })
}
