//! Decimal text to exact integers, without floats on the way.
//!
//! A price on the wire is text such as `61837.63000000`. It is kept as the integer 6183763000000 and the
//! scale 8. What the lake writes (double or decimal) is derived from that, and whether a double keeps the
//! text is proved here, value by value ([`Num::survives_f64`]).
//!
//! Prices and amounts have at most 18 digits nearly always, and that is what the fast path reads. A day's turnover of a
//! rupiah pair or the amount of a token with eight zeros has more; up to 38 are kept exactly.

use std::fmt;

/// Powers of ten that fit an `i64`.
const POW10: [i64; 19] = {
    let mut t = [1_i64; 19];
    let mut i = 1;
    while i < 19 {
        t[i] = t[i - 1] * 10;
        i += 1;
    }
    t
};

/// Digits that always fit an `i64`.
const MAX_DIGITS: usize = 18;

/// Digits that always fit an `i128`, and the most decimals.
const MAX_DIGITS_WIDE: usize = 38;

/// Powers of ten that fit an `i128`.
const POW10_WIDE: [i128; MAX_DIGITS_WIDE + 1] = {
    let mut t = [1_i128; MAX_DIGITS_WIDE + 1];
    let mut i = 1;
    while i <= MAX_DIGITS_WIDE {
        t[i] = t[i - 1] * 10;
        i += 1;
    }
    t
};

/// No mantissa is as large, whatever its sign.
const MANTISSA_END: i128 = POW10_WIDE[MAX_DIGITS_WIDE];

/// Decimals of the lake's DECIMAL(38, 18).
const LAKE_SCALE: u8 = 18;

/// Powers of ten that are exact doubles.
const POW10_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// An exact decimal: `mantissa * 10^-scale`. Equality is that of the parts: compare [`Num::normalized`] values
/// when `1.0` and `1.00` are to be the same.
// Packed: 17 bytes instead of 32. Rows of order books are little else than numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, packed)]
pub struct Num {
    /// The digits as an integer, sign included; at most 38 of them.
    pub mantissa: i128,
    /// Number of digits after the point, 0..=38.
    pub scale: u8,
}

const _: () = assert!(size_of::<Num>() == 17);

/// Text that is not a plain decimal, or one of more than 38 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumError {
    /// Empty text or no digit.
    #[error("not a decimal number")]
    NotANumber,
    /// More than 38 digits before the point, or nothing but zeros in the first 20 decimals and more than 38.
    #[error("decimal number has too many digits")]
    TooLong,
}

impl Num {
    /// Up to here every integer is a double.
    const EXACT_F64: u64 = 1 << 53;

    /// Parses `-?digits[.digits]`; an exponent (`1e-7`, as JSON numbers may carry) is accepted too.
    /// Trailing zeros after the point are kept when 18 digits hold them and dropped when not. What is after the 38th
    /// digit is cut off; what is left then is never taken for a number that a double holds.
    ///
    /// # Errors
    /// [`NumError`] for anything else.
    #[inline]
    pub fn parse(text: &[u8]) -> Result<Num, NumError> {
        match Self::parse_prefix(text) {
            Some((num, used)) if used == text.len() => Ok(num),
            _ => Self::parse_slowly(text),
        }
    }

    /// Reads `digits[.digits]` of at most 18 digits at the start of `text` and says how many bytes that took.
    /// `None` for everything that needs a closer look: no digit, a sign, more digits, nothing after the point.
    /// Equal to [`Num::parse`] of those bytes whenever it answers.
    #[inline(always)]
    pub fn parse_prefix(text: &[u8]) -> Option<(Num, usize)> {
        if let Some(chunk) = text.first_chunk::<8>()
            && let Some(short) = short_decimal(u64::from_le_bytes(*chunk))
        {
            return Some(short);
        }
        let (whole, before) = leading_digits(text);
        if before == 0 || before > MAX_DIGITS {
            return None;
        }
        if text.get(before) != Some(&b'.') {
            let mantissa = whole as i64;
            return Some((Num { mantissa: i128::from(mantissa), scale: 0 }, before));
        }
        let (part, behind) = leading_digits(text.get(before + 1..)?);
        if behind == 0 || before + behind > MAX_DIGITS {
            return None;
        }
        // At most 18 digits: nothing of this can overflow, here and in what is called.
        let mantissa = (whole as i64).wrapping_mul(POW10[behind]).wrapping_add(part as i64);
        let scale = behind as u8;
        Some((Num { mantissa: i128::from(mantissa), scale }, before + 1 + behind))
    }

