//! Sections `[proxy]` and `[tls]`, and the proxy keys of a venue. What is not understood is refused: a proxy that is
//! configured and not used would show this machine's address to the exchange.

use std::path::{Path, PathBuf};

use ::settings::value::{filled, refuse};
use ::settings::{KeyProblem, Section};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Deserializer};
use wal_format::regular;

use crate::proxy::{Credentials, FORM, Proxy};

/// Section `[tls]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates that are trusted beside Mozilla's roots.
    #[serde(rename = "extra_ca_file", deserialize_with = "extra_roots")]
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Section for Tls {}

fn extra_roots<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<CertificateDer<'static>>, D::Error> {
    let Some(file) = filled::<D, String>(d)? else { return Ok(Vec::new()) };
    let fix = "name a PEM file with CA certificates, or write \"\"";
    certificates(Path::new(&file)).map_err(|what| refuse(format!("{file}: {what}"), fix))
}

/// Section `[proxy]`: what venues without keys of their own use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct General {
    /// The proxy, with its credentials.
    #[serde(rename = "url", deserialize_with = "general")]
    pub proxy: Option<Proxy>,
    #[serde(deserialize_with = "filled")]
    credentials_file: Option<PathBuf>,
}

fn general<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Proxy>, D::Error> {
    filled::<D, String>(d)?.map(|text| parse(&text, "")).transpose()
}

fn parse<E: serde::de::Error>(text: &str, or: &str) -> Result<Proxy, E> {
    Proxy::parse(text).map_err(|what| refuse(format!("is no proxy URL: it {what}"), format!("{FORM}{or}")))
}

impl Section for General {
    /// Takes the credentials out of their file.
    fn validate(&mut self) -> Vec<KeyProblem> {
        let Some(file) = &self.credentials_file else { return Vec::new() };
        let (what, fix) = match &mut self.proxy {
            None => (
                "is set, but proxy.url is empty: these credentials would be sent nowhere".to_owned(),
                "set proxy.url, or write \"\"",
            ),
            Some(proxy) if proxy.credentials.is_some() => {
                ("proxy.url has a user name and password already".to_owned(), "keep one of them")
            }
            Some(proxy) => match credentials(file, proxy) {
                Ok(()) => return Vec::new(),
                Err(what) => (what, "name a file whose first line is user:password"),
            },
        };
        vec![KeyProblem::new("credentials_file", what, fix)]
    }
}

/// Gives `proxy` the credentials that `file` holds.
fn credentials(file: &Path, proxy: &mut Proxy) -> Result<(), String> {
    let name = file.display();
    let text =
        regular::read_to_string(file, regular::SMALL_BYTES_MAX).map_err(|err| format!("cannot read {name}: {err}"))?;
    proxy.credentials = Some(Credentials::from_file_text(&text).map_err(|err| format!("{name}: {err}"))?);
    proxy.check().map_err(|err| format!("{name}: {err}"))
}

/// The proxy that a key names.
#[derive(Clone, Debug, Default)]
pub enum Way {
    /// As for all venues.
    #[default]
    General,
    /// No proxy.
    Direct,
    /// This one.
    Over(Proxy),
}

impl Way {
    /// The proxy; `general` where nothing else is named.
    pub fn or(&self, general: Option<&Proxy>) -> Option<Proxy> {
        match self {
            Way::General => general.cloned(),
            Way::Direct => None,
            Way::Over(proxy) => Some(proxy.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for Way {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "" => Ok(Way::General),
            "direct" => Ok(Way::Direct),
            text => parse(text, ", or \"direct\" for none").map(Way::Over),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = regular::read(path, regular::SMALL_BYTES_MAX).map_err(|err| format!("cannot read it: {err}"))?;
    let found: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|err| format!("is not PEM: {err}"))?;
    if found.is_empty() {
        return Err("has no certificate".into());
    }
    let mut store = rustls::RootCertStore::empty();
    for cert in &found {
        store.add(cert.clone()).map_err(|err| format!("has a certificate that cannot be a root: {err}"))?;
    }
    Ok(found)
}
