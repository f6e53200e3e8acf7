//! One file of the archive as the manifest has it: as listed, as it is here, and what it was before.

use serde::Serialize;

use crate::path::ArchivePath;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// To be downloaded.
    Queued,
    /// A worker downloads it.
    Leased,
    /// In a mirror, whole, and as its checksum says.
    Here,
    /// On the dead-letter list: it failed too often or cannot succeed.
    Dead,
}

impl State {
    /// All of them.
    pub const ALL: [State; 4] = [State::Queued, State::Leased, State::Here, State::Dead];

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Leased => "leased",
            State::Here => "here",
            State::Dead => "dead",
        }
    }

    /// The state of a name.
    pub fn parse(word: &str) -> Option<State> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// A file as the archive's listing has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Which file.
    #[serde(serialize_with = "as_text")]
    pub path: ArchivePath,
    /// Entity tag without quotes, where the listing has one.
    pub etag: Option<String>,
    /// Bytes.
    pub size: u64,
    /// As the listing writes it (RFC 3339).
    pub last_modified: String,
    /// Entity tag (else the time) of its `.CHECKSUM`; `None` where there is none.
    pub checksum_tag: Option<String>,
}

/// What a file was before it was uploaded again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Former {
    /// When the change was noticed, us.
    pub noticed_us: i64,
    /// What differed: `etag`, `size`, `checksum`, `sha256`.
    pub what: String,
    /// Entity tag then.
    pub etag: Option<String>,
    /// Bytes then.
    pub size: u64,
    /// Time of the upload then, as listed.
    pub last_modified: String,
    /// SHA-256 of the bytes that were here then.
    pub sha256: Option<String>,
}

/// One row: one file of the archive. Times are us since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRow {
    /// What the archive says.
    #[serde(flatten)]
    pub listed: Listed,
    /// Where it was downloaded from.
    pub url: String,
    /// What it is.
    pub state: State,
    /// Who holds the lease (`mirror#who`), or the name of the mirror that has the file.
    pub holder: Option<String>,
    /// Downloads begun.
    pub attempts: u64,
    /// Failures in a row.
    pub failures: u64,
    /// What went wrong last; kept when it went right afterwards.
    pub last_error: Option<String>,
    /// SHA-256 of the bytes here, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// SHA-256 out of the `.CHECKSUM`; `None` where the archive has none.
    pub published_sha256: Option<String>,
    /// What it was before, oldest first.
    pub history: Vec<Former>,
    /// First listed.
    pub listed_us: i64,
    /// Last download begun.
    pub started_us: Option<i64>,
    /// Last download finished.
    pub finished_us: Option<i64>,
    /// SHA-256 of the bytes that were cleaned last.
    pub cleaned_sha256: Option<String>,
    /// When.
    pub cleaned_us: Option<i64>,
    /// What came of it.
    pub cleaned: Option<serde_json::Value>,
}

fn as_text<S: serde::Serializer>(path: &ArchivePath, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(path)
}

impl FileRow {
    /// True when the bytes here are not those that were cleaned.
    pub fn needs_cleaning(&self) -> bool {
        self.state == State::Here && self.sha256.is_some() && self.sha256 != self.cleaned_sha256
    }
}
