//! Request rates and connection counts that the settings mean for a venue: beyond what is known to be safe
//! ([`venue::VenueSpec::limits`]) is a warning, with the numbers and the value that would pass. A simulator has no limits.

use std::collections::{BTreeMap, BTreeSet};

use crate::capture::Capture;
use crate::documented::{at_most, is_simulator, seen_in};
use crate::venues::VenueConfig;
use model::Channel;
use venue::{Limits, Want, venue};

/// A setting that is valid and unwise, without effect, or incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `section.key`.
    pub key: String,
    /// What is wrong with it, in numbers.
    pub what: String,
    /// What would be better.
    pub fix: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.what, self.fix)
    }
}

impl Capture {
    /// Connections that the configured names make, over all venues and lines (redundant sets of
    /// connections, each by its own proxy or address); roughly.
    pub fn connections_estimate(&self) -> usize {
        self.venues.values().map(|v| estimate(v).0 * v.lines.max(1) as usize).sum()
    }

    /// Settings that are valid and unwise, without effect, or incomplete, venue by venue.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut out = Vec::new();
        let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
        for v in self.venues.values() {
            let key = |k: &str| format!("venues.{}.{k}", v.id);
            let mut warn = |k: &str, what: String, fix: String| out.push(Warning { key: key(k), what, fix });
            let known = venue(v.id);
            if known.spec.needs_api_key() && v.api_key_env.is_none() {
                warn(
                    "api_key_env",
                    "this venue takes no connection without an API key: the collector will not start".to_owned(),
                    "write the name of an environment variable that holds one".to_owned(),
                );
            }
            if v.lines == 1 && v.has_second_way {
                warn(
                    "proxy_url_2",
                    "there is no second line, so nothing goes over it".to_owned(),
                    "write lines = 2, or leave the key out".to_owned(),
                );
            }
            if v.lines == 2 && v.proxies[0].is_some() && v.proxies[0] == v.proxies[1] {
                warn(
                    "proxy_url_2",
                    "both lines go through the same proxy: when it fails, both fail".to_owned(),
                    "give the second line another proxy, or \"direct\"".to_owned(),
                );
            }
            if is_simulator(v) {
                continue;
            }
            above_defaults(v, &known.spec.limits, &mut warn);
            let (connections, streams) = estimate(v);
            let alone = connection_warnings(v, "about ", connections, streams);
            let group = groups.entry(known.spec.pace_group).or_default();
            group.reported |= !alone.is_empty();
            group.members.push((v, connections * v.lines.max(1) as usize));
            for (k, what, fix) in alone {
                warn(k, what, fix);
            }
        }
        out.extend(groups.values().filter_map(Group::too_many));
        out
    }
}

/// Venues of one exchange: they share what an address may do.
#[derive(Default)]
struct Group<'a> {
    /// With their connections over all lines.
    members: Vec<(&'a VenueConfig, usize)>,
    /// One of them is too many alone, which was reported.
    reported: bool,
}

impl Group<'_> {
    /// Each is well alone, together they are too many.
    fn too_many(&self) -> Option<Warning> {
        let (first, _) = self.members.first().filter(|_| self.members.len() > 1 && !self.reported)?;
        let all: usize = self.members.iter().map(|(_, n)| n).sum();
        let at_once = venue(first.id).spec.documented.connections.filter(|most| all > *most);
        let per_5_min = self.members.iter().map(|(v, _)| v.limits.connects_per_5_min as usize).min()?;
        let limit = match at_once {
            Some(most) => format!("the exchange documents {most} at the same time per address"),
            None if all > per_5_min => {
                format!("{per_5_min} may be opened in 5 minutes, at the start and after a disconnect")
            }
            None => return None,
        };
        let names = self.members.iter().map(|(v, _)| v.id.as_str()).collect::<Vec<_>>().join(" and ");
        Some(Warning {
            key: format!("venues.{}", first.id),
            what: format!("{names} share their exchange's limits and make about {all} connections together; {limit}"),
            fix: "record fewer symbols or channels, raise streams_per_connection, or write lines = 1".to_owned(),
        })
    }
}

