//! What a wire promises: the same events however the bytes are cut, nothing lost, memory given back, one write.

mod peer;

use std::io;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use self::peer::{Peer, cut, frame, masked};
use super::*;
use crate::protocol::framing;

const LIMIT: usize = 64 * 1024;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Everything that happens until the peer has nothing more, and what was answered by itself.
fn drive(wire: &mut Wire<Peer>) -> (Vec<Event>, Vec<u8>) {
    let (mut events, mut out, mut scratch) = (Vec::new(), Vec::new(), vec![0; 16 * 1024]);
    loop {
        match wire.poll_event(&mut context(), &mut scratch, &mut out) {
            Poll::Ready(event) => {
                events.push(event);
                if wire.over {
                    return (events, out);
                }
            }
            Poll::Pending if wire.stream.is_quiet() => return (events, out),
            Poll::Pending => {}
        }
    }
}

fn outcome(chunks: Vec<Vec<u8>>, ended: bool) -> (Vec<Event>, Vec<u8>) {
    drive(&mut Wire::new(Peer::sending(chunks, ended), &[], LIMIT))
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect()
}

fn text_event(payload: &[u8]) -> Event {
    Event::Text(String::from_utf8(payload.to_vec()).unwrap().into())
}

/// What a client may do, with what the server must see.
#[derive(Debug, Clone)]
enum Deed {
    Message {
        binary: bool,
        len: usize,
    },
    /// Cut into fragments of these lengths, a ping of this length after each.
    Fragments {
        binary: bool,
        lens: Vec<usize>,
        ping: Option<usize>,
    },
    Ping(usize),
    Pong(usize),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    // Around the forms of the length, the engine's buffer, the point where it is renewed, and the limit.
    let len = prop_oneof![
        4 => 0..300_usize,
        1 => prop::sample::select(vec![
            125, 126, 247, 248, 249, 255, 256, 257, 2047, 2048, 2049, 4096, 16_384, 65_535, 65_536,
        ]),
        1 => 300..20_000_usize,
    ];
    let fragment = prop_oneof![Just(0_usize), 1..200_usize, 2000..6000_usize];
    let deed = prop_oneof![
        4 => (any::<bool>(), len).prop_map(|(binary, len)| Deed::Message { binary, len }),
        2 => (any::<bool>(), prop::collection::vec(fragment, 2..6), prop::option::of(0..126_usize))
            .prop_map(|(binary, lens, ping)| Deed::Fragments { binary, lens, ping }),
        1 => (0..126_usize).prop_map(Deed::Ping),
        1 => (0..126_usize).prop_map(Deed::Pong),
    ];
    prop::collection::vec(deed, 1..12)
}