    /// Signs, exponents, leading and trailing zeros beyond 18 digits, and the reasons of refusals.
    #[cold]
    fn parse_slowly(text: &[u8]) -> Result<Num, NumError> {
        let (negative, body) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            _ => (false, text),
        };
        let (digits, exponent) = match body.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(e) => (body.get(..e).unwrap_or_default(), exponent(body.get(e + 1..).unwrap_or_default())?),
            None => (body, 0),
        };
        let (before, behind) = match digits.iter().position(|b| *b == b'.') {
            Some(p) => (digits.get(..p).unwrap_or_default(), Some(digits.get(p + 1..).unwrap_or_default())),
            None => (digits, None),
        };
        let all_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        if !all_digits(before) || !behind.is_none_or(all_digits) {
            return Err(NumError::NotANumber);
        }
        let behind = behind.unwrap_or_default();
        let short = to_integer(before, behind).filter(|_| behind.len() as i64 - exponent <= 18);
        let (mut mantissa, mut scale, mut cut) = match short {
            Some(m) => (i128::from(m), behind.len() as i64, false),
            None => {
                let end = behind.iter().rposition(|b| *b != b'0').map_or(0, |i| i + 1);
                let kept = behind.get(..end).unwrap_or(behind);
                let (m, left_out, cut) = leading_38(before, kept);
                (m, kept.len() as i64 - left_out, cut)
            }
        };
        scale = scale.saturating_sub(exponent);
        if mantissa == 0 {
            let scale = if (0..=18).contains(&scale) { scale } else { 0 };
            return Ok(Num { mantissa, scale: scale as u8 });
        }
        while scale > 18 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        if scale < 0 {
            let up = usize::try_from(-scale).ok().and_then(|up| POW10_WIDE.get(up)).ok_or(NumError::TooLong)?;
            mantissa = mantissa.checked_mul(*up).filter(|m| *m < MANTISSA_END).ok_or(NumError::TooLong)?;
            scale = 0;
        }
        if let Ok(over @ 1..) = usize::try_from(scale - MAX_DIGITS_WIDE as i64) {
            let unit = POW10_WIDE.get(over).ok_or(NumError::TooLong)?;
            cut |= mantissa % unit != 0;
            mantissa /= unit;
            scale = MAX_DIGITS_WIDE as i64;
        }
        if cut {
            // Too few digits would look like an exact short number, and so would many that end with zeros.
            if mantissa < POW10_WIDE[MAX_DIGITS] {
                return Err(NumError::TooLong);
            }
            mantissa += i128::from(mantissa % 10 == 0);
        }
        Ok(Num { mantissa: if negative { -mantissa } else { mantissa }, scale: scale as u8 })
    }

    /// Without trailing zeros after the point: two equal values have one normal form.
    #[inline]
    pub fn normalized(self) -> Num {
        let Ok(mut mantissa) = i64::try_from(self.mantissa) else { return self.normalized_slowly() };
        if mantissa == 0 {
            return Num::default();
        }
        let mut scale = self.scale;
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Num { mantissa: i128::from(mantissa), scale }
    }

    #[cold]
    fn normalized_slowly(self) -> Num {
        let mut n = self;
        while n.scale > 0 && n.mantissa % 10 == 0 {
            n.mantissa /= 10;
            n.scale -= 1;
        }
        n
    }

    /// Mantissa and scale where an `i64` and 18 decimals hold them, trailing zeros dropped if that helps.
    #[inline]
    pub fn narrow(self) -> Option<(i64, u8)> {
        let narrow = |n: Num| Some((i64::try_from(n.mantissa).ok()?, n.scale)).filter(|_| n.scale <= LAKE_SCALE);
        narrow(self).or_else(|| narrow(self.normalized()))
    }

    /// The nearest double.
    #[inline]
    pub fn to_f64(self) -> f64 {
        self.short_to_f64().unwrap_or_else(|| self.to_f64_slowly())
    }

    /// The nearest double of a mantissa of at most 53 bits.
    #[inline]
    fn short_to_f64(self) -> Option<f64> {
        let mantissa = i64::try_from(self.mantissa).ok().filter(|m| m.unsigned_abs() <= Self::EXACT_F64)?;
        // Both operands are exact doubles, so the division rounds once: the result is the nearest double.
        POW10_F64.get(usize::from(self.scale)).map(|unit| mantissa as f64 / unit)
    }

    /// Numbers of more than 53 bits or 22 decimals: without their trailing zeros, else by way of their text.
    #[cold]
    #[inline(never)]
    fn to_f64_slowly(self) -> f64 {
        let n = self.normalized();
        n.short_to_f64().unwrap_or_else(|| n.to_string().parse().unwrap_or(f64::NAN))
    }

    /// True when text -> double -> shortest text gives the same number back.
    ///
    /// Any decimal of at most 15 significant digits does; longer ones are tried.
    #[inline]
    pub fn survives_f64(self) -> bool {
        self.is_short() || self.survives_slowly()
    }

    #[inline]
    fn is_short(self) -> bool {
        const FIFTEEN_DIGITS: u64 = 1_000_000_000_000_000;
        i64::try_from(self.mantissa).is_ok_and(|m| m.unsigned_abs() < FIFTEEN_DIGITS)
    }

    #[cold]
    fn survives_slowly(self) -> bool {
        let n = self.normalized();
        if n.is_short() {
            return true;
        }
        let back = format!("{}", n.to_f64());
        Num::parse(back.as_bytes()).is_ok_and(|b| b.normalized() == n)
    }

    /// The value times 10^18, for DECIMAL(38, 18), and whether that is exact: what is after the 18th decimal is
    /// rounded. `None` when more than 20 digits stand before the point: no such decimal holds it.
    #[inline]
    pub fn to_decimal18(self) -> Option<(i128, bool)> {
        if let (Ok(mantissa), 0..=LAKE_SCALE) = (i64::try_from(self.mantissa), self.scale) {
            return Some((i128::from(mantissa) * i128::from(POW10[usize::from(LAKE_SCALE - self.scale)]), true));
        }
        self.to_decimal18_slowly()
    }

    #[cold]
    fn to_decimal18_slowly(self) -> Option<(i128, bool)> {
        let power = |n: u8| POW10_WIDE.get(usize::from(n)).copied();
        let (value, exact) = match self.scale.checked_sub(LAKE_SCALE) {
            None => (self.mantissa.checked_mul(power(LAKE_SCALE - self.scale)?)?, true),
            Some(over) => {
                let unit = power(over)?;
                let rest = self.mantissa % unit;
                let up = rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs() && rest != 0;
                (self.mantissa / unit + if up { self.mantissa.signum() } else { 0 }, rest == 0)
            }
        };
        (value.unsigned_abs() < MANTISSA_END.unsigned_abs()).then_some((value, exact))
    }

    /// True for zero of any scale.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }
}

