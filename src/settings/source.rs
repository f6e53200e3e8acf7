//! Where values come from: the shipped file, the user's file, the environment. Keys only, no meaning.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use model::VenueId;
use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Table, Value};

use crate::problem::{ConfigErrors, Problem};
use crate::secret::{redact, redact_line};

/// The shipped file, which is the default.
pub const DEFAULT_TOML: &str = include_str!("../../config/tapedeck.toml");

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The shipped file.
    Default,
    /// The user's file, and the line in it.
    File(String, usize),
    /// An environment variable.
    Env(String),
}

impl Origin {
    /// True for a default.
    pub fn is_default(&self) -> bool {
        *self == Origin::Default
    }

    /// Where to look, to the line.
    fn place(&self) -> String {
        match self {
            Origin::File(path, line) => format!("{path}, line {line}"),
            other => other.to_string(),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, _) => f.write_str(path),
            Origin::Env(v) => write!(f, "environment variable {v}"),
        }
    }
}

/// True for keys whose value may hold a secret, rightly or by mistake.
pub(crate) fn may_be_secret(path: &str) -> bool {
    let words = ["url", "database", "manifest", "token", "key", "credentials"];
    path.rsplit('.').next().is_some_and(|key| words.iter().any(|word| key.contains(word)))
}

/// Sections with a table for each venue.
const BY_VENUE: [&str; 2] = ["venues", "source"];

/// All values by `section.key` (by venue: `venues.<venue>.key`).
pub struct Source {
    values: BTreeMap<String, (Value, Origin)>,
    /// Keys in the order of the shipped file, then venues in the order they were met.
    order: Vec<String>,
    /// The values of the shipped file.
    shipped: BTreeMap<String, Value>,
    sections: Vec<String>,
}

impl Source {
    /// The shipped file alone.
    ///
    /// # Panics
    /// Never: a test reads that file.
    pub fn shipped_file() -> Source {
        let table: Table = DEFAULT_TOML.parse().expect("the shipped configuration parses (tested)");
        let mut s =
            Source { values: BTreeMap::new(), order: Vec::new(), shipped: BTreeMap::new(), sections: Vec::new() };
        for (section, keys) in table {
            let Value::Table(keys) = keys else { continue };
            for (key, value) in keys {
                let path = format!("{section}.{key}");
                s.order.push(path.clone());
                s.shipped.insert(path.clone(), value.clone());
                s.values.insert(path, (value, Origin::Default));
            }
            s.sections.push(section);
        }
        s
    }

    /// The value of `section.key` and where it came from.
    pub fn get(&self, path: &str) -> Option<&(Value, Origin)> {
        self.values.get(path)
    }

    /// The shipped value of `section.key`.
    pub(crate) fn shipped(&self, path: &str) -> Option<&Value> {
        self.shipped.get(path)
    }

    /// The keys of a section with their values.
    pub(crate) fn keys(&self, section: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().filter_map(move |(path, (value, _))| {
            let key = path.strip_prefix(section)?.strip_prefix('.')?;
            (!key.contains('.')).then_some((key, value))
        })
    }

    /// Where a value came from, for messages.
    pub fn origin(&self, path: &str) -> String {
        self.values.get(path).map_or_else(|| "default".to_owned(), |(_, o)| o.place())
    }

    /// The venues that have a table `[venues.<venue>]`.
    pub fn venues(&self) -> Vec<VenueId> {
        self.venues_of("venues")
    }

    /// The venues that have a table in `section`.
    pub fn venues_of(&self, section: &str) -> Vec<VenueId> {
        let named = |id: &VenueId| self.keys(&format!("{section}.{id}")).next().is_some();
        VenueId::ALL.iter().copied().filter(named).collect()
    }

    /// Every key with its value, without secrets, and its origin, in order.
    pub fn effective(&self) -> Vec<(String, String, Origin)> {
        let shown = |k: &str, v: &Value| match v {
            Value::String(text) if may_be_secret(k) => Value::String(redact(text)).to_string(),
            other => other.to_string(),
        };
        self.order.iter().filter_map(|k| self.values.get(k).map(|(v, o)| (k.clone(), shown(k, v), o.clone()))).collect()
    }

    /// A number by key that another value does not have; it reveals nothing of the value itself.
    pub fn fingerprints(&self) -> BTreeMap<String, u64> {
        let of = |v: &Value| {
            let mut hasher = DefaultHasher::new();
            v.to_string().hash(&mut hasher);
            hasher.finish()
        };
        self.values.iter().map(|(key, (value, _))| (key.clone(), of(value))).collect()
    }

