//! What an exchange says to an address that sends too many requests.

use std::time::Duration;

/// For how long an exchange wants to be left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// From now on: the longest wait that was said, a minute where none was.
    pub wait: Duration,
    /// Status or code.
    pub why: String,
}

/// How an exchange reports its limits, beside `Retry-After` and the status of HTTP. Names of headers in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttling {
    /// Headers that say how long to wait, or until when, and how many of their units are a second.
    pub resets: &'static [(&'static str, u32)],
    /// A body is a refusal, whatever its HTTP status, when this field of it holds this text; `?` is any character.
    pub refusals: &'static [(&'static str, &'static str)],
    /// Field of a refusal, and the text in it before the end of the ban, ms since 1970.
    pub ban_until: Option<(&'static str, &'static str)>,
    /// Headers that count what was used; the first that is there holds.
    pub used: &'static [UsedWeight],
}

impl Throttling {
    /// Nothing beside HTTP's own fields.
    pub const NONE: Throttling = Throttling { resets: &[], refusals: &[], ban_until: None, used: &[] };
}

/// Headers that count the weight used by our address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedWeight {
    /// What was used, or, with `left`, what may be used.
    pub header: &'static str,
    /// What is left of it.
    pub left: Option<&'static str>,
    /// Window of the count, s.
    pub window_s: u64,
}
