//! The two frames that make up nearly all traffic: writing `chat` and reading `message`, both without a JSON parser.
//! Anything that does not look exactly as expected is left to the parser of `reply.rs`.

use memchr::memchr;

use super::entropy::Entropy;
use super::plan::Plan;

/// What the load generator wants to know of a delivered message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivered<'a> {
    /// Room name.
    pub(super) room: &'a [u8],
    /// Its number in the room's log.
    pub(super) offset: u64,
    /// Monotonic nanoseconds at which it was due to be sent; none if someone else wrote it.
    pub(super) due: Option<u64>,
}

/// Reads a `message` frame whose fields come in the documented order; `None` means: ask the real parser.
pub(super) fn read_message(text: &[u8]) -> Option<Delivered<'_>> {
    let rest = text.strip_prefix(br#"{"type":"message","room":""#)?;
    let (room, rest) = until_quote(rest)?;
    let rest = rest.strip_prefix(br#","offset":"#)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let offset = rest[..digits]
        .iter()
        .try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    let rest = rest[digits..].strip_prefix(br#","from":""#)?;
    let (_, rest) = until_quote(rest)?;
    let due = rest.strip_prefix(br#","msg":""#).and_then(read_due);
    Some(Delivered { room, offset, due })
}

/// The time inside a `msg` of ours, given what follows its opening quote.
pub(super) fn read_due(msg: &[u8]) -> Option<u64> {
    let hex = msg.strip_prefix(b"t=")?.first_chunk::<16>()?;
    hex.iter().try_fold(0_u64, |sum, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u64::from(value))
    })
}

/// The string up to the next quote, and what follows the quote. A name with an escape is not for the fast path.
fn until_quote(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'"', bytes)?;
    let (name, rest) = bytes.split_at(end);
    if memchr(b'\\', name).is_some() { None } else { Some((name, &rest[1..])) }
}

/// The JSON of one publish. The same arguments give the same bytes, so a repeat is a true repeat.
pub(super) fn chat_json(plan: &Plan, session: usize, room: usize, number: u64, due: u64) -> Vec<u8> {
    let mut json = format!(r#"{{"type":"chat","id":{number},"room":"{}","#, plan.room_name(room)).into_bytes();
    if plan.shape.keys {
        json.extend_from_slice(format!(r#""key":"{}","#, plan.key(session, number)).as_bytes());
    }
    json.extend_from_slice(format!(r#""msg":"t={due:016x};"#).as_bytes());
    json.resize(json.len() + plan.padding(), b'.');
    json.extend_from_slice(br#""}"#);
    json
}

/// Appends a masked frame with this opcode (1 text, 8 close, 9 ping, 10 pong) to `out`.
pub(super) fn write_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8], entropy: &mut Entropy) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(0x80 | short),
        (_, Ok(middle)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    let mask = entropy.four();
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Bytes on the wire of a server frame with this payload: nothing but a header is added.
pub(super) fn frame_bytes(payload: usize) -> usize {
    payload
        + match payload {
            0..=125 => 2,
            126..=65_535 => 4,
            _ => 10,
        }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Plan, Shape, tests::shape};
    use super::*;

    /// The frame that a server makes of a publish, after the protocol.
    fn delivered(plan: &Plan, session: usize, room: usize, number: u64, offset: u64) -> String {
        let chat = chat_json(plan, session, room, number, 0x1234_5678);
        let chat: serde_json::Value = serde_json::from_slice(&chat).unwrap();
        let key = chat.get("key").map_or(String::new(), |key| format!(r#","key":{key}"#));
        format!(
            r#"{{"type":"message","room":{},"offset":{offset},"from":"{}","msg":{}{key},"at":1763778000123}}"#,
            chat["room"],
            plan.user_name(session),
            chat["msg"],
        )
    }

    #[test]
    fn a_delivered_message_has_the_size_asked_for() {
        for keys in [true, false] {
            for size in [200, 500, 3000] {
                let plan = Plan::new(Shape { size, keys, ..shape(1000, 20, 50, 20) }).unwrap();
                assert_eq!(delivered(&plan, 7, 3, 9, 1234).len(), size);
                assert_eq!(delivered(&plan, 999, 19, 12345, 9999).len(), size);
            }
        }
    }

    #[test]
    fn the_smallest_size_is_exactly_what_the_fault_says() {
        let of = |size| Plan::new(Shape { size, ..shape(10, 1, 10, 1) });
        let Err(super::super::plan::PlanFault::Size { least, .. }) = of(0) else { panic!("0 bytes were accepted") };
        assert_eq!(delivered(&of(least).unwrap(), 7, 0, 9, 1234).len(), least);
    }

    #[test]
    fn room_offset_and_time_are_read_back() {
        let plan = Plan::new(shape(10, 1, 10, 1)).unwrap();
        let frame = delivered(&plan, 7, 0, 9, 58);
        let seen = read_message(frame.as_bytes()).unwrap();
        assert_eq!(seen, Delivered { room: plan.room_name(0).as_bytes(), offset: 58, due: Some(0x1234_5678) });
    }

    #[test]
    fn a_message_of_someone_else_has_no_time() {
        let frame = br#"{"type":"message","room":"general","offset":58,"from":"alice","msg":{"a":1},"at":1}"#;
        assert_eq!(read_message(frame).unwrap(), Delivered { room: b"general", offset: 58, due: None });
    }

    #[test]
    fn what_is_not_in_the_documented_order_goes_to_the_parser() {
        assert_eq!(read_message(br#"{"room":"general","type":"message","offset":58}"#), None);
        assert_eq!(read_message(br#"{"type":"message","room":"a\"b","offset":58,"from":"x","msg":1}"#), None);
        assert_eq!(read_message(br#"{"type":"message","room":"a","offset":99999999999999999999,"from":"x"}"#), None);
        assert_eq!(read_message(br#"{"type":"ack","id":1}"#), None);
    }

    #[test]
    fn sent_frames_are_masked_and_carry_their_length() {
        let mut entropy = Entropy::new();
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut out = Vec::new();
            write_frame(&mut out, 1, &payload, &mut entropy);
            let header = out.len() - length - 4;
            assert_eq!(header, frame_bytes(length) - length);
            assert_eq!(out[0], 0x81);
            assert_eq!(out[1] & 0x80, 0x80);
            let (mask, body) = out[header..].split_at(4);
            assert!(body.iter().enumerate().all(|(i, byte)| byte ^ mask[i % 4] == b'x'));
        }
    }
}
