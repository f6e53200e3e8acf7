//! The page at `/` and its files: made from `app/` by `build.rs`, part of the binary, with requests to this server only.
//!
//! A file's name holds the hash of its content, so browsers may keep it for ever; the page itself is requested each
//! time. Where the files were not built the page says why, and how to get them.

#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::app::Shared;

/// What `build.rs` made.
mod built {
    #[allow(unused_imports, reason = "without built files no file is named")]
    use super::{Bundle, File};

    include!(concat!(env!("OUT_DIR"), "/page.rs"));
}

/// One file below `/assets/`.
#[derive(Clone, Copy, Debug)]
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

/// The page and its files.
#[derive(Clone, Copy, Debug)]
struct Bundle {
    /// The page; `None` = it was not built.
    index: Option<&'static str>,
    /// Why not.
    why_not: &'static str,
    files: &'static [File],
}

/// Nothing but our own files and connections; no script or style within the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A name with a hash never means other bytes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(|| async { built::BUNDLE.page() }))
        .route("/assets/{file}", get(|Path(file): Path<String>| async move { built::BUNDLE.file(&file) }))
}

impl Bundle {
    fn page(&self) -> Response {
        let body = self.index.map_or_else(|| not_built(self.why_not), str::to_owned);
        guarded(([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], body))
    }

    fn file(&self, name: &str) -> Response {
        match self.files.iter().find(|f| f.name == name) {
            Some(file) => guarded(([(header::CONTENT_TYPE, file.kind), (header::CACHE_CONTROL, FOR_EVER)], file.bytes)),
            None => guarded((StatusCode::NOT_FOUND, "No such file: the page belongs to another build, reload it.\n")),
        }
    }
}

/// With the headers that keep browsers from doing more than was meant.
fn guarded(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The page without its files.
fn not_built(why: &str) -> String {
    let why = why.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tapedeck</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"dark light\"></head>\n\
         <body><h1>Tapedeck</h1>\n\
         <p>The services run; the files of this page were not built into this binary.</p>\n<p>Why: {why}</p>\n\
         <p>To get them, install Node.js 20 or newer with npm (<code>apt-get install nodejs npm</code>, \
         <code>brew install node</code>, or nodejs.org), then rebuild in the source tree:</p>\n\
         <pre>TAPEDECK_PAGE=on cargo build --release --workspace</pre>\n\
         <p>and start the compactor again. With <code>TAPEDECK_PAGE=on</code> the build says what is missing instead of \
         going on without.</p>\n\
         <p>Meanwhile: <a href=\"/health\">health</a>, <a href=\"/metrics\">metrics</a>, \
         <a href=\"/v1/system\">both services</a>, <a href=\"/v1/snapshot?intervals=1m\">candles</a>, \
         <a href=\"/v1/openapi.json\">all paths (OpenAPI)</a>.</p></body></html>\n"
    )
}