/// Settings more aggressive than a default.
fn above_defaults(v: &VenueConfig, safe: &Limits, warn: &mut impl FnMut(&str, String, String)) {
    let l = &v.limits;
    let mut more = |k: &str, got: u64, safe: u64, unit: &str| {
        if got > safe {
            warn(k, format!("{got} {unit}, {safe} is known to be safe on {}", v.id), format!("write {safe} or less"));
        }
    };
    for ((key, got, unit), (_, safe, _)) in at_most(l).into_iter().zip(at_most(safe)) {
        more(key, got, safe, unit);
    }
    let seen = seen_in(safe.rest_window_s, l.rest_weight_per_window, l.rest_window_s);
    more(
        "rest_weight_per_window",
        seen,
        safe.rest_weight_per_window.into(),
        &format!("of REST weight in {} s", safe.rest_window_s),
    );
    let mut less = |k: &str, got: u64, safe: u64, between: &str| {
        if got < safe {
            warn(
                k,
                format!("{got} ms between {between}, {safe} ms is known to be safe on {}", v.id),
                format!("write {safe} or more"),
            );
        }
    };
    less("subscribe_delay_ms", l.subscribe_delay_ms, safe.subscribe_delay_ms, "two messages of a connection");
    less(
        "global_subscribe_delay_ms",
        l.global_subscribe_delay_ms,
        safe.global_subscribe_delay_ms,
        "two messages over all connections",
    );
    less("connect_stagger_ms", l.connect_stagger_ms, safe.connect_stagger_ms, "two connection starts");
}

/// What `connections` (of one line) with `streams` mean for a venue: all are opened at the start, and again whenever
/// everything is disconnected. `about` comes before the numbers: empty when they are exact. Key, what, fix.
pub fn connection_warnings(
    v: &VenueConfig,
    about: &str,
    connections: usize,
    streams: usize,
) -> Vec<(&'static str, String, String)> {
    let mut out = Vec::new();
    if is_simulator(v) {
        return out;
    }
    let lines = v.lines.max(1) as usize;
    let all = connections * lines;
    let d = &venue(v.id).spec.documented;
    let over = if lines > 1 { format!(" over {lines} lines") } else { String::new() };
    let made_of = format!("{about}{streams} streams{over} make {all} connections");
    if let Some(most) = d.connections.filter(|most| all > *most) {
        out.push((
            if lines > 1 { "lines" } else { "streams_per_connection" },
            format!("{made_of}, {} documents {most} at the same time per address", v.id),
            "record fewer symbols or channels, raise streams_per_connection, or write lines = 1".to_owned(),
        ));
    }
    let per_5_min = v.limits.connects_per_5_min as usize;
    if all > per_5_min {
        let minutes = (all.div_ceil(per_5_min.max(1)) - 1) * 5;
        out.push((
            if lines > 1 { "lines" } else { "connects_per_5_min" },
            format!("{made_of}, and {per_5_min} may be opened in 5 minutes: a start, and the return after a disconnect, takes more than {minutes} minutes"),
            "record fewer symbols or channels, raise streams_per_connection, or write lines = 1".to_owned(),
        ));
    }
    out
}

/// Connections of one line, and streams, that the configured names make. A pattern counts as one symbol, `*` as
/// all that trade; the collector says the real numbers once it has the listing.
fn estimate(v: &VenueConfig) -> (usize, usize) {
    let known = venue(v.id);
    let mut symbols: BTreeSet<String> = v.symbols.iter().filter(|s| *s != "*").cloned().collect();
    if v.symbols.iter().any(|s| s == "*") {
        symbols.extend((0..known.spec.symbols).map(|i| format!("S{i}USDT")));
    }
    let wants: Vec<Want> = symbols
        .iter()
        .flat_map(|s| v.channels.iter().map(|c| Want { symbol: s.clone(), channel: *c }))
        .filter(|w| w.channel != Channel::DepthSnapshot)
        .collect();
    let plans = known.streams.plan(&wants, &v.limits);
    (plans.len(), plans.iter().map(|p| p.streams.len()).sum())
}

/// Symbols that the configured names are, roughly: a pattern that begins with a star is half of what trades.
pub fn symbols_estimate(v: &VenueConfig) -> usize {
    let of = |symbol: &String| match symbol.as_str() {
        "*" => venue(v.id).spec.symbols,
        s if s.starts_with('*') => venue(v.id).spec.symbols / 2,
        s if s.contains(['*', '?', '[', '{']) => 10,
        _ => 1,
    };
    v.symbols.iter().map(of).sum::<usize>().min(venue(v.id).spec.symbols)
}
