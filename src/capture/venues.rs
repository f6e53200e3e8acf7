//! One `[venues.<venue>]` table: names and globs, channels, limits, addresses, proxies, the API key.

use model::{Channel, VenueId};
use serde::{Deserialize, Deserializer};
use settings::value::{Int, refuse, variable};
use settings::{KeyProblem, Problem, Section, Source};
use venue::Limits;

use net::{Proxy, Way};

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
    /// A way out is named for line 1.
    pub(crate) has_second_way: bool,
}

/// The keys of a table; what is left out has the venue's own default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    symbols: Vec<String>,
    channels: Vec<String>,
    lines: Option<Int<1, 2>>,
    #[serde(deserialize_with = "time_of_day")]
    rotate_at: Option<u32>,
    streams_per_connection: Option<Int<1, 1024>>,
    params_per_subscribe: Option<Int<1, 1024>>,
    subscribe_delay_ms: Option<Int<0, 60_000>>,
    global_subscribe_delay_ms: Option<Int<0, 60_000>>,
    connect_stagger_ms: Option<Int<0, 600_000>>,
    connects_per_5_min: Option<Int<1, 100_000>>,
    messages_per_s: Option<Int<1, 1_000>>,
    lifetime_s: Option<Int<60, 86_400>>,
    silence_timeout_s: Option<Int<1, 86_400>>,
    stream_silence_s: Option<Int<1, 86_400>>,
    rest_weight_per_window: Option<Int<1, 1_000_000>>,
    rest_window_s: Option<Int<1, 3_600>>,
    snapshot_levels: Option<Int<5, 5_000>>,
    symbols_refresh_s: Option<Int<10, 86_400>>,
    repair: Option<bool>,
    #[serde(deserialize_with = "url_of_rest")]
    rest_url: Option<String>,
    #[serde(deserialize_with = "url_of_streams")]
    ws_url: Option<String>,
    #[serde(deserialize_with = "variable")]
    api_key_env: Option<String>,
    proxy_url: Way,
    proxy_url_2: Way,
}

impl Section for Table {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let mut wrong = Vec::new();
        if self.symbols.is_empty() {
            wrong.push(KeyProblem::new("symbols", "no symbols", "write names, globs or [\"*\"]"));
        }
        for name in &self.symbols {
            if let Err(err) = globset::Glob::new(name) {
                wrong.push(KeyProblem::new(
                    "symbols",
                    format!("{name:?} is not a name or glob: {err}"),
                    "correct the pattern",
                ));
            }
        }
        wrong
    }
}

/// A venue without a table whose log comes in chunks: everything that is in the log.
pub(crate) fn of_a_source(id: VenueId, general: Option<&Proxy>) -> VenueConfig {
    let v = venue::venue(id).spec;
    VenueConfig {
        id,
        symbols: vec!["*".to_owned()],
        channels: v.channels.to_vec(),
        limits: v.limits.clone(),
        symbols_refresh_s: 3_600,
        repair: true,
        rest_url: v.rest_base.to_owned(),
        ws_url: None,
        lines: 1,
        rotate_at_s: None,
        api_key_env: None,
        proxies: [general.cloned(), general.cloned()],
        has_second_way: false,
    }
}

/// Reads the table of `id`.
pub(crate) fn table(source: &Source, id: VenueId, general: Option<&Proxy>, problems: &mut Vec<Problem>) -> VenueConfig {
    let name = format!("venues.{id}");
    let table: Table = source.section(&name, problems);
    let v = venue::venue(id).spec;
    let mut channels = Vec::new();
    let mut wrong = |what: String, fix: String| problems.push(source.problem(&format!("{name}.channels"), what, fix));
    for word in &table.channels {
        match word.parse::<Channel>() {
            Ok(c) if channels.contains(&c) => {}
            Ok(c) if v.channels.contains(&c) => channels.push(c),
            Ok(c) => {
                let list = v.channels.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
                wrong(format!("{id} has no channel {c}"), format!("use some of {list}"));
            }
            Err(err) => wrong(err.to_string(), format!("did you mean {:?}?", err.nearest)),
        }
    }
    if channels.is_empty() {
        wrong("no channels".into(), "write for example [\"trades\", \"book_ticker\"]".into());
    }
    let mut limits = v.limits.clone();
    macro_rules! limits {
        // The upper bound of every limit fits its type.
        ($($field:ident)*) => {$(if let Some(Int(n)) = table.$field { limits.$field = n as _; })*};
    }
    limits! {
        streams_per_connection params_per_subscribe subscribe_delay_ms global_subscribe_delay_ms connect_stagger_ms
        connects_per_5_min messages_per_s lifetime_s silence_timeout_s stream_silence_s rest_weight_per_window
        rest_window_s snapshot_levels
    }
    let first = table.proxy_url.or(general);
    let second = table.proxy_url_2.or(first.as_ref());
    VenueConfig {
        id,
        symbols: table.symbols,
        channels,
        limits,
        symbols_refresh_s: table.symbols_refresh_s.map_or(3_600, |Int(n)| n),
        repair: table.repair.unwrap_or(true),
        rest_url: table.rest_url.unwrap_or_else(|| v.rest_base.to_owned()),
        ws_url: table.ws_url,
        lines: table.lines.map_or(1, |Int(n)| n as u32),
        rotate_at_s: table.rotate_at,
        api_key_env: table.api_key_env,
        proxies: [first, second],
        has_second_way: !matches!(table.proxy_url_2, Way::General),
    }
}

/// Scheme, host and an optional path, without a slash at the end; `""` = none.
fn url<'de, D: Deserializer<'de>>(d: D, schemes: [&str; 2]) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(d)?;
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        return Ok(None);
    }
    if !schemes.iter().any(|s| text.strip_prefix(s).is_some_and(|rest| !rest.is_empty())) {
        let fix = format!("start it with {}", schemes.join(" or "));
        return Err(refuse(format!("{text:?} is not such a URL"), fix));
    }
    if text.contains('@') {
        return Err(refuse("credentials in this URL would not be sent", "remove user and password"));
    }
    Ok(Some(text.to_owned()))
}

fn url_of_rest<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    url(d, ["https://", "http://"])
}

fn url_of_streams<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    url(d, ["wss://", "ws://"])
}

/// `HH:MM` as seconds since midnight; `""` = none.
fn time_of_day<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    let text = match toml::Value::deserialize(d)? {
        toml::Value::String(text) if text.is_empty() => return Ok(None),
        toml::Value::String(text) => text,
        other => other.to_string(),
    };
    let number = |s: &str, below: u32| (s.len() == 2).then(|| s.parse::<u32>().ok()).flatten().filter(|n| *n < below);
    let time = text.split_once(':').and_then(|(h, m)| Some(number(h, 24)? * 3600 + number(m, 60)? * 60));
    let fix = "write \"04:30\" (UTC), or \"\" for none";
    time.map(Some).ok_or_else(|| refuse(format!("{text:?} is not a time of the day"), fix))
}
