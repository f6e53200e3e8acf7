//! One CSV line to its fields, for lines that the quick parsers of [`super::row`] do not take: quotes, blanks around
//! values, carriage returns, headers. Bytes in, slices out; never panics, never allocates but for doubled quotes.

/// Most fields of a line; a line with more is no row of the archive.
pub(crate) const MAX_FIELDS: usize = 32;

/// The fields of a line.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    fields: [&'a [u8]; MAX_FIELDS],
    len: usize,
}

impl<'a> Fields<'a> {
    /// Splits at commas outside quotes; `None` for more than [`MAX_FIELDS`] fields or an open quote. Blanks and one
    /// pair of quotes around a field are taken off (no value of the archive has quotes inside).
    pub(crate) fn split(line: &'a [u8]) -> Option<Fields<'a>> {
        let mut out = Fields { fields: [b""; MAX_FIELDS], len: 0 };
        let mut rest = line;
        loop {
            let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            let (end, quoted) = match rest.get(blanks) {
                Some(b'"') => {
                    let open = blanks + 1;
                    let close = open + memchr::memchr(b'"', rest.get(open..)?)?;
                    let tail = rest.get(close + 1..)?;
                    (close + 1 + memchr::memchr(b',', tail).unwrap_or(tail.len()), true)
                }
                _ => (memchr::memchr(b',', rest).unwrap_or(rest.len()), false),
            };
            let field = rest.get(..end)?.trim_ascii();
            let field = match field {
                [b'"', inner @ .., b'"'] if quoted => inner.trim_ascii(),
                other => other,
            };
            *out.fields.get_mut(out.len)? = field;
            out.len += 1;
            if end == rest.len() {
                return Some(out);
            }
            rest = rest.get(end + 1..)?;
        }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Field `i`; empty where there is none.
    pub(crate) fn get(&self, i: usize) -> &'a [u8] {
        self.fields.get(i).copied().unwrap_or_default()
    }
}

/// True where a line of column names has one of `names` at another place than there: what stands below it is not what
/// is read by place. Names that are not known say nothing.
pub(crate) fn is_in_another_order(fields: &Fields<'_>, names: &[&str]) -> bool {
    (0..fields.len()).any(|i| {
        let at = names.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(fields.get(i)));
        at.is_some_and(|at| at != i)
    })
}

/// True for a line of column names: its first value begins with neither a digit nor a sign.
pub(crate) fn is_header(fields: &Fields<'_>) -> bool {
    fields.get(0).first().is_some_and(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn split(line: &str) -> Option<Vec<String>> {
        let f = Fields::split(line.as_bytes())?;
        Some((0..f.len()).map(|i| String::from_utf8_lossy(f.get(i)).into_owned()).collect())
    }

    #[test]
    fn quotes_blanks_and_empty_fields_are_seen_through() {
        assert_eq!(split("1,2,3").unwrap(), ["1", "2", "3"]);
        assert_eq!(split(" 1 , \"2\" ,,").unwrap(), ["1", "2", "", ""]);
        assert_eq!(split("\"a,b\",c").unwrap(), ["a,b", "c"]);
        assert_eq!(split("").unwrap(), [""]);
        assert_eq!(split("\"open,1"), None);
        assert_eq!(split(&",".repeat(MAX_FIELDS)), None);
        assert_eq!(split("\"1\"x,2").unwrap(), ["\"1\"x", "2"]);
    }

    proptest::proptest! {
        #[test]
        fn hostile_lines_split_or_are_refused(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Some(f) = Fields::split(&line) {
                proptest::prop_assert!(f.len() >= 1 && f.len() <= MAX_FIELDS);
            }
        }
    }
}
