//! What can go wrong, and whether the catalog may have done what was asked all the same.

use lake::LakeError;

/// Any failure of the committer.
#[derive(Debug, thiserror::Error)]
pub enum CommitterError {
    /// A file of the lake, or of a table, cannot be read or written.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// An object store cannot be opened.
    #[error(transparent)]
    Open(#[from] s3::OpenError),
    /// Metadata of a table cannot be read or made.
    #[error("{what}: {source}")]
    Iceberg {
        /// Which.
        what: String,
        /// Cause.
        source: Box<iceberg::Error>,
    },
    /// The catalog was not reached, or failed, or its answer was lost: what was asked may have been done.
    #[error("{request}: no answer that says what became of it: {why}")]
    Unclear {
        /// Method and URL.
        request: String,
        /// Status or cause.
        why: String,
    },
    /// The catalog refused.
    #[error("{request}: answered {status}: {why}")]
    Refused {
        /// Method and URL.
        request: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        why: String,
    },
    /// Somebody else committed first; nothing was done.
    #[error("{table}: another commit came first")]
    Conflict {
        /// The table.
        table: String,
    },
    /// The position cannot be known.
    #[error(
        "table {table} has snapshots, and neither the current one nor those before it have a position of this committer \
         (properties tapedeck.pos.*): whether its rows are those of the lake is not known, so nothing is committed. \
         Name another [catalog] namespace, or drop the table and let the committer fill it again"
    )]
    NoPosition {
        /// The table.
        table: String,
    },
    /// A table or a file is not as it must be.
    #[error("{what}")]
    Unfit {
        /// What is wrong and what to do.
        what: String,
    },
    /// Parquet of the table `hours`.
    #[error("{path}: {source}")]
    Parquet {
        /// The file.
        path: String,
        /// Cause.
        source: parquet::errors::ParquetError,
    },
}

impl CommitterError {
    /// Metadata `what` cannot be read or made.
    pub fn iceberg(what: impl Into<String>) -> impl FnOnce(iceberg::Error) -> Self {
        let what = what.into();
        move |source| Self::Iceberg { what, source: Box::new(source) }
    }

    /// Something is not as it must be.
    pub fn unfit(what: impl Into<String>) -> Self {
        Self::Unfit { what: what.into() }
    }

    /// Whether the same may succeed later without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unclear { .. } | Self::Conflict { .. } => true,
            Self::Refused { status, .. } => matches!(status, 401 | 419 | 429),
            Self::Lake(LakeError::Io { .. }) => true,
            _ => false,
        }
    }
}
