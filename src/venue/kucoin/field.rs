//! Single fields to typed values, where KuCoin has ways of its own: times of four units, whole numbers in quotes.

use super::super::json;
use super::super::message::{self, MessageName, Raw, Result};
use super::market::Market;

/// What decoding a frame needs at hand.
pub(super) type Context<'f, 'r> = message::Context<'f, 'r, Market>;

/// A time as µs: KuCoin sends s, ms, µs or ns, depending on the message and its age.
///
/// 10^11 s and 10^14 ms are the year 5138, 10^11 ms and 10^14 µs are 1973: the magnitude gives the unit.
pub(super) fn to_micros(sent: i64) -> Option<i64> {
    match sent {
        0..100_000_000_000 => Some(sent * 1_000_000),
        100_000_000_000..100_000_000_000_000 => Some(sent * 1000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(sent),
        100_000_000_000_000_000.. => Some(sent / 1000),
        _ => None,
    }
}

/// A whole number, which may be in quotes.
pub(super) fn int(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<i64> {
    raw.and_then(json::quoted_int).map_or_else(|| of.wrong(field), Ok)
}

pub(super) fn time(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<i64> {
    to_micros(int(of, field, raw)?).map_or_else(|| of.wrong(field), Ok)
}

pub(super) fn opt_time(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
    raw.map(|_| time(of, field, raw)).transpose()
}

/// The symbol in the data where it is sent, else that of the topic.
pub(super) fn intern(cx: &mut Context<'_, '_>, of: MessageName, sent: Raw<'_>, topic: &str) -> Result<model::SymbolId> {
    let sent = sent.map(|_| of.word("symbol", sent)).transpose()?;
    match sent.as_deref().unwrap_or(topic) {
        "" => of.wrong("symbol"),
        name => Ok(cx.rows.symbols.intern(name)),
    }
}
