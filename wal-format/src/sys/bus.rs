//! SIGBUS: a mapped file was truncated below its mapping, or a page of it cannot be read.
//!
//! Prevented where it can be: files are really allocated before they are mapped, maps never exceed the file, nobody
//! here truncates a published file. What is left are others who do, and disks that fail. The process cannot go on (the
//! store or load has no result), and need not: killed processes lose nothing, and the next start repairs the log. So
//! this says where it happened and ends the process with a code of its own, instead of a silent core dump.
//!
//! Only async-signal-safe calls: `open`, `read`, `write`, `_exit`; buffers on the stack, no allocation, no lock. The
//! place is found in `/proc/self/maps`, so mappings need not be registered anywhere.

use std::sync::atomic::{AtomicI32, Ordering};

static CODE: AtomicI32 = AtomicI32::new(1);

/// From now on a SIGBUS is reported on stderr, with file and offset, and ends the process with `code`.
pub fn report_and_exit(code: u8) {
    CODE.store(i32::from(code), Ordering::Relaxed);
    // SAFETY:
    // - `action` is a plain struct for which all zeros are valid: no flags, an empty mask;
    // - the handler has the signature that SA_SIGINFO requires and uses async-signal-safe calls alone;
    // - a failure (it can only be a bad number) leaves the default, which ends the process too.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn on_bus(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler that asked for it, and SIGBUS has an address.
    let address = unsafe { (*info).si_addr() } as usize as u64;
    let mut text = Text::default();
    text.push(b"error: a mapped file was truncated or cannot be read (SIGBUS)\nwhere: ");
    if !place(address, &mut text) {
        text.push(b"an address that no file is mapped at");
    }
    text.push(b"\nfix:   start again; what was recorded is repaired. Nobody may shorten files of the log, and a disk that\n       cannot read them is to be replaced\n");
    write_all(text.bytes());
    // SAFETY: ends the process at once; runs no destructor, which is the point.
    unsafe { libc::_exit(CODE.load(Ordering::Relaxed)) }
}

/// Appends the path of the file that is mapped at `address`, and where in it that is.
fn place(address: u64, text: &mut Text) -> bool {
    // SAFETY: a constant, terminated string; the descriptor is only used below, and the process ends soon.
    let maps = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if maps < 0 {
        return false;
    }
    let mut line = Text::default();
    let mut piece = [0_u8; 512];
    loop {
        // SAFETY: `piece` is writable for its whole length.
        let got = unsafe { libc::read(maps, piece.as_mut_ptr().cast(), piece.len()) };
        let Some(got) = usize::try_from(got).ok().filter(|got| *got > 0) else {
            return false;
        };
        for byte in piece.iter().take(got) {
            if *byte != b'\n' {
                line.push(&[*byte]);
                continue;
            }
            if let Some((path, offset)) = covers(line.bytes(), address) {
                text.push(path);
                text.push(b" at offset ");
                text.push_number(offset);
                return true;
            }
            line = Text::default();
        }
    }
}

/// What a line of `/proc/self/maps` says of `address`: the mapped file and the place in it, if it is in there.
fn covers(line: &[u8], address: u64) -> Option<(&[u8], u64)> {
    // start-end permissions offset device inode   path, which may contain blanks
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut range = fields.next()?.splitn(2, |byte| *byte == b'-');
    let (start, end) = (hex(range.next()?)?, hex(range.next()?)?);
    let offset = hex(fields.nth(1)?)?;
    let path = fields.nth(2)?.trim_ascii_start();
    let inside = (start..end).contains(&address) && path.first() == Some(&b'/');
    inside.then(|| (path, address - start + offset))
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |n, digit| Some(n.checked_mul(16)? + u64::from(char::from(*digit).to_digit(16)?)))
}

fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: `bytes` is readable for its whole length.
        let wrote = unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(wrote).ok().filter(|wrote| *wrote > 0) {
            Some(wrote) => bytes = bytes.get(wrote..).unwrap_or_default(),
            // A closed stderr; the exit code still says it.
            None => return,
        }
    }
}

/// Text on the stack; what does not fit is left out.
struct Text {
    bytes: [u8; 1024],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Text { bytes: [0; 1024], len: 0 }
    }
}

impl Text {
    fn push(&mut self, more: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(more) {
            *to = *from;
        }
        self.len = (self.len + more.len()).min(self.bytes.len());
    }

    fn push_number(&mut self, mut n: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            if let Some(digit) = digits.get_mut(at) {
                *digit = b'0' + (n % 10) as u8;
            }
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.push(digits.get(at..).unwrap_or_default());
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_and_the_place_in_it_are_found_by_the_address() {
        let line = b"7f0000001000-7f0000003000 rw-s 00002000 fe:00 1234      /data/wal/a b/1.wal";
        assert_eq!(covers(line, 0x7f00_0000_1010), Some((&b"/data/wal/a b/1.wal"[..], 0x2010)));
        assert_eq!(covers(line, 0x7f00_0000_3000), None);
        assert_eq!(covers(b"7f0000001000-7f0000003000 rw-p 00000000 00:00 0 ", 0x7f00_0000_1010), None);
        assert_eq!(covers(b"7f0000001000-7f0000003000 rw-p 00000000 00:00 0      [stack]", 0x7f00_0000_1010), None);
        let mut text = Text::default();
        text.push(b"at ");
        text.push_number(0);
        text.push_number(1_234_567_890);
        assert_eq!(text.bytes(), b"at 01234567890");
        text.push(&[b'x'; 2_000]);
        assert_eq!(text.bytes().len(), 1_024);
    }
}
