//! The one type of connections, opened or accepted: TCP, with TLS or without.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use super::activity::{Activity, Call, Watch};
use super::tls::PeerIdentity;

/// An established connection.
pub struct Connection {
    stream: Stream,
    peer: SocketAddr,
    identity: PeerIdentity,
    /// What was read before the connection was handed out; it is given out first.
    greeting: Vec<u8>,
    taken: usize,
    /// Of an accepted connection.
    watch: Option<Watch>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Without TLS.
    pub(super) const fn plain(stream: TcpStream, peer: SocketAddr) -> Self {
        Self::new(Stream::Plain(stream), peer, Vec::new())
    }

    /// With TLS; the handshake is done.
    pub(super) fn tls(stream: TlsStream<TcpStream>, peer: SocketAddr) -> Self {
        Self::greeted(stream, peer, Vec::new())
    }

    /// With TLS, and with the bytes that were read from it already.
    pub(super) fn greeted(
        stream: TlsStream<TcpStream>,
        peer: SocketAddr,
        greeting: Vec<u8>,
    ) -> Self {
        Self::new(Stream::Tls(Box::new(stream)), peer, greeting)
    }

    const fn new(stream: Stream, peer: SocketAddr, greeting: Vec<u8>) -> Self {
        Self {
            stream,
            peer,
            identity: PeerIdentity::Unproven,
            greeting,
            taken: 0,
            watch: None,
        }
    }

    /// An accepted connection, with its limits.
    pub(super) fn watched(mut self, activity: Arc<Activity>) -> Self {
        self.watch = Some(Watch::new(activity));
        self
    }

    /// What it is doing, where it was accepted.
    pub(super) fn activity(&self) -> Option<&Arc<Activity>> {
        self.watch.as_ref().map(Watch::activity)
    }

    /// Gives these bytes out first; nothing must have been given out before.
    pub(super) fn with_greeting(mut self, greeting: Vec<u8>) -> Self {
        self.greeting = greeting;
        self
    }

    /// The address at which the peer has reached this program.
    pub fn local(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Plain(stream) => stream.local_addr(),
            Stream::Tls(stream) => stream.get_ref().0.local_addr(),
        }
    }

    /// The same connection of a client that has proved who it is.
    #[must_use]
    pub(super) fn of(mut self, identity: PeerIdentity) -> Self {
        self.identity = identity;
        self
    }

    /// The peer's address.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(watch) = &mut this.watch
            && let Poll::Ready(error) = watch.poll_limits(cx)
        {
            return Poll::Ready(Err(error));
        }
        let rest = &this.greeting[this.taken..];
        if !rest.is_empty() {
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            this.taken += count;
            return Poll::Ready(Ok(()));
        }
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        match &mut this.watch {
            Some(watch) => watch.written(cx, written),
            None => written,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        match &mut this.watch {
            Some(watch) => watch.written(cx, flushed),
            None => flushed,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Who is at the other end; found in the extensions of every request.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// The peer's address.
    pub address: SocketAddr,
    /// Who a client has proved to be.
    pub identity: PeerIdentity,
    activity: Option<Arc<Activity>>,
}

impl PeerInfo {
    /// A call of this connection begins.
    pub(super) fn begin(&self) -> Option<Call> {
        self.activity.as_ref().map(Activity::begin)
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        PeerInfo {
            address: self.peer,
            identity: self.identity.clone(),
            activity: self.activity().cloned(),
        }
    }
}
