//! How each fault strikes, holds, and is taken away. It returns when all is well again outside the service: what the
//! service makes of it is the trial's question.

use std::time::Duration;

use super::fault::Fault;
use super::scene::{Scene, role};
use crate::eventually::eventually_fetched;
use crate::proxy::{Way, Weather};
use crate::redis::{Answer, pass};

/// How long acked writes go on that will be lost.
const TO_BE_LOST: Duration = Duration::from_millis(700);
/// How long something may take that the machine does by itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// Times that connections are killed or cut, and faults of a storm.
const TIMES: usize = 3;
/// What a storm is made of: the log survives each of them.
const STORM: [Fault; 11] = [
    Fault::InstanceKilled,
    Fault::RestartedWhole,
    Fault::SubscriberKilled,
    Fault::CommandsKilled,
    Fault::Paused,
    Fault::BlackHole,
    Fault::BlackHoleUp,
    Fault::BlackHoleDown,
    Fault::Held,
    Fault::Cut,
    Fault::Refused,
];

/// Strikes, holds, heals.
///
/// # Errors
/// The fault did not do what it should.
pub(super) async fn strike(scene: &mut Scene, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::None => {}
        Fault::Storm => {
            for _ in 0..TIMES {
                let next = STORM[scene.below(STORM.len())];
                Box::pin(strike(scene, next)).await?;
                pass(scene.between(0, 1_000)).await;
            }
        }
        Fault::InstanceKilled => {
            let (number, mut node) = scene.take_any();
            node.kill().await;
            pass(scene.between(300, 1_500)).await;
            scene.add(number).await;
        }
        Fault::InstanceDrained => {
            let (_, mut node) = scene.take_any();
            node.signal("TERM").await;
            let status = node.ended().await;
            anyhow::ensure!(status.success(), "the drained instance ended with {status}");
        }
        Fault::RestartedWhole | Fault::RestartedOld | Fault::RestartedEmpty => restart(scene, fault).await,
        Fault::Failover | Fault::FailoverLagging | Fault::StalePrimary => fail_over(scene, fault).await?,
        Fault::SubscriberKilled => kill_clients(scene, "pubsub").await?,
        Fault::CommandsKilled => kill_clients(scene, "normal").await?,
        Fault::Overflow => overflow(scene).await?,
        Fault::Paused => {
            scene.redis.signal("STOP").await;
            pass(scene.between(1_000, 10_000)).await;
            scene.redis.signal("CONT").await;
        }
        Fault::Flushed => {
            scene.redis.ask(&["FLUSHALL"]).await;
        }
        Fault::Cut => {
            let proxy = scene.any_proxy();
            for _ in 0..TIMES {
                proxy.cut();
                pass(scene.between(20, 400)).await;
            }
        }
        Fault::BlackHole
        | Fault::BlackHoleUp
        | Fault::BlackHoleDown
        | Fault::Held
        | Fault::Refused
        | Fault::Delayed
        | Fault::Throttled => bad_weather(scene, fault).await,
    }
    Ok(())
}

async fn restart(scene: &mut Scene, fault: Fault) {
    if fault == Fault::RestartedOld {
        scene.redis.ask(&["SAVE"]).await;
        pass(TO_BE_LOST).await;
    }
    scene.redis.kill().await;
    if fault == Fault::RestartedEmpty {
        scene.redis.wipe();
    }
    pass(scene.between(0, 2_000)).await;
    scene.redis.restart().await;
}

async fn fail_over(scene: &mut Scene, fault: Fault) -> anyhow::Result<()> {
    let replica = scene.replica.as_ref().expect("a trial with a failover has a replica");
    match fault {
        Fault::Failover => {
            // Nothing is accepted from now on, and the replica gets what was.
            scene.redis.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
            let offsets = async || {
                let of = async |redis: &crate::redis::Redis| {
                    let info = redis.ask(&["INFO", "replication"]).await;
                    info.text().lines().find_map(|line| line.strip_prefix("master_repl_offset:").map(str::to_owned))
                };
                (of(&scene.redis).await, of(replica).await)
            };
            eventually_fetched(PATIENCE, offsets, |(primary, replica)| primary == replica).await;
            scene.redis.kill().await;
            scene.promoted().await;
        }
        Fault::FailoverLagging => {
            // To a port where nobody listens. Sentinels would set that right after some seconds.
            replica.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
            pass(TO_BE_LOST).await;
            scene.redis.kill().await;
            scene.promoted().await;
        }
        _ => {
            scene.redis.signal("STOP").await;
            scene.promoted().await;
            // Shorter than the time-outs of the instances, which then go on with the old one until Sentinel stops it; or
            // longer, so that they have gone over to the new one before the old one comes back.
            pass(scene.between(0, 8_000)).await;
            scene.redis.signal("CONT").await;
            role(&scene.redis, "role:slave").await;
        }
    }
    Ok(())
}

async fn kill_clients(scene: &Scene, kind: &str) -> anyhow::Result<()> {
    for _ in 0..TIMES {
        let killed = scene.redis.ask(&["CLIENT", "KILL", "TYPE", kind]).await;
        // On the way back from the last time there may be none.
        anyhow::ensure!(matches!(killed, Answer::Number(_)), "CLIENT KILL: {killed:?}");
        pass(scene.between(50, 500)).await;
    }
    Ok(())
}

/// An instance does not read what it is sent, until the server has had enough. What it is sent besides is noise on the
/// channels of probes, in pieces that the other instances take in time.
async fn overflow(scene: &Scene) -> anyhow::Result<()> {
    const NOISE: &str = "for i = 1, 60 do redis.call('SPUBLISH', KEYS[1], '1 P\\n' .. string.rep('x', 1000)) end";
    const ROUNDS: usize = 600;
    let given_up = || scene.redis.log().contains("overcoming of output buffer limits");
    let proxy = scene.any_proxy();
    proxy.set(Weather { down: Way::Held, ..Weather::default() });
    for _ in 0..ROUNDS {
        if given_up() {
            break;
        }
        let channels = scene.redis.ask(&["PUBSUB", "SHARDCHANNELS", "parley:{n:*"]).await;
        for channel in channels.texts() {
            scene.redis.ask(&["EVAL", NOISE, "1", channel]).await;
        }
        pass(Duration::from_millis(5)).await;
    }
    proxy.heal();
    anyhow::ensure!(given_up(), "the server did not give the subscriber up");
    Ok(())
}

async fn bad_weather(scene: &Scene, fault: Fault) {
    let fair = Weather::default();
    let (up, down) = (Way::Swallowed, Way::Swallowed);
    let (weather, hold) = match fault {
        Fault::BlackHole => (Weather { up, down, ..fair }, scene.between(2_000, 8_000)),
        Fault::BlackHoleUp => (Weather { up, ..fair }, scene.between(2_000, 8_000)),
        Fault::BlackHoleDown => (Weather { down, ..fair }, scene.between(2_000, 8_000)),
        Fault::Held => (Weather { up: Way::Held, down: Way::Held, ..fair }, scene.between(1_000, 10_000)),
        Fault::Refused => (Weather { refusing: true, ..fair }, scene.between(1_000, 4_000)),
        Fault::Delayed => {
            let delay = Some((Duration::from_millis(30), Duration::from_millis(60)));
            (Weather { delay, ..fair }, scene.between(3_000, 5_000))
        }
        _ => (Weather { rate: Some(6_000), ..fair }, scene.between(3_000, 5_000)),
    };
    let proxy = scene.any_proxy();
    proxy.set(weather);
    if weather.refusing {
        proxy.cut();
    }
    pass(hold).await;
    proxy.heal();
}
