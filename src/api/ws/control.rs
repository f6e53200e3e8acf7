//! What a client of the exchange's streams may say, and names of streams. Pure.
//!
//! Requests and errors as in the Binance API documentation, "WebSocket Streams": `{"method":"SUBSCRIBE","params":
//! ["btcusdt@kline_1m"],"id":1}`; errors carry 0 unknown property, 1 invalid value type, 2 invalid request, 3
//! invalid JSON.

use serde_json::Value;

use model::Interval;

/// What a stream shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    Bar(Interval),
    /// Bars of a pair's perpetual, in the shape of `continuousKline`; futures only.
    Continuous(Interval, Contract),
    /// Aggregates, or single trades.
    Trade {
        aggregate: bool,
    },
}

/// Contracts without an end that a pair may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Contract {
    Perpetual,
    TradifiPerpetual,
}

impl Contract {
    const ALL: [Contract; 2] = [Self::Perpetual, Self::TradifiPerpetual];

    /// The venue's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Perpetual => "PERPETUAL",
            Self::TradifiPerpetual => "TRADIFI_PERPETUAL",
        }
    }
}

impl Topic {
    /// Which bars it shows.
    pub fn interval(self) -> Option<Interval> {
        match self {
            Self::Bar(interval) | Self::Continuous(interval, _) => Some(interval),
            Self::Trade { .. } => None,
        }
    }
}

/// `btcusdt@kline_1m` as symbol and topic; `None` for anything we do not serve.
pub(super) fn stream(name: &str) -> Option<(String, Topic)> {
    let (symbol, topic) = name.split_once('@')?;
    let upper = symbol.to_uppercase();
    if symbol.is_empty() || symbol.len() > 80 {
        return None;
    }
    if let Some(interval) = topic.strip_prefix("continuousKline_") {
        let interval = Interval::parse(interval)?;
        // The longer name ends with the shorter one.
        return Contract::ALL.iter().rev().find_map(|contract| {
            let pair = upper.strip_suffix(contract.as_str())?.strip_suffix('_')?;
            (!pair.is_empty()).then(|| (pair.to_owned(), Topic::Continuous(interval, *contract)))
        });
    }
    let topic = match topic {
        "aggTrade" => Topic::Trade { aggregate: true },
        "trade" => Topic::Trade { aggregate: false },
        other => Topic::Bar(Interval::parse(other.strip_prefix("kline_")?)?),
    };
    Some((upper, topic))
}

/// A request.
#[derive(Debug, PartialEq)]
pub(super) enum ControlRequest {
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    List,
    SetCombined(bool),
    GetCombined,
}

/// A request that is none: its code, why, and its id as far as it could be read.
#[derive(Debug, PartialEq)]
pub(super) struct BadRequest {
    pub code: i32,
    pub msg: String,
    pub id: Value,
}

impl BadRequest {
    pub fn text(&self) -> String {
        serde_json::json!({"code": self.code, "msg": self.msg, "id": self.id}).to_string()
    }
}

