//! An archived segment as if it were the segment: any byte, by inflating the one frame that holds it.
//!
//! Opening reads the seek table and nothing else. The frame that was inflated last is kept (at most 1 MiB), so reading
//! in order inflates every frame once. An archive without a usable seek table is walked frame by frame instead, and
//! stays readable up to the place where it is truncated. A frame that does not give back its bytes is an error that
//! names it, every time it is read; nothing is made up.
//!
//! Never writes.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use super::layout::{self, FRAME_BYTES};
use super::table::{self, Entry, TAIL_BYTES};
use super::{ArchiveFault, ZSTD_MAGIC};
use crate::header::SegmentHeader;
use crate::layout::{DATA_START, is_segment_length};
use crate::read_error::ReadError;

/// Longer than any frame of 1 MiB of input can get.
const PACKED_MAX: u64 = FRAME_BYTES + (FRAME_BYTES >> 7) + 1024;

/// Where one frame lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    entry: Entry,
    from: u64,
}

/// What was inflated, for tests and for those who want to know what a question cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Frames inflated.
    pub frames: u64,
    /// Bytes read from the file for them.
    pub bytes: u64,
}

#[derive(Default)]
struct Cache {
    frame: Option<usize>,
    plain: Vec<u8>,
    packed: Vec<u8>,
    /// The frame that failed last: damage is looked at many times and inflated once.
    failed: Option<(usize, ArchiveFault)>,
    decompressor: Option<Decompressor<'static>>,
    cost: Cost,
}

/// Reads one archive.
pub(crate) struct Unpacker {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    segment_bytes: u64,
    frames: Vec<Place>,
    /// The seek table could not be used.
    fault: Option<ArchiveFault>,
    cache: RefCell<Cache>,
    /// Damaged frames read as zeros: their faults were reported already.
    zeros: Cell<bool>,
}

impl Unpacker {
    /// Takes over an open file. A damaged or missing seek table is not an error here, see [`Unpacker::fault`].
    pub fn new(path: &Path, file: File) -> Result<Unpacker, ReadError> {
        let io = |offset, source| ReadError::Io { path: path.to_path_buf(), offset, source };
        let file_bytes = file.metadata().map_err(|e| io(0, e))?.len();
        let mut unpacker = Unpacker {
            path: path.to_path_buf(),
            file,
            file_bytes,
            segment_bytes: 0,
            frames: Vec::new(),
            fault: None,
            cache: RefCell::default(),
            zeros: Cell::new(false),
        };
        match unpacker.read_table().map_err(|e| io(file_bytes, e))? {
            Ok(entries) => unpacker.frames = placed(&entries),
            Err(what) => {
                let entries = unpacker.walk().map_err(|e| io(0, e))?;
                unpacker.frames = placed(&entries);
                unpacker.fault =
                    Some(ArchiveFault::Table { what: what.to_owned(), whole: entries.len(), bytes: file_bytes });
            }
        }
        unpacker.segment_bytes = unpacker.frames.iter().map(|p| u64::from(p.entry.plain)).sum();
        if unpacker.fault.is_some() {
            // What is left says how long the segment was.
            let mut block = vec![0; DATA_START as usize];
            if matches!(unpacker.read_at(&mut block, 0), Ok(n) if n == block.len())
                && let Ok(header) = SegmentHeader::decode(&block)
            {
                unpacker.segment_bytes = header.segment_bytes;
            }
        }
        Ok(unpacker)
    }

