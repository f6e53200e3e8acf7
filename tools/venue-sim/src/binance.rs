//! Binance spot, USD-M and COIN-M: paths, stream routing, control messages and their exact replies. No sockets, no clock.
//!
//! Quirks kept as on the real venue: unknown streams are acked and stay silent; on USD-M a stream asked on the wrong category
//! (`/public`, `/market`) is acked and stays silent, and the paths without category deliver only `bookTicker` and `trade`.
//!
//! Assumed, because no document says it: more than 1024 streams closes the connection with 1008.

use serde_json::Value;

use crate::names::Names;
use crate::protocol::Reaction;
use crate::venue::Universe;

/// Tail of the venue's message about an unknown method.
const METHODS: &str =
    "expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`";

/// Which of the markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Market {
    Spot,
    Usdm,
    /// As USD-M, but on one path, and amounts count contracts.
    Coinm,
}

impl Market {
    /// What a contract of a symbol is worth, USD: Binance has 100 for BTC and 10 for all others. 1 where amounts are no contracts.
    pub fn contract_size(self, symbol: &str) -> i128 {
        match self {
            Market::Spot | Market::Usdm => 1,
            Market::Coinm if symbol.starts_with("BTCUSD_") => 100,
            Market::Coinm => 10,
        }
    }

    /// The pair of a symbol: `BTCUSD` of `BTCUSD_PERP`.
    pub fn pair(self, symbol: &str) -> &str {
        match self {
            Market::Coinm => symbol.split('_').next().unwrap_or(symbol),
            Market::Spot | Market::Usdm => symbol,
        }
    }

    pub fn rest_prefix(self) -> &'static str {
        match self {
            Market::Spot => "/api/v3",
            Market::Usdm => "/fapi/v1",
            Market::Coinm => "/dapi/v1",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    /// Spot and COIN-M: everything.
    All,
    Public,
    Market,
    Private,
    /// USD-M without category: what is left of it.
    Legacy,
}

impl Category {
    /// `moved`: channels that the other path serves.
    fn delivers(self, stream: &str, moved: &[String]) -> bool {
        let channel = match stream.strip_prefix('!') {
            Some(all) => all,
            None => stream.split_once('@').map_or("", |(_, channel)| channel),
        };
        let word = channel.split('@').next().unwrap_or("");
        let is_public = word == "bookTicker" || word == "trade" || word == "rpiDepth" || word.starts_with("depth");
        let is_public = is_public != moved.iter().any(|channel| channel == word);
        match self {
            Category::All => true,
            Category::Public => is_public,
            Category::Market => !is_public,
            Category::Private => false,
            Category::Legacy => word == "bookTicker" || word == "trade",
        }
    }
}

/// The protocol state of one WebSocket connection.
#[derive(Debug)]
pub(crate) struct BinanceSession {
    category: Category,
    moved: Vec<String>,
    /// Frames go out in their `{"stream":..,"data":..}` form.
    pub combined: bool,
    pub names: Names,
}

impl BinanceSession {
    /// The session a WebSocket path opens and the source streams it subscribes at once; `None` = no such path.
    pub fn open(
        market: Market,
        path: &str,
        query: &[(String, String)],
        universe: &Universe,
        moved: &[String],
    ) -> Option<(BinanceSession, Vec<u32>)> {
        let (category, rest) = match market {
            Market::Spot | Market::Coinm => (Category::All, path),
            Market::Usdm => {
                [("/public", Category::Public), ("/market", Category::Market), ("/private", Category::Private)]
                    .into_iter()
                    .find_map(|(prefix, category)| Some((category, path.strip_prefix(prefix)?)))
                    .unwrap_or((Category::Legacy, path))
            }
        };
        let (combined, list) = match rest.trim_end_matches('/') {
            "/stream" => {
                (true, query.iter().find(|(name, _)| name == "streams").map_or("", |(_, value)| value.as_str()))
            }
            "/ws" => (false, ""),
            other => (false, other.strip_prefix("/ws/")?),
        };
        let mut session = BinanceSession { category, moved: moved.to_vec(), combined, names: Names::new(universe) };
        let added = list
            .split('/')
            .filter(|name| !name.is_empty())
            .filter_map(|name| session.subscribe(name, universe))
            .collect();
        Some((session, added))
    }

    fn subscribe(&mut self, name: &str, universe: &Universe) -> Option<u32> {
        self.names.add(name, universe, |_| self.category.delivers(name, &self.moved))
    }

