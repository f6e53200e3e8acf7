//! Which of the two JSON markets something is about.

/// Which of the two JSON markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    Spot,
    Usdm,
}
