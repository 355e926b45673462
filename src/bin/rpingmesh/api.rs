//! The analyzer's API, read for the commands that show what it knows.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hyper::header::{HeaderName, HeaderValue};
use rpingmesh::api::read::{ReadError, read};
use rpingmesh::api::{OPENAPI, Request};
use rpingmesh::config::ConfigError;
use rpingmesh::config::program::{Failure, run_to_end};
use rpingmesh::error::describe;
use rpingmesh::id::{is_printable, shown};
use rpingmesh::net::http::{Client, HttpError};
use rpingmesh::net::tls::{TlsError, TlsFiles};
use rpingmesh::net::url::Url;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to ask and how to answer.
#[derive(Debug, Default, Args)]
pub(crate) struct ApiArgs {
    /// The analyzer's web address, or that of its proxy [default: http://127.0.0.1:7472]
    #[arg(long, env = "RPINGMESH_ANALYZER_API", value_name = "URL")]
    analyzer: Option<String>,
    /// PEM file with the CA certificates that verify an https:// server [default: none]
    #[arg(long, env = "RPINGMESH_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file with the client certificate, for an analyzer with `web_tls` [default: none]
    #[arg(long, env = "RPINGMESH_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate [default: none]
    #[arg(long, env = "RPINGMESH_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// A header to send with requests, such as `Authorization: Basic …` for a proxy, or the one that `web_auth_header` names
    /// [default: none]
    #[arg(
        long,
        env = "RPINGMESH_ANALYZER_HEADER",
        hide_env_values = true,
        value_name = "NAME: VALUE"
    )]
    header: Option<String>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The analyzer that is asked.
