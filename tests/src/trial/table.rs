//! What came of the trials, as a table for people. It judges nothing.

use std::fmt::Write as _;
use std::time::Duration;

use super::fault::Fault;
use crate::checker::Report;

/// One trial.
#[derive(Debug)]
pub struct Row {
    /// What happened.
    pub fault: Fault,
    /// When, and to whom.
    pub seed: u64,
    /// What the checker made of it. The error says why there is nothing to check.
    pub result: Result<Report, String>,
}

impl Row {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.result.as_ref().is_ok_and(|report| report.faults.is_empty())
    }

    /// For a terminal: one line, and one for each of the first broken promises.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("{:<22} seed {:<4} ", self.fault.as_str(), self.seed);
        match &self.result {
            Ok(report) => {
                line.push_str(&cells(report).join("  "));
                for fault in report.faults.iter().take(12) {
                    let _ = write!(line, "\n    {fault:?}");
                }
            }
            Err(error) => line.push_str(error),
        }
        line
    }
}

/// Headings of [`cells`].
const HEADINGS: [&str; 13] = [
    "attempted",
    "acked",
    "acked outside the fault",
    "most unacked at once",
    "order compared",
    "received",
    "acked, lost by the log",
    "lost without a gap",
    "repeated",
    "out of order",
    "gaps told (sessions)",
    "presence asked, untrue",
    "whole again after",
];

fn cells(report: &Report) -> [String; 13] {
    let (outside, acked) = report.outside;
    [
        report.attempted.to_string(),
        report.acked.to_string(),
        format!("{acked}/{outside}"),
        report.unacked_at_once.to_string(),
        report.compared.to_string(),
        report.received.to_string(),
        report.lost_by_log.to_string(),
        report.lost().to_string(),
        report.repeated().to_string(),
        report.disordered().to_string(),
        format!("{} ({})", report.gaps, report.gap_sessions),
        format!("{}, {}", report.presence, report.untrue()),
        report.whole_after.map_or("–".to_owned(), seconds),
    ]
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn markdown_row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The whole document.
#[must_use]
pub fn document(rows: &[Row], command: &str, server: &str) -> String {
    let mut text = format!("{HEAD}\nMade by `{command}` on {server}:\n\n");
    let mut headings = vec!["fault".to_owned(), "seed".to_owned()];
    headings.extend(HEADINGS.map(str::to_owned));
    text.push_str(&markdown_row(&headings));
    text.push_str(&markdown_row(&vec!["---".to_owned(); headings.len()]));
    for row in rows {
        let mut all = vec![row.fault.as_str().to_owned(), row.seed.to_string()];
        match &row.result {
            Ok(report) => all.extend(cells(report)),
            Err(error) => all.push(error.clone()),
        }
        text.push_str(&markdown_row(&all));
    }
    let (good, all) = (rows.iter().filter(|row| row.is_good()).count(), rows.len());
    let _ = writeln!(text, "\n{good} of {all} trials kept every promise above.\n");
    for row in rows {
        if let Ok(Report { moved: (moved @ 1.., at_once), .. }) = row.result {
            let (fault, seed) = (row.fault.as_str(), row.seed);
            let _ = writeln!(
                text,
                "- {fault}, seed {seed}: {moved} sessions moved when asked, at most {at_once} were asked for the same 100 ms"
            );
        }
    }
    text.push_str("\n## The faults\n\n");
    text.push_str("| fault | what is done | the log |\n| --- | --- | --- |\n");
    for fault in Fault::ALL.iter().filter(|fault| rows.iter().any(|row| row.fault == **fault)) {
        let log = match fault.allowed().loss {
            crate::checker::Loss::None => "keeps everything: no gap may be told",
            crate::checker::Loss::May => "may lose what was accepted last",
            crate::checker::Loss::Must => "loses acked messages: whoever saw one is told of a gap, and nobody else",
        };
        let _ = writeln!(text, "| {} | {} | {log} |", fault.as_str(), fault.what());
    }
    text
}

const HEAD: &str = "\
# Reliability over Redis

What happens to messages when instances, connections and Redis fail: each fault was tried with several seeds, on real
processes. A trial is two or three instances over a Redis of their own, each instance behind a proxy that can fail as
networks do; six readers in three rooms, six publishers, and two who write direct messages to each other, who come back,
resume and repeat with the same keys in the same order as a good client does, and who write down every frame. Four publishers
wait for each ack; two send heaps and have up to 40 messages in a room unacked, so that the service publishes several of them
together. Three visitors come and go all the time, with a word or without. The seed decides when the fault strikes, whom, and
for how long. Afterwards a checker that was not there reads the raw logs, and what Redis holds, rooms and inboxes, and judges:

- **lost without a gap**: a message that the log has and a reader should have, and has not; or a reader that saw what the
  log lost, and was not told. Must be 0.
- **repeated**: an offset that came twice to a reader, or a key that is stored twice. Must be 0.
- **out of order**: an offset that did not follow the one before; a message that differs from what others or the log have
  at its place, or came before the room was joined; or what one publisher sent to a room over one connection, and got acked
  at the first attempt, that stands in the log in another order than it was sent. Must be 0.
- **most unacked at once**, **order compared**: how many one publisher had on their way in one room, and of how many
  messages the place was compared with that of the one sent before.
- **gaps told (sessions)**: must be 0 where the log kept everything; elsewhere, each to a reader that had seen lost data.
- **acked outside the fault**: publishes answered before the strike, or sent after a message in every room had reached
  every member again, that were acked at the first attempt. At least 99 % must be.
- **acked, lost by the log**: acked messages that Redis itself lost. Parley can only tell, not prevent; set
  `min-replicas-to-write`, or `appendfsync always`, to have fewer.
- **presence asked, untrue**: when all is quiet, each instance is asked who is in each room, until that is who is there, for
  at most 50 s (promise 4: 45 s); and in how many cases it never was. Must be 0.
- **whole again after**: from the strike until no publish and no delivery took longer than 1 s any more.

Not tried here: ephemeral frames, hints of presence, and kicks; the last are tried over Redis in `tests/redis`, without
these faults.

One thing to know about Sentinel. A primary that was only paused comes back believing that it is one, and takes writes until
Sentinels set it right, which they do after some ten seconds. Instances leave a primary that does not answer for 5 s; if the
Sentinels replace it sooner (`down-after-milliseconds` is 500 here) and it comes back at once, instances are still with it,
and what it acks meanwhile is lost: told as a gap, but lost, as `stale-primary` shows. Keep `down-after-milliseconds` at
5,000 or more, as Sentinel's own default of 30,000 is.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_line_for_every_trial_and_says_how_many_were_good() {
        let good = Row { fault: Fault::Cut, seed: 3, result: Ok(Report { attempted: 7, ..Report::default() }) };
        let bad = Row { fault: Fault::Held, seed: 4, result: Err("it did not start".to_owned()) };
        let text = document(&[good, bad], "tests/run", "a server");
        assert!(text.contains("| cut | 3 | 7 | 0 | 0/0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 (0) | 0, 0 | – |"), "{text}");
        assert!(text.contains("| held | 4 | it did not start |"), "{text}");
        assert!(text.contains("1 of 2 trials kept every promise above."), "{text}");
        assert!(!text.contains("flushed"), "faults that were not tried are not described");
    }

    #[test]
    fn faults_have_names_of_their_own() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.as_str()), Ok(fault));
        }
        assert!(Fault::parse("nonsense").is_err_and(|error| error.contains("black-hole-up")));
    }
}
