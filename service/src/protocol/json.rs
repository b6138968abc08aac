//! What the JSON parser does not check for us in text that is forwarded byte for byte: depth, and lone surrogates.
//! It does not validate JSON; a text that is not JSON is refused by the parser after it passed here.

/// Why a text is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Arrays and objects are nested deeper than allowed.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// A string holds an escape of half a surrogate pair, which no UTF-8 text can express.
    #[error("a string holds a lone surrogate")]
    LoneSurrogate,
}

/// One pass over the bytes, no allocation.
///
/// # Errors
/// The first [`JsonFault`] found.
pub fn check(text: &str, max_depth: usize) -> Result<(), JsonFault> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut in_string) = (0, 0_usize, false);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                let escaped = bytes.get(at).copied();
                at += 1;
                if escaped == Some(b'u') {
                    at += surrogate_escape(bytes, at)?;
                }
            }
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > max_depth {
                    return Err(JsonFault::TooDeep(max_depth));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Looks at the four digits from `at` on; answers how many bytes were a surrogate escape (0, or the whole pair).
fn surrogate_escape(bytes: &[u8], at: usize) -> Result<usize, JsonFault> {
    match hex4(bytes, at) {
        Some(0xD800..=0xDBFF) => {
            let paired = bytes.get(at + 4..at + 6) == Some(b"\\u")
                && hex4(bytes, at + 6).is_some_and(|low| (0xDC00..=0xDFFF).contains(&low));
            if paired { Ok(10) } else { Err(JsonFault::LoneSurrogate) }
        }
        Some(0xDC00..=0xDFFF) => Err(JsonFault::LoneSurrogate),
        _ => Ok(0),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn depth_counts_only_outside_of_strings() {
        assert_eq!(check(r#"{"a":[["\"[[[["]]}"#, 3), Ok(()));
        assert_eq!(check(r#"{"a":[[[]]]}"#, 3), Err(JsonFault::TooDeep(3)));
        assert_eq!(check(&"[".repeat(100_000), 64), Err(JsonFault::TooDeep(64)));
    }

    #[test]
    fn only_lone_surrogates_are_refused() {
        assert_eq!(check(r#""\ud83d\ude00 \u0000 \\ud800""#, 1), Ok(()));
        for lone in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800x""#, r#""\uDBFF\ud800""#] {
            assert_eq!(check(lone, 1), Err(JsonFault::LoneSurrogate), "{lone}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_agrees_with_the_parser_on_strings(text in r#"("|\\|\\u|[dD][89abcdef0-9]{3}|[a-f0-9]{4}|[\[\]{}]|é){0,24}"#) {
            let quoted = format!("\"{text}\"");
            let checked = check(&quoted, 64);
            // The full parser decodes strings, so what it takes must pass here too.
            if serde_json::from_str::<String>(&quoted).is_ok() {
                prop_assert_eq!(checked, Ok(()));
            }
            let _ = check(&text, 4);
        }
    }
}
