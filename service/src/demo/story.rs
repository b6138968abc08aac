//! The scenes of the demo: what happens, what came of it as a table, and whether that is what was to be shown.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::crew::Crew;
use super::person::Person;
use super::{DemoError, shown};
use crate::clock::{Clock as _, SystemClock};

/// How long somebody waits for a message before it counts as not received.
const MESSAGE_WAIT: Duration = Duration::from_secs(2);
/// Lines that are written around the death of a server.
const LINES: usize = 20;
/// The line after which it dies.
const DEATH_AFTER: usize = 8;
/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_millis(40);
/// Time between two attempts to connect again.
const AGAIN_EVERY: Duration = Duration::from_millis(50);
/// How long all of the second scene may take.
const SCENE_WAIT: Duration = Duration::from_secs(30);

/// The people, still connected.
pub(super) struct Cast {
    alice: Person,
    bob: Person,
    _charlie: Person,
}

/// Alice and Charlie on one server, Bob on the other; Alice writes. Whether it went as it should.
pub(super) async fn one_message(crew: &Crew, isolated: bool, out: &mut impl Write) -> Result<(bool, Cast), DemoError> {
    const LINE: &str = "Hello, everyone!";
    writeln!(out, "Alice, Bob and Charlie connect to the balancer, one after the other, and join the same room.")?;
    let gate = crew.balancer();
    let mut alice = Person::arrive(gate, "Alice", None).await?;
    let mut bob = Person::arrive(gate, "Bob", None).await?;
    let mut charlie = Person::arrive(gate, "Charlie", None).await?;
    writeln!(out, "Alice writes: {LINE}\n")?;
    out.flush()?;

    let clock = SystemClock::start();
    let started = clock.now().mono;
    alice.say(LINE).await?;
    let receive = async |person: &mut Person| {
        let heard = tokio::time::timeout(MESSAGE_WAIT, person.hear(LINE)).await.unwrap_or(false);
        heard.then(|| clock.now().mono.since(started))
    };
    let received = tokio::join!(receive(&mut alice), receive(&mut charlie), receive(&mut bob));
    let rows = [
        (&alice, "server-1", received.0, true),
        (&charlie, "server-1", received.1, true),
        (&bob, "server-2", received.2, !isolated),
    ];
    writeln!(out, "  {:8}  {:9}  received", "who", "instance")?;
    let mut as_told = true;
    for (person, place, received, should) in rows {
        let result = match (received, should) {
            (Some(after), true) => format!("yes, after {}", shown(after)),
            (Some(after), false) => format!("yes, after {}: but nothing is shared, so this cannot be", shown(after)),
            (None, true) => format!("NO, nothing in {} s", MESSAGE_WAIT.as_secs()),
            (None, false) => format!("nothing in {} s, as expected", MESSAGE_WAIT.as_secs()),
        };
        let right_place = person.instance == place;
        let wrong = if right_place { String::new() } else { format!("   (should be on {place})") };
        writeln!(out, "  {:8}  {:9}  {result}{wrong}", person.name, person.instance)?;
        as_told &= right_place && received.is_some() == should;
    }
    let moral = if isolated {
        "server-2 has never heard of Alice's message: each instance keeps its rooms to itself."
    } else {
        "The message went through Redis to server-2 and on to Bob."
    };
    writeln!(out, "\n{moral}")?;
    Ok((as_told, Cast { alice, bob, _charlie: charlie }))
}

/// Server-2 dies while Alice writes; Bob resumes on server-1. Whether he has every line, once and in order.
pub(super) async fn a_server_dies(crew: &mut Crew, cast: Cast, out: &mut impl Write) -> Result<bool, DemoError> {
    writeln!(out, "\nAlice goes on: {LINES} lines. After line {DEATH_AFTER}, server-2 is killed (kill -9).\n")?;
    out.flush()?;
    let Cast { mut alice, mut bob, _charlie } = cast;
    let gate = crew.balancer();
    let clock = SystemClock::start();
    let lines: Vec<String> = (1..=LINES).map(|n| format!("line {n}")).collect();
    bob.heard.clear();

    let writing = async {
        for (n, line) in (1..).zip(&lines) {
            alice.say(line).await?;
            if n == DEATH_AFTER {
                crew.kill_second().await?;
            }
            tokio::time::sleep(LINE_EVERY).await;
        }
        Ok::<(), DemoError>(())
    };
    let last = lines.last().map(String::as_str).unwrap_or_default();
    let reading = listen_through(bob, gate, last, &clock);
    let both = tokio::time::timeout(SCENE_WAIT, async { tokio::try_join!(writing, reading) }).await;
    let late = |_| DemoError::Chat { name: "Bob", why: "he did not hear the last line in time".to_owned() };
    let ((), (bob, away)) = both.map_err(late)??;

    let all = bob.heard == lines;
    writeln!(out, "  {:8}  {:20}  {:8}  received", "who", "instance", "away")?;
    let way = format!("server-2 → {}", bob.instance);
    let away = away.map_or_else(|| "never".to_owned(), shown);
    let verdict = if all { "each once and in order" } else { "NOT each once and in order" };
    writeln!(out, "  {:8}  {way:20}  {away:8}  {} of {LINES} lines, {verdict}", bob.name, bob.heard.len())?;
    writeln!(out, "\nBob resumed from the last line that he had; the log in Redis had kept the rest.")?;
    Ok(all && bob.instance == "server-1")
}

/// Listens until `last`, over a connection that breaks; with the listener again, and how long he was away.
async fn listen_through(
    mut bob: Person,
    gate: SocketAddr,
    last: &str,
    clock: &SystemClock,
) -> Result<(Person, Option<Duration>), DemoError> {
    let mut away = None;
    while !bob.hear(last).await {
        let lost = clock.now().mono;
        let position = bob.position();
        let mut returned = loop {
            match Person::arrive(gate, bob.name, Some(&position)).await {
                Ok(person) => break person,
                Err(_) => tokio::time::sleep(AGAIN_EVERY).await,
            }
        };
        away = Some(clock.now().mono.since(lost));
        let missed = std::mem::take(&mut returned.heard);
        returned.heard = std::mem::take(&mut bob.heard);
        returned.heard.extend(missed);
        bob = returned;
    }
    Ok((bob, away))
}
