//! Checks of how a log is read: ranges, limits, resuming, positions.

use std::sync::Arc;

use super::{Instance, PLENTY, Promise, Rig, Verdict, at_most, draft, frame, inbox, offsets, promises, room};
use crate::backplane::{Page, PageLimit, Range};
use crate::ids::LogName;
use crate::message::{Entry, Epoch, Position};

pub(super) fn all() -> Vec<Promise<dyn Rig>> {
    promises![dyn Rig:
        a_stored_message_is_read_at_once_on_every_instance,
        a_log_that_was_never_written_is_empty,
        the_position_of_an_empty_log_can_be_resumed_from,
        newest_and_before_read_downwards_and_answer_upwards,
        after_reads_upwards,
        since_replays_exactly_what_follows,
        since_a_position_that_never_was_is_lost,
        a_page_keeps_to_its_bytes_but_holds_one_message,
        a_page_of_nothing_tells_the_top,
        a_log_is_read_whole_page_by_page,
        positions_come_in_the_order_asked_for,
        rooms_inboxes_and_control_are_different_logs,
    ]
}

async fn a_stored_message_is_read_at_once_on_every_instance(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("at once"));
    for offset in 1..=10 {
        let text = format!("m{offset}");
        let top = a.publish(&log, &draft(&text)).await.position;
        let entries = vec![Entry { offset, frame: frame(offset, &text) }];
        let expected = Page { entries, top, more: offset > 1, lost: false };
        assert_eq!(b.read(&log, Range::Newest, at_most(1)).await, expected);
    }
    Verdict::Kept
}

async fn a_log_that_was_never_written_is_empty(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await);
    for log in [room("empty"), inbox("empty"), LogName::Control] {
        let top = a.top(&log).await;
        assert_eq!(top.offset, 0);
        let ranges = [Range::Newest, Range::Before(0), Range::Before(9), Range::After(0), Range::After(9)];
        for range in ranges.into_iter().chain([Range::Since(top)]) {
            let page = b.read(&log, range, PLENTY).await;
            assert_eq!(page, Page { entries: Vec::new(), top, more: false, lost: false }, "{range:?}");
        }
        assert_eq!(b.backplane.positions(std::slice::from_ref(&log)).await, Ok(vec![top]));
        assert_eq!(b.subscribe(&log).await, top);
    }
    Verdict::Kept
}

async fn the_position_of_an_empty_log_can_be_resumed_from(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("from nothing"));
    let position = a.subscribe(&log).await;
    a.backplane.unsubscribe(&log);
    b.fill(&log, 2).await;
    let page = a.read(&log, Range::Since(position), PLENTY).await;
    assert_eq!((offsets(&page), page.lost), (vec![1, 2], false));
    Verdict::Kept
}

async fn newest_and_before_read_downwards_and_answer_upwards(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("down"));
    a.fill(&log, 10).await;
    let cases: [(Range, usize, &[u64], bool); 9] = [
        (Range::Newest, 3, &[8, 9, 10], true),
        (Range::Newest, 10, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], false),
        (Range::Before(8), 3, &[5, 6, 7], true),
        (Range::Before(4), 3, &[1, 2, 3], false),
        (Range::Before(3), 3, &[1, 2], false),
        (Range::Before(1), 3, &[], false),
        (Range::Before(0), 3, &[], false),
        (Range::Before(11), 2, &[9, 10], true),
        (Range::Before(u64::MAX), 2, &[9, 10], true),
    ];
    for (range, messages, expected, more) in cases {
        let page = a.read(&log, range, at_most(messages)).await;
        assert_eq!((offsets(&page).as_slice(), page.more, page.lost), (expected, more, false), "{range:?}");
        assert_eq!(page.top.offset, 10);
    }
    Verdict::Kept
}

async fn after_reads_upwards(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("up"));
    a.fill(&log, 10).await;
    let cases: [(u64, usize, &[u64], bool); 6] = [
        (0, 3, &[1, 2, 3], true),
        (7, 3, &[8, 9, 10], false),
        (7, 2, &[8, 9], true),
        (9, 3, &[10], false),
        (10, 3, &[], false),
        (u64::MAX, 3, &[], false),
    ];
    for (offset, messages, expected, more) in cases {
        let page = a.read(&log, Range::After(offset), at_most(messages)).await;
        assert_eq!((offsets(&page).as_slice(), page.more, page.lost), (expected, more, false), "after {offset}");
    }
    Verdict::Kept
}

async fn since_replays_exactly_what_follows(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("resume"));
    a.fill(&log, 10).await;
    let top = a.top(&log).await;
    let cases: [(u64, usize, &[u64], bool); 5] = [
        (0, 4, &[1, 2, 3, 4], true),
        (6, 4, &[7, 8, 9, 10], false),
        (6, 3, &[7, 8, 9], true),
        (9, 4, &[10], false),
        (10, 4, &[], false),
    ];
    for (offset, messages, expected, more) in cases {
        let page = a.read(&log, Range::Since(Position { offset, ..top }), at_most(messages)).await;
        assert_eq!((offsets(&page).as_slice(), page.more, page.lost), (expected, more, false), "since {offset}");
        assert_eq!(page.top, top);
    }
    Verdict::Kept
}

