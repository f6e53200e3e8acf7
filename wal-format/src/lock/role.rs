//! What a lock is held for.

use crate::layout::{REPAIR_LOCK_FILE, WRITER_LOCK_FILE};

/// What a lock is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Appending.
    Writer,
    /// Repairing the tails of earlier runs.
    Repair,
}

impl Role {
    /// The word in the lock file and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Repair => "repair",
        }
    }

    pub(super) fn file(self) -> &'static str {
        match self {
            Role::Writer => WRITER_LOCK_FILE,
            Role::Repair => REPAIR_LOCK_FILE,
        }
    }
}
