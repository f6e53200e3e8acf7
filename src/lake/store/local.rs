//! A lake in a directory: write, fsync, rename, fsync of the directory, all of it in [`wal_format::durable`].
//!
//! Files whose name begins with a dot are no objects: what is being written, locks, staged pieces.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wal_format::{durable, regular};

use super::{Body, LakeStore, Meta, Version, check_folder, check_key, prefix};
use crate::LakeError;
use crate::object::Object;

/// Folders in folders; deeper ones are links that lead back.
const DEPTH_MAX: usize = 16;
/// How often a folder is made again that somebody took away.
const FOLDER_TRIES: u32 = 8;

/// A lake in a local directory, which is created when first put to.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// The lake below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The file of a key.
    fn path(&self, key: &str) -> Result<PathBuf, LakeError> {
        check_key(key)?;
        Ok(self.root.join(key))
    }

    /// Puts to the file of a key, in a folder that exists.
    fn put(&self, key: &str, put: impl Fn(&Path) -> io::Result<()>) -> Result<(), LakeError> {
        let dest = self.path(key)?;
        let dir = dest.parent().unwrap_or(&self.root);
        let mut tries = 0;
        loop {
            let made = durable::create_dir_all(dir).map_err(LakeError::io("create", dir));
            let done = made.and_then(|()| match put(&dest) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Err(LakeError::Exists { path: dest.clone() }),
                put => put.map_err(LakeError::io("publish", &dest)),
            });
            // Whoever deletes takes empty folders along, one that was just made too.
            if done.is_ok() || dir.is_dir() || tries == FOLDER_TRIES {
                return done;
            }
            tries += 1;
        }
    }

    fn walk(&self, folder: &str, depth: usize, span: &Span<'_>, out: &mut Vec<Meta>) -> Result<(), LakeError> {
        let dir = self.root.join(folder);
        if depth > DEPTH_MAX {
            return Err(LakeError::io("list", &dir)(io::Error::other("more folders in folders than a lake has")));
        }
        for Entry { name, path, is_dir } in entries(&dir)? {
            let key = format!("{folder}{name}");
            if is_dir && span.meets(&key) {
                self.walk(&key, depth + 1, span, out)?;
            } else if !is_dir && span.holds(&key) {
                // Gone meanwhile: it is none. A link that leads nowhere is an error for whoever opens it.
                let Ok(found) = path.metadata().or_else(|_| path.symlink_metadata()) else { continue };
                out.push(meta(key, &found));
            }
        }
        Ok(())
    }
}

impl LakeStore for LocalStore {
    fn place(&self, key: &str) -> PathBuf {
        if key.is_empty() { self.root.clone() } else { self.root.join(key) }
    }

