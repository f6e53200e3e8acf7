//! Gate's WebSocket v4 on both markets: requests, acks, errors, pings, the system notice. No sockets.
//!
//! Texts are those of gate.com's "Spot WebSocket v4" and "Futures WebSocket v4" pages. Quirks kept as on the real venue: one unknown
//! contract fails the whole payload on futures and leaves nothing subscribed; an error names neither the request nor its payload, as the
//! pages show it; the `time` of a request must be within a minute of the server's. Assumed, because no page says it: an unknown pair fails the payload on spot as well.

pub(crate) mod frames;
pub(crate) mod recorded;
pub(crate) mod rest;
pub(crate) mod sizes;

use serde_json::{Value, json};

use crate::binance::Market;
use crate::names::Names;
use crate::protocol::{Dress, Reaction};
use crate::report::wall_ns;
use crate::venue::Venue;

/// How far a request's `time` may be off, s.
const TIME_OFF_S: i64 = 60;

/// Channels without their `spot.` or `futures.`.
const CHANNELS: [&str; 6] =
    ["trades", "tickers", "book_ticker", "order_book_update", "candlesticks", "public_liquidates"];

/// The protocol state of one connection.
#[derive(Debug)]
pub(crate) struct GateSession {
    pub names: Names,
    market: Market,
    /// Sizes of contracts go out as decimal texts.
    pub decimal_sizes: bool,
    connection: String,
}

struct Request<'v> {
    id: Option<&'v Value>,
    channel: &'v str,
    event: &'v str,
    payload: Value,
}

impl GateSession {
    /// The session of an upgrade.
    pub fn open(venue: &Venue, decimal_sizes: bool) -> GateSession {
        GateSession {
            names: Names::new(&venue.universe),
            market: venue.market,
            decimal_sizes,
            connection: format!("{:016x}", wall_ns()),
        }
    }

