//! Text of others where a person reads it: names of symbols, reasons of venues, answers of other services, files of
//! an archive. What a terminal would act upon is written as an escape, so that no name clears a screen, moves the cursor,
//! turns the reading direction or pretends to be a line of ours.
//!
//! Escapes have the form `\u001b`, which is also right inside JSON.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

/// True for what a terminal does not simply show: control characters (C0, DEL, C1), line and paragraph separators, and
/// what turns or hides the reading direction.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escaped(text: &str, shown: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|c| acts(c) && !shown(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) && !shown(c) {
            // Writing to a String cannot fail; every such character has four digits at most.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Of one name or reason: it stays inside its line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Of a text of several lines that we laid out ourselves.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// Of a message that may quote others: its further lines are indented, as ours are, so that none begins like one of ours.
pub fn message(text: &str) -> Cow<'_, str> {
    let text = lines(text);
    let begins = |line: &str| !line.is_empty() && !line.starts_with(' ');
    if !text.split('\n').skip(1).any(begins) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push_str(if begins(line) { "\n  " } else { "\n" });
        }
        out.push_str(line);
    }
    Cow::Owned(out)
}

/// Passes lines on with [`lines`] over them. Each write is one whole line, as those of log lines are.
#[derive(Debug)]
pub struct Plain<W>(pub W);

impl<W: io::Write> io::Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_written_as_an_escape_and_all_else_stays() {
        for plain in ["BTCUSDT", "\u{5e01}\u{5b89}USDT", "a b  c", ""] {
            assert!(matches!(line(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
        assert_eq!(line("NEW\nall fine\u{1b}[2J\r\t\u{7f}"), "NEW\\u000aall fine\\u001b[2J\\u000d\\u0009\\u007f");
        assert_eq!(line("\u{9b}2J \u{202e}TDSU \u{2028}"), "\\u009b2J \\u202eTDSU \\u2028");
        assert_eq!(lines("one\n\ttwo\u{1b}[2J\n"), "one\n\ttwo\\u001b[2J\n");
    }

    #[test]
    fn a_quoted_line_never_begins_like_one_of_ours() {
        assert_eq!(
            message("listing: no\nerror: all fine\n  fix: none\n"),
            "listing: no\n  error: all fine\n  fix: none\n"
        );
        assert_eq!(message("cannot\n  where: here"), "cannot\n  where: here");
    }
}
