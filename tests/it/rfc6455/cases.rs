//! The table of cases, in the order of the well-known suites: what is sent, and every frame that must come back before
//! the server ends the connection. Each case is a sentence.

use super::LIMIT;
use super::frames::{BINARY, CLOSE, FIN, PING, PONG, Reply, TEXT, close, frame, masked, unmasked};

/// See the module.
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub expected: Vec<Reply>,
}

/// A case that ends as it should: the client closes, the server answers.
fn good(name: impl Into<String>, frames: &[Vec<u8>], expected: Vec<Reply>) -> Case {
    let mut bytes = frames.concat();
    bytes.extend(close(1000, b"done"));
    let mut expected = expected;
    expected.push(Reply::Close(Some(1000), b"done".to_vec()));
    Case { name: name.into(), bytes, expected }
}

/// A case that the server must end. What the client sends after it must have no effect.
fn bad(name: impl Into<String>, frames: &[Vec<u8>], mut expected: Vec<Reply>, code: u16) -> Case {
    let mut bytes = frames.concat();
    bytes.extend([frame(TEXT, b"after the fault"), frame(PING, b"too")].concat());
    let reason = match code {
        1002 => "malformed",
        1007 => "not_utf8",
        _ => "too_big",
    };
    expected.push(Reply::Close(Some(code), reason.into()));
    Case { name: name.into(), bytes, expected }
}

fn text(payload: &[u8]) -> Reply {
    Reply::Text(payload.to_vec())
}

fn stars(len: usize) -> Vec<u8> {
    vec![b'*'; len]
}

/// 1.x
pub fn framing() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [0, 1, 125, 126, 127, 128, 255, 256, 257, 65_535, 65_536, 70_000] {
        let payload = stars(len);
        cases.push(good(
            format!("a text message of {len} bytes comes back"),
            &[frame(TEXT, &payload)],
            vec![text(&payload)],
        ));
        let payload = vec![0xFE; len];
        let back = vec![Reply::Binary(payload.clone())];
        cases.push(good(format!("a binary message of {len} bytes comes back"), &[frame(BINARY, &payload)], back));
    }
    let many: Vec<_> = (0..100_u8).map(|at| frame(TEXT, format!("message {at}").as_bytes())).collect();
    let back = (0..100_u8).map(|at| text(format!("message {at}").as_bytes())).collect();
    cases.push(good("a hundred messages in one segment come back in order", &many, back));
    cases
}

/// 2.x
pub fn pings() -> Vec<Case> {
    let pong = |payload: &[u8]| Reply::Pong(payload.to_vec());
    let binary = [0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF];
    let ten: Vec<_> = (0..10_u8).map(|at| frame(PING, &[at])).collect();
    vec![
        good("a ping without payload gets a pong without payload", &[frame(PING, b"")], vec![pong(b"")]),
        good("a ping's payload comes back", &[frame(PING, b"Hello, world!")], vec![pong(b"Hello, world!")]),
        good("a ping's payload need not be text", &[frame(PING, &binary)], vec![pong(&binary)]),
        good("125 bytes are the most for a ping", &[frame(PING, &stars(125))], vec![pong(&stars(125))]),
        bad("126 bytes are too many for a ping", &[frame(PING, &stars(126))], vec![], 1002),
        bad("64 KiB are too many for a pong", &[frame(PONG, &stars(65_536))], vec![], 1002),
        good("an unasked pong is ignored", &[frame(PONG, b"")], vec![]),
        good("an unasked pong with payload is ignored", &[frame(PONG, b"unasked")], vec![]),
        good(
            "a pong before a ping changes nothing",
            &[frame(PONG, b"unasked"), frame(PING, b"asked")],
            vec![pong(b"asked")],
        ),
        good("ten pings get ten pongs in order", &ten, (0..10_u8).map(|at| pong(&[at])).collect()),
        good(
            "a pong keeps its place among the echoes",
            &[frame(TEXT, b"one"), frame(PING, b"two"), frame(TEXT, b"three")],
            vec![text(b"one"), pong(b"two"), text(b"three")],
        ),
    ]
}

