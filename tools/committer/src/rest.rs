//! The Iceberg REST catalog, as far as a committer needs it: configuration, namespace, tables, commits.
//!
//! Requests and answers are those of <https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml>. The
//! crate `iceberg-catalog-rest` is not used: it sends only what `iceberg`'s own transactions make, which can neither
//! replace nor remove a file, and it does not tell a refusal from an answer that was lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use iceberg::spec::{Schema, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use lake::CatalogSettings;
use net::dial::{Dialer, StepLimits, tls_config};
use net::http::{HttpClient, RequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use settings::Secret;

use crate::config::secret_of;
use crate::error::CommitterError;

/// Of an answer nothing comes for this long. A commit writes files; servers give up after a minute.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Metadata of a table: some hundred bytes a snapshot.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// A token is asked for anew this long before it ends.
const TOKEN_SPARE: Duration = Duration::from_secs(30);
/// What stands in a URL as it is.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');
/// What an error of a server says at most, in a message of ours.
const WORDS: usize = 400;

/// How we say who we are.
enum Identity {
    Nobody,
    Token(Secret),
    /// OAuth client credentials: `key:secret`, and the token with the moment at which it ends.
    Client(Secret, Mutex<Option<(Secret, Instant)>>),
}

/// A namespace of a catalog. Its calls block.
pub struct Catalog {
    http: HttpClient,
    runtime: tokio::runtime::Runtime,
    /// URL of the catalog with `/v1`.
    root: String,
    /// `root`, and the prefix that the catalog asked for.
    base: String,
    namespace: String,
    identity: Identity,
}

/// A table as the catalog has it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Loaded {
    /// Its metadata.
    pub metadata: TableMetadata,
}

#[derive(Deserialize)]
struct CatalogConfig {
    #[serde(default)]
    overrides: HashMap<String, String>,
    #[serde(default)]
    defaults: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Create<'a> {
    name: &'a str,
    schema: &'a Schema,
    partition_spec: &'a UnboundPartitionSpec,
    properties: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Commit<'a> {
    requirements: &'a [TableRequirement],
    updates: &'a [TableUpdate],
}

