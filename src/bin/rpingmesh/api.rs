//! The analyzer's API, read for the commands that show what it knows.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use rpingmesh::config::ConfigError;
use rpingmesh::config::program::Failure;
use rpingmesh::rpc::http::{Url, get};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to ask and how to answer.
#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// The analyzer's web address [default: http://127.0.0.1:7472]
    #[arg(long, env = "RPINGMESH_ANALYZER_API", value_name = "URL")]
    analyzer: Option<String>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

impl ApiArgs {
    pub(crate) fn url(&self) -> Result<Url, Failure> {
        let text = self.analyzer.as_deref().unwrap_or("http://127.0.0.1:7472");
        Url::parse(text).map_err(|error| ConfigError::value("analyzer", error.to_string()).into())
    }
}

/// Gets one resource of `/api/v1`.
pub(crate) async fn read(url: &Url, path: &str) -> Result<Value, Failure> {
    let resource = url.join(&format!("/api/v1/{path}"));
    let body = get(&resource, TIMEOUT).await.map_err(Failure::run)?;
    serde_json::from_slice(&body).map_err(|error| {
        Failure::run(format!(
            "{resource} answers something else than JSON: {error}"
        ))
    })
}

/// Runs on a runtime of one thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::run)?
        .block_on(future)
}

/// Prints a text; a reader that has gone is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
        _ => Ok(()),
    }
}

/// A text field; empty if it is not there.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number; 0 if it is not there.
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

/// The members of a list.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
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
