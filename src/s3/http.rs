//! Requests of the crate object_store over our own connections: the same dialer, proxy, TLS and roots as everything else.
//!
//! Whatever fails on the way is reported as something to be tried again: what a repeated request means when the first one
//! was carried out is known by `lake::RemoteStore`. Of a refusal only code and message are handed on, cut to a length: the
//! rest repeats the request, with the name of the key. A store that wants to be left alone (`Retry-After`) is.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use hyper::{Request, Response};
use net::Proxy;
use net::dial::{Dialer, StepLimits, TlsError, tls_config};
use net::http::{HttpClient as Client, HttpError as NetError, Reply, RequestBody};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use ops::clock;

use crate::settings::Settings;

/// The longest body of an answer that is read: an object or a range of one is never longer.
const ANSWER_BYTES_MAX: u64 = 512 << 20;
/// Of an answer so much is read before it is handed on: one that breaks off until then is asked for again, as one that did
/// not come. Lists, manifests and ranges are shorter; of longer ones the reader asks for the rest.
const AT_ONCE_BYTES_MAX: usize = 8 << 20;
/// What is read of the body of a refusal.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// What is handed on of a message in it.
const MESSAGE_CHARS_MAX: usize = 300;
/// A store that wants to be left alone for longer is asked again after this.
const STAY_AWAY_MAX: Duration = Duration::from_secs(30);

/// What was noticed on the way, for metrics and for who looks whether all is well.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// The store's clock minus ours at its last answer, ms; `i64::MIN` before.
    skew_ms: AtomicI64,
    answers: AtomicU64,
}

impl Noticed {
    /// The store's clock minus ours, ms; `None` while it said nothing. Answers name whole seconds.
    pub(crate) fn skew_ms(&self) -> Option<i64> {
        (self.answers.load(Ordering::Relaxed) > 0).then(|| self.skew_ms.load(Ordering::Relaxed))
    }

    fn answered(&self, reply: &Reply) {
        if let Some(at_ms) = reply.date_ms() {
            self.skew_ms.store(at_ms.saturating_sub(clock::wall_ms()), Ordering::Relaxed);
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes the clients of one store.
pub(crate) struct Connector {
    service: Service,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(crate) fn new(settings: &Settings) -> Result<Self, TlsError> {
        let tls = tls_config(&settings.tls.extra_roots)?;
        let connect = Duration::from_secs(settings.connect_timeout_s);
        let answer = Duration::from_secs(settings.answer_timeout_s);
        let client = |proxy: Option<Proxy>| {
            let mut dialer = Dialer::new(proxy);
            dialer.limits = StepLimits { tcp: connect, proxy: connect, tls: connect, answer, ..dialer.limits };
            Client::new(dialer, Arc::clone(&tls))
        };
        let (outside, machine) = (client(settings.proxy.clone()), client(None));
        let noticed = Arc::default();
        Ok(Self { service: Service { outside, machine, allow_http: settings.allow_http, noticed } })
    }

    pub(crate) fn noticed(&self) -> Arc<Noticed> {
        Arc::clone(&self.service.noticed)
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.service.clone()))
    }
}

#[derive(Clone)]
struct Service {
    /// The way out, over the proxy where there is one.
    outside: Client,
    /// To what gives this machine its identity: never over a proxy, which would get another one's.
    machine: Client,
    allow_http: bool,
    noticed: Arc<Noticed>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("http:// to {0} is not allowed: write https:// in [store] endpoint, or allow_http = true")]
    Unencrypted(String),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let url = head.uri.to_string();
        let host = head.uri.host().unwrap_or_default();
        let is_machine = gives_identity(host);
        if head.uri.scheme_str() == Some("http") && !is_machine && !self.allow_http {
            return Err(HttpError::new(HttpErrorKind::Unknown, Refused::Unencrypted(host.to_owned())));
        }
        let make = || {
            let body = body.clone().map_err(Into::into);
            let mut request: Request<RequestBody> = Request::new(UnsyncBoxBody::new(body));
            *request.method_mut() = head.method.clone();
            *request.headers_mut() = head.headers.clone();
            request
        };
        let client = if is_machine { &self.machine } else { &self.outside };
        let reply = client.exchange(&url, &make).await.map_err(failed)?;
        if !is_machine {
            self.noticed.answered(&reply);
        }
        let status =
            hyper::StatusCode::from_u16(reply.status).map_err(|err| HttpError::new(HttpErrorKind::Decode, err))?;
        let headers = reply.headers.clone();
        let body = if status.is_client_error() || status.is_server_error() {
            if let Some(wait) = reply.retry_after {
                tokio::time::sleep(wait.min(STAY_AWAY_MAX)).await;
            }
            HttpResponseBody::from(refusal(reply).await)
        } else {
            begun(reply).await?
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// The addresses where a cloud's machines and containers ask who they are.
fn gives_identity(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => matches!(ip.segments(), [0xfd00, 0x0ec2, ..]),
        Err(_) => false,
    }
}

/// All of it may be tried again: a request that was carried out is recognized (`lake::RemoteStore`).
fn failed(err: NetError) -> HttpError {
    let kind = match &err {
        NetError::Connect(err) if !err.is_retryable() => HttpErrorKind::Unknown,
        NetError::Connect(_) => HttpErrorKind::Connect,
        NetError::Http { .. } | NetError::TimedOut { .. } => HttpErrorKind::Request,
        NetError::TooLarge { .. } => HttpErrorKind::Decode,
    };
    HttpError::new(kind, err)
}

/// What a refusal says, in one line.
async fn refusal(mut reply: Reply) -> String {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = reply.chunk().await {
        text.extend_from_slice(&piece);
        if text.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    said(&String::from_utf8_lossy(&text))
}

/// Code and message of an error of S3; of what is none, its beginning.
fn said(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(value, _)| value.trim())
    };
    let line = match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => text.trim().to_owned(),
    };
    line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

