//! Sections `[proxy]` and `[tls]`, and the proxy keys of a venue. What is not understood is refused: a proxy that is
//! configured and not used would show this machine's address to the exchange.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use wal_format::regular;

use super::proxy::{Credentials, FORM, Proxy};
use super::reader::Reader;

/// Section `[tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificates that are trusted beside Mozilla's roots.
    pub extra_roots: Vec<rustls::pki_types::CertificateDer<'static>>,
}

/// The word that switches a proxy off for one venue or line.
const DIRECT: &str = "direct";

/// Section `[proxy]`: what venues without keys of their own use.
pub(super) fn proxy(r: &mut Reader<'_>) -> Option<Proxy> {
    let text = r.text("proxy.url");
    let file = r.text("proxy.credentials_file");
    if text.is_empty() {
        if !file.is_empty() {
            r.problem(
                "proxy.credentials_file",
                "is set, but proxy.url is empty: nobody would be shown these credentials".into(),
                "set proxy.url, or write \"\"".into(),
            );
        }
        return None;
    }
    let mut proxy = parse(r, "proxy.url", &text)?;
    if file.is_empty() {
        return Some(proxy);
    }
    if proxy.credentials.is_some() {
        r.problem(
            "proxy.credentials_file",
            "proxy.url has a user name and password already".into(),
            "keep one of them".into(),
        );
        return None;
    }
    let read = regular::read_to_string(file.as_ref(), regular::SMALL_BYTES_MAX)
        .map_err(|err| format!("cannot read {file}: {err}"));
    let checked = read.and_then(|text| Credentials::from_file_text(&text).map_err(|err| format!("{file}: {err}")));
    let checked = checked.and_then(|c| {
        proxy.credentials = Some(c);
        proxy.check().map_err(|err| format!("{file}: {err}"))
    });
    if let Err(what) = checked {
        r.problem("proxy.credentials_file", what, "name a file whose first line is user:password".into());
        return None;
    }
    Some(proxy)
}

/// The proxies of line 0 and line 1 of a venue. `proxy_url` stands in for `[proxy] url`, `proxy_url_2` for
/// `proxy_url` on line 1.
pub(super) fn venue_proxies(r: &mut Reader<'_>, table: &str, general: Option<&Proxy>) -> [Option<Proxy>; 2] {
    let first = one_proxy(r, &format!("{table}.proxy_url"), general.cloned());
    let second = one_proxy(r, &format!("{table}.proxy_url_2"), first.clone());
    [first, second]
}

/// The proxy of one key; `otherwise` where it is not set or empty.
pub(super) fn one_proxy(r: &mut Reader<'_>, key: &str, otherwise: Option<Proxy>) -> Option<Proxy> {
    if r.source.get(key).is_none() {
        return otherwise;
    }
    match r.text(key).as_str() {
        "" => otherwise,
        DIRECT => None,
        text => parse(r, key, text),
    }
}

fn parse(r: &mut Reader<'_>, key: &str, text: &str) -> Option<Proxy> {
    match Proxy::parse(text) {
        Ok(proxy) => Some(proxy),
        Err(what) => {
            let direct = if key == "proxy.url" { "" } else { ", or \"direct\" for none" };
            r.problem(key, format!("is no proxy URL: it {what}"), format!("{FORM}{direct}"));
            None
        }
    }
}

/// Section `[tls]`.
pub(super) fn tls(r: &mut Reader<'_>) -> Tls {
    let file = r.text("tls.extra_ca_file");
    if file.is_empty() {
        return Tls { extra_roots: Vec::new() };
    }
    match certificates(&PathBuf::from(&file)) {
        Ok(extra_roots) => Tls { extra_roots },
        Err(what) => {
            r.problem(
                "tls.extra_ca_file",
                format!("{file}: {what}"),
                "name a PEM file with CA certificates, or write \"\"".into(),
            );
            Tls { extra_roots: Vec::new() }
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
