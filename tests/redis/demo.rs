//! `parley demo` with a shared backplane, as a process: on a Redis of its own, and on one that is given.

use parley_service::config::{ProcessVars, Vars as _};
use parley_tests::process::parley;
use parley_tests::program::run;
use parley_tests::redis::Redis;
use tokio::process::Command;

/// That the story went as told, in its own words.
fn as_told(stdout: &str) {
    for part in [
        "Alice     server-1   yes, after ",
        "Charlie   server-1   yes, after ",
        "Bob       server-2   yes, after ",
        "server-2 → server-1",
        "20 of 20 lines, each once and in order",
        "Everything went as told.",
    ] {
        assert!(stdout.contains(part), "`{part}` is not in\n{stdout}");
    }
}

#[tokio::test]
async fn with_a_redis_of_its_own_everybody_receives_and_nobody_loses_a_line() {
    let path = ProcessVars.var("PATH").unwrap_or_default();
    let mut command: Command = parley(&["demo", "--ports=0,0,0"], &[]);
    let output = command.env("PATH", path).output().await.expect("it starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    as_told(&stdout);
    assert!(stdout.contains("-server of the demo's own"), "{stdout}");
}

#[tokio::test]
async fn a_redis_that_is_given_is_used_under_a_prefix_of_its_own() {
    let redis = Redis::start().await;
    let url = format!("--redis-url=redis://127.0.0.1:{}", redis.port());
    // The second time there is a history already.
    for _ in 0..2 {
        let output = run(&["demo", "--ports=0,0,0", &url], &[]).await;
        assert_eq!(output.status.code(), Some(0), "{}{}", output.stdout, output.stderr);
        as_told(&output.stdout);
    }
    let keys = redis.ask(&["KEYS", "*"]).await;
    let (ours, strangers): (Vec<&str>, Vec<&str>) =
        keys.texts().into_iter().partition(|key| key.starts_with("parley-demo"));
    assert!(!ours.is_empty() && strangers.is_empty(), "{keys:?}");
}
