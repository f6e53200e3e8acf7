//! A few reading connections that threads borrow, so that no reader waits for the writer and none opens its own.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::error::Result;
use super::{CandleReader, open_reader};

/// Connections kept open; more readers at once open more and close them again.
const KEPT: usize = 8;

/// See the module.
pub(crate) struct Readers {
    url: String,
    dir: PathBuf,
    idle: Mutex<Vec<Box<dyn CandleReader>>>,
}

impl Readers {
    /// Opens nothing yet. `url` and `dir` as in [`super::open`].
    pub fn new(url: &str, dir: impl Into<PathBuf>) -> Self {
        Self { url: url.to_owned(), dir: dir.into(), idle: Mutex::new(Vec::new()) }
    }

    /// Runs `read` with a connection of its own. Blocks: async callers use `spawn_blocking`.
    ///
    /// # Errors
    /// What `read` returns, or that the database cannot be opened.
    pub fn with<T>(&self, read: impl FnOnce(&mut dyn CandleReader) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => open_reader(&self.url, &self.dir)?,
        };
        // A connection that failed is not kept: the next reader gets a fresh one.
        let answer = read(reader.as_mut())?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(reader);
        }
        Ok(answer)
    }
}