/// The run of ASCII digits at the start of `text`: its value and length. A length above 18 means "too many":
/// the value is then meaningless.
#[inline(always)]
pub fn leading_digits(text: &[u8]) -> (u64, usize) {
    let Some(chunk) = text.first_chunk::<8>() else {
        return leading_digits_bytewise(text, 0, 0);
    };
    let (first, n) = digits_of_8(u64::from_le_bytes(*chunk));
    if n < 8 {
        return (first, n);
    }
    let rest = &text[8..];
    let Some(chunk) = rest.first_chunk::<8>() else {
        return leading_digits_bytewise(rest, first, 8);
    };
    let (second, n) = digits_of_8(u64::from_le_bytes(*chunk));
    let value = first.wrapping_mul(POW10[n] as u64).wrapping_add(second);
    if n < 8 {
        return (value, 8 + n);
    }
    leading_digits_bytewise(&rest[8..], value, 16)
}

#[inline]
fn leading_digits_bytewise(text: &[u8], mut value: u64, mut n: usize) -> (u64, usize) {
    for &b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        n += 1;
        if n > MAX_DIGITS {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (value, n)
}

/// Value and number of the ASCII digits in the low bytes of a little-endian chunk, all eight at a time.
#[inline(always)]
fn digits_of_8(chunk: u64) -> (u64, usize) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A byte that is a digit sets the high bit in neither sum; nothing below the first other byte carries.
    let other = (chunk.wrapping_add(0x46 * ONES) | chunk.wrapping_sub(0x30 * ONES)) & (0x80 * ONES);
    let n = (other.trailing_zeros() / 8) as usize;
    if n == 0 {
        return (0, 0);
    }
    // Digits move to the top, zeros come in below: they are the leading digits of the number.
    (value_of_8(chunk.wrapping_shl(64_u32.wrapping_sub(8 * n as u32)) & (0x0f * ONES)), n)
}

