//! Which of the JSON markets something is about.

/// Which of the JSON markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    Spot,
    Usdm,
}

impl Market {
    /// What the paths of its REST begin with.
    pub(super) fn api(self) -> &'static str {
        match self {
            Self::Spot => "/api/v3",
            Self::Usdm => "/fapi/v1",
        }
    }
}
