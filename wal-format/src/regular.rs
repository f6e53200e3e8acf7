//! Opening files by a name under which anything may lie: a regular file is opened, all else is refused by
//! name and kind, at once.
//!
//! `File::open` waits for a writer when it meets a FIFO, reads for ever from a link to `/dev/zero`, and a manifest of
//! 10 GiB is read before it can be refused. None of that may stop a recorder or a tool. So whatever is found in a
//! directory is opened here, and what is read as a whole says how long it can be.

use std::fmt;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Longest file that a person writes by hand: configuration, keys, certificates.
pub const SMALL_BYTES_MAX: u64 = 16 << 20;

/// Longest file that describes others: a manifest, a state, a list of what was removed.
pub const LARGE_BYTES_MAX: u64 = 256 << 20;

/// What is found under a name where a regular file was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
    /// A directory.
    Directory,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Odd::Fifo => "a FIFO",
            Odd::Socket => "a socket",
            Odd::Device => "a device",
            Odd::Directory => "a directory",
        })
    }
}

/// Why a file was refused before a byte of it was read. Inside the [`io::Error`] of the functions below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no regular file.
    #[error("it is {0}, not a regular file: move it away")]
    Kind(Odd),
    /// It is longer than such a file can be.
    #[error("it has {bytes} bytes, a file of its kind has at most {most}")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The cap.
        most: u64,
    },
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, refused)
    }
}

/// Whether the file was refused for what it is, so that trying again is of no use while it stays there.
#[must_use]
pub fn is_refused(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Refused>())
}

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// As the file system reports, and [`Refused::Kind`].
pub fn open(path: &Path) -> io::Result<File> {
    open_as(OpenOptions::new().read(true), path)
}

/// Opens a regular file as `options` say.
///
/// # Errors
/// As [`open`].
pub fn open_as(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Without NONBLOCK opening a FIFO waits for its other end; a regular file does not care.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        // Directories and sockets refuse by themselves, each with another word.
        Err(error) => {
            let kind = std::fs::metadata(path).ok().and_then(|meta| odd(meta.file_type()));
            return Err(kind.map_or(error, |kind| Refused::Kind(kind).into()));
        }
    };
    match odd(file.metadata()?.file_type()) {
        Some(odd) => Err(Refused::Kind(odd).into()),
        None => Ok(file),
    }
}

/// Refuses a name under which there is something else than a regular file, for a library that opens it itself. Nothing at
/// all is well: it may be made.
///
/// # Errors
/// [`Refused::Kind`].
pub fn check(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path).ok().and_then(|meta| odd(meta.file_type())) {
        Some(odd) => Err(Refused::Kind(odd).into()),
        None => Ok(()),
    }
}

/// All bytes of a regular file that has at most `most`.
///
/// # Errors
/// As [`open`], and [`Refused::TooLong`].
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_all(open(path)?, most)
}

/// The text of a regular file that has at most `most` bytes; links are followed.
///
/// # Errors
/// As [`read`], and `InvalidData` for what is no UTF-8.
pub fn read_to_string(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn read_all(file: File, most: u64) -> io::Result<Vec<u8>> {
    let bytes = file.metadata()?.len();
    if bytes > most {
        return Err(Refused::TooLong { bytes, most }.into());
    }
    let mut all = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    // It may grow while it is read.
    let read = file.take(most.saturating_add(1)).read_to_end(&mut all)? as u64;
    if read > most {
        return Err(Refused::TooLong { bytes: read, most }.into());
    }
    Ok(all)
}

fn odd(kind: FileType) -> Option<Odd> {
    if kind.is_file() {
        return None;
    }
    Some(match kind {
        kind if kind.is_dir() => Odd::Directory,
        kind if kind.is_fifo() => Odd::Fifo,
        kind if kind.is_socket() => Odd::Socket,
        _ => Odd::Device,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refusal(error: &io::Error) -> Refused {
        assert!(is_refused(error), "{error}");
        *error.get_ref().unwrap().downcast_ref::<Refused>().unwrap()
    }

    #[test]
    fn whatever_is_no_regular_file_is_refused_by_its_kind_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        symlink("/dev/zero", at("endless")).unwrap();
        symlink(at("fifo"), at("link to a fifo")).unwrap();
        let odd = [
            ("fifo", Odd::Fifo),
            ("socket", Odd::Socket),
            ("dir", Odd::Directory),
            ("endless", Odd::Device),
            ("link to a fifo", Odd::Fifo),
        ];
        for (name, kind) in odd {
            assert_eq!(refusal(&open(&at(name)).unwrap_err()), Refused::Kind(kind), "{name}");
            assert_eq!(refusal(&read(&at(name), 1 << 20).unwrap_err()), Refused::Kind(kind), "{name}");
            // For writing, too: a FIFO that is opened for both does not even block, and would be written to.
            let mut both = OpenOptions::new();
            both.read(true).write(true).create(true);
            assert_eq!(refusal(&open_as(&mut both, &at(name)).unwrap_err()), Refused::Kind(kind), "{name}");
        }
        assert_eq!(open(&at("nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        File::create(&path).unwrap().set_len(10 << 30).unwrap();
        assert_eq!(refusal(&read(&path, 1 << 20).unwrap_err()), Refused::TooLong { bytes: 10 << 30, most: 1 << 20 });
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read_to_string(&path, 4).unwrap(), "text");
        assert_eq!(refusal(&read(&path, 3).unwrap_err()), Refused::TooLong { bytes: 4, most: 3 });
    }
}
