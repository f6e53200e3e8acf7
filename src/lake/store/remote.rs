//! A lake in whatever the crate `object_store` reaches: what is there is seen whole or not at all, and is replaced
//! in one step, so nothing has to be renamed.
//!
//! ```text
//!  file up to SINGLE_BYTES_MAX   one PUT to its key, on the condition that nothing is there (`PutMode::Create`)
//!  longer                        multipart to _tmp/<random>, then a copy to its key on the same condition: an upload
//!                                in parts cannot be conditional by itself
//! ```
//!
//! A request may be carried out although its answer is lost. It is sent again, and then meets its own object and is
//! refused. So each object that is put on a condition is marked (metadata `tapedeck-put`): who is refused looks whether
//! the mark of what is there is his own. What was copied has no mark: there the bytes are compared.
//!
//! A file is mapped and sent in slices, never copied into memory as a whole. Whoever reads a large object names the
//! entity tag of what was opened with every range: when another one took its place the read fails. The calls block; never
//! make them on a thread that runs tasks.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path as Location;
use object_store::{
    Attribute, CopyMode, CopyOptions, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, UpdateVersion,
};
use sha2::Digest;
use tokio::runtime::Runtime;
use wal_format::regular;
use wal_format::sys::WholeFile;

use super::{Body, LakeStore, Meta, Version, check_key, prefix};
use crate::LakeError;
use crate::hash::{hash_all, hex};
use crate::object::{Object, Ranges};

/// A longer file is uploaded in parts.
const SINGLE_BYTES_MAX: u64 = 64 << 20;
/// A part of an upload; the last one may be shorter.
const PART_BYTES: usize = 16 << 20;
/// Of a file that is sent: what a client copies before it is on the wire.
const SLICE_BYTES: usize = 256 << 10;
/// A longer object is read in ranges, a shorter one at once.
const WHOLE_BYTES_MAX: u64 = 8 << 20;
/// Where uploads in parts go; never listed.
const UPLOADS: &str = "_tmp";
/// Metadata of an object: who put it, a random number.
const MARK: Attribute = Attribute::Metadata(Cow::Borrowed("tapedeck-put"));
/// How often a put is tried again that was refused although nothing is there.
const CONFLICTS_MAX: u32 = 5;
/// Before the first of them; longer each time.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// An upload that ended half-way is removed at this age: none takes as long.
const UPLOAD_AGE_MS: i64 = 24 * 3_600_000;

/// A lake in an object store.
pub struct RemoteStore {
    store: Arc<dyn ObjectStore>,
    /// Whose root it is, for messages: a URL.
    name: String,
    runtime: Arc<Calls>,
    single_bytes_max: u64,
    part_bytes: usize,
    whole_bytes_max: u64,
    /// Whether objects keep metadata, so that what is put can be marked.
    marks: bool,
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteStore({})", self.name)
    }
}

impl RemoteStore {
    /// The lake in `store`, called `name` in messages (`s3://bucket/prefix`).
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(store: Arc<dyn ObjectStore>, name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let name = name.trim_end_matches('/').to_owned();
        let runtime = Arc::new(Calls(Some(runtime)));
        let (single_bytes_max, part_bytes, whole_bytes_max) = (SINGLE_BYTES_MAX, PART_BYTES, WHOLE_BYTES_MAX);
        Ok(Self { store, name, runtime, single_bytes_max, part_bytes, whole_bytes_max, marks: false })
    }

    /// This one, whose store keeps metadata of objects and carries out requests whose answer may be lost.
    #[must_use]
    pub fn marked(self) -> Self {
        Self { marks: true, ..self }
    }

    /// This one, with objects of more than `bytes` read in ranges.
    #[must_use]
    pub fn in_ranges_above(self, bytes: u64) -> Self {
        Self { whole_bytes_max: bytes, ..self }
    }

    /// This one, with files of more than `bytes` uploaded in parts.
    #[must_use]
    pub fn in_parts_above(self, bytes: u64) -> Self {
        Self { single_bytes_max: bytes, ..self }
    }

