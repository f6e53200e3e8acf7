//! A section out of its keys: by serde, key by key, so that a value that cannot be used costs only itself.
//!
//! A key that is refused is reported, the shipped value (for a venue: none) takes its place, and the section is read again:
//! what else is wrong is found in the same run.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use toml::Value;

use crate::problem::Problem;
use crate::source::{Source, may_be_secret, unknown_key};
use crate::value::{one_of, refuse};

/// A section of the configuration file.
pub trait Section: DeserializeOwned {
    /// Checks keys against each other and returns the problems; also fills in keys that are derived from others.
    fn validate(&mut self) -> Vec<KeyProblem> {
        Vec::new()
    }
}

/// What is wrong with one key of a section; [`Source::section`] makes a [`Problem`] of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProblem {
    /// The key, without its section.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
    /// What would pass.
    pub fix: String,
}

impl KeyProblem {
    /// `what` is wrong with `key`; `fix` would pass.
    pub fn new(key: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key, what: what.into(), fix: fix.into() }
    }
}

/// The keys that `T` has, as the file writes them.
pub fn keys_of<T: Section>() -> &'static [&'static str] {
    let (keys, known, at) = (BTreeMap::new(), Cell::new(&[] as &'static [&'static str]), Cell::new(None));
    // Most sections cannot do without their keys.
    let _ = T::deserialize(Keys { keys: &keys, known: &known, at: &at, left: keys.iter(), value: None });
    known.get()
}

impl Source {
    /// Section `name` as `T`; what is wrong with it is added to `problems`.
    ///
    /// # Panics
    /// When the shipped file lacks a key that `T` must have, or `T` refuses a shipped value: the same for every user's file.
    pub fn section<T: Section>(&self, name: &str, problems: &mut Vec<Problem>) -> T {
        let mut keys: BTreeMap<&str, &Value> = self.keys(name).collect();
        loop {
            let (known, at) = (Cell::new(&[] as &[&str]), Cell::new(None));
            match T::deserialize(Keys { keys: &keys, known: &known, at: &at, left: keys.iter(), value: None }) {
                Ok(mut section) => {
                    for key in keys.keys().filter(|key| !known.get().contains(key)) {
                        let path = format!("{name}.{key}");
                        problems.push(unknown_key(&path, self.origin(&path), key, known.get()));
                    }
                    let wrong = section.validate().into_iter();
                    problems.extend(wrong.map(|w| self.problem(&format!("{name}.{}", w.key), w.what, w.fix)));
                    return section;
                }
                Err(Refused { what, fix }) => {
                    let key = at.get().unwrap_or_else(|| panic!("[{name}] of the shipped file (tested): {what}"));
                    let path = format!("{name}.{key}");
                    problems.push(self.problem(&path, what, fix));
                    match self.shipped(&path).filter(|shipped| keys.get(key) != Some(shipped)) {
                        Some(shipped) => keys.insert(key, shipped),
                        None => keys.remove(key),
                    };
                }
            }
        }
    }

    /// `what` is wrong with the value of `path`, and what would pass; nothing secret of it is shown.
    pub fn problem(&self, path: &str, what: String, fix: String) -> Problem {
        let what = if may_be_secret(path) { crate::redact(&what) } else { what };
        Problem { key: path.to_owned(), origin: self.origin(path), what, fix }
    }
}

/// Why a value cannot be used, and what would pass. Made by [`refuse`].
#[derive(Debug)]
struct Refused {
    what: String,
    fix: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        let (what, fix) = text.rsplit_once('\n').unwrap_or((&text, "correct it"));
        Refused { what: what.to_owned(), fix: fix.to_owned() }
    }
}

/// The keys of a section, one after the other.
struct Keys<'r, 'v> {
    keys: &'r BTreeMap<&'v str, &'v Value>,
    /// The keys that the section's type has.
    known: &'r Cell<&'static [&'static str]>,
    /// The key that is being read.
    at: &'r Cell<Option<&'v str>>,
    left: std::collections::btree_map::Iter<'r, &'v str, &'v Value>,
    value: Option<&'v Value>,
}

impl<'de> Deserializer<'de> for Keys<'_, '_> {
    type Error = Refused;

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.known.set(fields);
        self.left = self.keys.iter();
        visitor.visit_map(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Keys<'_, '_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let known = self.known.get();
        let Some((key, value)) = self.left.find(|(key, _)| known.contains(key)) else {
            self.at.set(None);
            return Ok(None);
        };
        self.value = Some(*value);
        self.at.set(Some(*key));
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        let value = self.value.take().ok_or_else(|| Refused::custom("no value"))?;
        seed.deserialize(Given { value, secret: self.at.get().is_some_and(may_be_secret) })
    }
}

/// The value of a key, whose errors use the names of the file.
struct Given<'a> {
    value: &'a Value,
    secret: bool,
}

impl Given<'_> {
    /// The text, or that it is none.
    fn text(&self) -> Result<&str, Refused> {
        let shown = if self.secret { "it".to_owned() } else { self.value.to_string() };
        self.value.as_str().ok_or_else(|| refuse(format!("{shown} is not text"), "write it between double quotes"))
    }
}

impl<'de> Deserializer<'de> for Given<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.value.clone().deserialize_any(visitor).map_err(|err| Refused::custom(err.message()))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let neither = || refuse(format!("{} is neither true nor false", self.value), "write true or false");
        visitor.visit_bool(self.value.as_bool().ok_or_else(neither)?)
    }

    /// A list of texts: there is no other in the file.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let Value::Array(items) = self.value else {
            let fix = "write a list, for example [\"BTCUSDT\"]";
            return Err(refuse(format!("{} is not a list", self.value), fix));
        };
        let others: Vec<String> = items.iter().filter(|v| !v.is_str()).map(Value::to_string).collect();
        if !others.is_empty() {
            let what = format!("{} in the list is not text", others.join(" and "));
            return Err(refuse(what, "write each entry between double quotes"));
        }
        visitor.visit_seq(SeqDeserializer::new(items.iter().filter_map(Value::as_str)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    /// One of a few values.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let got = self.text()?;
        one_of(got, words)?;
        visitor.visit_enum(IntoDeserializer::<Refused>::into_deserializer(got))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}
