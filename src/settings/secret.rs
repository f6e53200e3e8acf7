//! Texts that no log line, error or listing may show, and what may be shown of a text that has one in it.
//!
//! Hides too much rather than too little: a reader of a message needs the place, never who we are to it.

use std::fmt;

/// A text that no log, error or listing may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The URL of a database, which may hold a user name and a password. However it is printed, they are hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The URL itself, for the one place that connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The file of an embedded database; `None` for a server.
    pub fn file(&self) -> Option<&str> {
        self.0.strip_prefix("sqlite:")
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redact(&self.0), f)
    }
}

/// Words whose value is secret, wherever they are in a name: `sslpassword=`, `api_key = `, `token_env = `.
const WORDS: [&str; 8] = ["password", "passwd", "pwd", "secret", "token", "key", "signature", "credential"];

/// `text` without what may be secret in it: all between `://` and the last `@`, the query of a URL, and everything
/// after the `=` of a name with one of a few words in it. A text with an `@` and no scheme loses all before it.
pub fn redact(text: &str) -> String {
    let text = match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((before, place)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://***@{place}"),
            None => format!("***@{place}"),
        },
    };
    let text = match text.split_once("://").and_then(|(_, rest)| rest.find('?').map(|at| text.len() - rest.len() + at))
    {
        Some(query) => hidden_from(&text, query + 1),
        None => text,
    };
    // Lower-casing ASCII alone moves no byte.
    let lower = text.to_ascii_lowercase();
    let behind = |word: &str| {
        lower.match_indices(word).find_map(|(at, _)| {
            let rest = lower.get(at + word.len()..)?;
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').trim_start();
            rest.strip_prefix('=').map(|value| lower.len() - value.len())
        })
    };
    match WORDS.iter().filter_map(|word| behind(word)).min() {
        Some(at) => hidden_from(&text, at),
        None => text,
    }
}

/// `text` up to `at`; of the rest only the quotation mark that ends it.
fn hidden_from(text: &str, at: usize) -> String {
    let (shown, hidden) = text.split_at(at);
    let end = if hidden.ends_with('"') && shown.matches('"').count() % 2 == 1 { "\"" } else { "" };
    format!("{shown}***{end}")
}

/// A line of a file as an error may quote it: of a URL in it only the scheme, for a line that is broken may lack the `@`
/// that [`redact`] goes by.
pub(crate) fn redact_line(line: &str) -> String {
    match line.split_once("://") {
        Some((before, _)) => redact(&format!("{before}://***")),
        None => redact(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_hidden_and_the_place_stays() {
        for (text, shown) in [
            ("socks5://sesame:open@h:1", "socks5://***@h:1"),
            ("socks5://se@same:op@en@h:1", "socks5://***@h:1"),
            ("sesame:open@h:1", "***@h:1"),
            ("127.0.0.1:1080", "127.0.0.1:1080"),
            ("sqlite:klines.db", "sqlite:klines.db"),
            ("postgres://u:open@h:5432/x", "postgres://***@h:5432/x"),
            ("postgres://h/x?user=sesame&password=open", "postgres://h/x?***"),
            ("postgres://u:open@h/x?sslpassword=open", "postgres://***@h/x?***"),
            ("host=h user=sesame password=open dbname=x", "host=h user=sesame password=***"),
            ("host=h Password = 'op en'", "host=h Password =***"),
            ("api_key = open", "api_key =***"),
            ("\"postgres://h/x?password=open\" is no database", "\"postgres://h/x?***"),
        ] {
            let got = redact(text);
            assert_eq!(got, shown, "{text}");
            assert!(!got.contains("open"), "{got}");
        }
    }

    #[test]
    fn no_way_of_printing_a_database_url_shows_its_password() {
        let url = DatabaseUrl::new("postgres://u:open@db.example/x?sslpassword=open");
        let printed = format!("{url} {url:?} {:?}", Secret::new("open"));
        assert!(!printed.contains("open") && printed.contains("db.example"), "{printed}");
        assert_eq!((url.file(), DatabaseUrl::new("sqlite:a.db").file()), (None, Some("a.db")));
    }

    #[test]
    fn a_broken_line_of_a_file_is_quoted_without_anything_behind_a_scheme() {
        for line in ["database = \"postgres://u:open", "url = socks5://u:open@h:1", "token = open", "token_env = open"]
        {
            assert!(!redact_line(line).contains("open"), "{line} -> {}", redact_line(line));
        }
    }
}
