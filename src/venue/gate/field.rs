//! Times, ids and sizes as Gate writes them: seconds and milliseconds, as integers, decimals and texts.

use super::super::json;
use super::super::message::{MessageName, Raw, Result};
use model::number::Num;
use model::row::Side;

const MESSAGE_TIME: MessageName = MessageName("frame");

/// A time in s, ms, us or ns, with or without a fraction, as us. `None` when it is negative or too large.
///
/// 10^11 s is the year 5138 and 10^11 ms is 1973, so the magnitude gives the unit. It has to: REST sends seconds
/// under the name `create_time_ms`, and a text with a fraction where the socket sends an integer.
pub(super) fn to_micros(time: Num) -> Option<i64> {
    const SECONDS: i128 = 100_000_000_000;
    // More decimals than ns has are nobody's.
    let (mut value, mut scale) = (time.mantissa, time.scale);
    while scale > 9 {
        (value, scale) = (value / 10, scale - 1);
    }
    let unit = 10_i128.pow(u32::from(scale));
    let us = match value / unit {
        _ if value < 0 => return None,
        0..SECONDS => value * 1_000_000 / unit,
        v if v < SECONDS * 1_000 => value * 1_000 / unit,
        v if v < SECONDS * 1_000_000 => value / unit,
        _ => value / 1_000 / unit,
    };
    i64::try_from(us).ok()
}

/// A time; absent and 0 are none.
pub(super) fn opt_time(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
    let Some(time) = of.opt_num(field, raw)? else { return Ok(None) };
    to_micros(time).map_or_else(|| of.wrong(field), |us| Ok(Some(us).filter(|us| *us != 0)))
}

/// When the frame was sent, us: `time_ms`, else the whole seconds of `time`.
pub(super) fn sent(time: Raw<'_>, time_ms: Raw<'_>) -> Result<Option<i64>> {
    let exact = opt_time(MESSAGE_TIME, "time_ms", time_ms)?;
    if exact.is_some() { Ok(exact) } else { opt_time(MESSAGE_TIME, "time", time) }
}

/// An integer, also in a text: REST writes spot ids so.
pub(super) fn int(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<i64> {
    raw.and_then(json::quoted_int).map_or_else(|| of.wrong(field), Ok)
}

/// An integer that may be absent or an empty text.
pub(super) fn opt_int(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
    match raw {
        None | Some("\"\"") => Ok(None),
        Some(_) => int(of, field, raw).map(Some),
    }
}

/// A size whose sign is the side: the taker's of a trade. What it means for a liquidation is documented nowhere.
pub(super) fn signed(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<(Side, Num)> {
    let size = of.num(field, raw)?;
    let side = match size.mantissa.signum() {
        1 => Side::Buy,
        -1 => Side::Sell,
        _ => return of.wrong(field),
    };
    Ok((side, Num { mantissa: size.mantissa.abs(), scale: size.scale }))
}
