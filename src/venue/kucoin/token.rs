//! The token that every connection needs, and the URL made with it.
//!
//! ```text
//! POST /api/v1/bullet-public ->
//! {"code":"200000","data":{"token":"2neA..","instanceServers":[{"endpoint":"wss://ws-api-spot.kucoin.com/",
//!   "encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}]}}
//! connect to <endpoint>?token=<token>&connectId=<unique>
//! ```
//! A token is good for one connection of at most 24 h; it is requested before every connect.

use super::super::message::{MessageName, Result, percent_encode};
use super::super::{Method, RestRequest, Token, TokenServer, json};
use super::envelope;
use super::field::int;

const OF: MessageName = MessageName("bullet-public");

/// Pings are due within these bounds, whatever the answer says, ms: KuCoin drops who is silent for about 60 s.
const PING_BOUNDS: (u64, u64) = (1_000, 50_000);

pub(super) fn request() -> RestRequest {
    RestRequest { method: Method::Post, ..RestRequest::of("token", None, "/api/v1/bullet-public", 10) }
}

/// The token and the WebSocket servers of an answer. A server that cannot be understood costs only itself.
pub(super) fn parse(body: &[u8]) -> Result<Token> {
    let data = envelope::data(body)?;
    let [token, servers] = json::object(data, &["token", "instanceServers"], &mut |_| ())?;
    let token = token.and_then(json::text).filter(|t| !t.is_empty()).map_or_else(|| OF.wrong("token"), Ok)?;
    let Some(servers) = servers.filter(|s| json::is_array(s)) else {
        return OF.wrong("instanceServers");
    };
    let (mut usable, mut wrong) = (Vec::new(), None);
    json::array(servers, &mut |entry| {
        match server(entry) {
            Ok(server) => usable.push(server),
            Err(why) => wrong = Some(why),
        }
        Ok(())
    })?;
    if usable.is_empty() {
        return wrong.map_or_else(|| OF.wrong("instanceServers"), Err);
    }
    Ok(Token { token: token.into_owned(), servers: usable })
}

fn server(entry: &str) -> Result<TokenServer> {
    let keys = ["endpoint", "pingInterval", "pingTimeout"];
    let [endpoint, interval, timeout] = json::object(entry, &keys, &mut |_| ())?;
    let endpoint = endpoint.and_then(json::text).filter(|e| e.starts_with("wss://") || e.starts_with("ws://"));
    let endpoint = endpoint.map_or_else(|| OF.wrong("endpoint"), Ok)?.into_owned();
    let (interval, timeout) = (int(OF, "pingInterval", interval)?, int(OF, "pingTimeout", timeout)?);
    let (Ok(interval), Ok(timeout)) = (u64::try_from(interval), u64::try_from(timeout)) else {
        return OF.wrong("pingInterval");
    };
    Ok(TokenServer {
        endpoint,
        ping_interval_ms: interval.clamp(PING_BOUNDS.0, PING_BOUNDS.1),
        ping_timeout_ms: timeout.clamp(PING_BOUNDS.0, PING_BOUNDS.1),
    })
}

/// The endpoint as it is, with the token; a host alone gets a path.
pub(super) fn connect_url(base: &str, token: Option<&Token>, connect_id: &str) -> String {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest);
    let slash = if host.contains(['/', '?']) { "" } else { "/" };
    let join = if host.contains('?') { "&" } else { "?" };
    let id = percent_encode(connect_id);
    match token {
        // `=` may stand in a value, and clients send tokens with it.
        Some(token) => {
            let token = percent_encode(&token.token).replace("%3D", "=");
            format!("{base}{slash}{join}token={token}&connectId={id}")
        }
        None => format!("{base}{slash}{join}connectId={id}"),
    }
}

/// `url` with the value of its token left out.
pub(super) fn redacted(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let hide = |part: &str| if part.starts_with("token=") { "token=REDACTED".to_owned() } else { part.to_owned() };
    let query: Vec<String> = query.split('&').map(hide).collect();
    format!("{before}?{}", query.join("&"))
}
