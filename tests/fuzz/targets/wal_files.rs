//! Fuzz target: the small files beside the segments (CONTROL, EPOCH, acks, LOCK) and the fixed blocks inside them,
//! with anybody's bytes. The first byte chooses: the bytes as they are, or as the body of a valid slot.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wal_format::layout::{ACKS_DIR, CONTROL_FILE, EPOCH_FILE, LOCK_FILE};
use wal_format::slots::{self, SlotFile};
use wal_format::storage::OsStorage;
use wal_format::{AckFile, ClockPair, Seal, control, epoch, footer, header, record};

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::temp_dir().join(format!("tapedeck-fuzz-files-{}", std::process::id())))
}

/// The newest version of the bodies of EPOCH and acks.
const VERSION: u16 = 2;

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let dir = folder();
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir.join(ACKS_DIR)).expect("a folder");
    let files = [dir.join(EPOCH_FILE), dir.join(ACKS_DIR).join("r.ack")];
    if mode % 2 == 1 {
        for path in &files {
            let (mut file, _) = SlotFile::open(&OsStorage, path, VERSION).expect("a new file");
            let _ = file.store(VERSION, data);
        }
    } else {
        for path in files.iter().chain([&dir.join(CONTROL_FILE), &dir.join(LOCK_FILE)]) {
            std::fs::write(path, data).expect("a file");
        }
    }
    let _ = (control::read(dir), epoch::read(dir), wal_format::is_log_dir(dir), wal_format::log_state(dir));
    let _ = wal_format::lock::LogLock::holder(dir);
    for path in &files {
        if let Ok(Some(slot)) = slots::decode_file(path, VERSION, &std::fs::read(path).expect("the file")) {
            assert!(slot.body.len() <= slots::SLOT_BODY_BYTES_MAX);
        }
    }
    if let Ok(ack) = AckFile::open(dir, "r") {
        let _ = ack.load();
    }
    let _ = (header::SegmentHeader::decode(data), footer::FooterSummary::decode(data));
    let _ = (record::check(data, 7), Seal::decode(data), ClockPair::decode(data));
});
