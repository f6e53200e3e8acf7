//! Wants to sockets: which streams stand on which one. The same for every exchange, which says what a stream is called
//! and how many a socket takes.

use std::collections::{HashMap, HashSet};

use super::{ConnectionPlan, Want};

/// A stream and the wants it serves.
type Member = (String, Vec<Want>);

/// Splits wants into sockets: one path each, at most `room` streams (and at least one), the streams of a symbol side by
/// side and on one socket where they fit. Paths and symbols keep the order of their first want; a want that comes twice
/// counts once, wants that the same stream serves make one stream. `stream_of`: path and name of the stream, where a want
/// has one.
pub(crate) fn connections(
    wants: &[Want],
    room: usize,
    stream_of: impl Fn(&Want) -> Option<(&'static str, String)>,
) -> Vec<ConnectionPlan> {
    let mut seen = HashSet::new();
    let mut group_of: HashMap<(&'static str, &str), usize> = HashMap::new();
    let mut groups: Vec<(&'static str, Vec<Member>)> = Vec::new();
    for want in wants {
        let Some((path, name)) = stream_of(want).filter(|_| seen.insert(want)) else { continue };
        let group = *group_of.entry((path, &want.symbol)).or_insert_with(|| {
            groups.push((path, Vec::new()));
            groups.len() - 1
        });
        let Some((_, members)) = groups.get_mut(group) else { continue };
        match members.iter_mut().find(|(stream, _)| *stream == name) {
            Some((_, served)) => served.push(want.clone()),
            None => members.push((name, vec![want.clone()])),
        }
    }
    let mut paths: Vec<&str> = Vec::new();
    for (path, _) in &groups {
        if !paths.contains(path) {
            paths.push(path);
        }
    }
    groups.sort_by_key(|(path, _)| paths.iter().position(|p| p == path));
    let mut plans: Vec<ConnectionPlan> = Vec::new();
    for (path, members) in groups {
        // The first of a symbol takes the others along, if a socket can hold them all.
        let mut more = members.len();
        for (name, served) in members {
            if plans.last().is_none_or(|p| p.path_and_query != path || p.streams.len().saturating_add(more) > room) {
                plans.push(ConnectionPlan { path_and_query: path.to_owned(), streams: Vec::new(), wants: Vec::new() });
            }
            if let Some(plan) = plans.last_mut() {
                plan.streams.push(name);
                plan.wants.push(served);
            }
            more = 1;
        }
    }
    plans
}

/// The words of a message and, beside each, the stream it stands for.
type Words<'a> = Vec<(&'a str, &'a str)>;

/// Streams by what their names begin with, in the order of the first of each; `split`: prefix and rest.
pub(crate) fn by_beginning<'a>(
    streams: &'a [String],
    split: impl Fn(&'a str) -> Option<(&'a str, &'a str)>,
) -> Vec<(&'a str, Words<'a>)> {
    let mut all: Vec<(&str, Words<'a>)> = Vec::new();
    for stream in streams {
        let Some((prefix, rest)) = split(stream) else { continue };
        let item = (rest, stream.as_str());
        match all.iter_mut().find(|(other, _)| *other == prefix) {
            Some((_, words)) => words.push(item),
            None => all.push((prefix, vec![item])),
        }
    }
    all
}
