//! Text of one CSV field to a value: exact decimals, ids, times, booleans. Says why when it is none. No floats.

use std::fmt;

use model::Num;

/// Times before 2009 and after 2100 are none of an exchange, us since 1970.
const TIMES_US: std::ops::Range<i64> = 1_230_768_000_000_000..4_102_444_800_000_000;
/// From here on a number is microseconds, below milliseconds: 10^14 ms is the year 5138.
const MICROS_FROM: i64 = 100_000_000_000_000;

/// Why a line is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The column, or `line`.
    pub column: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Reject {
    pub(super) const fn new(column: &'static str, what: &'static str) -> Self {
        Self { column, what }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.column, self.what)
    }
}

/// An integer; `1.5E+3` is one too.
pub(super) fn int(column: &'static str, text: &[u8]) -> Result<i64, Reject> {
    match Num::parse(text).map(Num::normalized) {
        Ok(Num { mantissa, scale: 0 }) => i64::try_from(mantissa).map_err(|_| Reject::new(column, "not a number")),
        Ok(_) => Err(Reject::new(column, "not a whole number")),
        Err(_) => Err(Reject::new(column, "not a number")),
    }
}

/// An id: not negative.
pub(super) fn id(column: &'static str, text: &[u8]) -> Result<i64, Reject> {
    match int(column, text)? {
        id if id < 0 => Err(Reject::new(column, "negative")),
        id => Ok(id),
    }
}

/// A decimal whose mantissa is a [`word`]. One with more than 18 digits loses digits after its point; true says so.
pub(super) fn num(column: &'static str, text: &[u8]) -> Result<(Num, bool), Reject> {
    if let Some((mantissa, scale)) = Num::parse(text).ok().and_then(Num::narrow) {
        return Ok((Num { mantissa: mantissa.into(), scale }, false));
    }
    let whole = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let digits = text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    // 17 digits, the point and a sign; nothing before the point is ever cut.
    let cut = text.get(..text.len().min(18 + usize::from(text.first() == Some(&b'-')))).unwrap_or(text);
    if !digits || text.len() > 64 || whole + 1 >= cut.len() {
        return Err(Reject::new(column, "not a number"));
    }
    Num::parse(cut).map(|n| (n, true)).map_err(|_| Reject::new(column, "not a number"))
}

/// The mantissa of what [`num`] read, as rows keep it.
pub(super) fn word(n: Num) -> i64 {
    n.mantissa as i64
}

/// As [`num`], not negative.
pub(super) fn amount(column: &'static str, text: &[u8]) -> Result<(Num, bool), Reject> {
    match num(column, text)? {
        (n, _) if n.mantissa < 0 => Err(Reject::new(column, "negative")),
        found => Ok(found),
    }
}

/// A time in ms or us, distinguished by its size; in us, and whether it was in us.
#[inline]
pub(super) fn time_of(raw: i64) -> Option<(i64, bool)> {
    let (us, micros) = if raw >= MICROS_FROM { (raw, true) } else { (raw.checked_mul(1_000)?, false) };
    TIMES_US.contains(&us).then_some((us, micros))
}

/// As [`time_of`], from text.
pub(super) fn time(column: &'static str, text: &[u8]) -> Result<(i64, bool), Reject> {
    time_of(int(column, text)?).ok_or(Reject::new(column, "a time that cannot be"))
}

/// `YYYY-MM-DD HH:MM:SS` (UTC), also with `T`, in us.
pub(super) fn civil(column: &'static str, text: &[u8]) -> Result<i64, Reject> {
    let bad = Reject::new(column, "not a date and time");
    let two = |at: usize| -> Option<i64> {
        match (text.get(at)?, text.get(at + 1)?) {
            (a @ b'0'..=b'9', b @ b'0'..=b'9') => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
            _ => None,
        }
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let shape = text.len() == 19
        && matches!(text.get(10), Some(b' ' | b'T'))
        && separators.iter().all(|(at, b)| text.get(*at) == Some(b));
    if !shape {
        return Err(bad);
    }
    let part = |at: usize| two(at).ok_or(bad);
    let (year, month, day) = (part(0)? * 100 + part(2)?, part(5)?, part(8)?);
    let (hour, minute, second) = (part(11)?, part(14)?, part(17)?);
    let date = i16::try_from(year)
        .ok()
        .zip(i8::try_from(month).ok().zip(i8::try_from(day).ok()))
        .and_then(|(y, (m, d))| jiff::civil::Date::new(y, m, d).ok())
        .ok_or(bad)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(bad);
    }
    let us = crate::path::day_us(date) + (hour * 3_600 + minute * 60 + second) * 1_000_000;
    if TIMES_US.contains(&us) { Ok(us) } else { Err(Reject::new(column, "a time that cannot be")) }
}

/// `true`, `True`, `TRUE`, `1` and their opposites.
pub(super) fn boolean(column: &'static str, text: &[u8]) -> Result<bool, Reject> {
    match text {
        b"true" | b"True" | b"TRUE" | b"1" => Ok(true),
        b"false" | b"False" | b"FALSE" | b"0" => Ok(false),
        _ => Err(Reject::new(column, "neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_distinguished_by_their_size_and_absurd_ones_are_refused() {
        assert_eq!(time("t", b"1735689599999").unwrap(), (1_735_689_599_999_000, false));
        assert_eq!(time("t", b"1735689600000000").unwrap(), (1_735_689_600_000_000, true));
        assert_eq!(time("t", b"1.7356896E12").unwrap(), (1_735_689_600_000_000, false));
        for bad in ["1735689600", "1735689600000000000", "-1", "0", "", "x", "99999999999999"] {
            assert!(time("t", bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(civil("t", b"2023-01-01 00:00:09").unwrap(), 1_672_531_209_000_000);
        for bad in
            ["2023-02-30 00:00:00", "2023-01-01 24:00:00", "2023-01-01", "2023-01-01 00:00:0x", "1999-01-01 00:00:00"]
        {
            assert!(civil("t", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_exact_and_lose_digits_only_behind_the_point_and_say_so() {
        assert_eq!(num("p", b"1E-7").unwrap(), (Num { mantissa: 1, scale: 7 }, false));
        assert_eq!(num("p", b"-5.00").unwrap(), (Num { mantissa: -500, scale: 2 }, false));
        assert_eq!(
            num("p", b"0.98765432098765432112").unwrap(),
            (Num { mantissa: 9_876_543_209_876_543, scale: 16 }, true)
        );
        assert_eq!(
            num("p", b"12345678901234.123456789").unwrap(),
            (Num { mantissa: 12_345_678_901_234_123, scale: 3 }, true)
        );
        for bad in ["", ".", "1..2", "nan", "12345678901234567890", "1,5", "0x1"] {
            assert!(num("p", bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(amount("p", b"-1").is_err() && id("i", b"-1").is_err() && int("i", b"1.5").is_err());
        assert_eq!(int("i", b"1.50E+3").unwrap(), 1_500);
    }
}
