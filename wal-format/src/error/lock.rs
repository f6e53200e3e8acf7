//! Why a lock could not be taken.

use std::io;
use std::path::PathBuf;

use crate::lock::Role;

/// A lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process (or another handle of this one) holds it.
    #[error(
        "{} is held by another process{}{}",
        path.display(),
        if *role == Role::Repair { ", for a repair" } else { "" },
        pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What for.
        role: Role,
        /// As written into the file by the holder.
        pid: Option<u32>,
        /// When the holder took it, ns since 1970-01-01 UTC, as written by the holder.
        since_wall_ns: Option<u64>,
    },
    /// The lock file cannot be opened or locked.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
