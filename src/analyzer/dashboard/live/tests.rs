use axum::Router;
use axum::routing::get;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

fn live() -> (watch::Sender<Tick>, Live) {
    let (sender, ticks) = watch::channel(Tick::default());
    let live = Live {
        ticks,
        places: Arc::new(Semaphore::new(MOST_VIEWERS)),
        version: "v1".into(),
        stop: CancellationToken::new(),
    };
    (sender, live)
}

fn tick(sender: &watch::Sender<Tick>) {
    sender.send_modify(|tick| tick.number += 1);
}

/// Serves a live stream on loopback, with buffers of the kernel that hold little.
fn serve(live: Live) -> std::net::SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_send_buffer_size(4_096).expect("a small buffer");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let listener: TcpListener = socket.listen(8).expect("listens");
    let address = listener.local_addr().expect("an address");
    let events = move || std::future::ready(live.events().expect("a place"));
    let router = Router::new().route("/events", get(events));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A viewer that has asked for the stream.
async fn ask(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket.connect(address).await.expect("connects");
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: analyzer\r\n\r\n")
        .await
        .expect("request");
    stream
}

/// Reads until the text has `end`; returns how many bytes that were and the last of the text.
async fn read_until(stream: &mut TcpStream, end: &str) -> (usize, String) {
    let (mut bytes, mut tail) = (0, String::new());
    let mut buffer = [0; 4_096];
    while !tail.contains(end) {
        let count = stream.read(&mut buffer).await.expect("events");
        assert_ne!(count, 0, "the stream ends: {tail}");
        bytes += count;
        let kept = tail.split_off(tail.len().saturating_sub(200));
        tail = kept + &String::from_utf8_lossy(&buffer[..count]);
    }
    (bytes, tail)
}

#[tokio::test]
async fn a_place_is_free_again_when_its_viewer_has_gone() {
    let (_sender, live) = live();
    let mut viewers: Vec<_> = (0..MOST_VIEWERS)
        .map(|_| live.events().expect("a place"))
        .collect();
    assert!(live.events().is_none(), "one more than there are places");
    viewers.pop();
    let last = live.events();
    assert!(last.is_some() && live.events().is_none());
}

#[tokio::test]
async fn a_sleeping_viewer_misses_ticks_and_gets_the_newest() {
    let (sender, live) = live();
    let viewer = Viewer {
        ticks: live.ticks.clone(),
        stop: live.stop.clone(),
        hello: Some("v1".into()),
        _place: Arc::clone(&live.places)
            .try_acquire_owned()
            .expect("a place"),
    };
    let mut stream = Box::pin(viewer.stream());
    let hello = stream.next().await.expect("a hello").expect("infallible");
    assert!(format!("{hello:?}").contains("hello"), "{hello:?}");
    for _ in 0..10_000 {
        tick(&sender);
    }
    let event = stream.next().await.expect("a tick").expect("infallible");
    let event = format!("{event:?}");
    assert!(event.contains("10000"), "{event}");
    // Nothing else was kept for it.
    let next = tokio::time::timeout(Duration::ZERO, stream.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn a_viewer_that_does_not_read_holds_up_nobody_and_costs_bounded_memory() {
    const TICKS: u64 = 60_000;
    let (sender, live) = live();
    let address = serve(live.clone());
    let (mut asleep, mut awake) = (ask(address).await, ask(address).await);
    read_until(&mut awake, "event: hello").await;
    for _ in 0..TICKS {
        tick(&sender);
        // On this runtime's one thread the connections get their turn here: each writes what it can.
        tokio::task::yield_now().await;
    }
    let newest = format!("\"tick\":{TICKS}}}");
    tokio::time::timeout(PATIENCE, read_until(&mut awake, &newest))
        .await
        .expect("the one that reads gets the newest");
    // What was written for the other one is what buffers hold: hyper's (some 400 KB) and the kernel's.
    let read = read_until(&mut asleep, &newest);
    let (bytes, _) = tokio::time::timeout(PATIENCE, read).await.expect("it too");
    assert!(
        bytes < 1_000_000,
        "{bytes} bytes waited for a viewer that did not read; {TICKS} events have more than 2 MB"
    );
}

#[tokio::test]
async fn a_viewer_that_vanishes_gives_its_place_back() {
    let (sender, live) = live();
    let address = serve(live.clone());
    let mut viewer = ask(address).await;
    read_until(&mut viewer, "event: hello").await;
    assert_eq!(live.places.available_permits(), MOST_VIEWERS - 1);
    drop(viewer);
    let free = async {
        while live.places.available_permits() < MOST_VIEWERS {
            tick(&sender);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free)
        .await
        .expect("free again");
}