    /// This one, with parts of so many bytes. S3 takes no part below 5 MiB but the last one.
    #[must_use]
    pub fn in_parts_of(self, bytes: usize) -> Self {
        Self { part_bytes: bytes.max(1), ..self }
    }

    fn at(&self, key: &str) -> Result<Location, LakeError> {
        check_key(key)?;
        let bad = |_| LakeError::Key { key: key.to_owned(), why: "the object store does not take it" };
        Location::parse(key).map_err(bad)
    }

    fn folder(&self, folder: &str) -> Result<Location, LakeError> {
        if folder.is_empty() { Ok(Location::default()) } else { self.at(folder) }
    }

    fn failed(&self, verb: &'static str, key: &str, err: Error) -> LakeError {
        let path = self.place(key);
        match err {
            Error::AlreadyExists { .. } => LakeError::Exists { path },
            Error::Precondition { .. } => LakeError::Changed { path },
            err => LakeError::Io { verb, path, source: io_error(err) },
        }
    }

    /// Puts the body under its key, of another one, of none or of whatever is there.
    fn put(&self, key: &str, body: Body<'_>, mode: PutMode) -> Result<(), LakeError> {
        let at = self.at(key)?;
        let (tmp, file) = match body {
            Body::Bytes(bytes) => {
                let payload = PutPayload::from(Bytes::copy_from_slice(bytes));
                return self.put_at_once(key, &at, payload, mode);
            }
            Body::File(tmp) => (tmp, regular::open(tmp).map_err(LakeError::io("open", tmp))?),
        };
        let mapped = WholeFile::map(&file).map_err(LakeError::io("read", tmp))?;
        let bytes = Bytes::from_owner(mapped);
        if bytes.len() as u64 <= self.single_bytes_max {
            self.put_at_once(key, &at, payload(bytes), mode)?;
        } else {
            self.put_in_parts(key, &at, &file, tmp, bytes, mode)?;
        }
        std::fs::remove_file(tmp).map_err(LakeError::io("remove", tmp))
    }

    fn put_at_once(&self, key: &str, at: &Location, payload: PutPayload, mode: PutMode) -> Result<(), LakeError> {
        let is_conditional = mode != PutMode::Overwrite;
        let mark = (self.marks && is_conditional).then(|| format!("{:016x}{:016x}", random(), random()));
        let mut tries = 0;
        loop {
            let mut options = PutOptions::from(mode.clone());
            options.attributes = mark.iter().map(|mark| (MARK, mark.clone())).collect();
            let err = match self.runtime.block_on(self.store.put_opts(at, payload.clone(), options)) {
                Ok(_) => return Ok(()),
                Err(err) => err,
            };
            if let (Some(mark), Error::AlreadyExists { .. } | Error::Precondition { .. }) = (&mark, &err) {
                // Refused, or the answer of an earlier try was lost.
                match self.mark_of(key, at)? {
                    Some(there) if there == *mark => return Ok(()),
                    // 409: others put, or remove, at this moment, and nobody has yet.
                    None if mode == PutMode::Create && tries < CONFLICTS_MAX => {
                        tries += 1;
                        std::thread::sleep(CONFLICT_PAUSE * tries);
                        continue;
                    }
                    _ => {}
                }
            }
            return Err(self.failed("publish", key, err));
        }
    }