    fn local(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn put_new(&self, key: &str, body: Body<'_>) -> Result<(), LakeError> {
        self.put(key, |dest| match body {
            Body::Bytes(bytes) => {
                durable::remove_abandoned(dest)?;
                durable::write_new(dest, bytes)
            }
            Body::File(tmp) => durable::publish_new(tmp, dest),
        })
    }

    fn replace(&self, key: &str, body: Body<'_>, of: Option<&Version>) -> Result<(), LakeError> {
        // Between this look and the rename only the lake's lock keeps others away (`crate::lock`).
        if of.is_some() && self.head(key)?.map(|found| found.version).as_ref() != of {
            return Err(LakeError::Changed { path: self.place(key) });
        }
        self.put(key, |dest| match body {
            Body::Bytes(bytes) => {
                durable::remove_abandoned(dest)?;
                durable::write_file(dest, bytes)
            }
            Body::File(tmp) => durable::publish_file(tmp, dest),
        })
    }

    fn get(&self, key: &str) -> Result<Option<Object>, LakeError> {
        let path = self.path(key)?;
        let opened = regular::open(&path).map(|file| Object::File(Arc::new(file)));
        found(opened).map_err(LakeError::io("open", &path))
    }

    fn head(&self, key: &str) -> Result<Option<Meta>, LakeError> {
        let path = self.path(key)?;
        let looked = std::fs::metadata(&path).map(|found| meta(key.to_owned(), &found));
        found(looked).map_err(LakeError::io("look at", &path))
    }

    fn list(&self, folder: &str, from: Option<&str>, until: Option<&str>) -> Result<Vec<Meta>, LakeError> {
        check_folder(folder)?;
        let mut out = Vec::new();
        self.walk(&prefix(folder), 0, &Span { from: from.unwrap_or_default(), until }, &mut out)?;
        Ok(out)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        check_folder(folder)?;
        let all = entries(&self.root.join(folder))?;
        let dirs = all.into_iter().filter(|entry| entry.is_dir);
        let mut names: Vec<String> = dirs.map(|dir| dir.name.trim_end_matches('/').to_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), LakeError> {
        let path = self.path(key)?;
        match std::fs::remove_file(&path) {
            // A folder is no object.
            Err(err) if err.kind() == io::ErrorKind::IsADirectory => return Ok(()),
            removed => {
                if found(removed).map_err(LakeError::io("remove", &path))?.is_none() {
                    return Ok(());
                }
            }
        }
        // The folders of the lake itself stay, and what still holds something.
        for dir in path.ancestors().skip(1).take_while(|dir| dir.parent() != Some(&self.root) && *dir != self.root) {
            if std::fs::remove_dir(dir).is_err() {
                return synced(dir);
            }
        }
        key.split_once('/').map_or_else(|| synced(&self.root), |(top, _)| synced(&self.root.join(top)))
    }

    fn append(&self, key: &str, lines: &[u8]) -> Result<(), LakeError> {
        let path = self.path(key)?;
        durable::append_lines(&path, lines).map_err(LakeError::io("write", &path))
    }

    fn take_out(&self, key: &str, to: &Path) -> Result<(), LakeError> {
        let path = self.path(key)?;
        let moved = durable::publish_file(&path, to).and_then(|()| path.parent().map_or(Ok(()), durable::sync_dir));
        moved.map_err(LakeError::io("move", &path))
    }
}

/// Which keys are listed.
struct Span<'a> {
    from: &'a str,
    until: Option<&'a str>,
}

impl Span<'_> {
    fn holds(&self, key: &str) -> bool {
        key >= self.from && self.until.is_none_or(|until| key < until)
    }

    /// Whether a key that begins with `folder` can be among them.
    fn meets(&self, folder: &str) -> bool {
        (folder >= self.from || self.from.starts_with(folder)) && self.until.is_none_or(|until| folder < until)
    }
}

struct Entry {
    /// Ends with `/` if it is a folder, so that names are in the order of keys.
    name: String,
    path: PathBuf,
    is_dir: bool,
}

/// What is in a directory and no file that is being made, in the order of keys; nothing when it is not there.
fn entries(dir: &Path) -> Result<Vec<Entry>, LakeError> {
    let failed = |err| LakeError::io("list", dir)(err);
    let mut all = Vec::new();
    let Some(listed) = found(std::fs::read_dir(dir)).map_err(failed)? else { return Ok(all) };
    for entry in listed {
        let entry = entry.map_err(failed)?;
        let mut name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        let is_dir = kind.is_dir() || kind.is_symlink() && path.is_dir();
        if is_dir {
            name.push('/');
        }
        all.push(Entry { name, path, is_dir });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn meta(key: String, found: &Metadata) -> Meta {
    let version = format!("{}-{}-{}.{:09}", found.ino(), found.len(), found.mtime(), found.mtime_nsec());
    Meta { key, bytes: found.len(), version: Version(version) }
}

/// `None` for what is not there.
fn found<T>(tried: io::Result<T>) -> io::Result<Option<T>> {
    match tried {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        tried => tried.map(Some),
    }
}

fn synced(dir: &Path) -> Result<(), LakeError> {
    match durable::sync_dir(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(LakeError::io("sync", dir)(err)),
        _ => Ok(()),
    }
}
