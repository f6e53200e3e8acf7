//! Single fields to typed values, where KuCoin has ways of its own: times of four units, numbers in quotes, sums with
//! more digits than anybody needs.

use super::super::number::NumError;
use super::super::{DecodeError, Num, json};
use super::{Of, Raw, Result};

/// A time as µs: KuCoin sends s, ms, µs or ns, depending on the message and its age.
///
/// 10^11 s and 10^14 ms are the year 5138, 10^11 ms and 10^14 µs are 1973: the magnitude tells the unit.
pub(super) fn to_micros(sent: i64) -> Option<i64> {
    match sent {
        0..100_000_000_000 => Some(sent * 1_000_000),
        100_000_000_000..100_000_000_000_000 => Some(sent * 1000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(sent),
        100_000_000_000_000_000.. => Some(sent / 1000),
        _ => None,
    }
}

/// A whole number, which may stand in quotes.
pub(super) fn int(of: Of, field: &'static str, raw: Raw<'_>) -> Result<i64> {
    let value = raw.and_then(|raw| json::text(raw).map_or_else(|| json::int(raw), |text| json::int(&text)));
    value.map_or_else(|| of.wrong(field), Ok)
}

pub(super) fn time(of: Of, field: &'static str, raw: Raw<'_>) -> Result<i64> {
    to_micros(int(of, field, raw)?).map_or_else(|| of.wrong(field), Ok)
}

pub(super) fn opt_time(of: Of, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
    raw.map(|_| time(of, field, raw)).transpose()
}

/// The first elements of an array.
pub(super) fn elements<'a, const N: usize>(of: Of, field: &'static str, raw: &'a str) -> Result<[Raw<'a>; N]> {
    if !json::is_array(raw) {
        return of.wrong(field);
    }
    let mut all = [None; N];
    let mut n = 0_usize;
    json::array(raw, &mut |element| {
        if let Some(slot) = all.get_mut(n) {
            *slot = Some(element).filter(|e| *e != "null");
        }
        n += 1;
        Ok(())
    })?;
    Ok(all)
}

/// A sum that KuCoin computed (volume, turnover) and sends with as many digits as it likes: 26 in the 24 h turnover
/// of BTC-USDT. What is more than a [`Num`] holds is cut behind the point, after 18 digits in all, because the row is
/// worth more than the 19th digit of a sum. Prices and amounts of single things are never cut.
pub(super) fn computed(of: Of, field: &'static str, raw: Raw<'_>) -> Result<Option<Num>> {
    match of.opt_num(field, raw) {
        Err(DecodeError::Number { source: NumError::TooLong, .. }) => match raw.and_then(cut) {
            Some(num) => Ok(Some(num)),
            None => of.num(field, raw).map(Some),
        },
        exact => exact,
    }
}

fn cut(raw: &str) -> Option<Num> {
    let text = json::text(raw).unwrap_or(raw.into());
    let (whole, part) = text.split_once('.')?;
    let digits = whole.trim_start_matches(['-', '0']).len();
    let keep = 18_usize.checked_sub(digits)?;
    let part = part.get(..keep.min(part.len()))?;
    let short = if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") };
    Num::parse(short.as_bytes()).ok()
}
