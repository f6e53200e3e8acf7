//! One file: checksum, bytes (resumed where possible), proof, publish. Memory is bounded whatever the file: pieces go
//! from the socket to the disk and into the hash as they come.
//!
//! A file gets its final name only when its length is the server's and its SHA-256 the `.CHECKSUM`'s; the `.CHECKSUM`
//! itself follows. Killed anywhere, the next attempt finds a partial file, or a whole one that it only proves. Every
//! attempt has files of its own ([`super::mark`]), so one that lost its lease has nothing left to publish.

use std::io;
use std::path::Path;
use std::time::Duration;

use sha2::Digest as _;
use tokio::time::Instant;
use wal_format::durable;

use super::ask::{Asker, Drip, of_http};
use super::checksum;
use super::mark::{self, DownloadWorker, Mark};
use super::partial::Partial;
use crate::download_error::{DownloadError, What};
use crate::list::s3::tag_text;
use crate::manifest::{Done, FileRow};
use crate::mirror::Mirror;
use crate::path::{ArchivePath, CHECKSUM, url_of};
use net::http::Reply;

/// So much more on the disk makes an attempt that failed a success of sorts.
const GROUND: u64 = 1 << 20;

/// Fetches files into a mirror.
pub(super) struct Fetcher<'a> {
    pub worker: &'a DownloadWorker,
    pub asker: &'a Asker,
    pub mirror: &'a Mirror,
    pub base_url: &'a str,
    pub stall: Duration,
    pub min_free_bytes: u64,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct Fetched {
    pub done: Done,
    /// True when the file lay there whole already.
    pub was_there: bool,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Miss {
    pub failure: DownloadError,
    /// The attempt got so much further that it is no failure in a row.
    pub gained: bool,
}

impl From<DownloadError> for Miss {
    fn from(failure: DownloadError) -> Self {
        Miss { failure, gained: false }
    }
}

/// A published checksum, as it was sent.
struct Published {
    sha256: String,
    bytes: Vec<u8>,
}

/// What is known of the bytes to come.
struct Expected {
    etag: Option<String>,
    size: u64,
}

impl Fetcher<'_> {
    /// One attempt. `may_publish` says, right before the file gets its name, whether the lease is still ours; `on_bytes`
    /// hears the number of bytes as they come.
    pub(super) async fn fetch(
        &self,
        row: &FileRow,
        may_publish: impl AsyncFnOnce() -> bool,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<Fetched>, Miss> {
        let path = &row.listed.path;
        let mark = Mark { worker: self.worker.clone(), attempt: row.attempts };
        let dest = self.mirror.file(path);
        let published = if row.listed.checksum_tag.is_some() { Some(self.published(path).await?) } else { None };
        if let Some(published) = &published
            && self.whole_already(row, &dest, published).await?
        {
            let ours = self.publish(row, &mark, None, Some(published), may_publish).await?;
            let done = Done {
                etag: row.listed.etag.clone(),
                size: row.listed.size,
                sha256: published.sha256.clone(),
                published_sha256: Some(published.sha256.clone()),
            };
            return Ok(ours.then_some(Fetched { done, was_there: true }));
        }
        let free =
            self.mirror.free_bytes().map_err(|err| DownloadError::new(What::Disk, wal_format::error_chain(&err)))?;
        if free < row.listed.size.saturating_add(self.min_free_bytes) {
            let mib = |n: u64| n >> 20;
            return Err(DownloadError::new(
                What::Disk,
                format!(
                    "{} MiB are free in {}, the next file needs {} MiB and {} MiB must stay free",
                    mib(free),
                    self.mirror.dir.display(),
                    mib(row.listed.size),
                    mib(self.min_free_bytes)
                ),
            )
            .into());
        }
        let opened = blocking({
            let (dest, etag, mark) = (dest.clone(), row.listed.etag.clone(), mark.clone());
            move || {
                durable::create_dir_all(dest.parent().unwrap_or(Path::new(".")))?;
                Partial::open(&dest, etag.as_deref(), &mark, mark.attempt > 1)
            }
        });
        let mut part = opened.await?;
        let before = part.len;
        let expected = self.bytes(row, &mut part, on_bytes).await.map_err(|failure| {
            let gained = part.len >= before.saturating_add(GROUND);
            if matches!(failure.what, What::Length | What::Protocol | What::Gone) && !gained {
                // Nothing that can be trusted lies there.
                let _ = durable::remove_file(&part.path);
            }
            Miss { failure, gained }
        })?;
        let sha256 = part.sha256();
        let published = self.agreed(path, published, &sha256).await.inspect_err(|failure| {
            if failure.what == What::Checksum {
                // Nothing that can be trusted lies there; what stays is hashed again before it is believed.
                let _ = durable::remove_file(&part.path);
            }
        })?;
        let ours = self.publish(row, &mark, Some(part), published.as_ref(), may_publish).await?;
        let done =
            Done { etag: expected.etag, size: expected.size, sha256, published_sha256: published.map(|p| p.sha256) };
        Ok(ours.then_some(Fetched { done, was_there: false }))
    }

    /// Gives the bytes, where they are not there already, and their checksum the final names. False when the lease is
    /// not ours any more. Whoever took over removed our files, or will: a rename that comes too late finds nothing.
    async fn publish(
        &self,
        row: &FileRow,
        mark: &Mark,
        part: Option<Partial>,
        published: Option<&Published>,
        may_publish: impl AsyncFnOnce() -> bool,
    ) -> Result<bool, DownloadError> {
        let dest = self.mirror.file(&row.listed.path);
        let checksum_dest = row.listed.path.checksum_in_mirror(&self.mirror.dir);
        let waiting = published.map(|p| (mark::checksum(&dest, mark), p.bytes.clone()));
        let waiting = blocking(move || {
            if let Some((path, bytes)) = &waiting {
                std::fs::write(path, bytes)?;
            }
            Ok(waiting.map(|(path, _)| path))
        })
        .await?;
        if !may_publish().await {
            return Ok(false);
        }
        let (mark, again) = (mark.clone(), mark.attempt > 1);
        let named = blocking_io(move || {
            if let Some(part) = part {
                durable::publish_file(&part.path, &dest)?;
            }
            match waiting {
                Some(path) => durable::publish_file(&path, &checksum_dest)?,
                None => durable::remove_file(&checksum_dest)?,
            }
            if again { mark::sweep(&dest, Some(&mark), None) } else { Ok(()) }
        });
        match named.await {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                Err(DownloadError::new(What::Vanished, "another program removed the download before it got its name"))
            }
            Err(err) => Err(of_io(&err)),
        }
    }

    /// The `.CHECKSUM` of a file.
    async fn published(&self, path: &ArchivePath) -> Result<Published, DownloadError> {
        let url = format!("{}{CHECKSUM}", url_of(self.base_url, &path.to_string()));
        let gone = || DownloadError::new(What::BadChecksum, format!("{url} is listed, but is not there"));
        let bytes = self.asker.small(&url, checksum::BYTES_MAX).await?.ok_or_else(gone)?;
        Ok(Published { sha256: checksum::parse(&bytes, &path.name())?, bytes })
    }

    /// True when the file lies there whole: it was published by somebody who was killed before he could say so, or only
    /// its `.CHECKSUM` was uploaded again.
    async fn whole_already(&self, row: &FileRow, dest: &Path, published: &Published) -> Result<bool, DownloadError> {
        if std::fs::metadata(dest).map(|m| m.len()).ok() != Some(row.listed.size) {
            return Ok(false);
        }
        let dest = dest.to_owned();
        let (hash, _) = blocking(move || checksum::hash_prefix(&dest, u64::MAX)).await?;
        Ok(lake::hash::hex(&hash.finalize()) == published.sha256)
    }

    /// The published checksum that the bytes agree with. It may have been uploaded again since it was read.
    async fn agreed(
        &self,
        path: &ArchivePath,
        published: Option<Published>,
        sha256: &str,
    ) -> Result<Option<Published>, DownloadError> {
        let Some(first) = published else { return Ok(None) };
        if first.sha256 == sha256 {
            return Ok(Some(first));
        }
        let second = self.published(path).await?;
        if second.sha256 == sha256 {
            return Ok(Some(second));
        }
        let detail = format!("the archive says {}, the bytes are {sha256}", first.sha256);
        Err(DownloadError::new(What::Checksum, detail))
    }

    /// Brings the partial file to its full length.
    async fn bytes(
        &self,
        row: &FileRow,
        part: &mut Partial,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Expected, DownloadError> {
        let url = url_of(self.base_url, &row.listed.path.to_string());
        let listed = || Expected { etag: row.listed.etag.clone(), size: row.listed.size };
        if part.len > row.listed.size {
            part.start_over().map_err(|err| of_io(&err))?;
        }
        if part.len > 0 && part.len == row.listed.size {
            return Ok(listed());
        }
        let mut headers = Vec::new();
        if let Some(etag) = row.listed.etag.as_ref().filter(|_| part.len > 0) {
            headers.push(("range", format!("bytes={}-", part.len)));
            headers.push(("if-range", format!("\"{etag}\"")));
        }
        let mut reply = self.asker.open(&url, &headers, &[200, 206, 416]).await?;
        if reply.status == 416 || (reply.status == 206 && !continues(&reply, row, part.len)) {
            // The file is another one now, or the server does not do what it is asked: from the start.
            drop(reply);
            part.start_over().map_err(|err| of_io(&err))?;
            reply = self.asker.open(&url, &[], &[200]).await?;
        }
        let etag = header(&reply, "etag").map(|t| tag_text(&t)).or_else(|| row.listed.etag.clone());
        let mut expected = Expected { etag, size: part.len };
        if reply.status == 200 {
            part.start_over().map_err(|err| of_io(&err))?;
            expected.size = 0;
        }
        let more = match reply.length() {
            Some(length) => length,
            None => row.listed.size.saturating_sub(expected.size),
        };
        expected.size = expected.size.saturating_add(more);
        if expected.etag == row.listed.etag && expected.size != row.listed.size {
            return Err(DownloadError::new(
                What::Length,
                format!("the listing says {} bytes, the server {}", row.listed.size, expected.size),
            ));
        }
        self.receive(&mut reply, part, expected.size, on_bytes).await?;
        Ok(expected)
    }

    async fn receive(
        &self,
        reply: &mut Reply,
        part: &mut Partial,
        size: u64,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<(), DownloadError> {
        let mut drip = Drip::default();
        loop {
            let asked = Instant::now();
            let chunk = reply.chunk().await.map_err(|err| of_http(&err))?;
            let waited = asked.elapsed();
            let Some(chunk) = chunk else { break };
            if part.len.saturating_add(chunk.len() as u64) > size {
                return Err(DownloadError::new(
                    What::Length,
                    format!("more than the {size} bytes that were announced"),
                ));
            }
            part.append(&chunk).map_err(|err| of_io(&err))?;
            on_bytes(chunk.len() as u64);
            self.asker.rate.bytes(chunk.len()).await;
            drip.came(chunk.len(), waited, self.stall).map_err(|failure| DownloadError {
                detail: format!("{}, at {} of {size}", failure.detail, part.len),
                ..failure
            })?;
        }
        if part.len == size {
            return Ok(());
        }
        Err(DownloadError::new(What::Length, format!("the body ended at {} of {size} bytes", part.len)))
    }
}

/// True when a 206 is the rest of the very upload that the partial file is of.
fn continues(reply: &Reply, row: &FileRow, from: u64) -> bool {
    let same = header(reply, "etag").is_none_or(|t| Some(tag_text(&t)) == row.listed.etag);
    // RFC 9110, 14.4: `bytes first-last/complete`.
    let range = header(reply, "content-range");
    let first = range.as_deref().and_then(|r| r.strip_prefix("bytes ")).and_then(|r| r.split_once('-'));
    same && first.is_some_and(|(first, _)| first.trim().parse() == Ok(from))
}

fn header(reply: &Reply, name: &str) -> Option<String> {
    reply.headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn of_io(err: &io::Error) -> DownloadError {
    DownloadError::new(What::Disk, err.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, DownloadError> {
    blocking_io(work).await.map_err(|err| of_io(&err))
}

async fn blocking_io<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
