//! JSON as text: a quoted text, and a body as a response.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Text as JSON, with its quotes.
pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON text as a response.
pub(super) fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json;charset=UTF-8")], body).into_response()
}
