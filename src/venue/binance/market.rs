//! Which of the JSON markets something is about.

/// Which of the JSON markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    Spot,
    Usdm,
    Coinm,
}

impl Market {
    /// Number of its family (`st`) in rows that markets share streams with since 2026-06-30; spot has none.
    pub(super) fn family(self) -> i64 {
        match self {
            Self::Spot | Self::Usdm => 1,
            Self::Coinm => 2,
        }
    }

    /// What the paths of its REST begin with.
    pub(super) fn api(self) -> &'static str {
        match self {
            Self::Spot => "/api/v3",
            Self::Usdm => "/fapi/v1",
            Self::Coinm => "/dapi/v1",
        }
    }
}
