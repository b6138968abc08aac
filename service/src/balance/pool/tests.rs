//! The choice, by example and for every history of events.

use proptest::prelude::*;

use super::*;

fn pool(policy: BalancePolicy, count: usize) -> Pool {
    let addresses: Vec<String> = (0..count).map(|n| format!("10.0.0.{n}:8080")).collect();
    let mut pool = Pool::new(policy, &addresses);
    for index in 0..count {
        pool.saw(index, Sighting::Said(Health::Ok));
    }
    pool
}

fn choices(pool: &mut Pool, kind: Kind, count: usize) -> Vec<usize> {
    (0..count).map(|_| pool.choose(kind, None, Tried::default()).expect("one is there")).collect()
}

#[test]
fn round_robin_takes_turns() {
    let mut pool = pool(BalancePolicy::RoundRobin, 3);
    assert_eq!(choices(&mut pool, Kind::Upgrade, 5), [0, 1, 2, 0, 1]);
}

#[test]
fn the_files_of_a_page_do_not_take_the_turns_of_its_websocket() {
    let mut pool = pool(BalancePolicy::RoundRobin, 2);
    let sockets: Vec<usize> = (0..4)
        .map(|_| {
            choices(&mut pool, Kind::Plain, 3);
            choices(&mut pool, Kind::Upgrade, 1)[0]
        })
        .collect();
    assert_eq!(sockets, [0, 1, 0, 1]);
}

#[test]
fn the_fewest_connections_win_and_equals_take_turns() {
    let mut pool = pool(BalancePolicy::LeastConnections, 3);
    assert_eq!(choices(&mut pool, Kind::Upgrade, 3), [0, 1, 2]);
    pool.closed(1, false);
    assert_eq!(choices(&mut pool, Kind::Upgrade, 2), [1, 2]);
}

#[test]
fn a_cookie_brings_back_to_the_same_upstream() {
    let mut pool = pool(BalancePolicy::Cookie, 3);
    let route = pool.members()[2].route.clone();
    for _ in 0..5 {
        assert_eq!(pool.choose(Kind::Upgrade, Some(&route), Tried::default()), Some(2));
    }
    assert_eq!(pool.choose(Kind::Upgrade, Some("nobody"), Tried::default()), Some(0));
}

#[test]
fn a_cookie_of_an_upstream_that_must_get_nothing_new_is_not_followed() {
    for health in [Health::Draining, Health::Unready, Health::Down, Health::Unknown] {
        let mut pool = pool(BalancePolicy::Cookie, 2);
        let route = pool.members()[0].route.clone();
        pool.saw(0, Sighting::Said(health));
        assert_eq!(pool.choose(Kind::Upgrade, Some(&route), Tried::default()), Some(1), "{health:?}");
    }
}

#[test]
fn other_policies_know_no_cookie() {
    let mut pool = pool(BalancePolicy::RoundRobin, 2);
    let route = pool.members()[1].route.clone();
    assert_eq!(pool.choose(Kind::Upgrade, Some(&route), Tried::default()), Some(0));
}

#[test]
fn one_slow_probe_takes_nobody_out_and_three_do() {
    let mut pool = pool(BalancePolicy::RoundRobin, 1);
    assert_eq!(pool.saw(0, Sighting::Silent), None);
    assert_eq!(pool.saw(0, Sighting::Silent), None);
    assert_eq!(pool.saw(0, Sighting::Silent), Some(Health::Down));
    assert_eq!(pool.choose(Kind::Plain, None, Tried::default()), None);
    assert_eq!(pool.saw(0, Sighting::Said(Health::Ok)), Some(Health::Ok));
    assert_eq!(pool.saw(0, Sighting::Silent), None);
}

#[test]
fn who_refuses_is_out_at_once() {
    let mut pool = pool(BalancePolicy::RoundRobin, 2);
    assert_eq!(pool.saw(0, Sighting::Unreachable), Some(Health::Down));
    assert_eq!(choices(&mut pool, Kind::Upgrade, 3), [1, 1, 1]);
}

#[test]
fn the_unknown_get_connections_only_when_no_other_can() {
    let addresses = ["a:1".to_owned(), "b:1".to_owned()];
    let mut pool = Pool::new(BalancePolicy::RoundRobin, &addresses);
    assert_eq!(choices(&mut pool, Kind::Upgrade, 2), [0, 1]);
    pool.saw(1, Sighting::Said(Health::Ok));
    assert_eq!(choices(&mut pool, Kind::Upgrade, 2), [1, 1]);
}

