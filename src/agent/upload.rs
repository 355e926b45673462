//! The task that uploads: sends the spool's batches to the analyzer and forgets those that it has acknowledged.
//!
//! Channels: `spooled` (watch) in, the newest batch in the spool; `acknowledged` (watch, its own), the newest batch that
//! the analyzer has.
//!
//! When its token is cancelled the analyzer has [`LAST_UPLOAD`] to take what is in the spool. Dropping the task at any
//! await is safe: a batch stays in the spool until it is acknowledged, and the analyzer says at the beginning of each
//! stream how far it has come.

use std::collections::VecDeque;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::absence::Absence;
use super::backoff::Backoff;
use super::client::CALL_TIMEOUT;
use crate::config::ConfigError;
use crate::config::agent::AgentConfig;
use crate::error::describe;
use crate::net::client::channel;
use crate::net::url::Url;
use crate::rpc::MAX_MESSAGE_BYTES;
use crate::rpc::upload::UploadRequest;
use crate::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use crate::rpc::v1::{ResultBatch, UploadHello};
use crate::store::StoreError;
use crate::store::spool::{Spool, Stored};

/// How long the analyzer has to take the last batches when the agent stops.
pub(crate) const LAST_UPLOAD: Duration = Duration::from_secs(1);

/// Batches on their way: enough to keep a group commit of the analyzer busy.
const IN_FLIGHT: usize = 8;
/// Read from the spool at once, in bytes.
const CHUNK: usize = 1 << 20;
/// The analyzer may take this long to store a batch before the stream is taken for dead.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why a stream has ended.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The analyzer cannot be reached or has refused.
    #[error("{}", super::client::status_text(server, status))]
    Status {
        /// The analyzer.
        server: Url,
        /// gRPC's answer.
        status: Box<tonic::Status>,
    },
    /// Nothing came back in time.
    #[error("{server}: no acknowledgement within {within:?}")]
    Silent {
        /// The analyzer.
        server: Url,
        /// How long was waited.
        within: Duration,
    },
    /// The analyzer has closed the stream.
    #[error("{server} has closed the stream")]
    Closed {
        /// The analyzer.
        server: Url,
    },
    /// The spool cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The task.
pub struct Upload {
    server: Url,
    client: AnalyzerServiceClient<Channel>,
    hello: UploadHello,
    spool: Spool,
    spooled: watch::Receiver<u64>,
    acknowledged: watch::Sender<u64>,
    backoff: Backoff,
    absence: Absence,
}

impl Upload {
    /// Connects when it runs.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for `analyzer`: URL and TLS settings contradict each other.
    pub fn new(
        config: &AgentConfig,
        spool: Spool,
        spooled: watch::Receiver<u64>,
    ) -> Result<Self, ConfigError> {
        let channel = channel(&config.analyzer, &config.security)
            .map_err(|error| ConfigError::value("analyzer", error.to_string()))?;
        Ok(Self {
            server: config.analyzer.clone(),
            client: AnalyzerServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            hello: UploadHello {
                agent_id: config.agent_id.as_str().to_owned(),
                spool_id: spool.id(),
                host: config.host.as_str().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            spool,
            spooled,
            acknowledged: watch::Sender::new(0),
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, rand::random()),
            absence: Absence::default(),
        })
    }

