//! Table `frames`: frames that did not decode, byte for byte, with the reason.

use crate::column::{Kind, Spec, columns};
use model::SymbolId;

columns! {
    /// Columns of `frames`.
    Frames {
        channel: Texts = Spec::new("channel", Kind::Text).null(),
        encoding: Texts = Spec::new("encoding", Kind::Text),
        payload: Texts = Spec::new("payload", Kind::Binary),
        reason: Texts = Spec::new("reason", Kind::Text),
    }
}

/// A row of `frames`.
#[derive(Clone, Copy, Debug)]
pub struct FrameRow<'a> {
    /// The symbol, as far as known.
    pub symbol: Option<SymbolId>,
    /// The channel, as far as known.
    pub channel: Option<&'a str>,
    /// `json`, `sbe`, `rest` ...: how the payload is to be read.
    pub encoding: &'a str,
    /// The bytes as received.
    pub payload: &'a [u8],
    /// Why it is here.
    pub reason: &'a str,
}

impl Frames {
    /// Appends a row.
    pub(crate) fn push(&mut self, r: &FrameRow<'_>) -> u32 {
        self.channel.push_opt(r.channel.map(str::as_bytes));
        self.encoding.push(r.encoding.as_bytes());
        self.payload.push(r.payload);
        self.reason.push(r.reason.as_bytes());
        0
    }
}
