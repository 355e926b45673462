//! Accepting connections, for gRPC and for the web: a listener that this program binds itself, TLS handshakes off the accept path, and
//! refusals that operators can see.
//!
//! Tasks: one accept loop per listener, and one short-lived task per handshake, owned by the loop (a stop ends them).
//! Channels: accepted connections go to tonic through a queue of [`READY_DEPTH`]. Cancelling is safe everywhere: a
//! connection that is not handed over is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;

use super::connection::{Connection, PeerInfo};
use super::limit::LogLimit;
use super::tls::{self, Names, PeerIdentity, Security};
use crate::time::{Clock as _, SystemClock};

/// A peer that has not finished its TLS handshake after this long is refused.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way at once; more wait in the kernel's accept queue. Bounds memory under a connection flood.
pub const MAX_HANDSHAKES: usize = 256;
/// Connections that are ready and not yet taken by tonic, which takes them at once.
pub const READY_DEPTH: usize = 64;
/// How often the certificate files are looked at when nobody connects.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(30);
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2 pings on idle connections find dead peers.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams per connection; an agent uses a handful.
const MAX_STREAMS: u32 = 256;
/// Lines about refused peers per [`REFUSAL_WINDOW`]; the others are counted.
const REFUSAL_LINES: u32 = 10;
const REFUSAL_WINDOW: Duration = Duration::from_secs(10);

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Plaintext beyond loopback was not allowed.
    #[error(
        "refusing to listen on {address} without TLS: set tls.cert, tls.key and tls.ca, listen on a loopback address, \
         or allow it with tls.allow_plaintext"
    )]
    Plaintext {
        /// The address.
        address: SocketAddr,
    },
    /// The gRPC server failed.
    #[error("the gRPC server on {address} failed")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Why a peer was turned away before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Certificate missing, of another CA, expired.
    Certificate,
    /// Anything else in the handshake: no TLS spoken, connection closed.
    Handshake,
    /// The handshake took longer than [`HANDSHAKE_TIMEOUT`].
    Timeout,
}

/// The counters of a listener, shared with the metrics.
#[derive(Debug, Default)]
pub struct ServerCounters {
    accepted: AtomicU64,
    certificate: AtomicU64,
    handshake: AtomicU64,
    timeout: AtomicU64,
}

impl ServerCounters {
    /// Connections handed to gRPC.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Peers turned away for this reason.
    pub fn refused(&self, kind: RefusalKind) -> u64 {
        self.of(kind).load(Ordering::Relaxed)
    }

    fn of(&self, kind: RefusalKind) -> &AtomicU64 {
        match kind {
            RefusalKind::Certificate => &self.certificate,
            RefusalKind::Handshake => &self.handshake,
            RefusalKind::Timeout => &self.timeout,
        }
    }
}

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    security: Security,
    protocol: &'static [u8],
    counters: Arc<ServerCounters>,
}

/// Connections that are ready to be served; the loop that accepts them ends with this.
#[derive(Debug)]
pub struct Connections {
    ready: mpsc::Receiver<io::Result<Connection>>,
    address: SocketAddr,
}

impl Connections {
    /// The next one; `None` when no more are accepted.
    pub async fn next(&mut self) -> Option<Connection> {
        loop {
            if let Ok(connection) = self.ready.recv().await? {
                return Some(connection);
            }
        }
    }

