//! Connecting to the controller and the analyzer: a channel that connects when it is first used, reconnects by itself,
//! and says in its errors which peer refused what.
//!
//! With TLS 1.3 a client's handshake ends before the server has looked at the client's certificate. So a fresh
//! connection first waits for the server's first bytes (its HTTP/2 settings, which servers send unasked): a refusal
//! arrives in their place and becomes the error of the call, instead of "connection closed".

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr as _;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::connection::Connection;
use super::tls::{self, Security};
use super::url::Url;

/// TCP connection and TLS handshake together may take this long.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a fresh TLS connection waits for the server's first bytes before it is used anyway.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 pings, so that a dead peer is noticed on an idle connection.
const PATIENT: Keepalive = Keepalive {
    interval: Duration::from_secs(10),
    timeout: Duration::from_secs(5),
};
/// Where another server can take its place.
const IMPATIENT: Keepalive = Keepalive {
    interval: Duration::from_secs(2),
    timeout: Duration::from_secs(2),
};
/// More than a server's settings frame, less than a page.
const GREETING_BYTES: usize = 1024;

/// How often an idle connection is tried, and how long an answer may take.
#[derive(Debug, Clone, Copy)]
struct Keepalive {
    interval: Duration,
    timeout: Duration,
}

/// A server that must not be connected to with these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}`: {why}")]
pub struct ChannelError {
    url: Url,
    why: String,
}

/// A channel to `url` that connects at its first call and again after a failure. Needs a tokio runtime.
///
/// While the peer cannot be reached, calls fail with `UNAVAILABLE` and a text that names it. Limits of the message size
/// are set on the generated client.
///
/// # Errors
/// URL and TLS settings contradict each other, or plaintext beyond loopback was not allowed.
pub fn channel(url: &Url, security: &Security) -> Result<Channel, ChannelError> {
    kept_alive(url, security, PATIENT)
}

/// The same to one of several servers: it fails within 4 s when the server does not answer any more.
///
/// # Errors
/// As [`channel`].
pub fn channel_to_one_of_several(url: &Url, security: &Security) -> Result<Channel, ChannelError> {
    kept_alive(url, security, IMPATIENT)
}

fn kept_alive(
    url: &Url,
    security: &Security,
    keepalive: Keepalive,
) -> Result<Channel, ChannelError> {
    let fail = |why: String| ChannelError {
        url: url.clone(),
        why,
    };
    check(url, security).map_err(|why| fail(why.to_owned()))?;
    // tonic itself sees plaintext: the connector below does TLS, with certificates that are fresh at each connection.
    let plain = url.without_tls();
    let origin = Uri::from_str(&url.to_string()).map_err(|error| fail(error.to_string()))?;
    let endpoint = Endpoint::from_shared(plain.to_string())
        .map_err(|error| fail(error.to_string()))?
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT + 2 * GREETING_TIMEOUT)
        .http2_keep_alive_interval(keepalive.interval)
        .keep_alive_timeout(keepalive.timeout)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let connector = Connector {
        url: url.clone(),
        security: security.clone(),
    };
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn check(url: &Url, security: &Security) -> Result<(), &'static str> {
    Err(match security {
        Security::Mutual(_) if !url.is_tls() => {
            "TLS is configured (tls.cert), so the URL must begin with https://"
        }
        Security::Plaintext { .. } if url.is_tls() => "https:// needs tls.cert, tls.key and tls.ca",
        Security::Plaintext {
            beyond_loopback: false,
        } if !url.is_loopback() => {
            "plaintext goes to loopback only: use https:// with tls.cert, tls.key and tls.ca, or allow it with \
             tls.allow_plaintext"
        }
        _ => return Ok(()),
    })
}

/// Why no connection could be made; the text stands alone, because gRPC carries nothing else of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name resolution or TCP.
    #[error("cannot connect to {peer}: {why}")]
    Connect {
        /// The URL.
        peer: Url,
        /// The cause in words.
        why: String,
    },
    /// Too slow.
    #[error("cannot connect to {peer}: no answer within {CONNECT_TIMEOUT:?}")]
    Timeout {
        /// The URL.
        peer: Url,
    },
    /// TLS refused one of the two sides.
    #[error("no TLS connection to {peer}: {why}")]
    Tls {
        /// The URL.
        peer: Url,
        /// Whose certificate was refused and why.
        why: String,
    },
}

#[derive(Clone)]
struct Connector {
    url: Url,
    security: Security,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl Connector {
    async fn connect(self) -> Result<Connection, ConnectError> {
        let (stream, peer) = match tokio::time::timeout(CONNECT_TIMEOUT, self.establish()).await {
            Ok(established) => established?,
            Err(_) => {
                return Err(ConnectError::Timeout {
                    peer: self.url.clone(),
                });
            }
        };
        match stream {
            Established::Plain(stream) => Ok(Connection::plain(stream, peer)),
            Established::Tls(stream) => self.greeted(*stream, peer).await,
        }
    }

    async fn establish(&self) -> Result<(Established, SocketAddr), ConnectError> {
        let fail = |error: io::Error| ConnectError::Connect {
            peer: self.url.clone(),
            why: error.to_string(),
        };
        let stream = TcpStream::connect((self.url.host(), self.url.port()))
            .await
            .map_err(fail)?;
        let peer = stream.peer_addr().map_err(fail)?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, peer = %self.url, "cannot set TCP_NODELAY");
        }
        let Security::Mutual(identity) = &self.security else {
            return Ok((Established::Plain(stream), peer));
        };
        let name = ServerName::try_from(self.url.host().to_owned())
            .map_err(|error| self.tls(error.to_string()))?;
        TlsConnector::from(identity.client_config().await)
            .connect(name, stream)
            .await
            .map(|stream| (Established::Tls(Box::new(stream)), peer))
            .map_err(|error| self.tls(tls::explain_io(&error)))
    }

    async fn greeted(
        &self,
        mut stream: TlsStream<TcpStream>,
        peer: SocketAddr,
    ) -> Result<Connection, ConnectError> {
        let mut greeting = vec![0; GREETING_BYTES];
        let read = tokio::time::timeout(GREETING_TIMEOUT, stream.read(&mut greeting)).await;
        let count = match read {
            Ok(Ok(0)) => {
                return Err(
                    self.tls("the peer closed the connection after the handshake".to_owned())
                );
            }
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return Err(self.tls(tls::explain_io(&error))),
            Err(_) => 0,
        };
        greeting.truncate(count);
        Ok(Connection::greeted(stream.into(), peer, greeting))
    }

    fn tls(&self, why: String) -> ConnectError {
        ConnectError::Tls {
            peer: self.url.clone(),
            why,
        }
    }
}

/// Connected, TLS shaken hands, nothing read yet.
enum Established {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[cfg(test)]
mod tests;
