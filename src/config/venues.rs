//! One `[venues.<venue>]` table: names and globs, channels, limits, addresses, proxies, the API key.

use toml::Value;

use super::network;
use super::proxy::Proxy;
use super::reader::Reader;
use model::{Channel, VenueId};
use venue::Limits;

/// One `[venues.<venue>]` table.
#[derive(Clone, Debug)]
pub struct VenueConfig {
    /// Which venue.
    pub id: VenueId,
    /// Exact names and globs.
    pub symbols: Vec<String>,
    /// Channels to record.
    pub channels: Vec<Channel>,
    /// The venue's limits with the configured overrides.
    pub limits: Limits,
    /// Listing refresh, s.
    pub symbols_refresh_s: u64,
    /// Missing trades are fetched over REST where the venue can.
    pub repair: bool,
    /// REST base: the venue's own unless set; no slash at the end.
    pub rest_url: String,
    /// WebSocket base where one is set; no slash at the end. `None` = the token's endpoint or the venue's own.
    pub ws_url: Option<String>,
    /// Connections per planned connection, 1 or 2; with 2 the same streams come twice, over different addresses.
    pub lines: u32,
    /// Every connection is replaced at this time of the day, s since midnight UTC.
    pub rotate_at_s: Option<u32>,
    /// Environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The proxy of line 0 and of line 1; `None` = direct. `[proxy]` and the venue's own keys are settled here.
    pub proxies: [Option<Proxy>; 2],
}

/// Reads the table.
pub(super) fn table(r: &mut Reader<'_>, id: VenueId, proxy: Option<&Proxy>) -> Option<VenueConfig> {
    let key = |k: &str| format!("venues.{id}.{k}");
    let v = venue::venue(id).spec;
    let has = |r: &Reader<'_>, k: &str| r.source.get(&key(k)).is_some();
    let symbols = r.texts(&key("symbols"));
    if symbols.is_empty() {
        r.problem(&key("symbols"), "no symbols".into(), "write names, globs or [\"*\"]".into());
    }
    for s in &symbols {
        if let Err(err) = globset::Glob::new(s) {
            r.problem(&key("symbols"), format!("{s:?} is not a name or glob: {err}"), "correct the pattern".into());
        }
    }
    let mut channels = Vec::new();
    for word in r.texts(&key("channels")) {
        match word.parse::<Channel>() {
            Ok(c) if v.channels.contains(&c) => {
                if !channels.contains(&c) {
                    channels.push(c);
                }
            }
            Ok(c) => {
                let list = v.channels.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
                r.problem(&key("channels"), format!("{id} has no channel {c}"), format!("use some of {list}"));
            }
            Err(err) => r.problem(&key("channels"), err.to_string(), format!("did you mean {:?}?", err.nearest)),
        }
    }
    if channels.is_empty() {
        r.problem(&key("channels"), "no channels".into(), "write for example [\"trades\", \"book_ticker\"]".into());
    }
    let mut l = v.limits.clone();
    macro_rules! limit {
        ($($field:ident: $min:expr, $max:expr;)*) => {$(
            if has(r, stringify!($field)) {
                // The upper bound of every limit fits its type.
                l.$field = r.int(&key(stringify!($field)), $min, $max) as _;
            }
        )*};
    }
    limit! {
        streams_per_connection: 1, 1024;
        params_per_subscribe: 1, 1024;
        subscribe_delay_ms: 0, 60_000;
        global_subscribe_delay_ms: 0, 60_000;
        connect_stagger_ms: 0, 600_000;
        connects_per_5_min: 1, 100_000;
        messages_per_s: 1, 1_000;
        lifetime_s: 60, 86_400;
        silence_timeout_s: 1, 86_400;
        stream_silence_s: 1, 86_400;
        rest_weight_per_window: 1, 1_000_000;
        rest_window_s: 1, 3_600;
        snapshot_levels: 5, 5_000;
    }
    let lines = if has(r, "lines") { u32::try_from(r.int(&key("lines"), 1, 2)).unwrap_or(1) } else { 1 };
    let rotate_at_s = if has(r, "rotate_at") { time_of_day(r, &key("rotate_at")) } else { None };
    let url = |r: &mut Reader<'_>, k: &str, schemes: [&str; 2]| {
        let text = if has(r, k) { r.text(&key(k)) } else { String::new() };
        let text = text.trim_end_matches('/').to_owned();
        if text.is_empty() {
            return None;
        }
        if !schemes.iter().any(|s| text.strip_prefix(s).is_some_and(|rest| !rest.is_empty())) {
            r.problem(
                &key(k),
                format!("{text:?} is not such a URL"),
                format!("start it with {} or {}", schemes[0], schemes[1]),
            );
        } else if text.contains('@') {
            r.problem(&key(k), "credentials in this URL would not be sent".into(), "remove user and password".into());
        }
        Some(text)
    };
    let rest_url = url(r, "rest_url", ["https://", "http://"]).unwrap_or_else(|| v.rest_base.to_owned());
    let ws_url = url(r, "ws_url", ["wss://", "ws://"]);
    let api_key_env = if has(r, "api_key_env") { r.variable(&key("api_key_env")) } else { None };
    let proxies = network::venue_proxies(r, &format!("venues.{id}"), proxy);
    let symbols_refresh_s =
        if has(r, "symbols_refresh_s") { r.int(&key("symbols_refresh_s"), 10, 86_400) } else { 3_600 };
    let repair = !has(r, "repair") || r.yes(&key("repair"));
    Some(VenueConfig {
        id,
        symbols,
        channels,
        limits: l,
        symbols_refresh_s,
        repair,
        rest_url,
        ws_url,
        lines,
        rotate_at_s,
        api_key_env,
        proxies,
    })
}

/// `HH:MM` as seconds since midnight; `""` = none.
fn time_of_day(r: &mut Reader<'_>, key: &str) -> Option<u32> {
    let text = match r.source.get(key).map(|(v, _)| v.clone()) {
        Some(Value::String(s)) => s,
        Some(other) => other.to_string(),
        None => return None,
    };
    if text.is_empty() {
        return None;
    }
    let number = |s: &str, below: u32| (s.len() == 2).then(|| s.parse::<u32>().ok()).flatten().filter(|n| *n < below);
    let time = text.split_once(':').and_then(|(h, m)| Some(number(h, 24)? * 3600 + number(m, 60)? * 60));
    if time.is_none() {
        r.problem(key, format!("{text:?} is not a time of the day"), "write \"04:30\" (UTC), or \"\" for none".into());
    }
    time
}
