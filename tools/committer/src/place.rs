//! Files of tables by their URI: metadata that was written, by us or others, and data that `check` looks for.
//!
//! `s3://bucket/key` (also `s3a`, `s3n`) in the store of `[store]`, `file:///path` and plain paths. They are read and written
//! through the lake's own stores, so an object appears whole or not at all, and never in the place of another.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lake::{Body, Lake, LakeError, Meta};

use crate::error::CommitterError;

/// Opens what a URI names.
pub struct Places {
    store: s3::Settings,
    open: Mutex<HashMap<String, Lake>>,
}

impl Places {
    /// With the keys of `[store]`.
    pub fn new(store: s3::Settings) -> Self {
        Self { store, open: Mutex::new(HashMap::new()) }
    }

    /// The lake at `uri`: `s3://bucket/prefix`, `file:///dir` or a path.
    ///
    /// # Errors
    /// When the URI is of another kind or `[store]` lacks what it takes.
    pub fn lake(&self, uri: &str) -> Result<Lake, CommitterError> {
        let uri = uri.trim_end_matches('/');
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lake) = open.get(uri) {
            return Ok(lake.clone());
        }
        let place = match uri.split_once("://") {
            None => uri.to_owned(),
            Some(("file", path)) => path.to_owned(),
            Some(("s3" | "s3a" | "s3n", rest)) => format!("s3://{rest}"),
            Some((scheme, _)) => {
                let what = format!("{uri}: a store of kind {scheme:?} is not known; known: s3, file");
                return Err(CommitterError::unfit(what));
            }
        };
        // Nothing is made here that needs a place for work.
        let lake = s3::lake_at(Path::new(&place), &std::env::temp_dir(), &self.store)?;
        open.insert(uri.to_owned(), lake.clone());
        Ok(lake)
    }

    /// The folder of `uri` as a lake, and the name in it.
    fn split<'u>(&self, uri: &'u str) -> Result<(Lake, &'u str), CommitterError> {
        let (folder, name) = uri.rsplit_once('/').ok_or_else(|| CommitterError::unfit(format!("{uri} is no URI")))?;
        Ok((self.lake(folder)?, name))
    }

    /// All bytes of the file.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn read(&self, uri: &str) -> Result<Vec<u8>, CommitterError> {
        let (folder, name) = self.split(uri)?;
        Ok(folder.read(name)?)
    }

    /// Writes a file where there is none.
    ///
    /// # Errors
    /// When one is there, or it cannot be written.
    pub fn write_new(&self, uri: &str, bytes: &[u8]) -> Result<(), CommitterError> {
        let (folder, name) = self.split(uri)?;
        Ok(folder.put_new(name, Body::Bytes(bytes))?)
    }

    /// Removes a file; fine when there is none.
    ///
    /// # Errors
    /// When it is still there.
    pub fn delete(&self, uri: &str) -> Result<(), CommitterError> {
        let (folder, name) = self.split(uri)?;
        Ok(folder.delete(name)?)
    }

    /// What is known of a file; `None` when there is none.
    ///
    /// # Errors
    /// When that is not known.
    pub fn head(&self, uri: &str) -> Result<Option<Meta>, CommitterError> {
        let (folder, name) = self.split(uri)?;
        match folder.head(name) {
            // A name of others that no file of a lake has.
            Err(LakeError::Key { .. }) => Ok(None),
            known => Ok(known?),
        }
    }

    /// Names of the files directly or deeper below a folder.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, CommitterError> {
        Ok(self.lake(folder)?.list("", None, None)?.into_iter().map(|meta| meta.key).collect())
    }
}
