//! Several instances on one embedded backplane, with faults between them and it if asked for, and the balancer that
//! clients see in front of them. One instance by itself is `node.rs`.

use std::net::SocketAddr;
use std::ops::Index;
use std::sync::Arc;

use parking_lot::Mutex;
use parley_service::backplane::Backplane;
use parley_service::backplane::faults::{FaultPlan, Faulty};
use parley_service::clock::SystemClock;
use parley_service::config::Config;
use parley_service::entropy::SeededEntropy;
use parley_service::ids::ServerId;
use parley_service::server::Embedded;

use crate::node::{Node, open_auth};

/// A fleet that is about to be started.
pub struct FleetBuilder {
    nodes: usize,
    config: Config,
    faults: Option<(u64, FaultPlan)>,
    stopped_clock: bool,
}

/// Running instances, called `node-0`, `node-1` and so on.
pub struct Fleet {
    embedded: Arc<Embedded>,
    builder: FleetBuilder,
    members: Vec<Member>,
    balancer: Balancer,
}

struct Member {
    node: Option<Node>,
    faults: Option<Arc<Faulty>>,
}

/// The addresses that a client is offered, in turn. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Balancer(Arc<Mutex<(usize, Vec<SocketAddr>)>>);

impl Balancer {
    /// Always this one.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        let balancer = Self::default();
        balancer.add(address);
        balancer
    }

    /// Offers one more.
    pub fn add(&self, address: SocketAddr) {
        self.0.lock().1.push(address);
    }

    /// Offers it no more.
    pub fn remove(&self, address: SocketAddr) {
        self.0.lock().1.retain(|other| *other != address);
    }

    /// The next one in turn, if there is any.
    #[must_use]
    pub fn pick(&self) -> Option<SocketAddr> {
        let (turn, addresses) = &mut *self.0.lock();
        *turn += 1;
        addresses.get(*turn % addresses.len().max(1)).copied()
    }
}

impl FleetBuilder {
    /// Changes the settings of every instance.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Puts faults between every instance and the backplane, each with a seed of its own derived from this one.
    #[must_use]
    pub fn faults(mut self, seed: u64, plan: FaultPlan) -> Self {
        self.faults = Some((seed, plan));
        self
    }

    /// As [`crate::node::NodeBuilder::stopped_clock`], for every instance.
    #[must_use]
    pub fn stopped_clock(mut self) -> Self {
        self.stopped_clock = true;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// An instance cannot start.
    pub async fn start(self) -> Fleet {
        let seed = self.faults.map_or(0, |(seed, _)| seed);
        let embedded = Embedded::new(&self.config, SystemClock::start(), SeededEntropy::new(seed));
        let nodes = self.nodes;
        let mut fleet =
            Fleet { embedded: Arc::new(embedded), builder: self, members: Vec::new(), balancer: Balancer::default() };
        for _ in 0..nodes {
            fleet.add().await;
        }
        fleet
    }
}

impl Fleet {
    /// A fleet of this many, with the defaults of [`Config::for_tests`].
    #[must_use]
    pub fn of(nodes: usize) -> FleetBuilder {
        FleetBuilder { nodes, config: Config::for_tests(), faults: None, stopped_clock: false }
    }

    /// Starts one more instance and returns its number.
    ///
    /// # Panics
    /// It cannot start.
    pub async fn add(&mut self) -> usize {
        let number = self.members.len();
        let faults = self.builder.faults.map(|(seed, plan)| (seed.wrapping_mul(1_000) + number as u64, plan));
        let embedded = Arc::clone(&self.embedded);
        let wrapped: Arc<Mutex<Option<Arc<Faulty>>>> = Arc::default();
        let made = Arc::clone(&wrapped);
        let mut builder = Node::builder().config(|config| *config = self.builder.config.clone());
        if self.builder.stopped_clock {
            builder = builder.stopped_clock();
        }
        let builder = builder.server_id(&format!("node-{number}")).ports(move |config| {
            let server_id = ServerId::parse(&config.server_id).expect("the name of a member is a name");
            let mut ports = embedded.ports(server_id, open_auth());
            if let Some((seed, plan)) = faults {
                let (faulty, arrivals, _pump) = Faulty::wrap(ports.backplane, ports.arrivals, seed, plan);
                *made.lock() = Some(Arc::clone(&faulty));
                ports.backplane = faulty as Arc<dyn Backplane>;
                ports.arrivals = arrivals;
            }
            ports
        });
        let node = builder.start().await;
        self.balancer.add(node.address());
        let faults = wrapped.lock().take();
        self.members.push(Member { node: Some(node), faults });
        number
    }

    /// What clients see of the fleet: the instances that are not being stopped.
    #[must_use]
    pub fn balancer(&self) -> Balancer {
        self.balancer.clone()
    }

    /// The faults in front of an instance.
    ///
    /// # Panics
    /// The fleet has none.
    #[must_use]
    pub fn faults(&self, number: usize) -> &Faulty {
        self.members[number].faults.as_ref().expect("this fleet was started with faults")
    }

    /// The instances that live.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.members.iter().filter_map(|member| member.node.as_ref())
    }

    /// Takes an instance out of the fleet; clients are no longer offered it.
    ///
    /// # Panics
    /// It was taken before.
    pub fn take(&mut self, number: usize) -> Node {
        let node = self.members[number].node.take().expect("the instance lives");
        self.balancer.remove(node.address());
        node
    }

    /// As `kill -9` of one instance.
    ///
    /// # Panics
    /// It was taken before.
    pub async fn kill(&mut self, number: usize) {
        self.take(number).kill().await;
    }
}

impl Index<usize> for Fleet {
    type Output = Node;

    fn index(&self, number: usize) -> &Node {
        self.members[number].node.as_ref().expect("the instance lives")
    }
}
