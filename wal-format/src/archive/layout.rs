//! Which bytes of a segment are in which frame of its archive. Arithmetic only.
//!
//! ```text
//!  segment   0        4096                                             F                segment_bytes
//!            | header | 1 MiB     | 1 MiB     | ... | what is left     | footer's room |
//!  frame       0        1           2                 n - 2              n - 1
//! ```

use crate::layout::{DATA_START, footer_offset};

/// Input of one frame, in bytes; the last frame of the data area may hold less.
pub const FRAME_BYTES: u64 = 1 << 20;

/// One frame's share of a segment: first byte and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte in the segment.
    pub from: u64,
    /// Bytes.
    pub len: u64,
}

/// How many frames the archive of a segment of this length has.
#[must_use]
pub fn frame_count(segment_bytes: u64) -> usize {
    let data = footer_offset(segment_bytes).saturating_sub(DATA_START);
    usize::try_from(data.div_ceil(FRAME_BYTES)).unwrap_or(usize::MAX).saturating_add(2)
}

/// The share of frame `frame`; `None` if there is no such frame.
#[must_use]
pub fn span(segment_bytes: u64, frame: usize) -> Option<Span> {
    let last = frame_count(segment_bytes) - 1;
    let footer = footer_offset(segment_bytes);
    if frame == 0 {
        return Some(Span { from: 0, len: DATA_START });
    }
    if frame == last {
        return Some(Span { from: footer, len: segment_bytes - footer });
    }
    if frame > last {
        return None;
    }
    let from = DATA_START + (frame as u64 - 1) * FRAME_BYTES;
    Some(Span { from, len: FRAME_BYTES.min(footer - from) })
}

/// The frame that holds byte `offset` of a segment of this length.
#[must_use]
pub fn frame_of(segment_bytes: u64, offset: u64) -> usize {
    if offset < DATA_START {
        0
    } else if offset >= footer_offset(segment_bytes) {
        frame_count(segment_bytes) - 1
    } else {
        data_frame_of(offset)
    }
}

/// The frame that holds a byte of the data area, whatever the length of the segment.
#[must_use]
pub fn data_frame_of(offset: u64) -> usize {
    usize::try_from(offset.saturating_sub(DATA_START) / FRAME_BYTES).unwrap_or(usize::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

    #[test]
    fn the_spans_of_all_frames_tile_the_segment_and_every_byte_finds_its_frame() {
        let odd = (5 << 20) + 12 * 4096;
        for bytes in [SEGMENT_BYTES_MIN, odd, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX] {
            let mut at = 0;
            for frame in 0..frame_count(bytes) {
                let span = span(bytes, frame).unwrap();
                assert_eq!(span.from, at);
                assert!(span.len > 0 && span.len <= FRAME_BYTES);
                assert_eq!(frame_of(bytes, span.from), frame);
                assert_eq!(frame_of(bytes, span.from + span.len - 1), frame);
                at += span.len;
            }
            assert_eq!(at, bytes);
            assert_eq!(span(bytes, frame_count(bytes)), None);
        }
    }
}