/// Reads a message; the id goes into the answer as it came.
pub(super) fn parse_request(text: &str) -> Result<(ControlRequest, Value), BadRequest> {
    let bad = |code: i32, msg: &str, id: &Value| BadRequest { code, msg: msg.to_owned(), id: id.clone() };
    let none = Value::Null;
    let value: Value = serde_json::from_str(text).map_err(|e| BadRequest {
        code: 3,
        msg: format!("Invalid JSON: {e}"),
        id: Value::Null,
    })?;
    let Value::Object(map) = &value else {
        return Err(bad(2, "Invalid request: not an object", &none));
    };
    let id = map.get("id").cloned().unwrap_or(Value::Null);
    match &id {
        Value::Null => {}
        Value::Number(n) if n.is_i64() || n.is_u64() => {}
        Value::String(s) if s.len() <= 36 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {}
        _ => {
            return Err(bad(
                2,
                "Invalid request: request ID must be an integer, a string of at most 36 letters and digits, or null",
                &none,
            ));
        }
    }
    let Some(method) = map.get("method").and_then(Value::as_str) else {
        return Err(bad(2, "Invalid request: missing field `method`", &id));
    };
    let params = map.get("params");
    let streams = || -> Result<Vec<String>, BadRequest> {
        let list = params
            .and_then(Value::as_array)
            .ok_or_else(|| bad(2, "Invalid request: `params` must be an array of streams", &id))?;
        list.iter()
            .map(|p| p.as_str().map(str::to_owned).ok_or_else(|| bad(1, "Invalid value type: expected a string", &id)))
            .collect()
    };
    let property = || params.and_then(Value::as_array).and_then(|p| p.first()?.as_str());
    let request = match method {
        "SUBSCRIBE" => ControlRequest::Subscribe(streams()?),
        "UNSUBSCRIBE" => ControlRequest::Unsubscribe(streams()?),
        "LIST_SUBSCRIPTIONS" => ControlRequest::List,
        "SET_PROPERTY" | "GET_PROPERTY" if property() != Some("combined") => {
            return Err(bad(0, "Unknown property", &id));
        }
        "GET_PROPERTY" => ControlRequest::GetCombined,
        "SET_PROPERTY" => match params.and_then(|p| p.get(1)).and_then(Value::as_bool) {
            Some(on) => ControlRequest::SetCombined(on),
            None => return Err(bad(1, "Invalid value type: expected a boolean", &id)),
        },
        other => {
            let msg = format!("Invalid request: unknown variant `{}`", other.chars().take(40).collect::<String>());
            return Err(bad(2, &msg, &id));
        }
    };
    Ok((request, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_by_symbol_and_topic() {
        assert_eq!(stream("btcusdt@kline_1m"), Some(("BTCUSDT".into(), Topic::Bar(Interval::M1))));
        assert_eq!(stream("币安人生usdt@aggTrade"), Some(("币安人生USDT".into(), Topic::Trade { aggregate: true })));
        assert_eq!(
            stream("btcusdt_perpetual@continuousKline_1m"),
            Some(("BTCUSDT".into(), Topic::Continuous(Interval::M1, Contract::Perpetual)))
        );
        assert_eq!(
            stream("TSLAUSDT_tradifi_perpetual@continuousKline_1d"),
            Some(("TSLAUSDT".into(), Topic::Continuous(Interval::D1, Contract::TradifiPerpetual)))
        );
        for unknown in ["btcusdt@continuousKline_1m", "_perpetual@continuousKline_1m", "x_perpetual@continuousKline_3m"]
        {
            assert_eq!(stream(unknown), None, "{unknown}");
        }
        for unknown in ["btcusdt", "btcusdt@kline_3m", "@trade", "btcusdt@depth", "btcusdt@kline_1M", "!ticker@arr"] {
            assert_eq!(stream(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn requests_and_damaged_requests_get_what_the_exchange_gives() {
        assert_eq!(
            parse_request(r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":1}"#),
            Ok((ControlRequest::Subscribe(vec!["a@trade".into()]), Value::from(1)))
        );
        assert_eq!(
            parse_request(r#"{"method":"SET_PROPERTY","params":["combined",true]}"#),
            Ok((ControlRequest::SetCombined(true), Value::Null))
        );
        let code = |text: &str| parse_request(text).err().map(|b| b.code);
        assert_eq!(code("{"), Some(3));
        assert_eq!(code("[]"), Some(2));
        assert_eq!(code(r#"{"method":"BUY","id":1}"#), Some(2));
        assert_eq!(code(r#"{"method":"SUBSCRIBE","params":"x","id":1}"#), Some(2));
        assert_eq!(code(r#"{"method":"SUBSCRIBE","params":[1],"id":1}"#), Some(1));
        assert_eq!(code(r#"{"method":"GET_PROPERTY","params":["x"],"id":1}"#), Some(0));
        assert_eq!(code(r#"{"method":"LIST_SUBSCRIPTIONS","id":[]}"#), Some(2));
    }
}
