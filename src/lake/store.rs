//! Where published files live: the one way to a file of the lake.
//!
//! ```text
//!  publish, rewrite, repair --put_new, replace--> LakeStore <--get, head, list, folders-- resume, verify, quality, api
//!  retention, resume --------delete, append----->     |
//!                                                     +-- LocalStore   a directory
//!                                                     +-- RemoteStore  whatever the crate object_store reaches
//! ```
//!
//! An object has a key, a path below the lake with `/`, and is there whole or not at all. What is being made is no
//! object: staged pieces, small lakes of a rewrite and locks are local files, wherever the lake is (`crate::lake`), and
//! are handed over complete ([`Body::File`]).
//!
//! Every implementation passes `store/conformance.rs`.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod local;
mod remote;
#[cfg(test)]
mod tests;

pub use local::LocalStore;
pub use remote::RemoteStore;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::Digest;
use wal_format::{durable, regular};

use crate::LakeError;
use crate::hash::{hash_all, hex};
use crate::object::Object;

/// What is put under a key.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A complete local file, which is gone afterwards.
    File(&'a Path),
}

/// What identifies an object among those that were or will be under its key. Only to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Which one it is.
    pub version: Version,
}

/// A place for published files.
pub trait LakeStore: fmt::Debug + Send + Sync {
    /// Where the object of a key is, for messages: a path or a URL. Of `""`: the lake.
    fn place(&self, key: &str) -> PathBuf;

    /// The local directory whose disk holds the objects; `None` where they take no room of a disk of this machine.
    fn local(&self) -> Option<&Path>;

