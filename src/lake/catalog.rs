//! Section `[catalog]`: the Iceberg catalog that is told of published files. Only `tapedeck-committer` asks one
//! (`tools/committer`); the section is here because what it names are the files of a lake, and every program knows
//! the keys that exist.

use ::settings::value::int;
use ::settings::{KeyProblem, Section};
use serde::Deserialize;

/// Section `[catalog]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSettings {
    /// URL of the REST catalog, without `/v1`; empty = none.
    pub uri: String,
    /// Name of the warehouse; empty = the catalog's own.
    pub warehouse: String,
    /// Namespace of the tables.
    pub namespace: String,
    /// Seconds between two looks at the lake.
    #[serde(deserialize_with = "int::<1, 86_400, _, _>")]
    pub interval_s: u64,
    /// Hours a snapshot is kept; 0 = for ever.
    #[serde(deserialize_with = "int::<0, { 24 * 365 * 100 }, _, _>")]
    pub snapshot_retention_hours: u64,
    /// Environment variable with a bearer token; empty = none.
    pub token_env: String,
    /// Environment variable with `key:secret` for OAuth client credentials; empty = none.
    pub credential_env: String,
}

impl CatalogSettings {
    /// Whether a catalog is named.
    pub fn is_on(&self) -> bool {
        !self.uri.is_empty()
    }
}

impl Section for CatalogSettings {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let mut wrong = Vec::new();
        self.uri.truncate(self.uri.trim_end_matches('/').len());
        let is_http = ["http://", "https://"].iter().any(|scheme| self.uri.starts_with(scheme));
        if self.is_on() && (!is_http || self.uri.contains('@')) {
            let what = "is not the URL of a catalog";
            wrong.push(KeyProblem::new(
                "uri",
                what,
                "write http:// or https://, host and path, without user and password",
            ));
        }
        if self.namespace.is_empty() || self.namespace.chars().any(|c| !(c.is_ascii_alphanumeric() || "_-".contains(c)))
        {
            let what = format!("{:?} is no namespace", self.namespace);
            wrong.push(KeyProblem::new("namespace", what, "use letters, digits, _ and -"));
        }
        if !self.token_env.is_empty() && !self.credential_env.is_empty() {
            let what = "stands beside token_env, and only one can be sent";
            wrong.push(KeyProblem::new("credential_env", what, "remove one of them"));
        }
        wrong
    }
}
