//! Where values come from: the shipped file, the user's file, the environment. Keys only, no meaning.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use toml::{Table, Value};

use super::problem::Problem;
use super::secret::{redact, redact_line};
use model::VenueId;

/// The shipped file, which is the default.
pub const DEFAULT_TOML: &str = include_str!("../../config/tapedeck.toml");

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The shipped file.
    Default,
    /// The user's file.
    File(String),
    /// An environment variable.
    Env(String),
}

impl Origin {
    /// True for a value nobody set.
    pub fn is_default(&self) -> bool {
        *self == Origin::Default
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(p) => write!(f, "{p}"),
            Origin::Env(v) => write!(f, "environment variable {v}"),
        }
    }
}

/// Keys a `[venues.*]` table may have. Their defaults are the venue's own limits.
pub(super) const VENUE_KEYS: &[&str] = &[
    "symbols",
    "channels",
    "lines",
    "rotate_at",
    "streams_per_connection",
    "params_per_subscribe",
    "subscribe_delay_ms",
    "global_subscribe_delay_ms",
    "connect_stagger_ms",
    "connects_per_5_min",
    "messages_per_s",
    "lifetime_s",
    "silence_timeout_s",
    "stream_silence_s",
    "rest_weight_per_window",
    "rest_window_s",
    "snapshot_levels",
    "symbols_refresh_s",
    "repair",
    "rest_url",
    "ws_url",
    "api_key_env",
    "proxy_url",
    "proxy_url_2",
];

/// True for keys whose value may hold a secret, rightly or by mistake.
pub(super) fn may_be_secret(path: &str) -> bool {
    let words = ["url", "database", "manifest", "token", "key", "credentials"];
    path.rsplit('.').next().is_some_and(|key| words.iter().any(|word| key.contains(word)))
}

/// All values by `section.key` (venues: `venues.<venue>.key`).
pub(super) struct Source {
    values: BTreeMap<String, (Value, Origin)>,
    /// Keys in the order of the shipped file, then venues in the order they were met.
    order: Vec<String>,
    sections: BTreeMap<String, Vec<String>>,
}

impl Source {
    /// The shipped file alone.
    pub(super) fn defaults() -> Source {
        let table: Table = DEFAULT_TOML.parse().expect("the shipped configuration parses (tested)");
        let mut s = Source { values: BTreeMap::new(), order: Vec::new(), sections: BTreeMap::new() };
        for (section, keys) in table {
            let Value::Table(keys) = keys else { continue };
            let names = s.sections.entry(section.clone()).or_default();
            for (key, value) in keys {
                names.push(key.clone());
                let path = format!("{section}.{key}");
                s.order.push(path.clone());
                s.values.insert(path, (value, Origin::Default));
            }
        }
        s
    }

    /// The value of `section.key` and where it came from.
    pub(super) fn get(&self, path: &str) -> Option<&(Value, Origin)> {
        self.values.get(path)
    }

    /// Where a value came from, for messages.
    pub(super) fn origin(&self, path: &str) -> String {
        self.values.get(path).map_or_else(|| "default".to_owned(), |(_, o)| o.to_string())
    }

