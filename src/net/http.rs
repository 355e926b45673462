//! A small HTTP client: one request per connection, bodies of bounded size.
//!
//! Operators' commands, webhooks and Alertmanager are reached by TLS too, with the CA certificates that the configuration names
//! ([`Client::with_ca`]), and a certificate of this side's own where the server asks for one ([`Client::with_files`]).

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{HOST, HeaderName, HeaderValue, LOCATION};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::tls::{TlsError, TlsFiles, explain_io, https, https_as, tls_cause};
use super::url::Url;

/// The largest answer that is read.
const MOST_BYTES: usize = 64 << 20;
/// Characters of an answer that an error repeats.
const REPEATED: usize = 300;
const JSON: &str = "application/json";
const CONTENT: &str = "content-type";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody there.
    #[error("cannot connect to {authority}: is it running, and is the address right?")]
    Connect {
        /// Host and port.
        authority: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// TLS failed.
    #[error("{authority}: {why}")]
    Tls {
        /// Host and port.
        authority: String,
        /// In words.
        why: String,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("{authority} does not answer as an HTTP server")]
    Protocol {
        /// Host and port.
        authority: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{authority} has not answered within {timeout:?}")]
    Timeout {
        /// Host and port.
        authority: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The same request is to be sent to another place.
    #[error("{url} sends its clients on to {location}")]
    Elsewhere {
        /// The URL.
        url: String,
        /// The other place, as the server has written it.
        location: String,
    },
    /// An answer that says no.
    #[error("{url} answers {status}: {text}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
        /// The beginning of what it says.
        text: String,
    },
}

impl HttpError {
    /// Whether the other side has understood the request and will never take it (status 400 to 499, but for those that
    /// say "later").
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 400..=499,
                ..
            }
        ) && !matches!(
            self,
            Self::Status {
                status: 401 | 403 | 404 | 408 | 425 | 429,
                ..
            }
        )
    }
}

/// Sends requests, with TLS where it was given CA certificates.
#[derive(Clone)]
pub struct Client {
    tls: Option<TlsConnector>,
    timeout: Duration,
    most_bytes: usize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("tls", &self.tls.is_some())
            .field("timeout", &self.timeout)
            .field("most_bytes", &self.most_bytes)
            .finish()
    }
}

impl Client {
    /// Without TLS; every request may take `timeout`.
    pub const fn plaintext(timeout: Duration) -> Self {
        Self {
            tls: None,
            timeout,
            most_bytes: MOST_BYTES,
        }
    }

    /// With TLS: servers are verified by the CA certificates of a file, which the configuration key `key` names.
    ///
    /// # Errors
    /// The file cannot be read, or holds no CA certificate.
    pub fn with_ca(key: &'static str, ca: &Path, timeout: Duration) -> Result<Self, TlsError> {
        Ok(Self {
            tls: Some(TlsConnector::from(https(key, ca)?)),
            timeout,
            most_bytes: MOST_BYTES,
        })
    }

    /// With TLS, and a certificate of this side's own for servers that ask for one.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn with_files(files: &TlsFiles, timeout: Duration) -> Result<Self, TlsError> {
        Ok(Self {
            tls: Some(TlsConnector::from(https_as(files)?)),
            timeout,
            most_bytes: MOST_BYTES,
        })
    }

    /// Reads no answer beyond so many bytes.
    #[must_use]
    pub fn limited_to(self, most_bytes: usize) -> Self {
        Self { most_bytes, ..self }
    }

    /// Gets a resource, with further headers.
    ///
    /// # Errors
    /// All of [`HttpError`].
    pub async fn get(
        &self,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Bytes, HttpError> {
        self.send(url, "GET", headers, Bytes::new()).await
    }

    /// Asks to delete a resource, with further headers.
    ///
    /// # Errors
    /// All of [`HttpError`].
    pub async fn delete(
        &self,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Bytes, HttpError> {
        self.send(url, "DELETE", headers, Bytes::new()).await
    }

    /// Posts JSON with further headers.
    ///
    /// # Errors
    /// All of [`HttpError`].
    pub async fn post_json(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Bytes, HttpError> {
        self.send(url, "POST", headers, body).await
    }

    async fn send<N: AsRef<str> + Sync, V: AsRef<[u8]> + Sync>(
        &self,
        url: &Url,
        method: &'static str,
        headers: &[(N, V)],
        body: Bytes,
    ) -> Result<Bytes, HttpError> {
        tokio::time::timeout(self.timeout, self.exchange(url, method, headers, body))
            .await
            .map_err(|_| HttpError::Timeout {
                authority: url.authority(),
                timeout: self.timeout,
            })?
    }

    async fn exchange<N: AsRef<str> + Sync, V: AsRef<[u8]> + Sync>(
        &self,
        url: &Url,
        method: &'static str,
        headers: &[(N, V)],
        body: Bytes,
    ) -> Result<Bytes, HttpError> {
        let connection = self.connect(url).await?;
        // A server that wants a certificate says so after the handshake.
        let request = (method, headers, body);
        converse(connection, url, request, self.most_bytes)
            .await
            .map_err(|error| match tls_fault(&error) {
                Some(why) => HttpError::Tls {
                    authority: url.authority(),
                    why,
                },
                None => error,
            })
    }

    async fn connect(&self, url: &Url) -> Result<Connection, HttpError> {
        let refused = |source| HttpError::Connect {
            authority: url.authority(),
            source,
        };
        let fail = |why| HttpError::Tls {
            authority: url.authority(),
            why,
        };
        let stream = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(refused)?;
        let peer = stream.peer_addr().map_err(refused)?;
        if !url.is_tls() {
            return Ok(Connection::plain(stream, peer));
        }
        let connector = self
            .tls
            .as_ref()
            .ok_or_else(|| fail("no CA certificates are known to verify it with".to_owned()))?;
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|_| fail("its name cannot be in a certificate".to_owned()))?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| fail(explain_io(&error)))?;
        Ok(Connection::tls(stream.into(), peer))
    }
}

