//! RFC 6455, byte by byte: what a client may send, what it may not, and what must come back. It talks raw TCP to the
//! echo example, which is the chat's own socket path without the chat; `handshake` asks the chat itself.

mod cases;
#[expect(dead_code, reason = "its `main` is for people")]
#[path = "../../service/examples/echo.rs"]
mod echo;
mod frames;
mod handshake;
mod talk;

use cases::Case;
use frames::Reply;
use talk::{Cut, Server};

/// What the echo server is run with; the limit that the cases of `limits` go over.
const LIMIT: usize = 4 * 1024 * 1024;
/// Byte by byte, each byte is a system call on either side.
const BYTE_BY_BYTE_MAX: usize = 2_000;
/// Faults told at once.
const WRONG_MAX: usize = 5;

/// Every case whole, byte by byte and in random pieces: the cut must make no difference.
async fn run(cases: Vec<Case>) {
    let server = Server::start(LIMIT).await;
    let mut wrong = Vec::new();
    for case in cases {
        let mut cuts = vec![Cut::Whole, Cut::Early, Cut::Pieces(1), Cut::Pieces(2)];
        if case.bytes.len() <= BYTE_BY_BYTE_MAX {
            cuts.push(Cut::Bytes);
        }
        for cut in cuts {
            let got = server.exchange(&case.bytes, cut).await;
            if got != case.expected {
                let (expected, got) = (told(&case.expected), told(&got));
                wrong.push(format!("{} ({cut:?}):\n    expected {expected}\n    got      {got}", case.name));
            }
            // Where the server hangs, each case costs a deadline: these tell enough.
            assert!(wrong.len() < WRONG_MAX, "at least {WRONG_MAX} of RFC 6455 broken:\n{}", wrong.join("\n"));
        }
    }
    assert!(wrong.is_empty(), "{} of RFC 6455 broken:\n{}", wrong.len(), wrong.join("\n"));
}

fn told(replies: &[Reply]) -> String {
    let mut text = format!("{replies:?}");
    if text.len() > 600 {
        let end = text.floor_char_boundary(600);
        text.truncate(end);
    }
    text
}

#[tokio::test]
async fn messages_of_every_length_form_come_back() {
    run(cases::framing()).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_and_a_pong_by_nothing() {
    run(cases::pings()).await;
}

#[tokio::test]
async fn reserved_bits_and_unmasked_frames_end_the_connection() {
    run(cases::reserved_bits_and_masks()).await;
}

#[tokio::test]
async fn reserved_opcodes_end_the_connection() {
    run(cases::opcodes()).await;
}

#[tokio::test]
async fn fragments_become_one_message_with_control_frames_in_between() {
    run(cases::fragmentation()).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_the_connection_as_soon_as_a_frame_shows_it() {
    run(cases::utf8()).await;
}

#[tokio::test]
async fn a_close_is_answered_in_kind_or_with_1002() {
    run(cases::closing()).await;
}

#[tokio::test]
async fn long_messages_come_back_and_too_long_ones_end_the_connection() {
    run(cases::limits()).await;
}
