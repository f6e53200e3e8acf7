//! A lake in an S3-compatible object store: section `[store]`, credentials, and the way there, which is ours.
//!
//! ```text
//!  lake::RemoteStore --> object_store (requests, signatures, pages, retries) --> http: over net (dialer, proxy, TLS)
//!                                          |
//!                                          +-- credentials: named variables, the AWS file, the platform
//! ```
//!
//! What is published how, and what an answer that was lost means: `src/lake/store/remote.rs`. Here is only how a store is
//! reached. Whoever has a place, a directory or a URL, gets its store from [`open`]; a lake from [`lake()`].
#![forbid(unsafe_code)]

mod credentials;
#[cfg(any(test, feature = "weed"))]
pub mod faults;
mod http;
mod place;
mod probe;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "weed"))]
pub mod weed;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::lake::{Lake, LakeStore, LocalStore, RemoteStore};
use object_store::aws::{AmazonS3Builder, S3CopyIfNotExists};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

pub use credentials::CredentialsError;
pub use place::{BadUrl, S3Place};
pub use probe::{Probe, probe};
pub use settings::Settings;

use http::Connector;

/// Why a store cannot be opened. Nothing was asked of it yet.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not the URL of a store.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// Nobody says who we are.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A certificate of `[tls] extra_ca_file` is none.
    #[error("tls.extra_ca_file: {0}")]
    Tls(net::dial::TlsError),
    /// What is configured does not make a store.
    #[error("cannot use {place}: {source}")]
    Store {
        /// The URL.
        place: String,
        /// Why.
        source: object_store::Error,
    },
    /// No thread for its requests.
    #[error("cannot start a thread for the requests to {place}: {source}")]
    Thread {
        /// The URL.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// The store of `place`: a directory, or `s3://bucket/prefix`. Asks it nothing.
///
/// # Errors
/// [`OpenError`].
pub fn open(place: &Path, settings: &Settings) -> Result<Arc<dyn LakeStore>, OpenError> {
    match place.to_str().filter(|text| ::lake::is_url(text)) {
        None => Ok(Arc::new(LocalStore::new(place))),
        Some(url) => Ok(Arc::new(remote(&S3Place::parse(url)?, settings)?.0)),
    }
}

/// The lake that `[lake]` names: in its directory, or in an object store, with its work in the local staging directory.
///
/// # Errors
/// [`OpenError`].
pub fn lake(lake: &::lake::Settings, settings: &Settings) -> Result<Lake, OpenError> {
    lake_at(lake.place(), lake.work_dir(), settings)
}

/// The lake of `place`, a directory or a URL, with its work in the local directory `work`.
///
/// # Errors
/// [`OpenError`].
pub fn lake_at(place: &Path, work: &Path, settings: &Settings) -> Result<Lake, OpenError> {
    Ok(Lake::with_store(open(place, settings)?, work))
}

/// The first pause before a request is sent again; longer ones follow, each drawn at random up to twice the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The total time is what ends the tries.
const TRIES_MAX: usize = 1_000;

/// The store, and what is noticed on the way to it.
fn remote(place: &S3Place, settings: &Settings) -> Result<(RemoteStore, Arc<http::Noticed>), OpenError> {
    let connector = Connector::new(settings).map_err(OpenError::Tls)?;
    let noticed = connector.noticed();
    let region = settings.region();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&place.bucket)
        .with_region(region)
        .with_allow_http(settings.allow_http)
        .with_client_options(ClientOptions::new().with_allow_http(settings.allow_http))
        .with_http_connector(connector)
        // One DELETE for each object: not every store has the bulk one.
        .with_disable_bulk_delete(true)
        // The other way, an upload in parts that is completed on a condition, SeaweedFS 4.48 lets several win.
        .with_copy_if_not_exists(S3CopyIfNotExists::Header("If-None-Match".into(), "*".into()))
        .with_retry(RetryConfig {
            backoff: BackoffConfig { init_backoff: PAUSE_FIRST, max_backoff: PAUSE_MAX, base: 2.0 },
            max_retries: TRIES_MAX,
            retry_timeout: Duration::from_secs(settings.retry_s),
        });
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder =
        credentials::of(settings, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?.give(builder);
    let url = place.to_string();
    let store = builder.build().map_err(|source| OpenError::Store { place: url.clone(), source })?;
    let store: Arc<dyn object_store::ObjectStore> = match place.prefix.is_empty() {
        true => Arc::new(store),
        false => Arc::new(PrefixStore::new(store, place.prefix.as_str())),
    };
    let store = RemoteStore::new(store, &url).map_err(|source| OpenError::Thread { place: url, source })?;
    Ok((store.marked(), noticed))
}
