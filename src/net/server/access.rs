//! Who may ask: any client on loopback, clients with the token elsewhere. The token comes from an environment
//! variable or a file, is compared in constant time and never printed.

use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, Uri, header};
use settings::Secret;
use wal_format::regular;

/// Shorter tokens can be guessed.
const MIN_TOKEN: usize = 16;

/// Why there is no token to require.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The variable cannot be read.
    #[error("no token for the API\n  where: [api] token_env = {name:?}\n  fix:   set that variable")]
    Variable {
        /// Its name.
        name: String,
        /// Cause.
        source: std::env::VarError,
    },
    /// The file cannot be read.
    #[error("no token for the API\n  where: [api] token_file = {file:?}\n  fix:   write it there")]
    File {
        /// The file.
        file: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// What was read is no token.
    #[error("where: [api] {place}")]
    Unfit {
        /// The key and its value.
        place: String,
        /// Cause.
        source: UnfitToken,
    },
}

/// Too short for a token, or not of visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API's token must have at least {MIN_TOKEN} visible ASCII characters (`openssl rand -hex 32` makes one)")]
pub struct UnfitToken;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Access {
    token: Option<Secret>,
}

impl Access {
    /// Reads the token out of the environment variable or the file that holds it; without either no token is required.
    ///
    /// # Errors
    /// When there is none, or one that is too short.
    pub fn load(variable: Option<&str>, file: Option<&Path>) -> Result<Access, AccessError> {
        let (text, place) = match (variable, file) {
            (Some(name), _) => {
                let text = std::env::var(name).map_err(|source| AccessError::Variable { name: name.into(), source })?;
                (text, format!("token_env = {name:?}"))
            }
            (None, Some(file)) => {
                let text = regular::read_to_string(file, regular::SMALL_BYTES_MAX)
                    .map_err(|source| AccessError::File { file: file.into(), source })?;
                (text, format!("token_file = {file:?}"))
            }
            (None, None) => return Ok(Access::default()),
        };
        Self::with_token(&text).map_err(|source| AccessError::Unfit { place, source })
    }

    /// Requires this token.
    ///
    /// # Errors
    /// When it is shorter than 16 characters, or has others than visible ASCII.
    pub fn with_token(text: &str) -> Result<Access, UnfitToken> {
        let text = text.trim();
        if text.len() < MIN_TOKEN || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(UnfitToken);
        }
        Ok(Access { token: Some(Secret::new(text)) })
    }

    /// True when requests need a token.
    pub fn requires_token(&self) -> bool {
        self.token.is_some()
    }

    /// The token, for the one place that shows it.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(Secret::reveal)
    }

    /// True when this request may be answered.
    pub fn allows(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        // What shows nothing: the page's own files, and whether this is alive.
        let path = uri.path();
        if path == "/health" || path == "/" || path.starts_with("/assets/") {
            return true;
        }
        let right = |shown: &[u8]| same(shown, token.reveal().as_bytes());
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
        let key = headers.get("x-mbx-apikey").map(|v| v.as_bytes());
        let query = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token="));
        bearer.is_some_and(right) || key.is_some_and(right) || query.is_some_and(|t| right(t.as_bytes()))
    }
}

/// Equal, in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_token_is_asked_for_in_three_places_and_never_printed() {
        let access = Access::with_token("0123456789abcdef\n").unwrap();
        let ask = |uri: &str, head: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in head {
                headers.insert(*name, value.parse().unwrap());
            }
            access.allows(&uri.parse().unwrap(), &headers)
        };
        assert!(!ask("/v1/status", &[]));
        assert!(!ask("/v1/status", &[("authorization", "Bearer 0123456789abcdee")]));
        assert!(!ask("/v1/status?token=0123456789abcde", &[]));
        assert!(ask("/v1/status", &[("authorization", "Bearer 0123456789abcdef")]));
        assert!(ask("/api/v3/klines", &[("x-mbx-apikey", "0123456789abcdef")]));
        assert!(ask("/ws/btcusdt@kline_1m?a=b&token=0123456789abcdef", &[]));
        assert!(ask("/health", &[]) && ask("/", &[]) && ask("/assets/app.js", &[]));
        assert!(!ask("/metrics", &[]) && !ask("/assets", &[]) && !ask("//health", &[]));
        assert!(!format!("{access:?}").contains("0123"));
        assert!(Access::with_token("short").is_err());
    }
}
