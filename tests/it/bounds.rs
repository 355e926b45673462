//! Peers that open connections and leave them: half-open TLS handshakes, connections without a word, unfinished headers,
//! answers that nobody reads. A peer that behaves is served meanwhile.

mod memory;
mod names;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::net::calls::counted;
use rpingmesh::net::client::channel;
use rpingmesh::net::descriptors;
use rpingmesh::net::quota::Budget;
use rpingmesh::net::server::{self, Listener, RefusalKind, ServerCounters};
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::net::web;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::rpc::v1::analyzer_service_server::{AnalyzerService, AnalyzerServiceServer};
use rpingmesh::rpc::v1::{UploadHello, UploadResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::support::certs::{Authority, Validity, security};

/// Nothing here waits longer for what must come. It is shorter than the timeouts that the servers have for idle peers, so
/// what is served is served beside them.
const SOON: Duration = Duration::from_secs(8);

/// Answers each message of an upload with one acknowledgement.
struct Echo;

#[tonic::async_trait]
impl AnalyzerService for Echo {
    type UploadStream = ReceiverStream<Result<UploadResponse, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(_)) = inbound.message().await {
                let answer = UploadResponse {
                    acknowledged_sequence: 7,
                    takes_zstd: false,
                    takes_state: false,
                    seen_since_sequence: 0,
                };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

struct Server {
    address: SocketAddr,
    counters: Arc<ServerCounters>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

async fn serve(security: Security, budget: Option<Budget>) -> Server {
    let mut listener = Listener::bind(any(), security).await.expect("bind");
    if let Some(budget) = budget {
        listener = listener.with_budget(budget);
    }
    let server = Server {
        address: listener.address(),
        counters: listener.counters(),
        stop: CancellationToken::new(),
    };
    let router = server::builder().add_service(counted(AnalyzerServiceServer::new(Echo)));
    tokio::spawn(listener.serve(router, server.stop.clone(), Duration::ZERO));
    server
}

async fn serve_web(budget: Option<Budget>) -> Server {
    let mut listener = Listener::bind(any(), Security::loopback_plaintext())
        .await
        .expect("bind");
    if let Some(budget) = budget {
        listener = listener.with_budget(budget);
    }
    let server = Server {
        address: listener.address(),
        counters: listener.counters(),
        stop: CancellationToken::new(),
    };
    let answer = axum::routing::get(|| async { "fine" });
    let router = axum::Router::new().route("/", answer);
    let connections = listener.http1(server.stop.clone());
    tokio::spawn(web::serve(
        connections,
        router,
        server.stop.clone(),
        Duration::ZERO,
    ));
    server
}

/// An upload stream that stays open.
struct Stream {
    requests: mpsc::Sender<UploadRequest>,
    answers: Streaming<UploadResponse>,
}

impl Stream {
    async fn open(url: &str, security: &Security) -> Result<Self, Status> {
        let url = Url::server(url).expect("url");
        let channel = channel(&url, security).expect("channel");
        let (requests, stream) = mpsc::channel(1);
        let answers = AnalyzerServiceClient::new(channel)
            .upload(ReceiverStream::new(stream))
            .await?
            .into_inner();
        let mut stream = Self { requests, answers };
        stream.ask().await?;
        Ok(stream)
    }

    async fn ask(&mut self) -> Result<(), Status> {
        let request = UploadRequest::from(UploadHello::default());
        self.requests
            .send(request)
            .await
            .expect("the stream is open");
        let answer = self.answers.message().await?;
        assert_eq!(answer.map(|answer| answer.acknowledged_sequence), Some(7));
        Ok(())
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

/// So many connections that have sent this and nothing more.
async fn open(address: SocketAddr, count: usize, greeting: &[u8]) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(greeting).await.expect("write");
        streams.push(stream);
    }
    streams
}

/// How many of them the server has closed.
fn closed(streams: &[TcpStream]) -> usize {
    let is_closed = |stream: &&TcpStream| match stream.try_read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    streams.iter().filter(is_closed).count()
}

async fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// The beginning of a TLS record, as `halftls.py` sends it.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01";
const HALF_HEADERS: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-a: ";

#[tokio::test]
async fn half_open_handshakes_keep_no_client_with_a_certificate_out() {
    descriptors::raise();
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new("fabric CA");
    let ours = security(authority.issue(folder.path(), "localhost", Validity::Now));

    // Within the budget all stay open, far more than could be handled one after the other.
    let server = serve(ours.clone(), None).await;
    let url = format!("https://localhost:{}", server.address.port());
    let half_open = open(server.address, 1_500, HALF_HELLO).await;
    let stream = soon("a call beside 1500 handshakes", Stream::open(&url, &ours)).await;
    stream.expect("a call");
    assert_eq!(server.counters.accepted(), 1);
    assert_eq!(closed(&half_open), 0);
    drop((half_open, server));

    // Beyond it the oldest give way, and calls that are open stay.
    let budget = Budget {
        total: 100,
        per_address: 100,
    };
    let server = serve(ours.clone(), Some(budget)).await;
    let url = format!("https://localhost:{}", server.address.port());
    let mut before = Stream::open(&url, &ours).await.expect("a call");
    let half_open = open(server.address, 500, HALF_HELLO).await;
    let after = soon("a call beside 500 handshakes", Stream::open(&url, &ours)).await;
    after.expect("a call");
    soon("an open stream", before.ask())
        .await
        .expect("an answer");
    assert!(
        server.counters.evicted() >= 400,
        "{}",
        server.counters.evicted()
    );
    assert_eq!(server.counters.refused(RefusalKind::Quota), 0);
    drop(half_open);
}

#[tokio::test]
async fn idle_connections_give_way_and_calls_do_not() {
    let budget = Budget {
        total: 10,
        per_address: 10,
    };
    let plain = Security::loopback_plaintext();
    let server = serve(plain.clone(), Some(budget)).await;
    let url = format!("http://{}", server.address);
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(Stream::open(&url, &plain).await.expect("a call"));
    }
    // Some say nothing, some have sent the preface and are idle.
    let mut silent = open(server.address, 20, b"").await;
    silent.extend(open(server.address, 20, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await);
    for _ in 0..5 {
        let stream = soon("a call beside idle connections", Stream::open(&url, &plain)).await;
        streams.push(stream.expect("a call"));
    }
    for stream in &mut streams {
        soon("an open stream", stream.ask())
            .await
            .expect("an answer");
    }
    // All ten are busy now.
    let refused = Stream::open(&url, &plain).await;
    assert!(refused.is_err(), "an eleventh busy connection");
    assert!(server.counters.refused(RefusalKind::Quota) > 0);
    // One that ends makes room.
    streams.pop();
    let again = async {
        while Stream::open(&url, &plain).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("a place", again).await;
}

#[tokio::test]
async fn unfinished_headers_keep_no_request_out() {
    descriptors::raise();
    let server = serve_web(None).await;
    let unfinished = open(server.address, 1_100, HALF_HEADERS).await;
    let answer = soon(
        "a page beside 1100 unfinished requests",
        get(server.address),
    )
    .await;
    assert!(answer.ends_with("fine"), "{answer}");
    drop(unfinished);

    let budget = Budget {
        total: 10,
        per_address: 10,
    };
    let server = serve_web(Some(budget)).await;
    let unfinished = open(server.address, 50, HALF_HEADERS).await;
    let answer = soon("a page beside 50 unfinished requests", get(server.address)).await;
    assert!(answer.ends_with("fine"), "{answer}");
    assert!(server.counters.evicted() >= 40);
    drop(unfinished);
}

/// The clock jumps to the next timer whenever nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn connections_without_a_word_are_closed_in_time() {
    let end_of = async |address, sent: &[u8]| {
        let began = tokio::time::Instant::now();
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(sent).await.expect("write");
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut rest).await;
        began.elapsed()
    };
    let server = serve(Security::loopback_plaintext(), None).await;
    let silent = end_of(server.address, b"").await;
    assert!(silent >= server::HANDSHAKE_TIMEOUT && silent < 2 * server::HANDSHAKE_TIMEOUT);
    assert_eq!(server.counters.refused(RefusalKind::Timeout), 1);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let idle = end_of(server.address, preface).await;
    assert!(idle < Duration::from_mins(1), "{idle:?}");
    assert_eq!(server.counters.accepted(), 1);

    let server = serve_web(None).await;
    let headers = end_of(server.address, HALF_HEADERS).await;
    assert!(headers < 2 * web::HEADER_TIMEOUT, "{headers:?}");
    let answered = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let kept_alive = end_of(server.address, answered).await;
    assert!(kept_alive < 2 * web::HEADER_TIMEOUT, "{kept_alive:?}");
}
