//! A venue with every ceremony there is: a token per connect, a header with a key, a welcome, pings from the client,
//! refusals that mean "later". Otherwise it is Binance spot.

use serde_json::Value;

use model::{Channel, Decoded, Rows};
use venue::binance::spot::{self, SPOT};
use venue::{
    ConnectionPlan, Control, Decode, DecodeError, Frame, Heartbeat, Limits, RestRequest, StreamKey, Streams,
    SubscribeMessage, Token, TokenServer, Venue, VenueSpec, Verb, Want,
};

const SPEC: VenueSpec = VenueSpec {
    api_key_header: Some("X-KEY"),
    waits_for_welcome: true,
    heartbeat: Heartbeat::ClientText { every_ms: 60_000, timeout_ms: 60_000 },
    repair: &[],
    klines: None,
    ..spot::SPEC
};

/// See the module.
pub static FORMAL: Venue = Venue { spec: &SPEC, streams: &Formal, rest: SPOT.rest, frames: &Formal };

struct Formal;

impl Streams for Formal {
    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        SPOT.streams.plan(wants, limits)
    }
    fn messages(
        &self,
        verb: Verb,
        streams: &[String],
        limits: &Limits,
        first_id: u64,
        now_s: i64,
    ) -> Vec<SubscribeMessage> {
        SPOT.streams.messages(verb, streams, limits, first_id, now_s)
    }
    fn token_request(&self) -> Option<RestRequest> {
        Some(RestRequest::of("token", None, "/token", 1))
    }
    fn parse_token(&self, body: &[u8]) -> Result<Token, DecodeError> {
        let json: Value = serde_json::from_slice(body).unwrap();
        let text = |k: &str| json[k].as_str().unwrap().to_owned();
        let server = |endpoint: &Value| TokenServer {
            endpoint: endpoint.as_str().unwrap().to_owned(),
            ping_interval_ms: 300,
            ping_timeout_ms: 1_000,
        };
        Ok(Token { token: text("token"), servers: json["servers"].as_array().unwrap().iter().map(server).collect() })
    }
    fn connect_url(&self, ws_base: &str, plan: &ConnectionPlan, token: Option<&Token>, connect_id: &str) -> String {
        let token = token.map_or("none", |t| t.token.as_str());
        format!("{ws_base}{}?token={token}&connectId={connect_id}", plan.path_and_query)
    }
    fn redacted(&self, url: &str) -> String {
        format!("{}?token=...", url.split('?').next().unwrap_or_default())
    }
    fn ping_message(&self, id: u64, _now_s: i64) -> Option<String> {
        Some(format!(r#"{{"type":"ping","id":{id}}}"#))
    }
}

impl Decode for Formal {
    fn stream_of<'a>(&self, payload: &'a [u8], binary: bool) -> Option<StreamKey<'a>> {
        SPOT.frames.stream_of(payload, binary)
    }
    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        SPOT.frames.channel_of(key)
    }
    fn control(&self, payload: &[u8]) -> Option<Control> {
        let json: Value = serde_json::from_slice(payload).ok()?;
        match json["type"].as_str() {
            Some("welcome") => Some(Control::Welcome),
            Some("pong") => Some(Control::Pong),
            Some("throttled") => {
                Some(Control::Error { id: json["id"].as_u64(), code: 509, msg: "too fast".into(), throttled: true })
            }
            _ => SPOT.frames.control(payload),
        }
    }
    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        SPOT.frames.decode(frame, rows)
    }
}
