//! Connecting to the controller and the analyzer: a channel that connects when it is first used, reconnects by itself,
//! and says in its errors which peer refused what.
//!
//! With TLS 1.3 a client's handshake ends before the server has looked at the client's certificate. So a fresh
//! connection first waits for the server's first bytes (its HTTP/2 settings, which servers send unasked): a refusal
//! arrives in their place and becomes the error of the call, instead of "connection closed".

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::tls::{self, Security};
use crate::config::ConfigError;

/// TCP connection and TLS handshake together may take this long.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a fresh TLS connection waits for the server's first bytes before it is used anyway.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 pings, so that a dead peer is noticed on an idle connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// More than a server's settings frame, less than a page.
const GREETING_BYTES: usize = 1024;

/// A server as configured: `https://host:port`, or `http://host:port` without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    encrypted: bool,
    host: String,
    port: u16,
}

impl ServerUrl {
    /// Host name or address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = |why: &str| {
            format!("`{text}` is not a server URL such as https://controller.example:7470: {why}")
        };
        let uri: Uri = text.parse().map_err(|error| fail(&format!("{error}")))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(fail("it must begin with https:// (or http:// without TLS)")),
        };
        if uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err(fail("it must have no path"));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| fail("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().ok_or_else(|| fail("it has no port"))?;
        Ok(Self {
            encrypted,
            host: host.to_owned(),
            port,
        })
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A channel to `url` that connects at its first call and again after a failure. Needs a tokio runtime.
///
/// `key` is the configuration key that the URL comes from. Calls fail with `UNAVAILABLE` and a text that names the peer
/// while it cannot be reached. Message size limits are set on the generated client, see [`super::MAX_MESSAGE_BYTES`].
///
/// # Errors
/// [`ConfigError::Value`]: URL and TLS settings contradict each other, or plaintext beyond loopback was not allowed.
pub fn channel(
    key: &'static str,
    url: &ServerUrl,
    security: &Security,
) -> Result<Channel, ConfigError> {
    check(key, url, security)?;
    // tonic itself sees plaintext: the connector below does TLS, with certificates that are fresh at each connection.
    let plain = ServerUrl {
        encrypted: false,
        ..url.clone()
    };
    let origin: Uri = url
        .to_string()
        .parse()
        .map_err(|error| ConfigError::value(key, format!("`{url}`: {error}")))?;
    let endpoint = Endpoint::from_shared(plain.to_string())
        .map_err(|error| ConfigError::value(key, format!("`{url}`: {error}")))?
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT + 2 * GREETING_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let connector = Connector {
        url: url.clone(),
        security: security.clone(),
    };
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn check(key: &'static str, url: &ServerUrl, security: &Security) -> Result<(), ConfigError> {
    let fault = match security {
        Security::Mutual(_) if !url.encrypted => {
            "TLS is configured (tls.cert), so the URL must begin with https://"
        }
        Security::Plaintext { .. } if url.encrypted => {
            "https:// needs tls.cert, tls.key and tls.ca"
        }
        Security::Plaintext {
            beyond_loopback: false,
        } if !url.is_loopback() => {
            "plaintext goes to loopback only: use https:// with tls.cert, tls.key and tls.ca, or allow it with \
             tls.allow_plaintext"
        }
        _ => return Ok(()),
    };
    Err(ConfigError::value(key, format!("`{url}`: {fault}")))
}

/// Why no connection could be made; the text stands alone, because gRPC carries nothing else of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name resolution or TCP.
    #[error("cannot connect to {peer}: {why}")]
    Connect {
        /// The URL.
        peer: ServerUrl,
        /// The cause in words.
        why: String,
    },
    /// Too slow.
    #[error("cannot connect to {peer}: no answer within {CONNECT_TIMEOUT:?}")]
    Timeout {
        /// The URL.
        peer: ServerUrl,
    },
    /// TLS refused one of the two sides.
    #[error("no TLS connection to {peer}: {why}")]
    Tls {
        /// The URL.
        peer: ServerUrl,
        /// Whose certificate was refused and why.
        why: String,
    },
}

#[derive(Clone)]
struct Connector {
    url: ServerUrl,
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
        let established = tokio::time::timeout(CONNECT_TIMEOUT, self.establish())
            .await
            .map_err(|_| ConnectError::Timeout {
                peer: self.url.clone(),
            })??;
        match established {
            Io::Plain(_) => Ok(Connection {
                io: established,
                greeting: Vec::new(),
                taken: 0,
            }),
            Io::Tls(stream) => self.greeted(stream).await,
        }
    }

    async fn establish(&self) -> Result<Io, ConnectError> {
        let stream = TcpStream::connect((self.url.host(), self.url.port))
            .await
            .map_err(|error| ConnectError::Connect {
                peer: self.url.clone(),
                why: error.to_string(),
            })?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, peer = %self.url, "cannot set TCP_NODELAY");
        }
        let Security::Mutual(identity) = &self.security else {
            return Ok(Io::Plain(stream));
        };
        let name = ServerName::try_from(self.url.host.clone())
            .map_err(|error| self.tls(error.to_string()))?;
        TlsConnector::from(identity.client_config().await)
            .connect(name, stream)
            .await
            .map(|stream| Io::Tls(Box::new(stream)))
            .map_err(|error| self.tls(tls::explain_io(&error)))
    }

    async fn greeted(
        &self,
        mut stream: Box<TlsStream<TcpStream>>,
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
        Ok(Connection {
            io: Io::Tls(stream),
            greeting,
            taken: 0,
        })
    }

    fn tls(&self, why: String) -> ConnectError {
        ConnectError::Tls {
            peer: self.url.clone(),
            why,
        }
    }
}

/// An established connection; first gives out what was read while waiting for the server.
struct Connection {
    io: Io,
    greeting: Vec<u8>,
    taken: usize,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.greeting[this.taken..];
        if !rest.is_empty() {
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            this.taken += count;
            return Poll::Ready(Ok(()));
        }
        match &mut this.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
