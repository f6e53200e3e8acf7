//! Typed column vectors in log order: what a table buffer gathers and a row group is made of.
//!
//! Pushing is a bounds check and a store: no allocation per row, nulls are sentinels that no venue sends
//! (documented on each type). Nothing here knows Parquet.

use model::Num;

use super::Numeric;
pub(crate) use super::texts::Texts;

/// Null of a 64-bit integer column. A venue id or time of exactly `i64::MIN` would become null; none exists.
pub const NULL_I64: i64 = i64::MIN;
/// Null of a double column: a NaN that [`Num::to_f64`] never gives.
pub const NULL_F64: u64 = u64::MAX;
/// Null of a decimal column: outside 38 digits.
pub const NULL_DEC: i128 = i128::MIN;
/// The largest value of a decimal column.
const DECIMAL_MAX: i128 = 10_i128.pow(38) - 1;
/// Null of a text column.
pub(crate) const NULL_WORD: u32 = u32::MAX;

/// What a column is, independent of how numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// INT32.
    Int32,
    /// INT64.
    Int64,
    /// TIMESTAMP(us, UTC).
    TimeUs,
    /// `ts_recv`: not stored in memory, `ts_recv_ns / 1000`.
    RecvUs,
    /// DOUBLE or DECIMAL(38, 18).
    Number,
    /// UTF8 from the interner.
    Word,
    /// UTF8, one of four sides.
    Side,
    /// UTF8, any text.
    Text,
    /// BINARY.
    Binary,
    /// BOOLEAN.
    Bool,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// As in the files.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Null where the venue does not say.
    pub nullable: bool,
    /// The version of the schema that added it.
    pub since: u32,
}

/// What a version may add: columns in which the rows of before are null, in the order of the versions.
pub(crate) const fn check_added(mut specs: &[Spec]) {
    let mut version = 1;
    while let [spec, rest @ ..] = specs {
        assert!(spec.since >= version, "columns are in the order of the versions that added them");
        assert!(spec.since <= super::SchemaVersion::NEWEST.0, "SchemaVersion::NEWEST is behind");
        let has_null = spec.nullable && !matches!(spec.kind, Kind::Int32 | Kind::Bool | Kind::RecvUs);
        assert!(spec.since == 1 || has_null, "a column that was added must be able to be null");
        (version, specs) = (spec.since, rest);
    }
}

/// Sides in text order; a code is an index.
pub const SIDES: [&str; 4] = ["ask", "bid", "buy", "sell"];
pub(crate) const ASK: u8 = 0;
pub(crate) const BID: u8 = 1;
pub(crate) const BUY: u8 = 2;
pub(crate) const SELL: u8 = 3;
/// No side.
pub(crate) const NULL_SIDE: u8 = u8::MAX;

/// Taker side as a code of a side column.
pub(crate) fn side_code(side: model::row::Side) -> u8 {
    match side {
        model::row::Side::Buy => BUY,
        model::row::Side::Sell => SELL,
    }
}

/// A column of a chunk.
#[derive(Clone, Debug)]
pub enum Column {
    /// As they are.
    Int32(Vec<i32>),
    /// As they are.
    Int64(Vec<i64>),
    /// Bits of doubles.
    Double(Vec<u64>),
    /// Values times 10^18.
    Decimal(Vec<i128>),
    /// Indices into the chunk's sorted word list.
    Word(Vec<u32>),
    /// Indices into [`SIDES`].
    Side(Vec<u8>),
    /// As they are.
    Bool(Vec<bool>),
    /// Texts or bytes, one after the other.
    Text(Texts),
    /// `ts_recv`.
    Derived,
}

pub(crate) fn split<T>(v: &mut Vec<T>, n: usize) -> Vec<T> {
    if n >= v.len() {
        return std::mem::take(v);
    }
    let rest = v.split_off(n);
    std::mem::replace(v, rest)
}

fn pick<T: Copy>(v: &[T], order: &[u32]) -> Vec<T> {
    order.iter().map(|i| v[*i as usize]).collect()
}