#[derive(Debug, Clone)]
pub(crate) struct Analyzer {
    client: Client,
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Display for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl ApiArgs {
    /// How the analyzer is reached.
    pub(crate) fn analyzer(&self) -> Result<Analyzer, Failure> {
        let text = self.analyzer.as_deref().unwrap_or("http://127.0.0.1:7472");
        let url =
            Url::parse(text).map_err(|error| ConfigError::value("analyzer", error.to_string()))?;
        Ok(Analyzer {
            client: self.client(&url)?,
            url,
            headers: self
                .header
                .as_deref()
                .map(header)
                .transpose()?
                .into_iter()
                .collect(),
        })
    }

    fn client(&self, url: &Url) -> Result<Client, ConfigError> {
        if !url.is_tls() {
            return Ok(Client::plaintext(TIMEOUT));
        }
        let missing = |key, why: &str| ConfigError::value(key, why);
        let Some(ca) = self.tls_ca.clone() else {
            return Err(missing(
                "tls.ca",
                "is missing: --tls-ca names the CA certificates that an https:// server is verified by, \
                 such as /etc/ssl/certs/ca-certificates.crt for those of the system",
            ));
        };
        let client = match (&self.tls_cert, &self.tls_key) {
            (None, None) => Client::with_ca("tls.ca", &ca, TIMEOUT),
            (Some(cert), Some(key)) => {
                let files = TlsFiles {
                    cert: cert.clone(),
                    key: key.clone(),
                    ca,
                    crl: None,
                };
                Client::with_files(&files, TIMEOUT)
            }
            (None, _) => return Err(missing("tls.cert", "is missing; tls.key needs it")),
            (_, None) => return Err(missing("tls.key", "is missing; tls.cert needs it")),
        };
        client.map_err(|error| {
            let key = match &error {
                TlsError::Read { key, .. } | TlsError::Content { key, .. } => key,
                TlsError::Pair { .. } => "tls.key",
            };
            ConfigError::value(key, describe(&error))
        })
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let wrong = || ConfigError::value("header", "must be `NAME: VALUE`, as HTTP allows them");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    Ok((name, value))
}

/// Of the OpenAPI document: which program answers.
#[derive(Deserialize)]
struct Document {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

impl Analyzer {
    /// Asks for one resource of the API.
    pub(crate) async fn ask<Q: Request>(&self, query: &Q) -> Result<Q::Answer, Failure> {
        let mut resource = self.url.join(&query.target());
        let mut answered = self.client.get(&resource, &self.headers).await;
        if let Some(judge) = elsewhere(&answered, &resource) {
            answered = self.client.get(&judge, &self.headers).await;
            resource = judge;
        }
        self.read(&resource, answered).await
    }

    /// Asks to delete what a query of the API means.
    pub(crate) async fn delete<Q: Request, A: DeserializeOwned>(
        &self,
        query: &Q,
    ) -> Result<A, Failure> {
        let mut resource = self.url.join(&query.target());
        let mut answered = self.client.delete(&resource, &self.headers).await;
        if let Some(judge) = elsewhere(&answered, &resource) {
            answered = self.client.delete(&judge, &self.headers).await;
            resource = judge;
        }
        self.read(&resource, answered).await
    }

    async fn read<A: DeserializeOwned>(
        &self,
        resource: &Url,
        answered: Result<Bytes, HttpError>,
    ) -> Result<A, Failure> {
        let body = answered.map_err(|error| Failure::run(explained(&error, self.url.is_tls())))?;
        let body = printable(&body);
        match read(&body) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(Failure::run(self.misread(resource, &error, &body).await)),
        }
    }

    /// Why an answer cannot be read: what is wrong where, and whose version is another.
    async fn misread(&self, resource: &Url, error: &ReadError, body: &[u8]) -> String {
        let text = format!("{resource}: {}", describe(error));
        let own = env!("CARGO_PKG_VERSION");
        match error {
            ReadError::NotJson(_) => format!(
                "{resource} is no answer of an analyzer: {}\nis this the analyzer's web address?",
                found(body)
            ),
            ReadError::Form { .. } => match self.version().await {
                Some(version) if version == own => {
                    format!("{text}\nthe analyzer is version {version}, too: please report this")
                }
                Some(version) => format!(
                    "{text}\nthe versions differ: the analyzer is version {version}, this program {own}"
                ),
                None => format!(
                    "{text}\nthe server has no {OPENAPI}: it is no analyzer, or one older than version {own}; it answered {}",
                    found(body)
                ),
            },
        }
    }

    async fn version(&self) -> Option<String> {
        let document = self.url.join(OPENAPI);
        let body = self.client.get(&document, &self.headers).await.ok()?;
        let document: Document = serde_json::from_slice(&body).ok()?;
        Some(document.info.version)
    }
}

/// Where an analyzer that does not judge sends its clients. Nobody is sent from TLS to plaintext.
fn elsewhere(answered: &Result<Bytes, HttpError>, asked: &Url) -> Option<Url> {
    let Err(HttpError::Elsewhere { location, .. }) = answered else {
        return None;
    };
    let judge = Url::parse(location).ok()?;
    (judge.is_tls() || !asked.is_tls()).then_some(judge)
}

/// An answer whose texts can be shown on a terminal: see [`shown`].
fn printable(body: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |text: &str| {
        !text.contains('\\')
            && text
                .chars()
                .all(|one| is_printable(one) || matches!(one, '\n' | '\r' | '\t'))
    };
    if std::str::from_utf8(body).is_ok_and(is_plain) {
        return Cow::Borrowed(body);
    }
    let Ok(mut answer) = serde_json::from_slice(body) else {
        return Cow::Borrowed(body);
    };
    show(&mut answer);
    serde_json::to_vec(&answer).map_or(Cow::Borrowed(body), Cow::Owned)
}

fn show(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(printable) = shown(text) {
                *text = printable;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(show),
        Value::Object(fields) => {
            let old = std::mem::take(fields);
            fields.extend(old.into_iter().map(|(key, mut value)| {
                show(&mut value);
                (shown(&key).into_owned(), value)
            }));
        }
        _ => {}
    }
}

/// What was found instead of an answer, in words: the title of a page, or how the text begins.
fn found(body: &[u8]) -> String {
    const LONGEST: usize = 80;
    let text = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]);
    let clean = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        let line = words.join(" ");
        let visible: String = line
            .chars()
            .filter(|one| is_printable(*one))
            .take(LONGEST)
            .collect();
        if visible.len() < line.len() {
            format!("{visible}…")
        } else {
            visible
        }
    };
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|start| {
        let from = start + lower[start..].find('>')? + 1;
        let to = from + lower[from..].find("</title")?;
        text.get(from..to).map(clean)
    });
    match title {
        Some(title) if !title.is_empty() => format!("an HTML page with the title `{title}`"),
        _ if lower.contains("<html") || lower.contains("<!doctype") => {
            "an HTML page without a title".to_owned()
        }
        _ if text.trim().is_empty() => "an empty body".to_owned(),
        _ => format!("the text `{}`", clean(&text)),
    }
}

