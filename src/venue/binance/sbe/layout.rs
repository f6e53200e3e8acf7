//! The bytes of an SBE message, taken apart by the lengths it carries. Knows offsets and sizes, not what a field
//! means; touches nothing but the frame and allocates nothing.
//!
//! ```text
//!  messageHeader   blockLength u16 | templateId u16 | schemaId u16 | version u16          8 bytes
//!  root block      blockLength bytes, of which the first 18, 50, 18, 26 are known
//!  groups          trades: blockLength u16 | numInGroup u32, entries of which 25 bytes are known
//!                  bids, then asks: blockLength u16 | numInGroup u16, entries of which 16 bytes are known
//!  symbol          length u8 | UTF-8
//!  anything        what a later version adds
//! ```
//! Everything is little endian and unaligned. No count or length of the frame is believed before that many bytes
//! are there.

use super::super::super::DecodeError;
use super::super::super::json::MAX_WORD;
use model::Channel;

/// `schemaId` of `stream_1_0.xml`; another one is a breaking change.
pub(super) const SCHEMA: u16 = 1;
/// Bytes of `messageHeader`.
pub(super) const HEADER: usize = 8;

/// The known messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    Trades = 10000,
    BestBidAsk = 10001,
    DepthSnapshot = 10002,
    DepthDiff = 10003,
}

impl Template {
    pub(super) fn known(id: u16) -> Option<Self> {
        [Self::Trades, Self::BestBidAsk, Self::DepthSnapshot, Self::DepthDiff].into_iter().find(|t| *t as u16 == id)
    }

    /// Where its rows go: the best 20 levels are whole books among the depth messages.
    pub(super) fn channel(self) -> Channel {
        match self {
            Self::Trades => Channel::Trades,
            Self::BestBidAsk => Channel::BookTicker,
            Self::DepthSnapshot | Self::DepthDiff => Channel::Depth,
        }
    }

    /// Name in the schema.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trades => "TradesStreamEvent",
            Self::BestBidAsk => "BestBidAskStreamEvent",
            Self::DepthSnapshot => "DepthSnapshotStreamEvent",
            Self::DepthDiff => "DepthDiffStreamEvent",
        }
    }
}

/// Why a frame cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Shorter than a header.
    Header,
    /// Another schema.
    Schema(u16),
    /// A message we do not know.
    Template(u16),
    /// Fewer bytes at `at` than `what` has, or than its length says.
    Cut { at: usize, what: &'static str },
    /// A symbol that is empty, too long or not UTF-8.
    Symbol { at: usize },
}

impl Fault {
    #[cold]
    pub(super) fn into_error(self) -> DecodeError {
        let malformed = |at, what: &str| DecodeError::Malformed { at, what: what.to_owned() };
        match self {
            Self::Header => malformed(0, "an SBE message header"),
            Self::Schema(id) => DecodeError::UnknownType(format!("SBE schema {id}")),
            Self::Template(id) => DecodeError::UnknownType(format!("SBE template {id}")),
            Self::Cut { at, what } => malformed(at, what),
            Self::Symbol { at } => malformed(at, "a symbol in UTF-8"),
        }
    }
}

/// A repeating group whose entries start with `N` known bytes. Its entries are known to be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a, const N: usize> {
    entry: usize,
    entries: &'a [u8],
}

impl<'a, const N: usize> Group<'a, N> {
    /// The known part of every entry, in order.
    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8; N]> {
        // An entry is never shorter than N, so no part of the result is the zeros.
        self.entries.chunks_exact(self.entry.max(1)).map(|e| e.first_chunk().unwrap_or(&[0; N]))
    }
}