    /// Lays the text of a file over what is there.
    pub fn overlay_file(&mut self, path: &Path, text: &str, problems: &mut Vec<Problem>) {
        let file = path.display().to_string();
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(err) => {
                problems.push(Problem {
                    key: "file".into(),
                    origin: file,
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
        let origin = |at: usize| {
            let before = text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count();
            Origin::File(file.clone(), before + 1)
        };
        for (section, value) in table {
            let (at, section) = (section.span().start, section.into_inner());
            let by_venue = BY_VENUE.contains(&&*section);
            let keys = match value.into_inner() {
                DeValue::Table(keys) if by_venue || self.sections.iter().any(|s| *s == section) => keys,
                _ => {
                    problems.push(self.unknown(&section, origin(at).place()));
                    continue;
                }
            };
            for (key, value) in keys {
                let (at, path) = (key.span().start, format!("{section}.{}", key.get_ref()));
                if !by_venue {
                    self.set(path, value, origin(at), problems);
                    continue;
                }
                let DeValue::Table(keys) = value.into_inner() else {
                    let fix = format!("write it as [{path}] with keys below it");
                    problems.push(Problem {
                        key: path,
                        origin: origin(at).place(),
                        what: "is not a table".into(),
                        fix,
                    });
                    continue;
                };
                for (key, value) in keys {
                    self.set(format!("{path}.{}", key.get_ref()), value, origin(key.span().start), problems);
                }
            }
        }
    }

    /// Lays `TAPEDECK__SECTION__KEY` variables over what is there.
    pub fn overlay_env(&mut self, env: impl IntoIterator<Item = (String, String)>, problems: &mut Vec<Problem>) {
        let mut vars: Vec<(String, String)> = env.into_iter().filter(|(k, _)| k.starts_with("TAPEDECK__")).collect();
        vars.sort();
        for (name, text) in vars {
            let parts: Vec<String> = name.split("__").skip(1).map(str::to_lowercase).collect();
            let path = match parts.as_slice() {
                [section, key] => format!("{section}.{key}"),
                [section, venue, key] if BY_VENUE.contains(&section.as_str()) => {
                    format!("{section}.{}.{key}", venue.replace('_', "-"))
                }
                _ => name.clone(),
            };
            // A bare word is a string; anything that parses as a TOML value is that value.
            let value =
                DeValue::parse(&text).unwrap_or_else(|_| Spanned::new(0..0, DeValue::String(text.as_str().into())));
            self.set(path, value, Origin::Env(name), problems);
        }
    }

    fn set(&mut self, path: String, value: Spanned<DeValue<'_>>, origin: Origin, problems: &mut Vec<Problem>) {
        let section = path.rsplit_once('.').map_or("", |(section, _)| section);
        if let Some((_, venue)) = section.split_once('.').filter(|(by, _)| BY_VENUE.contains(by)) {
            if let Err(err) = venue.parse::<VenueId>() {
                let problem = Problem {
                    key: section.to_owned(),
                    origin: origin.place(),
                    what: format!("unknown venue {venue:?}"),
                    fix: format!("did you mean {:?}? known venues: {}", err.nearest, err.known),
                };
                if problems.iter().all(|p| (&p.key, &p.what) != (&problem.key, &problem.what)) {
                    problems.push(problem);
                }
                return;
            }
        } else if !self.sections.iter().any(|s| s == section) {
            problems.push(self.unknown(&path, origin.place()));
            return;
        }
        let value = match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => value,
            Err(err) => {
                let what = format!("is no value: {}", redact_line(err.message()));
                problems.push(Problem { key: path, origin: origin.place(), what, fix: "correct it".into() });
                return;
            }
        };
        if !self.values.contains_key(&path) {
            self.order.push(path.clone());
        }
        self.values.insert(path, (value, origin));
    }

    fn unknown(&self, section: &str, origin: String) -> Problem {
        let names: Vec<&str> = self.sections.iter().map(String::as_str).chain(BY_VENUE).collect();
        unknown_key(section, origin, section, &names)
    }
}

/// What `read` makes of the shipped file with `text` over it, as if that were a file; for tests and the demo.
///
/// # Errors
/// [`ConfigErrors`] with every problem found.
pub fn from_text<T>(text: &str, read: impl FnOnce(&Source, &mut Vec<Problem>) -> T) -> Result<T, ConfigErrors> {
    let (mut source, mut problems) = (Source::shipped_file(), Vec::new());
    source.overlay_file(Path::new("<text>"), text, &mut problems);
    let made = read(&source, &mut problems);
    if problems.is_empty() { Ok(made) } else { Err(ConfigErrors(problems)) }
}

/// `key` is none of `known`.
pub(crate) fn unknown_key(path: &str, origin: String, key: &str, known: &[&str]) -> Problem {
    let nearest = known.iter().min_by_key(|k| strsim::levenshtein(k, key)).copied().unwrap_or_default();
    Problem {
        key: path.to_owned(),
        origin,
        what: "unknown key".into(),
        fix: if nearest.is_empty() {
            "remove it: this section has no keys in this version".into()
        } else {
            format!("did you mean {nearest:?}?")
        },
    }
}
