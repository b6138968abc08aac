//! Tests of the frame scanner: whatever the chunks, the frames are the same.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What a frame was, owned, so that two scans can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(Vec<u8>),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

fn own(frame: Frame<'_>) -> Seen {
    match frame {
        Frame::Text(bytes) => Seen::Text(bytes.to_vec()),
        Frame::Binary => Seen::Binary,
        Frame::Ping(bytes) => Seen::Ping(bytes.to_vec()),
        Frame::Pong => Seen::Pong,
        Frame::Close(code) => Seen::Close(code),
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(u8::try_from(short).unwrap()),
        middle @ 126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn scan(chunks: &[&[u8]]) -> Result<Vec<Seen>, ScanFault> {
    let mut scanner = Scanner::default();
    let mut seen = Vec::new();
    for chunk in chunks {
        scanner.feed(chunk, |frame| seen.push(own(frame)))?;
    }
    assert!(scanner.partial.is_empty(), "bytes were left over");
    Ok(seen)
}

fn text_of(length: usize) -> Vec<u8> {
    (0..length).map(|i| b'a' + u8::try_from(i % 26).unwrap()).collect()
}

/// A frame as it is sent and what the scanner must make of it; a message may come in fragments with a ping between.
fn one_message() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    prop_oneof![
        prop_oneof![0_usize..300, 60_000_usize..70_000]
            .prop_map(|n| (frame(0x81, &text_of(n)), vec![Seen::Text(text_of(n))])),
        (0_usize..200).prop_map(|n| (frame(0x82, &text_of(n)), vec![Seen::Binary])),
        (0_usize..126).prop_map(|n| (frame(0x89, &text_of(n)), vec![Seen::Ping(text_of(n))])),
        Just((frame(0x8a, b""), vec![Seen::Pong])),
        (1000_u16..5000).prop_map(|code| (frame(0x88, &code.to_be_bytes()), vec![Seen::Close(Some(code))])),
        (0_usize..300, 0_usize..300, 0_usize..300).prop_map(|(a, b, c)| {
            let whole = text_of(a + b + c);
            let mut bytes = frame(0x01, &whole[..a]);
            bytes.extend(frame(0x00, &whole[a..a + b]));
            bytes.extend(frame(0x89, b"between"));
            bytes.extend(frame(0x80, &whole[a + b..]));
            (bytes, vec![Seen::Ping(b"between".to_vec()), Seen::Text(whole)])
        }),
    ]
}

proptest! {
    #[test]
    fn any_chunking_of_a_stream_yields_the_same_frames(messages in vec(one_message(), 1..12), sizes in vec(1_usize..5000, 1..40)) {
        let (bytes, expected) = messages.into_iter().fold((Vec::new(), Vec::new()), |(mut bytes, mut seen), (more, also)| {
            bytes.extend(more);
            seen.extend(also);
            (bytes, seen)
        });
        let mut chunks = Vec::new();
        let mut rest = bytes.as_slice();
        let mut sizes = sizes.into_iter().cycle();
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            chunks.push(chunk);
            rest = left;
        }
        prop_assert_eq!(scan(&chunks).unwrap(), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(chunks in vec(vec(any::<u8>(), 0..200), 0..20)) {
        let mut scanner = Scanner::default();
        for chunk in &chunks {
            if scanner.feed(chunk, |_| ()).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_stream_of_single_bytes_yields_the_same_frames() {
    let mut bytes = frame(0x81, &text_of(200));
    bytes.extend(frame(0x81, b""));
    bytes.extend(frame(0x88, b""));
    let chunks: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(scan(&chunks).unwrap(), [Seen::Text(text_of(200)), Seen::Text(vec![]), Seen::Close(None)]);
}

#[test]
fn a_masked_frame_is_refused() {
    assert_eq!(scan(&[&[0x81, 0x80, 0, 0, 0, 0]]), Err(ScanFault::Masked));
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    assert_eq!(scan(&[&[0xc1, 0x00]]), Err(ScanFault::Reserved));
    assert_eq!(scan(&[&[0x83, 0x00]]), Err(ScanFault::Reserved));
}

#[test]
fn a_continuation_of_nothing_and_a_fragmented_ping_are_refused() {
    assert_eq!(scan(&[&[0x80, 0x00]]), Err(ScanFault::Fragment));
    assert_eq!(scan(&[&[0x09, 0x00]]), Err(ScanFault::Fragment));
    assert_eq!(scan(&[&[0x01, 0x00, 0x81, 0x00]]), Err(ScanFault::Fragment));
}

#[test]
fn an_absurd_length_is_refused_before_memory_is_taken_for_it() {
    assert_eq!(scan(&[&[0x81, 127, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]]), Err(ScanFault::TooLarge));
}
