//! What records besides frames say, as rows of `events` and entries of the manifest put it.

use serde_json::{Value, json};
use wal_format::RecordRef;

use lake::manifest::Repair;
use model::row::Drift;

/// Steps of the wall clock against the monotonic one above this are reported, ns.
const CLOCK_STEP_NS: i64 = 50_000_000;

/// Kind and detail of an `Event` record: `{"kind": ..., "detail": {...}}`; anything else is kept whole.
pub(super) fn event_kind(payload: &[u8]) -> (String, String) {
    if let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(payload)
        && let Some(Value::String(kind)) = object.remove("kind")
    {
        let detail = object.remove("detail").unwrap_or(Value::Object(object));
        return (kind, detail.to_string());
    }
    ("event".to_owned(), String::from_utf8_lossy(payload).into_owned())
}

/// A stream that delivers nothing is drift: the venue may have renamed it.
pub(super) fn silent(drift: &mut Drift, detail: &str) {
    let value = serde_json::from_str::<Value>(detail).unwrap_or_default();
    let mut streams: Vec<&str> = value.get("stream").and_then(Value::as_str).into_iter().collect();
    streams.extend(value.get("streams").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str));
    if streams.is_empty() {
        streams.push("?");
    }
    for stream in streams {
        drift.note(&format!("silent stream {stream}"), detail.as_bytes());
    }
}

/// What a repairer says about a gap; see [`compact::repair`].
pub(super) fn repair(detail: &str) -> Option<Repair> {
    serde_json::from_str(detail).ok()
}

/// What a new run of the collector said about the one before, as JSON whatever its form in the log.
pub(super) fn epoch_detail(record: &RecordRef<'_>) -> String {
    match std::str::from_utf8(record.payload) {
        Ok(text) if text.starts_with('{') => text.to_owned(),
        _ => json!({ "epoch": record.seq.epoch() }).to_string(),
    }
}

/// Compares a clock record with the one before; the step if it is worth reporting.
pub(super) fn clock_step(offset_ns: &mut Option<i64>, payload: &[u8]) -> Option<i64> {
    let (wall, mono) = payload.split_first_chunk::<8>()?;
    let mono = mono.first_chunk::<8>()?;
    let now = (u64::from_le_bytes(*wall) as i64).wrapping_sub(u64::from_le_bytes(*mono) as i64);
    let before = offset_ns.replace(now)?;
    let step = now.wrapping_sub(before);
    (step.unsigned_abs() > CLOCK_STEP_NS.unsigned_abs()).then_some(step)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn clock(wall: u64, mono: u64) -> Vec<u8> {
        [wall.to_le_bytes(), mono.to_le_bytes()].concat()
    }

    #[test]
    fn only_a_step_above_fifty_milliseconds_is_reported() {
        let mut offset = None;
        assert_eq!(clock_step(&mut offset, &clock(1_000_000_000, 0)), None, "nothing to compare with");
        assert_eq!(clock_step(&mut offset, &clock(2_050_000_000, 1_000_000_000)), None, "exactly 50 ms");
        assert_eq!(clock_step(&mut offset, &clock(2_000_000_000, 1_000_000_001)), Some(-50_000_001));
        assert_eq!(clock_step(&mut offset, b"short"), None);
    }

    #[test]
    fn silent_streams_are_drift_that_names_them() {
        let mut drift = Drift::default();
        silent(&mut drift, r#"{"stream":"a@trade","silent_ms":60000}"#);
        silent(&mut drift, r#"{"streams":["a@trade","b@trade"]}"#);
        silent(&mut drift, "not JSON");
        let counts: Vec<_> = drift.items.iter().map(|(k, v)| (k.as_str(), v.count)).collect();
        assert_eq!(counts, [("silent stream ?", 1), ("silent stream a@trade", 2), ("silent stream b@trade", 1)]);
        assert!(drift.items["silent stream a@trade"].sample.contains("60000"));
    }

    #[test]
    fn an_event_record_gives_its_kind_and_what_is_not_json_is_kept() {
        assert_eq!(event_kind(br#"{"kind":"rotate","detail":{"a":1}}"#), ("rotate".into(), r#"{"a":1}"#.into()));
        assert_eq!(event_kind(br#"{"kind":"x","b":2}"#), ("x".into(), r#"{"b":2}"#.into()));
        assert_eq!(event_kind(b"\xffoops"), ("event".into(), "\u{fffd}oops".into()));
    }
}