/// 3.x
pub fn reserved_bits_and_masks() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 1..=7_u8 {
        for (what, opcode) in [("text", TEXT), ("binary", BINARY), ("ping", PING), ("pong", PONG), ("close", CLOSE)] {
            let faulty = masked(FIN | bits << 4 | opcode, b"");
            cases.push(bad(
                format!("reserved bits {bits:03b} in a {what} frame end the connection after what came before"),
                &[frame(TEXT, b"before"), faulty],
                vec![text(b"before")],
                1002,
            ));
        }
    }
    for (what, opcode) in [("text", TEXT), ("binary", BINARY), ("ping", PING), ("pong", PONG), ("close", CLOSE)] {
        cases.push(bad(
            format!("an unmasked {what} frame ends the connection"),
            &[unmasked(opcode, b"")],
            vec![],
            1002,
        ));
        let payload = &[0x03, 0xE8, b'x'];
        let faulty = unmasked(opcode, payload);
        cases.push(bad(format!("an unmasked {what} frame with payload ends the connection"), &[faulty], vec![], 1002));
    }
    for (what, head) in [
        ("0 in the two-byte form", &[0x81, 0x80 | 126, 0, 0][..]),
        ("125 in the two-byte form", &[0x81, 0x80 | 126, 0, 125]),
        ("126 in the eight-byte form", &[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 126]),
        ("65,535 in the eight-byte form", &[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]),
        ("a length of 64 bits", &[0x81, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        let faulty = [head, &[0, 0, 0, 0]].concat();
        cases.push(bad(
            format!("{what} ends the connection: lengths are minimal and of 63 bits"),
            &[faulty],
            vec![],
            1002,
        ));
    }
    cases
}

/// 4.x
pub fn opcodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(bad(format!("opcode {opcode} ends the connection"), &[frame(opcode, b"")], vec![], 1002));
        cases.push(bad(
            format!("opcode {opcode} with payload ends the connection after what came before"),
            &[frame(TEXT, b"before"), frame(opcode, b"payload"), frame(PING, b"")],
            vec![text(b"before")],
            1002,
        ));
    }
    cases
}

/// 5.x
pub fn fragmentation() -> Vec<Case> {
    let pong = |payload: &[u8]| Reply::Pong(payload.to_vec());
    let hello = || text(b"Hello, world!");
    let (first, last) = (masked(TEXT, b"Hello, "), masked(FIN, b"world!"));
    let each_byte: Vec<_> = (0..200_u8)
        .map(|at| masked(if at == 0 { BINARY } else { 0 } | if at == 199 { FIN } else { 0 }, &[at]))
        .collect();
    vec![
        bad("a ping may not be fragmented", &[masked(PING, b"a"), masked(FIN, b"b")], vec![], 1002),
        bad("a pong may not be fragmented", &[masked(PONG, b"a"), masked(FIN, b"b")], vec![], 1002),
        bad("a close may not be fragmented", &[masked(CLOSE, b""), masked(FIN, b"")], vec![], 1002),
        good("two fragments are one message", &[first.clone(), last.clone()], vec![hello()]),
        good(
            "a ping between fragments is answered at once",
            &[first.clone(), frame(PING, b"ping"), last.clone()],
            vec![pong(b"ping"), hello()],
        ),
        good(
            "a pong between fragments is ignored",
            &[first.clone(), frame(PONG, b"pong"), last.clone()],
            vec![hello()],
        ),
        good(
            "many pings between many fragments are answered in order",
            &[
                masked(TEXT, b"Hel"),
                frame(PING, b"1"),
                masked(0, b"lo, "),
                frame(PING, b"2"),
                frame(PING, b"3"),
                masked(0, b""),
                masked(FIN, b"world!"),
            ],
            vec![pong(b"1"), pong(b"2"), pong(b"3"), hello()],
        ),
        good("a message of one byte a fragment is one message", &each_byte, vec![Reply::Binary((0..200).collect())]),
        good("fragments may all be empty", &[masked(TEXT, b""), masked(0, b""), masked(FIN, b"")], vec![text(b"")]),
        good("the last fragment may be empty", &[masked(TEXT, b"Hello, world!"), masked(FIN, b"")], vec![hello()]),
        good(
            "a close between fragments is answered; the message is not",
            &[first.clone(), close(1000, b"done")],
            vec![],
        ),
        bad("a continuation of nothing ends the connection", &[masked(FIN, b"world!")], vec![], 1002),
        bad("an unfinished continuation of nothing ends the connection", &[masked(0, b"world!")], vec![], 1002),
        bad(
            "a continuation of a finished message ends the connection",
            &[first.clone(), last, masked(FIN, b"!")],
            vec![hello()],
            1002,
        ),
        bad("a message inside a message ends the connection", &[first.clone(), frame(TEXT, b"x")], vec![], 1002),
        bad("a fragment that begins anew ends the connection", &[first.clone(), masked(BINARY, b"x")], vec![], 1002),
        bad("reserved bits in a continuation end the connection", &[first, masked(FIN | 0x40, b"x")], vec![], 1002),
    ]
}

