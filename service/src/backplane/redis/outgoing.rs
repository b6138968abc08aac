//! Frames that are not logged, on their way out: nobody waits for them and nobody learns what became of them, so they
//! have a short queue of their own. When it is full, they are dropped and counted.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use crate::delivery::EphemeralKind;
use crate::redis::{Link, ephemeral};

/// Frames that may wait for their turn.
const WAITING: usize = 1_024;
/// Frames on their way to the server at the same time.
const AT_ONCE: usize = 256;

/// See the module.
pub(super) struct Outgoing {
    queue: mpsc::Sender<(String, Bytes)>,
    dropped: Counter,
}

impl Outgoing {
    /// Sends what is queued for as long as the link lasts.
    pub(super) fn start(link: Arc<Link>, dropped: Counter) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let (tasks, stop) = (link.tasks.clone(), link.stop.clone());
        tasks.spawn(stop.run_until_cancelled_owned(carry(link, waiting)));
        Self { queue, dropped }
    }

    /// Queues a frame for a channel.
    pub(super) fn send(&self, channel: String, kind: EphemeralKind, frame: &[u8]) {
        if self.queue.try_send((channel, ephemeral(kind, frame))).is_err() {
            self.dropped.inc();
        }
    }
}

async fn carry(link: Arc<Link>, mut waiting: mpsc::Receiver<(String, Bytes)>) {
    let mut sent = FuturesUnordered::new();
    loop {
        tokio::select! {
            next = waiting.recv(), if sent.len() < AT_ONCE => {
                let Some((channel, payload)) = next else { return };
                sent.push(link.send(channel, payload));
            }
            // Whether it arrived is of no account; that it failed was noted.
            Some(_) = sent.next(), if !sent.is_empty() => {}
        }
    }
}
