//! REST responses in the log: each is appended before it is used. Does not retry: callers know when.

use net::rest::RestError;
use serde_json::json;
use venue::RestRequest;

use super::feed::VenueFeed;
use super::log::LogStopped;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    /// No response, or no success.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The log is closed.
    #[error(transparent)]
    Log(#[from] LogStopped),
}

impl GetError {
    fn rest(&self) -> Option<&RestError> {
        match self {
            GetError::Rest(err) => Some(err),
            GetError::Log(_) => None,
        }
    }

    /// False when the same request will fail again: the venue understood it and refused, or the log is closed.
    pub(super) fn is_retryable(&self) -> bool {
        self.rest().is_some_and(RestError::is_retryable)
    }

    /// See [`RestError::give_up_on_request`].
    pub(super) fn give_up_on_request(&self) -> bool {
        self.rest().is_some_and(RestError::give_up_on_request)
    }

    /// Why there was no connection, where that is the reason.
    pub(super) fn connect(&self) -> Option<&net::connect_error::ConnectError> {
        self.rest().and_then(RestError::connect)
    }
}

impl VenueFeed {
    /// Sends `request`, appends the answer to the log and returns its body. A failure becomes an event.
    ///
    /// # Errors
    /// [`GetError`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request; nothing half is in the log.
    pub(super) async fn get(&self, request: &RestRequest) -> Result<Vec<u8>, GetError> {
        self.get_over(0, request).await
    }

    /// [`VenueFeed::get`] the way line `line` (0 or 1) goes.
    ///
    /// # Errors
    /// As [`VenueFeed::get`].
    ///
    /// # Cancel safety
    /// As [`VenueFeed::get`].
    pub(super) async fn get_over(&self, line: u32, request: &RestRequest) -> Result<Vec<u8>, GetError> {
        let conn = self.next_conn();
        match self.fetch(line, request, conn).await {
            Ok(body) => {
                self.metrics.rest_ok.add(1);
                Ok(body)
            }
            Err(err) => {
                self.metrics.rest_errors.add(1);
                self.report_ban(line);
                let status = match &err {
                    GetError::Rest(RestError::Status { status, .. }) => Some(*status),
                    _ => None,
                };
                let detail = json!({
                    "channel": request.channel, "symbol": request.symbol,
                    "url": format!("{}{}", self.rest.base, request.path_and_query), "status": status, "error": err.to_string(),
                });
                let kind = err.connect().map_or("rest_error", |err| err.event_kind("rest_error"));
                self.log.note(conn, kind, detail);
                Err(err)
            }
        }
    }

    async fn fetch(&self, line: u32, request: &RestRequest, conn: u32) -> Result<Vec<u8>, GetError> {
        let answer = self.rest.send_over(line, request).await?;
        let meta = request.meta(answer.url.clone(), answer.status);
        let seq = self.log.rest(answer.stamp, conn, &meta, &answer.body)?;
        self.log.wait_durable(seq)?;
        Ok(answer.error_for_status()?.body)
    }
}
