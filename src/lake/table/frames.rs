//! Table `frames`: frames that did not decode, byte for byte, with the reason.

use crate::column::columns;
use crate::table::row;
use model::SymbolId;

columns! {
    /// Columns of `frames`.
    Frames of r: FrameRow<'_> {
        channel: Text or null = r.channel;
        encoding: Text = r.encoding;
        payload: Binary = r.payload;
        reason: Text = r.reason;
    }
}

row!(r: FrameRow<'_> => Frames, symbol: r.symbol, ts_event: None);

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
