//! Test support: files of reviewed frames with the rows they must become. Knows no venue.
//!
//! A file holds blocks: a `#` line with the source, a line `<market> [rest <channel> <symbol>] <frame>`, and one line
//! per row, as the venue's own tests print rows.
#![allow(clippy::unwrap_used)]

use super::{Frame, FrameKind};
use model::RestMeta;
use model::number::Num;

/// One block of a file.
pub(super) struct Golden<M> {
    pub(super) market: M,
    pub(super) rest: Option<RestMeta>,
    pub(super) frame: &'static str,
    pub(super) expected: Vec<&'static str>,
}

/// All blocks of a file; `markets` are the words that blocks may begin with.
pub(super) fn blocks<M: Copy>(file: &'static str, markets: &[(&str, M)]) -> Vec<Golden<M>> {
    let blocks = file.split("\n\n").map(|block| {
        let mut lines = block.lines().filter(|l| !l.starts_with("# "));
        let (word, mut frame) = lines.next().unwrap().split_once(' ').unwrap();
        let mut rest = None;
        if let Some(after) = frame.strip_prefix("rest ") {
            let (channel, after) = after.split_once(' ').unwrap();
            let (symbol, body) = after.split_once(' ').unwrap();
            rest = Some(meta(channel, symbol));
            frame = body;
        }
        let (_, market) = markets.iter().find(|(known, _)| *known == word).unwrap_or_else(|| panic!("market {word}"));
        Golden { market: *market, rest, frame, expected: lines.collect() }
    });
    blocks.collect()
}

impl<M> Golden<M> {
    /// The block's frame as it would come out of a log.
    pub(super) fn as_frame(&self) -> Frame<'_> {
        match &self.rest {
            None => text(self.frame.as_bytes()),
            Some(meta) => Frame { kind: FrameKind::Rest, payload: self.frame.as_bytes(), rest: Some(meta) },
        }
    }
}

/// A text message.
pub(super) fn text(payload: &[u8]) -> Frame<'_> {
    Frame { kind: FrameKind::Text, payload, rest: None }
}

/// What is known of an answered request; an empty symbol is none.
pub(super) fn meta(channel: &str, symbol: &str) -> RestMeta {
    RestMeta {
        channel: channel.to_owned(),
        symbol: Some(symbol.to_owned()).filter(|s| !s.is_empty()),
        url: "https://venue.test/rest".to_owned(),
        status: 200,
        fill: None,
    }
}

/// A number that may be missing.
pub(super) fn n(num: Option<Num>) -> String {
    num.map_or_else(|| "-".to_owned(), |n| n.to_string())
}

/// An integer that may be missing.
pub(super) fn i(int: Option<i64>) -> String {
    int.map_or_else(|| "-".to_owned(), |i| i.to_string())
}