impl Column {
    /// An empty column of `kind`.
    pub(crate) fn new(kind: Kind, numeric: Numeric) -> Self {
        match kind {
            Kind::Int32 => Self::Int32(Vec::new()),
            Kind::Int64 | Kind::TimeUs => Self::Int64(Vec::new()),
            Kind::RecvUs => Self::Derived,
            Kind::Number => match numeric {
                Numeric::Double => Self::Double(Vec::new()),
                Numeric::Decimal => Self::Decimal(Vec::new()),
            },
            Kind::Word => Self::Word(Vec::new()),
            Kind::Side => Self::Side(Vec::new()),
            Kind::Text | Kind::Binary => Self::Text(Texts::default()),
            Kind::Bool => Self::Bool(Vec::new()),
        }
    }

    /// A column of `kind` in which nothing is there.
    pub(crate) fn nulls(kind: Kind, numeric: Numeric, n: usize) -> Self {
        let mut column = Self::new(kind, numeric);
        match &mut column {
            Self::Int64(v) => v.resize(n, NULL_I64),
            Self::Double(v) => v.resize(n, NULL_F64),
            Self::Decimal(v) => v.resize(n, NULL_DEC),
            Self::Word(v) => v.resize(n, NULL_WORD),
            Self::Side(v) => v.resize(n, NULL_SIDE),
            Self::Text(v) => (0..n).for_each(|_| {
                v.push_opt(None::<&str>);
            }),
            // `check_added`: no later column is of these.
            Self::Int32(_) | Self::Bool(_) | Self::Derived => {}
        }
        column
    }

    /// Moves the first `n` values out.
    pub(crate) fn take_first(&mut self, n: usize) -> Column {
        match self {
            Self::Int32(v) => Self::Int32(split(v, n)),
            Self::Int64(v) => Self::Int64(split(v, n)),
            Self::Double(v) => Self::Double(split(v, n)),
            Self::Decimal(v) => Self::Decimal(split(v, n)),
            Self::Word(v) => Self::Word(split(v, n)),
            Self::Side(v) => Self::Side(split(v, n)),
            Self::Bool(v) => Self::Bool(split(v, n)),
            Self::Text(v) => Self::Text(v.take_first(n)),
            Self::Derived => Self::Derived,
        }
    }

    /// Appends a column of the same kind; false (and nothing done) when the kinds differ.
    pub(crate) fn append(&mut self, other: Column) -> bool {
        match (self, other) {
            (Self::Int32(a), Self::Int32(mut b)) => a.append(&mut b),
            (Self::Int64(a), Self::Int64(mut b)) => a.append(&mut b),
            (Self::Double(a), Self::Double(mut b)) => a.append(&mut b),
            (Self::Decimal(a), Self::Decimal(mut b)) => a.append(&mut b),
            (Self::Word(a), Self::Word(mut b)) => a.append(&mut b),
            (Self::Side(a), Self::Side(mut b)) => a.append(&mut b),
            (Self::Bool(a), Self::Bool(mut b)) => a.append(&mut b),
            (Self::Text(a), Self::Text(b)) => a.append(&b),
            (Self::Derived, Self::Derived) => {}
            _ => return false,
        }
        true
    }

    /// The values in the given order.
    pub(crate) fn permuted(&self, order: &[u32]) -> Column {
        match self {
            Self::Int32(v) => Self::Int32(pick(v, order)),
            Self::Int64(v) => Self::Int64(pick(v, order)),
            Self::Double(v) => Self::Double(pick(v, order)),
            Self::Decimal(v) => Self::Decimal(pick(v, order)),
            Self::Word(v) => Self::Word(pick(v, order)),
            Self::Side(v) => Self::Side(pick(v, order)),
            Self::Bool(v) => Self::Bool(pick(v, order)),
            Self::Text(v) => {
                let mut out = Texts::default();
                for i in order {
                    out.push_opt(v.get(*i as usize));
                }
                Self::Text(out)
            }
            Self::Derived => Self::Derived,
        }
    }

    /// Bytes of the first `n` texts.
    pub(crate) fn text_bytes(&self, n: usize) -> usize {
        if let Self::Text(t) = self { t.text_bytes(n) } else { 0 }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Int32(v) => v.len() * 4,
            Self::Int64(v) => v.len() * 8,
            Self::Double(v) => v.len() * 8,
            Self::Decimal(v) => v.len() * 16,
            Self::Word(v) => v.len() * 4,
            Self::Side(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.bytes_held(),
            Self::Derived => 0,
        }
    }
}

