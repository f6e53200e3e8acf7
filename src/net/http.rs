//! HTTP/1.1 requests over a [`Dialer`]: the same proxy, time limits and errors as the WebSockets have.
//!
//! Connections without a request are kept for the next one; more requests at once open their own. Proxy variables of the
//! environment are for other programs. Bodies are requested uncompressed, so the stored bytes are those that were
//! sent. Never follows a redirect, never retries what the venue may have seen, except over a kept connection that
//! turned out to be closed.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use super::connect_error::ConnectError;
use super::dial::{Dialer, Route};
use crate::throttle;
use model::Throttling;
use ops::{BoxFuture, clock};

/// A whole request, connecting included.
const REQUEST_LIMIT: Duration = Duration::from_secs(90);
/// Connections kept open; more requests at once open more and close them again.
const KEPT: usize = 16;
/// A kept connection is not used again after this long without a request; servers close at 60 s and more.
const KEEP: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The exchange of request and answer failed.
    #[error("HTTP with {peer}: {source}")]
    Http {
        /// Host and port.
        peer: String,
        /// Cause.
        source: hyper::Error,
    },
    /// Something took too long.
    #[error("HTTP with {peer}: {step} did not come in time ({} s)", limit.as_secs())]
    TimedOut {
        /// What was waited for.
        step: &'static str,
        /// Host and port.
        peer: String,
        /// How long.
        limit: Duration,
    },
    /// The body is larger than allowed.
    #[error("HTTP with {peer}: the answer is larger than {max} bytes")]
    TooLarge {
        /// Host and port.
        peer: String,
        /// The most that is taken.
        max: usize,
    },
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Vec<u8>,
}

/// What a request carries.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

type Sender = SendRequest<Counted>;
type RawResponse = hyper::Response<Incoming>;

/// Requests, and the connections that are kept for the next ones. A clone shares them.
#[derive(Clone)]
pub struct HttpClient(Arc<Pool>);

struct Pool {
    dialer: Dialer,
    tls: Arc<ClientConfig>,
    /// Connections without a request, for which host and port, and since when; the one used last comes last.
    kept: Mutex<Vec<(Sender, String, Instant)>>,
}

impl HttpClient {
    /// Requests through `dialer`.
    pub fn new(dialer: Dialer, tls: Arc<ClientConfig>) -> Self {
        Self(Arc::new(Pool { dialer, tls, kept: Mutex::new(Vec::new()) }))
    }

    /// Sends one request with an empty body to `url` (`http://` or `https://`) and reads up to `max` bytes of
    /// answer. An answer of any status is an answer.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub fn send<'a>(
        &'a self,
        method: Method,
        url: &'a str,
        headers: &'a [(&'static str, String)],
        max: usize,
    ) -> BoxFuture<'a, Result<Response, HttpError>> {
        Box::pin(async move {
            let place = Place::of(url)?;
            let whole = self.0.send_to(&place, &method, headers, max);
            timeout(REQUEST_LIMIT, whole).await.unwrap_or_else(|_| Err(place.late("the whole answer", REQUEST_LIMIT)))
        })
    }

    /// Sends one request with an empty body and returns when the head of the answer is there; the body is read piece
    /// by piece. Each piece has the dialer's time limit for answers, the whole has none.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Dropping the future, or the reply, closes the connection.
    pub fn open<'a>(
        &'a self,
        method: Method,
        url: &'a str,
        headers: &'a [(&'static str, String)],
    ) -> BoxFuture<'a, Result<Reply, HttpError>> {
        Box::pin(async move {
            let place = Place::of(url)?;
            let started = self.0.start(&place, &|| place.request(&method, headers)).await?;
            Ok(self.reply(place, started))
        })
    }

    /// Sends the request that `make` gives, whose URL names the host, and returns when the head of the answer is there;
    /// the body is read piece by piece. `make` is called again where a kept connection turned out to be closed. Each piece
    /// of both bodies has the dialer's time limit for answers, the whole has none.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Dropping the future, or the reply, closes the connection.
    pub fn exchange<'a>(
        &'a self,
        url: &'a str,
        make: &'a (dyn Fn() -> Request<RequestBody> + Sync),
    ) -> BoxFuture<'a, Result<Reply, HttpError>> {
        Box::pin(async move {
            let place = Place::of(url)?;
            let started = self.0.start(&place, &|| place.completed(make())).await?;
            Ok(self.reply(place, started))
        })
    }

    fn reply(&self, place: Place, (sender, response): (Sender, RawResponse)) -> Reply {
        let limit = self.0.dialer.limits.answer;
        let (head, body) = response.into_parts();
        let retry_after = throttle::retry_after(&Throttling::NONE, &head.headers, clock::wall_ms());
        let (status, headers) = (head.status.as_u16(), head.headers);
        let pool = Arc::clone(&self.0);
        Reply { pool, place, sender: Some(sender), body, limit, status, headers, retry_after }
    }
}

