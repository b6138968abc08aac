//! Checks of what a publish promises: order, one answer, one message a key.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Instance, PLENTY, Promise, Rig, Verdict, draft, frame, inbox, keyed, offsets, promises, room};
use crate::backplane::Range;
use crate::ids::LogName;
use crate::message::{Draft, Stored};

pub(super) fn all() -> Vec<Promise<dyn Rig>> {
    promises![dyn Rig:
        offsets_rise_by_one_from_one,
        concurrent_publishers_leave_no_hole,
        one_sender_s_messages_keep_their_order,
        messages_published_together_keep_their_order_and_their_answers,
        a_frame_is_stored_byte_for_byte_around_its_offset,
        a_repeated_key_gets_the_first_answer_and_stores_nothing,
        concurrent_repeats_of_a_key_store_one_message,
        a_key_holds_within_its_log_only,
        a_key_is_good_for_five_minutes_and_no_longer,
        a_dropped_publish_leaves_the_log_in_order,
        odd_names_are_different_logs,
    ]
}

async fn offsets_rise_by_one_from_one(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("counting"));
    let mut epochs = Vec::new();
    for expected in 1..=6 {
        let from = if expected % 2 == 0 { &a } else { &b };
        let stored = from.publish(&log, &draft("x")).await;
        assert_eq!(stored.position.offset, expected);
        epochs.push(stored.position.epoch);
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "the epoch changed without need");
    Verdict::Kept
}

async fn messages_published_together_keep_their_order_and_their_answers(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, log) = (Instance::on(&rig, "a").await, room("together"));
    a.subscribe(&log).await;
    let before = a.publish(&log, &keyed("before", "k0")).await;
    let drafts = [keyed("before", "k0"), draft("one"), keyed("two", "k2"), keyed("two", "k2"), draft("three")];
    let answers = a.backplane.publish_all(&log, &drafts).await;
    let answers: Vec<Stored> = answers.into_iter().map(|answer| answer.expect("a healthy backplane stores")).collect();
    assert_eq!(answers[0], before, "stored before");
    let offsets: Vec<_> = answers.iter().map(|stored| stored.position.offset).collect();
    assert_eq!(offsets, [1, 2, 3, 3, 4]);
    let arrived = a.receive(&log, 2..=4).await;
    for (offset, text) in [(2, "one"), (3, "two"), (4, "three")] {
        assert_eq!(arrived[&offset], frame(offset, text));
    }
    let page = a.read(&log, Range::After(1), PLENTY).await;
    let stored: Vec<_> = page.entries.into_iter().map(|entry| (entry.offset, entry.frame)).collect();
    assert_eq!(stored, arrived.into_iter().collect::<Vec<_>>());
    assert_eq!(a.backplane.publish_all(&log, &[]).await, []);
    Verdict::Kept
}

async fn concurrent_publishers_leave_no_hole(rig: Arc<dyn Rig>) -> Verdict {
    const EACH: usize = 4;
    let log = room("crowd");
    let mut publishers = JoinSet::new();
    let count = rig.history_messages().min(80) / EACH;
    for number in 0..count {
        let (instance, log) = (Instance::on(&rig, &format!("i{number}")).await, log.clone());
        publishers.spawn(async move {
            let mut answers = Vec::new();
            for index in 0..EACH {
                let text = format!("{number}-{index}");
                answers.push((instance.publish(&log, &draft(&text)).await.position.offset, text));
            }
            answers
        });
    }
    let mut answers: Vec<_> = publishers.join_all().await.into_iter().flatten().collect();
    answers.sort_unstable();
    let page = Instance::on(&rig, "reader").await.read(&log, Range::After(0), PLENTY).await;
    assert_eq!(offsets(&page), (1..=(count * EACH) as u64).collect::<Vec<_>>());
    for (entry, (offset, text)) in page.entries.iter().zip(answers) {
        assert_eq!((entry.offset, &entry.frame), (offset, &frame(offset, &text)), "answer and log disagree");
    }
    Verdict::Kept
}

async fn one_sender_s_messages_keep_their_order(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("sequence"));
    a.fill(&log, 15).await;
    let page = a.read(&log, Range::After(0), PLENTY).await;
    let expected: Vec<_> = (1..=15).map(|offset| frame(offset, &format!("m{offset}"))).collect();
    assert_eq!(page.entries.into_iter().map(|entry| entry.frame).collect::<Vec<_>>(), expected);
    Verdict::Kept
}