    /// The mark of what is there, empty when it has none; `None` when nothing is there.
    fn mark_of(&self, key: &str, at: &Location) -> Result<Option<String>, LakeError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let looked = found(self.runtime.block_on(self.store.get_opts(at, options)));
        let there = looked.map_err(|err| self.failed("look at", key, err))?;
        Ok(there.map(|there| there.attributes.get(&MARK).map(|mark| mark.as_ref().to_owned()).unwrap_or_default()))
    }

    fn put_in_parts(
        &self,
        key: &str,
        at: &Location,
        file: &File,
        tmp: &Path,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<(), LakeError> {
        let failed = |err| self.failed("publish", key, err);
        let length = bytes.len() as u64;
        let whole = Location::from(format!("{UPLOADS}/{:016x}{:016x}", random(), random()));
        let mut upload = self.runtime.block_on(self.store.put_multipart(&whole)).map_err(failed)?;
        let mut left = bytes;
        while !left.is_empty() {
            let part = left.split_to(self.part_bytes.min(left.len()));
            if let Err(err) = self.runtime.block_on(upload.put_part(payload(part))) {
                // What stays of it is the store's to clear away.
                let _ = self.runtime.block_on(upload.abort());
                return Err(failed(err));
            }
        }
        match self.runtime.block_on(upload.complete()) {
            // The answer to an earlier try was lost: the upload is no more, because it is an object.
            Err(Error::NotFound { .. }) if self.length_of(key, &whole)? == Some(length) => {}
            done => done.map(drop).map_err(failed)?,
        }
        let copied = match &mode {
            PutMode::Update(of) => {
                self.is_still(key, at, of).and_then(|()| self.copy(key, &whole, at, CopyMode::Overwrite))
            }
            PutMode::Create => self.copy(key, &whole, at, CopyMode::Create),
            PutMode::Overwrite => self.copy(key, &whole, at, CopyMode::Overwrite),
        };
        // One that stays is never listed, and swept later.
        let _ = self.runtime.block_on(self.store.delete(&whole));
        match copied {
            // Refused, or carried out before, where the answer was lost: then what was to be completed is no more.
            Err(err) if self.marks && may_be_done(&err) && self.is_the_file(key, file, tmp)? => Ok(()),
            copied => copied,
        }
    }

    /// Whether these bytes are the object's, whoever put it there.
    fn is_the_file(&self, key: &str, file: &File, tmp: &Path) -> Result<bool, LakeError> {
        let length = file.metadata().map_err(LakeError::io("look at", tmp))?.len();
        let Some(there) = self.get(key)?.filter(|there| there.size() == length) else { return Ok(false) };
        let own = Object::File(Arc::new(file.try_clone().map_err(LakeError::io("open", tmp))?));
        let own = own.reader(0).and_then(hash_all).map_err(LakeError::io("read", tmp))?;
        let there = there.reader(0).and_then(hash_all).map_err(LakeError::io("read", &self.place(key)))?;
        Ok(own.0.finalize() == there.0.finalize())
    }

    fn copy(&self, key: &str, from: &Location, to: &Location, mode: CopyMode) -> Result<(), LakeError> {
        let copied = self.runtime.block_on(self.store.copy_opts(from, to, CopyOptions::new().with_mode(mode)));
        copied.map_err(|err| self.failed("publish", key, err))
    }

    fn length_of(&self, key: &str, at: &Location) -> Result<Option<u64>, LakeError> {
        let looked = found(self.runtime.block_on(self.store.head(at)));
        Ok(looked.map_err(|err| self.failed("look at", key, err))?.map(|there| there.size))
    }

    /// Whether the object of a key is the one with this entity tag.
    fn is_still(&self, key: &str, at: &Location, of: &UpdateVersion) -> Result<(), LakeError> {
        let looked = found(self.runtime.block_on(self.store.head(at)));
        let there = looked.map_err(|err| self.failed("look at", key, err))?;
        match there.is_some_and(|there| there.e_tag == of.e_tag) {
            true => Ok(()),
            false => Err(LakeError::Changed { path: self.place(key) }),
        }
    }
}

impl LakeStore for RemoteStore {
    fn place(&self, key: &str) -> PathBuf {
        if key.is_empty() { self.name.clone().into() } else { format!("{}/{key}", self.name).into() }
    }

    fn local(&self) -> Option<&Path> {
        None
    }

    fn put_new(&self, key: &str, body: Body<'_>) -> Result<(), LakeError> {
        self.put(key, body, PutMode::Create)
    }

