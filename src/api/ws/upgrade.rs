//! From a request to an open WebSocket: the server's side of the upgrade.
//!
//! Not axum's own, which brings an older tungstenite than the one that the collector speaks with.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// An open WebSocket.
pub(super) type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// A request that may become a WebSocket.
pub(super) struct Upgrade {
    answer: Response<()>,
    connection: OnUpgrade,
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let request = Request::from_parts(parts.clone(), ());
        let answer = create_response(&request).map_err(|err| (StatusCode::BAD_REQUEST, err.to_string()))?;
        let connection = parts.extensions.remove::<OnUpgrade>();
        let connection = connection
            .ok_or_else(|| (StatusCode::UPGRADE_REQUIRED, "This connection cannot be upgraded.".to_owned()))?;
        Ok(Self { answer, connection })
    }
}

impl Upgrade {
    /// The answer that makes it one; `serve` gets the socket as soon as the answer is sent. A client that is gone by
    /// then is not served.
    pub(super) fn accept<F: Future<Output = ()> + Send>(
        self,
        config: WebSocketConfig,
        serve: impl FnOnce(WebSocket) -> F + Send + 'static,
    ) -> Response {
        let connection = self.connection;
        tokio::spawn(async move {
            let Ok(io) = connection.await else { return };
            serve(WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await).await;
        });
        self.answer.map(|()| Body::empty())
    }
}
