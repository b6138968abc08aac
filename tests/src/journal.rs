//! What one client, or the runner of a trial, saw and did, as it was and in its order: the raw log that `checker.rs`
//! judges. Kept in memory, or written to a file line by line, so that a run that breaks off leaves what it knew.

use std::fs::File;
use std::io::{BufRead as _, BufReader, LineWriter, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use parley_service::clock::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of a raw log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the clock of the run was started.
    pub at: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A new connection stands; what was joined on the old one is not joined any more.
    Connected(SocketAddr),
    /// It ended, with this close code, or 0 without one.
    Ended(u16),
    /// The client obeyed a `reconnect`.
    Moved,
    /// A frame that the client sent.
    Sent(Value),
    /// A frame that it received.
    Received(Value),
    /// What the runner did.
    Mark(Mark),
    /// What a log held at the end of the run: read from the server, behind the service's back.
    Log(Log),
    /// What an instance told at the end of the run of who is in a room.
    Presence(Presence),
}

/// What the runner of a trial did, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The fault struck.
    Struck,
    /// It was taken away.
    Healed,
    /// In every room a publish from after the healing had reached all its readers.
    Whole,
    /// Nothing new was said from here on.
    Silent,
    /// All readers had come to the end of every log, or the time for it was over.
    Settled,
}

/// A room's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Which room.
    pub room: String,
    /// The offset of the last message, also when it is not kept.
    pub top: u64,
    /// Epochs from the oldest to the one of now, each with the offset at which it ended.
    pub epochs: Vec<(String, u64)>,
    /// What is kept: the epoch that wrote it, offset, key.
    pub entries: Vec<(String, u64, String)>,
}

/// Who is in a room, and who is said to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Which room.
    pub room: String,
    /// Which instance was asked.
    pub instance: String,
    /// Users with a session in it, in order.
    pub members: Vec<String>,
    /// What the instance told last, in order.
    pub told: Vec<String>,
}

/// See the module. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Journal {
    clock: Arc<SystemClock>,
    sink: Arc<Mutex<Sink>>,
}

#[derive(Debug)]
enum Sink {
    Memory(Vec<Line>),
    File(LineWriter<File>),
}

impl Journal {
    /// Keeps its lines in memory.
    #[must_use]
    pub fn in_memory(clock: Arc<SystemClock>) -> Self {
        Self { clock, sink: Arc::new(Mutex::new(Sink::Memory(Vec::new()))) }
    }

    /// Writes its lines to a new file.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn in_file(clock: Arc<SystemClock>, path: &Path) -> std::io::Result<Self> {
        let file = LineWriter::new(File::create_new(path)?);
        Ok(Self { clock, sink: Arc::new(Mutex::new(Sink::File(file))) })
    }

    /// Writes down what happens now.
    ///
    /// # Panics
    /// The file cannot be written: a raw log with a hole proves nothing.
    pub fn note(&self, event: Event) {
        let mut sink = self.sink.lock();
        // Read under the lock, so that lines are in the order of their times.
        let at = self.clock.now().mono.as_nanos() / 1_000;
        let line = Line { at, event };
        match &mut *sink {
            Sink::Memory(lines) => lines.push(line),
            Sink::File(file) => {
                let text = serde_json::to_string(&line).expect("a line is JSON and has string keys");
                writeln!(file, "{text}").expect("the raw log can be written");
            }
        }
    }

    /// The lines so far, if they are kept in memory.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        match &*self.sink.lock() {
            Sink::Memory(lines) => lines.clone(),
            Sink::File(_) => Vec::new(),
        }
    }
}

/// Reads a file of lines. A last line that was cut off is left out.
///
/// # Errors
/// The file cannot be read, or has a line that is none.
pub fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut reader = BufReader::new(File::open(path)?);
    let mut text = String::new();
    while reader.read_line(&mut text)? > 0 {
        if text.ends_with('\n') {
            lines.push(serde_json::from_str(&text)?);
        }
        text.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_is_written_to_a_file_is_read_again() {
        let folder = crate::folder::Folder::new("journal");
        let path = folder.path().join("client.jsonl");
        let journal = Journal::in_file(SystemClock::start(), &path).unwrap();
        let log = Log { room: "r".into(), top: 2, epochs: vec![("e".into(), 2)], entries: vec![] };
        let events =
            [Event::Connected(([127, 0, 0, 1], 80).into()), Event::Received(json!({ "a": [1] })), Event::Log(log)];
        for event in &events {
            journal.note(event.clone());
        }
        let lines = read(&path).unwrap();
        assert_eq!(lines.iter().map(|line| line.event.clone()).collect::<Vec<_>>(), events);
        assert!(lines.is_sorted_by_key(|line| line.at));
        std::fs::write(&path, "{\"at\":1,\"event\":\"moved\"}\n{\"at\":2,\"ev").unwrap();
        assert_eq!(read(&path).unwrap(), [Line { at: 1, event: Event::Moved }]);
    }
}
