//! A REST request, and which request a body of the log answers.

use serde::{Deserialize, Serialize};

/// The ids a REST body was fetched for. Decoding keeps only rows with `from <= id <= to`: trades by their `id`,
/// aggregates by their `agg_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// First id wanted.
    pub from: i64,
    /// Last id wanted.
    pub to: i64,
}

impl Fill {
    /// True when `id` was requested.
    pub fn holds(&self, id: i64) -> bool {
        (self.from..=self.to).contains(&id)
    }
}

/// HTTP method of a REST request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads something.
    Get,
    /// Requests something new, with an empty body (KuCoin's tokens).
    Post,
}

/// One REST request.
#[derive(Clone, Debug, PartialEq)]
pub struct RestRequest {
    /// HTTP method.
    pub method: Method,
    /// Appended to the venue's (or the configured) REST base; percent-encoded.
    pub path_and_query: String,
    /// Weight it costs.
    pub weight: u32,
    /// Channel name stored with the body (`symbols`, `depth_snapshot`).
    pub channel: String,
    /// Symbol the request is about.
    pub symbol: Option<String>,
    /// Ids it requests, when it repairs a gap.
    pub fill: Option<Fill>,
}

impl RestRequest {
    /// Reads something with `GET`; the arguments are the fields.
    pub fn of(channel: &str, symbol: Option<&str>, path_and_query: impl Into<String>, weight: u32) -> Self {
        let (channel, symbol) = (channel.to_owned(), symbol.map(str::to_owned));
        Self { method: Method::Get, path_and_query: path_and_query.into(), weight, channel, symbol, fill: None }
    }

    /// What is stored beside its answer; `url`: without secrets.
    pub fn meta(&self, url: String, status: u16) -> RestMeta {
        RestMeta { channel: self.channel.clone(), symbol: self.symbol.clone(), url, status, fill: self.fill }
    }
}

/// What is stored beside a REST body in the log, so that the body explains itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestMeta {
    /// Channel name (`symbols`, `depth_snapshot`).
    pub channel: String,
    /// Symbol the request was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Full request URL without secrets.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    /// Ids that were requested, when it repairs a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
}