/// Makes a request; anew for each connection on which it is tried.
type Make<'a> = dyn Fn() -> Result<Request<RequestBody>, ConnectError> + Sync + 'a;

impl Pool {
    async fn send_to(
        &self,
        place: &Place,
        method: &Method,
        headers: &[(&'static str, String)],
        max: usize,
    ) -> Result<Response, HttpError> {
        let (sender, response) = self.start(place, &|| place.request(method, headers)).await?;
        let answer = read(place, response, max, self.dialer.limits.answer).await?;
        self.keep(sender, place).await;
        Ok(answer)
    }

    /// The head of the answer, and the connection that its body comes from.
    async fn start(&self, place: &Place, make: &Make<'_>) -> Result<(Sender, RawResponse), HttpError> {
        loop {
            let kept = self.take(&place.peer);
            let reused = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect(place).await?,
            };
            let limit = self.dialer.limits.answer;
            let taken = Arc::new(AtomicU64::new(0));
            let request = make()?.map(|body| Counted { body, taken: Arc::clone(&taken) });
            let mut answer = std::pin::pin!(sender.send_request(request));
            let mut before = 0;
            let answered = loop {
                match timeout(limit, &mut answer).await {
                    Ok(answered) => break answered,
                    // A long body may take its time, as long as it moves.
                    Err(_) if taken.load(Ordering::Relaxed) > before => before = taken.load(Ordering::Relaxed),
                    Err(_) => return Err(place.late("the head of the answer", limit)),
                }
            };
            match answered {
                Ok(response) => return Ok((sender, response)),
                // The server closed the kept connection meanwhile: not one byte of an answer came.
                Err(err) if reused && (err.is_canceled() || err.is_incomplete_message() || err.is_closed()) => {}
                Err(source) => return Err(HttpError::Http { peer: place.peer.clone(), source }),
            }
        }
    }

    /// Keeps a connection whose last answer is read to its end: only such a one is ready again.
    async fn keep(&self, mut sender: Sender, place: &Place) {
        if sender.ready().await.is_ok() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            kept.push((sender, place.peer.clone(), Instant::now()));
        }
    }

    fn take(&self, peer: &str) -> Option<Sender> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(sender, _, since)| since.elapsed() < KEEP && !sender.is_closed());
        let at = kept.iter().rposition(|(_, kept_peer, _)| kept_peer == peer)?;
        Some(kept.remove(at).0)
    }

    async fn connect(&self, place: &Place) -> Result<Sender, HttpError> {
        let io =
            self.dialer.open(&place.host, place.port, &Route::default(), place.secure.then_some(&self.tls)).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|source| HttpError::Http { peer: place.peer.clone(), source })?;
        // Ends when the sender is dropped or the server closes; its error is the request's error too.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// A body that says how many of its bytes were taken.
