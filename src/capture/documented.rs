//! Limits that no venue takes: beyond what it documents ([`venue::VenueSpec::documented`]), or not to be honoured. Each is
//! an error with the numbers and the value that would pass. Addresses on loopback are taken for a simulator, which documents
//! nothing.

use crate::venues::VenueConfig;
use venue::{Limits, venue};

/// The most weight that a rolling window of `window_s` can see when `weight` may be spent in every `own_s`.
pub(crate) fn seen_in(window_s: u64, weight: u32, own_s: u64) -> u64 {
    u64::from(weight) * window_s.div_ceil(own_s.max(1)).max(1)
}

/// What is beyond the documented limits, and what cannot be honoured: key, what, fix.
pub(crate) fn beyond(v: &VenueConfig) -> Vec<(&'static str, String, String)> {
    let mut out = if is_simulator(v) { Vec::new() } else { beyond_documented(v) };
    let l = &v.limits;
    // The limiter would hold such messages back anyway; a setting that cannot be honoured is a mistake.
    if l.subscribe_delay_ms > 0 && 1_000 / l.subscribe_delay_ms > u64::from(l.messages_per_s) {
        out.push((
            "subscribe_delay_ms",
            format!(
                "{} ms between subscriptions is {} messages in a second, the limit is {}",
                l.subscribe_delay_ms,
                1_000 / l.subscribe_delay_ms,
                l.messages_per_s
            ),
            format!("write at least {}", 1_000_u64.div_ceil(u64::from(l.messages_per_s))),
        ));
    }
    out
}

/// Limits that are more aggressive the higher they are: key, value, unit.
pub(crate) fn at_most(l: &Limits) -> [(&'static str, u64, &'static str); 5] {
    [
        ("streams_per_connection", l.streams_per_connection as u64, "streams on a connection"),
        ("params_per_subscribe", l.params_per_subscribe as u64, "streams in a message"),
        ("messages_per_s", l.messages_per_s.into(), "messages a second on a connection"),
        ("connects_per_5_min", l.connects_per_5_min.into(), "connects in 5 minutes"),
        ("lifetime_s", l.lifetime_s, "s of life"),
    ]
}

fn beyond_documented(v: &VenueConfig) -> Vec<(&'static str, String, String)> {
    let mut out = Vec::new();
    let (d, l) = (&venue(v.id).spec.documented, &v.limits);
    let documented: [Option<u64>; 5] = [
        d.streams_per_connection.map(|n| n as u64),
        d.params_per_subscribe.map(|n| n as u64),
        d.messages.map(|n| n.over(1).into()),
        d.connects.map(|n| n.over(300).into()),
        d.lifetime_s,
    ];
    for ((key, got, unit), most) in at_most(l).into_iter().zip(documented) {
        if let Some(most) = most.filter(|most| got > *most) {
            let what = format!("{got} {unit}, {} documents {most} ({})", v.id, d.source);
            out.push((key, what, format!("write at most {most}")));
        }
    }
    let (weight, window_s) = (d.rest.most, u64::from(d.rest.window_s));
    let seen = seen_in(window_s, l.rest_weight_per_window, l.rest_window_s);
    if seen > u64::from(weight) {
        let fix = u64::from(weight) / window_s.div_ceil(l.rest_window_s.max(1)).max(1);
        out.push((
            "rest_weight_per_window",
            format!(
                "{} in {} s can be a weight of {seen} in {window_s} s, {} documents {weight} ({})",
                l.rest_weight_per_window, l.rest_window_s, v.id, d.source
            ),
            format!("write at most {fix}"),
        ));
    }
    out
}

/// True when REST and WebSocket both lead to this machine.
pub fn is_simulator(v: &VenueConfig) -> bool {
    let local = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        ["127.", "localhost", "[::1]"].iter().any(|p| rest.starts_with(p))
    };
    // Where tokens name the socket's address, REST alone decides who is asked.
    let by_token = || venue(v.id).streams.token_request().is_some();
    local(&v.rest_url) && v.ws_url.as_deref().map_or_else(by_token, local)
}
