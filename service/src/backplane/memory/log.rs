//! One log as plain data: what it keeps, for how long, and how it is read. It knows no locks, no subscribers and no
//! clock; the caller says what time it is.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backplane::{Page, PageLimit, Range};
use crate::clock::Moment;
use crate::ids::RetryKey;
use crate::message::{Draft, Entry, Epoch, Position, Stored};

/// What a kept message costs besides its text: its place in the queue (which grows by doubling), the reference count of
/// its bytes, two blocks of the allocator.
const ENTRY_OVERHEAD: usize = 128;
/// What a remembered key costs besides its text: its places in the table and in the queue, its own block.
const KEY_OVERHEAD: usize = 160;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// Most messages.
    pub(super) messages: usize,
    /// Oldest message.
    pub(super) age: Duration,
    /// How long a key is remembered.
    pub(super) key_window: Duration,
}

/// A log. Its entries are always the newest ones without a hole, so their offsets follow from `top`.
#[derive(Debug)]
pub(super) struct Log {
    epoch: Epoch,
    top: u64,
    entries: VecDeque<Kept>,
    entry_bytes: usize,
    keys: Keys,
    touched: Moment,
}

#[derive(Debug)]
struct Kept {
    frame: Bytes,
    since: Moment,
}

impl Log {
    /// An empty log. `now` counts as its last publish.
    pub(super) fn new(epoch: Epoch, now: Moment) -> Self {
        Self { epoch, top: 0, entries: VecDeque::new(), entry_bytes: 0, keys: Keys::default(), touched: now }
    }

    /// Its newest position.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.top }
    }

    /// What it holds in memory, without what an empty log costs.
    pub(super) fn bytes(&self) -> usize {
        self.entry_bytes + self.keys.bytes
    }

    /// How many messages it holds.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many keys it remembers.
    pub(super) fn keys(&self) -> usize {
        self.keys.answers.len()
    }

    /// When it was last published to.
    pub(super) fn touched(&self) -> Moment {
        self.touched
    }

    /// The first answer to a publish with this key, if it is remembered still.
    pub(super) fn first_answer(&mut self, key: &RetryKey, now: Moment, keep: &Retention) -> Option<Stored> {
        self.keys.expire(now, keep.key_window);
        let answer = self.keys.answers.get(key.as_str())?;
        Some(Stored { position: Position { epoch: self.epoch, offset: answer.offset }, at: answer.at })
    }

    /// Appends a message whose key is new, and gives its frame.
    pub(super) fn append(&mut self, draft: &Draft, now: Moment, keep: &Retention) -> (Stored, Bytes) {
        self.top += 1;
        self.touched = self.touched.max(now);
        let frame = draft.splice(self.top);
        self.entry_bytes += frame.len() + ENTRY_OVERHEAD;
        self.entries.push_back(Kept { frame: frame.clone(), since: now });
        if let Some(key) = &draft.key {
            self.keys.remember(key, Answer { offset: self.top, at: draft.at }, now);
        }
        self.trim(now, keep);
        (Stored { position: self.position(), at: draft.at }, frame)
    }

    /// Lets go of what is kept long enough.
    pub(super) fn trim(&mut self, now: Moment, keep: &Retention) {
        self.keys.expire(now, keep.key_window);
        while let Some(oldest) = self.entries.front() {
            if self.entries.len() <= keep.messages && now.since(oldest.since) < keep.age {
                break;
            }
            self.entry_bytes -= oldest.frame.len() + ENTRY_OVERHEAD;
            self.entries.pop_front();
        }
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// Lets go of every message, but neither of the position nor of the keys.
    pub(super) fn drop_entries(&mut self) {
        self.entries = VecDeque::new();
        self.entry_bytes = 0;
    }

    /// Reads. The caller has trimmed.
    pub(super) fn read(&self, range: Range, limit: PageLimit) -> Page {
        let oldest = self.top - self.entries.len() as u64 + 1;
        match range {
            Range::Since(Position { epoch, offset }) => {
                let whole = epoch == self.epoch && offset <= self.top && offset + 1 >= oldest;
                if whole { self.upwards(offset + 1, limit) } else { Page { lost: true, ..self.page(0, 0, false) } }
            }
            Range::After(offset) => self.upwards(offset.saturating_add(1).max(oldest), limit),
            Range::Newest => self.downwards(self.top, limit),
            Range::Before(offset) => self.downwards(offset.saturating_sub(1).min(self.top), limit),
        }
    }

    /// The oldest messages from `first` on, which is not below the oldest kept one.
    fn upwards(&self, first: u64, limit: PageLimit) -> Page {
        let skip = self.index(first);
        let count = fitting(self.entries.range(skip..), limit);
        self.page(skip, count, skip + count < self.entries.len())
    }

    /// The newest messages up to and including `last`, which is not above the top.
    fn downwards(&self, last: u64, limit: PageLimit) -> Page {
        let end = self.index(last + 1);
        let count = fitting(self.entries.range(..end).rev(), limit);
        self.page(end - count, count, end > count)
    }

    /// Where the message with this offset is in `entries`: 0 for what is below them, their number for what is above.
    fn index(&self, offset: u64) -> usize {
        let from_end = usize::try_from((self.top + 1).saturating_sub(offset)).unwrap_or(usize::MAX);
        self.entries.len().saturating_sub(from_end)
    }

    fn page(&self, skip: usize, count: usize, more: bool) -> Page {
        let oldest = self.top - self.entries.len() as u64 + 1;
        let offsets = oldest + skip as u64..;
        let kept = self.entries.range(skip..skip + count);
        let entries = kept.zip(offsets).map(|(kept, offset)| Entry { offset, frame: kept.frame.clone() }).collect();
        Page { entries, top: self.position(), more, lost: false }
    }
}

/// How many of these, in this order, make a page.
fn fitting<'a>(kept: impl Iterator<Item = &'a Kept>, limit: PageLimit) -> usize {
    let mut bytes = 0;
    kept.take(limit.messages)
        .enumerate()
        .take_while(|(index, kept)| {
            bytes += kept.frame.len();
            *index == 0 || bytes <= limit.bytes
        })
        .count()
}

/// The idempotency keys of one log. The text of a key is shared by the table and the queue.
#[derive(Debug, Default)]
struct Keys {
    answers: HashMap<Arc<str>, Answer>,
    oldest_first: VecDeque<(Moment, Arc<str>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Answer {
    offset: u64,
    at: u64,
}

impl Keys {
    fn remember(&mut self, key: &RetryKey, answer: Answer, now: Moment) {
        let key: Arc<str> = key.as_str().into();
        self.bytes += key.len() + KEY_OVERHEAD;
        self.oldest_first.push_back((now, key.clone()));
        self.answers.insert(key, answer);
    }

    fn expire(&mut self, now: Moment, window: Duration) {
        while let Some((since, key)) = self.oldest_first.front() {
            if now.since(*since) < window {
                break;
            }
            self.bytes -= key.len() + KEY_OVERHEAD;
            self.answers.remove(key);
            self.oldest_first.pop_front();
        }
        if self.oldest_first.len() < self.oldest_first.capacity() / 4 {
            self.oldest_first.shrink_to(self.oldest_first.len() * 2);
            self.answers.shrink_to(self.answers.len() * 2);
        }
    }
}
