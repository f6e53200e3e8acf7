//! `.CHECKSUM` files: one line `<64 hex digits of the SHA-256><two spaces><name>`, as `sha256sum` writes them.

use std::io::Read;
use std::path::Path;

use sha2::Sha256;
use wal_format::regular;

use crate::download_error::{DownloadError, What};
use lake::hash::hash_all;

/// Largest `.CHECKSUM` that is read, bytes.
pub(super) const BYTES_MAX: usize = 4 << 10;

/// The SHA-256 for the file `name`, lower case.
pub(super) fn parse(text: &[u8], name: &str) -> Result<String, DownloadError> {
    let bad = |why: &str| DownloadError::new(What::BadChecksum, format!("the .CHECKSUM of {name} {why}"));
    let text = std::str::from_utf8(text).map_err(|_| bad("is no text"))?;
    let line = text.lines().find(|line| !line.trim().is_empty()).ok_or_else(|| bad("is empty"))?;
    let (digest, rest) = line.split_at_checked(64).ok_or_else(|| bad("is too short"))?;
    if !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad("does not begin with a SHA-256"));
    }
    let named = rest.trim_start_matches([' ', '\t', '*']).trim_end();
    // Some say the whole path.
    let named = named.rsplit('/').next().unwrap_or(named);
    if !named.is_empty() && named != name {
        return Err(bad(&format!("is for {named:?}")));
    }
    Ok(digest.to_ascii_lowercase())
}

/// The hash of the first `n` bytes of a file; fewer when the file is shorter.
pub(super) fn hash_prefix(path: &Path, n: u64) -> std::io::Result<(Sha256, u64)> {
    hash_all(regular::open(path)?.take(n))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lake::hash::hex;
    use sha2::Digest as _;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF";

    #[test]
    fn the_line_of_sha256sum_is_read_and_anything_else_is_said_to_be_bad() {
        let lower = DIGEST.to_lowercase();
        for text in [format!("{DIGEST}  a.zip\n"), format!("{DIGEST} *x/a.zip"), format!("\n{DIGEST}\n")] {
            assert_eq!(parse(text.as_bytes(), "a.zip").unwrap(), lower, "{text}");
        }
        let named_other = format!("{DIGEST}  b.zip\n");
        for text in [&b""[..], b"xyz", &[0xff; 80], &[b'g'; 80], named_other.as_bytes()] {
            assert_eq!(parse(text, "a.zip").unwrap_err().what, What::BadChecksum);
        }
    }

    #[test]
    fn a_prefix_of_a_file_hashes_like_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abcdef").unwrap();
        let (hash, n) = hash_prefix(&path, 3).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            (hex(&hash.finalize()).as_str(), n),
            ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3)
        );
        assert_eq!(hash_prefix(&path, 99).unwrap().1, 6);
    }
}
