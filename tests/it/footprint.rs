//! What a connection weighs while it waits: the size of the future that every session is. What it allocates besides is
//! measured by the load generator, not here.

use parley_service::edge::connection::Connection;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// 816 when this was written, and a little air. Who goes over it pays it a hundred thousand times.
const CONNECTION_MAX: usize = 864;
/// 2,560 when this was written: the `async fn` that ends a connection on command holds it three times.
const SPAWNED_MAX: usize = 2_624;

/// The size of what `spawn` is given, without making one.
fn size_of_result<A, B, R>(_: impl Fn(A, B) -> R) -> usize {
    size_of::<R>()
}

#[test]
fn the_future_of_a_connection_is_small() {
    let connection = size_of::<Connection<TcpStream>>();
    let spawned = size_of_result(CancellationToken::run_until_cancelled_owned::<Connection<TcpStream>>);
    println!("a connection is {connection} bytes, as it is spawned {spawned}");
    assert!(connection <= CONNECTION_MAX, "{connection}");
    assert!(spawned <= SPAWNED_MAX, "{spawned}");
}