async fn since_a_position_that_never_was_is_lost(rig: Arc<dyn Rig>) -> Verdict {
    let a = Instance::on(&rig, "a").await;
    let (written, empty) = (room("written"), room("unwritten"));
    a.fill(&written, 3).await;
    for log in [written, empty] {
        let top = a.top(&log).await;
        let foreign = Epoch::from_bits(0x0123_4567_89ab_cdef);
        let beyond = [top.offset + 1, top.offset + 1_000, u64::MAX].map(|offset| Position { offset, ..top });
        let foreign = [0, top.offset, u64::MAX].map(|offset| Position { epoch: foreign, offset });
        for position in beyond.into_iter().chain(foreign) {
            let page = a.read(&log, Range::Since(position), PLENTY).await;
            assert_eq!(page, Page { entries: Vec::new(), top, more: false, lost: true }, "{position:?} of {log:?}");
        }
    }
    Verdict::Kept
}

async fn a_page_keeps_to_its_bytes_but_holds_one_message(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("bytes"));
    for length in [10, 10, 5_000, 10, 10] {
        a.publish(&log, &draft(&"x".repeat(length))).await;
    }
    let position = Position { offset: 0, ..a.top(&log).await };
    let small = frame(1, &"x".repeat(10)).len();
    let cases: [(Range, usize, &[u64], bool); 9] = [
        (Range::Since(position), 2 * small, &[1, 2], true),
        (Range::Since(position), 2 * small - 1, &[1], true),
        (Range::Since(position), 2 * small + 1, &[1, 2], true),
        (Range::After(2), 100, &[3], true),
        (Range::After(2), 0, &[3], true),
        (Range::After(4), 0, &[5], false),
        (Range::Newest, 3 * small, &[4, 5], true),
        (Range::Before(4), 3 * small, &[3], true),
        (Range::Before(2), 0, &[1], false),
    ];
    for (range, bytes, expected, more) in cases {
        let page = a.read(&log, range, PageLimit { bytes, ..PLENTY }).await;
        assert_eq!((offsets(&page).as_slice(), page.more), (expected, more), "{range:?} in {bytes} bytes");
    }
    Verdict::Kept
}

async fn a_page_of_nothing_tells_the_top(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("nothing"));
    let top = {
        a.fill(&log, 3).await;
        a.top(&log).await
    };
    for (range, more) in [(Range::Newest, true), (Range::After(1), true), (Range::After(3), false)] {
        let page = a.read(&log, range, at_most(0)).await;
        assert_eq!(page, Page { entries: Vec::new(), top, more, lost: false }, "{range:?}");
    }
    Verdict::Kept
}

async fn a_log_is_read_whole_page_by_page(rig: Arc<dyn Rig>) -> Verdict {
    let (a, log) = (Instance::on(&rig, "a").await, room("pages"));
    a.fill(&log, 20).await;
    let (mut position, mut seen) = (Position { offset: 0, ..a.top(&log).await }, Vec::new());
    loop {
        let page = a.read(&log, Range::Since(position), at_most(7)).await;
        seen.extend(offsets(&page));
        position.offset = seen.len() as u64;
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    Verdict::Kept
}

async fn positions_come_in_the_order_asked_for(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await);
    let logs: Vec<_> = (0..40).map(|number| room(&format!("r{number}"))).collect();
    for (log, messages) in logs.iter().zip(0..) {
        a.fill(log, messages % 4).await;
    }
    let asked: Vec<_> = logs.iter().rev().chain([&logs[7], &logs[7]]).cloned().collect();
    let answer = b.backplane.positions(&asked).await.expect("a healthy backplane tells positions");
    let mut expected = Vec::new();
    for log in &asked {
        expected.push(a.top(log).await);
    }
    assert_eq!(answer, expected);
    assert_eq!(answer[39].offset, 0);
    assert_eq!(answer[40].offset, 3);
    assert_eq!(b.backplane.positions(&[]).await, Ok(Vec::new()));
    Verdict::Kept
}

async fn rooms_inboxes_and_control_are_different_logs(rig: Arc<dyn Rig>) -> Verdict {
    let a = Instance::on(&rig, "a").await;
    let logs = [room("name"), inbox("name"), LogName::Control, room("control")];
    for (log, messages) in logs.iter().zip(1..) {
        a.fill(log, messages).await;
    }
    let tops = a.backplane.positions(&logs).await.expect("a healthy backplane tells positions");
    assert_eq!(tops.iter().map(|top| top.offset).collect::<Vec<_>>(), [1, 2, 3, 4]);
    Verdict::Kept
}
