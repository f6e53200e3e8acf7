//! One file out of a zip of the archive, streamed: bytes of the zip in, bytes of the CSV out. Memory is one buffer.
//!
//! ```text
//!  local header | deflated CSV | central directory: one entry | (zip64 records) | end of central directory
//! ```
//! A zip of the archive holds exactly one CSV under its own base name. Nothing is ever written under a name found in
//! a zip. Refused: entries whose name is a path, several entries without the expected one, encryption, methods other
//! than stored and deflated, more bytes than announced, absurd ratios. Layout: PKWARE APPNOTE 6.3.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use flate2::{Decompress, FlushDecompress, Status};
use wal_format::regular;

/// Bytes read from the zip at once.
const READ_BYTES: usize = 256 * 1024;
/// CSV of one candle after the other without a trade deflates to a fiftieth; a bomb to a thousandth.
const MAX_RATIO: u64 = 400;
/// Small files may have any ratio.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// The end of a zip: record and longest comment.
const END_BYTES: u64 = 22 + 65_535;
/// Most bytes of a central directory that is looked at.
const MAX_DIRECTORY: u64 = 1 << 20;

/// Why a zip cannot be used. The rows that came out of it before are not used either.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// The file cannot be read at all.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Not a whole zip, or its parts contradict each other.
    #[error("damaged zip: {0}")]
    Damaged(&'static str),
    /// A whole zip that is no file of the archive.
    #[error("refused zip: {0}")]
    Refused(&'static str),
    /// The bytes are not those that were packed.
    #[error("damaged zip: its CRC-32 is {got:08x}, announced is {expected:08x}")]
    Crc {
        /// Announced.
        expected: u32,
        /// Of the bytes that came out.
        got: u32,
    },
}

use ZipError::{Damaged, Refused};

/// What the directory of the zip says about the CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// When it was packed, seconds since 1970, the zip's local time taken as UTC; `None` where there is none.
    pub packed_s: Option<i64>,
    /// Bytes in the zip.
    pub packed_bytes: u64,
    /// Bytes of the CSV.
    pub bytes: u64,
    /// Further entries, not looked at.
    pub others: usize,
    crc: u32,
    method: u16,
    header_at: u64,
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

fn read_at(file: &mut File, at: u64, len: u64) -> Result<Vec<u8>, ZipError> {
    let file_len = file.metadata()?.len();
    if at.checked_add(len).is_none_or(|end| end > file_len) {
        return Err(Damaged("its parts lie outside"));
    }
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len {
        return Err(Damaged("it ends early"));
    }
    Ok(bytes)
}

/// Finds the entry to use. `expected` is the name it should have.
///
/// # Errors
/// See [`ZipError`].
pub(crate) fn find(file: &mut File, expected: &str) -> Result<Entry, ZipError> {
    let len = file.metadata()?.len();
    let tail_len = len.min(END_BYTES);
    let tail = read_at(file, len - tail_len, tail_len)?;
    let end = (0..tail.len().saturating_sub(21))
        .rev()
        .find(|i| tail.get(*i..*i + 4) == Some(b"PK\x05\x06"))
        .ok_or(Damaged("it has no end: truncated, or no zip"))?;
    let field = |at| u16_at(&tail, end + at).ok_or(Damaged("its end record is truncated"));
    let wide = |at| u32_at(&tail, end + at).ok_or(Damaged("its end record is truncated"));
    let (mut count, mut size, mut start) = (u64::from(field(10)?), u64::from(wide(12)?), u64::from(wide(16)?));
    let zip64 = count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff;
    if zip64 {
        let locator = end.checked_sub(20).ok_or(Damaged("it has no zip64 locator"))?;
        if tail.get(locator..locator + 4) != Some(b"PK\x06\x07") {
            return Err(Damaged("it has no zip64 locator"));
        }
        let at = u64_at(&tail, locator + 8).ok_or(Damaged("it has no zip64 locator"))?;
        let record = read_at(file, at.min(len), 56)?;
        if record.get(..4) != Some(b"PK\x06\x06") {
            return Err(Damaged("it has no zip64 end record"));
        }
        let get = |at| u64_at(&record, at).ok_or(Damaged("its zip64 end record is truncated"));
        (count, size, start) = (get(32)?, get(40)?, get(48)?);
    }
    if size > MAX_DIRECTORY || start.checked_add(size).is_none_or(|end| end > len) {
        return Err(Damaged("its central directory lies outside the file"));
    }
    let directory = read_at(file, start, size)?;
    let mut entries = Vec::new();
    let mut at = 0;
    while at < directory.len() {
        let (entry, used) = entry(directory.get(at..).unwrap_or_default())?;
        entries.push(entry);
        at += used;
    }
    if entries.len() as u64 != count {
        return Err(Damaged("its central directory has another number of entries than announced"));
    }
    choose(entries, expected)
}

fn choose(mut entries: Vec<Entry>, expected: &str) -> Result<Entry, ZipError> {
    let is_path = |name: &str| name.contains(['/', '\\', ':', '\0']) || matches!(name, "." | ".." | "");
    if entries.iter().any(|e| is_path(&e.name)) {
        return Err(Refused("the name of an entry is a path"));
    }
    let others = entries.len().saturating_sub(1);
    let found = match entries.len() {
        0 => return Err(Refused("it is empty")),
        1 => entries.pop(),
        _ => entries.into_iter().find(|e| e.name == expected),
    };
    let mut entry = found.ok_or(Refused("several entries, none of which has the expected name"))?;
    entry.others = others;
    if entry.bytes > RATIO_FREE_BYTES && entry.bytes / MAX_RATIO > entry.packed_bytes {
        return Err(Refused("it announces more than 400 times its size"));
    }
    Ok(entry)
}

/// One record of the central directory and its length.
fn entry(b: &[u8]) -> Result<(Entry, usize), ZipError> {
    let cut = Damaged("its central directory is truncated");
    if b.get(..4) != Some(b"PK\x01\x02") {
        return Err(Damaged("its central directory is missing"));
    }
    let short = |at| u16_at(b, at).ok_or(Damaged("its central directory is truncated"));
    let wide = |at| u32_at(b, at).ok_or(Damaged("its central directory is truncated"));
    let (flags, method) = (short(8)?, short(10)?);
    let (time, date) = (short(12)?, short(14)?);
    let (name_len, extra_len, comment_len) =
        (usize::from(short(28)?), usize::from(short(30)?), usize::from(short(32)?));
    let used = 46 + name_len + extra_len + comment_len;
    let name = b.get(46..46 + name_len).ok_or(cut)?;
    let extra = b.get(46 + name_len..46 + name_len + extra_len).ok_or(Damaged("its central directory is truncated"))?;
    let mut sizes = [u64::from(wide(24)?), u64::from(wide(20)?), u64::from(wide(42)?)];
    if sizes.contains(&0xffff_ffff) {
        let field = zip64_extra(extra).ok_or(Damaged("it lacks its zip64 sizes"))?;
        let mut at = 0;
        for size in sizes.iter_mut().filter(|s| **s == 0xffff_ffff) {
            *size = u64_at(field, at).ok_or(Damaged("it lacks its zip64 sizes"))?;
            at += 8;
        }
    }
    if flags & 1 != 0 {
        return Err(Refused("it is encrypted"));
    }
    if !matches!(method, 0 | 8) {
        return Err(Refused("its method is neither stored nor deflated"));
    }
    let [bytes, packed_bytes, header_at] = sizes;
    let name = String::from_utf8_lossy(name).into_owned();
    let packed_s = packed_time(date, time);
    Ok((Entry { name, packed_s, packed_bytes, bytes, others: 0, crc: wide(16)?, method, header_at }, used))
}

/// The body of the zip64 field among the extra ones.
fn zip64_extra(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, len) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let body = extra.get(4..4 + len)?;
        if id == 1 {
            return Some(body);
        }
        extra = extra.get(4 + len..)?;
    }
}

