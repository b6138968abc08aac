//! Checks of what a log lets go of, and that it says so.

use std::sync::Arc;
use std::time::Duration;

use super::{Instance, PLENTY, Promise, Rig, Verdict, draft, offsets, promises, room};
use crate::backplane::{CONTROL_MESSAGES, Page, Range};
use crate::ids::LogName;
use crate::message::Position;

pub(super) fn all() -> Vec<Promise<dyn Rig>> {
    promises![dyn Rig:
        a_log_keeps_the_newest_messages,
        a_log_lets_go_of_old_messages_but_keeps_its_position,
        the_control_log_keeps_what_it_must_whatever_rooms_keep,
    ]
}

async fn a_log_keeps_the_newest_messages(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("many"));
    // A log may be trimmed in steps, so it may keep some more, but not twice as many.
    let messages = 2 * rig.history_messages() + 100;
    a.fill(&log, messages).await;
    let (kept, published) = (rig.history_messages() as u64, messages as u64);
    let page = a.read(&log, Range::After(0), PLENTY).await;
    let first = page.entries.first().map(|entry| entry.offset).unwrap_or_default();
    assert!(first > 1 && first <= published - kept + 1, "keeps {kept} of {published}, but begins at {first}");
    assert_eq!(offsets(&page), (first..=published).collect::<Vec<_>>());
    assert!(!page.more);
    assert!(a.read(&log, Range::Before(first), PLENTY).await.entries.is_empty());
    assert!(!a.read(&log, Range::Newest, PLENTY).await.more, "nothing older is there still");

    let since = async |offset| a.read(&log, Range::Since(Position { offset, ..page.top }), PLENTY).await;
    let lost = Page { entries: Vec::new(), top: page.top, more: false, lost: true };
    assert_eq!(since(first - 2).await, lost);
    assert_eq!(since(0).await, lost);
    assert_eq!(since(first - 1).await, page, "all that follows is there");
    assert!(!since(published).await.lost);
    Verdict::Kept
}

async fn the_control_log_keeps_what_it_must_whatever_rooms_keep(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, LogName::Control);
    let messages = CONTROL_MESSAGES.min(2 * rig.history_messages() + 100);
    let from = a.top(&log).await;
    a.fill(&log, messages).await;
    let page = a.read(&log, Range::Since(from), PLENTY).await;
    assert_eq!((page.lost, page.entries.len()), (false, messages));
    Verdict::Kept
}

async fn a_log_lets_go_of_old_messages_but_keeps_its_position(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("old"));
    a.fill(&log, 3).await;
    let top = a.top(&log).await;
    let Some(pass) = rig.pass(rig.history_age() - Duration::from_secs(1)) else { return Verdict::NeedsTime };
    pass.await;
    assert_eq!(offsets(&a.read(&log, Range::Newest, PLENTY).await), [1, 2, 3]);
    let Some(pass) = rig.pass(Duration::from_secs(2)) else { return Verdict::NeedsTime };
    pass.await;
    let empty = Page { entries: Vec::new(), top, more: false, lost: false };
    assert_eq!(a.read(&log, Range::Newest, PLENTY).await, empty);
    assert_eq!(a.read(&log, Range::Since(top), PLENTY).await, empty, "nothing was missed");
    let before = Position { offset: 2, ..top };
    assert_eq!(a.read(&log, Range::Since(before), PLENTY).await, Page { lost: true, ..empty });
    let next = a.publish(&log, &draft("next")).await.position;
    assert_eq!(next, Position { offset: 4, ..top });
    assert_eq!(offsets(&a.read(&log, Range::Since(top), PLENTY).await), [4]);
    Verdict::Kept
}
