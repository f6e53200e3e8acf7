//! Which run of the machine this is: distinguishes a killed process from a lost page cache.

/// The kernel's random id of this boot; zeros where it cannot be read (then nothing is trusted on
/// its account). Read once per process.
#[must_use]
pub fn boot_id() -> [u8; 16] {
    static ID: std::sync::OnceLock<[u8; 16]> = std::sync::OnceLock::new();
    *ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .and_then(|text| parse(&text))
            .unwrap_or_default()
    })
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> =
        text.trim().chars().filter(|c| *c != '-').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let mut id = [0; 16];
    if digits.len() != 2 * id.len() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read_and_anything_else_is_refused() {
        let id = parse("01020304-0506-0708-090a-0b0c0d0e0fff\n");
        assert_eq!(id, Some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255]));
        assert_eq!(parse(""), None);
        assert_eq!(parse("0102"), None);
        assert_eq!(parse("zz020304-0506-0708-090a-0b0c0d0e0fff"), None);
    }
}