/// MS-DOS date and time, taken as UTC.
fn packed_time(date: u16, time: u16) -> Option<i64> {
    let small = |v: u16, bits: u32| i8::try_from(v & ((1 << bits) - 1)).ok();
    let day =
        jiff::civil::Date::new(1980 + i16::try_from(date >> 9).ok()?, small(date >> 5, 4)?, small(date, 5)?).ok()?;
    let (h, m, s) = (i64::from(time >> 11), i64::from(time >> 5 & 63), i64::from(time & 31) * 2);
    (h < 24 && m < 60 && s < 60).then(|| crate::path::day_us(day) / 1_000_000 + h * 3_600 + m * 60 + s)
}

/// The bytes of the CSV, in order.
pub struct ZipReader {
    file: File,
    entry: Entry,
    /// Of the packed bytes, not read yet.
    left: u64,
    given: u64,
    crc: crc32fast::Hasher,
    inflate: Option<Decompress>,
    input: Vec<u8>,
    at: usize,
    done: bool,
}

impl ZipReader {
    /// Opens the zip and finds its CSV, which should be named as the zip.
    ///
    /// # Errors
    /// See [`ZipError`].
    pub fn open(path: &Path) -> Result<ZipReader, ZipError> {
        let mut file = regular::open(path)?;
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let entry = find(&mut file, &format!("{stem}.csv"))?;
        let header = read_at(&mut file, entry.header_at, 30)?;
        if header.get(..4) != Some(b"PK\x03\x04") {
            return Err(Damaged("its entry has no header"));
        }
        let lens = u16_at(&header, 26).zip(u16_at(&header, 28)).ok_or(Damaged("its entry has no header"))?;
        file.seek(SeekFrom::Current(i64::from(lens.0) + i64::from(lens.1)))?;
        let inflate = (entry.method == 8).then(|| Decompress::new(false));
        Ok(ZipReader {
            left: entry.packed_bytes,
            file,
            given: 0,
            crc: crc32fast::Hasher::new(),
            inflate,
            input: Vec::new(),
            at: 0,
            done: false,
            entry,
        })
    }

