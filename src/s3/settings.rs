//! Section `[store]`: where the object store is and who we are to it, for every key that takes `s3://bucket/prefix`.

use ::settings::value::{filled, int, refuse, variable};
use ::settings::{KeyProblem, Secret, Section};
use net::{Proxy, Tls, Way};
use serde::{Deserialize, Deserializer};

/// Section `[store]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Scheme, host and port of the store, no slash at the end; `None` = Amazon's of the region.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: Option<String>,
    /// As it is signed; `None` = as the environment says, else `us-east-1`.
    #[serde(deserialize_with = "filled")]
    region: Option<String>,
    /// The variable with the access key.
    #[serde(deserialize_with = "variable")]
    pub access_key_env: Option<String>,
    /// The variable with its secret key.
    #[serde(deserialize_with = "variable")]
    pub secret_key_env: Option<String>,
    /// The variable with the token of a session, where keys are of one.
    #[serde(deserialize_with = "variable")]
    pub session_token_env: Option<String>,
    /// Whether requests may go without TLS.
    pub allow_http: bool,
    /// The proxy, where it is not that of `[proxy]`.
    #[serde(rename = "proxy_url")]
    way: Way,
    /// The proxy; `None` = direct.
    #[serde(skip)]
    pub proxy: Option<Proxy>,
    /// Section `[tls]`.
    #[serde(skip)]
    pub tls: Tls,
    /// Keys that do not come from the environment.
    #[serde(skip)]
    pub(crate) keys: Option<[Secret; 2]>,
    /// TCP, a proxy and TLS may each take this long, s.
    #[serde(deserialize_with = "int::<1, 600, _, _>")]
    pub connect_timeout_s: u64,
    /// Nothing moves for this long: the request is given up, s.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub answer_timeout_s: u64,
    /// All tries of a request together, s.
    #[serde(deserialize_with = "int::<0, 3_600, _, _>")]
    pub retry_s: u64,
}

impl Settings {
    /// With what follows from other sections: the proxy of `proxy`, unless set; `tls`.
    #[must_use]
    pub fn completed(mut self, proxy: Option<&Proxy>, tls: Tls) -> Self {
        self.proxy = self.way.or(proxy);
        self.tls = tls;
        self
    }

    /// With this access key and its secret, wherever others would come from.
    #[must_use]
    pub fn with_keys(self, access: &str, secret: &str) -> Self {
        Self { keys: Some([Secret::new(access), Secret::new(secret)]), ..self }
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> String {
        let named = |name: &str| std::env::var(name).ok().filter(|region| !region.is_empty());
        let configured = self.region.clone();
        configured.or_else(|| named("AWS_REGION")).or_else(|| named("AWS_DEFAULT_REGION")).unwrap_or("us-east-1".into())
    }
}

impl Section for Settings {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let mut wrong = Vec::new();
        if let Some(endpoint) = self.endpoint.as_ref().filter(|url| url.starts_with("http://") && !self.allow_http) {
            let what = format!("{endpoint:?} sends what is stored unencrypted");
            wrong.push(KeyProblem::new("endpoint", what, "write https://, or allow_http = true"));
        }
        if self.access_key_env.is_some() != self.secret_key_env.is_some() {
            let what = "access_key_env and secret_key_env: one of them is empty";
            wrong.push(KeyProblem::new("access_key_env", what, "name both variables, or write \"\" for both"));
        }
        wrong
    }
}

fn endpoint<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let Some(text) = filled::<D, String>(d)? else { return Ok(None) };
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if host.is_some_and(|h| !h.is_empty() && !h.starts_with('/') && !h.contains(['?', '#', ' ', '@', '\\'])) {
        return Ok(Some(text.to_owned()));
    }
    // Not the text: it may hold a password.
    Err(refuse("is not an http:// or https:// URL", "write scheme, host and port: \"https://s3.example.com\""))
}
