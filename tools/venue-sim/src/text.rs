//! Numbers as text, appended to a buffer: integers and decimals with the places a venue prints. No floats.

/// Appends a decimal integer.
pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends text piece by piece.
pub(crate) struct Text<'a>(pub &'a mut Vec<u8>);

impl Text<'_> {
    /// Text as it is.
    pub fn put(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// An integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        push_int(self.0, value);
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.put(if value { "true" } else { "false" })
    }

    /// `mantissa` with `scale` decimals, printed with `places`.
    pub fn dec(&mut self, mantissa: i64, scale: usize, places: usize) -> &mut Self {
        let unit = 10_i64.pow(scale as u32);
        if mantissa < 0 {
            self.0.push(b'-');
        }
        let value = mantissa.unsigned_abs() as i64;
        push_int(self.0, value / unit);
        if places > 0 {
            self.0.push(b'.');
        }
        let mut fraction = value % unit;
        let mut unit = unit;
        for place in 0..places {
            if place < scale {
                unit /= 10;
                self.0.push(b'0' + (fraction / unit) as u8);
                fraction %= unit;
            } else {
                self.0.push(b'0');
            }
        }
        self
    }

    /// As [`Text::dec`] for sums that may pass 64 bits.
    pub fn wide(&mut self, mantissa: i128, scale: usize, places: usize) -> &mut Self {
        self.put(&wide(mantissa, scale, places))
    }
}

/// A decimal text as [`decimal`]'s, of a sum that may pass 64 bits.
pub(crate) fn wide(mantissa: i128, scale: usize, places: usize) -> String {
    if scale == 0 && places == 0 {
        return mantissa.to_string();
    }
    let unit = 10_i128.pow(scale as u32);
    let fraction = format!("{:0width$}", mantissa % unit, width = scale);
    format!("{}.{fraction:0<places$}", mantissa / unit)
}

/// A JSON array.
pub(crate) fn array<T>(items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) -> String {
    let mut text = "[".to_owned();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(&mut text, item);
    }
    text.push(']');
    text
}

/// A decimal text: `mantissa` with `scale` decimals, printed with `places`.
pub(crate) fn decimal(mantissa: i64, scale: usize, places: usize) -> String {
    let mut out = Vec::new();
    Text(&mut out).dec(mantissa, scale, places);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_with_the_places_of_the_venue() {
        assert_eq!(decimal(6_183_763, 2, 8), "61837.63000000");
        assert_eq!(decimal(5, 3, 3), "0.005");
        assert_eq!(decimal(-12_345, 8, 8), "-0.00012345");
    }
}
