//! The task that uploads: sends the spool's batches to the analyzer and forgets those that it has acknowledged.
//!
//! Channels: `spooled` (watch) in, the newest batch in the spool; those of [`Condition`], what the analyzer is told of the agent
//! itself; `acknowledged` (watch, its own), the newest batch that the analyzer has.
//!
//! A batch that the analyzer refuses as unreadable must not hold up those behind it. The analyzer acknowledges what came
//! before it and ends the stream; if several batches are on their way, they are sent again one by one, and the one that is refused
//! alone is passed over. A spool whose numbers the analyzer refuses, or knows better than the spool does, goes on under a new
//! identity ([`Spool::begun`], [`Spool::renew`]). Batches are
//! compressed with zstd where the analyzer says that it takes that.
//!
//! Where several analyzers share the fleet the controller names one (`assigned`, watch): the task moves there with jitter. Batches that
//! were acknowledged lately are kept then, and a new analyzer gets those that it has not seen: beside the new ones, the newest first. They
//! are kept from the start, because the controller may name an analyzer late; when it has named none for that long, none are kept.
//!
//! When its token is cancelled the analyzer has [`LAST_UPLOAD`] to take what is in the spool. Dropping the task at any
//! await is safe: a batch stays in the spool until it is acknowledged, and the analyzer says at the beginning of each
//! stream how far it has come.

mod error;
mod moving;
mod progress;

use std::collections::VecDeque;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

pub use self::error::UploadError;
use self::moving::{Keeping, client, moved, request};
use self::progress::{IN_FLIGHT, Progress, Sent};
use super::absence::Absence;
use super::backoff::Backoff;
use super::client::CALL_TIMEOUT;
use super::condition::Condition;
use crate::analysis::fleet::AgentState;
use crate::config::ConfigError;
use crate::config::agent::AgentConfig;
use crate::error::describe;
use crate::net::client::channel;
use crate::net::tls::Security;
use crate::net::url::Url;
use crate::rpc::shards::Assignment;
use crate::rpc::upload::UploadRequest;
use crate::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use crate::rpc::v1::{ResultBatch, UploadHello, UploadResponse};
use crate::store::spool::{Spool, Stored};

/// How long the analyzer has to take the last batches when the agent stops.
pub(crate) const LAST_UPLOAD: Duration = Duration::from_secs(1);

/// How long the analyzer has after that to read that the agent stops.
pub(crate) const GOODBYE: Duration = Duration::from_millis(250);

/// How often the task checks whether the agent's state has changed since the analyzer was told.
const LOOK: Duration = Duration::from_secs(1);
/// Read from the spool at once, in bytes.
const CHUNK: usize = 1 << 20;
/// The analyzer may take this long to store a batch before the stream is taken for dead.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The task.
pub struct Upload {
    server: Url,
    client: AnalyzerServiceClient<Channel>,
    hello: UploadHello,
    spool: Spool,
    spooled: watch::Receiver<u64>,
    condition: Condition,
    acknowledged: watch::Sender<u64>,
    farewell: watch::Sender<Farewell>,
    backoff: Backoff,
    absence: Absence,
    progress: Progress,
    assigned: watch::Receiver<Option<Assignment>>,
    security: Security,
    keeping: Keeping,
    /// Up to which batch of which identity an analyzer has acknowledged.
    reached: (u64, u64),
}