    fn prefix(&self) -> &'static str {
        prefix(self.market)
    }

    /// How a frame goes to this connection.
    pub fn dress(&self, frame: &[u8]) -> Dress {
        if self.market == Market::Spot {
            return Dress::Whole;
        }
        sizes::converted(frame, self.decimal_sizes).map_or(Dress::Whole, Dress::Made)
    }

    /// The notice of an upgrade of the server.
    pub fn shutdown_notice(&self, now_ms: i64) -> String {
        format!(
            r#"{{"time":{},"time_ms":{now_ms},"channel":"{}.system","event":"update","result":{{"type":"upgrade","msg":"The connection will soon be closed for upgrade, please reconnect."}}}}"#,
            now_ms / 1_000,
            self.prefix()
        )
    }

    /// Handles one message.
    pub fn on_text(&mut self, text: &[u8], venue: &Venue, now_ms: i64) -> Reaction {
        let Ok(message) = serde_json::from_slice::<Value>(text) else {
            let request = Request { id: None, channel: "", event: "", payload: Value::Null };
            return self.error(&request, now_ms, 1, "invalid request body: not JSON");
        };
        let text = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or("");
        let request = Request {
            id: message.get("id").filter(|id| !id.is_null()),
            channel: text("channel"),
            event: text("event"),
            payload: message.get("payload").cloned().unwrap_or(Value::Null),
        };
        let Some(time_s) = message.get("time").and_then(Value::as_i64) else {
            return self.error(&request, now_ms, 1, "invalid request body: time is required");
        };
        let Some(channel) = request.channel.strip_prefix(self.prefix()).and_then(|rest| rest.strip_prefix('.')) else {
            return self.error(&request, now_ms, 2, &format!("unknown channel {}", request.channel));
        };
        if (time_s - now_ms.div_euclid(1_000)).abs() > TIME_OFF_S {
            return self.error(&request, now_ms, 2, &format!("invalid argument: time {time_s} is out of range"));
        }
        if channel == "ping" {
            let id = request.id.map_or(String::new(), |id| format!(r#""id":{id},"#));
            let reply = format!(
                r#"{{"time":{},"time_ms":{now_ms},{id}"channel":"{}.pong","event":"","error":null,"result":null}}"#,
                now_ms / 1_000,
                self.prefix()
            );
            return Reaction { reply: Some(reply), is_pong: true, ..Reaction::default() };
        }
        let is_on = match request.event {
            "subscribe" => true,
            "unsubscribe" => false,
            other => return self.error(&request, now_ms, 1, &format!("unknown event {other}")),
        };
        match self.symbols(channel, &request.payload, venue) {
            Ok(symbols) => {
                let mut reaction = self.ack(&request, now_ms);
                for symbol in symbols {
                    let name = format!("{} {symbol}", request.channel);
                    if is_on {
                        reaction.added.extend(self.names.add(&name, &venue.universe, |exact| exact));
                    } else {
                        reaction.removed.extend(self.names.remove(&name));
                    }
                }
                reaction
            }
            Err(why) => self.error(&request, now_ms, 2, &why),
        }
    }

    /// The symbols of a payload, in the shape of its channel.
    fn symbols(&self, channel: &str, payload: &Value, venue: &Venue) -> Result<Vec<String>, String> {
        let spot = self.market == Market::Spot;
        if !CHANNELS.contains(&channel) || (spot && channel == "public_liquidates") {
            return Err(format!("unknown channel {}.{channel}", self.prefix()));
        }
        let words: Option<Vec<&str>> = payload.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        let words = words.filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| "invalid argument: payload must be a list of texts".to_owned())?;
        let symbols = match (channel, words.as_slice()) {
            ("order_book_update", [symbol, speed, depth @ ..]) => {
                let depth_is_right = match (spot, depth) {
                    (_, []) => true,
                    (false, [depth]) => matches!((*speed, *depth), ("100ms", "20" | "50" | "100") | ("20ms", "20")),
                    _ => false,
                };
                if !matches!(*speed, "20ms" | "100ms") || !depth_is_right {
                    return Err(format!("invalid argument: {}", words.join(",")));
                }
                vec![*symbol]
            }
            ("candlesticks", [interval, symbol]) => {
                if !matches!(*interval, "10s" | "1m" | "5m" | "15m" | "30m" | "1h" | "4h" | "8h" | "1d" | "7d") {
                    return Err(format!("invalid argument: interval {interval}"));
                }
                // Only minutes are played; other intervals are acked and stay silent.
                if *interval == "1m" { vec![*symbol] } else { Vec::new() }
            }
            ("order_book_update" | "candlesticks", _) => return Err("invalid argument: payload length".to_owned()),
            ("public_liquidates", ["!all"]) => {
                if venue.universe.is_open() {
                    return Ok(vec!["!all".to_owned()]);
                }
                let all = venue.universe.infos().into_iter();
                let all = all.filter(|info| info.channel() == "futures.public_liquidates");
                return Ok(all.map(|info| info.symbol).collect());
            }
            (_, symbols) => symbols.to_vec(),
        };
        match symbols.iter().find(|symbol| !rest::is_listed(venue, symbol)) {
            Some(stray) if spot => Err(format!("unknown currency pair: {stray}")),
            Some(stray) => Err(format!("unknown contract {stray}")),
            None => Ok(symbols.into_iter().map(str::to_owned).collect()),
        }
    }

    fn head(&self, request: &Request<'_>, now_ms: i64) -> String {
        let id = request.id.map_or(String::new(), |id| format!(r#""id":{id},"#));
        format!(
            r#"{{"time":{},"time_ms":{now_ms},{id}"conn_id":"{}","trace_id":"{:032x}","channel":{},"event":{},"payload":{}"#,
            now_ms / 1_000,
            self.connection,
            wall_ns(),
            Value::from(request.channel),
            Value::from(request.event),
            request.payload
        )
    }

    fn ack(&self, request: &Request<'_>, now_ms: i64) -> Reaction {
        let reply = format!(r#"{},"error":null,"result":{{"status":"success"}}}}"#, self.head(request, now_ms));
        Reaction { reply: Some(reply), ..Reaction::default() }
    }

    fn error(&self, request: &Request<'_>, now_ms: i64, code: u8, why: &str) -> Reaction {
        let error = json!({ "code": code, "message": why });
        let reply = format!(
            r#"{{"time":{},"channel":{},"event":{},"error":{error},"result":null}}"#,
            now_ms / 1_000,
            Value::from(request.channel),
            Value::from(request.event)
        );
        Reaction { reply: Some(reply), ..Reaction::default() }
    }
}

/// What channels of a market begin with.
pub(crate) fn prefix(market: Market) -> &'static str {
    match market {
        Market::Spot => "spot",
        Market::Usdm | Market::Coinm => "futures",
    }
}