/// The number whose eight digits are the bytes of `v`, the first one lowest.
#[inline(always)]
fn value_of_8(v: u64) -> u64 {
    let v = v.wrapping_mul(10).wrapping_add(v >> 8);
    let low = (v & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((v >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

/// Digits, a point and digits, followed by something else, all in the eight bytes of a little-endian chunk: most
/// prices and amounts. The point is taken out and the digits on both sides are converted at once.
#[inline(always)]
fn short_decimal(chunk: u64) -> Option<(Num, usize)> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A digit becomes its value. Seven bits and 0x76 never carry: every byte is judged by itself.
    let values = chunk ^ (0x30 * ONES);
    let other = ((values & (0x7f * ONES)).wrapping_add(0x76 * ONES) | values) & (0x80 * ONES);
    let (before, end) = (other.trailing_zeros() / 8, (other & other.wrapping_sub(1)).trailing_zeros() / 8);
    // `end` is 8 where nothing else follows.
    if before == 0 || end >= 8 || end <= before + 1 || (chunk >> (8 * before)) as u8 != b'.' {
        return None;
    }
    // 1 <= before, before + 2 <= end < 8: the shifts are of less than 64 bits.
    let whole = 1_u64.wrapping_shl(8 * before).wrapping_sub(1);
    let digits = ((values & whole) | (values >> 8 & !whole)).wrapping_shl(8 * 9_u32.wrapping_sub(end));
    let mantissa = value_of_8(digits) as i64;
    let scale = end.wrapping_sub(before).wrapping_sub(1) as u8;
    Some((Num { mantissa: i128::from(mantissa), scale }, end as usize))
}

/// Both digit runs as one integer, if it fits.
fn to_integer(before: &[u8], behind: &[u8]) -> Option<i64> {
    before.iter().chain(behind).try_fold(0_i64, |m, b| m.checked_mul(10)?.checked_add(i64::from(b - b'0')))
}

/// The first 38 digits of both digit runs as one integer, leading zeros aside; how many digits are left out after
/// them, and whether one of those is not zero.
fn leading_38(before: &[u8], behind: &[u8]) -> (i128, i64, bool) {
    let (mut mantissa, mut left_out, mut cut) = (0_i128, 0_i64, false);
    for b in before.iter().chain(behind) {
        if mantissa < POW10_WIDE[MAX_DIGITS_WIDE - 1] {
            mantissa = mantissa * 10 + i128::from(b - b'0');
        } else {
            left_out += 1;
            cut |= *b != b'0';
        }
    }
    (mantissa, left_out, cut)
}

/// The exponent after `e`: a sign and digits; absurd ones become large enough to be refused.
fn exponent(text: &[u8]) -> Result<i64, NumError> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumError::NotANumber);
    }
    let value = digits.iter().fold(0_i64, |m, b| (m * 10 + i64::from(b - b'0')).min(1_000_000_000));
    Ok(if negative { -value } else { value })
}

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.normalized();
        let (mantissa, scale) = (n.mantissa, usize::from(n.scale.min(MAX_DIGITS_WIDE as u8)));
        if scale == 0 {
            return write!(f, "{mantissa}");
        }
        let sign = if mantissa < 0 { "-" } else { "" };
        let (abs, unit) = (mantissa.unsigned_abs(), POW10_WIDE[scale].unsigned_abs());
        write!(f, "{sign}{}.{:0scale$}", abs / unit, abs % unit)
    }
}

#[cfg(test)]
mod tests;
