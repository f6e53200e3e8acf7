//! Columns of a file of the lake by name, and numbers back to exact decimals.

use crate::error::{HistoryError, Result};
use lake::column::{Column, NULL_DEC, NULL_F64, SIDES};
use lake::read::TableFile;
use lake::{Lake, RowsChunk, Table};
use model::Num;

/// Calls `each` with the row groups of a file, in order.
pub(super) fn groups(lake: &Lake, key: &str, table: Table, each: &mut dyn FnMut(&Group) -> Result<()>) -> Result<()> {
    let file = TableFile::get(lake, key)?;
    if file.table() != table {
        return Err(HistoryError::OtherTable { path: file.path().to_owned(), found: file.table(), table });
    }
    for g in 0..file.groups() {
        each(&Group { chunk: file.chunk(g)? })?;
    }
    Ok(())
}

/// Rows of one row group.
pub(super) struct Group {
    chunk: RowsChunk,
}

impl Group {
    pub(super) fn rows(&self) -> usize {
        self.chunk.rows()
    }

    fn column(&self, name: &str) -> Result<&Column> {
        let at = self.chunk.specs().iter().position(|s| s.name == name);
        at.and_then(|i| self.chunk.columns.get(i)).ok_or_else(|| HistoryError::NoColumn(name.to_owned()))
    }

    pub(super) fn ints(&self, name: &str) -> Result<&[i64]> {
        match self.column(name)? {
            Column::Int64(v) => Ok(v),
            _ => Err(holds_no("integers", name)),
        }
    }

    /// True where the taker sold.
    pub(super) fn sells(&self) -> Result<Vec<bool>> {
        match self.column("side")? {
            Column::Side(v) => Ok(v.iter().map(|c| SIDES.get(usize::from(*c)) == Some(&"sell")).collect()),
            _ => Err(holds_no("sides", "side")),
        }
    }

    /// Words, as text; `None` for null.
    pub(super) fn words(&self, name: &str) -> Result<Vec<Option<&str>>> {
        match self.column(name)? {
            Column::Word(v) => Ok(v.iter().map(|w| self.chunk.words.get(*w as usize).map(AsRef::as_ref)).collect()),
            _ => Err(holds_no("words", name)),
        }
    }

    /// Numbers as they are stored: equal text gives equal values.
    pub(super) fn stored(&self, name: &str) -> Result<Vec<Stored>> {
        match self.column(name)? {
            Column::Double(v) => {
                Ok(v.iter().map(|b| if *b == NULL_F64 { Stored::Null } else { Stored::Double(*b) }).collect())
            }
            Column::Decimal(v) => {
                Ok(v.iter().map(|d| if *d == NULL_DEC { Stored::Null } else { Stored::Decimal(*d) }).collect())
            }
            _ => Err(holds_no("numbers", name)),
        }
    }
}

fn holds_no(what: &'static str, column: &str) -> HistoryError {
    HistoryError::Column { column: column.to_owned(), what }
}

/// A number as the lake holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Null,
    /// Bits of a double.
    Double(u64),
    /// Times 10^18.
    Decimal(i128),
}

impl Stored {
    /// The shortest decimal that gives this number; `None` for null and for what no [`Num`] can hold.
    pub(super) fn num(self) -> Option<Num> {
        match self {
            Self::Null => None,
            Self::Double(bits) => shortest(f64::from_bits(bits)),
            Self::Decimal(d) => {
                let (mut d, mut scale) = (d, 18_u8);
                while scale > 0 && d % 10 == 0 {
                    (d, scale) = (d / 10, scale - 1);
                }
                Some(Num { mantissa: d, scale })
            }
        }
    }

    /// The same form of a value `mantissa * 10^-scale`, as the lake would have stored it.
    pub(super) fn like(self, mantissa: i128, scale: u32) -> Stored {
        match self {
            Self::Null => Self::Null,
            Self::Double(_) => {
                let text = model::kline::decimal(mantissa, scale, 0);
                Self::Double(text.parse::<f64>().unwrap_or(f64::NAN).to_bits())
            }
            Self::Decimal(_) => match 18_u32.checked_sub(scale) {
                Some(up) => Self::Decimal(mantissa.saturating_mul(10_i128.pow(up))),
                None => Self::Null,
            },
        }
    }
}

/// The shortest decimal that a double is nearest to.
fn shortest(value: f64) -> Option<Num> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let mut unit = 1.0_f64;
    for scale in 0..=18_u8 {
        let m = (value * unit).round();
        if m.abs() >= EXACT {
            break;
        }
        if m / unit == value {
            return Some(Num { mantissa: m as i128, scale });
        }
        unit *= 10.0;
    }
    Num::parse(format!("{value}").as_bytes()).ok()
}