struct Counted {
    body: RequestBody,
    taken: Arc<AtomicU64>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.taken.fetch_add(bytes, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer whose body is still to come.
pub struct Reply {
    pool: Arc<Pool>,
    place: Place,
    sender: Option<Sender>,
    body: Incoming,
    limit: Duration,
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// For how long the headers ask us to stay away, where they do.
    pub retry_after: Option<Duration>,
}

impl Reply {
    /// When the server says it answered, ms since 1970, in whole seconds.
    pub fn date_ms(&self) -> Option<i64> {
        throttle::date_ms(&self.headers)
    }

    /// Bytes of the body as the server claims them.
    pub fn length(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.body).exact()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Safe: a piece that was not returned is returned next time.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            match timeout(self.limit, self.body.frame()).await {
                Err(_) => return Err(self.place.late("the next piece of the answer", self.limit)),
                Ok(Some(Err(source))) => return Err(HttpError::Http { peer: self.place.peer.clone(), source }),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Ok(None) => {
                    if let Some(sender) = self.sender.take() {
                        self.pool.keep(sender, &self.place).await;
                    }
                    return Ok(None);
                }
            }
        }
    }
}

async fn read(place: &Place, response: RawResponse, max: usize, limit: Duration) -> Result<Response, HttpError> {
    let status = response.status().as_u16();
    let (head, mut incoming) = response.into_parts();
    // A length the server claims is only a hint for the first allocation.
    let claimed = hyper::body::Body::size_hint(&incoming).exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut body = Vec::with_capacity(claimed.min(max));
    loop {
        match timeout(limit, incoming.frame()).await {
            Err(_) => return Err(place.late("the next piece of the answer", limit)),
            Ok(None) => return Ok(Response { status, headers: head.headers, body }),
            Ok(Some(Err(source))) => return Err(HttpError::Http { peer: place.peer.clone(), source }),
            Ok(Some(Ok(frame))) => {
                let Some(data) = frame.data_ref() else { continue };
                if body.len() + data.len() > max {
                    return Err(HttpError::TooLarge { peer: place.peer.clone(), max });
                }
                body.extend_from_slice(data);
            }
        }
    }
}

/// Where a URL leads.
struct Place {
    secure: bool,
    host: String,
    port: u16,
    /// Host and port for messages.
    peer: String,
    authority: String,
    path: Uri,
}

impl Place {
    fn of(url: &str) -> Result<Place, ConnectError> {
        let bad = |what: &str| ConnectError::Url { url: url.to_owned(), what: what.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("is neither http:// nor https://")),
        };
        let host = uri.host().ok_or_else(|| bad("has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).parse().map_err(|_| bad("has no usable path"))?;
        Ok(Place { secure, peer: format!("{host}:{port}"), host, port, authority, path })
    }

    fn request(
        &self,
        method: &Method,
        headers: &[(&'static str, String)],
    ) -> Result<Request<RequestBody>, ConnectError> {
        let bad = |what: String| ConnectError::Url { url: self.peer.clone(), what };
        let mut request = Request::new(UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})));
        *request.method_mut() = method.clone();
        let mut request = self.completed(request)?;
        let map = request.headers_mut();
        map.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        map.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if method == Method::POST {
            map.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        for (name, value) in headers {
            // Not the value in the error: it may be an API key.
            let value = HeaderValue::from_str(value)
                .map_err(|_| bad(format!("the value of header {name} has characters that no header may have")))?;
            map.insert(*name, value);
        }
        Ok(request)
    }

    /// The request as it is sent here: the path alone, the host in a header.
    fn completed(&self, mut request: Request<RequestBody>) -> Result<Request<RequestBody>, ConnectError> {
        *request.uri_mut() = self.path.clone();
        let host = HeaderValue::from_str(&self.authority)
            .map_err(|err| ConnectError::Url { url: self.peer.clone(), what: err.to_string() })?;
        let map = request.headers_mut();
        map.insert(header::HOST, host);
        map.insert(header::USER_AGENT, HeaderValue::from_static(concat!("tapedeck/", env!("CARGO_PKG_VERSION"))));
        Ok(request)
    }

    fn late(&self, step: &'static str, limit: Duration) -> HttpError {
        HttpError::TimedOut { step, peer: self.peer.clone(), limit }
    }
}
