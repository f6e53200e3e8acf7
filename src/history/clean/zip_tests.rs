//! Whole zips, and zips of every kind of damage.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::pack::{pack, store};
use super::*;

fn read(bytes: &[u8]) -> Result<Vec<u8>, ZipError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("A-trades-2024-01-02.zip");
    std::fs::write(&path, bytes).unwrap();
    let mut zip = ZipReader::open(&path)?;
    let mut all = Vec::new();
    let mut block = vec![0; 1_000];
    loop {
        match zip.read(&mut block)? {
            0 => return Ok(all),
            n => all.extend_from_slice(&block[..n]),
        }
    }
}

const NAME: &str = "A-trades-2024-01-02.csv";

fn csv() -> Vec<u8> {
    (0..3_000).flat_map(|i| format!("{i},{},2\n", i * 7 % 911).into_bytes()).collect()
}

#[test]
fn zips_of_the_archive_and_of_other_programs_read_back() {
    let csv = csv();
    let zip = pack(NAME, &csv).unwrap();
    assert_eq!(read(&zip).unwrap(), csv);
    assert_eq!(read(&store(&[(NAME, &csv)])).unwrap(), csv);
    assert_eq!(read(&store(&[("x.txt", b"1"), (NAME, &csv)])).unwrap(), csv, "the expected one of several");
    assert!(read(&pack(NAME, b"").unwrap()).unwrap().is_empty());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.zip"), &zip).unwrap();
    let entry = find(&mut std::fs::File::open(dir.path().join("a.zip")).unwrap(), NAME).unwrap();
    assert_eq!(entry.packed_s, Some(1_704_164_646), "2024-01-02 03:04:06");
    assert_eq!((entry.bytes, entry.others), (csv.len() as u64, 0));
}

#[test]
fn damage_and_tricks_are_named() {
    let csv = csv();
    let zip = pack(NAME, &csv).unwrap();
    let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(error(b"").contains("no end"));
    assert!(error(&zip[..zip.len() - 30]).contains("truncated"));
    let mut broken = zip.clone();
    broken[400] ^= 0x55;
    let e = error(&broken);
    assert!(e.contains("deflate") || e.contains("CRC-32") || e.contains("bytes"), "{e}");
    // The CRC of the directory entry stands after 16 bytes.
    let at = zip.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let mut wrong = zip.clone();
    wrong[at + 16] ^= 1;
    assert!(error(&wrong).contains("CRC-32"));
    let mut encrypted = zip.clone();
    encrypted[at + 8] |= 1;
    assert!(error(&encrypted).contains("encrypted"));
    // The announced size is in the zip64 field after the name.
    let size_at = at + 46 + NAME.len() + 4;
    for (size, why) in [(10_u64, "more bytes than"), (csv.len() as u64 + 1, "fewer bytes"), (1 << 40, "400 times")] {
        let mut lying = zip.clone();
        lying[size_at..size_at + 8].copy_from_slice(&size.to_le_bytes());
        assert!(error(&lying).contains(why), "{size}: {}", error(&lying));
    }
    for name in ["../x.csv", "/etc/x.csv", "a\\b.csv", "c:x.csv", ".."] {
        assert!(error(&store(&[(name, b"1")])).contains("is a path"), "{name}");
        assert!(error(&store(&[(NAME, b"1"), (name, b"1")])).contains("is a path"), "{name}");
    }
    assert!(error(&store(&[("a.csv", b"1"), ("b.csv", b"2")])).contains("several entries"));
    assert!(error(&store(&[])).contains("empty"));
}

#[test]
fn a_bomb_is_refused_before_it_is_inflated() {
    let zeros = vec![b'0'; 64 << 20];
    let bomb = pack(NAME, &zeros).unwrap();
    assert!(bomb.len() < 100_000);
    assert!(read(&bomb).unwrap_err().to_string().contains("400 times"));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_and_a_changed_byte_is_never_taken_for_the_truth(
        at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<prop::sample::Index>()
    ) {
        let csv = csv();
        let zip = pack(NAME, &csv).unwrap();
        let mut changed = zip.clone();
        changed[at.index(zip.len())] ^= 1 << bit;
        if let Ok(bytes) = read(&changed) {
            prop_assert_eq!(&bytes, &csv);
        }
        prop_assert!(read(&zip[..cut.index(zip.len())]).is_err());
    }
}

#[test]
fn a_zip_whose_parts_lie_outside_of_it_is_damaged_not_unreadable() {
    let mut zip = store(&[(NAME, &csv())]);
    let entry = zip.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    zip[entry + 42..entry + 46].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    assert!(matches!(read(&zip), Err(Damaged("its parts lie outside"))));
}
