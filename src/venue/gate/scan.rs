//! The members of a JSON object one after the other, without understanding their values.
//!
//! For the collector, which must know whose frame it holds and nothing else. It may be fooled by what is not
//! JSON: the answer is then a stream that nobody subscribed, or none. It never decides what a row is.

/// Walks over the members of an object.
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    /// Starts after the opening brace; `None` without one.
    pub(super) fn of(object: &'a [u8]) -> Option<Self> {
        let rest = object.trim_ascii_start().strip_prefix(b"{")?;
        Some(Self { rest })
    }

    /// The next key and everything from its value on. [`Members::skip_value`] must follow before the next one.
    pub(super) fn next_key(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let rest = self.rest.trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        let key = inside(rest)?;
        let rest = rest.get(key.len() + 2..)?.trim_ascii_start();
        Some((key, rest.strip_prefix(b":")?.trim_ascii_start()))
    }

    /// Goes after the value at the start of `rest`; `None` when it does not end.
    pub(super) fn skip_value(&mut self, rest: &'a [u8]) -> Option<()> {
        let end = match rest.first()? {
            b'"' => inside(rest)?.len() + 2,
            b'{' | b'[' => nested(rest)?,
            _ => rest.iter().position(|b| matches!(b, b',' | b'}' | b']')).unwrap_or(rest.len()),
        };
        self.rest = rest.get(end..)?;
        Some(())
    }
}

/// What stands between the quotes of the string at the start of `text`, escapes as they are.
pub(super) fn inside(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text.get(at) == Some(&b'"') {
            return text.get(..at);
        }
        from = at + 2;
    }
}

/// Length of the object or array at the start of `text`.
fn nested(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at += inside(text.get(at..)?)?.len() + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}
