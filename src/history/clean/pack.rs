//! A zip as the archive makes it, for benchmarks and tests: one deflated CSV, sizes in the header, one directory entry.
//! Streams, so that a file of any size can be made; above 4 GiB with zip64 records.

use std::io::{self, Seek, SeekFrom, Write};

use flate2::{Compress, Compression, FlushCompress, Status};

/// Bytes deflated at once.
const BLOCK: usize = 64 * 1024;
/// 2024-01-02 03:04:06 as MS-DOS date and time.
const PACKED: (u16, u16) = (44 << 9 | 1 << 5 | 2, 3 << 11 | 4 << 5 | 3);
/// Marks a size that is in the zip64 field.
const WIDE: u32 = u32::MAX;

/// Writes one entry; [`Packer::finish`] completes the zip.
pub struct Packer<W> {
    out: W,
    name: String,
    crc: crc32fast::Hasher,
    deflate: Compress,
    block: Vec<u8>,
    bytes: u64,
    packed: u64,
}

impl<W: Write + Seek> Packer<W> {
    /// Begins a zip whose entry has this name.
    ///
    /// # Errors
    /// As the writer reports.
    pub fn new(mut out: W, name: &str) -> io::Result<Self> {
        // Room for the header, which is written when sizes are known: with its zip64 field always.
        out.write_all(&vec![0; 30 + name.len() + 20])?;
        Ok(Self {
            out,
            name: name.to_owned(),
            crc: crc32fast::Hasher::new(),
            deflate: Compress::new(Compression::default(), false),
            block: Vec::with_capacity(BLOCK),
            bytes: 0,
            packed: 0,
        })
    }

    fn deflate(&mut self, mut input: &[u8], flush: FlushCompress) -> io::Result<()> {
        loop {
            self.block.clear();
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(input, &mut self.block, flush).map_err(io::Error::other)?;
            let used = (self.deflate.total_in() - before) as usize;
            input = input.get(used..).unwrap_or_default();
            self.out.write_all(&self.block)?;
            self.packed += self.block.len() as u64;
            match status {
                Status::StreamEnd => return Ok(()),
                _ if input.is_empty() && matches!(flush, FlushCompress::None) => return Ok(()),
                _ => {}
            }
        }
    }

    /// Writes header, directory and end.
    ///
    /// # Errors
    /// As the writer reports.
    pub fn finish(mut self) -> io::Result<W> {
        self.deflate(&[], FlushCompress::Finish)?;
        let crc = std::mem::take(&mut self.crc).finalize();
        let name = self.name.as_bytes();
        let common = |to: &mut Vec<u8>, extra: usize| {
            for v in [45_u16, 0, 8, PACKED.1, PACKED.0] {
                to.extend_from_slice(&v.to_le_bytes());
            }
            for v in [crc, WIDE, WIDE] {
                to.extend_from_slice(&v.to_le_bytes());
            }
            to.extend_from_slice(&(name.len() as u16).to_le_bytes());
            to.extend_from_slice(&(extra as u16).to_le_bytes());
        };
        let sizes = |to: &mut Vec<u8>| {
            to.extend_from_slice(&[1, 0, 16, 0]);
            to.extend_from_slice(&self.bytes.to_le_bytes());
            to.extend_from_slice(&self.packed.to_le_bytes());
        };
        let mut header = b"PK\x03\x04".to_vec();
        common(&mut header, 20);
        header.extend_from_slice(name);
        sizes(&mut header);
        let mut directory = b"PK\x01\x02\x2d\x00".to_vec();
        common(&mut directory, 20);
        // No comment, first disk, no attributes, header at 0.
        directory.extend_from_slice(&[0; 14]);
        directory.extend_from_slice(name);
        sizes(&mut directory);
        let start = header.len() as u64 + self.packed;
        let mut end = b"PK\x06\x06".to_vec();
        end.extend_from_slice(&44_u64.to_le_bytes());
        end.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for v in [1, 1, directory.len() as u64, start] {
            end.extend_from_slice(&v.to_le_bytes());
        }
        end.extend_from_slice(b"PK\x06\x07\0\0\0\0");
        end.extend_from_slice(&(start + directory.len() as u64).to_le_bytes());
        end.extend_from_slice(&1_u32.to_le_bytes());
        end.extend_from_slice(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
        self.out.write_all(&directory)?;
        self.out.write_all(&end)?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write + Seek> Write for Packer<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.crc.update(buf);
        self.bytes += buf.len() as u64;
        self.deflate(buf, FlushCompress::None)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A whole zip in memory.
///
/// # Errors
/// Never in practice: memory does not refuse.
pub fn pack(name: &str, csv: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = Packer::new(io::Cursor::new(Vec::new()), name)?;
    packer.write_all(csv)?;
    Ok(packer.finish()?.into_inner())
}

/// A zip of several entries, each stored as it is, as other programs make them: small, without zip64.
pub fn store(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let at = out.len() as u32;
        let mut common = Vec::new();
        for v in [20_u16, 0, 0, PACKED.1, PACKED.0] {
            common.extend_from_slice(&v.to_le_bytes());
        }
        for v in [crc32fast::hash(bytes), bytes.len() as u32, bytes.len() as u32, name.len() as u32] {
            common.extend_from_slice(&v.to_le_bytes());
        }
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(bytes);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, count) = (out.len() as u32, entries.len() as u16);
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for v in [count, count] {
        out.extend_from_slice(&v.to_le_bytes());
    }
    for v in [directory.len() as u32, start] {
        out.extend_from_slice(&v.to_le_bytes());
    }
    out.extend_from_slice(&[0, 0]);
    out
}
