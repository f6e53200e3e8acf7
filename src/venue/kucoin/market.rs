//! Which of the two markets something is about.

/// Which of the two markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    Spot,
    Futures,
}