macro_rules! plain_column {
    ($(#[$doc:meta])* $name:ident, $t:ty, $variant:ident) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name(pub(crate) Vec<$t>);

        impl $name {
            pub(crate) fn new(_: Numeric) -> Self {
                Self::default()
            }

            #[inline]
            pub(crate) fn push(&mut self, v: $t) -> u32 {
                self.0.push(v);
                0
            }

            pub(crate) fn take(&mut self, n: usize) -> Column {
                Column::$variant(split(&mut self.0, n))
            }

            /// Takes over the memory of a column that is no longer needed.
            pub(crate) fn recycle(&mut self, used: Column) {
                if let Column::$variant(mut v) = used
                    && self.0.is_empty()
                    && v.capacity() > self.0.capacity()
                {
                    v.clear();
                    self.0 = v;
                }
            }

            pub(crate) fn bytes_held(&self) -> usize {
                self.0.len() * size_of::<$t>()
            }

            #[inline]
            pub(crate) fn text_bytes(&self, _: usize) -> usize {
                0
            }
        }
    };
}

plain_column!(
    /// 32-bit integers, never null.
    Int32s, i32, Int32
);
plain_column!(
    /// 64-bit integers and times.
    Int64s, i64, Int64
);
plain_column!(
    /// Interned texts; ids of the interner until the chunk is taken.
    Words, u32, Word
);
plain_column!(
    /// Codes of [`SIDES`].
    Sides, u8, Side
);
plain_column!(
    /// Booleans.
    Bools, bool, Bool
);

impl Int64s {
    #[inline]
    pub(crate) fn push_opt(&mut self, v: Option<i64>) -> u32 {
        self.push(v.unwrap_or(NULL_I64))
    }
}

impl Words {
    #[inline]
    pub(crate) fn push_opt(&mut self, v: Option<model::SymbolId>) -> u32 {
        self.push(v.map_or(NULL_WORD, |s| s.0))
    }
}

impl Sides {
    #[inline]
    pub(crate) fn push_opt(&mut self, v: Option<u8>) -> u32 {
        self.push(v.unwrap_or(NULL_SIDE))
    }
}

/// Prices and amounts, as bits of doubles or times 10^18.
#[derive(Debug)]
pub(crate) enum Numbers {
    Double(Vec<u64>),
    Decimal(Vec<i128>),
}

impl Numbers {
    pub(crate) fn new(numeric: Numeric) -> Self {
        match numeric {
            Numeric::Double => Self::Double(Vec::new()),
            Numeric::Decimal => Self::Decimal(Vec::new()),
        }
    }

    /// Appends a number; 1 when the column cannot carry its text, else 0. Rows with a number of a required column that
    /// no decimal holds are kept as frames ([`model::Rows::drop_decimal_overflow`]) before they come here.
    #[inline]
    pub(crate) fn push(&mut self, n: Num) -> u32 {
        match self {
            Self::Double(v) => {
                v.push(n.to_f64().to_bits());
                u32::from(!n.survives_f64())
            }
            Self::Decimal(v) => {
                let (value, exact) = n.to_decimal18().unwrap_or((n.mantissa.signum() * DECIMAL_MAX, false));
                v.push(value);
                u32::from(!exact)
            }
        }
    }

    #[inline]
    pub(crate) fn push_opt(&mut self, n: Option<Num>) -> u32 {
        let too_large = match (&*self, n) {
            (Self::Decimal(_), Some(n)) => n.to_decimal18().is_none(),
            _ => false,
        };
        match n {
            Some(n) if !too_large => self.push(n),
            _ => {
                match self {
                    Self::Double(v) => v.push(NULL_F64),
                    Self::Decimal(v) => v.push(NULL_DEC),
                }
                u32::from(too_large)
            }
        }
    }

    pub(crate) fn take(&mut self, n: usize) -> Column {
        match self {
            Self::Double(v) => Column::Double(split(v, n)),
            Self::Decimal(v) => Column::Decimal(split(v, n)),
        }
    }

    /// Takes over the memory of a column that is no longer needed.
    pub(crate) fn recycle(&mut self, used: Column) {
        match (self, used) {
            (Self::Double(v), Column::Double(mut u)) if v.is_empty() => {
                u.clear();
                *v = u;
            }
            (Self::Decimal(v), Column::Decimal(mut u)) if v.is_empty() => {
                u.clear();
                *v = u;
            }
            _ => {}
        }
    }

    pub(crate) fn bytes_held(&self) -> usize {
        match self {
            Self::Double(v) => v.len() * 8,
            Self::Decimal(v) => v.len() * 16,
        }
    }

    #[inline]
    pub(crate) fn text_bytes(&self, _: usize) -> usize {
        0
    }
}

/// The vector that gathers a column, by the name of its [`Kind`].
pub(crate) mod vector {
    pub(crate) use super::{
        Bools as Bool, Derived as RecvUs, Int32s as Int32, Int64s as Int64, Int64s as TimeUs, Numbers as Number,
        Sides as Side, Texts as Binary, Texts as Text, Words as Word,
    };
}

/// Declares columns, one line each: `name: Kind [or null] [since 2] = what a row says;`, and `field as "name"` where the
/// name is a word of Rust; `since` names the version of the schema that added it, and is not pushed before. From this one list come the struct that gathers them in the order of the files, their schema, and how
/// a row is pushed, so that these cannot disagree; `or null` takes an `Option` and nothing else does.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident of $row:ident: $Row:ty {
        $($field:ident $(as $word:literal)?: $kind:ident $(or $null:ident)? $(since $since:literal)? = $value:expr;)+
    }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name { $(pub(crate) $field: $crate::column::vector::$kind),+ }

        impl $name {
            /// Schema of the columns, in order.
            pub(crate) const SPECS: &'static [$crate::column::Spec] = &[$($crate::column::Spec {
                name: $crate::column::columns!(@name $field $($word)?),
                kind: $crate::column::Kind::$kind,
                nullable: $crate::column::columns!(@nullable $($null)?),
                since: $crate::column::columns!(@since $($since)?),
            }),+];

            pub(crate) fn new(numeric: $crate::Numeric) -> Self {
                Self { $($field: $crate::column::vector::$kind::new(numeric)),+ }
            }

            /// Appends a row; returns how many of its numbers a column cannot carry.
            #[inline]
            pub(crate) fn push(&mut self, version: $crate::SchemaVersion, $row: &$Row) -> u32 {
                let _ = version; // used by columns that came later
                0 $(+ $crate::column::columns!(@since_push version, self.$field, $value, [$($null)?] $($since)?))+
            }

            /// Moves the first `n` rows of the columns that version `since` added out, in schema order.
            pub(crate) fn take(&mut self, n: usize, since: u32, out: &mut Vec<$crate::column::Column>) {
                $(if since == $crate::column::columns!(@since $($since)?) {
                    out.push(self.$field.take(n));
                })+
            }

            /// Takes over the memory of columns that are no longer needed, in the order of [`Self::take`].
            pub(crate) fn recycle(&mut self, since: u32, used: &mut impl Iterator<Item = $crate::column::Column>) {
                $(if since == $crate::column::columns!(@since $($since)?)
                    && let Some(c) = used.next()
                {
                    self.$field.recycle(c);
                })+
            }

            /// Bytes held.
            pub(crate) fn bytes_held(&self) -> usize {
                0 $(+ self.$field.bytes_held())+
            }

            /// Bytes of the texts of the first `n` rows.
            #[inline]
            pub(crate) fn text_bytes(&self, n: usize) -> usize {
                0 $(+ self.$field.text_bytes(n))+
            }
        }

        const _: () = $crate::column::check_added($name::SPECS);
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $word:literal) => { $word };
    (@nullable) => { false };
    (@nullable null) => { true };
    (@since) => { 1 };
    (@since $since:literal) => { $since };
    (@push $column:expr, $value:expr, []) => { $column.push($value) };
    (@push $column:expr, $value:expr, [null]) => { $column.push_opt($value) };
    (@since_push $version:ident, $column:expr, $value:expr, $null:tt) => {
        $crate::column::columns!(@push $column, $value, $null)
    };
    (@since_push $version:ident, $column:expr, $value:expr, $null:tt $since:literal) => {
        if $version >= $crate::SchemaVersion($since) { $crate::column::columns!(@push $column, $value, $null) } else { 0 }
    };
}
pub(crate) use columns;

/// The column that is not there: `ts_recv`.
#[derive(Debug, Default)]
pub(crate) struct Derived;

impl Derived {
    pub(crate) fn new(_: Numeric) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn push(&mut self, (): ()) -> u32 {
        0
    }

    pub(crate) fn take(&mut self, _: usize) -> Column {
        Column::Derived
    }

    pub(crate) fn recycle(&mut self, _: Column) {}

    pub(crate) fn bytes_held(&self) -> usize {
        0
    }

    pub(crate) fn text_bytes(&self, _: usize) -> usize {
        0
    }
}
