//! What to do about damage.

/// What to do about damage inside a crash tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Keep every readable record: frames are independent of each other. The default.
    #[default]
    Salvage,
    /// Cut the segment at the first damage; records after it are reported lost.
    Prefix,
    /// Refuse to touch a damaged segment, and say where the damage is.
    Strict,
}
