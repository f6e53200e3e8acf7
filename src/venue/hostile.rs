//! Test support: the same JSON written otherwise, frames damaged on the way, and what every venue must make of both.
//! Knows no venue.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::reviewed::{Golden, text};
use super::{Frame, Venue};
use model::Rows;

/// Writes the same JSON differently: keys in another order, white space, escapes.
fn rewrite(value: &Value, dice: &mut dyn FnMut() -> u32, out: &mut String) {
    let space = |dice: &mut dyn FnMut() -> u32, out: &mut String| match dice() % 8 {
        0 => out.push(' '),
        1 => out.push_str("\t\r\n"),
        _ => {}
    };
    space(dice, out);
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            for i in (1..keys.len()).rev() {
                keys.swap(i, dice() as usize % (i + 1));
            }
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                space(dice, out);
                rewrite(&Value::from(key.clone()), dice, out);
                space(dice, out);
                out.push(':');
                rewrite(&map[key], dice, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                rewrite(item, dice, out);
            }
            out.push(']');
        }
        Value::String(text) => {
            out.push('"');
            for c in text.chars() {
                let mut units = [0; 2];
                if dice().is_multiple_of(6) || matches!(c, '"' | '\\') || c < ' ' {
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                } else {
                    out.push(c);
                }
            }
            out.push('"');
        }
        other => out.push_str(&other.to_string()),
    }
    space(dice, out);
}

/// Numbers that follow from a seed.
fn dice(mut seed: u64) -> impl FnMut() -> u32 {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    }
}

/// One way to damage a frame.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, Index),
}

/// Ways to damage a frame, with bytes that mean something in JSON more often than others.
fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        3 => any::<u8>(),
        5 => prop::sample::select(&b"\"\\{}[],:0123456789.-eE \ntfnu"[..]),
    ];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(i, b)| Damage::Set(i, b)),
        (any::<Index>(), byte).prop_map(|(i, b)| Damage::Insert(i, b)),
        any::<Index>().prop_map(Damage::Remove),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Damage::Repeat(a, b)),
    ]
}

/// The frame with all of `damages` done to it.
fn damaged(frame: &str, damages: &[Damage]) -> Vec<u8> {
    let mut bytes = frame.as_bytes().to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let n = bytes.len();
        match damage {
            Damage::Set(i, b) => bytes[i.index(n)] = *b,
            Damage::Insert(i, b) => bytes.insert(i.index(n), *b),
            Damage::Remove(i) => {
                bytes.remove(i.index(n));
            }
            Damage::Cut(i) => bytes.truncate(i.index(n)),
            Damage::Repeat(a, b) => {
                let (a, b) = (a.index(n), b.index(n));
                let part = bytes[a.min(b)..a.max(b)].to_vec();
                bytes.splice(a..a, part);
            }
        }
    }
    bytes
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, ..ProptestConfig::default() }
}

/// Throws reviewed frames with up to three damages each.
pub(super) fn throw_damaged<M: Copy>(n: u32, goldens: &[Golden<M>], throw_at: impl Fn(M, &[u8])) {
    proptest!(cases(n), |(which in any::<Index>(), damages in prop::collection::vec(damage(), 1..4))| {
        let golden = &goldens[which.index(goldens.len())];
        throw_at(golden.market, &damaged(golden.frame, &damages));
    });
}

/// Throws bytes of every kind, and such as look like JSON.
pub(super) fn throw_bytes<M: Copy>(markets: &[M], throw_at: impl Fn(M, &[u8])) {
    let json_like = r#"[\[\]{},:"\\0-9.eE\-a-uA-X_ ]{0,80}"#;
    proptest!(cases(500), |(any_bytes in prop::collection::vec(any::<u8>(), 0..200), json in json_like)| {
        for market in markets {
            throw_at(*market, &any_bytes);
            throw_at(*market, json.as_bytes());
        }
    });
}

/// Writes the reviewed frames that `keep` lets pass with other key orders, white space and escapes: the `lines` that
/// they decode to must stay.
pub(super) fn write_otherwise<M>(
    goldens: &[Golden<M>],
    keep: impl Fn(&Golden<M>, &Value) -> bool,
    lines: impl Fn(&Golden<M>, &Frame<'_>) -> Vec<String>,
) {
    proptest!(cases(500), |(which in any::<Index>(), seed in any::<u64>())| {
        let golden = &goldens[which.index(goldens.len())];
        let value = serde_json::from_str::<Value>(golden.frame).ok().filter(|value| keep(golden, value));
        if let Some(value) = value {
            let mut other = String::new();
            rewrite(&value, &mut dice(seed), &mut other);
            let frame = Frame { payload: other.as_bytes(), ..golden.as_frame() };
            prop_assert_eq!(lines(golden, &golden.as_frame()), lines(golden, &frame), "{}", other);
        }
    });
}

/// Decodes frames with 100,000 unknown names between `before` and `after`: what is noted of them must stay small.
pub(super) fn flood_with_unknown_names(venue: &Venue, before: &str, after: &str) {
    let fields: Vec<String> = (0..100_000).map(|i| format!("\"unknown{i}\":{i}")).collect();
    let frame = format!("{before}{}{after}", fields.join(","));
    let mut rows = Rows::new();
    for _ in 0..10 {
        venue.frames.decode(&text(frame.as_bytes()), &mut rows).unwrap();
    }
    assert!(rows.drift.items.len() <= 64, "{}", rows.drift.items.len());
}