    /// Handles one text message of the client.
    pub fn on_text(&mut self, text: &[u8], universe: &Universe, streams_max: usize) -> Reaction {
        let request: Value = match serde_json::from_slice(text) {
            Ok(request) => request,
            Err(error) => return error_reply(3, &format!("Invalid JSON: {error}"), &Value::Null),
        };
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        let id_is_legal = match &id {
            Value::Null => true,
            Value::Number(number) => number.is_i64(),
            Value::String(text) => {
                text.len() <= 36 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            }
            _ => false,
        };
        if !id_is_legal {
            return error_reply(2, "Invalid request: request ID must be an unsigned integer", &Value::Null);
        }
        let Some(method) = request.get("method").and_then(Value::as_str) else {
            return error_reply(2, "Invalid request: missing field `method` at line 1 column 1", &id);
        };
        let params = request.get("params");
        match method {
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                let Some(names) = params
                    .and_then(Value::as_array)
                    .map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
                else {
                    return error_reply(2, "Invalid request: missing field `params` at line 1 column 1", &id);
                };
                let Some(names) = names else {
                    return error_reply(2, "Invalid request: property name must be a string", &id);
                };
                let mut reaction = ack(&id, &Value::Null);
                for name in names {
                    if method == "SUBSCRIBE" {
                        reaction.added.extend(self.subscribe(name, universe));
                    } else {
                        reaction.removed.extend(self.names.remove(name));
                    }
                }
                if self.names.count() > streams_max {
                    reaction.reply = None;
                    reaction.close = Some((1008, "Too many streams"));
                }
                reaction
            }
            "LIST_SUBSCRIPTIONS" => ack(&id, &Value::from(self.names.asked.clone())),
            "SET_PROPERTY" => match params.and_then(Value::as_array).map(Vec::as_slice) {
                Some([Value::String(name), value]) if name == "combined" => match value.as_bool() {
                    Some(combined) => {
                        self.combined = combined;
                        ack(&id, &Value::Null)
                    }
                    None => error_reply(1, "Invalid value type: expected Boolean", &id),
                },
                Some([Value::String(_), _]) => error_reply(0, "Unknown property", &id),
                Some([_, _]) => error_reply(2, "Invalid request: property name must be a string", &id),
                _ => error_reply(2, "Invalid request: too many parameters", &id),
            },
            "GET_PROPERTY" => match params.and_then(Value::as_array).map(Vec::as_slice) {
                Some([Value::String(name)]) if name == "combined" => ack(&id, &Value::Bool(self.combined)),
                Some([Value::String(_)]) => error_reply(0, "Unknown property", &id),
                Some([_]) => error_reply(2, "Invalid request: property name must be a string", &id),
                _ => error_reply(2, "Invalid request: too many parameters", &id),
            },
            other => error_reply(2, &format!("Invalid request: unknown variant `{other}`, {METHODS}"), &id),
        }
    }

