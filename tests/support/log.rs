//! Reading a log back in a test.

use std::path::Path;

use wal_format::{Kind, LogReader, Position, ReaderOptions, Step};

/// One record, owned.
#[derive(Clone, Debug)]
pub struct Record {
    pub seq: u64,
    pub epoch: u32,
    pub conn: u32,
    pub ts_ns: u64,
    pub kind: Option<Kind>,
    pub payload: Vec<u8>,
}

/// Everything in a log, and how many ranges were lost.
pub fn read_all(dir: &Path) -> (Vec<Record>, usize) {
    let options = ReaderOptions { follow_damaged: true, ..ReaderOptions::default() };
    let mut reader = LogReader::open(dir, Position::START, options).unwrap();
    let mut records = Vec::new();
    let mut lost = 0;
    loop {
        match reader.next().unwrap() {
            Step::Record(r) => records.push(Record {
                seq: r.seq.get(),
                epoch: r.seq.epoch(),
                conn: r.conn,
                ts_ns: r.ts_recv_ns,
                kind: r.kind(),
                payload: r.payload.to_vec(),
            }),
            Step::Lost(_) => lost += 1,
            Step::Tail => return (records, lost),
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
}