    /// The entries by the table, or why it cannot be used.
    fn read_table(&self) -> io::Result<Result<Vec<Entry>, &'static str>> {
        let mut tail = [0; TAIL_BYTES];
        let Some(at) = self.file_bytes.checked_sub(TAIL_BYTES as u64) else {
            return Ok(Err("the file is too short"));
        };
        self.file.read_exact_at(&mut tail, at)?;
        let len = match table::whole_len(&tail) {
            Ok(len) if len <= self.file_bytes => len,
            Ok(_) => return Ok(Err("the seek table names another length")),
            Err(what) => return Ok(Err(what)),
        };
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.file_bytes - len)?;
        let entries = match table::decode(&bytes) {
            Ok(entries) => entries,
            Err(what) => return Ok(Err(what)),
        };
        let plain: u64 = entries.iter().map(|e| u64::from(e.plain)).sum();
        let packed: u64 = entries.iter().map(|e| u64::from(e.packed)).sum();
        let tiles = is_segment_length(plain)
            && entries.len() == layout::frame_count(plain)
            && entries.iter().enumerate().all(|(frame, e)| {
                layout::span(plain, frame).is_some_and(|span| span.len == u64::from(e.plain))
                    && u64::from(e.packed) <= PACKED_MAX
            });
        if !tiles {
            return Ok(Err("the frames it names are not those of a segment"));
        }
        if packed + len != self.file_bytes {
            return Ok(Err("the frames it names do not fill the file"));
        }
        Ok(Ok(entries))
    }

    /// The whole frames from the start of the file on, found without the table.
    fn walk(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut at = 0;
        let mut window = Vec::new();
        while at < self.file_bytes {
            let want = usize::try_from((self.file_bytes - at).min(PACKED_MAX)).unwrap_or(0);
            window.resize(want, 0);
            self.file.read_exact_at(&mut window, at)?;
            let Ok(len) = zstd_safe::find_frame_compressed_size(&window) else { break };
            let Some(frame) = window.get(..len) else { break };
            let (Ok(Some(plain)), Some(checksum)) = (zstd_safe::get_frame_content_size(frame), frame.last_chunk::<4>())
            else {
                break;
            };
            if !frame.starts_with(&ZSTD_MAGIC) || plain > FRAME_BYTES {
                break;
            }
            entries.push(Entry {
                packed: u32::try_from(len).unwrap_or(0),
                plain: u32::try_from(plain).unwrap_or(0),
                checksum: u32::from_le_bytes(*checksum),
            });
            at += len as u64;
        }
        Ok(entries)
    }

    /// Why the seek table could not be used.
    pub fn fault(&self) -> Option<&ArchiveFault> {
        self.fault.as_ref()
    }

    /// The file after it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Length of the segment in bytes.
    pub fn len(&self) -> u64 {
        self.segment_bytes
    }

    /// What was inflated so far.
    pub fn cost(&self) -> Cost {
        self.cache.borrow().cost
    }

    /// Reads some bytes of the segment from `offset` on, never beyond the frame that holds it; 0 at the end.
    ///
    /// # Errors
    /// [`ReadError::Archive`] names the frame that is damaged or missing.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        if offset >= self.segment_bytes && self.segment_bytes > 0 || out.is_empty() {
            return Ok(0);
        }
        let found = self.frames.partition_point(|p| p.from + u64::from(p.entry.plain) <= offset);
        let mut cache = self.cache.borrow_mut();
        let place = match self.inflate(&mut cache, found) {
            Err(ReadError::Archive { .. }) if self.zeros.get() && self.segment_bytes > 0 => {
                return Ok(self.zeros_at(out, offset));
            }
            place => place?,
        };
        let start = usize::try_from(offset.saturating_sub(place.from)).unwrap_or(usize::MAX);
        let bytes = cache.plain.get(start..).unwrap_or(&[]);
        let n = bytes.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..n), bytes.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    /// From now on damaged frames read as zeros: for those who ask for [`Unpacker::faults`] first.
    pub fn read_damage_as_zeros(&self) {
        self.zeros.set(true);
    }

    /// Zeros up to the end of the frame that holds `offset`.
    fn zeros_at(&self, out: &mut [u8], offset: u64) -> usize {
        let frame = layout::frame_of(self.segment_bytes, offset);
        let end = layout::span(self.segment_bytes, frame).map_or(offset, |span| span.from + span.len);
        let n = out.len().min(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        if let Some(out) = out.get_mut(..n) {
            out.fill(0);
        }
        n
    }

    /// Every fault of the file, in order; inflates all of it.
    pub fn faults(&self) -> Result<Vec<ArchiveFault>, ReadError> {
        let mut faults: Vec<ArchiveFault> = self.fault.iter().cloned().collect();
        for frame in 0..layout::frame_count(self.segment_bytes).max(self.frames.len()) {
            match self.inflate(&mut self.cache.borrow_mut(), frame) {
                // It was only to be tried.
                Ok(_) => {}
                Err(ReadError::Archive { fault, .. }) => {
                    let ends = matches!(*fault, ArchiveFault::Missing { .. });
                    faults.push(*fault);
                    if ends {
                        break;
                    }
                }
                Err(err) => return Err(err),
            }
        }
        Ok(faults)
    }

    /// Makes `frame` the one in the cache.
    fn inflate(&self, cache: &mut Cache, frame: usize) -> Result<Place, ReadError> {
        let archive = |fault| ReadError::Archive { path: self.path.clone(), fault: Box::new(fault) };
        let frames = layout::frame_count(self.segment_bytes).max(self.frames.len());
        let Some(place) = self.frames.get(frame).copied() else {
            return Err(archive(ArchiveFault::Missing { frame, frames, bytes: self.file_bytes }));
        };
        if cache.frame == Some(frame) {
            return Ok(place);
        }
        if let Some((failed, fault)) = &cache.failed
            && *failed == frame
        {
            return Err(archive(fault.clone()));
        }
        cache.frame = None;
        let plain = place.entry.plain as usize;
        cache.packed.resize(place.entry.packed as usize, 0);
        self.file.read_exact_at(&mut cache.packed, place.at).map_err(|source| ReadError::Io {
            path: self.path.clone(),
            offset: place.at,
            source,
        })?;
        cache.cost.frames += 1;
        cache.cost.bytes += u64::from(place.entry.packed);
        cache.plain.clear();
        cache.plain.reserve(plain);
        let what = if cache.packed.last_chunk::<4>() != Some(&place.entry.checksum.to_le_bytes()) {
            Some("its checksum is not the one in the seek table".to_owned())
        } else {
            match decompress(cache) {
                Ok(n) if n == plain => None,
                Ok(n) => Some(format!("it holds {n} bytes instead of {plain}")),
                Err(err) => Some(err.to_string()),
            }
        };
        if let Some(what) = what {
            let to = place.from + u64::from(place.entry.plain);
            let fault = ArchiveFault::Frame { frame, frames, from: place.from, to, at: place.at, what };
            cache.failed = Some((frame, fault.clone()));
            return Err(archive(fault));
        }
        cache.frame = Some(frame);
        Ok(place)
    }
}

/// Inflates what was read; the number of bytes.
fn decompress(cache: &mut Cache) -> io::Result<usize> {
    let decompressor = match &mut cache.decompressor {
        Some(decompressor) => decompressor,
        none => none.insert(Decompressor::new()?),
    };
    decompressor.decompress_to_buffer(&cache.packed, &mut cache.plain)
}

fn placed(entries: &[Entry]) -> Vec<Place> {
    let (mut at, mut from) = (0, 0);
    entries
        .iter()
        .map(|entry| {
            let place = Place { at, entry: *entry, from };
            at += u64::from(entry.packed);
            from += u64::from(entry.plain);
            place
        })
        .collect()
}