/// The bytes of the deeds, the events they must be seen as, the answers they must get.
fn play(deeds: &[Deed]) -> (Vec<u8>, Vec<Event>, Vec<u8>) {
    let (mut bytes, mut events, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let seen = |binary: bool, payload: Vec<u8>| match binary {
        true => Event::Binary(payload.into()),
        false => text_event(&payload),
    };
    let opcode = |binary: bool| if binary { BINARY } else { TEXT };
    for deed in deeds {
        match deed {
            Deed::Message { binary, len } => {
                bytes.extend(frame(opcode(*binary), &text(*len)));
                events.push(seen(*binary, text(*len)));
            }
            Deed::Fragments { binary, lens, ping } => {
                let mut whole = Vec::new();
                for (at, len) in lens.iter().enumerate() {
                    let fin = if at + 1 == lens.len() { 0x80 } else { 0 };
                    bytes.extend(masked(fin | if at == 0 { opcode(*binary) } else { 0 }, &text(*len)));
                    whole.extend(text(*len));
                    if let Some(len) = ping.filter(|_| fin == 0) {
                        bytes.extend(frame(PING, &text(len)));
                        framing::put_pong(&mut answers, &text(len));
                        events.push(Event::Heard);
                    }
                }
                events.push(seen(*binary, whole));
            }
            Deed::Ping(len) => {
                bytes.extend(frame(PING, &text(*len)));
                framing::put_pong(&mut answers, &text(*len));
                events.push(Event::Heard);
            }
            Deed::Pong(len) => {
                bytes.extend(frame(PONG, &text(*len)));
                events.push(Event::Heard);
            }
        }
    }
    (bytes, events, answers)
}

proptest! {
    #[test]
    fn a_valid_stream_is_seen_the_same_however_it_is_cut(
        deeds in deeds(), cuts in prop::collection::vec(1..5000_usize, 1..40), one_by_one in any::<bool>(),
    ) {
        let (bytes, events, answers) = play(&deeds);
        let cuts = if one_by_one && bytes.len() < 20_000 { vec![1] } else { cuts };
        let seen = outcome(cut(&bytes, &cuts), false);
        prop_assert_eq!(seen, (events, answers));
    }

    #[test]
    fn what_came_with_the_request_is_the_beginning_of_the_stream(deeds in deeds(), early in 0..1000_usize) {
        let (bytes, events, answers) = play(&deeds);
        let (early, late) = bytes.split_at(early.min(bytes.len()));
        let mut wire = Wire::new(Peer::sending(vec![late.to_vec()], false), early, LIMIT);
        prop_assert_eq!(drive(&mut wire), (events, answers));
    }

    #[test]
    fn arbitrary_bytes_end_the_connection_and_nothing_else(
        bytes in prop::collection::vec(any::<u8>(), 0..3000), cuts in prop::collection::vec(1..100_usize, 1..20),
    ) {
        let whole = outcome(vec![bytes.clone()], true);
        prop_assert!(matches!(whole.0.last(), Some(Event::Gone | Event::Broken(_) | Event::Closed)), "{:?}", whole.0);
        prop_assert_eq!(&whole, &outcome(cut(&bytes, &cuts), true));
    }

    #[test]
    fn a_valid_stream_with_one_wrong_byte_never_panics(
        deeds in deeds(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        cuts in prop::collection::vec(1..5000_usize, 1..20),
    ) {
        let (mut bytes, ..) = play(&deeds);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let whole = outcome(vec![bytes.clone()], true);
        prop_assert_eq!(&whole, &outcome(cut(&bytes, &cuts), true));
    }

    #[test]
    fn a_socket_that_takes_a_little_at_a_time_gets_everything_in_order(
        frames in prop::collection::vec(1..3000_usize, 1..10), takes in prop::collection::vec(0..700_usize, 1..30),
    ) {
        let mut wire = Wire::new(Peer::taking(takes), &[], LIMIT);
        let mut all = Vec::new();
        for len in frames {
            let bytes = framing::text(&text(len));
            all.extend_from_slice(&bytes);
            wire.send(&mut context(), &bytes).unwrap();
            prop_assert_eq!(wire.stream.taken.len() + wire.backlog(), all.len());
        }
        while wire.poll_flush(&mut context(), &mut false).is_pending() {
            prop_assert!(wire.is_blocked());
        }
        prop_assert!(!wire.is_blocked() && wire.backlog() == 0);
        prop_assert_eq!(wire.backlog.capacity(), 0);
        prop_assert_eq!(&wire.stream.taken, &all);
    }
}

#[test]
fn a_long_message_leaves_no_long_buffer() {
    for len in [2049, 20_000, 65_536] {
        let bytes = [frame(TEXT, &text(len)), frame(TEXT, b"next")].concat();
        // Whether the next frame begins in the same read or not.
        for cuts in [vec![bytes.len()], vec![1], vec![bytes.len() - 3], vec![len + 8], vec![len + 14]] {
            let mut wire = Wire::new(Peer::sending(cut(&bytes, &cuts), false), &[], LIMIT);
            let (events, _) = drive(&mut wire);
            assert_eq!(events, [text_event(&text(len)), text_event(b"next")], "{len} {cuts:?}");
            assert_eq!(wire.renewed, 1, "{len} {cuts:?}");
            assert_eq!(wire.engine.get_ref().arrived.capacity(), 0);
        }
    }
}

#[test]
fn short_messages_keep_the_engine() {
    let bytes = [frame(TEXT, &text(2048)), frame(PING, &text(125)), frame(BINARY, &text(300))].concat();
    let mut wire = Wire::new(Peer::sending(vec![bytes], false), &[], LIMIT);
    assert_eq!(drive(&mut wire).0.len(), 3);
    assert_eq!(wire.renewed, 0);
}

#[test]
fn a_long_fragmented_message_leaves_no_long_buffer_and_loses_nothing_before_its_end() {
    let part = text(5000);
    let bytes =
        [masked(TEXT, &part), frame(PING, b"still there?"), masked(0, &part), masked(0x80, b""), frame(TEXT, b"x")];
    let bytes = bytes.concat();
    for cuts in [vec![bytes.len()], vec![1], vec![5008, 18], vec![5008 + 3]] {
        let mut wire = Wire::new(Peer::sending(cut(&bytes, &cuts), false), &[], LIMIT);
        let (events, out) = drive(&mut wire);
        assert_eq!(events, [Event::Heard, text_event(&[&part[..], &part].concat()), text_event(b"x")], "{cuts:?}");
        assert_eq!(out, [&[0x8A, 12], &b"still there?"[..]].concat());
        assert_eq!(wire.renewed, 1, "{cuts:?}");
    }
}

#[test]
fn forbidden_headers_are_refused_before_their_payload_comes() {
    let mask = [1, 2, 3, 4];
    for (what, header) in [
        ("RSV1", vec![0xC1, 0x80 | 5]),
        ("RSV2", vec![0xA1, 0x80 | 5]),
        ("RSV3", vec![0x91, 0x80 | 5]),
        ("unmasked", vec![0x81, 5]),
        ("a fragmented ping", vec![0x09, 0x80 | 5]),
        ("a ping of 126 bytes", vec![0x89, 0x80 | 126, 0, 126]),
        ("5 in the two-byte form", vec![0x81, 0x80 | 126, 0, 5]),
        ("125 in the two-byte form", vec![0x81, 0x80 | 126, 0, 125]),
        ("65,535 in the eight-byte form", vec![0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]),
        ("a negative length", vec![0x81, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("a reserved data opcode", vec![0x83, 0x80 | 5]),
        ("a reserved control opcode", vec![0x8B, 0x80 | 5]),
    ] {
        let unmasked = header[1] & 0x80 == 0;
        let bytes = [&header[..], if unmasked { &[] } else { &mask }].concat();
        assert_eq!(outcome(vec![bytes.clone()], false).0, [Event::Broken(Fault::Malformed)], "{what}");
        assert_eq!(outcome(cut(&bytes, &[1]), false).0, [Event::Broken(Fault::Malformed)], "{what}, byte by byte");
    }
}

#[test]
fn the_limit_is_inclusive_and_holds_across_fragments() {
    let too_big = [Event::Broken(Fault::TooBig)];
    assert_eq!(outcome(vec![frame(BINARY, &text(LIMIT))], false).0, [Event::Binary(text(LIMIT).into())]);
    let header = frame(BINARY, &text(LIMIT + 1))[..14].to_vec();
    assert_eq!(outcome(vec![header], false).0, too_big, "said at the header");
    for last in [LIMIT, 1] {
        let parts = [masked(TEXT, &text(LIMIT - last + 1)), masked(0x80, &text(last))];
        assert_eq!(outcome(parts.to_vec(), false).0, too_big);
    }
}

#[test]
fn after_a_fault_the_rest_is_thrown_away_until_the_peer_ends() {
    // Oversized, and the payload goes on coming: it must neither be kept nor taken for frames.
    let mut chunks = vec![frame(TEXT, &text(LIMIT + 1))];
    chunks.extend((0..20).map(|_| text(16 * 1024)));
    let mut wire = Wire::new(Peer::sending(chunks, true), &[], LIMIT);
    let (mut scratch, mut out) = (vec![0; 1024], Vec::new());
    let mut next = |wire: &mut Wire<Peer>| {
        loop {
            if let Poll::Ready(event) = wire.poll_event(&mut context(), &mut scratch, &mut out) {
                return event;
            }
        }
    };
    assert_eq!(next(&mut wire), Event::Broken(Fault::TooBig));
    assert_eq!(next(&mut wire), Event::Gone);
    assert_eq!(next(&mut wire), Event::Gone);
    assert!(wire.engine.get_ref().arrived.capacity() <= 1024);
    assert!(out.is_empty());
}

#[test]
fn a_close_is_answered_once_and_nothing_after_it_is_heard() {
    let bytes = [frame(CLOSE, &[0x0F, 0xA0, b'b', b'y', b'e']), frame(PING, b"late"), frame(TEXT, b"late")].concat();
    let mut wire = Wire::new(Peer::sending(vec![bytes], true), &[], LIMIT);
    let (events, out) = drive(&mut wire);
    assert_eq!(events, [Event::Closed]);
    assert_eq!(out, [0x88, 5, 0x0F, 0xA0, b'b', b'y', b'e']);
    let mut scratch = [0; 64];
    let mut out = Vec::new();
    assert_eq!(wire.poll_event(&mut context(), &mut scratch, &mut out), Poll::Ready(Event::Gone));
    assert!(out.is_empty());
}

#[test]
fn a_peer_that_sends_what_makes_no_event_does_not_keep_the_worker() {
    let empty = masked(0, b"").repeat(2000);
    let mut chunks = vec![masked(TEXT, b"")];
    chunks.extend((0..50).map(|_| empty.clone()));
    let mut wire = Wire::new(Peer::sending(chunks, false), &[], LIMIT);
    let mut scratch = vec![0; 16 * 1024];
    let before = wire.stream.bytes_left();
    assert!(wire.poll_event(&mut context(), &mut scratch, &mut Vec::new()).is_pending());
    let read = before - wire.stream.bytes_left();
    assert!((READ_PER_CALL..=READ_PER_CALL + scratch.len()).contains(&read), "{read}");
    assert!(wire.engine.get_ref().arrived.capacity() == 0, "and nothing of it is kept");
}

#[test]
fn everything_queued_leaves_in_one_write() {
    let mut wire = Wire::new(Peer::taking(vec![]), &[], LIMIT);
    let mut frames = Vec::new();
    (0..32).for_each(|_| framing::put_text(&mut frames, &text(200)));
    wire.send(&mut context(), &frames).unwrap();
    assert_eq!((wire.writes(), wire.stream.calls), (1, 1));
    assert_eq!(wire.stream.taken, frames);
}

#[test]
fn what_a_blocked_socket_took_is_not_kept() {
    let mut wire = Wire::new(Peer::taking(vec![900, 0, 0]), &[], LIMIT);
    wire.send(&mut context(), &text(1000)).unwrap();
    let mut progress = false;
    assert!(wire.poll_flush(&mut context(), &mut progress).is_pending());
    wire.send(&mut context(), &text(10)).unwrap();
    assert_eq!((wire.backlog(), wire.backlog.len()), (110, 110));
    assert!(!progress);
    assert!(wire.poll_flush(&mut context(), &mut progress).is_ready() && progress);
    assert_eq!(wire.stream.taken, [text(1000), text(10)].concat());
}

proptest! {
    #[test]
    fn what_is_given_up_leaves_whole_frames(
        lens in prop::collection::vec(0..70_000_usize, 1..8),
        takes in prop::collection::vec(0..50_000_usize, 1..12),
        together in 1..8_usize,
        flushes in 0..8_usize,
    ) {
        let frames: Vec<Vec<u8>> = lens.iter().map(|len| framing::text(&text(*len)).to_vec()).collect();
        let mut takes = takes;
        takes.push(0);
        let mut wire = Wire::new(Peer::taking(takes), &[], LIMIT);
        for frames in frames.chunks(together) {
            wire.send(&mut context(), &frames.concat()).unwrap();
        }
        for _ in 0..flushes {
            let _ = wire.poll_flush(&mut context(), &mut false);
        }
        let (sent, blocked) = (wire.stream.taken.len(), wire.is_blocked());
        let left = wire.cut();
        prop_assert_eq!(left, wire.backlog());
        wire.send(&mut context(), b"end").unwrap();
        while wire.poll_flush(&mut context(), &mut false).is_pending() {}
        let taken = &wire.stream.taken;
        let whole = taken.strip_suffix(b"end").expect("what comes afterwards is sent");
        // As many whole frames as were begun, and none that was not.
        let mut ends = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) });
        let begun = if sent == 0 { 0 } else { ends.find(|end| *end >= sent).unwrap() };
        prop_assert_eq!((whole.len(), left), (begun, if blocked { begun - sent } else { 0 }));
        prop_assert!(frames.concat().starts_with(whole));
    }
}

#[test]
fn a_write_error_ends_the_connection() {
    let mut wire = Wire::new(Peer::failing(), &[], LIMIT);
    assert!(wire.send(&mut context(), b"x").is_err());
    wire.backlog = b"rest".to_vec();
    assert!(matches!(wire.poll_flush(&mut context(), &mut false), Poll::Ready(Err(_))));
    assert!(wire.poll_finish(&mut context(), &mut [0; 8]).is_ready());
}

#[test]
fn finishing_flushes_then_shuts_down_then_waits_for_the_peers_end() {
    let mut peer = Peer::taking(vec![4, 0, 4]);
    peer.give(vec![text(300)]);
    let mut wire = Wire::new(peer, &[], LIMIT);
    wire.send(&mut context(), b"12345678").unwrap();
    let mut scratch = [0; 64];
    assert!(wire.is_blocked() && !wire.stream.shut);
    assert!(wire.poll_finish(&mut context(), &mut scratch).is_pending());
    assert_eq!(wire.stream.taken, b"12345678");
    assert!(wire.stream.shut && wire.stream.is_quiet());
    wire.stream.ended = true;
    assert!(wire.poll_finish(&mut context(), &mut scratch).is_ready());
}

/// Our frames and the engine's share one buffer; that is only right while the engine hands over whole frames.
#[test]
fn the_engine_writes_each_of_its_frames_at_once() {
    #[derive(Debug)]
    struct Recorder(io::Cursor<Vec<u8>>, Vec<Vec<u8>>);
    impl io::Read for Recorder {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl io::Write for Recorder {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let close = [&[0x03, 0xE8][..], &text(123)].concat();
    let bytes = [frame(PING, &text(125)), frame(PING, b""), frame(CLOSE, &close)].concat();
    let mut engine = engine(Recorder(io::Cursor::new(bytes), Vec::new()), LIMIT);
    for _ in 0..3 {
        engine.read().unwrap();
        drop(engine.flush());
    }
    let pong = [&[0x8A, 125][..], &text(125)].concat();
    assert_eq!(engine.get_ref().1, [pong, vec![0x8A, 0], [&[0x88, 125][..], &close].concat()]);
}