    /// Puts an object where there is none. On return it survives a power cut, if the store is durable, and a
    /// [`Body::File`] is gone. Of several who put under one key at the same time one succeeds; in a local directory that
    /// holds within a process, and between processes the lake's lock keeps others away (`crate::lock`).
    ///
    /// # Errors
    /// [`LakeError::Exists`] when one is there, or when any step failed: then nothing is there, or all of it.
    fn put_new(&self, key: &str, body: Body<'_>) -> Result<(), LakeError>;

    /// Puts an object in the place of the one that is there, in one step: of version `of`; without it of whatever is there,
    /// or of none. A [`Body::File`] is gone on return, and stays the caller's when it was refused.
    ///
    /// # Errors
    /// [`LakeError::Changed`] when `of` is not there any more, another one or none; or when any step failed: then the old
    /// one is there, or the new one.
    fn replace(&self, key: &str, body: Body<'_>, of: Option<&Version>) -> Result<(), LakeError>;

    /// Opens an object, to read all of it or parts; `None` when there is none.
    ///
    /// # Errors
    /// When that is not known, or it cannot be opened.
    fn get(&self, key: &str) -> Result<Option<Object>, LakeError>;

    /// What is known of an object without reading it; `None` when there is none.
    ///
    /// # Errors
    /// When that is not known.
    fn head(&self, key: &str) -> Result<Option<Meta>, LakeError>;

    /// Objects below `folder` (the whole lake: `""`) whose keys are not before `from` and before `until`, in the byte
    /// order of their keys. What lies before `from` is not even looked at: lakes are listed by hour.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn list(&self, folder: &str, from: Option<&str>, until: Option<&str>) -> Result<Vec<Meta>, LakeError>;

    /// Names of the folders directly in `folder`, in byte order. One from which the last object went may still be among
    /// them.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn folders(&self, folder: &str) -> Result<Vec<String>, LakeError>;

    /// Removes an object, and folders that are empty by that; fine when there is none.
    ///
    /// # Errors
    /// When it is still there.
    fn delete(&self, key: &str) -> Result<(), LakeError>;

    /// When the object of a key was put, ms since 1970 by the store's clock. `None` when there is none, and in a
    /// directory, where the lake's lock says who works on it.
    ///
    /// # Errors
    /// When that is not known.
    fn put_at_ms(&self, _key: &str) -> Result<Option<i64>, LakeError> {
        Ok(None)
    }

    /// Removes what uploads that ended half-way left long before `now_ms` (ms since 1970); how many they were.
    ///
    /// # Errors
    /// When they cannot be listed or removed.
    fn sweep(&self, _now_ms: i64) -> Result<u64, LakeError> {
        Ok(0)
    }

    /// Adds whole lines to an object of text, which is begun if there is none. A line that was torn is ended first.
    ///
    /// # Errors
    /// When they cannot be written; [`LakeError::Changed`] when others add at the same time.
    fn append(&self, key: &str, lines: &[u8]) -> Result<(), LakeError> {
        let Some(before) = self.head(key)? else { return self.put_new(key, Body::Bytes(lines)) };
        let mut text = self.read(key)?;
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(lines);
        self.replace(key, Body::Bytes(&text), Some(&before.version))
    }

    /// Moves an object out of the lake, to the local file `to`.
    ///
    /// # Errors
    /// When any step failed; the object is then still there, or the file is complete.
    fn take_out(&self, key: &str, to: &Path) -> Result<(), LakeError> {
        let object = self.get(key)?.ok_or_else(|| absent("open", &self.place(key)))?;
        let mut file = std::fs::File::create(to).map_err(LakeError::io("create", to))?;
        let copied = object.reader(0).and_then(|mut reader| io::copy(&mut reader, &mut file));
        copied.map_err(LakeError::io("copy", &self.place(key)))?;
        let made = file.sync_all().and_then(|()| to.parent().map_or(Ok(()), durable::sync_dir));
        made.map_err(LakeError::io("write", to))?;
        self.delete(key)
    }

    /// Whether there is an object.
    ///
    /// # Errors
    /// When that is not known.
    fn has(&self, key: &str) -> Result<bool, LakeError> {
        Ok(self.head(key)?.is_some())
    }

    /// All bytes of an object that describes others: a manifest, a list.
    ///
    /// # Errors
    /// When there is none, it is too long for such a one, or cannot be read.
    fn read(&self, key: &str) -> Result<Vec<u8>, LakeError> {
        let place = self.place(key);
        let object = match self.get(key) {
            Ok(Some(object)) => object,
            Ok(None) => return Err(absent("read", &place)),
            Err(LakeError::Io { path, source, .. }) => return Err(LakeError::Io { verb: "read", path, source }),
            Err(err) => return Err(err),
        };
        object.all(regular::LARGE_BYTES_MAX).map_err(LakeError::io("read", &place))
    }

    /// Puts an object where there is none, or one with these very bytes; `sha256` is that of `body`, lower-case hex.
    /// Equal input gives equal bytes, so publishing the same twice does no harm, and it is durable for both.
    ///
    /// # Errors
    /// [`LakeError::Exists`] when another one is there; else as [`LakeStore::put_new`].
    fn publish(&self, key: &str, body: Body<'_>, sha256: &str) -> Result<(), LakeError> {
        let place = match self.put_new(key, body) {
            Err(LakeError::Exists { path }) => path,
            done => return done,
        };
        let Some(object) = self.get(key)? else { return self.put_new(key, body) };
        let read = object.reader(0).and_then(hash_all);
        let (sum, _) = read.map_err(LakeError::io("read", &place))?;
        match hex(&sum.finalize()) == sha256 {
            true => self.replace(key, body, None),
            false => Err(LakeError::Exists { path: place }),
        }
    }
}

/// Of an object that should be there.
pub(crate) fn absent(verb: &'static str, place: &Path) -> LakeError {
    LakeError::io(verb, place)(io::ErrorKind::NotFound.into())
}

/// Refuses a key that no object can have: one that would lead out of the lake, or whose names are those of files that
/// are being made.
fn check_key(key: &str) -> Result<(), LakeError> {
    let refuse = |why| Err(LakeError::Key { key: key.to_owned(), why });
    if key.chars().any(char::is_control) {
        return refuse("it has a control character");
    }
    match key.split('/').find(|name| name.is_empty() || name.starts_with('.')) {
        Some("") => refuse("a name in it is empty"),
        Some(_) => refuse("a name in it begins with a dot"),
        None => Ok(()),
    }
}

/// A folder is named as keys are; `""` is the whole lake.
fn check_folder(folder: &str) -> Result<(), LakeError> {
    if folder.is_empty() { Ok(()) } else { check_key(folder) }
}

/// What the keys of a folder begin with.
fn prefix(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}
