//! Whether a store can hold a lake: asked before anything is published into it, with objects of its own below `_tmp/`,
//! which are removed again.
//!
//! What a lake stands on is that of several who put under one key one is refused. Some stores take the condition and
//! ignore it; there, two compactors would overwrite each other without a word. So it is tried.

use ::lake::{Body, LakeError, LakeStore};
use ops::clock;

use crate::settings::Settings;
use crate::{OpenError, S3Place, remote};

/// The clock may differ by this much before requests are refused: stores allow 15 minutes.
const SKEW_MS_MAX: u64 = 5 * 60_000;

/// What a store answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// What is wrong, and what to do about it; empty = a lake can be there.
    pub wrong: Vec<(String, String)>,
    /// The store's clock minus ours, s, if it said its time.
    pub skew_s: Option<i64>,
}

/// Asks the store of `lake`, whose directory must be a URL. With `writes` it puts small objects, and a small file below
/// the staging directory, and removes them; without, it only lists.
///
/// # Errors
/// [`OpenError`]: nothing could be asked.
pub fn probe(lake: &::lake::Settings, settings: &Settings, writes: bool) -> Result<Probe, OpenError> {
    let place = S3Place::parse(&lake.place().to_string_lossy())?;
    let (store, noticed) = remote(&place, settings)?;
    let mut found = Probe::default();
    if let Err(err) = store.folders("") {
        found.wrong.push(refused(&err));
    } else if writes {
        let small = |key: &str, text: &[u8]| store.put_new(key, Body::Bytes(text));
        found.wrong.extend(conditions(&store, "PUT with If-None-Match", &small).err());
        // A long file goes up in parts and is copied on a condition, which is another request.
        let (parts, _) = remote(&place, settings)?;
        let (parts, file) = (parts.in_parts_above(0), lake.work_dir().join(format!(".probe-{}", std::process::id())));
        let large = |key: &str, text: &[u8]| {
            wal_format::durable::create_dir_all(lake.work_dir()).map_err(LakeError::io("create", lake.work_dir()))?;
            std::fs::write(&file, text).map_err(LakeError::io("write", &file))?;
            parts.put_new(key, Body::File(&file))
        };
        found.wrong.extend(conditions(&store, "CopyObject with If-None-Match", &large).err());
        // It is gone if all went well.
        let _ = std::fs::remove_file(&file);
    }
    let skew_ms = noticed.skew_ms();
    found.skew_s = skew_ms.map(|ms| ms / 1_000);
    if let Some(ms) = skew_ms.filter(|ms| ms.unsigned_abs() > SKEW_MS_MAX) {
        let what = format!("its clock and ours differ by {} s; what is signed 15 minutes off is refused", ms / 1_000);
        found.wrong.push((what, "let a time service set this machine's clock".to_owned()));
    }
    Ok(found)
}

/// Puts bytes under a key where nothing is.
type Put<'a> = dyn Fn(&str, &[u8]) -> Result<(), LakeError> + 'a;

/// Whether of two who put under one key the second one is refused, and of two who replace one version.
fn conditions(store: &dyn LakeStore, how: &str, put: &Put<'_>) -> Result<(), (String, String)> {
    let key = format!("_tmp/probe-{:x}-{}", clock::wall_ns(), std::process::id());
    let ignored = |what: &str| {
        let what = format!("it takes {what} and ignores the condition: two who publish would overwrite each other");
        Err((
            what,
            "use a store, or a version of it, that has conditional writes (Amazon S3, SeaweedFS 4.30)".to_owned(),
        ))
    };
    let tried = || -> Result<Result<(), (String, String)>, LakeError> {
        put(&key, b"first")?;
        match put(&key, b"second") {
            Err(LakeError::Exists { .. }) => {}
            Ok(()) => return Ok(ignored(how)),
            Err(err) => return Err(err),
        }
        let Some(seen) = store.head(&key)? else { return Ok(ignored("a PUT")) };
        store.replace(&key, Body::Bytes(b"third"), Some(&seen.version))?;
        match store.replace(&key, Body::Bytes(b"fourth"), Some(&seen.version)) {
            Err(LakeError::Changed { .. }) => {}
            Ok(()) => return Ok(ignored("PUT with If-Match")),
            Err(err) => return Err(err),
        }
        let there = store.read(&key)?;
        Ok(if there == b"third" { Ok(()) } else { ignored("a PUT") })
    };
    let found = tried();
    // What stays is never listed, and swept later.
    let _ = store.delete(&key);
    found.unwrap_or_else(|err| Err(refused(&err)))
}

/// What to do about an error of a store.
fn refused(err: &LakeError) -> (String, String) {
    let kind = match err {
        LakeError::Io { source, .. } => source.kind(),
        _ => std::io::ErrorKind::Other,
    };
    let fix = match kind {
        std::io::ErrorKind::PermissionDenied => {
            "check the keys that [store] names, and that they may list, get, put and delete below this prefix"
        }
        std::io::ErrorKind::NotFound => "make the bucket, or name another one in lake.dir",
        std::io::ErrorKind::NotConnected => "check [store] endpoint, region and proxy_url, and whether the store runs",
        _ => "read the answer above",
    };
    (err.to_string(), fix.to_owned())
}
