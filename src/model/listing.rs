//! What a venue lists, entry by entry.

use crate::Symbol;

/// What a venue lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Every symbol that has a name, once, in the order sent.
    pub symbols: Vec<Symbol>,
    /// Entries that could not be read, or not as a whole.
    pub rejects: Vec<RejectedEntry>,
}

impl Listing {
    /// True when anything trades. Nothing does while a venue is in maintenance.
    pub fn trades(&self) -> bool {
        self.symbols.iter().any(|s| s.trading)
    }

    /// True when an entry has no name that can be used: a symbol that is not listed may be that one.
    pub fn has_nameless(&self) -> bool {
        self.rejects.iter().any(|e| e.name.is_none())
    }
}

/// An entry that could not be read, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedEntry {
    /// Its name. With one it is a symbol all the same.
    pub name: Option<String>,
    /// What is wrong with it.
    pub why: String,
    /// As it was sent.
    pub raw: String,
}
