//! The least that a checksummed log over a mapped file can do, for `tools/bench` to compare with. Not part of the log.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use memmap2::MmapRaw;

/// Appends `records` times `payload` after a 32-byte header with a CRC and a release store into a mapping of `path`,
/// whose pages were all touched before if `prefaulted`. Returns ns per record; removes the file.
///
/// # Errors
/// Whatever allocating and mapping the file gives.
pub fn bare_loop(path: &Path, payload: &[u8], records: u64, prefaulted: bool) -> io::Result<f64> {
    let stride = (32 + payload.len()).next_multiple_of(8);
    let window = stride * usize::try_from(records).unwrap_or(1);
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    super::alloc::allocate(&file, window as u64)?;
    let map = MmapRaw::map_raw(&file)?;
    let base = map.as_mut_ptr();
    for at in (0..window).step_by(4096).take_while(|_| prefaulted) {
        // SAFETY: `at` is below the mapped length; nobody else knows this file.
        unsafe { base.add(at).write_volatile(0) };
    }
    let start = Instant::now();
    let mut at = 0;
    for seq in 0..records {
        // SAFETY: `at + stride <= window`, which holds all records; 8-aligned because `stride` is a multiple of 8
        // and the mapping starts on a page; the mapping outlives the loop and no other thread touches it.
        unsafe {
            let p = base.add(at);
            std::ptr::copy_nonoverlapping(payload.as_ptr(), p.add(32), payload.len());
            p.add(8).cast::<u64>().write(seq);
            p.add(16).cast::<u64>().write(seq);
            p.add(24).cast::<u64>().write(1);
            let covered = std::slice::from_raw_parts(p.add(8), stride - 8);
            p.add(4).cast::<u32>().write(crc32fast::hash(covered));
            AtomicU32::from_ptr(p.cast()).store(0x8000_0000 | stride as u32, Ordering::Release);
        }
        at += stride;
    }
    let ns = start.elapsed().as_nanos() as f64 / records.max(1) as f64;
    drop(map);
    std::fs::remove_file(path)?;
    Ok(ns)
}
