//! Any text as a client frame: it is read or refused, never more, and what was taken from it are its own bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parley_service::protocol::client_frame::{ClientFrame, parse};
use parley_service::protocol::limits::{FRAME_ID_MAX_BYTES, Limits};

/// Every byte of an `id` may be written as an escape of six, between two quotes.
const ID_MAX_BYTES: usize = 6 * FRAME_ID_MAX_BYTES + 2;

fuzz_target!(|text: &str| {
    let limits = Limits { message_bytes: 256, depth: 8, replay_messages: 10, ..Limits::default() };
    let parsed = parse(text, &limits);
    if let Some(id) = &parsed.id {
        let id = id.to_string();
        assert!(text.contains(&id) && id.len() <= ID_MAX_BYTES);
    }
    match parsed.frame {
        Ok(ClientFrame::Chat { msg: payload, .. } | ClientFrame::Signal { data: payload, .. }) => {
            assert!(text.contains(payload.get()) && payload.get().len() <= limits.message_bytes);
        }
        Ok(ClientFrame::Join { history, .. }) => assert!(history <= limits.replay_messages),
        Ok(_) => {}
        Err(refusal) => assert!(!refusal.message.is_empty()),
    }
});
