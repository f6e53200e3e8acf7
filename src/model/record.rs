//! What the collector writes besides frames: one small JSON object per record, so a log explains itself.
//!
//! The names are read by the compactor and by people; they are part of the log's contract.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Channel;

/// Payload of a ConnOpen record.
#[derive(Debug, Serialize)]
pub struct ConnOpen<'a> {
    /// Full URL.
    pub url: &'a str,
    /// Our address.
    pub local: String,
    /// The address we are connected to.
    pub peer: String,
    /// Redundant line, 0 = first.
    pub line: u32,
    /// Number of streams that will be subscribed.
    pub streams: usize,
    /// True with TLS.
    pub tls: bool,
    /// Host and port of the proxy, where one is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<&'a str>,
    /// Attempts it took, from 1.
    pub attempt: u32,
}

/// Payload of a Subscribe record.
#[derive(Debug, Serialize)]
pub struct Subscribe<'a> {
    /// The text as sent.
    pub request: &'a str,
}

/// Payload of a ConnClose record.
#[derive(Debug, Serialize)]
pub struct ConnClose<'a> {
    /// `server` closed, `lost` connection, `stale`: no frame; `rotate`: planned; collector `shutdown`; `log` write failed.
    pub cause: &'a str,
    /// Close code the server sent.
    pub code: Option<u16>,
    /// Close reason the server sent.
    pub reason: Option<&'a str>,
    /// What failed, if anything.
    pub error: Option<&'a str>,
    /// Messages appended.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Life of the connection, ms.
    pub uptime_ms: u64,
}

/// True for the payload of a ConnClose record of a planned end: replacement, or shutdown of the collector.
pub fn is_planned_close(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Cause<'a> {
        #[serde(borrow)]
        cause: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Cause<'_>>(payload).is_ok_and(|closed| matches!(&*closed.cause, "rotate" | "shutdown"))
}

/// Payload of a Gap record: between the two times these streams may miss frames because of our connection.
#[derive(Debug, Serialize)]
pub struct Gap<'a> {
    /// The cause of the ConnClose before it; or `silent`: the connection stayed, these were silent for unusually long.
    pub reason: &'a str,
    /// Last frame before, ns since epoch.
    pub from_ns: u64,
    /// End of the gap, ns since epoch: resubscribed or delivering again; if still silent, another Gap starts here.
    pub to_ns: u64,
    /// Stream names.
    pub streams: &'a [String],
}

/// Payload of an Event record.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// Kind.
    pub kind: &'a str,
    /// Facts.
    pub detail: Value,
}

/// Kind of the event that certain symbols are recorded no more on certain channels, on purpose:
/// `{"channels":{"trades":["BTCUSDT"]}}`.
pub const UNSUBSCRIBED_EVENT: &str = "unsubscribed";

/// The symbols that an `unsubscribed` event names; empty for any other event.
pub fn parse_unsubscribed(payload: &[u8]) -> Vec<(Channel, String)> {
    #[derive(Deserialize)]
    struct Detail {
        channels: BTreeMap<String, Vec<String>>,
    }
    #[derive(Deserialize)]
    struct AnyEvent {
        kind: String,
        detail: Value,
    }
    // Most events are others, and some of them are long.
    if memchr::memmem::find(payload, UNSUBSCRIBED_EVENT.as_bytes()).is_none() {
        return Vec::new();
    }
    let event = serde_json::from_slice::<AnyEvent>(payload).ok().filter(|event| event.kind == UNSUBSCRIBED_EVENT);
    let detail = event.and_then(|event| serde_json::from_value::<Detail>(event.detail).ok());
    let channels = detail.into_iter().flat_map(|detail| detail.channels);
    channels
        .filter_map(|(word, symbols)| Some((word.parse::<Channel>().ok()?, symbols)))
        .flat_map(|(channel, symbols)| symbols.into_iter().map(move |symbol| (channel, symbol)))
        .collect()
}

/// A payload as JSON text.
pub fn to_json(payload: &impl Serialize) -> Vec<u8> {
    // These types hold texts, numbers and lists only: writing them to memory cannot fail.
    serde_json::to_vec(payload).expect("plain data serialises")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_names_of_the_records_are_the_contract() {
        let text = |v: Vec<u8>| String::from_utf8(v).expect("JSON is UTF-8");
        assert_eq!(
            text(to_json(&ConnClose {
                cause: "server",
                code: Some(1008),
                reason: Some("Too many requests"),
                error: None,
                frames: 3,
                bytes: 40,
                uptime_ms: 5
            })),
            r#"{"cause":"server","code":1008,"reason":"Too many requests","error":null,"frames":3,"bytes":40,"uptime_ms":5}"#
        );
        for (cause, is_planned) in
            [("rotate", true), ("shutdown", true), ("server", false), ("lost", false), ("log", false)]
        {
            assert_eq!(
                is_planned_close(format!("{{\"cause\":\"{cause}\",\"code\":null}}").as_bytes()),
                is_planned,
                "{cause}"
            );
        }
        assert!(!is_planned_close(b"") && !is_planned_close(br#"{"cause":7}"#));
        assert_eq!(
            text(to_json(&Gap { reason: "lost", from_ns: 1, to_ns: 2, streams: &["a@trade".to_owned()] })),
            r#"{"reason":"lost","from_ns":1,"to_ns":2,"streams":["a@trade"]}"#
        );
        let event = br#"{"kind":"unsubscribed","detail":{"channels":{"trades":["A","B"],"depth":["A"],"new":["C"]}}}"#;
        let pair = |channel, symbol: &str| (channel, symbol.to_owned());
        use Channel::{Depth, Trades};
        assert_eq!(parse_unsubscribed(event), [pair(Depth, "A"), pair(Trades, "A"), pair(Trades, "B")]);
        for other in [
            r#"{"kind":"rotate","detail":{"reason":"unsubscribed"}}"#,
            r#"{"kind":"unsubscribed","detail":3}"#,
            "unsubscribed",
        ] {
            assert!(parse_unsubscribed(other.as_bytes()).is_empty(), "{other}");
        }
        assert_eq!(
            text(to_json(&Event { kind: "rotate", detail: serde_json::json!({"reason": "lifetime"}) })),
            r#"{"kind":"rotate","detail":{"reason":"lifetime"}}"#
        );
    }
}
