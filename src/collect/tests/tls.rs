//! `wss://`: the same frames through TLS, and a certificate that nobody vouches for is refused.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use net::connect::{Target, open};
use net::connect_error::ConnectError;
use net::dial::{Dialer, tls_config};

/// Self-signed for localhost and 127.0.0.1, valid until 2126, made for this test with
/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500`.
const CERT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBvDCCAWKgAwIBAgIUM0MHL1pOLXsu/heBDXQetz6ZhwswCgYIKoZIzj0EAwIw
JjEkMCIGA1UEAwwbdGFwZWRlY2sgdGVzdCwgbm90IGEgc2VjcmV0MCAXDTI2MTEy
MTEwMjkyNFoYDzIxMjYxMDI4MTAyOTI0WjAmMSQwIgYDVQQDDBt0YXBlZGVjayB0
ZXN0LCBub3QgYSBzZWNyZXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS9e2bT
J6B4+Yfw8qZJ9l3pTyi9tuTyShXz0uFXExjoGcIXRN2WfyQTObU8Ss989a9Fsa/S
uN6zbXooXIcnSxjMo2wwajAdBgNVHQ4EFgQULvkQ3uvWBDYHN7uypqeCbkhRU8cw
HwYDVR0jBBgwFoAULvkQ3uvWBDYHN7uypqeCbkhRU8cwGgYDVR0RBBMwEYIJbG9j
YWxob3N0hwR/AAABMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSAAwRQIhAIma
24xAoXKu+5XBGFswMDq9yzIkV0VlaV6tML2vKNZJAiAOiwS2Qp+M3uIkX3uJecJ9
4ibTPRNWxu1MrzGqMTYwsQ==
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCsW2hiqLAOduecXd
s2Y1qOLISohX6QUwmJULziFqCImhRANCAAS9e2bTJ6B4+Yfw8qZJ9l3pTyi9tuTy
ShXz0uFXExjoGcIXRN2WfyQTObU8Ss989a9Fsa/SuN6zbXooXIcnSxjM
-----END PRIVATE KEY-----
";

/// Accepts TLS connections for ever and greets each WebSocket; returns the port.
async fn serve() -> u16 {
    let cert = CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let Ok(mut ws) = tokio_tungstenite::accept_async(tls).await else { continue };
            ws.send(Message::text("z".repeat(200_000))).await.unwrap();
            while let Some(Ok(_)) = ws.next().await {}
        }
    });
    port
}

#[tokio::test]
async fn frames_come_through_tls_when_the_certificate_is_trusted() {
    let port = serve().await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let url = format!("wss://127.0.0.1:{port}/stream");
    let mut opened = open(&Target::plain(&url), &Dialer::new(None), &Arc::new(config)).await.unwrap();
    assert!(opened.tls);
    assert_eq!(opened.peer, format!("127.0.0.1:{port}"));
    let message = opened.socket.next().await.unwrap().unwrap();
    assert_eq!(message.into_data().len(), 200_000);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let port = serve().await;
    let url = format!("wss://localhost:{port}/stream");
    let err = open(&Target::plain(&url), &Dialer::new(None), &tls_config(&[]).unwrap()).await.unwrap_err();
    assert!(matches!(err, ConnectError::Tls { .. }), "{err}");
    assert!(err.to_string().contains("certificate") && err.to_string().contains("tls.extra_ca_file"), "{err}");
    assert!(err.is_retryable(), "the venue may repair its certificate");
}
