//! The exchange's WebSocket API, `/ws-api/v3` and `/ws-fapi/v1`: the requests of REST over one socket.
//!
//! `{"id":1,"method":"klines","params":{"symbol":"BTCUSDT","interval":"1m"}}` is answered with
//! `{"id":1,"status":200,"result":[..],"rateLimits":[..]}`, a refusal with `error` in place of `result`. What REST
//! answers is the answer, so the two cannot differ; weights count on the same account.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::mailbox::Mailbox;
use super::socket::{End, SocketSession, SocketWriter, run};
use super::upgrade::WebSocket;
use crate::app::Shared;
use crate::binance::{self, Family};
use crate::error::{ApiError, ApiResult, Failed, nothing};
use crate::guard;

/// Longest answer; the largest one there is has a few MiB.
const ANSWER_MAX: usize = 64 << 20;
/// The REST path of each method, below the family's own.
const METHODS: [(&str, &str); 15] = [
    ("ping", "ping"),
    ("time", "time"),
    ("exchangeInfo", "exchangeInfo"),
    ("depth", "depth"),
    ("trades.recent", "trades"),
    ("trades.historical", "historicalTrades"),
    ("trades.aggregate", "aggTrades"),
    ("klines", "klines"),
    ("uiKlines", "uiKlines"),
    ("ticker.24hr", "ticker/24hr"),
    ("ticker.tradingDay", "ticker/tradingDay"),
    ("ticker", "ticker"),
    ("ticker.price", "ticker/price"),
    ("ticker.book", "ticker/bookTicker"),
    ("avgPrice", "avgPrice"),
];

/// See the module.
pub(super) struct Api {
    app: Shared,
    rest: TowerToHyperService<Router>,
    mailbox: Arc<Mailbox>,
    prefix: &'static str,
    peer: Option<SocketAddr>,
    /// `timeUnit` of the socket's address.
    unit: Option<String>,
    /// `returnRateLimits` of the socket's address.
    limits: bool,
}

impl Api {
    pub fn new(
        app: Shared,
        family: Family,
        peer: Option<SocketAddr>,
        unit: Option<String>,
        limits: bool,
    ) -> ApiResult<Self> {
        let mailbox = app.dispatcher.as_ref().ok_or_else(ApiError::no_candles)?.mailbox();
        let prefix = match family {
            Family::Spot => "/api/v3/",
            Family::Usdm => "/fapi/v1/",
        };
        let rest = guard::weighed(binance::router().fallback(nothing), Arc::clone(&app)).with_state(Arc::clone(&app));
        Ok(Self { app, rest: TowerToHyperService::new(rest), mailbox, prefix, peer, unit, limits })
    }

    pub async fn run(self, socket: WebSocket) {
        let app = Arc::clone(&self.app);
        run(&app, socket, self).await;
    }

    /// The answer to one request.
    async fn answer(&self, text: &str) -> String {
        let request: Map<String, Value> = match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            _ => return error(&Value::Null, 400, -1135, "A JSON request was sent that is not valid."),
        };
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        if !matches!(id, Value::Null | Value::Number(_) | Value::String(_)) {
            return error(&Value::Null, 400, -1135, "The id of a request is a number, a text or null.");
        }
        let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
        let Some((_, path)) = METHODS.iter().find(|(m, _)| *m == method) else {
            let method: String = method.chars().take(40).collect();
            let msg = format!("Method {method} is invalid: candles and trades are served here.");
            return error(&id, 404, -5000, &msg);
        };
        let none = Map::new();
        let params = request.get("params").and_then(Value::as_object).unwrap_or(&none);
        let limits = params.get("returnRateLimits").and_then(Value::as_bool).unwrap_or(self.limits);
        match self.request(path, params).await {
            Ok((status, weight, body)) => self.wrap(&id, status, limits.then_some(weight), &body),
            Err(_) => error(&id, 400, -1100, "Illegal characters found in a parameter."),
        }
    }

    /// What REST answers: status, used weight and body.
    async fn request(&self, path: &str, params: &Map<String, Value>) -> Result<(StatusCode, u64, String), Failed> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pair = |(name, value): (&String, &Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{}={}", encoded(name), encoded(&text))
        };
        let sent = params.iter().filter(|(name, value)| *name != "returnRateLimits" && !value.is_null());
        let query = sent.map(pair).collect::<Vec<_>>().join("&");
        let mut request = Request::builder().uri(format!("{}{path}?{query}", self.prefix));
        if let Some(unit) = &self.unit {
            request = request.header("x-mbx-time-unit", unit);
        }
        let mut request = request.body(Body::empty())?;
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let Ok(answer) = self.rest.call(request).await;
        let weight = answer.headers().get("x-mbx-used-weight-1m").and_then(|w| w.to_str().ok()?.parse().ok());
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), ANSWER_MAX).await?;
        Ok((status, weight.unwrap_or(0), String::from_utf8(body.into())?))
    }

    fn wrap(&self, id: &Value, status: StatusCode, weight: Option<u64>, body: &str) -> String {
        let member = if status.is_success() { "result" } else { "error" };
        // As text: numbers stay as they were printed.
        let body = serde_json::from_str::<&RawValue>(body).map_or("null", RawValue::get);
        let limits = weight.map_or_else(String::new, |count| {
            let limit = json!([{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
                "limit": self.app.cfg.weight_per_minute, "count": count}]);
            format!(",\"rateLimits\":{limit}")
        });
        format!("{{\"id\":{id},\"status\":{},\"{member}\":{body}{limits}}}", status.as_u16())
    }
}

fn error(id: &Value, status: u16, code: i32, msg: &str) -> String {
    json!({"id": id, "status": status, "error": {"code": code, "msg": msg}}).to_string()
}

impl SocketSession for Api {
    fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    fn is_rate_limited(&self) -> bool {
        // Requests have weights, as over REST.
        false
    }

    async fn begin(&mut self, _out: &mut SocketWriter<'_>) -> Result<(), End> {
        Ok(())
    }

    async fn on_message(&mut self, text: &str, out: &mut SocketWriter<'_>) -> Result<(), End> {
        let answer = self.answer(text).await;
        out.write([Message::text(answer)]).await
    }

    async fn send(&mut self, _out: &mut SocketWriter<'_>) -> Result<(), End> {
        // This mailbox stays empty.
        Ok(())
    }

    fn close(&mut self) {}
}
