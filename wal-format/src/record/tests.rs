//! Every damage of up to two bits is seen, and what is written reads back.

use super::*;

fn sample(payload: &[u8]) -> Vec<u8> {
    let header = RecordHeader::new(Seq::new(3, 9), 77, 5, Kind::Data, flags::BINARY, payload.len());
    let mut bytes = Vec::new();
    assert!(encode_into(&mut bytes, 42, header.unwrap(), payload));
    bytes
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    for len in [0, 1, 7, 8, 9, 200] {
        let bytes = sample(&vec![0xA5; len]);
        assert_eq!(bytes.len() % 8, 0);
        let header = check(&bytes, 42).unwrap();
        assert_eq!(header.seq, Seq::new(3, 9));
        assert_eq!(header.ts_recv_ns, 77);
        assert_eq!(header.conn, 5);
        assert_eq!(header.kind_raw, Kind::Data as u8);
        assert_eq!(header.flags, flags::BINARY);
        assert_eq!(header.payload_bytes(), len);
        assert_eq!(header.total_bytes(), bytes.len());
    }
}

#[test]
fn every_single_flipped_bit_of_a_record_is_detected() {
    for len in [0, 1, 8, 61] {
        let mut bytes = sample(&vec![0x3C; len]);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bytes, 42).is_err(), "bit {bit} of payload {len}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(check(&bytes, 42).is_ok());
    }
}

#[test]
fn every_pair_of_flipped_bits_of_a_short_record_is_detected() {
    let mut bytes = sample(b"x");
    let bits = bytes.len() * 8;
    for a in 0..bits {
        bytes[a / 8] ^= 1 << (a % 8);
        for b in 0..a {
            bytes[b / 8] ^= 1 << (b % 8);
            assert!(check(&bytes, 42).is_err(), "bits {a} and {b}");
            bytes[b / 8] ^= 1 << (b % 8);
        }
        bytes[a / 8] ^= 1 << (a % 8);
    }
}

#[test]
fn one_flipped_bit_never_turns_a_commit_word_into_not_written() {
    for len in [32_u32, 33, 64, 1024, COMMIT_LENGTH_MASK] {
        let commit = COMMIT_MARK | len;
        for bit in 0..32 {
            assert_ne!(commit ^ (1 << bit), 0);
        }
    }
}

#[test]
fn a_length_of_any_power_of_two_or_all_ones_is_refused_without_looking_past_the_end() {
    let mut bytes = sample(&[1; 16]);
    for commit in (0..32).map(|bit| 1_u32 << bit).chain([u32::MAX]) {
        for commit in [commit, commit | COMMIT_MARK] {
            bytes[..4].copy_from_slice(&commit.to_le_bytes());
            assert!(check(&bytes, 42).is_err(), "{commit:#x}");
        }
    }
}

#[test]
fn a_record_of_another_salt_is_not_valid() {
    assert!(matches!(check(&sample(b"stale"), 43), Err(Invalid::Checksum { .. })));
}

#[test]
fn a_hole_is_valid_over_any_bytes() {
    let head = encode_hole(42, Seq::new(1, 4), 9, 0, 64).unwrap();
    let mut bytes = vec![0xFF; 64];
    bytes[..32].copy_from_slice(&head);
    let header = check(&bytes, 42).unwrap();
    assert_eq!(header.kind_raw, Kind::Hole as u8);
    assert_eq!(header.total_bytes(), 64);
    bytes[40] = 0;
    assert!(check(&bytes, 42).is_ok());
    assert_eq!(encode_hole(42, Seq(0), 0, 0, 24), None);
    assert_eq!(encode_hole(42, Seq(0), 0, 0, 33), None);
}

#[test]
fn the_words_that_are_stored_equal_the_encoded_header() {
    let header = RecordHeader::new(Seq::new(7, 8), 9, 10, Kind::Event, 3, 5).unwrap();
    let bytes = header.encode();
    for (at, word) in [8, 16, 24].iter().zip(header.tail_words()) {
        assert_eq!(bytes[*at..at + 8], word.to_le_bytes());
    }
    assert_eq!(RecordHeader::decode(&bytes), header);
}

#[test]
fn seq_keeps_epoch_and_counter_apart() {
    let seq = Seq::new(3, Seq::COUNTER_MAX);
    assert_eq!((seq.epoch(), seq.counter()), (3, Seq::COUNTER_MAX));
    assert!(Seq::new(4, 0) > seq);
    assert_eq!(Seq::new(2, 5).to_string(), "2:5");
}

#[test]
fn kinds_keep_their_numbers() {
    for (n, kind) in (1..).zip(Kind::ALL) {
        assert_eq!(kind as u8, n);
        assert_eq!(Kind::from_raw(n), Some(kind));
    }
    assert_eq!(Kind::from_raw(0), None);
    assert_eq!(Kind::from_raw(13), None);
}

#[test]
fn a_seal_reads_back() {
    let seal =
        Seal { next: SegmentId(8), footer_offset: 1 << 20, by_recovery: true, clean_end: false, below_durable: true };
    assert_eq!(Seal::decode(&seal.encode()), Some(seal));
    assert_eq!(Seal::decode(&seal.encode()[..19]), None);
}
