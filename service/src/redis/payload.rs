//! What travels on a channel and stands in a stream: one line of header, then the ready client frame. The header begins
//! with its version; a reader accepts the version of its own and the one before, so that instances can be updated one
//! after the other. Headers of messages are written by `library.lua`.
//!
//! ```text
//! 1 M <epoch> <offset> <traceparent or ->     a message of the log
//! 1 S <session or ->                          a signal, and the session that does not get it back
//! 1 P                                         a hint of presence
//! 1 H <run_id> <number>                       a probe, and the server that passed it on
//! ```

use bytes::Bytes;

use crate::delivery::EphemeralKind;
use crate::ids::SessionId;
use crate::message::{Epoch, Position};

/// A header is shorter than this: two numbers, a trace of at most 64 bytes.
const HEADER_MAX_BYTES: usize = 160;

/// A payload, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Message { position: Position, traceparent: Option<Box<str>>, frame: Bytes },
    Ephemeral { kind: EphemeralKind, frame: Bytes },
    Probe { run_id: Box<str>, number: u64 },
}

/// Takes a payload apart. `None`: of a version that this build does not know, or not ours.
pub(crate) fn parse(payload: &Bytes) -> Option<Payload> {
    let end = payload.iter().take(HEADER_MAX_BYTES).position(|byte| *byte == b'\n')?;
    let mut words = std::str::from_utf8(&payload[..end]).ok()?.split(' ');
    let frame = payload.slice(end + 1..);
    // Version 2 will be added here beside 1, version 3 in place of it.
    if words.next()? != "1" {
        return None;
    }
    match words.next()? {
        "M" => {
            let epoch = Epoch::parse(words.next()?)?;
            let offset = words.next()?.parse().ok()?;
            let traceparent = words.next().filter(|trace| *trace != "-").map(Box::from);
            Some(Payload::Message { position: Position { epoch, offset }, traceparent, frame })
        }
        "S" => {
            let session = match words.next()? {
                "-" => None,
                bits => Some(SessionId::from_bits(u64::from_str_radix(bits, 16).ok()?)),
            };
            Some(Payload::Ephemeral { kind: EphemeralKind::Signal(session), frame })
        }
        "P" => Some(Payload::Ephemeral { kind: EphemeralKind::Presence, frame }),
        "H" => Some(Payload::Probe { run_id: words.next()?.into(), number: words.next()?.parse().ok()? }),
        _ => None,
    }
}

/// The payload of a probe that is sent through the server `run_id`.
pub(crate) fn probe(run_id: &str, number: u64) -> Bytes {
    Bytes::from(format!("1 H {run_id} {number}\n"))
}

/// The payload of something that is not logged.
pub(crate) fn ephemeral(kind: EphemeralKind, frame: &[u8]) -> Bytes {
    let header = match kind {
        EphemeralKind::Signal(Some(session)) => format!("1 S {session}\n"),
        EphemeralKind::Signal(None) => "1 S -\n".to_owned(),
        EphemeralKind::Presence => "1 P\n".to_owned(),
    };
    let mut payload = Vec::with_capacity(header.len() + frame.len());
    payload.extend_from_slice(header.as_bytes());
    payload.extend_from_slice(frame);
    Bytes::from(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_apart() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let payload = Bytes::from(format!("1 M 000000000000feed 42 {trace}\n{{\"a\":\n1}}"));
        let position = Position { epoch: Epoch::from_bits(0xfeed), offset: 42 };
        let frame = Bytes::from_static(b"{\"a\":\n1}");
        let expected = Payload::Message { position, traceparent: Some(trace.into()), frame };
        assert_eq!(parse(&payload), Some(expected));
        let untraced = Bytes::from_static(b"1 M 000000000000feed 42 -\n");
        let expected = Payload::Message { position, traceparent: None, frame: Bytes::new() };
        assert_eq!(parse(&untraced), Some(expected));
    }

    #[test]
    fn what_is_not_logged_goes_round() {
        let session = SessionId::from_bits(0xfeed_f00d_dead_beef);
        for kind in [EphemeralKind::Signal(Some(session)), EphemeralKind::Signal(None), EphemeralKind::Presence] {
            let frame = Bytes::from_static(b"{}");
            assert_eq!(parse(&ephemeral(kind, &frame)), Some(Payload::Ephemeral { kind, frame }));
        }
    }

    #[test]
    fn a_probe_is_taken_apart() {
        assert_eq!(parse(&probe("abc", 7)), Some(Payload::Probe { run_id: "abc".into(), number: 7 }));
    }

    #[test]
    fn what_is_foreign_is_none() {
        let foreign: [&[u8]; 8] = [
            b"",
            b"\n",
            b"1 M 000000000000feed 42",
            b"3 M 000000000000feed 42 -\n",
            b"1 X\n",
            b"1 M feed 42 -\n",
            b"1 M 000000000000feed -1 -\n",
            b"1 S \xff\n",
        ];
        for payload in foreign {
            assert_eq!(parse(&Bytes::copy_from_slice(payload)), None, "{payload:?}");
        }
        let long = format!("1 M 000000000000feed 42 {}\n", "x".repeat(200));
        assert_eq!(parse(&Bytes::from(long)), None);
    }
}
