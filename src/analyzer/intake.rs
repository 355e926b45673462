//! Takes batches: decides which are new, stores them in groups, passes them on, acknowledges them. In this order, so
//! that an acknowledged batch is stored and a stored one is never counted twice. Batches of agents whose clocks are off are
//! moved to the time that they are about ([`Clocks`]).
//!
//! One task. Its queue holds [`DEPTH`] submissions; senders wait when it is full. It ends when the last sender is gone.
//!
//! **Replay.** At the start the journal is read back in pieces of [`PIECE_BYTES`]. What takes longer than [`REPLAY_FIRST`] goes
//! on between the groups, so that a large journal does not keep agents waiting; nothing is judged until all of it is
//! read. Watermarks are known from the beginning, and the replay ends where the journal ended at the start: nothing is
//! counted twice.

mod handle;
mod marks;
mod refusal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Code;

pub(super) use self::handle::{Greeting, IntakeHandle, Request, Submission, Welcome};
use self::marks::Marks;
use self::refusal::too_many_spools;
pub(super) use self::refusal::{StoreFailure, too_far};
use super::memory::Memory;
use super::metrics::Metrics;
use super::state::{StateHandle, Taken};
use crate::analysis::admission::{Admission, Watermark};
use crate::analysis::clocks::{Clocks, is_corrected};
use crate::analysis::report::Sender;
use crate::analysis::windows::{Limits, Placement};
use crate::error::describe;
use crate::net::limit::LogLimit;
use crate::rpc::results::{Ends, Received};
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
/// Longer than a watermark outlives the last batch of its spool in the journal: clocks of agents are ahead a little.
const MARGIN: Duration = Duration::from_mins(1);
/// Batches read at once when the journal is replayed, and their bytes, as far as one batch allows.
const PIECE: u32 = 64;
const PIECE_BYTES: usize = 4 << 20;
/// Pause after a piece of the journal that could not be read.
const REPLAY_PAUSE: Duration = Duration::from_millis(500);
/// How long the replay may take before uploads are taken beside it.
pub(super) const REPLAY_FIRST: Duration = Duration::from_secs(2);

/// The intake, started.
pub(super) struct Started<F> {
    /// For the upload streams.
    pub(super) handle: IntakeHandle,
    /// True as soon as the journal is read back; closed when the intake ends before.
    pub(super) replayed: watch::Receiver<bool>,
    /// To be run.
    pub(super) task: F,
}

/// Replays the journal into the state, for at most `first` ([`REPLAY_FIRST`]) before it gives the task, which does the rest.
pub(super) async fn start(
    journal: Arc<dyn Journal>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    state: StateHandle,
    metrics: Arc<Metrics>,
    first: Duration,
) -> Result<Started<impl Future<Output = ()> + Send>, StoreError> {
    let stored = journal.watermarks().await?;
    let (done, replayed) = watch::channel(false);
    let mut intake = Intake {
        journal,
        clocks: Clocks::new(limits.clock_tolerance),
        limits,
        clock,
        state,
        metrics,
        marks: Marks::default(),
        ends: Arc::default(),
        memory: Memory::default(),
        replay: None,
        done,
        lines: LogLimit::new(5, Duration::from_secs(10)),
    };
    let needed = intake.needed();
    for mark in stored {
        intake.marks.put(mark, needed);
    }
    // A full disk takes no deletion either: what is there can be read.
    if let Err(error) = intake.prune().await {
        intake.report(&error);
    }
    intake.begin_replay(first).await?;
    let (requests, queue) = mpsc::channel(DEPTH);
    Ok(Started {
        handle: IntakeHandle::new(
            requests,
            (Arc::clone(&intake.ends), intake.memory.clone()),
            Some(intake.state.clone()),
        ),
        replayed,
        task: intake.run(queue),
    })
}

/// How far the journal is read back.
struct Replay {
    /// Behind which batch the next piece begins.
    position: i64,
    /// The newest batch of the journal at the start.
    end: i64,
    batches: u64,
    started: Instant,
}

struct Intake {
    journal: Arc<dyn Journal>,
    limits: Limits,
    /// Of the agents.
    clocks: Clocks,
    clock: Arc<dyn Clock>,
    state: StateHandle,
    metrics: Arc<Metrics>,
    marks: Marks,
    /// What batches say about RNICs, those of the journal too.
    ends: Arc<Ends>,
    memory: Memory,
    /// `None` when it is done.
    replay: Option<Replay>,
    done: watch::Sender<bool>,
    lines: LogLimit,
}

