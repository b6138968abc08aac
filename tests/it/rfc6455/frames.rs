//! Frames as bytes: a client's are written, with any fault one likes; a server's are read, with none forgiven.

/// What the server said, frame by frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A text frame.
    Text(Vec<u8>),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame with its code; the reason of an echoed one is compared too.
    Close(Option<u16>, Vec<u8>),
    /// What no server may send.
    Wrong(String),
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const FIN: u8 = 0x80;

/// A whole message or control frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(FIN | opcode, payload)
}

/// A frame with a free first byte: FIN, reserved bits, opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    // Another mask for each length, and sometimes none that changes anything: both are allowed.
    let [.., a, b, c, d] = payload.len().wrapping_mul(0x9E37_79B9).to_be_bytes();
    let mask = [a, b, c, d];
    let mut bytes = header(first, payload.len(), true);
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A client's frame as no client may send it.
pub fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [header(FIN | opcode, payload.len(), false), payload.to_vec()].concat()
}

/// A close frame.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

fn header(first: u8, len: usize, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short <= 125 => vec![first, mask | short],
        (_, Ok(medium)) => [&[first, mask | 126][..], &medium.to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

/// Everything that a server sent on a connection, to its end.
pub fn read_all(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let Some((reply, rest)) = read_one(bytes) else {
            replies.push(Reply::Wrong(format!("half a frame: {bytes:02x?}")));
            break;
        };
        replies.push(reply);
        bytes = rest;
    }
    replies
}

fn read_one(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let (len, rest, shortest) = match head[1] {
        126 => rest.split_first_chunk::<2>().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest, 126))?,
        127 => rest.split_first_chunk::<8>().map(|(len, rest)| (u64::from_be_bytes(*len), rest, 65_536))?,
        short => (u64::from(short & 0x7F), rest, 0),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    let payload = payload.to_vec();
    let reply = match head[0] {
        _ if head[1] & 0x80 != 0 => Reply::Wrong("a masked frame".to_owned()),
        _ if len < shortest => Reply::Wrong("a length in more bytes than it needs".to_owned()),
        0x81 => Reply::Text(payload),
        0x82 => Reply::Binary(payload),
        0x8A if len <= 125 => Reply::Pong(payload),
        0x88 if len <= 125 && len != 1 => match payload.split_first_chunk::<2>() {
            Some((code, reason)) => Reply::Close(Some(u16::from_be_bytes(*code)), reason.to_vec()),
            None => Reply::Close(None, Vec::new()),
        },
        first => Reply::Wrong(format!("a frame beginning with {first:#04x} of {len} bytes")),
    };
    Some((reply, rest))
}