/// 6.x
pub fn utf8() -> Vec<Case> {
    let mut cases = Vec::new();
    let greek = "Hello-µ@ßöäüàá-UTF-8!! κόσμε".as_bytes();
    let valid: [(&str, &[u8]); 14] = [
        ("all of a sentence", greek),
        ("U+0000", b"\x00"),
        ("U+0080", b"\xC2\x80"),
        ("U+07FF", b"\xDF\xBF"),
        ("U+0800", b"\xE0\xA0\x80"),
        ("U+D7FF, before the surrogates", b"\xED\x9F\xBF"),
        ("U+E000, after the surrogates", b"\xEE\x80\x80"),
        ("U+FFFD", b"\xEF\xBF\xBD"),
        ("U+FFFE, not a character", b"\xEF\xBF\xBE"),
        ("U+FFFF, not a character", b"\xEF\xBF\xBF"),
        ("U+10000", b"\xF0\x90\x80\x80"),
        ("U+1FFFE, not a character", b"\xF0\x9F\xBF\xBE"),
        ("U+10FFFF, the last", b"\xF4\x8F\xBF\xBF"),
        ("a byte order mark", b"\xEF\xBB\xBF"),
    ];
    for (what, bytes) in valid {
        cases.push(good(format!("{what} comes back"), &[frame(TEXT, bytes)], vec![text(bytes)]));
        let mut fragments: Vec<_> = bytes.iter().map(|byte| masked(0, &[*byte])).collect();
        fragments[0] = masked(TEXT, &bytes[..1]);
        fragments.push(masked(FIN, b""));
        cases.push(good(format!("{what}, a byte a fragment, comes back"), &fragments, vec![text(bytes)]));
    }
    let invalid: [(&str, &[u8]); 24] = [
        ("a lone continuation byte", b"\x80"),
        ("another lone continuation byte", b"\xBF"),
        ("two continuation bytes", b"\x80\xBF"),
        ("the begin of two bytes alone", b"\xC2"),
        ("the begin of two bytes and a space", b"\xC2 "),
        ("two of three bytes", b"\xE2\x82"),
        ("three of four bytes", b"\xF0\x9F\x98"),
        ("a slash in two bytes", b"\xC0\xAF"),
        ("a slash in three bytes", b"\xE0\x80\xAF"),
        ("a slash in four bytes", b"\xF0\x80\x80\xAF"),
        ("U+007F in two bytes", b"\xC1\xBF"),
        ("U+07FF in three bytes", b"\xE0\x9F\xBF"),
        ("U+FFFF in four bytes", b"\xF0\x8F\xBF\xBF"),
        ("NUL in two bytes", b"\xC0\x80"),
        ("U+D800, a surrogate", b"\xED\xA0\x80"),
        ("U+DFFF, a surrogate", b"\xED\xBF\xBF"),
        ("a pair of surrogates", b"\xED\xA0\x80\xED\xB0\x80"),
        ("U+110000, beyond the last", b"\xF4\x90\x80\x80"),
        ("a sequence of five bytes", b"\xF8\x88\x80\x80\x80"),
        ("a sequence of six bytes", b"\xFC\x84\x80\x80\x80\x80"),
        ("0xFE", b"\xFE"),
        ("0xFF", b"\xFF"),
        ("a fault after a valid word", b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited"),
        ("Latin-1", b"caf\xE9 au lait"),
    ];
    for (what, bytes) in invalid {
        cases.push(bad(format!("{what} is refused"), &[frame(TEXT, bytes)], vec![], 1007));
        let mut fragments: Vec<_> = bytes.iter().map(|byte| masked(0, &[*byte])).collect();
        fragments[0] = masked(TEXT, &bytes[..1]);
        fragments.push(masked(FIN, b""));
        cases.push(bad(format!("{what}, a byte a fragment, is refused"), &fragments, vec![], 1007));
        let back = vec![Reply::Binary(bytes.to_vec())];
        cases.push(good(format!("{what} may be binary"), &[frame(BINARY, bytes)], back));
    }
    let bytes = [masked(TEXT, b"\xCE\xBA\xED\xA0")].concat();
    let expected = vec![Reply::Close(Some(1007), b"not_utf8".to_vec())];
    // Nothing follows: the server must not wait for the end of the message.
    cases.push(Case { name: "a fault in the first fragment is refused at once".to_owned(), bytes, expected });
    cases.push(good(
        "a character cut by a ping is still one",
        &[masked(TEXT, b"\xE2\x82"), frame(PING, b"\xFF"), masked(FIN, b"\xAC")],
        vec![Reply::Pong(vec![0xFF]), text("€".as_bytes())],
    ));
    cases
}

/// 7.x
pub fn closing() -> Vec<Case> {
    let case = |name: String, frames: &[Vec<u8>], code: Option<u16>, reason: &[u8]| Case {
        name,
        bytes: frames.concat(),
        expected: vec![Reply::Close(code, reason.to_vec())],
    };
    let mut cases = vec![
        case("an empty close gets an empty close".into(), &[frame(CLOSE, b"")], None, b""),
        case(
            "a close with a reason comes back".into(),
            &[close(1000, "tschüß".as_bytes())],
            Some(1000),
            "tschüß".as_bytes(),
        ),
        case("123 bytes of reason come back".into(), &[close(1000, &stars(123))], Some(1000), &stars(123)),
        case(
            "a close in two bytes is the last word, whatever follows".into(),
            &[close(1001, b""), frame(TEXT, b"late"), frame(PING, b"late"), close(1000, b""), frame(3, b"")],
            Some(1001),
            b"",
        ),
        case(
            "256 KiB after a close do not lose its answer".into(),
            &[close(1000, b"bye"), frame(BINARY, &stars(256 * 1024))],
            Some(1000),
            b"bye",
        ),
        case("a close of one byte is malformed".into(), &[frame(CLOSE, b"x")], Some(1002), b"malformed"),
        case("a close of 126 bytes is malformed".into(), &[close(1000, &stars(124))], Some(1002), b"malformed"),
        case("a reason that is not UTF-8 is refused".into(), &[close(1000, b"\xED\xA0\x80")], Some(1007), b"not_utf8"),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        cases.push(case(format!("code {code} comes back"), &[close(code, b"")], Some(code), b""));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let answer = b"Protocol violation";
        cases.push(case(format!("code {code} may not be sent"), &[close(code, b"")], Some(1002), answer));
        cases.push(case(
            format!("code {code} may not be sent with a reason"),
            &[close(code, b"why")],
            Some(1002),
            answer,
        ));
    }
    cases
}

/// 9.x
pub fn limits() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [256 * 1024, 1024 * 1024, LIMIT] {
        let payload = stars(len);
        cases.push(good(format!("{len} bytes in one frame come back"), &[frame(TEXT, &payload)], vec![text(&payload)]));
    }
    let fragments = |len: usize, size: usize| -> Vec<Vec<u8>> {
        let parts = len / size;
        let first = |at| if at == 0 { BINARY } else { 0 } | if at + 1 == parts { FIN } else { 0 };
        (0..parts).map(|at| masked(first(at), &stars(size))).collect()
    };
    for size in [64, 4096, 65_536] {
        let back = vec![Reply::Binary(stars(1024 * 1024))];
        cases.push(good(format!("1 MiB in fragments of {size} bytes comes back"), &fragments(1024 * 1024, size), back));
    }
    let huge = [&[0x82, 0x80 | 127][..], &(LIMIT as u64 + 1).to_be_bytes(), &[0; 4]].concat();
    cases.push(bad("a frame over the limit is refused at its header", &[huge], vec![], 1009));
    let endless = [&[0x82, 0x80 | 127][..], &(u64::MAX >> 1).to_be_bytes(), &[0; 4]].concat();
    cases.push(bad("a frame of 2^63 bytes is refused", &[endless], vec![], 1009));
    cases.push(bad("fragments over the limit are refused", &fragments(LIMIT + 65_536, 65_536), vec![], 1009));
    cases.push(bad(
        "a frame over the limit is refused with its payload",
        &[frame(TEXT, &stars(LIMIT + 1))],
        vec![],
        1009,
    ));
    cases
}
