//! A log against the plainest model of it: all messages ever, each with its time.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::log::{Log, Retention};
use super::draft;
use crate::backplane::{Page, PageLimit, Range};
use crate::clock::Moment;
use crate::ids::{Key, RetryKey, UserId};
use crate::message::{Draft, Entry, Epoch, Position, Stored};

const KEEP: Retention = Retention { messages: 6, age: Duration::from_secs(60), key_window: Duration::from_secs(20) };
const EPOCH: Epoch = Epoch::from_bits(1);

#[derive(Debug, Clone)]
enum Step {
    Publish { length: usize, key: Option<u8> },
    Pass { seconds: u64 },
    Drop,
    Read { range: Range, limit: PageLimit },
}

#[derive(Default)]
struct Model {
    messages: Vec<(Bytes, Moment, Option<u8>, u64)>,
    dropped: usize,
}

impl Model {
    fn publish(&mut self, draft: &Draft, key: Option<u8>, now: Moment) -> Stored {
        let stored = |index: usize, at| Stored { position: Position { epoch: EPOCH, offset: index as u64 + 1 }, at };
        let known = self
            .messages
            .iter()
            .position(|(_, since, other, _)| key.is_some() && *other == key && now.since(*since) < KEEP.key_window);
        if let Some(index) = known {
            return stored(index, self.messages[index].3);
        }
        self.messages.push((draft.splice(self.messages.len() as u64 + 1), now, key, draft.at));
        stored(self.messages.len() - 1, draft.at)
    }

    /// All that is kept, by what the ranges say in words.
    fn read(&self, range: Range, limit: PageLimit, now: Moment) -> Page {
        let count = self.messages.len();
        let top = Position { epoch: EPOCH, offset: count as u64 };
        let kept = |(index, (frame, since, ..)): (usize, &(Bytes, Moment, Option<u8>, u64))| {
            let kept = index + KEEP.messages >= count && now.since(*since) < KEEP.age && index >= self.dropped;
            kept.then(|| Entry { offset: index as u64 + 1, frame: frame.clone() })
        };
        let kept: Vec<_> = self.messages.iter().enumerate().filter_map(kept).collect();
        let wanted = |entry: &Entry| match range {
            Range::Since(position) => entry.offset > position.offset,
            Range::Newest => true,
            Range::Before(offset) => entry.offset < offset,
            Range::After(offset) => entry.offset > offset,
        };
        let mut candidates: Vec<_> = kept.iter().filter(|entry| wanted(entry)).cloned().collect();
        if let Range::Since(Position { epoch, offset }) = range
            && (epoch != EPOCH || offset > top.offset || top.offset - offset != candidates.len() as u64)
        {
            return Page { entries: Vec::new(), top, more: false, lost: true };
        }
        let upwards = matches!(range, Range::Since(_) | Range::After(_));
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < limit.messages && !candidates.is_empty() {
            let index = if upwards { 0 } else { candidates.len() - 1 };
            let bytes: usize = entries.iter().map(|entry| entry.frame.len()).sum();
            if !entries.is_empty() && bytes + candidates[index].frame.len() > limit.bytes {
                break;
            }
            entries.push(candidates.remove(index));
        }
        entries.sort_by_key(|entry| entry.offset);
        Page { entries, top, more: !candidates.is_empty(), lost: false }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![9 => 0..30_u64, 1 => Just(u64::MAX)];
    let epoch = prop_oneof![9 => Just(EPOCH), 1 => Just(Epoch::from_bits(2))];
    let range = prop_oneof![
        3 => (epoch, offset.clone()).prop_map(|(epoch, offset)| Range::Since(Position { epoch, offset })),
        1 => Just(Range::Newest),
        1 => offset.clone().prop_map(Range::Before),
        1 => offset.prop_map(Range::After),
    ];
    let limit = (0..9_usize, 0..200_usize).prop_map(|(messages, bytes)| PageLimit { messages, bytes });
    prop_oneof![
        4 => (0..60_usize, prop::option::of(0..4_u8)).prop_map(|(length, key)| Step::Publish { length, key }),
        2 => (0..30_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Drop),
        6 => (range, limit).prop_map(|(range, limit)| Step::Read { range, limit }),
    ]
}

proptest! {
    #[test]
    fn a_log_answers_as_if_it_remembered_everything(steps in prop::collection::vec(step(), 1..80)) {
        let (mut log, mut model, mut now) = (Log::new(EPOCH, Moment::default()), Model::default(), Moment::default());
        for (at, step) in (1..).zip(steps) {
            match step {
                Step::Pass { seconds } => now = now + Duration::from_secs(seconds),
                Step::Drop => {
                    log.drop_entries();
                    model.dropped = model.messages.len();
                }
                Step::Publish { length, key } => {
                    let name = key.map(|key| RetryKey::new(&UserId::parse("u").unwrap(), &Key::parse(&key.to_string()).unwrap()));
                    let draft = Draft { key: name, at, ..draft(&"x".repeat(length)) };
                    let known = draft.key.as_ref().and_then(|key| log.first_answer(key, now, &KEEP));
                    let stored = known.unwrap_or_else(|| log.append(&draft, now, &KEEP).0);
                    prop_assert_eq!(stored, model.publish(&draft, key, now));
                }
                Step::Read { range, limit } => {
                    log.trim(now, &KEEP);
                    prop_assert_eq!(log.read(range, limit), model.read(range, limit, now), "{:?} {:?}", range, limit);
                }
            }
        }
        let hour = now + Duration::from_secs(3_600);
        log.trim(hour, &KEEP);
        prop_assert_eq!((log.len(), log.keys(), log.bytes()), (0, 0, 0));
    }
}
