//! A small HTTP client: one request per connection, bodies of bounded size, plaintext.
//!
//! For the analyzer's API, webhooks and Alertmanager, which all listen beside the caller or behind a proxy on its host.
//! TLS is the proxy's.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The largest answer that is read.
const MOST_BYTES: usize = 64 << 20;
/// Characters of an answer that an error repeats.
const REPEATED: usize = 300;
const JSON: &str = "application/json";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an URL that can be used.
    #[error("`{url}` cannot be used: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Nobody there.
    #[error("cannot connect to {authority}: is it running, and is the address right?")]
    Connect {
        /// Host and port.
        authority: String,
        /// The cause.
        #[source]
        source: std::io::Error,
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

/// Where requests go: `http://HOST:PORT/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    authority: String,
    path: String,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`HttpError::Url`].
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let refuse = |why| HttpError::Url {
            url: text.to_owned(),
            why,
        };
        if text.starts_with("https://") {
            return Err(refuse(
                "TLS is not spoken here: put a proxy on this host in between",
            ));
        }
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| refuse("it must begin with http://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains(['@', ' ', '?', '#']) {
            return Err(refuse("no host with an optional port follows http://"));
        }
        if path.contains([' ', '#']) {
            return Err(refuse("its path has a space or a #"));
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self {
            authority: if has_port {
                authority.to_owned()
            } else {
                format!("{authority}:80")
            },
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// With more of a path, which begins with `/`.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        Self {
            authority: self.authority.clone(),
            path: format!("{}{path}", self.path),
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// Gets a resource.
///
/// # Errors
/// All of [`HttpError`] but `Url`.
pub async fn get(url: &Url, timeout: Duration) -> Result<Bytes, HttpError> {
    send(url, "GET", JSON, Bytes::new(), timeout).await
}

/// Posts JSON.
///
/// # Errors
/// All of [`HttpError`] but `Url`.
pub async fn post_json(url: &Url, body: Bytes, timeout: Duration) -> Result<Bytes, HttpError> {
    send(url, "POST", JSON, body, timeout).await
}

/// Posts a body of any media type.
///
/// # Errors
/// All of [`HttpError`] but `Url`.
pub async fn post(
    url: &Url,
    content_type: &'static str,
    body: Bytes,
    timeout: Duration,
) -> Result<Bytes, HttpError> {
    send(url, "POST", content_type, body, timeout).await
}

async fn send(
    url: &Url,
    method: &'static str,
    content_type: &'static str,
    body: Bytes,
    timeout: Duration,
) -> Result<Bytes, HttpError> {
    tokio::time::timeout(timeout, exchange(url, method, content_type, body))
        .await
        .map_err(|_| HttpError::Timeout {
            authority: url.authority.clone(),
            timeout,
        })?
}

async fn exchange(
    url: &Url,
    method: &'static str,
    content_type: &'static str,
    body: Bytes,
) -> Result<Bytes, HttpError> {
    let authority = &url.authority;
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Protocol {
        authority: authority.clone(),
        source,
    };
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|source| HttpError::Connect {
            authority: authority.clone(),
            source,
        })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    // Its end shows as the end of the exchange below.
    let connection = tokio::spawn(connection);
    let path = if url.path.is_empty() { "/" } else { &url.path };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(body))
        .map_err(|error| broken(error.into()))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| broken(error.into()))?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), MOST_BYTES)
        .collect()
        .await
        .map_err(broken)?
        .to_bytes();
    connection.abort();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused_with_a_reason() {
        let url = Url::parse("http://127.0.0.1:7472/").expect("fine");
        assert_eq!(
            url.join("/api/v1/status").to_string(),
            "http://127.0.0.1:7472/api/v1/status"
        );
        let named = Url::parse("http://alertmanager/prefix").expect("fine");
        assert_eq!(named.to_string(), "http://alertmanager:80/prefix");
        for text in [
            "https://a",
            "127.0.0.1:7472",
            "http://",
            "http:///x",
            "http://a/b c",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
