//! Writes SBE messages of the stream schema, for tests: as of version 0, or as a later version may write them.

use super::layout::{SCHEMA, Template};

/// What a later version may add to a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newer {
    pub(super) version: u16,
    /// Bytes at the end of the root block.
    pub(super) root: u16,
    /// Bytes at the end of every group entry.
    pub(super) entry: u16,
    /// Bytes after the symbol.
    pub(super) tail: usize,
}

/// A message in plain values; numbers are mantissas.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plain {
    Trades { event: i64, transact: i64, trades: Vec<(i64, i64, i64, bool)> },
    Best { event: i64, id: i64, prices: [i64; 4] },
    Snapshot { event: i64, id: i64, bids: Vec<(i64, i64)>, asks: Vec<(i64, i64)> },
    Diff { event: i64, first: i64, last: i64, bids: Vec<(i64, i64)>, asks: Vec<(i64, i64)> },
}

/// The frame of `message`.
pub(super) fn encode(message: &Plain, exponents: (i8, i8), symbol: &str, newer: Newer) -> Vec<u8> {
    let mut out = Vec::new();
    let root = |template: Template, size: u16, numbers: &[i64], out: &mut Vec<u8>| {
        [size + newer.root, template as u16, SCHEMA, newer.version].iter().for_each(|v| out.extend(v.to_le_bytes()));
        numbers.iter().for_each(|n| out.extend(n.to_le_bytes()));
        out.extend([exponents.0 as u8, exponents.1 as u8]);
    };
    let pad = |n: u16, out: &mut Vec<u8>| out.extend(vec![0xee_u8; usize::from(n)]);
    match message {
        Plain::Trades { event, transact, trades } => {
            root(Template::Trades, 18, &[*event, *transact], &mut out);
            pad(newer.root, &mut out);
            out.extend((25 + newer.entry).to_le_bytes());
            out.extend((trades.len() as u32).to_le_bytes());
            for (id, price, qty, maker) in trades {
                [id, price, qty].iter().for_each(|n| out.extend(n.to_le_bytes()));
                out.push(u8::from(*maker));
                pad(newer.entry, &mut out);
            }
        }
        Plain::Best { event, id, prices } => {
            root(Template::BestBidAsk, 50, &[*event, *id], &mut out);
            prices.iter().for_each(|n| out.extend(n.to_le_bytes()));
            pad(newer.root, &mut out);
        }
        Plain::Snapshot { event, id, bids, asks } => {
            root(Template::DepthSnapshot, 18, &[*event, *id], &mut out);
            pad(newer.root, &mut out);
            levels(bids, newer, &mut out);
            levels(asks, newer, &mut out);
        }
        Plain::Diff { event, first, last, bids, asks } => {
            root(Template::DepthDiff, 26, &[*event, *first, *last], &mut out);
            pad(newer.root, &mut out);
            levels(bids, newer, &mut out);
            levels(asks, newer, &mut out);
        }
    }
    out.push(u8::try_from(symbol.len()).expect("a symbol of at most 255 bytes"));
    out.extend(symbol.as_bytes());
    out.extend(vec![0xdd_u8; newer.tail]);
    out
}

fn levels(levels: &[(i64, i64)], newer: Newer, out: &mut Vec<u8>) {
    out.extend((16 + newer.entry).to_le_bytes());
    out.extend((levels.len() as u16).to_le_bytes());
    for (price, qty) in levels {
        [price, qty].iter().for_each(|n| out.extend(n.to_le_bytes()));
        out.extend(vec![0xee_u8; usize::from(newer.entry)]);
    }
}