#[derive(Debug, Clone)]
enum Event {
    Choose { upgrade: bool, route: Option<usize>, tried: u64 },
    Close(usize),
    Saw(usize, Sighting),
}

fn event() -> impl Strategy<Value = Event> {
    let health = prop::sample::select(vec![Health::Ok, Health::Ok, Health::Draining, Health::Unready]);
    let sighting = prop_oneof![
        4 => health.prop_map(Sighting::Said),
        1 => Just(Sighting::Unreachable),
        2 => Just(Sighting::Silent),
    ];
    prop_oneof![
        6 => (any::<bool>(), prop::option::of(0..4_usize), 0..16_u64)
            .prop_map(|(upgrade, route, tried)| Event::Choose { upgrade, route, tried }),
        3 => any::<usize>().prop_map(Event::Close),
        3 => (0..4_usize, sighting).prop_map(|(index, sighting)| Event::Saw(index, sighting)),
    ]
}

fn policy() -> impl Strategy<Value = BalancePolicy> {
    prop::sample::select(vec![BalancePolicy::RoundRobin, BalancePolicy::LeastConnections, BalancePolicy::Cookie])
}

proptest! {
    #[test]
    fn whatever_happens_only_the_able_are_chosen_and_the_books_are_right(
        policy in policy(),
        events in prop::collection::vec(event(), 0..200),
    ) {
        let mut pool = pool(policy, 4);
        let mut open: Vec<(usize, bool)> = Vec::new();
        for event in events {
            match event {
                Event::Choose { upgrade, route, tried } => {
                    let kind = if upgrade { Kind::Upgrade } else { Kind::Plain };
                    let route = route.map(|index| pool.members()[index].route.clone());
                    let before: Vec<_> = pool.members().to_vec();
                    let able: Vec<usize> =
                        (0..4).filter(|i| before[*i].health == Health::Ok && tried & (1 << i) == 0).collect();
                    let chosen = pool.choose(kind, route.as_deref(), Tried(tried));
                    prop_assert_eq!(chosen.is_some(), !able.is_empty());
                    let Some(chosen) = chosen else { continue };
                    prop_assert!(able.contains(&chosen));
                    let wanted = able.iter().copied().find(|i| Some(&before[*i].route) == route.as_ref());
                    if policy == BalancePolicy::Cookie && wanted.is_some() {
                        prop_assert_eq!(Some(chosen), wanted);
                    } else if policy != BalancePolicy::RoundRobin {
                        let fewest = able.iter().map(|i| before[*i].connections).min();
                        prop_assert_eq!(Some(before[chosen].connections), fewest);
                    }
                    if upgrade {
                        pool.upgraded(chosen);
                    }
                    open.push((chosen, upgrade));
                }
                Event::Close(which) if !open.is_empty() => {
                    let (index, upgraded) = open.swap_remove(which % open.len());
                    pool.closed(index, upgraded);
                }
                Event::Close(_) => {}
                Event::Saw(index, sighting) => {
                    let connections = pool.members()[index].connections;
                    pool.saw(index, sighting);
                    // Whatever is thought of an upstream, what it has it keeps.
                    prop_assert_eq!(pool.members()[index].connections, connections);
                }
            }
            for (index, member) in pool.members().iter().enumerate() {
                let mine = open.iter().filter(|(at, _)| *at == index);
                prop_assert_eq!(member.connections, mine.clone().count() as u64);
                prop_assert_eq!(member.websockets, mine.filter(|(_, upgraded)| *upgraded).count() as u64);
            }
        }
    }

    #[test]
    fn round_robin_is_fair_while_nothing_changes(count in 1..64_usize, rounds in 1..8_usize, extra in 0..64_usize) {
        let mut pool = pool(BalancePolicy::RoundRobin, count);
        choices(&mut pool, Kind::Upgrade, count * rounds + extra % count);
        let chosen: Vec<u64> = pool.members().iter().map(|member| member.chosen).collect();
        prop_assert!(chosen.iter().max().unwrap() - chosen.iter().min().unwrap() <= 1, "{chosen:?}");
    }
}
