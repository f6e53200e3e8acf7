//! The one implementation of write, sync, rename, sync the directory.
//!
//! A rename alone survives a killed process, not a power cut: the new name can be on disk before
//! the bytes, or not at all. Everything that publishes a file in this workspace goes through
//! here, so the order is in one place. Deletes only what it is asked to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::regular;

/// Publishes a complete file under its final name: sync `tmp`, rename it to `dest`, sync the
/// directory of `dest`. Durable on return; replaces what was there.
///
/// # Errors
/// The first step that fails. Before the rename nothing has changed; after it the file is
/// visible, but a power cut may take it.
pub fn publish_file(tmp: &Path, dest: &Path) -> io::Result<()> {
    sync_file(tmp)?;
    rename(tmp, dest)?;
    sync_dir(parent(dest))
}

/// [`publish_file`] under a name that is not taken: of several threads of this process that publish under one name at the
/// same time one succeeds. Between processes the lock of whoever shares the directory decides.
///
/// # Errors
/// `AlreadyExists` when something is there; else as [`publish_file`].
pub fn publish_new(tmp: &Path, dest: &Path) -> io::Result<()> {
    sync_file(tmp)?;
    rename_new(tmp, dest)?;
    sync_dir(parent(dest))
}

/// Makes the content of a file durable.
///
/// # Errors
/// As the file system reports.
pub fn sync_file(path: &Path) -> io::Result<()> {
    regular::open(path)?.sync_all()
}

/// Publishes a complete directory, whose files are durable, under a name that is not taken: sync `tmp`, rename it to
/// `dest`, sync the directory of `dest`. Durable on return.
///
/// # Errors
/// The first step that fails, as with [`publish_file`].
pub fn publish_dir(tmp: &Path, dest: &Path) -> io::Result<()> {
    sync_dir(tmp)?;
    rename(tmp, dest)?;
    sync_dir(parent(dest))
}

/// Writes `bytes` as the new content of `dest`, through a temporary file beside it. Readers see
/// the old content or the new, never a part.
///
/// # Errors
/// The first step that fails; the temporary file is then removed.
pub fn write_file(dest: &Path, bytes: &[u8]) -> io::Result<()> {
    write_by(publish_file, dest, bytes)
}

/// [`write_file`] under a name that is not taken.
///
/// # Errors
/// As [`publish_new`]; the temporary file is then removed.
pub fn write_new(dest: &Path, bytes: &[u8]) -> io::Result<()> {
    write_by(publish_new, dest, bytes)
}

fn write_by(publish: fn(&Path, &Path) -> io::Result<()>, dest: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = tmp_beside(dest);
    let created = regular::open_as(File::options().write(true).create(true).truncate(true), &tmp);
    let written = created.and_then(|mut file| file.write_all(bytes));
    let published = written.and_then(|()| publish(&tmp, dest));
    if published.is_err() {
        // The error that matters is the one above.
        let _ = fs::remove_file(&tmp);
    }
    published
}

/// Adds whole lines to the end of a text file, which is created if there is none. Durable on return. A line that a
/// power cut tore before is ended first, so it never merges with a new one.
///
/// # Errors
/// The first step that fails; a part of the lines may be there then.
pub fn append_lines(path: &Path, lines: &[u8]) -> io::Result<()> {
    let new = !path.exists();
    if new {
        create_dir_all(parent(path))?;
    }
    let mut file = regular::open_as(File::options().create(true).read(true).append(true), path)?;
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    file.write_all(lines)?;
    file.sync_all()?;
    if new { sync_dir(parent(path)) } else { Ok(()) }
}

/// Creates `dir` and every missing parent, and makes each new entry durable.
///
/// # Errors
/// As the file system reports; also when something else than a directory is there.
pub fn create_dir_all(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    create_dir_all(above)?;
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        Err(error) => return Err(error),
    }
    sync_dir(above)
}

/// Unlinks a file; one that is not there is no error. Durable after [`sync_dir`].
///
/// # Errors
/// As the file system reports.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Unlinks a segment; one that is not there is no error. Where its name is a link to a file on another disk
/// ([`crate::spill`]), the name goes first, durably, and then the file, durable on return: a link never leads to what
/// was deleted. Else durable after [`sync_dir`].
///
/// # Errors
/// As the file system reports. The file on the other disk may be left then, and no name leads to it.
pub fn remove_segment(path: &Path) -> io::Result<()> {
    let behind = fs::read_link(path).ok();
    remove_file(path)?;
    let Some(behind) = behind else { return Ok(()) };
    sync_dir(parent(path))?;
    remove_file(&behind)?;
    sync_dir(parent(&behind))
}

