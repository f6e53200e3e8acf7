//! The rows of the archive's files: one file per kind, from the text of a line to exact integers and on to a table
//! of the lake. Knows no file and no zip.
//!
//! Every kind has two parsers: a quick one for lines as the archive writes them, and one that splits fields first and
//! takes headers' kin, quotes, blanks, exponents, and says what is wrong. The quick one gives up rather than decide;
//! tests hold both to the same rows.
//!
//! Columns: the README of github.com/binance/binance-public-data, and the headers of the files themselves.

mod agg_trade;
mod book_depth;
mod book_ticker;
mod funding;
mod kline;
mod liquidation;
mod metrics;
mod status;
#[cfg(test)]
mod tests;
mod trade;

pub(crate) use self::kline::{CandleRules, FAULTS, KlineRow};
pub(crate) use agg_trade::AggTradeRow;
pub(crate) use book_depth::BookDepthRow;
pub(crate) use book_ticker::BookTickerRow;
pub(crate) use funding::FundingRow;
pub(crate) use liquidation::LiquidationRow;
pub(crate) use metrics::MetricsRow;
pub(crate) use trade::TradeRow;

use super::line::Fields;
use super::value::{Reject, time_of};
use lake::buffer::Many;
use lake::{Common, TableBuffer};
use model::number::leading_digits;
use model::{Num, SymbolId};

/// Where a row came from and what was noticed about it: file of the unit, line of the file, bits.
/// Orders rows with one key: the earlier file, then the earlier line wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin(u64);

impl Origin {
    /// Its time was in microseconds.
    pub(crate) const MICROS: u64 = 1;
    /// A number lost digits after its point.
    pub(crate) const LOSSY: u64 = 2;
    /// The taker sold.
    pub(crate) const SELL: u64 = 4;

    /// Line `line` (from 1) of file `input` (from 0) of the unit.
    pub(crate) fn new(input: u16, line: u64) -> Self {
        Self(u64::from(input) << 48 | (line & ((1 << 40) - 1)) << 8)
    }

    /// Which file.
    pub(crate) fn input(self) -> usize {
        (self.0 >> 48) as usize
    }

    /// Which line, from 1.
    pub(crate) fn line(self) -> u64 {
        self.0 >> 8 & ((1 << 40) - 1)
    }

    /// True when the bit is set.
    #[inline]
    pub(crate) fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    #[inline]
    pub(super) fn with(self, bit: u64, set: bool) -> Self {
        Self(self.0 | if set { bit } else { 0 })
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// What a line that is a row turned out to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line<R> {
    /// A row.
    Row(R),
    /// A place-holder of the archive (price 0, amount 0, ids -1): no row.
    Sentinel,
}

/// Words of a series that its rows do not repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// Symbol.
    pub symbol: SymbolId,
    /// Interval of candles.
    pub interval: SymbolId,
    /// The status words of [`status::STATUS`].
    pub status: [SymbolId; status::STATUS.len()],
}

impl Names {
    /// The names of a series, interned.
    pub(crate) fn new(names: &mut model::Interner, symbol: &str, interval: Option<&str>) -> Self {
        Self {
            symbol: names.intern(symbol),
            interval: names.intern(interval.unwrap_or_default()),
            status: status::STATUS.map(|word| names.intern(word)),
        }
    }
}

