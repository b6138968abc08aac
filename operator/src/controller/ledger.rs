//! What was applied, so that nothing is applied twice: an idle reconcile asks the API server nothing. It lives in memory
//! only; after a restart everything is applied once more, which changes nothing.

use std::collections::HashMap;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Edits of one child that are reverted before the operator gives way.
const MOST_REVERTS: usize = 5;
/// In this time.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// One child of one ChatCluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Of the ChatCluster.
    pub owner_uid: String,
    /// Of the child.
    pub kind: String,
    /// Of the child.
    pub name: String,
}

impl Key {
    /// The child of this kind and name.
    #[must_use]
    pub fn new(owner_uid: &str, kind: &str, name: String) -> Self {
        Self { owner_uid: owner_uid.to_owned(), kind: kind.to_owned(), name }
    }
}

#[derive(Debug, Clone, Default)]
struct Entry {
    desired: u64,
    fingerprint: Option<String>,
    generation: Option<i64>,
    reverts: Vec<Timestamp>,
    expected_back: bool,
    password: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<Key, Entry>>);

/// The hash of what is wanted.
#[must_use]
pub fn digest(desired: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    desired.hash(&mut hasher);
    hasher.finish()
}

impl Ledger {
    /// Whether exactly this was applied and nobody has touched it since.
    #[must_use]
    pub fn is_settled(&self, key: &Key, desired: u64, live: Option<&String>) -> bool {
        let ledger = self.0.lock();
        ledger.get(key).is_some_and(|entry| {
            entry.desired == desired && entry.fingerprint.is_some() && entry.fingerprint.as_ref() == live
        })
    }

    /// What the API server made of exactly this when it was applied last.
    #[must_use]
    pub fn fingerprint(&self, key: &Key, desired: u64) -> Option<String> {
        let ledger = self.0.lock();
        ledger.get(key).filter(|entry| entry.desired == desired)?.fingerprint.clone()
    }

    /// Notes what was applied and what the API server made of it.
    pub fn note(&self, key: Key, desired: u64, fingerprint: Option<String>, generation: Option<i64>) {
        let mut ledger = self.0.lock();
        let entry = ledger.entry(key).or_default();
        (entry.desired, entry.fingerprint, entry.generation) = (desired, fingerprint, generation);
    }

    /// The generation that the last application led to: what is older is not ours yet.
    #[must_use]
    pub fn generation(&self, key: &Key) -> Option<i64> {
        self.0.lock().get(key)?.generation
    }

    /// Notes that somebody else's edit is about to be reverted; false once that has happened too often to go on.
    #[must_use]
    pub fn may_revert(&self, key: &Key, now: Timestamp) -> bool {
        let mut ledger = self.0.lock();
        let reverts = &mut ledger.entry(key.clone()).or_default().reverts;
        reverts.retain(|then| now.duration_since(*then) < WINDOW);
        if reverts.len() >= MOST_REVERTS {
            return false;
        }
        reverts.push(now);
        true
    }

    /// Whether edits of others have been reverted too often to go on.
    #[must_use]
    pub fn is_worn_out(&self, key: &Key, now: Timestamp) -> bool {
        let ledger = self.0.lock();
        let reverts = ledger.get(key).map_or(&[][..], |entry| &entry.reverts);
        reverts.iter().filter(|then| now.duration_since(**then) < WINDOW).count() >= MOST_REVERTS
    }

    /// Notes whether the number of instances is on its way back from an autoscaler: then it is the autoscaler's still, which
    /// is nobody's edit.
    pub fn expect_back(&self, key: Key, expected: bool) {
        self.0.lock().entry(key).or_default().expected_back = expected;
    }

    /// See [`expect_back`](Self::expect_back).
    #[must_use]
    pub fn is_expected_back(&self, key: &Key) -> bool {
        self.0.lock().get(key).is_some_and(|entry| entry.expected_back)
    }

    /// Notes the password in the Secret of a managed Valkey, which goes on with it whatever becomes of the Secret.
    pub fn note_password(&self, secret: Key, password: &str) {
        self.0.lock().entry(secret).or_default().password = Some(password.to_owned());
    }

    /// The password that was noted last.
    #[must_use]
    pub fn password(&self, secret: &Key) -> Option<String> {
        self.0.lock().get(secret)?.password.clone()
    }

    /// Forgets one child.
    pub fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// Forgets the children of ChatClusters that are gone.
    pub fn keep_only(&self, owner_uids: &HashSet<String>) {
        self.0.lock().retain(|key, _| owner_uids.contains(&key.owner_uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new("u", "Service", "demo".into())
    }

    #[test]
    fn only_what_is_wanted_and_untouched_is_settled() {
        let ledger = Ledger::default();
        let print = Some("print".to_owned());
        assert!(!ledger.is_settled(&key(), 1, print.as_ref()));
        ledger.note(key(), 1, print.clone(), Some(3));
        assert!(ledger.is_settled(&key(), 1, print.as_ref()));
        assert!(!ledger.is_settled(&key(), 2, print.as_ref()), "something else is wanted");
        assert!(!ledger.is_settled(&key(), 1, Some(&"other".to_owned())), "somebody touched it");
        assert!(!ledger.is_settled(&key(), 1, None), "it is gone");
        assert_eq!(ledger.generation(&key()), Some(3));
    }

    #[test]
    fn a_fight_ends_after_some_rounds_and_may_begin_again_later() {
        let ledger = Ledger::default();
        let start = Timestamp::UNIX_EPOCH;
        assert!((0..5).all(|_| ledger.may_revert(&key(), start)));
        assert!(!ledger.may_revert(&key(), start + SignedDuration::from_mins(9)));
        assert!(ledger.may_revert(&key(), start + SignedDuration::from_mins(10)));
    }

    #[test]
    fn children_of_the_dead_are_forgotten() {
        let ledger = Ledger::default();
        ledger.note(key(), 1, Some("print".into()), Some(1));
        ledger.keep_only(&HashSet::new());
        assert_eq!(ledger.generation(&key()), None);
    }
}
