//! Server-side WebSocket framing (RFC 6455 section 5.2): unmasked, unfragmented, so a frame is a header and the payload.
//! Frames are written once per instance and shared by all recipients. Decoding is the WebSocket engine's business.

use bytes::{BufMut, Bytes, BytesMut};

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Bytes of the header before a payload of `len` bytes.
#[must_use]
pub fn header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

fn put_header(out: &mut impl BufMut, opcode: u8, len: usize) {
    out.put_u8(FIN | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short <= 125 => out.put_u8(short),
        (_, Ok(medium)) => {
            out.put_u8(126);
            out.put_u16(medium);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
}

/// Appends a text frame.
pub fn put_text(out: &mut impl BufMut, payload: &[u8]) {
    put_header(out, TEXT, payload.len());
    out.put_slice(payload);
}

/// A text frame of its own.
#[must_use]
pub fn text(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(header_len(payload.len()) + payload.len());
    put_text(&mut out, payload);
    out.freeze()
}

/// Where the frames of `bytes` that were written here and begin at or after `from` begin. `start` is where any frame does.
#[must_use]
pub fn boundary(bytes: &[u8], mut start: usize, from: usize) -> usize {
    while start < from {
        let Some(rest) = bytes.get(start..).filter(|rest| rest.len() > 1) else { return bytes.len() };
        let number = |digits: &[u8]| digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
        let len = match rest[1] {
            126 => number(rest.get(2..4).unwrap_or_default()),
            127 => number(rest.get(2..10).unwrap_or_default()),
            short => usize::from(short),
        };
        start = start.saturating_add(header_len(len)).saturating_add(len).min(bytes.len());
    }
    start
}

/// The payload of a frame that was written here.
#[must_use]
pub fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// Appends a binary frame; only the echo example has a use for it.
pub fn put_binary(out: &mut impl BufMut, payload: &[u8]) {
    put_header(out, 0x2, payload.len());
    out.put_slice(payload);
}

/// Appends a ping without payload.
pub fn put_ping(out: &mut impl BufMut) {
    put_header(out, PING, 0);
}

/// Appends a pong; `payload` is the ping's, at most 125 bytes by the RFC.
pub fn put_pong(out: &mut impl BufMut, payload: &[u8]) {
    put_header(out, PONG, payload.len());
    out.put_slice(payload);
}

/// Appends a close frame. `None` is the empty close frame. A reason over 123 bytes is left out.
pub fn put_close(out: &mut impl BufMut, code: Option<(u16, &str)>) {
    match code {
        None => put_header(out, CLOSE, 0),
        Some((number, reason)) => {
            let reason = if reason.len() <= 123 { reason } else { "" };
            put_header(out, CLOSE, 2 + reason.len());
            out.put_u16(number);
            out.put_slice(reason.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundaries_of_frames_are_found() {
        let mut bytes = Vec::new();
        let mut begins = vec![0];
        for len in [0, 125, 126, 65_535, 65_536] {
            put_text(&mut bytes, &vec![0xFF; len]);
            begins.push(bytes.len());
        }
        for pair in begins.windows(2) {
            for from in [pair[0] + 1, pair[1] - 1, pair[1]] {
                assert_eq!(boundary(&bytes, 0, from), pair[1]);
                assert_eq!(boundary(&bytes, pair[0], from), pair[1]);
            }
        }
        assert_eq!(boundary(&bytes, 0, 0), 0);
        assert_eq!(boundary(&bytes[..1], 0, 1), 1, "no frame, and no panic");
    }

    #[test]
    fn the_three_length_forms_of_the_rfc() {
        for (len, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xFF, 0xFF]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text(&vec![b'x'; len]);
            assert_eq!(&frame[..header.len()], &header[..], "{len}");
            assert_eq!(frame.len(), header.len() + len);
            assert_eq!(header_len(len), header.len());
            assert_eq!(payload(&frame).len(), len);
        }
    }

    #[test]
    fn a_close_frame_carries_number_and_reason() {
        let mut out = Vec::new();
        put_close(&mut out, Some((4000, "slow")));
        assert_eq!(out, [0x88, 6, 0x0F, 0xA0, b's', b'l', b'o', b'w']);
    }
}