/// The blocks of each message, cut to what is known of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    Trades { root: &'a [u8; 18], trades: Group<'a, 25> },
    BestBidAsk { root: &'a [u8; 50] },
    DepthSnapshot { root: &'a [u8; 18], bids: Group<'a, 16>, asks: Group<'a, 16> },
    DepthDiff { root: &'a [u8; 26], bids: Group<'a, 16>, asks: Group<'a, 16> },
}

/// A message taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) template: Template,
    pub(super) version: u16,
    pub(super) body: Body<'a>,
    pub(super) symbol: &'a str,
    /// A block or an entry has more bytes than are known, or there are bytes after the symbol.
    pub(super) longer: bool,
}

impl<'a> Message<'a> {
    #[inline]
    pub(super) fn split(frame: &'a [u8]) -> Result<Self, Fault> {
        let mut cut = Cutter { frame, at: 0, longer: false };
        let header: &[u8; HEADER] = cut.block(HEADER, "").map_err(|_| Fault::Header)?;
        let (length, id) = (usize::from(u16_at::<0, _>(header)), u16_at::<2, _>(header));
        let (schema, version) = (u16_at::<4, _>(header), u16_at::<6, _>(header));
        if schema != SCHEMA {
            return Err(Fault::Schema(schema));
        }
        let template = Template::known(id).ok_or(Fault::Template(id))?;
        let body = match template {
            Template::Trades => Body::Trades { root: cut.block(length, ROOT)?, trades: cut.trades()? },
            Template::BestBidAsk => Body::BestBidAsk { root: cut.block(length, ROOT)? },
            Template::DepthSnapshot => {
                Body::DepthSnapshot { root: cut.block(length, ROOT)?, bids: cut.levels()?, asks: cut.levels()? }
            }
            Template::DepthDiff => {
                Body::DepthDiff { root: cut.block(length, ROOT)?, bids: cut.levels()?, asks: cut.levels()? }
            }
        };
        let symbol = cut.symbol()?;
        Ok(Self { template, version, body, symbol, longer: cut.longer || cut.at < frame.len() })
    }
}

const ROOT: &str = "a root block";

/// Walks over a frame from its start.
struct Cutter<'a> {
    frame: &'a [u8],
    at: usize,
    longer: bool,
}

impl<'a> Cutter<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.frame.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// A block of `length` bytes by its first `N`.
    #[inline]
    fn block<const N: usize>(&mut self, length: usize, what: &'static str) -> Result<&'a [u8; N], Fault> {
        let at = self.at;
        let block = self.take(length).and_then(|b| b.first_chunk()).ok_or(Fault::Cut { at, what })?;
        self.longer |= length > N;
        Ok(block)
    }

    fn trades(&mut self) -> Result<Group<'a, 25>, Fault> {
        let size: &[u8; 6] = self.block(6, "the size of trades")?;
        let count = u32::from_le_bytes([size[2], size[3], size[4], size[5]]);
        self.entries(u16_at::<0, _>(size), count, "trades")
    }

    fn levels(&mut self) -> Result<Group<'a, 16>, Fault> {
        let size: &[u8; 4] = self.block(4, "the size of bids or asks")?;
        self.entries(u16_at::<0, _>(size), u32::from(u16_at::<2, _>(size)), "bids or asks")
    }

    /// `count` entries of `entry` bytes; the length of an entry says nothing where there is none.
    #[inline]
    fn entries<const N: usize>(&mut self, entry: u16, count: u32, what: &'static str) -> Result<Group<'a, N>, Fault> {
        let fault = Fault::Cut { at: self.at, what };
        let entry = usize::from(entry);
        if count == 0 {
            return Ok(Group { entry: N, entries: &[] });
        }
        if entry < N {
            return Err(fault);
        }
        self.longer |= entry > N;
        let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(entry)).ok_or(fault)?;
        Ok(Group { entry, entries: self.take(bytes).ok_or(fault)? })
    }

    #[inline]
    fn symbol(&mut self) -> Result<&'a str, Fault> {
        let at = self.at;
        let what = "a symbol";
        let [length] = self.block(1, what)?;
        let bytes = self.take(usize::from(*length)).ok_or(Fault::Cut { at, what })?;
        match std::str::from_utf8(bytes) {
            Ok(symbol) if !symbol.is_empty() && symbol.len() <= MAX_WORD => Ok(symbol),
            _ => Err(Fault::Symbol { at }),
        }
    }
}

/// The u16 at offset `AT`.
#[inline(always)]
fn u16_at<const AT: usize, const N: usize>(block: &[u8; N]) -> u16 {
    const { assert!(AT + 2 <= N) };
    u16::from_le_bytes([block[AT], block[AT + 1]])
}

/// The i64 at offset `AT`.
#[inline(always)]
pub(super) fn i64_at<const AT: usize, const N: usize>(block: &[u8; N]) -> i64 {
    const { assert!(AT + 8 <= N) };
    i64::from_le_bytes(std::array::from_fn(|i| block[AT + i]))
}

/// The i8 at offset `AT`.
#[inline(always)]
pub(super) fn i8_at<const AT: usize, const N: usize>(block: &[u8; N]) -> i8 {
    const { assert!(AT < N) };
    i8::from_le_bytes([block[AT]])
}
