//! Joining a room: history, resuming by position, replays in pages, and what is refused.

use parley_tests::node::Node;
use serde_json::json;

const FOREIGN: &str = "00000000deadbeef";

#[tokio::test]
async fn a_join_gives_the_newest_messages_and_then_what_follows() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    for n in 1..=5 {
        alice.chat("general", n).await;
    }
    let mut bob = node.client("bob").await;
    let joined = bob.join_with_history("general", 3).await;
    assert_eq!((joined.offsets(), joined.offset()), (vec![3, 4, 5], 5));
    assert_eq!((joined.is("recovered"), joined.is("more")), (true, false));
    assert_eq!(joined.messages()[2]["msg"], 5);
    alice.chat("general", "live").await;
    bob.expect_message("general", 6, "live").await;
}

#[tokio::test]
async fn a_join_without_history_starts_now() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    let joined = alice.join("general").await;
    assert_eq!((joined.offset(), joined.messages().len()), (0, 0));
    alice.chat("general", 1).await;
    let joined = node.client("bob").await.join("general").await;
    assert_eq!((joined.offset(), joined.messages().len()), (1, 0));
}

#[tokio::test]
async fn a_resume_gives_exactly_what_was_missed() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    let seen = alice.chat("general", 1).await.position();
    for n in 2..=4 {
        alice.chat("general", n).await;
    }
    let mut bob = node.client("bob").await;
    let joined = bob.resume("general", &seen).await;
    assert_eq!((joined.offsets(), joined.offset()), (vec![2, 3, 4], 4));
    assert!(joined.is("recovered"), "{}", bob.story());
    let again = bob.resume("general", &joined.position()).await;
    assert_eq!((again.offsets(), again.offset(), again.is("recovered")), (vec![], 4, true));
}

#[tokio::test]
async fn since_beats_history() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    let start = alice.join("general").await.position();
    for n in 1..=3 {
        alice.chat("general", n).await;
    }
    let join = json!({ "type": "join", "room": "general", "since": start, "history": 1 });
    assert_eq!(alice.ask_for("joined", join).await.offsets(), [1, 2, 3]);
}

#[tokio::test]
async fn a_long_replay_comes_in_pages_without_a_seam() {
    let node = Node::builder().config(|config| config.limits.messages_per_second = None).start().await;
    let mut alice = node.client("alice").await;
    let start = alice.join("general").await.position();
    // 30 KiB each: eight of them fill a page of 256 KiB.
    for n in 1..=20 {
        alice.chat("general", format!("{n:030720}")).await;
    }
    let mut bob = node.client("bob").await;
    let (mut since, mut offsets, mut pages) = (start, Vec::new(), 0);
    loop {
        let joined = bob.resume("general", &since).await;
        assert!(joined.value().to_string().len() <= 300 * 1024);
        assert!(joined.is("recovered"), "{}", bob.story());
        assert_eq!(Some(&joined.offset()), joined.offsets().last());
        offsets.extend(joined.offsets());
        since = joined.position();
        pages += 1;
        if !joined.is("more") {
            break;
        }
        // Not live yet: what is written now is in the next page, not before it.
        alice.chat("general", pages).await;
    }
    assert!(pages >= 3, "{pages}");
    assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>());
    bob.expect_quiet().await;
    let next = alice.chat("general", "live").await.offset();
    bob.expect_message("general", next, "live").await;
}

#[tokio::test]
async fn a_position_that_cannot_be_honoured_is_not_recovered() {
    let node = Node::builder()
        .config(|config| {
            config.history.messages = 5;
            config.history.replay_messages = 5;
        })
        .start()
        .await;
    let mut alice = node.client("alice").await;
    let start = alice.join("general").await.position();
    for n in 1..=10 {
        alice.chat("general", n).await;
    }
    let epoch = start["epoch"].clone();
    let mut bob = node.client("bob").await;
    for since in [
        json!({ "epoch": FOREIGN, "offset": 8 }),
        json!({ "epoch": "", "offset": 8 }),
        json!({ "epoch": "of no server of ours", "offset": 8 }),
        json!({ "epoch": epoch, "offset": 11 }),
        json!({ "epoch": epoch, "offset": u64::MAX }),
        json!({ "epoch": epoch, "offset": 4 }),
        start,
    ] {
        let joined = bob.resume("general", &since).await;
        let told = (joined.is("recovered"), joined.is("more"), joined.offset(), joined.offsets());
        assert_eq!(told, (false, false, 10, vec![]), "{since}\n{}", bob.story());
    }
    let joined = bob.resume("general", &json!({ "epoch": epoch, "offset": 5 })).await;
    assert_eq!((joined.is("recovered"), joined.offsets()), (true, vec![6, 7, 8, 9, 10]));
    bob.expect_quiet().await;
}

#[tokio::test]
async fn joining_again_resynchronises() {
    let node = Node::start().await;
    let (mut alice, mut bob) = (node.client("alice").await, node.client("bob").await);
    alice.join("general").await;
    bob.join("general").await;
    alice.chat("general", 1).await;
    bob.expect_message("general", 1, 1).await;
    let joined = bob.join_with_history("general", 10).await;
    assert_eq!(joined.offsets(), [1]);
    alice.chat("general", 2).await;
    bob.expect_message("general", 2, 2).await;
    bob.expect_quiet().await;
}

#[tokio::test]
async fn a_room_in_the_url_is_joined_at_once() {
    let node = Node::start().await;
    let alice = node.connect().user("alice").room("general").room("other").open().await.welcomed().await;
    let alice = &mut alice.ignoring_presence();
    assert_eq!(alice.expect("joined").await.room(), "general");
    assert_eq!(alice.expect("joined").await.room(), "other");
    alice.chat("other", "hi").await;
    alice.expect_message("other", 1, "hi").await;
}

#[tokio::test]
async fn one_room_more_than_allowed_is_refused_until_another_is_left() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    for n in 0..200 {
        alice.join(&format!("room-{n}")).await;
    }
    alice.ask_error("too_many_rooms", json!({ "type": "join", "room": "room-200" })).await;
    assert_eq!(alice.join("room-7").await.room(), "room-7", "joining again takes no further place");
    alice.ask_for("left", json!({ "type": "leave", "room": "room-7" })).await;
    alice.join("room-200").await;
}

#[tokio::test]
async fn names_are_compared_byte_for_byte_and_bad_ones_refused() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    for good in ["Ünï-cöde room", "a", "A", "x/y?z=1#%", &"x".repeat(128), "{curly}", "\u{1f600}"] {
        assert_eq!(alice.join(good).await.room(), good);
    }
    for bad in ["", "@you", "@control", "a\u{0}b", "a\nb", "a\u{7f}b", "a\u{85}b", &"x".repeat(129), &"é".repeat(65)] {
        alice.ask_error("bad_name", json!({ "type": "join", "room": bad })).await;
    }
}

#[tokio::test]
async fn a_room_that_was_left_is_silent() {
    let node = Node::start().await;
    let (mut alice, mut bob) = (node.client("alice").await, node.client("bob").await);
    alice.join("general").await;
    bob.join("general").await;
    bob.ask_for("left", json!({ "type": "leave", "room": "general" })).await;
    alice.chat("general", 1).await;
    bob.expect_quiet().await;
    bob.ask_error("not_joined", json!({ "type": "leave", "room": "general" })).await;
    bob.ask_error("not_joined", json!({ "type": "chat", "room": "general", "msg": 1 })).await;
}