    /// Names of the venue tables that were given.
    pub(super) fn venues(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for path in &self.order {
            if let Some(name) = path.strip_prefix("venues.").and_then(|p| p.split('.').next())
                && !names.iter().any(|n| n == name)
            {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Every key with its value, without secrets, and its origin, in order.
    pub(super) fn effective(&self) -> Vec<(String, String, Origin)> {
        let shown = |k: &str, v: &Value| match v {
            Value::String(text) if may_be_secret(k) => Value::String(redact(text)).to_string(),
            other => other.to_string(),
        };
        self.order.iter().filter_map(|k| self.values.get(k).map(|(v, o)| (k.clone(), shown(k, v), o.clone()))).collect()
    }

    /// A number by key that another value does not have; it tells nothing of the value itself.
    pub(super) fn fingerprints(&self) -> BTreeMap<String, u64> {
        let of = |v: &Value| {
            let mut hasher = DefaultHasher::new();
            v.to_string().hash(&mut hasher);
            hasher.finish()
        };
        self.values.iter().map(|(key, (value, _))| (key.clone(), of(value))).collect()
    }

    pub(super) fn overlay_file(&mut self, path: &Path, text: &str, problems: &mut Vec<Problem>) {
        let origin = path.display().to_string();
        let table: Table = match text.parse() {
            Ok(t) => t,
            Err(err) => {
                let err: toml::de::Error = err;
                problems.push(Problem {
                    key: "file".into(),
                    origin,
                    // The error shows the line, and the line may be that of a proxy or of a database.
                    what: format!(
                        "is not valid TOML: {}",
                        err.to_string().trim_end().lines().map(redact_line).collect::<Vec<_>>().join("\n    ")
                    ),
                    fix: "correct that line".into(),
                });
                return;
            }
        };
        for (section, value) in table {
            let Value::Table(keys) = value else {
                problems.push(self.unknown(&section, &origin));
                continue;
            };
            if section == "venues" {
                for (venue, keys) in keys {
                    match keys {
                        Value::Table(keys) => {
                            for (key, value) in keys {
                                self.set(
                                    format!("venues.{venue}.{key}"),
                                    value,
                                    Origin::File(origin.clone()),
                                    problems,
                                );
                            }
                        }
                        _ => problems.push(Problem {
                            key: format!("venues.{venue}"),
                            origin: origin.clone(),
                            what: "is not a table".into(),
                            fix: format!("write it as [venues.{venue}] with keys below it"),
                        }),
                    }
                }
            } else if self.sections.contains_key(&section) {
                for (key, value) in keys {
                    self.set(format!("{section}.{key}"), value, Origin::File(origin.clone()), problems);
                }
            } else {
                problems.push(self.unknown(&section, &origin));
            }
        }
    }

    pub(super) fn overlay_env(&mut self, env: impl IntoIterator<Item = (String, String)>, problems: &mut Vec<Problem>) {
        let mut vars: Vec<(String, String)> = env.into_iter().filter(|(k, _)| k.starts_with("TAPEDECK__")).collect();
        vars.sort();
        for (name, text) in vars {
            let parts: Vec<String> = name.split("__").skip(1).map(str::to_lowercase).collect();
            let path = match parts.as_slice() {
                [section, key] => format!("{section}.{key}"),
                [venues, venue, key] if venues == "venues" => format!("venues.{}.{key}", venue.replace('_', "-")),
                _ => name.clone(),
            };
            // A bare word is a string; anything that parses as a TOML value is that value.
            let value = format!("v = {text}")
                .parse::<Table>()
                .ok()
                .and_then(|mut t| t.remove("v"))
                .unwrap_or(Value::String(text));
            self.set(path, value, Origin::Env(name), problems);
        }
    }

    fn set(&mut self, path: String, value: Value, origin: Origin, problems: &mut Vec<Problem>) {
        let (section, key) = path.rsplit_once('.').unwrap_or(("", &path));
        if let Some(venue) = section.strip_prefix("venues.") {
            if let Err(err) = venue.parse::<VenueId>() {
                let problem = Problem {
                    key: format!("venues.{venue}"),
                    origin: origin.to_string(),
                    what: format!("unknown venue {venue:?}"),
                    fix: format!("did you mean {:?}? known venues: {}", err.nearest, err.known),
                };
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
                return;
            }
            if !VENUE_KEYS.contains(&key) {
                problems.push(unknown_key(&path, &origin.to_string(), key, VENUE_KEYS.iter().copied()));
                return;
            }
        } else {
            match self.sections.get(section) {
                Some(keys) if keys.iter().any(|k| k == key) => {}
                Some(keys) => {
                    problems.push(unknown_key(&path, &origin.to_string(), key, keys.iter().map(String::as_str)));
                    return;
                }
                None => {
                    problems.push(self.unknown(&path, &origin.to_string()));
                    return;
                }
            }
        }
        if !self.values.contains_key(&path) {
            self.order.push(path.clone());
        }
        self.values.insert(path, (value, origin));
    }

    fn unknown(&self, section: &str, origin: &str) -> Problem {
        let names: Vec<&str> = self.sections.keys().map(String::as_str).chain(["venues"]).collect();
        unknown_key(section, origin, section, names.into_iter())
    }
}

fn unknown_key<'a>(path: &str, origin: &str, key: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let nearest = known.min_by_key(|k| strsim::levenshtein(k, key)).unwrap_or_default();
    Problem {
        key: path.to_owned(),
        origin: origin.to_owned(),
        what: "unknown key".into(),
        fix: if nearest.is_empty() {
            "remove it: this section has no keys in this version".into()
        } else {
            format!("did you mean {nearest:?}?")
        },
    }
}
