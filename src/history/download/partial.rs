//! A download that is not whole yet: `<name>.<tag>.partial` beside the place of the file. The tag says of which
//! upload the bytes are, so a resume never joins two of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wal_format::durable;

use super::checksum::hash_prefix;

/// Ending of such files.
const ENDING: &str = ".partial";

/// An open partial file, its length and the hash of what is in it.
pub(super) struct Partial {
    pub path: PathBuf,
    file: File,
    hash: Sha256,
    pub len: u64,
}

/// Where the partial file of an upload lies; without a tag there is nothing to resume by, and one name for all.
pub(super) fn place(dest: &Path, etag: Option<&str>) -> PathBuf {
    let mut name = dest.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(etag.map_or_else(|| "untagged".to_owned(), tag_word));
    name.push(ENDING);
    dest.with_file_name(name)
}

/// A tag as a part of a file name: itself where it is plain, else its hash.
fn tag_word(etag: &str) -> String {
    if !etag.is_empty() && etag.len() <= 64 && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return etag.to_owned();
    }
    let mut hex = super::checksum::hex(Sha256::new_with_prefix(etag));
    hex.truncate(32);
    format!("x{hex}")
}

/// Removes what earlier attempts at `dest` left, except `keep`: partial files of other uploads, and temporaries.
pub(super) fn sweep(dest: &Path, keep: Option<&Path>) -> io::Result<()> {
    let (Some(dir), Some(name)) = (dest.parent(), dest.file_name().and_then(|n| n.to_str())) else { return Ok(()) };
    let entries = match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(found) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let partial = found.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(ENDING));
        // What `durable::write_file` leaves when it is killed.
        let temporary = found.strip_prefix('.').and_then(|rest| rest.strip_prefix(name));
        let temporary = temporary.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp"));
        if (partial || temporary) && Some(path.as_path()) != keep {
            durable::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes what killed runs left of `names` in a folder, partial files and temporaries: these files are here, or with
/// somebody else.
pub(super) fn sweep_of(dir: &Path, names: &std::collections::HashSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(found) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let partial = found.strip_suffix(ENDING).and_then(|rest| rest.rsplit_once('.')).map(|(name, _)| name);
        let temporary = found.strip_prefix('.').filter(|rest| rest.ends_with(".tmp"));
        let temporary = temporary.and_then(|rest| rest.get(..rest.find(".zip.")? + ".zip".len()));
        if partial.or(temporary).is_some_and(|name| names.contains(name)) {
            durable::remove_file(&path)?;
        }
    }
    Ok(())
}

impl Partial {
    /// Opens what is there, or a new one. Reads and hashes what is there.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(&path)?;
        let (hash, len) = hash_prefix(&path, u64::MAX)?;
        Ok(Self { path, file, hash, len })
    }

    /// Throws away what is there.
    pub(super) fn start_over(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.hash = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// SHA-256 of all bytes, as lower-case hex.
    pub(super) fn sha256(&self) -> String {
        super::checksum::hex(self.hash.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_partial_file_is_resumed_by_its_tag_and_swept_by_its_name_only() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("A-trades-2024-01-01.zip");
        let mut one = Partial::open(place(&dest, Some("abc-2"))).unwrap();
        one.append(b"abc").unwrap();
        drop(one);
        let again = Partial::open(place(&dest, Some("abc-2"))).unwrap();
        assert_eq!(again.len, 3);
        assert!(again.sha256().starts_with("ba7816bf"));
        let other = Partial::open(place(&dest, Some("../x\u{e9}"))).unwrap();
        assert_eq!(other.path.parent(), dest.parent());
        for stays in
            ["A-trades-2024-01-02.zip.t.partial", "A-trades-2024-01-01.zip", "A-trades-2024-01-01.zip.CHECKSUM"]
        {
            fs::write(dir.path().join(stays), b"x").unwrap();
        }
        for goes in [".A-trades-2024-01-01.zip.CHECKSUM.77.tmp", "A-trades-2024-01-01.zip.untagged.partial"] {
            fs::write(dir.path().join(goes), b"x").unwrap();
        }
        sweep(&dest, Some(&again.path)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        assert!(again.path.exists());
        sweep(&dest, None).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        sweep(&dir.path().join("no/such/folder.zip"), None).unwrap();
        for name in [".A-trades-2024-01-02.zip.CHECKSUM.9.tmp", ".A-trades-2024-01-03.zip.CHECKSUM.9.tmp"] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        sweep_of(dir.path(), &["A-trades-2024-01-02.zip".to_owned()].into()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            [".A-trades-2024-01-03.zip.CHECKSUM.9.tmp", "A-trades-2024-01-01.zip", "A-trades-2024-01-01.zip.CHECKSUM"]
        );
    }
}