/// One row of a kind of file, as integers. Times are us since 1970.
pub(crate) trait Row: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// Bytes of the stored form.
    const BYTES: usize;
    /// Places of the words that are decimals, in the order of their scales.
    const DECIMALS: &'static [usize];
    /// The last column is a free number: a line cut off inside it would pass for a whole one.
    const OPEN_END: bool;
    /// Names of the columns in their order, as headers write them.
    const COLUMNS: &'static [&'static str];

    /// Reads a whole line, newline included, at the start of `text`: the row and how many bytes it took. `None` for
    /// whatever is not exactly as usual.
    fn quick(text: &[u8], origin: Origin) -> Option<(Self, usize)>;

    /// Reads the fields of a line.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(fields: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject>;

    /// Integers of the row.
    fn words(&self) -> &[i64];
    /// Decimals after the point of [`Row::DECIMALS`].
    fn scales(&self) -> &[u8; 8];
    /// Where it came from.
    fn origin(&self) -> Origin;
    /// Appends the stored form: [`Row::BYTES`] bytes.
    fn store(&self, out: &mut Vec<u8>);
    /// Reads the stored form; `None` for too few bytes.
    fn load(bytes: &[u8]) -> Option<Self>;

    /// Rows with one key are one row. The second part matters only where the first one repeats.
    fn key(&self) -> (i64, i64);
    /// Exchange time.
    fn time_us(&self) -> i64;
    /// Ids that count up by one from row to row: first and last of this row.
    fn ids(&self) -> Option<(i64, i64)> {
        None
    }
    /// Ids of what the row sums up.
    fn inner_ids(&self) -> Option<(i64, i64)> {
        None
    }
    /// Time to the next row of an unbroken series, where it is fixed by the row itself.
    fn step_us(&self) -> Option<i64> {
        None
    }
    /// What the row's own fields say against each other and against its grid: bits of [`FAULTS`].
    fn faults(&self, _: &CandleRules) -> u16 {
        0
    }
    /// Appends the row to its table.
    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer);
    /// Appends rows to their table.
    fn push_many(rows: &[Self], many: &Many<'_>, names: &Names, to: &mut TableBuffer) {
        for ((row, (ts_recv_ns, flags)), seq) in
            rows.iter().zip(many.ts_recv_ns.iter().zip(many.flags)).zip(many.first_seq..)
        {
            row.push(&Common { ts_recv_ns: *ts_recv_ns, seq, conn: 0, flags: *flags }, names, to);
        }
    }

    /// True when two rows with one key say the same, wherever they came from and however zeros are written.
    fn same(&self, other: &Self) -> bool {
        let decimal = |r: &Self, word: usize| {
            let place = Self::DECIMALS.iter().position(|d| *d == word)?;
            let scale = *r.scales().get(place)?;
            Some((
                scale == NULL_SCALE,
                Num { mantissa: (*r.words().get(word)?).into(), scale: scale.min(18) }.normalized(),
            ))
        };
        self.origin().has(Origin::SELL) == other.origin().has(Origin::SELL)
            && self.words().iter().zip(other.words()).enumerate().all(|(i, (a, b))| match decimal(self, i) {
                Some(n) => Some(n) == decimal(other, i),
                None => a == b,
            })
    }

    /// The row as text, for the record of rejected lines.
    fn text(&self) -> String {
        let value = |(i, w): (usize, &i64)| match Self::DECIMALS
            .iter()
            .position(|d| *d == i)
            .and_then(|p| self.scales().get(p))
        {
            Some(&NULL_SCALE) => String::new(),
            Some(scale) => Num { mantissa: (*w).into(), scale: (*scale).min(18) }.to_string(),
            None => w.to_string(),
        };
        let side = if self.origin().has(Origin::SELL) { ",sell" } else { "" };
        self.words().iter().enumerate().map(value).collect::<Vec<_>>().join(",") + side
    }
}

/// Scale of a decimal that is not there.
pub(crate) const NULL_SCALE: u8 = u8::MAX;