impl Intake {
    /// Batches that ended before this are needed by no window.
    fn horizon(&self) -> WallTime {
        // A batch lies in the slot of its middle, which its end follows.
        self.clock.wall()
            + (Nanos::ZERO - Nanos::from(self.limits.kept() + crate::analysis::windows::SLOT))
    }

    /// Watermarks that moved last before this belong to no batch of the journal.
    fn needed(&self) -> WallTime {
        self.horizon() + (Nanos::ZERO - Nanos::from(MARGIN))
    }

    async fn prune(&mut self) -> Result<(), StoreError> {
        let marks = self.clock.wall() + (Nanos::ZERO - Nanos::from(KEEP_MARKS));
        let gone = self.journal.prune(self.horizon(), marks).await?;
        let forgotten = self.marks.take_forgotten();
        if !forgotten.is_empty()
            && let Err(error) = self.journal.forget(forgotten.clone()).await
        {
            self.marks.put_forgotten(forgotten);
            return Err(error);
        }
        self.metrics.readiness.stored();
        tracing::debug!(batches = gone, "old batches were forgotten");
        Ok(())
    }

    /// Reads the journal back, for at most `first`; the rest follows while the intake runs.
    async fn begin_replay(&mut self, first: Duration) -> Result<(), StoreError> {
        self.state.marks(self.marks.iter().cloned().collect()).await;
        self.replay = Some(Replay {
            position: 0,
            end: self.journal.newest().await?,
            batches: 0,
            started: Instant::now(),
        });
        while let Some(replay) = &self.replay {
            if replay.started.elapsed() >= first {
                tracing::info!(
                    batches = replay.batches,
                    "the journal is large: uploads are taken while it is read back, and nothing is judged until then"
                );
                break;
            }
            self.replay_piece().await?;
        }
        Ok(())
    }

    /// Reads the next piece of the journal back.
    async fn replay_piece(&mut self) -> Result<(), StoreError> {
        let Some(mut replay) = self.replay.take() else {
            return Ok(());
        };
        let (since, position) = (self.horizon(), replay.position);
        let page = self.journal.read(since, position, PIECE, PIECE_BYTES).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                self.replay = Some(replay);
                return Err(error);
            }
        };
        let mut is_done = page.is_empty();
        for stored in page {
            if stored.position > replay.end {
                is_done = true;
                break;
            }
            replay.position = stored.position;
            let encoded = stored.record.payload.len();
            let mut room = self.memory.room(encoded).await;
            if let Some(mut taken) = self.decode(&stored.record, self.clock.wall()) {
                drop(stored);
                if let Some(received) = &taken.received {
                    room.shrink(received, 0);
                }
                taken.room = Some(room);
                replay.batches += 1;
                self.state.taken(vec![taken]).await;
            }
        }
        if !is_done {
            self.replay = Some(replay);
            return Ok(());
        }
        tracing::info!(
            batches = replay.batches,
            spools = self.marks.len(),
            seconds = replay.started.elapsed().as_secs_f64(),
            "the journal was replayed"
        );
        // Nobody may wait for it any more.
        self.done.send_replace(true);
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
                    held: None,
                    at: now,
                    room: None,
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
            let first = if self.replay.is_some() {
                if let Err(error) = self.replay_piece().await {
                    self.report(&error);
                    tokio::time::sleep(REPLAY_PAUSE).await;
                }
                match queue.try_recv() {
                    Ok(request) => request,
                    Err(TryRecvError::Empty) => continue,
                    Err(TryRecvError::Disconnected) => return,
                }
            } else {
                tokio::select! {
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
            Request::Hello(greeting, reply) => {
                let mark = self.marks.get(&greeting.sender);
                let welcome = Welcome {
                    acknowledged: mark.map_or(0, |mark| mark.sequence),
                    // What was acknowledged is in the journal.
                    seen_since: 0,
                };
                // A stream that has gone needs no answer.
                let _ = reply.send(Ok(welcome));
            }
            Request::Batch(submission) => group.push(*submission),
            // The state is told at once.
            Request::Told(..) => {}
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
                room,
                reply,
                shard: _,
            } = submission;
            if !self.marks.has_room(&sender, self.needed()) {
                let _ = reply.send(Err(too_many_spools(&sender)));
                continue;
            }
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
                held: None,
                at: now,
                room: Some(room),
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
        let needed = self.needed();
        for mark in staged.into_values() {
            self.marks.put(mark, needed);
        }
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
        self.metrics.uploads.store_failures.inc();
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

#[cfg(test)]
pub(super) mod tests;