    /// What the directory says.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Fills `out` from its start; 0 at the end, and only when the CSV was whole.
    ///
    /// # Errors
    /// See [`ZipError`].
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, ZipError> {
        let mut filled = 0;
        while filled < out.len() && !self.done {
            if self.at == self.input.len() && self.left > 0 {
                self.input.clear();
                self.at = 0;
                let want = self.left.min(READ_BYTES as u64);
                let got = (&mut self.file).take(want).read_to_end(&mut self.input)?;
                if got == 0 {
                    return Err(Damaged("it ends early"));
                }
                self.left -= got as u64;
            }
            let room = out.get_mut(filled..).unwrap_or_default();
            let given = self.step(room)?;
            self.crc.update(room.get(..given).unwrap_or_default());
            filled += given;
            self.given += given as u64;
            if self.given > self.entry.bytes {
                return Err(Refused("it holds more bytes than it announces"));
            }
        }
        if self.done && filled == 0 {
            self.check()?;
        }
        Ok(filled)
    }

    /// Turns input into output once.
    fn step(&mut self, room: &mut [u8]) -> Result<usize, ZipError> {
        let input = self.input.get(self.at..).unwrap_or_default();
        let Some(inflate) = &mut self.inflate else {
            let n = input.len().min(room.len());
            let (from, to) = (input.get(..n).unwrap_or_default(), room.get_mut(..n).unwrap_or_default());
            to.copy_from_slice(from);
            self.at += n;
            self.done = self.left == 0 && self.at == self.input.len();
            return Ok(n);
        };
        let (in_before, out_before) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(input, room, FlushDecompress::None)
            .map_err(|_| Damaged("its deflate stream is invalid"))?;
        let (used, given) = (inflate.total_in() - in_before, (inflate.total_out() - out_before) as usize);
        self.at += used as usize;
        match status {
            Status::StreamEnd => {
                self.done = true;
                if self.left > 0 || self.at < self.input.len() {
                    return Err(Damaged("bytes follow the end of its deflated ones"));
                }
            }
            _ if used == 0 && given == 0 && self.left == 0 => return Err(Damaged("its deflated bytes end early")),
            _ => {}
        }
        Ok(given)
    }

    fn check(&self) -> Result<(), ZipError> {
        if self.given != self.entry.bytes {
            return Err(Damaged("it holds fewer bytes than it announces"));
        }
        match self.crc.clone().finalize() {
            crc if crc == self.entry.crc => Ok(()),
            got => Err(ZipError::Crc { expected: self.entry.crc, got }),
        }
    }
}

#[cfg(test)]
#[path = "zip_tests.rs"]
mod tests;
