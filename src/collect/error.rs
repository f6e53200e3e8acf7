//! Why the collector does not start, or did not end well.

use model::VenueId;
use ops::supervise::Panicked;

/// Why the collector does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// There is nothing to record.
    #[error("no venue is configured\nfix:   add a [venues.<venue>] table")]
    NoVenue,
    /// A venue cannot be recorded.
    #[error("cannot start the collector: {what}\nwhere: {place}\nfix:   {fix}")]
    Start {
        /// Why.
        what: String,
        /// Directory or key.
        place: String,
        /// What to do.
        fix: String,
    },
    /// An extra root certificate is none.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The socket of the status server cannot be used.
    #[error(transparent)]
    Listen(#[from] std::io::Error),
    /// A log was not closed as it should be.
    #[error("close the log of {venue}: {error}")]
    Close {
        /// Its venue.
        venue: VenueId,
        /// Cause, whole.
        error: wal_format::CloseError,
    },
    /// Closing a log panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// Logs that were not closed as they should be.
    #[error("the collector did not end cleanly: {}", .0.join("; "))]
    Unclean(Vec<String>),
}
