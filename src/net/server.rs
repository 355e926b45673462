//! Accepting connections, for gRPC and for the web: a listener that this program binds itself, TLS handshakes off the accept path, and
//! refusals that operators can see.
//!
//! Tasks: one accept loop per listener, and one short-lived task per handshake, owned by the loop (a stop ends them).
//! Channels: accepted connections go to tonic through a queue of [`READY_DEPTH`]. Cancelling is safe everywhere: a
//! connection that is not handed over is closed.
//!
//! A listener never stops accepting, whatever peers leave open: [`quota`](super::quota) says which connections give way,
//! [`activity`](super::activity) when they end by themselves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;

use super::activity::Activity;
use super::connection::{Connection, PeerInfo};
use super::descriptors::Share;
use super::greeting::{self, Refusal};
use super::limit::LogLimit;
use super::quota::{Budget, Quota, Refused};
use super::tls::{self, Names, PeerIdentity, Security};
use crate::time::{Clock as _, SystemClock};

pub use super::greeting::{HANDSHAKE_TIMEOUT, RefusalKind};

/// Connections that are ready and not yet taken by tonic, which takes them at once.
pub const READY_DEPTH: usize = 64;
/// How often the certificate files are looked at when nobody connects.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(30);
/// First pause after a failed accept (out of file descriptors), so that the loop does not spin; each further one is twice as
/// long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// HTTP/2 pings on idle connections find dead peers.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams per connection; an agent uses a handful.
const MAX_STREAMS: u32 = 256;
/// What a peer may send ahead on a stream and on a connection before it is read, in bytes. It bounds what a connection holds.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
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

/// The counters of a listener, shared with the metrics.
#[derive(Debug, Default)]
pub struct ServerCounters {
    accepted: AtomicU64,
    certificate: AtomicU64,
    handshake: AtomicU64,
    timeout: AtomicU64,
    quota: AtomicU64,
    evicted: AtomicU64,
    accept_failures: AtomicU64,
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

    /// Connections that were closed, while nothing was asked on them, because others needed their place.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Connections that the system did not hand over, mostly because file descriptors ran out.
    pub fn accept_failures(&self) -> u64 {
        self.accept_failures.load(Ordering::Relaxed)
    }

    fn of(&self, kind: RefusalKind) -> &AtomicU64 {
        match kind {
            RefusalKind::Certificate => &self.certificate,
            RefusalKind::Handshake => &self.handshake,
            RefusalKind::Timeout => &self.timeout,
            RefusalKind::Quota => &self.quota,
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
    /// The most connections; those of the share of its kind where not given.
    budget: Option<Budget>,
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
        Self::of(socket, security).map_err(bind)
    }

    /// Of a socket that listens already.
    ///
    /// # Errors
    /// Those of asking for its address.
    pub fn of(socket: TcpListener, security: Security) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            security,
            protocol: tls::ALPN_HTTP2,
            counters: Arc::default(),
            budget: None,
        })
    }

    /// With another number of connections than the descriptors allow.
    #[must_use]
    pub const fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
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
        let mut accepting = Accepting::new(self, ready.clone());
        let mut certificate_check = tokio::time::interval(CERTIFICATE_CHECK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = ready.closed() => return,
                accepted = next(&accepting.listener.socket, accepting.pause) => match accepted {
                    Ok((stream, peer)) => accepting.take(stream, peer),
                    Err(error) => accepting.failed(&error),
                },
                Some(done) = accepting.handshakes.join_next() => if let Ok(Err(refusal)) = done {
                    accepting.refuse(&refusal);
                },
                _ = certificate_check.tick() => if let Security::Mutual(identity) = &accepting.listener.security {
                    identity.check().await;
                },
            }
        }
    }
}

/// The next connection, after the pause if there is one. May be dropped between two polls: nothing is lost.
async fn next(
    socket: &TcpListener,
    pause: Option<(Instant, Duration)>,
) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some((until, _)) = pause {
        tokio::time::sleep_until(until).await;
    }
    socket.accept().await
}

/// The accept loop's state.
struct Accepting {
    listener: Listener,
    ready: mpsc::Sender<io::Result<Connection>>,
    quota: Quota,
    budget: Budget,
    handshakes: JoinSet<Result<(), Refusal>>,
    /// After a failure: until when nothing is accepted, and how long the pause is.
    pause: Option<(Instant, Duration)>,
    refusals: LogLimit,
    evictions: LogLimit,
    failures: LogLimit,
}