/// Whether the analyzer is told that the agent stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Unwanted,
    Wanted,
    Said,
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
        condition: Condition,
        assigned: watch::Receiver<Option<Assignment>>,
    ) -> Result<Self, ConfigError> {
        let channel = channel(&config.analyzer, &config.security)
            .map_err(|error| ConfigError::value("analyzer", error.to_string()))?;
        Ok(Self {
            server: config.analyzer.clone(),
            client: client(channel),
            hello: UploadHello {
                agent_id: config.agent_id.as_str().to_owned(),
                spool_id: spool.id(),
                host: config.host.as_str().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                shard: None,
                acknowledged_sequence: 0,
            },
            spool,
            spooled,
            condition,
            acknowledged: watch::Sender::new(0),
            farewell: watch::Sender::new(Farewell::Unwanted),
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, rand::random()),
            absence: Absence::default(),
            progress: Progress::default(),
            assigned,
            security: config.security.clone(),
            keeping: Keeping::default(),
            reached: (0, 0),
        })
    }

    /// The newest batch that the analyzer has.
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// Uploads until `stop`, and then until the analyzer has everything or [`LAST_UPLOAD`] is over. Then the analyzer is told that
    /// the agent stops, where that is possible at once.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut acknowledged, spool) = (self.acknowledged(), self.spool.clone());
        let farewell = self.farewell.clone();
        let finished = async {
            stop.cancelled().await;
            let drained = async {
                while spool.waiting().await.is_ok_and(|waiting| waiting > 0)
                    && acknowledged.changed().await.is_ok()
                {}
            };
            // After this time the rest stays in the spool.
            let _ = tokio::time::timeout(LAST_UPLOAD, drained).await;
            farewell.send_replace(Farewell::Wanted);
            let mut said = farewell.subscribe();
            let said = said.wait_for(|farewell| *farewell == Farewell::Said);
            let _ = tokio::time::timeout(GOODBYE, said).await;
        };
        tokio::select! {
            () = finished => {}
            () = self.keep_uploading() => {}
        }
    }

    /// An analyzer that is away is tried again; each reason is reported once per absence.
    async fn keep_uploading(&mut self) {
        let mut assigned = self.assigned.clone();
        self.keeping.begin(&self.spool).await;
        loop {
            self.progress.in_flight.clear();
            self.follow(&mut assigned).await;
            let ended = tokio::select! {
                ended = self.stream() => ended,
                () = moved(&mut assigned) => {
                    self.backoff.reset();
                    continue;
                }
            };
            if let Err(error) = ended
                && !self.is_overcome(&error).await
            {
                let error = describe(&error);
                if self.absence.is_news(&error) {
                    tracing::warn!(
                        error,
                        "the analyzer takes no results, they are kept and it is tried again"
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.backoff.next_wait()) => {}
                () = moved(&mut assigned) => self.backoff.reset(),
            }
        }
    }

    /// Turns to the analyzer that the controller has named last, if it has named one.
    async fn follow(&mut self, assigned: &mut watch::Receiver<Option<Assignment>>) {
        let Some(assignment) = assigned.borrow_and_update().clone() else {
            return;
        };
        if assignment.analyzer != self.server {
            match channel(&assignment.analyzer, &self.security) {
                Ok(channel) => self.client = client(channel),
                Err(error) => {
                    tracing::error!(%error, "the analyzer that the controller names cannot be used");
                    return;
                }
            }
            tracing::info!(
                analyzer = %assignment.analyzer, shard = %assignment.shard.shard, epoch = assignment.shard.epoch,
                "results go to another analyzer"
            );
            self.server = assignment.analyzer;
        }
        if self.hello.shard.is_none() {
            self.keeping.go_on(&self.spool).await;
        }
        self.hello.shard = Some(assignment.shard.into());
    }

    /// Does what lets the next stream go on where this one could not; false where only time helps.
    async fn is_overcome(&mut self, error: &UploadError) -> bool {
        let UploadError::Status { status, .. } = error else {
            return false;
        };
        match (status.code(), self.progress.in_flight.front()) {
            (
                Code::InvalidArgument | Code::OutOfRange,
                Some(&Sent {
                    sequence,
                    again: true,
                }),
            ) => {
                tracing::error!(
                    sequence,
                    why = status.message(),
                    "the analyzer cannot read a batch that is sent again"
                );
                self.spool.forget_kept(sequence).await.is_ok()
            }
            (
                Code::InvalidArgument | Code::OutOfRange,
                Some(&Sent {
                    sequence: refused, ..
                }),
            ) => {
                if self.progress.in_flight.len() > 1 {
                    let newest = self
                        .progress
                        .in_flight
                        .iter()
                        .map(|sent| sent.sequence)
                        .max();
                    self.progress.suspect = newest.unwrap_or(refused);
                    return true;
                }
                tracing::error!(
                    sequence = refused,
                    why = status.message(),
                    "the analyzer cannot read a batch: it is passed over"
                );
                self.spool.pass_over(refused).await.is_ok()
            }
            (
                Code::FailedPrecondition,
                Some(&Sent {
                    sequence: refused,
                    again: false,
                }),
            ) => {
                tracing::warn!(
                    sequence = refused,
                    why = status.message(),
                    "the analyzer refuses the spool's numbers: it goes on under a new identity"
                );
                self.spool
                    .renew(refused.saturating_sub(1), renumbered)
                    .await
                    .is_ok()
            }
            _ => false,
        }
    }

    async fn stream(&mut self) -> Result<(), UploadError> {
        let (requests, stream) = mpsc::channel(IN_FLIGHT);
        self.hello.spool_id = self.spool.begin().await?;
        let (spool, reached) = self.reached;
        self.hello.acknowledged_sequence = if spool == self.hello.spool_id {
            reached
        } else {
            0
        };
        // The channel is empty: there is room.
        let _ = requests.try_send(self.hello.clone().into());
        let mut client = self.client.clone();
        let answers = client.upload(ReceiverStream::new(stream));
        let mut answers = self.within(CALL_TIMEOUT, answers).await?.into_inner();
        let first = self.within(CALL_TIMEOUT, answers.message()).await?;
        let first = first.ok_or_else(|| self.closed())?;
        let mark = first.acknowledged_sequence;
        self.connected();
        self.reach(mark);
        if !self.spool.begun(mark, renumbered).await? {
            return Ok(());
        }
        self.acknowledged.send_replace(mark);
        let (mut sent, mut queue) = (mark, VecDeque::new());
        // Below it what was acknowledged before is sent again.
        let mut again = Some(first.seen_since_sequence).filter(|since| *since > 0);
        let (mut look, mut told) = (tokio::time::interval(LOOK), None);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut farewell = self.farewell.subscribe();
        // There may be more in the spool; the collector may add to it.
        let (mut more, mut open) = (true, true);
        loop {
            if queue.is_empty() && more {
                queue.extend(self.spool.read(sent, CHUNK).await?);
                more = !queue.is_empty();
            }
            let is_idle = queue.is_empty() && self.progress.in_flight.is_empty();
            if is_idle && self.spool.is_due_elsewhere().await? {
                return Ok(());
            }
            // What is new goes first.
            let old = match again {
                Some(before) if queue.is_empty() && self.progress.has_room(sent) => {
                    self.spool.kept_below(before).await?
                }
                _ => None,
            };
            if old.is_none() && queue.is_empty() && self.progress.has_room(sent) {
                again = None;
            }
            let patience = if self.progress.in_flight.is_empty() {
                Duration::MAX
            } else {
                ACKNOWLEDGE_TIMEOUT
            };
            tokio::select! {
                answer = tokio::time::timeout(patience, answers.message()) => {
                    let answer = answer
                        .map_err(|_| self.silent(ACKNOWLEDGE_TIMEOUT))?
                        .map_err(|status| self.failed(status))?
                        .ok_or_else(|| self.closed())?;
                    self.progress.acknowledged(answer.acknowledged_sequence);
                    self.forget(answer.acknowledged_sequence).await?;
                }
                permit = requests.reserve(), if self.progress.has_room(sent) && !queue.is_empty() => {
                    let permit = permit.map_err(|_| self.closed())?;
                    if let Some(batch) = queue.pop_front() {
                        sent = batch.sequence;
                        if is_readable(&batch) {
                            self.progress.in_flight.push_back(Sent { sequence: batch.sequence, again: false });
                            permit.send(request(batch, first.takes_zstd));
                        } else {
                            self.spool.pass_over(batch.sequence).await?;
                        }
                    }
                }
                permit = requests.reserve(), if old.is_some() => {
                    let permit = permit.map_err(|_| self.closed())?;
                    if let Some(batch) = old {
                        again = Some(batch.sequence);
                        self.progress.in_flight.push_back(Sent { sequence: batch.sequence, again: true });
                        permit.send(request(batch, first.takes_zstd));
                    }
                }
                () = wanted(&mut farewell), if first.takes_state => {
                    break;
                }
                _ = look.tick(), if first.takes_state => {
                    self.tell(&requests, &mut told);
                    self.keeping.decide(&self.spool).await?;
                }
                changed = self.spooled.changed(), if open && queue.is_empty() => {
                    // An error: the collector has ended; what it left is still sent.
                    (more, open) = (true, changed.is_ok());
                }
            }
        }
        self.say_goodbye(requests, answers).await
    }

    /// Tells the analyzer what the agent is like, where that is another than what was `told` last on this stream.
    fn tell(&self, requests: &mpsc::Sender<UploadRequest>, told: &mut Option<AgentState>) {
        let state = self.condition.state();
        if told.as_ref() == Some(&state) {
            return;
        }
        // A stream that is full is tried again with the next look.
        if requests
            .try_send(UploadRequest::of_state((&state).into()))
            .is_ok()
        {
            *told = Some(state);
        }
    }

    /// The last message: the agent stops because it was told to. The analyzer has read it when it ends its answers.
    async fn say_goodbye(
        &self,
        requests: mpsc::Sender<UploadRequest>,
        mut answers: tonic::Streaming<UploadResponse>,
    ) -> Result<(), UploadError> {
        let state = AgentState {
            is_stopping: true,
            ..self.condition.state()
        };
        let message = UploadRequest::of_state((&state).into());
        requests.send(message).await.map_err(|_| self.closed())?;
        drop(requests);
        while let Ok(Some(_)) = answers.message().await {}
        self.farewell.send_replace(Farewell::Said);
        Ok(())
    }

    async fn forget(&mut self, sequence: u64) -> Result<(), UploadError> {
        self.reach(sequence);
        self.spool.acknowledge(sequence).await?;
        self.acknowledged.send_replace(sequence);
        Ok(())
    }

    /// The analyzer has everything up to `sequence`. Said before the spool forgets it, which goes on when this task moves to another
    /// analyzer meanwhile: that one is told what it has to ask for.
    fn reach(&mut self, sequence: u64) {
        self.reached = (self.hello.spool_id, sequence);
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

/// Returns when the agent must tell the analyzer that it stops.
async fn wanted(farewell: &mut watch::Receiver<Farewell>) {
    let wanted = farewell.wait_for(|farewell| *farewell == Farewell::Wanted);
    if wanted.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The batch with another number.
fn renumbered(sequence: u64, payload: Vec<u8>) -> Vec<u8> {
    match ResultBatch::decode(&*payload) {
        Ok(batch) => ResultBatch { sequence, ..batch }.encode_to_vec(),
        // It is passed over when its turn comes.
        Err(_) => payload,
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

#[cfg(test)]
mod tests;
