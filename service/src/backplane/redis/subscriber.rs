//! What an instance is subscribed to, and what arrives. Subscriptions are kept here and not by fred, whose own way of
//! restoring them goes wrong in silence: after every new connection they are all asked for again, acknowledged, and then
//! the hub is told to compare everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use crate::backplane::Arrival;
use crate::ids::LogName;
use crate::redis::{Address, CallError, Link, Message, Payload, Reply, Role, Trouble, bytes, parse};

/// Subscriptions that are asked for at the same time.
const SUBSCRIPTIONS_AT_ONCE: usize = 512;
/// Pause before subscriptions that were not acknowledged are asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Subscriber {
    link: Arc<Link>,
    /// What should arrive. The command that makes it so is sent while this is locked, so that subscriptions and their
    /// ends reach the server in the order in which they were asked for.
    wanted: Mutex<HashMap<Box<str>, LogName>>,
    probes: String,
}

type Acknowledged = BoxFuture<'static, Result<(), CallError>>;

impl Subscriber {
    /// Takes what arrives from now on; to be called before the link connects.
    pub(super) fn start(link: Arc<Link>, arrivals: mpsc::Sender<Arrival>) -> Arc<Self> {
        let probes = link.keys.probe_channel(link.id());
        let subscriber = Arc::new(Self { wanted: Mutex::default(), probes, link });
        let link = &subscriber.link;
        let (messages, connections) = (link.subscriptions.messages(), link.subscriptions.connections());
        let pass_on = Arc::clone(&subscriber).pass_on(messages, arrivals.clone());
        link.tasks.spawn(link.stop.clone().run_until_cancelled_owned(pass_on));
        let restore = Arc::clone(&subscriber).restore(connections, arrivals);
        link.tasks.spawn(link.stop.clone().run_until_cancelled_owned(restore));
        subscriber
    }

    /// Subscribes, and waits until the server has said so.
    pub(super) async fn subscribe(&self, log: &LogName) -> Result<(), CallError> {
        let channel = self.link.keys.log(log).channel();
        let acknowledged = {
            let mut wanted = self.wanted.lock();
            wanted.insert(channel.as_str().into(), log.clone());
            self.ask(&channel)
        };
        acknowledged.await
    }

    /// Ends a subscription; what still arrives is dropped.
    pub(super) fn unsubscribe(&self, log: &LogName) {
        let channel = self.link.keys.log(log).channel();
        let mut wanted = self.wanted.lock();
        if wanted.remove(channel.as_str()).is_some() {
            self.link.subscriptions.unsubscribe(&channel);
        }
        if wanted.capacity() > 4 * wanted.len().max(16) {
            wanted.shrink_to_fit();
        }
    }

    /// Sends the command now; the answer is waited for by polling on. Only an acknowledgement of this channel is one.
    fn ask(&self, channel: &str) -> Acknowledged {
        let (link, channel) = (Arc::clone(&self.link), Bytes::from(channel.to_owned()));
        let life = link.subscriptions.life();
        let asked = link.subscriptions.call("SSUBSCRIBE", vec![bytes(channel.clone())]);
        let checked = async move {
            match asked.await?.into_array().as_slice() {
                [Reply::Bytes(_), Reply::Bytes(of), _] if *of == channel => Ok(()),
                _ => Err(link.out_of_step(Role::Subscriptions, life)),
            }
        };
        let mut asked = checked.boxed();
        match asked.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => std::future::ready(answer).boxed(),
            Poll::Pending => asked,
        }
    }

    /// Passes on what arrives. Waits for the hub; what the connection cannot keep meanwhile is told as a lag.
    async fn pass_on(self: Arc<Self>, mut messages: broadcast::Receiver<Message>, arrivals: mpsc::Sender<Arrival>) {
        loop {
            let arrival = match messages.recv().await {
                Ok(message) => match self.take(message) {
                    Some(arrival) => arrival,
                    None => continue,
                },
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    self.link.troubles.note(Trouble::Lag, &format!("{count} messages were dropped"));
                    Arrival::Lagged
                }
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
    }

    fn take(&self, message: Message) -> Option<Arrival> {
        let payload = match message.value {
            Value::Bytes(payload) => payload,
            Value::String(payload) => payload.into_inner(),
            _ => Bytes::new(),
        };
        let channel: &str = &message.channel;
        let parsed = parse(&payload);
        if parsed.is_none() {
            let text = "a payload that this version does not know; do versions run together that are too far apart?";
            self.link.troubles.note(Trouble::Other, text);
        }
        match parsed? {
            Payload::Probe { run_id, number } => {
                if channel == self.probes {
                    self.link.heard(run_id, number);
                }
                None
            }
            Payload::Message { position, traceparent, frame } => {
                let log = self.wanted.lock().get(channel)?.clone();
                Some(Arrival::Message { log, position, frame, traceparent })
            }
            Payload::Ephemeral { kind, frame } => {
                let log = self.wanted.lock().get(channel)?.clone();
                Some(Arrival::Ephemeral { log, frame, kind })
            }
        }
    }

    /// Restores all subscriptions each time that there is a new connection.
    async fn restore(self: Arc<Self>, mut connections: broadcast::Receiver<Address>, arrivals: mpsc::Sender<Arrival>) {
        loop {
            if matches!(connections.recv().await, Err(broadcast::error::RecvError::Closed)) {
                return;
            }
            let mut again = true;
            while again {
                // What was said so far is about connections before the one that is asked now.
                connections = connections.resubscribe();
                again = match self.restore_once().await {
                    Ok(run_id) => {
                        self.link.listens_at(&run_id);
                        false
                    }
                    Err(error) => {
                        self.link.note(&error);
                        tokio::time::sleep(ASK_AGAIN).await;
                        true
                    }
                };
            }
            if !self.wanted.lock().is_empty() && arrivals.send(Arrival::Lagged).await.is_err() {
                return;
            }
        }
    }

    /// Subscribes to everything wanted and returns the `run_id` of the server that did it.
    async fn restore_once(&self) -> Result<Box<str>, CallError> {
        let life = self.link.subscriptions.life();
        let info = self.link.subscriptions.call("INFO", vec![bytes("server")]).await?;
        let run_id = info.text().and_then(|text| text.split("run_id:").nth(1)?.split_whitespace().next());
        let run_id: Box<str> = run_id.ok_or_else(|| self.link.out_of_step(Role::Subscriptions, life))?.into();
        self.ask(&self.probes).await?;

        let channels: Vec<Box<str>> = self.wanted.lock().keys().cloned().collect();
        let mut asked = FuturesUnordered::new();
        for channel in channels {
            if asked.len() >= SUBSCRIPTIONS_AT_ONCE {
                asked.next().await.transpose()?;
                self.link.subscribed();
            }
            let wanted = self.wanted.lock();
            if wanted.contains_key(&channel) {
                asked.push(self.ask(&channel));
            }
        }
        while let Some(answer) = asked.next().await {
            answer?;
            self.link.subscribed();
        }
        Ok(run_id)
    }
}