/// An answer of any status.
struct Answer {
    request: String,
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn refused(&self) -> CommitterError {
        let text = String::from_utf8_lossy(&self.body);
        let said = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let said = said.and_then(|json| json.pointer("/error/message")?.as_str().map(str::to_owned));
        let why: String = said.unwrap_or_else(|| text.into_owned()).chars().take(WORDS).collect();
        let request = self.request.clone();
        match self.status {
            // What the server was doing when it failed is not known.
            500.. => CommitterError::Unclear { request, why: format!("answered {}: {why}", self.status) },
            status => CommitterError::Refused { request, status, why },
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, CommitterError> {
        if !(200..300).contains(&self.status) {
            return Err(self.refused());
        }
        let unread = |err| CommitterError::Unclear { request: self.request.clone(), why: format!("its answer: {err}") };
        serde_json::from_slice(&self.body).map_err(unread)
    }
}

impl Catalog {
    /// Asks the catalog for its configuration, on the way of `store`: its proxy, its certificates, its patience to connect.
    /// `credential` (`key:secret`) goes before what the settings name.
    ///
    /// # Errors
    /// When a credential is missing, or the catalog gives no answer that can be used.
    pub fn connect(
        settings: &CatalogSettings,
        store: &s3::Settings,
        credential: Option<&str>,
    ) -> Result<Catalog, CommitterError> {
        let identity = match credential {
            Some(credential) => Identity::Client(Secret::new(credential), Mutex::new(None)),
            None => match secret_of("catalog.token_env", &settings.token_env)? {
                Some(token) => Identity::Token(token),
                None => match secret_of("catalog.credential_env", &settings.credential_env)? {
                    Some(credential) => Identity::Client(credential, Mutex::new(None)),
                    None => Identity::Nobody,
                },
            },
        };
        let failed = |what: &str, err: &dyn std::fmt::Display| CommitterError::unfit(format!("{what}: {err}"));
        let tls = tls_config(&store.tls.extra_roots).map_err(|err| failed("tls.extra_ca_file", &err))?;
        let mut dialer = Dialer::new(store.proxy.clone());
        let connect = Duration::from_secs(store.connect_timeout_s);
        dialer.limits =
            StepLimits { tcp: connect, proxy: connect, tls: connect, answer: ANSWER_LIMIT, ..dialer.limits };
        let http = HttpClient::new(dialer, tls);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|err| failed("begin a runtime", &err))?;
        let root = format!("{}/v1", settings.uri);
        let namespace = settings.namespace.clone();
        let mut catalog = Catalog { http, runtime, base: root.clone(), root, namespace, identity };
        let query = match settings.warehouse.is_empty() {
            true => String::new(),
            false => format!("?warehouse={}", encoded(&settings.warehouse)),
        };
        let url = format!("{}/config{query}", catalog.root);
        let config: CatalogConfig = catalog.send(Method::GET, &url, None)?.json()?;
        if let Some(prefix) = config.overrides.get("prefix").or(config.defaults.get("prefix")).filter(|p| !p.is_empty())
        {
            catalog.base = format!("{}/{}", catalog.root, encoded(prefix));
        }
        Ok(catalog)
    }

    /// Makes the namespace if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_namespace(&self) -> Result<(), CommitterError> {
        let url = format!("{}/namespaces/{}", self.base, encoded(&self.namespace));
        let found = self.send(Method::GET, &url, None)?;
        if (200..300).contains(&found.status) {
            return Ok(());
        }
        if found.status != 404 {
            return Err(found.refused());
        }
        let body = serde_json::json!({ "namespace": [self.namespace], "properties": {} });
        let made = self.send(Method::POST, &format!("{}/namespaces", self.base), Some(body.to_string()))?;
        match made.status {
            // Another committer made it meanwhile.
            409 | 200..300 => Ok(()),
            _ => Err(made.refused()),
        }
    }

    /// The table `name`; `None` when there is none.
    ///
    /// # Errors
    /// When that is not known, or its metadata cannot be read.
    pub fn load(&self, name: &str) -> Result<Option<Loaded>, CommitterError> {
        let answer = self.send(Method::GET, &self.table(name), None)?;
        if answer.status == 404 {
            return Ok(None);
        }
        Ok(Some(answer.json()?))
    }

    /// Makes the table `name` where there is none; whoever came first made it.
    ///
    /// # Errors
    /// When it cannot be made, or that is not known.
    pub fn create(
        &self,
        name: &str,
        schema: &Schema,
        partition_spec: &UnboundPartitionSpec,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), CommitterError> {
        let body = json(&Create { name, schema, partition_spec, properties })?;
        let url = format!("{}/namespaces/{}/tables", self.base, encoded(&self.namespace));
        let made = self.send(Method::POST, &url, Some(body))?;
        match made.status {
            409 | 200..300 => Ok(()),
            _ => Err(made.refused()),
        }
    }

    /// Commits `updates` to the table `name` if `requirements` hold.
    ///
    /// # Errors
    /// [`CommitterError::Conflict`] and [`CommitterError::Refused`]: nothing was done. [`CommitterError::Unclear`]: load the
    /// table and look.
    pub fn commit(
        &self,
        name: &str,
        requirements: &[TableRequirement],
        updates: &[TableUpdate],
    ) -> Result<(), CommitterError> {
        let body = json(&Commit { requirements, updates })?;
        let answer = self.send(Method::POST, &self.table(name), Some(body))?;
        match answer.status {
            200..300 => Ok(()),
            409 => Err(CommitterError::Conflict { table: self.called(name) }),
            _ => Err(answer.refused()),
        }
    }

    /// `namespace.name`, for messages.
    pub fn called(&self, name: &str) -> String {
        format!("{}.{name}", self.namespace)
    }

