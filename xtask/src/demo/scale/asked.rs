//! What the fleet says when it is asked: the analyzers' JSON API, and `rpingmesh status`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const TIMEOUT: Duration = Duration::from_secs(2);
/// One analyzer names the judge, and the judge answers.
const HOPS: u32 = 3;

/// `GET /api/v1/agents`.
#[derive(Debug, Deserialize)]
pub(super) struct Agents {
    pub(super) agents: Vec<Agent>,
}

/// One agent, as far as the demonstration needs it.
#[derive(Debug, Deserialize)]
pub(super) struct Agent {
    pub(super) host: String,
    pub(super) sequence: u64,
    pub(super) last_interval_end_unix_ns: i64,
    pub(super) lost_batches: u64,
    pub(super) late_batches: u64,
    pub(super) oldest_sequence: Option<u64>,
    pub(super) missing_batches: Option<u64>,
}

/// `GET /api/v1/incidents`.
#[derive(Debug, Deserialize)]
pub(super) struct Incidents {
    pub(super) incidents: Vec<Incident>,
}

/// One incident.
#[derive(Debug, Deserialize)]
pub(super) struct Incident {
    pub(super) id: u64,
    pub(super) state: String,
    pub(super) category: String,
    pub(super) title: String,
    pub(super) evidence: Vec<String>,
}

impl Incident {
    pub(super) fn is_open(&self) -> bool {
        self.state == "open"
    }

    /// Whether it says that this machine is overloaded, which says nothing of the fleet.
    pub(super) fn is_of_load(&self) -> bool {
        let is_starved = || self.evidence.iter().any(|line| line.contains("starved"));
        self.category == "cpu_overload" || self.category == "monitoring_blind" && is_starved()
    }
}

/// `rpingmesh status --store --json`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) controllers: Vec<Member>,
    pub(super) analyzers: Vec<Member>,
}

/// A controller or an analyzer.
#[derive(Debug, Deserialize)]
pub(super) struct Member {
    /// Its host and process.
    pub(super) name: String,
    pub(super) is_gone: bool,
    #[serde(default)]
    pub(super) is_judge: bool,
    /// Agents that a controller serves.
    #[serde(default)]
    pub(super) agents: u64,
    /// Shards that an analyzer owns.
    #[serde(default)]
    pub(super) shards: u64,
}

impl Member {
    /// Whether it runs as this process.
    pub(super) fn is(&self, process: u32) -> bool {
        self.name.ends_with(&format!("process {process}"))
    }
}

/// Asks the first analyzer that answers, and the judge that it names; `None` while nobody judges.
pub(super) fn ask<T: DeserializeOwned>(
    webs: impl Iterator<Item = SocketAddr>,
    path: &str,
) -> Result<Option<T>> {
    for web in webs {
        // One that was killed does not answer.
        if let Ok(Some(body)) = get(web, path) {
            let parsed = serde_json::from_str(&body);
            return parsed
                .map(Some)
                .with_context(|| format!("{path} of {web}: {body}"));
        }
    }
    Ok(None)
}

/// How many agents upload to this analyzer, by its metrics.
pub(super) fn uploading(web: SocketAddr) -> Result<u64> {
    let metrics = get(web, "/metrics")?.context("no metrics")?;
    let mut values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("rpingmesh_analyzer_streams "));
    let value = values.next().context("no such metric")?;
    Ok(value.trim().parse()?)
}

fn get(mut web: SocketAddr, path: &str) -> Result<Option<String>> {
    for _ in 0..HOPS {
        let answer = exchange(web, path)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        match status {
            "200" => return Ok(Some(body.to_owned())),
            "307" => {
                let is_location = |line: &&str| line.to_ascii_lowercase().starts_with("location:");
                let line = head.lines().find(is_location).context("no location")?;
                let (_, url) = line.split_once("http://").context("no URL")?;
                web = url.split('/').next().unwrap_or_default().parse()?;
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn exchange(web: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&web, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer is not in chunks and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {web}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What `rpingmesh status` says; `None` while nobody judges.
pub(super) fn status(mut command: Command) -> Result<Option<Status>> {
    let done = command
        .output()
        .with_context(|| crate::process::describe(&command))?;
    if !done.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let status: Status = serde_json::from_str(&text).with_context(|| text.clone().into_owned())?;
    ensure!(!status.analyzers.is_empty(), "no analyzers: {text}");
    Ok(Some(status))
}