/// In words, with what may help.
fn explained(error: &HttpError, is_tls: bool) -> String {
    let is_html = |text: &str| text.trim_start().starts_with('<');
    let text = match error {
        HttpError::Status { url, status, text } if is_html(text) => {
            format!(
                "{url} answers {status} with {}\nis this the analyzer's web address?",
                found(text.as_bytes())
            )
        }
        _ => describe(error),
    };
    let lines: Vec<_> = text.lines().map(shown).collect();
    let mut text = lines.join("\n");
    text += match error {
        HttpError::Status {
            status: 401 | 403, ..
        } => {
            "\nuse the proxy that authenticates users (--analyzer URL), and send what it needs (--header 'NAME: VALUE')"
        }
        HttpError::Protocol { .. } if !is_tls => "\nif it speaks TLS, the URL begins with https://",
        HttpError::Tls { .. } => {
            "\n--tls-ca verifies the analyzer; one with `web_tls` asks for --tls-cert and --tls-key, too"
        }
        _ => "",
    };
    text
}

/// Runs on a runtime of one thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::run)?;
    run_to_end(runtime, future)
}

/// Prints a text; a reader that has gone is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
        _ => Ok(()),
    }
}

/// Prints a value as JSON in one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string(value).map_err(Failure::run)?)
}

/// How long ago a point in time was, in the two largest units.
pub(crate) fn ago(now: i64, then: i64) -> String {
    let seconds = now.saturating_sub(then).max(0) / 1_000_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// `12 of 300 (4.00 %)`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if part == 0 {
        return format!("0 of {whole}");
    }
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    format!("{part} of {whole} ({percent:.2} %)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_an_answer_do_not_steer_the_terminal() {
        let body = br#"{"a":["x\u001b[2Jy\nz\u202e", 1.5], "\u0007": {"b": "gr\u00fcn \\ \"q\""}}"#;
        let answer: Value = serde_json::from_slice(&printable(body)).expect("JSON");
        assert_eq!(
            answer,
            serde_json::json!({
                "a": ["x\\u{1b}[2Jy\\u{a}z\\u{202e}", 1.5],
                "\\u{7}": {"b": "gr\u{fc}n \\ \"q\""},
            })
        );
        for plain in [&b"{\"a\": 1}\n"[..], b"no JSON\x1b", b"\xff"] {
            assert_eq!(*printable(plain), *plain);
        }
    }

    #[test]
    fn what_another_server_answers_is_said_in_a_few_words() {
        let said: Vec<_> = [
            "<!DOCTYPE html>\n<html><head><TITLE>\n Grafana &amp; more </TITLE></head>",
            "<html><body>hello</body></html>",
            " \n",
            "404 page not found\u{1b}[31m",
            "{\"status\":\"success\",\"data\":{}}",
        ]
        .iter()
        .map(|body| found(body.as_bytes()))
        .collect();
        assert_eq!(
            said,
            [
                "an HTML page with the title `Grafana &amp; more`",
                "an HTML page without a title",
                "an empty body",
                "the text `404 page not found[31m…`",
                "the text `{\"status\":\"success\",\"data\":{}}`",
            ]
        );
        assert_eq!(
            found(b"<title>\xff\xfe").len(),
            "the text `<title>\u{fffd}\u{fffd}`".len()
        );
        assert!(found("x".repeat(1_000).as_bytes()).ends_with("x…`"));
    }
}
