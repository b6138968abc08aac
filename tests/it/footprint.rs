//! What a connection weighs while it waits: the size of the future that every session is. What it allocates besides is
//! measured by the load generator, not here.

use parley_service::edge::connection::Connection;
use tokio::net::TcpStream;
use tokio_util::task::task_tracker::TrackedFuture;

/// 824 when this was written, and a little air. Who goes over it pays it a hundred thousand times.
const SPAWNED_MAX: usize = 872;

#[test]
fn the_future_of_a_connection_is_small() {
    let spawned = size_of::<TrackedFuture<Connection<TcpStream>>>();
    println!("a connection is {} bytes, as it is spawned {spawned}", size_of::<Connection<TcpStream>>());
    assert!(spawned <= SPAWNED_MAX, "{spawned}");
}