impl Accepting {
    fn new(listener: Listener, ready: mpsc::Sender<io::Result<Connection>>) -> Self {
        let share = if listener.protocol == tls::ALPN_HTTP2 {
            Share::Grpc
        } else {
            Share::Web
        };
        let budget = listener.budget.unwrap_or_else(|| Budget::of(share));
        Self {
            listener,
            ready,
            quota: Quota::new(budget),
            budget,
            handshakes: JoinSet::new(),
            pause: None,
            refusals: LogLimit::new(REFUSAL_LINES, REFUSAL_WINDOW),
            evictions: LogLimit::new(1, REFUSAL_WINDOW),
            failures: LogLimit::new(1, REFUSAL_WINDOW),
        }
    }

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.pause = None;
        let place = match self.quota.admit(peer.ip()) {
            Ok((place, 0)) => place,
            Ok((place, gone)) => {
                self.evicted(gone as u64, peer);
                place
            }
            Err(refused) => return self.refuse(&self.over(refused, peer)),
        };
        let (evicted, activity) = (place.evicted().clone(), Activity::new(place));
        let (security, protocol) = (self.listener.security.clone(), self.listener.protocol);
        let (ready, counters) = (self.ready.clone(), Arc::clone(&self.listener.counters));
        self.handshakes.spawn(async move {
            let greeting = greeting::greet(stream, peer, &security, protocol, activity);
            // One that gave way was counted then.
            let Some(greeted) = evicted.run_until_cancelled(greeting).await else {
                return Ok(());
            };
            let connection = greeted?;
            counters.accepted.fetch_add(1, Ordering::Relaxed);
            // Fails only when the server stops: the connection closes with it.
            let _ = ready.send(Ok(connection)).await;
            Ok(())
        });
    }

    fn over(&self, refused: Refused, peer: SocketAddr) -> Refusal {
        let Budget { total, per_address } = self.budget;
        let reason = match refused {
            Refused::Address => format!("{per_address} connections of its address are in use"),
            Refused::Listener => format!("all {total} connections are in use"),
        };
        Refusal {
            peer,
            kind: RefusalKind::Quota,
            reason,
        }
    }

    fn evicted(&mut self, gone: u64, peer: SocketAddr) {
        let counters = &self.listener.counters;
        counters.evicted.fetch_add(gone, Ordering::Relaxed);
        if self.evictions.admit(SystemClock.host()).is_some() {
            tracing::warn!(
                address = %self.listener.address, newest = %peer, closed = counters.evicted(),
                connections = self.budget.total, per_address = self.budget.per_address,
                "too many connections: those on which nothing is asked are closed, the oldest first; `closed` counts them \
                 since the start"
            );
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let counter = self.listener.counters.of(refusal.kind);
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.refusals.admit(SystemClock.host()) {
            tracing::warn!(
                peer = %refusal.peer, reason = refusal.reason, suppressed, "refused a connection"
            );
        }
    }

    /// The system has not handed a connection over. Where it is short of descriptors or memory, one that is not in use is
    /// closed, and nothing is accepted for a moment.
    fn failed(&mut self, error: &io::Error) {
        let counters = &self.listener.counters;
        counters.accept_failures.fetch_add(1, Ordering::Relaxed);
        let is_short = is_shortage(error);
        if is_short {
            let pause = self.pause.map_or(FIRST_PAUSE, |(_, pause)| pause * 2);
            let pause = pause.min(LONGEST_PAUSE);
            self.pause = Some((Instant::now() + pause, pause));
            if self.quota.relieve() {
                counters.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(suppressed) = self.failures.admit(SystemClock.host()) {
            let advice = if is_short {
                "raise the limit of open files: LimitNOFILE in the systemd unit, `ulimit -n` in a shell"
            } else {
                "none: the peer has gone"
            };
            tracing::warn!(
                %error, address = %self.listener.address, suppressed, advice, "cannot accept a connection"
            );
        }
    }
}

/// Whether the system is short of what a connection needs: descriptors of the process or of the system, memory.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    shortages
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A tonic server with this project's limits and keepalive.
pub fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Out of descriptors: pauses that grow, one connection that gives way each time.
    #[tokio::test]
    async fn a_failed_accept_backs_off_and_closes_what_is_idle() {
        let address = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(address, Security::loopback_plaintext()).await;
        let listener = listener.expect("bound");
        let (address, counters) = (listener.address(), listener.counters());
        let (ready, _connections) = mpsc::channel(READY_DEPTH);
        let mut accepting = Accepting::new(listener, ready);
        let _idle = TcpStream::connect(address).await.expect("connected");
        let (stream, peer) = accepting.listener.socket.accept().await.expect("accepted");
        accepting.take(stream, peer);

        let full = || io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                accepting.failed(&full());
                let (_, pause) = accepting.pause.expect("a pause");
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        assert_eq!(counters.accept_failures(), 8);
        assert_eq!(counters.evicted(), 1, "there was one");
        // A peer that went away is no shortage.
        accepting.pause = None;
        accepting.failed(&io::ErrorKind::ConnectionAborted.into());
        assert_eq!((accepting.pause, counters.accept_failures()), (None, 9));
    }
}
