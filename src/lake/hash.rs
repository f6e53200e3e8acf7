//! SHA-256 over the payloads of a part, in log order, that survives a restart in the middle.
//!
//! A part may be gathered by several runs of the compactor. The state of the hash is saved with every checkpoint and
//! loaded again, so each payload is hashed once and the result is the one a single run would give.

use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

pub use crate::piece::hex;

/// A running SHA-256.
#[derive(Clone, Default)]
pub struct PayloadHash {
    inner: Sha256,
}

/// A saved [`PayloadHash`]: lower-case hex of the hash function's own state.
///
/// Only this version of the program has to read it: a state that does not load makes the part start over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SavedHash(String);

impl PayloadHash {
    /// Adds the next payload.
    #[inline]
    pub fn update(&mut self, payload: &[u8]) {
        self.inner.update(payload);
    }

    /// The hash of everything so far, as lower-case hex.
    pub fn hex(&self) -> String {
        hex(&self.inner.clone().finalize())
    }

    /// Saves the state.
    pub fn save(&self) -> SavedHash {
        SavedHash(hex(&self.inner.serialize()))
    }

    /// Loads a saved state; `None` when it is damaged.
    pub fn load(saved: &SavedHash) -> Option<Self> {
        let bytes = unhex(&saved.0)?;
        let state = SerializedState::<Sha256>::try_from(bytes.as_slice()).ok()?;
        Some(Self { inner: Sha256::deserialize(&state).ok()? })
    }
}

/// SHA-256 of one text, as lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of everything that `from` still gives, and how many bytes that was.
///
/// # Errors
/// When it cannot be read.
pub fn hash_all(mut from: impl Read) -> std::io::Result<(Sha256, u64)> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let got = from.read(&mut chunk)?;
        let Some(read) = chunk.get(..got).filter(|b| !b.is_empty()) else { return Ok((hash, bytes)) };
        hash.update(read);
        bytes += got as u64;
    }
}

/// Bytes of lower- or upper-case hex; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    digits.chunks_exact(2).map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hash_saved_and_loaded_at_every_byte_ends_like_one_that_ran_through() {
        let data: Vec<u8> = (0..200_u16).map(|i| (i * 7) as u8).collect();
        for at in 0..data.len() {
            let (head, tail) = data.split_at(at);
            let mut h = PayloadHash::default();
            h.update(head);
            let text = serde_json::to_string(&h.save()).unwrap();
            let mut h = PayloadHash::load(&serde_json::from_str(&text).unwrap()).unwrap();
            h.update(tail);
            assert_eq!(h.hex(), sha256_hex(&data), "cut at {at}");
        }
    }

    #[test]
    fn a_damaged_state_does_not_load() {
        for bad in ["", "00", "zz", "é"] {
            assert!(PayloadHash::load(&SavedHash(bad.to_owned())).is_none(), "{bad}");
        }
        assert_eq!(unhex("0aFf"), Some(vec![10, 255]));
    }
}