/// Gives a file a second name, which must not be taken: a symbolic link. Durable after [`sync_dir`].
///
/// # Errors
/// As the file system reports.
pub(crate) fn link(file: &Path, name: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(fs::canonicalize(file)?, name)
}

/// Makes the names in `dir` durable.
///
/// # Errors
/// As the file system reports.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Renames without any sync: a step of a longer sequence in this crate.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// A look and a rename, one at a time in this process. Other processes are kept away by the lock of whoever shares the
/// directory: not every file system can rename without replacing (NFS), so nobody may rely on that.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    match to.symlink_metadata() {
        Err(err) if err.kind() == io::ErrorKind::NotFound => rename(from, to),
        Err(err) => Err(err),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// Removes temporary files that writers of `dest` left behind because they were killed. For directories with few files.
///
/// # Errors
/// When the directory cannot be read, or such a file not be removed.
pub fn remove_abandoned(dest: &Path) -> io::Result<()> {
    let name = dest.file_name().unwrap_or_default().to_string_lossy();
    let begin = format!(".{name}.");
    let entries = match fs::read_dir(parent(dest)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let found = entry.file_name();
        let writer = found.to_str().and_then(|found| found.strip_prefix(&begin)?.strip_suffix(".tmp"));
        let pid = writer.and_then(|writer| writer.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| pid != std::process::id() && !Path::new(&format!("/proc/{pid}")).exists()) {
            match fs::remove_file(entry.path()) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn tmp_beside(dest: &Path) -> PathBuf {
    // Two threads that write one file write two temporary ones.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(dest.file_name().unwrap_or_default());
    name.push(format!(".{}-{}.tmp", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
    dest.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("file");
        write_file(&dest, b"old").unwrap();
        write_file(&dest, b"new").unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_those_who_write_a_new_file_at_the_same_time_one_does_and_its_bytes_stand_there() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("file");
        let write = |n: u8| write_new(&dest, &[n; 64]).map(|()| n);
        let done: Vec<_> = std::thread::scope(|s| {
            let all: Vec<_> = (0..8).map(|n| s.spawn(move || write(n))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let won: Vec<u8> = done.iter().filter_map(|d| d.as_ref().ok().copied()).collect();
        assert_eq!(won.len(), 1);
        let lost = |d: &&io::Result<u8>| d.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists);
        assert_eq!(done.iter().filter(lost).count(), 7);
        assert_eq!(fs::read(&dest).unwrap(), [won[0]; 64]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_of_this_file_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let dead = u32::MAX;
        let own = std::process::id();
        let gone = [format!(".a.json.{dead}-3.tmp"), format!(".a.json.{dead}.tmp")];
        let stays = [
            format!(".a.json.{own}-0.tmp"),
            format!(".b.json.{dead}-3.tmp"),
            ".a.json.x.tmp".to_owned(),
            "a.json".to_owned(),
        ];
        for name in gone.iter().chain(&stays) {
            fs::write(dir.path().join(name), "half").unwrap();
        }
        remove_abandoned(&dir.path().join("a.json")).unwrap();
        assert!(gone.iter().all(|name| !dir.path().join(name).exists()));
        assert!(stays.iter().all(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("taken");
        fs::create_dir(&dest).unwrap();
        assert!(write_file(&dest, b"new").is_err());
        assert!(dest.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn lines_are_added_whole_even_behind_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/list");
        append_lines(&path, b"one\n").unwrap();
        append_lines(&path, b"two\n").unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"to").unwrap();
        append_lines(&path, b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nto\nthree\n");
    }

    #[test]
    fn directories_are_created_along_the_way_and_removal_is_idempotent() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_all(&deep).unwrap();
        create_dir_all(&deep).unwrap();
        assert!(deep.is_dir());
        let file = deep.join("f");
        fs::write(&file, b"x").unwrap();
        remove_file(&file).unwrap();
        remove_file(&file).unwrap();
        fs::write(&file, b"x").unwrap();
        assert!(create_dir_all(&file.join("under")).is_err());
        sync_dir(&deep).unwrap();
    }
}
