//! Texts and byte strings of a column, in one arena.

use super::Numeric;
use super::column::{Column, split};

/// Null, as a length.
const NULL_LEN: u32 = u32::MAX;

/// Texts or byte strings in one arena.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    arena: Vec<u8>,
    /// Start and length, in arena order.
    spans: Vec<(usize, u32)>,
    /// Spans that are not null.
    values: usize,
}

impl Texts {
    pub(crate) fn new(_: Numeric) -> Self {
        Self::default()
    }

    /// Appends a text. Texts above 4 GiB - 2 cannot exist: a record's payload is a `u32` long.
    #[inline]
    pub(crate) fn push(&mut self, text: impl AsRef<[u8]>) -> u32 {
        let text = text.as_ref();
        self.values += 1;
        self.spans.push((self.arena.len(), text.len() as u32));
        self.arena.extend_from_slice(text);
        0
    }

    #[inline]
    pub(crate) fn push_opt(&mut self, text: Option<impl AsRef<[u8]>>) -> u32 {
        match text {
            Some(t) => self.push(t),
            None => {
                self.spans.push((self.arena.len(), NULL_LEN));
                0
            }
        }
    }

    /// How many texts are not null.
    pub(crate) fn values(&self) -> usize {
        self.values
    }

    /// Text `i`; `None` = null.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let (start, len) = *self.spans.get(i)?;
        if len == NULL_LEN {
            return None;
        }
        self.arena.get(start..start + len as usize)
    }

    pub(crate) fn take(&mut self, n: usize) -> Column {
        Column::Text(self.take_first(n))
    }

    /// Takes over the memory of a column that is no longer needed.
    pub(crate) fn recycle(&mut self, used: Column) {
        if let Column::Text(mut t) = used
            && self.spans.is_empty()
        {
            t.spans.clear();
            t.arena.clear();
            t.values = 0;
            *self = t;
        }
    }

    pub(crate) fn take_first(&mut self, n: usize) -> Texts {
        let Some((cut, _)) = self.spans.get(n).copied() else {
            return std::mem::take(self);
        };
        let spans = split(&mut self.spans, n);
        let arena = split(&mut self.arena, cut);
        for s in &mut self.spans {
            s.0 -= cut;
        }
        let values = spans.iter().filter(|s| s.1 != NULL_LEN).count();
        self.values -= values;
        Texts { arena, spans, values }
    }

    pub(crate) fn append(&mut self, other: &Texts) {
        let at = self.arena.len();
        self.values += other.values;
        self.arena.extend_from_slice(&other.arena);
        self.spans.extend(other.spans.iter().map(|(s, l)| (s + at, *l)));
    }

    /// Bytes of the first `n` texts.
    #[inline]
    pub(crate) fn text_bytes(&self, n: usize) -> usize {
        self.spans.get(n).map_or(self.arena.len(), |(start, _)| *start)
    }

    pub(crate) fn bytes_held(&self) -> usize {
        self.arena.len() + self.spans.len() * size_of::<(usize, u32)>()
    }
}