    /// Where they are accepted.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Listener {
    /// Binds. Port 0 lets the system choose; [`Listener::address`] has the port then.
    ///
    /// # Errors
    /// [`ServerError::Bind`], [`ServerError::Plaintext`].
    pub async fn bind(address: SocketAddr, security: Security) -> Result<Self, ServerError> {
        if !security.permits(address.ip()) {
            return Err(ServerError::Plaintext { address });
        }
        let bind = |source| ServerError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        Ok(Self {
            socket,
            address,
            security,
            protocol: tls::ALPN_HTTP2,
            counters: Arc::default(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections for HTTP/1.1 instead of gRPC's HTTP/2, until `stop` is cancelled.
    pub fn http1(mut self, stop: CancellationToken) -> Connections {
        self.protocol = tls::ALPN_HTTP1;
        let address = self.address;
        let (ready, connections) = mpsc::channel(READY_DEPTH);
        tokio::spawn(self.accept(ready, stop));
        Connections {
            ready: connections,
            address,
        }
    }

    /// What it counts, from now on.
    pub fn counters(&self) -> Arc<ServerCounters> {
        self.counters.clone()
    }

    /// Accepts and serves `router` until `stop` is cancelled, then gives open calls `grace` to end. Long-lived streams
    /// should watch the same token and end themselves.
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn serve(
        self,
        router: Router,
        stop: CancellationToken,
        grace: Duration,
    ) -> Result<(), ServerError> {
        let address = self.address;
        let (ready, connections) = mpsc::channel(READY_DEPTH);
        let accepting = tokio::spawn(self.accept(ready, stop.clone()));
        let serving = router.serve_with_incoming_shutdown(
            ReceiverStream::new(connections),
            stop.clone().cancelled_owned(),
        );
        let cut_off = async {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        let result = tokio::select! {
            result = serving => result.map_err(|source| ServerError::Serve { address, source }),
            () = cut_off => {
                tracing::info!(%address, "open gRPC calls were cut off");
                Ok(())
            }
        };
        accepting.abort();
        result
    }

    async fn accept(self, ready: mpsc::Sender<io::Result<Connection>>, stop: CancellationToken) {
        let clock = SystemClock;
        let mut handshakes: JoinSet<Result<(), Refusal>> = JoinSet::new();
        let mut lines = LogLimit::new(REFUSAL_LINES, REFUSAL_WINDOW);
        let mut certificate_check = tokio::time::interval(CERTIFICATE_CHECK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = ready.closed() => return,
                accepted = self.socket.accept(), if handshakes.len() < MAX_HANDSHAKES => match accepted {
                    Ok((stream, peer)) => {
                        let counters = self.counters.clone();
                        handshakes.spawn(admit(stream, peer, self.security.clone(), self.protocol, ready.clone(), counters));
                    }
                    Err(error) => {
                        tracing::warn!(%error, address = %self.address, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(done) = handshakes.join_next() => if let Ok(Err(refusal)) = done {
                    self.counters.of(refusal.kind).fetch_add(1, Ordering::Relaxed);
                    if let Some(suppressed) = lines.admit(clock.host()) {
                        tracing::warn!(
                            peer = %refusal.peer, reason = refusal.reason, suppressed, "refused a connection"
                        );
                    }
                },
                _ = certificate_check.tick() => if let Security::Mutual(identity) = &self.security {
                    identity.check().await;
                },
            }
        }
    }
}

struct Refusal {
    peer: SocketAddr,
    kind: RefusalKind,
    reason: String,
}

async fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    security: Security,
    protocol: &'static [u8],
    ready: mpsc::Sender<io::Result<Connection>>,
    counters: Arc<ServerCounters>,
) -> Result<(), Refusal> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "cannot set TCP_NODELAY");
    }
    let connection = match &security {
        Security::Plaintext { .. } => Connection::plain(stream, peer),
        Security::Mutual(identity) => {
            let acceptor =
                TlsAcceptor::from(tls::speaking(identity.server_config().await, protocol));
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let chain = stream.get_ref().1.peer_certificates();
                    let client = identity.peer(chain.and_then(<[_]>::first));
                    Connection::tls(stream.into(), peer).of(client)
                }
                Ok(Err(error)) => return Err(refusal(peer, &error)),
                Err(_) => {
                    return Err(Refusal {
                        peer,
                        kind: RefusalKind::Timeout,
                        reason: format!("no TLS handshake within {HANDSHAKE_TIMEOUT:?}"),
                    });
                }
            }
        }
    };
    counters.accepted.fetch_add(1, Ordering::Relaxed);
    // Fails only when the server stops: the connection closes with it.
    let _ = ready.send(Ok(connection)).await;
    Ok(())
}

fn refusal(peer: SocketAddr, error: &io::Error) -> Refusal {
    let kind = match tls::tls_cause(error) {
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::AlertReceived(_),
        ) => RefusalKind::Certificate,
        _ => RefusalKind::Handshake,
    };
    Refusal {
        peer,
        kind,
        reason: tls::explain_io(error),
    }
}

/// A tonic server with this project's limits and keepalive.
pub fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
}

/// The address of a request's peer, for logs.
pub fn peer_of<T>(request: &tonic::Request<T>) -> Option<SocketAddr> {
    request
        .extensions()
        .get::<PeerInfo>()
        .map(|peer| peer.address)
}

/// Who a request's peer has proved to be; nobody where nothing is known of the connection.
pub fn identity_of<T>(request: &tonic::Request<T>) -> PeerIdentity {
    request.extensions().get::<PeerInfo>().map_or_else(
        || PeerIdentity::Names(Names::default()),
        |peer| peer.identity.clone(),
    )
}
