//! What the reference promises about itself, and the numbers in it that belong to other parts of the service.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{Moment, Now};
use crate::ids::{ServerId, SessionId, UserId};
use crate::rights::{Grant, Rights};
use crate::session::{Input, Output, Session, SessionRules};

#[test]
fn every_placeholder_has_a_meaning() {
    let text = render();
    assert!(!text.contains("{{") && text.ends_with('\n'));
}

#[test]
fn every_golden_frame_of_either_side_is_shown() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-samples"));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for file in files.filter(|name| name.starts_with("client-") || name.starts_with("server-")) {
        let name = file.trim_end_matches(".json");
        assert!(TEMPLATE.contains(&format!("{{{{{name}}}}}")), "reference.md does not show {name}");
    }
}

#[test]
fn numbers_that_belong_to_others_are_theirs() {
    let text = render();
    for (phrase, is, should) in [
        ("10 s after its `exp`", crate::auth::token::LEEWAY, 10),
        ("held back for 5 s", crate::hub::attendance::HOLD, 5),
        ("within 5 minutes", crate::backplane::memory::MemoryConfig::default().key_window, 300),
    ] {
        assert!(text.contains(phrase), "{phrase}");
        assert_eq!(is, Duration::from_secs(should), "{phrase}");
    }
    assert!(text.contains("over a limit (512 KiB)"));
    assert_eq!(crate::config::Config::for_tests().limits.outbox_bytes, 512 * 1024);
}

/// How many frames like this a session takes at once before it closes with this code.
fn at_once(frame: &str, code: CloseCode) -> u32 {
    let rules = SessionRules::new(ServerId::parse("s").unwrap(), Limits::default(), None);
    let now = Now { mono: Moment::default(), wall_ms: 0 };
    let mut session = Session::new(SessionId::from_bits(1), Arc::new(rules), Vec::new(), now);
    let user = UserId::parse("alice").unwrap();
    let grant = Grant { user, expires: None, rights: Rights::all() };
    let mut out = Vec::new();
    session.handle(Input::SignedIn(grant), now, &mut out);
    for taken in 0..10_000 {
        out.clear();
        session.handle(Input::Text(frame), now, &mut out);
        if out.contains(&Output::Close(code)) {
            return taken;
        }
    }
    panic!("{frame} is never too much");
}

#[test]
fn the_session_bears_as_many_faults_and_refusals_as_are_told() {
    assert_eq!(at_once(r#"{"type":"shout"}"#, CloseCode::ProtocolFaults), FAULTS.1);
    let burst = Limits::default().messages_burst;
    assert_eq!(at_once(r#"{"type":"ping"}"#, CloseCode::Flooding), burst + FLOODS.1);
}