/// The body of an answer: all of it, or its beginning and what is still to come.
async fn begun(mut reply: Reply) -> Result<HttpResponseBody, HttpError> {
    let whole = |length| length <= AT_ONCE_BYTES_MAX as u64;
    if !reply.length().is_none_or(whole) {
        return Ok(HttpResponseBody::new(AnswerBody::of(Vec::new(), reply)));
    }
    let (mut pieces, mut read) = (Vec::new(), 0);
    while let Some(piece) = reply.chunk().await.map_err(failed)? {
        read += piece.len();
        pieces.push(piece);
        if read > AT_ONCE_BYTES_MAX {
            return Ok(HttpResponseBody::new(AnswerBody::of(pieces, reply)));
        }
    }
    Ok(Bytes::from(pieces.concat()).into())
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, HttpError>> + Send>>;

/// The body of a long answer, piece by piece.
struct AnswerBody {
    // Only ever reached through `&mut`: the lock makes it a type that threads may share.
    pieces: Mutex<Pieces>,
}

impl AnswerBody {
    /// What was read of it already, and the rest.
    fn of(begun: Vec<Bytes>, reply: Reply) -> Self {
        let read = begun.iter().map(|piece| piece.len() as u64).sum();
        let rest = stream::unfold(Some((reply, read)), |state: Option<(Reply, u64)>| async {
            let (mut reply, read) = state?;
            match reply.chunk().await {
                Ok(None) => None,
                Err(err) => Some((Err(failed(err)), None)),
                Ok(Some(piece)) => {
                    let read = read.saturating_add(piece.len() as u64);
                    match read > ANSWER_BYTES_MAX {
                        true => Some((Err(HttpError::new(HttpErrorKind::Decode, Refused::TooLong)), None)),
                        false => Some((Ok(piece), Some((reply, read)))),
                    }
                }
            }
        });
        Self { pieces: Mutex::new(Box::pin(stream::iter(begun).map(Ok).chain(rest))) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let pieces = self.get_mut().pieces.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        pieces.poll_next_unpin(cx).map(|piece| Some(piece?.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_refusal_only_code_and_message_are_shown() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The signature\n does not match.</Message><AWSAccessKeyId>AKIAX</AWSAccessKeyId><StringToSign>AWS4</StringToSign></Error>";
        assert_eq!(said(xml), "SignatureDoesNotMatch: The signature does not match.");
        assert_eq!(said("<html>gone\u{1b}[2J</html>"), "<html>gone[2J</html>");
        assert_eq!(said(&"x".repeat(5_000)).len(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn only_the_addresses_of_the_platform_are_asked_around_a_proxy() {
        for host in ["169.254.169.254", "169.254.170.2", "[fd00:ec2::254]"] {
            assert!(gives_identity(host), "{host}");
        }
        for host in ["127.0.0.1", "10.0.0.1", "s3.amazonaws.com", "169.254.example.com", "fe80::1"] {
            assert!(!gives_identity(host), "{host}");
        }
    }
}