/// Declares a row of `$n` words: the struct, its stored form and accessors.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident, $n:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name {
            values: [i64; $n],
            scales: [u8; 8],
            origin: $crate::clean::row::Origin,
        }

        impl $name {
            const STORED: usize = $n * 8 + 16;

            /// Decimal in word `WORD`, whose scale stands at `PLACE`.
            #[inline]
            #[allow(dead_code, reason = "`metrics` reads its six in a loop")]
            fn num<const WORD: usize, const PLACE: usize>(&self) -> model::Num {
                model::Num { mantissa: self.values[WORD].into(), scale: self.scales[PLACE] }
            }

            fn store_words(&self, out: &mut Vec<u8>) {
                for value in self.values {
                    out.extend_from_slice(&value.to_le_bytes());
                }
                out.extend_from_slice(&self.scales);
                out.extend_from_slice(&self.origin.bits().to_le_bytes());
            }

            fn load_words(bytes: &[u8]) -> Option<Self> {
                let mut values = [0_i64; $n];
                let mut at = 0;
                for slot in &mut values {
                    *slot = i64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
                    at += 8;
                }
                let scales = *bytes.get(at..)?.first_chunk()?;
                let bits = u64::from_le_bytes(*bytes.get(at + 8..)?.first_chunk()?);
                Some(Self { values, scales, origin: $crate::clean::row::Origin::from_bits(bits) })
            }
        }
    };
}
use row;

/// The accessors that every row has.
macro_rules! stored {
    () => {
        const BYTES: usize = Self::STORED;

        fn words(&self) -> &[i64] {
            &self.values
        }

        fn scales(&self) -> &[u8; 8] {
            &self.scales
        }

        #[inline]
        fn origin(&self) -> $crate::clean::row::Origin {
            self.origin
        }

        fn store(&self, out: &mut Vec<u8>) {
            self.store_words(out);
        }

        fn load(bytes: &[u8]) -> Option<Self> {
            Self::load_words(bytes)
        }
    };
}
use stored;

/// Reads a line as the archive writes it, value by value; `None` at the first thing that is unusual.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    #[inline(always)]
    fn rest(&self) -> Option<&'a [u8]> {
        self.text.get(self.at..)
    }

    /// Digits; what follows them is not looked at.
    #[inline(always)]
    fn digits(&mut self) -> Option<i64> {
        let (value, n) = leading_digits(self.rest()?);
        if n == 0 || n > 18 {
            return None;
        }
        self.at += n;
        Some(value as i64)
    }

    #[inline(always)]
    fn comma(&mut self) -> Option<()> {
        if self.text.get(self.at) != Some(&b',') {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Digits and a comma.
    #[inline(always)]
    fn int(&mut self) -> Option<i64> {
        let v = self.digits()?;
        self.comma()?;
        Some(v)
    }

    /// A decimal without sign and a comma.
    #[inline(always)]
    fn num(&mut self) -> Option<Num> {
        let (num, n) = Num::parse_prefix(self.rest()?)?;
        self.at += n;
        self.comma()?;
        Some(num)
    }

    /// A time; true for microseconds.
    #[inline(always)]
    fn time(&mut self) -> Option<(i64, bool)> {
        time_of(self.digits()?)
    }

    /// `true`, `True`, `false`, `False`.
    #[inline(always)]
    fn boolean(&mut self) -> Option<bool> {
        let rest = self.rest()?;
        let (value, n) = match rest.first()? {
            b't' | b'T' if rest.get(1..4)? == b"rue" => (true, 4),
            b'f' | b'F' if rest.get(1..5)? == b"alse" => (false, 5),
            _ => return None,
        };
        self.at += n;
        Some(value)
    }

    /// The end of the line, and how many bytes it took.
    #[inline(always)]
    fn end(&mut self) -> Option<usize> {
        match self.text.get(self.at)? {
            b'\n' => Some(self.at + 1),
            b'\r' if self.text.get(self.at + 1) == Some(&b'\n') => Some(self.at + 2),
            _ => None,
        }
    }
}

/// Refuses a line with fewer or more fields.
fn columns(fields: &Fields<'_>, known: std::ops::RangeInclusive<usize>) -> Result<(), Reject> {
    if fields.len() < *known.start() {
        return Err(Reject::new("line", "too few columns"));
    }
    if fields.len() > *known.end() {
        return Err(Reject::new("line", "too many columns"));
    }
    Ok(())
}
