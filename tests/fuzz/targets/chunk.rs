//! Fuzz target: a chunk of a log, as anybody could have put it into the object store. The first byte chooses: the bytes
//! as they are, or as the body of a chunk whose checksums are good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ship::codec::{Chunk, ChunkStep};

/// A header of version 1 over `body`, which begins at `first` and ends at `last`; drawn in `src/ship/FORMAT.md`.
fn chunk(first: u64, last: u64, records: u32, lost: u32, body: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(body, 1).expect("a small body");
    let mut out = b"TDCHUNK\n\x01\x00\x01\x00\x00\x00\x00\x00".to_vec();
    out.extend_from_slice(&[7; 16]);
    for word in [9, first, last, 1, 4096, first, 1, 1] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for word in [records, lost, body.len() as u32, crc32fast::hash(body), packed.len() as u32, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.push(b'v');
    out.extend_from_slice(&packed);
    let crc = crc32fast::hash(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let made;
    let bytes = match (mode % 2, data) {
        (1, [records, lost, body @ ..]) => {
            let span = u64::from(*records) + u64::from(*lost);
            made = chunk(1 << 40, (1 << 40) + span.saturating_sub(1), (*records).into(), (*lost).into(), body);
            made.as_slice()
        }
        _ => data,
    };
    let Ok(mut chunk) = Chunk::open(bytes) else { return };
    let (mut expected, last) = (chunk.header().first, chunk.header().last);
    loop {
        let (from, to) = match chunk.next() {
            Some(ChunkStep::Record(record)) => (record.seq, record.seq),
            Some(ChunkStep::Lost(lost, _)) => (lost.from, lost.to),
            None => break,
        };
        assert_eq!(from, expected);
        expected = to.next();
    }
    assert_eq!(expected, last.next());
    assert_eq!(chunk.position(), chunk.end());
});