    fn replace(&self, key: &str, body: Body<'_>, of: Option<&Version>) -> Result<(), LakeError> {
        let Some(of) = of else { return self.put(key, body, PutMode::Overwrite) };
        let of = UpdateVersion { e_tag: Some(of.0.clone()), version: None };
        match self.put(key, body, PutMode::Update(of.clone())) {
            // A store that cannot: between the look and the put only the lake's lock keeps others away.
            Err(LakeError::Io { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
                self.is_still(key, &self.at(key)?, &of)?;
                self.put(key, body, PutMode::Overwrite)
            }
            done => done,
        }
    }

    fn get(&self, key: &str) -> Result<Option<Object>, LakeError> {
        let at = self.at(key)?;
        let opened = self.runtime.block_on(async {
            let found = self.store.get(&at).await?;
            if found.meta.size <= self.whole_bytes_max {
                return Ok(Object::Memory(found.bytes().await?));
            }
            let (store, runtime) = (Arc::clone(&self.store), Arc::clone(&self.runtime));
            Ok(Object::Remote(Arc::new(Opened { store, runtime, meta: found.meta })))
        });
        found(opened).map_err(|err| self.failed("open", key, err))
    }

    fn head(&self, key: &str) -> Result<Option<Meta>, LakeError> {
        let at = self.at(key)?;
        let looked = found(self.runtime.block_on(self.store.head(&at)));
        Ok(looked.map_err(|err| self.failed("look at", key, err))?.map(meta))
    }

    fn list(&self, folder: &str, from: Option<&str>, until: Option<&str>) -> Result<Vec<Meta>, LakeError> {
        let below = self.folder(folder)?;
        let after = from.and_then(before).and_then(|before| Location::parse(before).ok());
        let pages = match &after {
            Some(after) => self.store.list_with_offset(Some(&below), after),
            None => self.store.list(Some(&below)),
        };
        let listed: Result<Vec<ObjectMeta>, Error> = self.runtime.block_on(pages.try_collect());
        let mut all: Vec<Meta> =
            listed.map_err(|err| self.failed("list", folder, err))?.into_iter().map(meta).collect();
        let folder = prefix(folder);
        all.retain(|meta| {
            let key = meta.key.as_str();
            let is_one = check_key(key).is_ok() && key.split('/').next() != Some(UPLOADS) && key.starts_with(&folder);
            is_one && from.is_none_or(|from| key >= from) && until.is_none_or(|until| key < until)
        });
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.dedup_by(|a, b| a.key == b.key);
        Ok(all)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        let below = self.folder(folder)?;
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&below)));
        let listed = listed.map_err(|err| self.failed("list", folder, err))?;
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|at| Some(at.filename()?.to_owned())).collect();
        names.retain(|name| check_key(name).is_ok() && name != UPLOADS);
        names.sort();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), LakeError> {
        let at = self.at(key)?;
        found(self.runtime.block_on(self.store.delete(&at))).map(drop).map_err(|err| self.failed("remove", key, err))
    }

    /// The bytes that are there are compared: each of several compactors of one log finds its own part published.
    fn publish(&self, key: &str, body: Body<'_>, sha256: &str) -> Result<(), LakeError> {
        let exists = match self.put_new(key, body) {
            Err(exists @ LakeError::Exists { .. }) => exists,
            done => return done,
        };
        let Some(there) = self.get(key)? else { return self.put_new(key, body) };
        let read = there.reader(0).and_then(hash_all);
        let (sum, _) = read.map_err(LakeError::io("read", &self.place(key)))?;
        if hex(&sum.finalize()) != sha256 {
            return Err(exists);
        }
        match body {
            Body::Bytes(_) => Ok(()),
            Body::File(tmp) => std::fs::remove_file(tmp).map_err(LakeError::io("remove", tmp)),
        }
    }

    fn put_at_ms(&self, key: &str) -> Result<Option<i64>, LakeError> {
        let at = self.at(key)?;
        let looked = found(self.runtime.block_on(self.store.head(&at)));
        let there = looked.map_err(|err| self.failed("look at", key, err))?;
        Ok(there.map(|there| there.last_modified.timestamp_millis()))
    }

    fn sweep(&self, now_ms: i64) -> Result<u64, LakeError> {
        let failed = |err| self.failed("list", UPLOADS, err);
        let listed: Vec<ObjectMeta> =
            self.runtime.block_on(self.store.list(Some(&Location::from(UPLOADS))).try_collect()).map_err(failed)?;
        let old = |meta: &&ObjectMeta| now_ms.saturating_sub(meta.last_modified.timestamp_millis()) > UPLOAD_AGE_MS;
        let mut swept = 0;
        for meta in listed.iter().filter(old) {
            found(self.runtime.block_on(self.store.delete(&meta.location)))
                .map_err(|err| self.failed("remove", meta.location.as_ref(), err))?;
            swept += 1;
        }
        Ok(swept)
    }
}