    /// The event that announces a shutdown.
    pub fn server_shutdown(&self, now_ms: i64) -> String {
        let event = format!(r#"{{"e":"serverShutdown","E":{now_ms}}}"#);
        if self.combined { format!(r#"{{"stream":"!serverShutdown","data":{event}}}"#) } else { event }
    }
}

fn ack(id: &Value, result: &Value) -> Reaction {
    Reaction { reply: Some(format!(r#"{{"result":{result},"id":{id}}}"#)), ..Reaction::default() }
}

fn error_reply(code: u8, msg: &str, id: &Value) -> Reaction {
    Reaction {
        reply: Some(format!(r#"{{"code":{code},"msg":{},"id":{id}}}"#, Value::from(msg))),
        ..Reaction::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::script::StreamInfo;

    fn universe() -> Universe {
        Universe::new(["btcusdt@trade", "btcusdt@depth@0ms", "btcusdt@aggTrade"].map(StreamInfo::of).to_vec())
    }

    fn say(session: &mut BinanceSession, text: &str) -> Reaction {
        session.on_text(text.as_bytes(), &universe(), 1024)
    }

    fn spot() -> BinanceSession {
        BinanceSession::open(Market::Spot, "/stream", &[], &universe(), &[]).unwrap().0
    }

    #[test]
    fn control_messages_get_the_documented_replies() {
        let mut session = spot();
        for (request, reply) in [
            (r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","x@y"],"id":1}"#, r#"{"result":null,"id":1}"#),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":3}"#, r#"{"result":["btcusdt@trade","x@y"],"id":3}"#),
            (r#"{"method":"UNSUBSCRIBE","params":["x@y"],"id":"a1"}"#, r#"{"result":null,"id":"a1"}"#),
            (r#"{"method":"LIST_SUBSCRIPTIONS"}"#, r#"{"result":["btcusdt@trade"],"id":null}"#),
            (r#"{"method":"GET_PROPERTY","params":["combined"],"id":5}"#, r#"{"result":true,"id":5}"#),
            (r#"{"method":"SET_PROPERTY","params":["combined",false],"id":4}"#, r#"{"result":null,"id":4}"#),
            (r#"{"method":"GET_PROPERTY","params":["combined"],"id":6}"#, r#"{"result":false,"id":6}"#),
            (
                r#"{"method":"GET_PROPERTY","params":["colour"],"id":7}"#,
                r#"{"code":0,"msg":"Unknown property","id":7}"#,
            ),
            (
                r#"{"method":"SET_PROPERTY","params":["combined",1],"id":8}"#,
                r#"{"code":1,"msg":"Invalid value type: expected Boolean","id":8}"#,
            ),
        ] {
            assert_eq!(say(&mut session, request).reply.as_deref(), Some(reply), "{request}");
        }
    }

    #[test]
    fn bad_messages_get_codes_two_and_three() {
        let mut session = spot();
        for (request, start) in [
            ("{", r#"{"code":3,"msg":"Invalid JSON: "#),
            (r#"{"id":1}"#, r#"{"code":2,"msg":"Invalid request: missing field `method`"#),
            (r#"{"method":"JUMP","id":1}"#, r#"{"code":2,"msg":"Invalid request: unknown variant `JUMP`"#),
            (r#"{"method":"SUBSCRIBE","id":1}"#, r#"{"code":2,"msg":"Invalid request: missing field `params`"#),
            (r#"{"method":"SUBSCRIBE","params":[1],"id":1}"#, r#"{"code":2,"#),
            (r#"{"method":"SUBSCRIBE","params":[],"id":1.5}"#, r#"{"code":2,"msg":"Invalid request: request ID"#),
        ] {
            let reply = say(&mut session, request).reply.unwrap();
            assert!(reply.starts_with(start), "{request} -> {reply}");
        }
    }

    #[test]
    fn a_stream_of_the_wrong_category_is_acked_and_not_delivered() {
        for (path, delivered) in
            [("/public/stream", vec![0, 1]), ("/market/ws", vec![2]), ("/stream", vec![0]), ("/private/ws", vec![])]
        {
            let mut session = BinanceSession::open(Market::Usdm, path, &[], &universe(), &[]).unwrap().0;
            let reaction = say(
                &mut session,
                r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@depth@0ms","btcusdt@aggTrade"],"id":1}"#,
            );
            assert_eq!(reaction.reply.as_deref(), Some(r#"{"result":null,"id":1}"#), "{path}");
            assert_eq!(reaction.added, delivered, "{path}");
            assert_eq!(session.names.count(), 3, "{path}");
        }
    }

    #[test]
    fn a_channel_that_moved_is_delivered_on_the_other_path_only() {
        for (path, delivered) in [("/public/stream", vec![0, 1, 2]), ("/market/stream", vec![])] {
            let mut session =
                BinanceSession::open(Market::Usdm, path, &[], &universe(), &["aggTrade".into()]).unwrap().0;
            let reaction = say(
                &mut session,
                r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@depth@0ms","btcusdt@aggTrade"],"id":1}"#,
            );
            assert_eq!(reaction.added, delivered, "{path}");
        }
    }

    #[test]
    fn paths_subscribe_and_choose_the_frame_form() {
        let (session, added) =
            BinanceSession::open(Market::Spot, "/ws/btcusdt@trade/btcusdt@aggTrade", &[], &universe(), &[]).unwrap();
        assert_eq!((session.combined, added), (false, vec![0, 2]));
        let query = vec![("streams".to_owned(), "btcusdt@trade/nothing@trade".to_owned())];
        let (session, added) = BinanceSession::open(Market::Spot, "/stream", &query, &universe(), &[]).unwrap();
        assert_eq!((session.combined, added), (true, vec![0]));
        assert!(BinanceSession::open(Market::Spot, "/wss", &[], &universe(), &[]).is_none());
        assert!(BinanceSession::open(Market::Spot, "/public/stream", &[], &universe(), &[]).is_none());
    }

    #[test]
    fn too_many_streams_close_the_connection() {
        let mut session = spot();
        let reaction =
            session.on_text(br#"{"method":"SUBSCRIBE","params":["a@b","c@d","e@f"],"id":1}"#, &universe(), 2);
        assert_eq!(reaction.close, Some((1008, "Too many streams")));
    }
}
