//! The name of a stream, and what it says: its symbol, and which depth frames it carries.

/// Where a channel is served and how its stream is called.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    /// Path of the socket.
    pub(super) path: &'static str,
    /// Name after the lower-case symbol.
    pub(super) suffix: &'static str,
}

/// The symbol of a stream name: what stands before the first `@`, in upper case.
pub(super) fn symbol_of(stream: &str) -> Option<String> {
    let (symbol, _) = stream.split_once('@')?;
    (!symbol.is_empty()).then(|| symbol.to_uppercase())
}

/// What the part of a stream name after the symbol says about depth frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Book {
    /// Changes: `@depth`, `@depth@100ms`, or no stream name known.
    Changes,
    /// The best levels as a whole: `@depth5`, `@depth20@100ms`.
    Whole,
    /// The book with RPI orders, which must not be mixed with the other.
    Rpi,
}

/// Distinguishes partial depth from changes on USD-M, where both look the same.
#[inline]
pub(super) fn book_of(stream: &[u8]) -> Book {
    let kind = stream.split(|b| *b == b'@').nth(1).unwrap_or_default();
    match kind.strip_prefix(b"depth") {
        Some(b"") => Book::Changes,
        Some(levels) if levels.iter().all(u8::is_ascii_digit) => Book::Whole,
        _ if kind == b"rpiDepth" => Book::Rpi,
        _ => Book::Changes,
    }
}