    /// The newest batch that the analyzer has.
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// Uploads until `stop`, and then until the analyzer has everything or [`LAST_UPLOAD`] is over.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut acknowledged, spooled) = (self.acknowledged(), self.spooled.clone());
        let finished = async {
            stop.cancelled().await;
            // Its own statement: the guard must not live across the wait.
            let newest = *spooled.borrow();
            let drained = acknowledged.wait_for(|sequence| *sequence >= newest);
            // After this time the rest stays in the spool.
            let _ = tokio::time::timeout(LAST_UPLOAD, drained).await;
        };
        tokio::select! {
            () = finished => {}
            () = self.keep_uploading() => {}
        }
    }

    /// An analyzer that is away is tried again; each reason is reported once per absence.
    async fn keep_uploading(&mut self) {
        loop {
            if let Err(error) = self.stream().await {
                let error = describe(&error);
                if self.absence.is_news(&error) {
                    tracing::warn!(
                        error,
                        "the analyzer takes no results, they are kept and it is tried again"
                    );
                }
            }
            tokio::time::sleep(self.backoff.next_wait()).await;
        }
    }

    async fn stream(&mut self) -> Result<(), UploadError> {
        let (requests, stream) = mpsc::channel(IN_FLIGHT);
        // The channel is empty: there is room.
        let _ = requests.try_send(self.hello.clone().into());
        let mut client = self.client.clone();
        let answers = client.upload(ReceiverStream::new(stream));
        let mut answers = self.within(CALL_TIMEOUT, answers).await?.into_inner();
        let first = self.within(CALL_TIMEOUT, answers.message()).await?;
        let mut stored = first.ok_or_else(|| self.closed())?.acknowledged_sequence;
        self.forget(stored).await?;
        self.connected();
        let mut sent = stored;
        let mut queue = VecDeque::new();
        loop {
            let newest = *self.spooled.borrow_and_update();
            if queue.is_empty() && sent < newest {
                queue.extend(self.spool.read(sent, CHUNK).await?);
            }
            let room = sent.saturating_sub(stored) < IN_FLIGHT as u64;
            let patience = if sent > stored {
                ACKNOWLEDGE_TIMEOUT
            } else {
                Duration::MAX
            };
            tokio::select! {
                answer = tokio::time::timeout(patience, answers.message()) => {
                    let answer = answer
                        .map_err(|_| self.silent(ACKNOWLEDGE_TIMEOUT))?
                        .map_err(|status| self.failed(status))?
                        .ok_or_else(|| self.closed())?;
                    stored = answer.acknowledged_sequence;
                    self.forget(stored).await?;
                }
                permit = requests.reserve(), if room && !queue.is_empty() => {
                    let permit = permit.map_err(|_| self.closed())?;
                    if let Some(batch) = queue.pop_front() {
                        sent = batch.sequence;
                        if is_readable(&batch) {
                            permit.send(UploadRequest::of_batch(batch.payload.into()));
                        }
                    }
                }
                changed = self.spooled.changed(), if queue.is_empty() => {
                    if changed.is_err() {
                        // The collector has ended; what is on its way is still acknowledged.
                        answers = self.drain(answers, &mut stored, sent).await?;
                        self.idle().await;
                    }
                }
            }
        }
    }

    /// Takes the acknowledgements that are still to come.
    async fn drain(
        &self,
        mut answers: tonic::Streaming<crate::rpc::v1::UploadResponse>,
        stored: &mut u64,
        sent: u64,
    ) -> Result<tonic::Streaming<crate::rpc::v1::UploadResponse>, UploadError> {
        while *stored < sent {
            let answer = self.within(ACKNOWLEDGE_TIMEOUT, answers.message()).await?;
            *stored = answer.ok_or_else(|| self.closed())?.acknowledged_sequence;
            self.forget(*stored).await?;
        }
        Ok(answers)
    }

    /// Nothing more will come: waits to be stopped.
    async fn idle(&self) {
        std::future::pending::<()>().await;
    }

    async fn forget(&self, sequence: u64) -> Result<(), UploadError> {
        self.spool.acknowledge(sequence).await?;
        self.acknowledged.send_replace(sequence);
        Ok(())
    }

    fn connected(&mut self) {
        self.backoff.reset();
        if self.absence.end() {
            tracing::info!(server = %self.server, "the analyzer takes results again");
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<T, UploadError> {
        tokio::time::timeout(limit, call)
            .await
            .map_err(|_| self.silent(limit))?
            .map_err(|status| self.failed(status))
    }

    fn failed(&self, status: tonic::Status) -> UploadError {
        UploadError::Status {
            server: self.server.clone(),
            status: Box::new(status),
        }
    }

    fn silent(&self, within: Duration) -> UploadError {
        UploadError::Silent {
            server: self.server.clone(),
            within,
        }
    }

    fn closed(&self) -> UploadError {
        UploadError::Closed {
            server: self.server.clone(),
        }
    }
}

/// A batch that this version cannot read, from a damaged file, is passed over.
fn is_readable(stored: &Stored) -> bool {
    ResultBatch::decode(&*stored.payload)
        .inspect_err(|error| {
            tracing::error!(sequence = stored.sequence, %error, "a batch in the spool is damaged and passed over");
        })
        .is_ok()
}
