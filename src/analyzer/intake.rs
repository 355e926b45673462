//! Takes batches: decides which are new, stores them in groups, passes them on, acknowledges them. In this order, so
//! that an acknowledged batch is stored and a stored one is never counted twice. Batches of agents whose clocks are off are
//! moved to the time that they are about ([`Clocks`]).
//!
//! One task. Its queue holds [`DEPTH`] submissions; senders wait when it is full. It ends when the last sender is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tonic::Code;

use super::metrics::Metrics;
use super::state::{StateHandle, Taken};
use crate::analysis::admission::{Admission, Watermark};
use crate::analysis::clocks::{Clocks, is_corrected};
use crate::analysis::report::Sender;
use crate::analysis::windows::{Limits, Placement};
use crate::error::describe;
use crate::id::{AgentVersion, HostName};
use crate::net::limit::LogLimit;
use crate::rpc::results::{BatchError, Ends, Received};
use crate::store::StoreError;
use crate::store::journal::{Journal, Record};
use crate::time::{Clock, Nanos, WallTime};

/// Depth of the queue: as many as one group takes twice over, so that the next group gathers while one is stored.
pub(super) const DEPTH: usize = 2 * GROUP;
/// The most batches stored at once; bounds the transaction's memory.
const GROUP: usize = 128;
/// The most bytes stored at once, as far as one batch allows.
const GROUP_BYTES: usize = 32 << 20;
/// How often old batches are forgotten.
const PRUNE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a spool's watermark outlives its last batch.
const KEEP_MARKS: Duration = Duration::from_hours(24 * 90);
/// Batches read at once when the journal is replayed.
const PAGE: u32 = 64;

/// A batch on its way into the journal.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) sender: Sender,
    pub(super) host: HostName,
    /// Of the agent's program, where it tells.
    pub(super) version: Option<AgentVersion>,
    pub(super) received: Received,
    /// The batch as it came, for the journal.
    pub(super) payload: Bytes,
    pub(super) reply: oneshot::Sender<Result<u64, StoreFailure>>,
}

/// Why a batch was not taken, for the agent.
#[derive(Debug, Clone)]
pub(super) struct StoreFailure {
    pub(super) code: Code,
    pub(super) text: String,
}

#[derive(Debug)]
enum Request {
    Hello(Sender, oneshot::Sender<u64>),
    Batch(Box<Submission>),
}

/// For the upload streams.
#[derive(Debug, Clone)]
pub(super) struct IntakeHandle {
    requests: mpsc::Sender<Request>,
    ends: Arc<Ends>,
}

impl IntakeHandle {
    /// How far the sender's spool has been taken; `None` when the analyzer ends.
    pub(super) async fn watermark(&self, sender: Sender) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Hello(sender, reply))
            .await
            .ok()?;
        answer.await.ok()
    }

    /// Reads an encoded batch.
    pub(super) fn read(&self, batch: &[u8]) -> Result<Received, BatchError> {
        Received::read(batch, &self.ends)
    }

    /// Submits a batch; its reply comes when it is stored. False when the analyzer ends.
    pub(super) async fn submit(&self, submission: Submission) -> bool {
        let request = Request::Batch(Box::new(submission));
        self.requests.send(request).await.is_ok()
    }
}

/// Replays the journal into the state; gives the task.
pub(super) async fn start(
    journal: Arc<dyn Journal>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    state: StateHandle,
    metrics: Arc<Metrics>,
) -> Result<(IntakeHandle, impl Future<Output = ()> + Send), StoreError> {
    let marks: HashMap<_, _> = journal
        .watermarks()
        .await?
        .into_iter()
        .map(|mark| (mark.sender.clone(), mark))
        .collect();
    let mut intake = Intake {
        journal,
        clocks: Clocks::new(limits.clock_tolerance),
        limits,
        clock,
        state,
        metrics,
        marks,
        ends: Arc::default(),
        lines: LogLimit::new(5, Duration::from_secs(10)),
    };
    // A full disk takes no deletion either: what is there can be read.
    if let Err(error) = intake.prune().await {
        intake.report(&error);
    }
    intake.replay().await?;
    let (requests, queue) = mpsc::channel(DEPTH);
    let ends = Arc::clone(&intake.ends);
    Ok((IntakeHandle { requests, ends }, intake.run(queue)))
}

struct Intake {
    journal: Arc<dyn Journal>,
    limits: Limits,
    /// Of the agents.
    clocks: Clocks,
    clock: Arc<dyn Clock>,
    state: StateHandle,
    metrics: Arc<Metrics>,
    marks: HashMap<Sender, Watermark>,
    /// What batches say about RNICs, those of the journal too.
    ends: Arc<Ends>,
    lines: LogLimit,
}

impl Intake {
    /// Batches that ended before this are needed by no window.
    fn horizon(&self) -> WallTime {
        // A batch lies in the slot of its middle, which its end follows.
        self.clock.wall()
            + (Nanos::ZERO - Nanos::from(self.limits.kept() + crate::analysis::windows::SLOT))
    }

    async fn prune(&self) -> Result<(), StoreError> {
        let marks = self.clock.wall() + (Nanos::ZERO - Nanos::from(KEEP_MARKS));
        let gone = self.journal.prune(self.horizon(), marks).await?;
        self.metrics.readiness.stored();
        tracing::debug!(batches = gone, "old batches were forgotten");
        Ok(())
    }

