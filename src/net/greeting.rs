//! From an accepted socket to a connection that may be served: TLS where it is configured, and for gRPC the HTTP/2 preface.
//!
//! A peer costs little before it has said anything: the certificate files are looked at, and memory for TLS is taken, when
//! its ClientHello is whole.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use super::connection::Connection;
use super::tls::{self, Identity, Security};

/// A peer that has not finished its TLS handshake, or sent the HTTP/2 preface, after this long is refused.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a peer was turned away before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Certificate missing, of another CA, expired.
    Certificate,
    /// Anything else in the handshake: no TLS spoken, connection closed.
    Handshake,
    /// The handshake took longer than [`HANDSHAKE_TIMEOUT`].
    Timeout,
    /// Its address, or the listener, has its most connections.
    Quota,
}

impl RefusalKind {
    /// Every kind, with its name in metrics.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Certificate, "certificate"),
        (Self::Handshake, "handshake"),
        (Self::Timeout, "timeout"),
        (Self::Quota, "quota"),
    ];
}

/// A peer that was turned away.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) peer: SocketAddr,
    pub(super) kind: RefusalKind,
    pub(super) reason: String,
}

/// Makes the socket a connection that speaks `protocol`.
pub(super) async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    security: &Security,
    protocol: &'static [u8],
    activity: Arc<Activity>,
) -> Result<Connection, Refusal> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "cannot set TCP_NODELAY");
    }
    let in_time = tokio::time::timeout(HANDSHAKE_TIMEOUT, async {
        let mut connection = match security {
            Security::Plaintext { .. } => Connection::plain(stream, peer),
            Security::Mutual(identity) => match handshake(stream, identity, protocol).await {
                Ok(stream) => {
                    let chain = stream.get_ref().1.peer_certificates();
                    let client = identity.peer(chain.and_then(<[_]>::first));
                    Connection::tls(stream.into(), peer).of(client)
                }
                Err(error) => return Err(refusal(peer, &error)),
            },
        };
        if protocol == tls::ALPN_HTTP2 {
            let preface = match preface(&mut connection).await {
                Ok(preface) => preface,
                Err(error) => {
                    decline(&mut connection).await;
                    return Err(refusal(peer, &error));
                }
            };
            connection = connection.with_greeting(preface);
            activity.greeted();
        }
        Ok(connection)
    });
    match in_time.await {
        Ok(greeted) => greeted.map(|connection| connection.watched(activity)),
        Err(_) => Err(Refusal {
            peer,
            kind: RefusalKind::Timeout,
            reason: match security {
                Security::Plaintext { .. } => {
                    format!("no HTTP/2 preface within {HANDSHAKE_TIMEOUT:?}")
                }
                Security::Mutual(_) => format!("no TLS handshake within {HANDSHAKE_TIMEOUT:?}"),
            },
        }),
    }
}

async fn handshake(
    stream: TcpStream,
    identity: &Arc<Identity>,
    protocol: &'static [u8],
) -> io::Result<TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let config = tls::speaking(identity.server_config().await, protocol);
    hello.into_stream(config).await
}

/// Reads the preface, and whatever came with it.
async fn preface(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PREFACE.len());
    while bytes.len() < PREFACE.len() {
        let mut rest = [0; PREFACE.len()];
        let wanted = PREFACE.len() - bytes.len();
        let count = stream.read(&mut rest[..wanted]).await?;
        bytes.extend_from_slice(&rest[..count]);
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(&bytes) {
            let why = "does not speak HTTP/2, as gRPC does";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    }
    Ok(bytes)
}

/// Answers what is no HTTP/2 as HTTP/2 asks for, so that the peer can tell its user what listens here: a client with TLS
/// takes it for plaintext, which it is. What the peer has sent is read, or the system would drop the answer with it.
async fn decline(connection: &mut Connection) {
    // Frames of HTTP/2 (RFC 9113, sections 6.5 and 6.8): SETTINGS, and GOAWAY with PROTOCOL_ERROR.
    const ANSWER: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";
    let mut rest = [0; 4096];
    let _ = connection.read(&mut rest).now_or_never();
    // The connection ends in any case.
    let _ = connection.write_all(ANSWER).await;
    let _ = connection.shutdown().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_preface_is_kept_and_anything_else_is_refused_at_once() {
        let mut right = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..];
        assert_eq!(preface(&mut right).await.expect("a preface"), PREFACE);
        assert_eq!(right, b"rest");
        for (wrong, kind) in [
            (&b"GET / HTTP/1.1\r\n"[..], io::ErrorKind::InvalidData),
            (b"\x16\x03\x01", io::ErrorKind::InvalidData),
            (b"PRI * HTTP/2.0\r\n", io::ErrorKind::UnexpectedEof),
        ] {
            let error = preface(&mut &*wrong).await.expect_err("refused");
            assert_eq!(error.kind(), kind, "{wrong:?}");
        }
    }
}
