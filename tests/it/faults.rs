//! A fleet whose arrivals are lost, late, doubled and swapped, whose publishes fail or stay open, and whose instances are
//! cut off: every reader still gets every acked message once and in order. The log is whole, so nobody is told of a gap.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parley_service::backplane::faults::FaultPlan;
use parley_service::entropy::{Entropy as _, SeededEntropy};
use parley_tests::checker::check;
use parley_tests::eventually::eventually;
use parley_tests::fleet::Fleet;
use parley_tests::resumer::Resumer;

const SEEDS: u64 = 40;
const EACH: u64 = 40;
const NODES: usize = 3;
const ROOMS: [&str; 2] = ["general", "other"];

async fn fleet(seed: u64, plan: FaultPlan) -> (Fleet, Vec<Resumer>) {
    let fleet = Fleet::of(NODES).config(|config| config.limits.messages_per_second = None).faults(seed, plan).start();
    let fleet = Box::pin(fleet).await;
    let mut clients = Vec::new();
    for n in 0..2 * NODES {
        clients.push(Resumer::joined(&format!("client-{n}"), &ROOMS, fleet.balancer()).await);
    }
    (fleet, clients)
}

async fn publish(clients: &[Resumer], each: u64) {
    for n in 0..each {
        for client in clients {
            client.publish(ROOMS[usize::try_from(n % 2).unwrap()], n).await;
        }
    }
}

/// All is well from now on, and whatever is missing is looked for.
fn calm(fleet: &Fleet) {
    for number in 0..NODES {
        fleet.faults(number).set_plan(FaultPlan::default());
        fleet.faults(number).release();
        fleet.faults(number).heal();
    }
}

async fn settled(clients: &[Resumer], published: u64) {
    for client in clients {
        client.acked().await;
    }
    for client in clients {
        for room in ROOMS {
            client.has(room, published / 2).await;
        }
    }
}

fn assert_whole(seed: u64, clients: &[Resumer], published: u64) {
    let report = check(&clients.iter().map(Resumer::record).collect::<Vec<_>>());
    assert_eq!((report.faults.iter().collect::<Vec<_>>(), report.gaps), (vec![], 0), "seed {seed}");
    let tops: u64 = ROOMS.iter().map(|room| clients[0].offset(room)).sum();
    assert_eq!((report.acked as u64, tops), (published, published), "seed {seed}: stored more often than asked");
}

#[tokio::test]
async fn a_rough_backplane_loses_and_doubles_nothing() {
    stream::iter(0..SEEDS).for_each_concurrent(4, |seed| Box::pin(rough(seed))).await;
}

async fn rough(seed: u64) {
    let (fleet, clients) = fleet(seed, FaultPlan::rough()).await;
    publish(&clients, EACH).await;
    for client in &clients {
        client.acked().await;
    }
    calm(&fleet);
    let published = EACH * clients.len() as u64;
    settled(&clients, published).await;
    assert_whole(seed, &clients, published);
    let seen = (0..NODES).map(|number| fleet.faults(number).counts());
    let suffered = seen.fold((0, 0, 0), |sum, one| {
        (sum.0 + one.lost + one.lagged, sum.1 + one.delayed + one.repeated, sum.2 + one.refused + one.unsure_stored)
    });
    assert!(suffered.0 > 0 && suffered.1 > 0 && suffered.2 > 0, "seed {seed} was spared: {suffered:?}");
}

#[tokio::test]
async fn an_instance_that_was_cut_off_catches_up() {
    stream::iter(0..SEEDS / 2).for_each_concurrent(4, |seed| Box::pin(partitioned(seed))).await;
}

async fn partitioned(seed: u64) {
    let dice = SeededEntropy::new(seed);
    let (fleet, clients) = fleet(seed, FaultPlan::default()).await;
    let mut published = 0;
    for _ in 0..3 {
        let victim = usize::try_from(dice.bits() % 3).unwrap();
        publish(&clients, 4).await;
        fleet.faults(victim).partition();
        publish(&clients, 6).await;
        published += 10 * clients.len() as u64;
        // Those on the other instances go on, and with them the log. The balancer gave this client the next instance.
        clients[victim].has(ROOMS[0], published / 8).await;
        if dice.bits().is_multiple_of(2) {
            fleet.faults(victim).heal();
        } else {
            // Unnoticed: what comes next shows the hole.
            fleet.faults(victim).heal_silently();
        }
        for client in &clients {
            client.acked().await;
        }
    }
    calm(&fleet);
    settled(&clients, published).await;
    assert_whole(seed, &clients, published);
}

#[tokio::test]
async fn a_lost_last_message_is_found_by_the_audit() {
    let plan = FaultPlan { lose: 1_000, ..FaultPlan::default() };
    let fleet = Fleet::of(2).faults(1, FaultPlan::default()).stopped_clock().start().await;
    let (mut alice, mut bob) = (fleet[0].client("alice").await, fleet[1].client("bob").await);
    alice.join("general").await;
    bob.join("general").await;
    alice.chat("general", 1).await;
    bob.expect_message("general", 1, 1).await;
    fleet.faults(1).set_plan(plan);
    alice.chat("general", "the last for a while").await;
    // It gets lost on its way, whenever that is.
    eventually(Duration::from_secs(10), || fleet.faults(1).counts().lost, |lost| *lost == 1).await;
    bob.expect_quiet().await;
    // Rooms have their turn in one of four audits, five seconds apart.
    for _ in 0..4 {
        fleet[1].advance(Duration::from_secs(6)).await;
    }
    bob.expect_message("general", 2, "the last for a while").await;
    bob.expect_quiet().await;
}

#[tokio::test]
async fn a_backplane_that_is_gone_is_told_and_healed_without_a_new_connection() {
    let fleet = Fleet::of(2).faults(1, FaultPlan::default()).start().await;
    let (mut alice, mut bob) = (fleet[0].client("alice").await, fleet[1].client("bob").await);
    alice.join("general").await;
    bob.join("general").await;
    fleet.faults(1).partition();
    let chat = serde_json::json!({ "type": "chat", "room": "general", "msg": "hi", "key": "k" });
    let error = bob.ask_for("error", chat.clone()).await;
    assert!(["unavailable", "outcome_unknown"].contains(&error.text("code")), "{error}");
    if error.text("code") == "outcome_unknown" {
        assert_eq!(error.text("key"), "k");
    }
    bob.ask_error("unavailable", serde_json::json!({ "type": "history", "room": "general" })).await;
    bob.ask_error("unavailable", serde_json::json!({ "type": "join", "room": "new" })).await;
    alice.chat("general", "meanwhile").await;
    fleet.faults(1).heal();
    let mut offsets = Vec::new();
    let ack = bob.ask_for("ack", chat).await;
    while offsets.len() < usize::try_from(ack.offset().max(2)).unwrap() {
        offsets.push(bob.expect("message").await.offset());
    }
    assert_eq!(offsets, [1, 2]);
    bob.expect_quiet().await;
    assert_eq!(fleet[1].metrics().edge.connections.get(), 1, "the socket stayed open");
}
