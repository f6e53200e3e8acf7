//! Error responses: the exchange's body `{"code":-1121,"msg":"Invalid symbol."}` with
//! its HTTP status (Binance API documentation, "Error codes"). Our own paths use the same shape.

use std::error::Error;

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::json::json_text;

/// An error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub code: i32,
    pub msg: String,
}

pub(super) type ApiResult<T> = Result<T, ApiError>;

/// Why a response could not be made: logged, never branched on.
pub(super) type Failed = Box<dyn Error + Send + Sync>;

impl ApiError {
    pub fn new(code: i32, msg: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, msg: msg.into() }
    }

    pub fn with(status: StatusCode, code: i32, msg: impl Into<String>) -> Self {
        Self { status, code, msg: msg.into() }
    }

    /// -1121
    pub fn symbol() -> Self {
        Self::new(-1121, "Invalid symbol.")
    }

    /// -1120
    pub fn interval() -> Self {
        Self::new(-1120, "Invalid interval.")
    }

    /// -1120, with what there is for one that the exchange has and we do not keep.
    pub(crate) fn interval_of(word: &str, kept: &str) -> Self {
        match word {
            "1s" | "3m" | "15m" | "2h" | "6h" | "8h" | "12h" | "3d" | "1M" => {
                Self::new(-1120, format!("Invalid interval. Not kept here: {word}; there are {kept}."))
            }
            _ => Self::interval(),
        }
    }

    /// -1102
    pub fn missing(name: &str) -> Self {
        Self::new(-1102, format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."))
    }

    /// -1100
    pub(crate) fn characters(name: &str, legal: &str) -> Self {
        Self::new(-1100, format!("Illegal characters found in parameter '{name}'; legal range is '{legal}'."))
    }

    /// -1130
    pub fn value(name: &str) -> Self {
        Self::new(-1130, format!("Data sent for parameter '{name}' is not valid."))
    }

    /// -1128
    pub(crate) fn combination() -> Self {
        Self::new(-1128, "Combination of optional parameters invalid.")
    }

    /// -1023, of futures; spot has nothing between such times.
    pub(crate) fn start_after_end() -> Self {
        Self::new(-1023, "Start time is greater than end time.")
    }

    /// Ours to mend: the answer says no more than that, the log says why.
    pub fn internal(why: &(dyn Error + 'static)) -> Self {
        tracing::warn!(error = %ops::chain(why), "a request could not be answered");
        Self::with(
            StatusCode::SERVICE_UNAVAILABLE,
            -1001,
            "Internal error; unable to process your request. Please try again.",
        )
    }

    /// This process makes no candles.
    pub(crate) fn no_candles() -> Self {
        Self::with(StatusCode::SERVICE_UNAVAILABLE, -1001, "No configured venue has a source of candles.")
    }

    pub fn body(&self) -> String {
        format!("{{\"code\":{},\"msg\":{}}}", self.code, json_text(&self.msg))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "application/json;charset=UTF-8")], self.body()).into_response()
    }
}

/// As the exchange answers to paths it does not know; below its own paths with what there is.
pub(super) async fn nothing(method: Method, uri: Uri) -> ApiError {
    let path = uri.path();
    let shaped = ["/api/", "/fapi/", "/dapi/", "/sapi/", "/futures/", "/ws-"].iter().any(|p| path.starts_with(p));
    let why = if shaped { ": candles and trades are served here, see /v1/openapi.json" } else { "" };
    ApiError::with(StatusCode::NOT_FOUND, -5000, format!("Path {path}, Method {method} is invalid{why}"))
}