/// Where the calls are made. It may be dropped anywhere, also on a thread that runs tasks.
struct Calls(Option<Runtime>);

impl Calls {
    fn block_on<T>(&self, call: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("taken only when it is dropped").block_on(call)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A large object as it was opened.
struct Opened {
    store: Arc<dyn ObjectStore>,
    runtime: Arc<Calls>,
    meta: ObjectMeta,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({})", self.meta.location)
    }
}

impl Ranges for Opened {
    fn size(&self) -> u64 {
        self.meta.size
    }

    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        let options = GetOptions::new().with_range(Some(range)).with_if_match(self.meta.e_tag.clone());
        let read = async { self.store.get_opts(&self.meta.location, options).await?.bytes().await };
        self.runtime.block_on(read).map_err(|err| match err {
            // Another one took its place, or none.
            Error::Precondition { .. } | Error::NotFound { .. } => {
                io::Error::new(io::ErrorKind::StaleNetworkFileHandle, err.to_string())
            }
            err => io_error(err),
        })
    }
}

fn meta(found: ObjectMeta) -> Meta {
    let version = found.e_tag.unwrap_or_else(|| found.last_modified.to_rfc3339());
    Meta { key: found.location.to_string(), bytes: found.size, version: Version(version) }
}

/// `None` for what is not there.
fn found<T>(tried: Result<T, Error>) -> Result<Option<T>, Error> {
    match tried {
        Err(Error::NotFound { .. }) => Ok(None),
        tried => tried.map(Some),
    }
}

/// Whether a copy that failed so may have been made by a try before it.
fn may_be_done(err: &LakeError) -> bool {
    match err {
        LakeError::Exists { .. } => true,
        LakeError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Where a list that is to begin with `from` starts: a key before it, after which there is nothing before it that is likely.
/// Not `from` itself, which a list would leave out, and never the name of a folder: SeaweedFS leaves out all that is in it.
/// `None` where no such key is found: all is listed.
pub(super) fn before(from: &str) -> Option<String> {
    let mut key = from.trim_end_matches('/').to_owned();
    match key.pop()? {
        // What lies in a folder of that name comes before it.
        last @ ('1'..='9' | 'B'..='Z' | 'b'..='z') => {
            key.push(char::from_u32(u32::from(last) - 1)?);
            key.push('~');
            Some(key)
        }
        _ => (!key.is_empty() && !key.ends_with('/')).then_some(key),
    }
}

fn io_error(err: Error) -> io::Error {
    let kind = match &err {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => io::ErrorKind::Unsupported,
        // No answer, or one that it cannot serve now, as often as it was asked.
        Error::Generic { .. } => io::ErrorKind::NotConnected,
        _ => io::ErrorKind::Other,
    };
    // Its text has that of its causes: they are not told twice.
    io::Error::new(kind, err.to_string())
}

/// Bytes in slices, so that a client that copies what it sends holds one of them.
fn payload(mut bytes: Bytes) -> PutPayload {
    let mut slices = Vec::new();
    while !bytes.is_empty() {
        slices.push(bytes.split_to(SLICE_BYTES.min(bytes.len())));
    }
    slices.into_iter().collect()
}

/// A name that nobody else gives.
fn random() -> u64 {
    foldhash::fast::RandomState::default().hash_one(std::process::id())
}
