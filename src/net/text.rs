//! Text messages as the bytes they are. RFC 6455 wants a text to be UTF-8, and the WebSocket library ends the connection
//! over one that is not: two hundred streams for one odd letter in one of them. Whether a text is one is for whoever reads
//! it to say, so below the library each text frame becomes a binary one, and which they were is kept for whoever takes
//! the messages.
//!
//! Only opcodes of data frames are changed, after the answer that switches protocols; everything else stays the library's.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// The low half of a frame's first byte.
const OPCODE: u8 = 0x0f;

/// A byte stream whose WebSocket text frames read as binary ones.
#[derive(Debug)]
pub struct TextAsBytes<S> {
    io: S,
    headers: Headers,
}

impl<S> TextAsBytes<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, headers: Headers::default() }
    }

    /// True when the next binary message that is taken was sent as text; to be asked once for each.
    #[inline]
    pub fn was_text(&mut self) -> bool {
        self.headers.texts.pop_front().unwrap_or_default()
    }
}

/// Where the next byte lies.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In the head of the answer to the upgrade: how many bytes went, the status, line ends in a row.
    Head { seen: u8, status: [u8; 3], ends: u8 },
    /// In an answer that does not switch protocols: no frames.
    Refusal,
    /// The first byte of a frame.
    First,
    /// The one with the length, or with how many bytes the length has.
    Length,
    /// So many bytes of the length are to come.
    Long { left: u8, length: u64 },
    /// So many bytes of the payload are to come.
    Payload(u64),
}

#[derive(Debug)]
struct Headers {
    at: At,
    /// Whether each message that was not taken yet is text.
    texts: VecDeque<bool>,
}

impl Default for Headers {
    fn default() -> Self {
        Self { at: At::Head { seen: 0, status: [0; 3], ends: 0 }, texts: VecDeque::new() }
    }
}

impl Headers {
    /// Changes the opcodes in the next bytes of the stream.
    #[inline]
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while let Some((first, rest)) = bytes.split_first_mut() {
            match self.at {
                At::Payload(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len().saturating_add(1));
                    self.at = At::payload(left.saturating_sub(taken as u64));
                    bytes = rest.get_mut(taken.saturating_sub(1)..).unwrap_or_default();
                    continue;
                }
                At::Head { mut seen, mut status, mut ends } => {
                    // After `HTTP/1.1 `.
                    if let Some(digit) = seen.checked_sub(9).and_then(|i| status.get_mut(usize::from(i))) {
                        *digit = *first;
                    }
                    seen = seen.saturating_add(1);
                    ends = match *first {
                        b'\n' => ends + 1,
                        b'\r' => ends,
                        _ => 0,
                    };
                    self.at = match ends {
                        2 if status == *b"101" => At::First,
                        2 => At::Refusal,
                        _ => At::Head { seen, status, ends },
                    };
                }
                At::Refusal => return,
                At::First => {
                    // A frame that continues a message has opcode 0.
                    if matches!(*first & OPCODE, TEXT | BINARY) {
                        self.texts.push_back(*first & OPCODE == TEXT);
                        *first = *first & !OPCODE | BINARY;
                    }
                    self.at = At::Length;
                }
                At::Length => {
                    // A server masks nothing; the library refuses a frame with that bit.
                    self.at = match *first & 0x7f {
                        126 => At::Long { left: 2, length: 0 },
                        127 => At::Long { left: 8, length: 0 },
                        length => At::payload(u64::from(length)),
                    };
                }
                At::Long { left, length } => {
                    let length = length << 8 | u64::from(*first);
                    self.at = match left {
                        0 | 1 => At::payload(length),
                        _ => At::Long { left: left - 1, length },
                    };
                }
            }
            bytes = rest;
        }
    }
}

impl At {
    fn payload(left: u64) -> At {
        if left == 0 { At::First } else { At::Payload(left) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TextAsBytes<S> {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.headers.pass(buf.filled_mut().get_mut(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TextAsBytes<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server sends it; `first` has opcode and flags.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let n = payload.len();
        let mut frame = match n {
            0..=125 => vec![first, n as u8],
            126..=65_535 => [&[first, 126][..], &(n as u16).to_be_bytes()].concat(),
            _ => [&[first, 127][..], &(n as u64).to_be_bytes()].concat(),
        };
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn text_reads_as_binary_and_is_remembered_wherever_the_bytes_are_cut() {
        // Payloads that look like headers.
        let sent = |text: u8| {
            [
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nX: \x81\x01\r\n\r\n".to_vec(),
                frame(0x80 | text, b"a"),
                frame(0x89, b"\x81\x05ping"),
                frame(0x82, &[0x81; 300]),
                frame(text, &[0x81; 70_000]),
                frame(0x8a, b""),
                frame(0x80, &[1; 126]),
                frame(0x80 | text, b""),
                frame(0x88, b"\x03\xe8\x81\x81"),
            ]
            .concat()
        };
        let mut refusal = b"HTTP/1.1 418 101\r\n\r\n\x81\x01a".to_vec();
        Headers::default().pass(&mut refusal);
        assert!(refusal.ends_with(b"\x81\x01a"), "the body of a refusal stays as it is");
        for cut in [1, 2, 3, 7, 1_000, 1 << 20] {
            let (mut bytes, mut headers) = (sent(TEXT), Headers::default());
            bytes.chunks_mut(cut).for_each(|piece| headers.pass(piece));
            assert!(bytes == sent(BINARY), "pieces of {cut}");
            assert_eq!(headers.texts, [true, false, true, true], "pieces of {cut}");
        }
    }
}
