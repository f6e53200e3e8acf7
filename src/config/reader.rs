//! Values to types: each key with its range; every failure becomes a [`Problem`], none stops the reading.

use toml::Value;

use super::problem::Problem;
use super::secret::{DatabaseUrl, redact};
use super::source::{self, Source};

pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn problem(&mut self, key: &str, what: String, fix: String) {
        let what = if source::may_be_secret(key) { redact(&what) } else { what };
        self.problems.push(Problem { key: key.to_owned(), origin: self.source.origin(key), what, fix });
    }

    pub(super) fn int(&mut self, key: &str, min: u64, max: u64) -> u64 {
        let fix = format!("write a whole number from {min} to {max}");
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::Integer(n)) => match u64::try_from(n) {
                Ok(n) if (min..=max).contains(&n) => n,
                _ => {
                    self.problem(key, format!("{n} is out of range"), fix);
                    min
                }
            },
            Some(other) => {
                self.problem(key, format!("{other} is not a whole number"), fix);
                min
            }
            None => min,
        }
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::String(s)) => s,
            Some(other) => {
                let what = if source::may_be_secret(key) { "it".to_owned() } else { other.to_string() };
                self.problem(key, format!("{what} is not text"), "write it between double quotes".into());
                String::new()
            }
            None => String::new(),
        }
    }

    /// The name of an environment variable that holds a secret; messages show it, so it must not be the secret itself.
    pub(super) fn variable(&mut self, key: &str) -> Option<String> {
        let name = self.text(key);
        if name.is_empty() {
            return None;
        }
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.len() <= 40;
        let is_random = name.len() >= 16 && !name.contains('_') && name.contains(|c: char| c.is_ascii_digit());
        if is_name && !is_random && !name.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(name);
        }
        let what = "is no name of an environment variable; is it the secret itself?".into();
        self.problem(key, what, "write the name of a variable that holds it, of letters, digits and _".into());
        None
    }

    /// The URL of a database; `file` begins what would pass, with an embedded one.
    pub(super) fn database(&mut self, key: &str, file: &str) -> DatabaseUrl {
        let text = self.text(key);
        let fix = format!("{file} \"postgres://user@host/name\"");
        let schemes = ["sqlite:", "postgres://", "postgresql://"];
        if !schemes.iter().any(|s| text.strip_prefix(s).is_some_and(|rest| !rest.is_empty())) {
            self.problem(key, format!("{text:?} is no database"), fix);
        } else if text.split_once("://").is_some_and(|(_, rest)| rest.matches('@').count() > 1) {
            // The client would take the rest of the password for the host, and name it.
            self.problem(key, "has an @ in its user name or password".into(), "write it as %40".into());
        }
        DatabaseUrl::new(text)
    }

    pub(super) fn word(&mut self, key: &str, allowed: &[&str]) -> String {
        let got = self.text(key);
        if !allowed.contains(&got.as_str()) {
            let list = allowed.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
            self.problem(key, format!("{got:?} is not one of its values"), format!("write one of {list}"));
        }
        got
    }

    pub(super) fn yes(&mut self, key: &str) -> bool {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::Boolean(yes)) => yes,
            Some(other) => {
                self.problem(key, format!("{other} is neither true nor false"), "write true or false".into());
                false
            }
            None => false,
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::Array(items)) => {
                let mut out = Vec::new();
                for item in items {
                    match item {
                        Value::String(s) => out.push(s),
                        other => self.problem(
                            key,
                            format!("{other} in the list is not text"),
                            "write each entry between double quotes".into(),
                        ),
                    }
                }
                out
            }
            Some(other) => {
                self.problem(key, format!("{other} is not a list"), "write a list, for example [\"BTCUSDT\"]".into());
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}