    fn table(&self, name: &str) -> String {
        format!("{}/namespaces/{}/tables/{}", self.base, encoded(&self.namespace), encoded(name))
    }

    fn send(&self, method: Method, url: &str, body: Option<String>) -> Result<Answer, CommitterError> {
        let answer = self.send_as(method.clone(), url, body.clone(), self.token(false)?)?;
        // Tokens end early when a catalog restarts.
        if matches!(answer.status, 401 | 403 | 419) && matches!(self.identity, Identity::Client(..)) {
            return self.send_as(method, url, body, self.token(true)?);
        }
        Ok(answer)
    }

    fn send_as(
        &self,
        method: Method,
        url: &str,
        body: Option<String>,
        token: Option<Secret>,
    ) -> Result<Answer, CommitterError> {
        let token = token.map(|token| format!("Bearer {}", token.reveal()));
        self.ask(method, url, "application/json", body.unwrap_or_default().into(), token.as_deref())
    }

    fn ask(
        &self,
        method: Method,
        url: &str,
        kind: &str,
        body: Bytes,
        authorization: Option<&str>,
    ) -> Result<Answer, CommitterError> {
        let request = format!("{method} {url}");
        let made = || -> Result<Request<RequestBody>, hyper::http::Error> {
            let mut made = Request::builder().method(method.clone()).header("accept", "application/json");
            if !body.is_empty() {
                made = made.header("content-type", kind);
            }
            if let Some(authorization) = authorization {
                made = made.header("authorization", authorization);
            }
            made.body(RequestBody::new(Full::new(body.clone()).map_err(|never| match never {})))
        };
        // A token with a line break in it, for example; not shown.
        if made().is_err() {
            return Err(CommitterError::unfit(
                "the token of [catalog] has characters that no header can have".to_owned(),
            ));
        }
        let answered = self.runtime.block_on(async {
            let mut reply =
                self.http.exchange(url, &|| made().unwrap_or_default()).await.map_err(|e| ops::chain(&e))?;
            let mut whole = Vec::new();
            while let Some(piece) = reply.chunk().await.map_err(|err| ops::chain(&err))? {
                if whole.len().saturating_add(piece.len()) > ANSWER_BYTES_MAX {
                    return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
                }
                whole.extend_from_slice(&piece);
            }
            Ok((reply.status, whole))
        });
        match answered {
            Ok((status, body)) => Ok(Answer { request, status, body }),
            Err(why) => Err(CommitterError::Unclear { request, why }),
        }
    }

    fn token(&self, anew: bool) -> Result<Option<Secret>, CommitterError> {
        let (credential, kept) = match &self.identity {
            Identity::Nobody => return Ok(None),
            Identity::Token(token) => return Ok(Some(token.clone())),
            Identity::Client(credential, kept) => (credential, kept),
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, _)) = kept.as_ref().filter(|(_, until)| !anew && Instant::now() < *until) {
            return Ok(Some(token.clone()));
        }
        let (key, secret) = credential.reveal().split_once(':').unwrap_or((credential.reveal(), ""));
        let form = format!(
            "grant_type=client_credentials&scope=catalog&client_id={}&client_secret={}",
            encoded(key),
            encoded(secret)
        );
        let url = format!("{}/oauth/tokens", self.root);
        let answer = self.ask(Method::POST, &url, "application/x-www-form-urlencoded", form.into(), None)?;
        let token: Token = answer.json()?;
        let lasts = Duration::from_secs(token.expires_in.unwrap_or(3_600).min(86_400)).saturating_sub(TOKEN_SPARE);
        let token = Secret::new(token.access_token);
        *kept = Some((token.clone(), Instant::now() + lasts));
        Ok(Some(token))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NAME).to_string()
}

fn json(what: &impl Serialize) -> Result<String, CommitterError> {
    serde_json::to_string(what).map_err(|err| CommitterError::unfit(format!("write a request: {err}")))
}
