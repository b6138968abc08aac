//! Any text and any depth: the check before the parser lets pass whatever the parser can decode within the depth, and
//! refuses nothing but depth and lone surrogates.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parley_service::protocol::json::{JsonFault, check};

/// serde_json gives up at this depth by itself.
const PARSER_DEPTH: usize = 127;

fuzz_target!(|input: (u8, &str)| {
    let (depth, text) = (usize::from(input.0), input.1);
    let checked = check(text, depth);
    if depth >= PARSER_DEPTH
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(text)
    {
        assert_eq!(checked, Ok(()), "{value} was refused");
    }
    if let Err(JsonFault::TooDeep(most)) = checked {
        assert_eq!(most, depth);
        assert!(text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() > depth);
    }
});