/// What TLS says of a connection that broke, if it was TLS.
fn tls_fault(error: &HttpError) -> Option<String> {
    let HttpError::Protocol { source, .. } = error else {
        return None;
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**source);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && tls_cause(error).is_some()
        {
            return Some(explain_io(error));
        }
        cause = error.source();
    }
    None
}

/// Gets a resource in plaintext.
///
/// # Errors
/// All of [`HttpError`] but `Tls`.
pub async fn get(url: &Url, timeout: Duration) -> Result<Bytes, HttpError> {
    Client::plaintext(timeout).get(url, &[]).await
}

/// Posts JSON in plaintext.
///
/// # Errors
/// All of [`HttpError`] but `Tls`.
pub async fn post_json(url: &Url, body: Bytes, timeout: Duration) -> Result<Bytes, HttpError> {
    let client = Client::plaintext(timeout);
    client.post_json(url, &[], body).await
}

/// Posts a body of any media type in plaintext.
///
/// # Errors
/// All of [`HttpError`] but `Tls`.
pub async fn post(
    url: &Url,
    content_type: &'static str,
    body: Bytes,
    timeout: Duration,
) -> Result<Bytes, HttpError> {
    let client = Client::plaintext(timeout);
    let headers = [(CONTENT, content_type.to_owned())];
    client.send(url, "POST", &headers, body).await
}

async fn converse<N, V>(
    connection: Connection,
    url: &Url,
    (method, headers, body): (&'static str, &[(N, V)], Bytes),
    most_bytes: usize,
) -> Result<Bytes, HttpError>
where
    N: AsRef<str>,
    V: AsRef<[u8]>,
{
    let authority = url.authority();
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Protocol {
        authority: authority.clone(),
        source,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|error| broken(error.into()))?;
    // Its end shows as the end of the exchange below.
    let connection = AbortOnDrop(tokio::spawn(connection));
    let path = if url.path().is_empty() {
        "/"
    } else {
        url.path()
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, &authority);
    if !headers.iter().any(|(name, _)| name.as_ref() == CONTENT) {
        request = request.header(CONTENT, JSON);
    }
    for (name, value) in headers {
        request = request.header(name.as_ref(), value.as_ref());
    }
    let request = request
        .body(Full::new(body))
        .map_err(|error| broken(error.into()))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| broken(error.into()))?;
    let status = answer.status();
    if matches!(status.as_u16(), 307 | 308)
        && let Some(location) = answer.headers().get(LOCATION)
    {
        return Err(HttpError::Elsewhere {
            url: url.to_string(),
            location: location.to_str().unwrap_or_default().to_owned(),
        });
    }
    let bytes = Limited::new(answer.into_body(), most_bytes)
        .collect()
        .await
        .map_err(broken)?
        .to_bytes();
    drop(connection);
    if status.is_success() {
        return Ok(bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    Err(HttpError::Status {
        url: url.to_string(),
        status: status.as_u16(),
        text: text.chars().take(REPEATED).collect(),
    })
}

/// Ends a task with the value, also when the request is given up.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
