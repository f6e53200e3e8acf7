//! Why a file could not be had: what is stored as its last error, whether trying again can help, and what a person
//! can do about it.

use std::fmt;

/// What went wrong with one download.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct DownloadError {
    /// Which kind.
    pub what: What,
    /// Details in plain words.
    pub detail: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// Listed, but the server has no such file.
    Gone,
    /// The server refuses this address.
    Refused,
    /// The server throttles us.
    Throttled,
    /// The server failed.
    Server,
    /// No connection, or it broke.
    Network,
    /// Bytes came too slowly.
    Stalled,
    /// The server sent another number of bytes than it said.
    Length,
    /// The bytes are not those of the `.CHECKSUM`.
    Checksum,
    /// The `.CHECKSUM` itself is none.
    BadChecksum,
    /// The answer makes no sense.
    Protocol,
    /// What was downloaded so far was taken away.
    Vanished,
    /// The disk refused.
    Disk,
}

impl What {
    /// All of them.
    pub const ALL: [What; 12] = [
        What::Gone,
        What::Refused,
        What::Throttled,
        What::Server,
        What::Network,
        What::Stalled,
        What::Length,
        What::Checksum,
        What::BadChecksum,
        What::Protocol,
        What::Vanished,
        What::Disk,
    ];

    /// The name in front of a stored error.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Gone => "gone",
            What::Refused => "refused",
            What::Throttled => "throttled",
            What::Server => "server",
            What::Network => "network",
            What::Stalled => "stalled",
            What::Length => "length",
            What::Checksum => "checksum",
            What::BadChecksum => "bad checksum file",
            What::Protocol => "protocol",
            What::Vanished => "vanished",
            What::Disk => "disk",
        }
    }

    /// The kind of a stored error.
    pub fn of(error: &str) -> Option<What> {
        let word = error.split(':').next()?;
        What::ALL.into_iter().find(|w| w.as_str() == word)
    }

    /// Failures in a row that this kind is allowed at most, whatever is configured.
    pub fn patience(self) -> u64 {
        match self {
            // The listing may be ahead of the files for a moment, but not for long.
            What::Gone | What::Refused => 2,
            // A damaged transfer is caught by the next one; a third one says that the archive itself is wrong.
            What::Checksum | What::BadChecksum => 3,
            _ => u64::MAX,
        }
    }

    /// What a person can do about a file on the dead-letter list.
    pub fn advice(self) -> &'static str {
        match self {
            What::Gone => "the archive lists it but does not have it: try again later, or take the daily files instead",
            What::Refused => "the server refuses this address: use [history] proxy_url with another exit",
            What::Throttled => "lower [history] requests_per_s and download_workers, then try again",
            What::Server => "the server was in failure: try again later",
            What::Network => "check the network and [proxy], then try again",
            What::Stalled => "the line was too slow: lower download_workers or raise stall_timeout_s, then try again",
            What::Length | What::Protocol => {
                "something between here and the archive changes answers: try another proxy (proxy_url)"
            }
            What::Checksum | What::BadChecksum => {
                "file and checksum of the archive do not agree: it is being uploaded again, or damaged there; try \
                 again later"
            }
            What::Vanished => "another program removes .partial files below history.dir: stop it, then try again",
            What::Disk => "make room or repair the disk, then try again",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl DownloadError {
    /// One.
    pub fn new(what: What, detail: impl Into<String>) -> Self {
        Self { what, detail: detail.into() }
    }
}

/// What a person can do about a stored error.
pub fn advice(error: &str) -> &'static str {
    What::of(error).map_or("try again", What::advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_error_leads_back_to_its_kind_and_advice() {
        for what in What::ALL {
            let stored = DownloadError::new(what, "detail: with a colon").to_string();
            assert_eq!(What::of(&stored), Some(what), "{stored}");
            assert_eq!(advice(&stored), what.advice());
        }
        assert_eq!(What::of("anything else"), None);
    }
}
