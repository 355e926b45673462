//! The task that asks Kubernetes for the names of this node's pods.
//!
//! Channels:
//! - in: `wanted` ([`Notify`]), a connection of a pod without a name has come;
//! - out: `names` (watch), the names of the last answer, and what the last failure said.
//!
//! It asks at the start, when a name is wanted (at most every 5 s) and every minute. While nobody answers it asks after
//! waits that grow up to a minute; the names that are known stay. Dropping the task at any await leaves nothing half done.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::absence::Absence;
use super::backoff::Backoff;
use crate::config::agent::Kubernetes;
use crate::error::describe;
use crate::net::http::{Client, HttpError};
use crate::net::tls::TlsError;
use crate::service::pods::{PodNames, PodsError};

/// How often is asked.
const RHYTHM: Rhythm = Rhythm {
    refresh: Duration::from_mins(1),
    least: Duration::from_secs(5),
    first_wait: Duration::from_secs(1),
};
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: 500 pods of 20 kB each.
const MOST_BYTES: usize = 10 << 20;
/// The largest token that is read.
const MOST_TOKEN: u64 = 64 << 10;

/// Between two questions.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    /// The longest time; names that are wanted are asked for earlier.
    refresh: Duration,
    /// The shortest time after an answer.
    least: Duration,
    /// The first wait after a failure.
    first_wait: Duration,
}

/// What is known of the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownPods {
    /// Their names.
    pub names: Arc<PodNames>,
    /// What went wrong when newer names were asked for last; `None` after an answer.
    pub trouble: Option<String>,
}

/// Where names of pods come from, and where newer ones are wished for.
#[derive(Debug, Clone)]
pub struct PodsIn {
    /// The names.
    pub names: watch::Receiver<KnownPods>,
    /// A pod without a name has connected.
    pub wanted: Arc<Notify>,
}

/// Kubernetes gave no list of pods.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or one that says no.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The CA file.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token file cannot be read.
    #[error("cannot read {path} (services.kubernetes_token)")]
    Token {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The token has characters that no token has.
    #[error("{path} (services.kubernetes_token) holds no token")]
    NoToken {
        /// The file.
        path: String,
    },
    /// The answer is something else.
    #[error(transparent)]
    Answer(#[from] PodsError),
}

/// Asks for the pods once. The files are read anew: tokens are replaced every hour.
///
/// # Errors
/// [`FetchError`]
pub async fn fetch(source: &Kubernetes) -> Result<PodNames, FetchError> {
    let (client, headers) = prepare(source)?;
    let answer: Bytes = client.get(&source.url, &headers).await?;
    Ok(PodNames::read(&answer)?)
}

fn prepare(source: &Kubernetes) -> Result<(Client, Vec<(HeaderName, HeaderValue)>), FetchError> {
    let client = match &source.ca {
        Some(ca) => Client::with_ca("services.kubernetes_ca", ca, TIMEOUT)?,
        None => Client::plaintext(TIMEOUT),
    };
    let token = source.token.as_deref().map(token).transpose()?;
    let headers = token.into_iter().map(|token| (AUTHORIZATION, token));
    Ok((client.limited_to(MOST_BYTES), headers.collect()))
}

fn token(file: &Path) -> Result<HeaderValue, FetchError> {
    let path = file.display().to_string();
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|open| open.take(MOST_TOKEN).read_to_string(&mut text));
    if let Err(source) = read {
        return Err(FetchError::Token { path, source });
    }
    match HeaderValue::from_str(&format!("Bearer {}", text.trim())) {
        Ok(mut value) if !text.trim().is_empty() => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(FetchError::NoToken { path }),
    }
}

/// The task.
#[derive(Debug)]
pub(super) struct Pods {
    source: Kubernetes,
    names: watch::Sender<KnownPods>,
    wanted: Arc<Notify>,
    absence: Absence,
    rhythm: Rhythm,
    backoff: Backoff,
}

impl Pods {
    /// The task, and where its names are seen.
    pub(super) fn new(source: Kubernetes) -> (Self, PodsIn) {
        Self::in_rhythm(source, RHYTHM)
    }

    fn in_rhythm(source: Kubernetes, rhythm: Rhythm) -> (Self, PodsIn) {
        let (names, known) = watch::channel(KnownPods::default());
        let wanted = Arc::new(Notify::new());
        let pods = PodsIn {
            names: known,
            wanted: Arc::clone(&wanted),
        };
        let task = Self {
            source,
            names,
            wanted,
            absence: Absence::default(),
            rhythm,
            backoff: Backoff::new(rhythm.first_wait, rhythm.refresh, rand::random()),
        };
        (task, pods)
    }

    /// Asks until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.turn()).await.is_some() {}
    }

    async fn turn(&mut self) {
        match fetch(&self.source).await {
            Ok(names) => {
                self.take(names);
                tokio::time::sleep(self.rhythm.least).await;
                let rest = self.rhythm.refresh.saturating_sub(self.rhythm.least);
                // Either way it is time.
                let _ = tokio::time::timeout(rest, self.wanted.notified()).await;
            }
            Err(error) => {
                self.failed(&error);
                tokio::time::sleep(self.backoff.next_wait()).await;
            }
        }
    }

    fn take(&mut self, mut names: PodNames) {
        self.backoff.reset();
        if self.absence.end() {
            tracing::info!("Kubernetes names pods again");
        }
        if names.left_out() > 0 {
            tracing::debug!(pods = names.left_out(), "pods are left without a name");
        }
        let earlier = Arc::clone(&self.names.borrow().names);
        names.keep(&earlier);
        let known = KnownPods {
            names: Arc::new(names),
            trouble: None,
        };
        self.names.send_if_modified(|before| {
            let is_news = *before != known;
            *before = known;
            is_news
        });
    }

    fn failed(&mut self, error: &FetchError) {
        let why = describe(error);
        if self.absence.is_news(&why) {
            tracing::warn!(error = why, "Kubernetes does not name pods");
        }
        self.names.send_if_modified(|known| {
            let is_news = known.trouble.as_ref() != Some(&why);
            known.trouble = Some(why);
            is_news
        });
    }
}

#[cfg(test)]
mod tests;
