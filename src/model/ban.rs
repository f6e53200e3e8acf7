//! What an exchange says to an address that asks too often.

use std::time::Duration;

/// For how long an exchange wants to be left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// From now on: the longest wait that was said, a minute where none was.
    pub wait: Duration,
    /// Status or code.
    pub why: String,
}