    async fn replay(&self) -> Result<(), StoreError> {
        self.state
            .marks(self.marks.values().cloned().collect())
            .await;
        let since = self.horizon();
        let (mut position, mut count) = (0, 0u64);
        loop {
            let page = self.journal.read(since, position, PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            position = last.position;
            let now = self.clock.wall();
            let taken: Vec<_> = page
                .into_iter()
                .filter_map(|stored| self.decode(&stored.record, now))
                .collect();
            count += taken.len() as u64;
            self.state.taken(taken).await;
        }
        tracing::info!(
            batches = count,
            spools = self.marks.len(),
            "the journal was replayed"
        );
        Ok(())
    }

    fn decode(&self, record: &Record, now: WallTime) -> Option<Taken> {
        match Received::read(&record.payload, &self.ends) {
            Ok(mut received) => {
                let mark = self.marks.get(&record.sender)?.clone();
                // It was stored with its end as corrected, if its agent's clock was off.
                let moved = record.end - received.batch.interval.end;
                received.batch.move_by(moved);
                Some(Taken {
                    received: Some(received.of_host(&mark.host)),
                    mark,
                    // The journal does not keep it; the agent tells it again.
                    version: None,
                    replayed: true,
                    clock: Nanos::ZERO,
                    at: now,
                })
            }
            Err(error) => {
                tracing::warn!(
                    agent = %record.sender.agent, sequence = record.sequence, %error,
                    "a batch in the journal cannot be read and is left out"
                );
                None
            }
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut pruning = tokio::time::interval(PRUNE_INTERVAL);
        pruning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => request,
                    None => return,
                },
                _ = pruning.tick() => {
                    if let Err(error) = self.prune().await {
                        self.report(&error);
                    }
                    continue;
                }
            };
            let mut group = Vec::new();
            self.gather(first, &mut group);
            let mut bytes = 0;
            while group.len() < GROUP && bytes < GROUP_BYTES {
                let Ok(next) = queue.try_recv() else {
                    break;
                };
                self.gather(next, &mut group);
                bytes = group.iter().map(|one| one.payload.len()).sum();
            }
            self.take(group).await;
        }
    }

    fn gather(&self, request: Request, group: &mut Vec<Submission>) {
        match request {
            Request::Hello(sender, reply) => {
                let mark = self.marks.get(&sender).map_or(0, |mark| mark.sequence);
                // A stream that has gone needs no answer.
                let _ = reply.send(mark);
            }
            Request::Batch(submission) => group.push(*submission),
        }
    }

    async fn take(&mut self, group: Vec<Submission>) {
        let now = self.clock.wall();
        let mut staged: HashMap<Sender, Watermark> = HashMap::new();
        let (mut records, mut taken, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        for submission in group {
            let Submission {
                sender,
                host,
                version,
                mut received,
                payload,
                reply,
            } = submission;
            let mark = staged.entry(sender).or_insert_with_key(|sender| {
                self.marks
                    .get(sender)
                    .cloned()
                    .unwrap_or_else(|| Watermark::new(sender.clone(), host.clone(), now))
            });
            let sequence = received.batch.sequence;
            let admission = mark.admit(sequence, now);
            if let Admission::TooFar { limit } = admission {
                let _ = reply.send(Err(too_far(mark, sequence, limit)));
                continue;
            }
            mark.host = host;
            let is_new = admission != Admission::Duplicate;
            let clock = if is_new {
                let interval = &received.batch.interval;
                self.clocks.observe(&mark.sender.agent, interval, now)
            } else {
                Nanos::ZERO
            };
            if is_corrected(clock) {
                received.batch.move_by(Nanos::ZERO - clock);
            }
            let counted = self.limits.place(&received.batch.interval, now) == Placement::Counted;
            if is_new && counted && !received.batch.is_empty() {
                records.push(Record {
                    sender: mark.sender.clone(),
                    sequence,
                    end: received.batch.interval.end,
                    payload,
                });
            }
            replies.push((reply, mark.sequence));
            taken.push(Taken {
                mark: mark.clone(),
                version,
                received: is_new.then_some(received),
                replayed: false,
                clock,
                at: now,
            });
        }
        // Of a spool whose first batch was refused nothing is known.
        staged.retain(|_, mark| mark.taken > 0);
        if taken.iter().any(|taken| taken.received.is_some()) {
            let marks = staged.values().cloned().collect();
            if let Err(error) = self.journal.append(records, marks).await {
                self.refuse(&error, replies);
                return;
            }
            self.metrics.readiness.stored();
        }
        self.marks.extend(staged);
        self.state.taken(taken).await;
        for (reply, sequence) in replies {
            let _ = reply.send(Ok(sequence));
        }
    }

    fn refuse(
        &mut self,
        error: &StoreError,
        replies: Vec<(oneshot::Sender<Result<u64, StoreFailure>>, u64)>,
    ) {
        self.report(error);
        let code = match error {
            StoreError::Full { .. } => Code::ResourceExhausted,
            _ => Code::Unavailable,
        };
        let text = describe(error);
        let failure = StoreFailure { code, text };
        for (reply, _) in replies {
            let _ = reply.send(Err(failure.clone()));
        }
    }

    fn report(&mut self, error: &StoreError) {
        self.metrics.store_failures.inc();
        self.metrics.readiness.refused(describe(error));
        if let Some(suppressed) = self.lines.admit(self.clock.host()) {
            tracing::error!(
                error = describe(error),
                suppressed,
                "batches cannot be stored and are not acknowledged; agents keep them"
            );
        }
    }
}

fn too_far(mark: &Watermark, sequence: u64, limit: u64) -> StoreFailure {
    StoreFailure {
        code: Code::FailedPrecondition,
        text: format!(
            "batch {sequence} of agent `{}` is too far behind batch {}, the newest that was taken of this spool: at most {limit} \
             is accepted; send it under another spool id",
            mark.sender.agent, mark.sequence
        ),
    }
}
