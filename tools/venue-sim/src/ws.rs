//! WebSocket framing of the server side: RFC 6455 headers out, masked client frames in.
//!
//! Written by hand on purpose: the programs under test use tungstenite, so a mistake there is not repeated here; and the simulator
//! must be able to send half a frame, one byte at a time, or something that is not a frame at all. It never touches a socket.

/// Longest client message that is accepted, bytes. Real clients send subscriptions of a few KiB.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Opcode of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Continues a fragmented message.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// Close with code and reason.
    Close = 8,
    /// Ping.
    Ping = 9,
    /// Pong.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }
}

/// One whole message or control frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// What it is; never `Continuation`.
    pub opcode: Opcode,
    /// Unmasked payload.
    pub payload: Vec<u8>,
}

/// Appends the header of an unmasked, final frame.
pub fn push_header(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    out.push(0x80 | opcode as u8);
    if payload_bytes < 126 {
        out.push(payload_bytes as u8);
    } else if let Ok(short) = u16::try_from(payload_bytes) {
        out.push(126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

/// Payload of a close frame: code, then the reason cut to what a control frame may carry.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    payload
}

/// Opcode, final, unmasked payload.
type RawFrame = (Opcode, bool, Vec<u8>);

/// Collects bytes of a client and cuts them into messages.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    partial: Option<Inbound>,
}

impl Decoder {
    /// A decoder that starts with bytes already read after the HTTP head.
    pub fn new(leftover: Vec<u8>) -> Decoder {
        Decoder { buffer: leftover, partial: None }
    }

    /// The buffer to read into (append only).
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The next whole message, `None` when more bytes are needed.
    ///
    /// # Errors
    /// One sentence about what the client did wrong.
    pub fn next(&mut self) -> Result<Option<Inbound>, &'static str> {
        loop {
            let Some((opcode, is_final, payload)) = self.frame()? else { return Ok(None) };
            match opcode {
                Opcode::Close | Opcode::Ping | Opcode::Pong => {
                    return if is_final {
                        Ok(Some(Inbound { opcode, payload }))
                    } else {
                        Err("a control frame was fragmented")
                    };
                }
                Opcode::Continuation => {
                    let whole = self.partial.as_mut().ok_or("a continuation frame continues nothing")?;
                    whole.payload.extend_from_slice(&payload);
                    if whole.payload.len() > CLIENT_MESSAGE_BYTES_MAX {
                        return Err("the client message is too long");
                    }
                    if is_final {
                        return Ok(self.partial.take());
                    }
                }
                Opcode::Text | Opcode::Binary if is_final => return Ok(Some(Inbound { opcode, payload })),
                Opcode::Text | Opcode::Binary => self.partial = Some(Inbound { opcode, payload }),
            }
        }
    }

    fn frame(&mut self) -> Result<Option<RawFrame>, &'static str> {
        let bytes = &self.buffer;
        let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0f).ok_or("an unknown opcode")?;
        if first & 0x70 != 0 {
            return Err("a reserved bit is set");
        }
        if second & 0x80 == 0 {
            return Err("a client frame is not masked");
        }
        let (length, header_bytes) = match second & 0x7f {
            126 => match bytes.get(2..4).and_then(|b| b.try_into().ok()) {
                Some(b) => (u64::from(u16::from_be_bytes(b)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|b| b.try_into().ok()) {
                Some(b) => (u64::from_be_bytes(b), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if length > CLIENT_MESSAGE_BYTES_MAX as u64 {
            return Err("the client message is too long");
        }
        let total = header_bytes + 4 + length as usize;
        if bytes.len() < total {
            return Ok(None);
        }
        let mask = [bytes[header_bytes], bytes[header_bytes + 1], bytes[header_bytes + 2], bytes[header_bytes + 3]];
        let payload =
            bytes[header_bytes + 4..total].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        self.buffer.drain(..total);
        Ok(Some((opcode, first & 0x80 != 0, payload)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, 0x80 | payload.len() as u8, 1, 2, 3, 4];
        frame.extend(payload.iter().zip([1u8, 2, 3, 4].iter().cycle()).map(|(b, k)| b ^ k));
        frame
    }

    #[test]
    fn a_fragmented_message_with_a_ping_inside_is_put_together() {
        let mut bytes = masked(0x01, b"SUB");
        bytes.extend(masked(0x89, b"p"));
        bytes.extend(masked(0x80, b"SCRIBE"));
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for byte in bytes {
            decoder.buffer().push(byte);
            seen.extend(decoder.next().unwrap());
        }
        assert_eq!(
            seen,
            vec![
                Inbound { opcode: Opcode::Ping, payload: b"p".to_vec() },
                Inbound { opcode: Opcode::Text, payload: b"SUBSCRIBE".to_vec() }
            ]
        );
    }

    #[test]
    fn an_unmasked_client_frame_is_refused() {
        let mut decoder = Decoder::new(vec![0x81, 1, b'x']);
        assert_eq!(decoder.next(), Err("a client frame is not masked"));
    }

    #[test]
    fn header_lengths_take_the_three_forms() {
        for (bytes, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            push_header(&mut out, Opcode::Text, bytes);
            assert_eq!(out.len(), header, "{bytes}");
        }
    }
}