async fn a_frame_is_stored_byte_for_byte_around_its_offset(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("bytes"));
    let long = "ü".repeat(16 * 1024);
    let texts = ["", "plain", "\\u0000 \\\" \\r\\n", "täxt 🦀 \u{2028}", "offset\\\":1,", &long];
    for text in texts {
        a.publish(&log, &draft(text)).await;
    }
    let page = a.read(&log, Range::After(0), PLENTY).await;
    for ((entry, offset), text) in page.entries.iter().zip(1..).zip(texts) {
        let expected = Bytes::from(format!("{{\"offset\":{offset},\"msg\":\"{text}\"}}"));
        assert_eq!((entry.offset, &entry.frame), (offset, &expected));
    }
    assert_eq!(page.entries.len(), texts.len());
    Verdict::Kept
}

async fn a_repeated_key_gets_the_first_answer_and_stores_nothing(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("keys"));
    a.publish(&log, &draft("before")).await;
    let first = a.publish(&log, &Draft { at: 1, ..keyed("first", "k") }).await;
    a.publish(&log, &draft("between")).await;
    assert_eq!((first.position.offset, first.at), (2, 1));
    for repeater in [&a, &b] {
        let repeat = repeater.publish(&log, &Draft { at: 2, ..keyed("another text", "k") }).await;
        assert_eq!(repeat, first);
    }
    let page = b.read(&log, Range::After(0), PLENTY).await;
    assert_eq!(offsets(&page), [1, 2, 3]);
    assert_eq!(page.entries[1].frame, frame(2, "first"));
    assert_eq!(b.publish(&log, &keyed("other key", "K")).await.position.offset, 4, "keys differ by their bytes");
    Verdict::Kept
}

async fn concurrent_repeats_of_a_key_store_one_message(rig: Arc<dyn Rig>) -> Verdict {
    let log = room("keys at once");
    let mut publishers = JoinSet::new();
    for number in 0..10_u64 {
        let (instance, log) = (Instance::on(&rig, &format!("i{number}")).await, log.clone());
        publishers.spawn(async move { instance.publish(&log, &Draft { at: number, ..keyed("x", "k") }).await });
    }
    let answers: Vec<Stored> = publishers.join_all().await;
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
    assert_eq!(answers[0].position.offset, 1);
    assert_eq!(Instance::on(&rig, "reader").await.top(&log).await.offset, 1);
    Verdict::Kept
}

async fn a_key_holds_within_its_log_only(rig: Arc<dyn Rig>) -> Verdict {
    let a = Instance::on(&rig, "a").await;
    for log in [room("x"), room("y"), inbox("x"), LogName::Control] {
        assert_eq!(a.publish(&log, &draft("other")).await.position.offset, 1, "{log:?}");
        assert_eq!(a.publish(&log, &keyed("same key", "k")).await.position.offset, 2, "{log:?}");
    }
    Verdict::Kept
}

async fn a_key_is_good_for_five_minutes_and_no_longer(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("window"));
    let first = a.publish(&log, &keyed("x", "k")).await;
    let Some(pass) = rig.pass(Duration::from_secs(299)) else { return Verdict::NeedsTime };
    pass.await;
    assert_eq!(a.publish(&log, &keyed("x", "k")).await, first);
    let Some(pass) = rig.pass(Duration::from_secs(2)) else { return Verdict::NeedsTime };
    pass.await;
    let second = a.publish(&log, &keyed("x", "k")).await;
    assert_eq!(second.position.offset, 2, "a repeat does not make a key younger");
    assert_eq!(a.publish(&log, &keyed("x", "k")).await, second, "the window starts again");
    Verdict::Kept
}

async fn a_dropped_publish_leaves_the_log_in_order(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("dropped"));
    a.publish(&log, &draft("first")).await;
    let given_up = keyed("given up", "k");
    drop(a.backplane.publish(&log, &given_up));
    let mut started = a.backplane.publish(&log, &given_up);
    let _ = futures_util::poll!(&mut started);
    drop(started);
    // Stored or not, the same key says which.
    assert_eq!(a.publish(&log, &given_up).await.position.offset, 2);
    assert_eq!(a.publish(&log, &draft("last")).await.position.offset, 3);
    assert_eq!(offsets(&a.read(&log, Range::After(0), PLENTY).await), [1, 2, 3]);
    Verdict::Kept
}

async fn odd_names_are_different_logs(rig: Arc<dyn Rig>) -> Verdict {
    let a = Instance::on(&rig, "a").await;
    let long = "n".repeat(128);
    let names = [
        "a", "A", " a", "a ", "a:b", "a{b}", "{a}b", "}{", "a%3Ab", "a%", "*", "?", "[a]", "a/b", "\\", "ä",
        "a\u{308}", "🦀", "control", &long,
    ];
    for name in names {
        for log in [room(name), inbox(name)] {
            assert_eq!(a.publish(&log, &keyed(name, "k")).await.position.offset, 1, "{log:?}");
        }
    }
    for name in names {
        let page = a.read(&room(name), Range::Newest, PLENTY).await;
        assert_eq!(page.entries.iter().map(|entry| &entry.frame).collect::<Vec<_>>(), [&frame(1, name)]);
    }
    Verdict::Kept
}
