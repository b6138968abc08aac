//! The proxy in front of a server that sends back what it gets. It is about sockets, so the clock is the real one.

use super::*;

const SOON: Duration = Duration::from_millis(300);

/// Sends back all it gets, on every connection, for as long as the returned tasks live.
async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.into_split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    (address, tasks)
}

async fn proxied() -> (Proxy, JoinSet<()>) {
    let (address, tasks) = echo().await;
    (Proxy::to(address, 7).await, tasks)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// What comes back for this; empty: the connection ended; `None`: nothing within a moment.
async fn say(stream: &mut TcpStream, text: &str) -> Option<String> {
    if stream.write_all(text.as_bytes()).await.is_err() {
        return Some(String::new());
    }
    hear(stream).await
}

async fn hear(stream: &mut TcpStream) -> Option<String> {
    let mut buffer = [0; 1_024];
    let length = tokio::time::timeout(SOON, stream.read(&mut buffer)).await.ok()?.unwrap_or(0);
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[tokio::test]
async fn in_fair_weather_all_arrives() {
    let (proxy, _echo) = proxied().await;
    let mut stream = connect(&proxy).await;
    assert_eq!(say(&mut stream, "hello").await.unwrap(), "hello");
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_cut_ends_connections_and_takes_new_ones() {
    let (proxy, _echo) = proxied().await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "hello").await.unwrap();
    proxy.cut();
    assert_eq!(hear(&mut stream).await.unwrap(), "", "ended");
    let mut stream = connect(&proxy).await;
    assert_eq!(say(&mut stream, "again").await.unwrap(), "again");
}

#[tokio::test]
async fn new_connections_are_refused_until_the_healing_and_old_ones_stay() {
    let (proxy, _echo) = proxied().await;
    let mut old = connect(&proxy).await;
    say(&mut old, "hello").await.unwrap();
    proxy.set(Weather { refusing: true, ..Weather::default() });
    let mut new = connect(&proxy).await;
    assert_eq!(say(&mut new, "hello").await.unwrap(), "");
    assert_eq!(say(&mut old, "still").await.unwrap(), "still");
    proxy.heal();
    let mut new = connect(&proxy).await;
    assert_eq!(say(&mut new, "hello").await.unwrap(), "hello");
}

#[tokio::test]
async fn what_is_held_back_arrives_after_the_healing() {
    let (proxy, _echo) = proxied().await;
    for held in [Weather { up: Way::Held, ..Weather::default() }, Weather { down: Way::Held, ..Weather::default() }] {
        let mut stream = connect(&proxy).await;
        say(&mut stream, "hello").await.unwrap();
        proxy.set(held);
        assert_eq!(say(&mut stream, "later").await, None, "{held:?}");
        proxy.heal();
        assert_eq!(hear(&mut stream).await.unwrap(), "later", "{held:?}");
    }
}

#[tokio::test]
async fn a_connection_that_lost_anything_is_lost_and_a_new_one_is_not() {
    let (proxy, _echo) = proxied().await;
    for black in
        [Weather { up: Way::Swallowed, ..Weather::default() }, Weather { down: Way::Swallowed, ..Weather::default() }]
    {
        let mut stream = connect(&proxy).await;
        say(&mut stream, "hello").await.unwrap();
        proxy.set(black);
        assert_eq!(say(&mut stream, "lost").await, None, "{black:?}");
        let mut second = connect(&proxy).await;
        assert_eq!(say(&mut second, "lost").await, None, "{black:?}: new ones are taken, and heard by nobody");
        proxy.heal();
        assert_eq!(say(&mut stream, "lost").await, None, "{black:?}");
        let mut stream = connect(&proxy).await;
        assert_eq!(say(&mut stream, "found").await.unwrap(), "found", "{black:?}");
    }
}

#[tokio::test]
async fn a_swallowed_direction_leaves_the_other_one_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap(), 1).await;
    let mut client = connect(&proxy).await;
    let (mut server, _) = listener.accept().await.unwrap();
    proxy.set(Weather { down: Way::Swallowed, ..Weather::default() });
    server.write_all(b"unheard").await.unwrap();
    client.write_all(b"heard").await.unwrap();
    assert_eq!(hear(&mut server).await.unwrap(), "heard");
    assert_eq!(hear(&mut client).await, None);
}

/// How long an echo takes.
async fn took(stream: &mut TcpStream, bytes: usize) -> Duration {
    let clock = parley_service::clock::SystemClock::start();
    stream.write_all(&vec![b'x'; bytes]).await.unwrap();
    stream.read_exact(&mut vec![0; bytes]).await.unwrap();
    let now = parley_service::clock::Clock::now(&*clock);
    now.mono.since(parley_service::clock::Moment::default())
}

#[tokio::test]
async fn what_is_delayed_takes_at_least_that_long_in_each_direction() {
    let (proxy, _echo) = proxied().await;
    let mut stream = connect(&proxy).await;
    let (least, more) = (Duration::from_millis(40), Duration::from_millis(20));
    proxy.set(Weather { delay: Some((least, more)), ..Weather::default() });
    let delayed = took(&mut stream, 5).await;
    assert!(delayed >= 2 * least, "{delayed:?}");
}

#[tokio::test]
async fn a_throttled_connection_carries_no_more_than_its_rate() {
    let (proxy, _echo) = proxied().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Weather { rate: Some(20_000), ..Weather::default() });
    let throttled = took(&mut stream, 6_000).await;
    // The last piece is not waited for.
    assert!(throttled >= Duration::from_millis(240), "{throttled:?}");
}

#[tokio::test]
async fn new_connections_follow_another_target() {
    let (proxy, _first) = proxied().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.lead_to(listener.local_addr().unwrap());
    let mut client = connect(&proxy).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"second").await.unwrap();
    assert_eq!(hear(&mut client).await.unwrap(), "second");
}
