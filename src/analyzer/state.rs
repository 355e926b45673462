//! What the analyzer knows, owned by one thread: windows, agents, metrics of what was measured.
//!
//! The thread works off a queue of [`DEPTH`] commands and ends when the last sender is gone. Readers send a closure and
//! wait for its answer; one that stops waiting changes nothing.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Tap;
use super::agents::Agents;
use super::judging::{Material, Traced};
use super::metrics::Metrics;
use crate::analysis::admission::Watermark;
use crate::analysis::filter::Ledger;
use crate::analysis::hardware::Hardware;
use crate::analysis::judge::Snapshot;
use crate::analysis::paths::{KnownPaths, Learned};
use crate::analysis::routes::Routes;
use crate::analysis::windows::{Limits, Placement, Windows};
use crate::probe::trace::Tuple;
use crate::rpc::limit::LogLimit;
use crate::rpc::results::Received;
use crate::time::{Clock, HostTime, Nanos, WallTime};

/// Depth of the queue: groups of batches and readers' closures. Small, because the intake and the readers wait anyway.
pub(super) const DEPTH: usize = 16;
/// How often old paths and agents are forgotten.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a path that is no longer traced is remembered.
const KEEP_TRACES: Duration = Duration::from_hours(24);

/// How long a host or RNIC that nobody hears of is remembered.
const KEEP_LEDGER: Duration = Duration::from_mins(10);

/// A batch that was stored, or came again.
#[derive(Debug)]
pub(super) struct Taken {
    /// The spool's mark after it.
    pub(super) mark: Watermark,
    /// `None` for a duplicate.
    pub(super) received: Option<Received>,
    /// Read back from the journal.
    pub(super) replayed: bool,
    /// When.
    pub(super) at: WallTime,
}

type Reader = Box<dyn FnOnce(&State, WallTime) + Send>;

enum Command {
    Taken(Vec<Taken>),
    Marks(Vec<Watermark>),
    Read(Reader),
}

/// For the intake and the readers.
#[derive(Clone)]
pub(super) struct StateHandle {
    commands: mpsc::Sender<Command>,
}

impl fmt::Debug for StateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateHandle")
    }
}

impl StateHandle {
    /// Counts batches. Waits while the thread is behind.
    pub(super) async fn taken(&self, taken: Vec<Taken>) {
        self.send(Command::Taken(taken)).await;
    }

    /// Tells of spools that were known before the start.
    pub(super) async fn marks(&self, marks: Vec<Watermark>) {
        self.send(Command::Marks(marks)).await;
    }

    async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::error!("the state thread has ended");
        }
    }

    /// Runs `read` on the thread; `None` when it has ended.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State, WallTime) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let reader: Reader = Box::new(move |state, now| {
            // A reader that no longer waits needs no answer.
            let _ = reply.send(read(state, now));
        });
        self.commands.send(Command::Read(reader)).await.ok()?;
        answer.await.ok()
    }
}

/// Starts the thread.
pub(super) fn start(
    limits: Limits,
    wiring: Routes,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    tap: Option<Tap>,
) -> (StateHandle, JoinHandle<()>) {
    let (commands, queue) = mpsc::channel(DEPTH);
    let state = State {
        paths: KnownPaths::new(limits.paths),
        windows: Windows::new(limits),
        agents: Agents::default(),
        ledger: Ledger::default(),
        hardware: Hardware::default(),
        wiring,
        fresh: RefCell::default(),
        metrics,
        tap,
        lines: LogLimit::new(10, Duration::from_secs(10)),
        expired: clock.host(),
    };
    let task = tokio::task::spawn_blocking(move || state.run(queue, &*clock));
    (StateHandle { commands }, task)
}

pub(super) struct State {
    pub(super) windows: Windows,
    pub(super) agents: Agents,
    /// What traces have shown.
    pub(super) paths: KnownPaths,
    /// What speaks against judging the network by a result.
    pub(super) ledger: Ledger,
    /// What the RNICs' own counters say.
    hardware: Hardware,
    /// The fabric's wiring, to compare with reports.
    wiring: Routes,
    /// Paths that were learned or have changed since the last run of the judge.
    fresh: RefCell<HashSet<Tuple>>,
    metrics: Arc<Metrics>,
    tap: Option<Tap>,
    lines: LogLimit,
    expired: HostTime,
}

impl State {
    fn run(mut self, mut queue: mpsc::Receiver<Command>, clock: &dyn Clock) {
        while let Some(command) = queue.blocking_recv() {
            let (host, wall) = (clock.host(), clock.wall());
            if host.since(self.expired) >= EXPIRE_INTERVAL {
                self.expired = host;
                self.windows.expire(wall);
                self.agents.expire(wall);
                self.paths.expire(wall, KEEP_TRACES);
                self.ledger.expire(wall, KEEP_LEDGER);
                self.hardware.expire(wall);
            }
            match command {
                Command::Taken(all) => {
                    for taken in all {
                        self.take(&taken, host);
                    }
                    self.update_gauges();
                }
                Command::Marks(marks) => {
                    for mark in &marks {
                        if let Some(agent) = self.agents.of(mark) {
                            agent.follow(mark);
                        }
                    }
                }
                Command::Read(reader) => reader(&self, wall),
            }
        }
    }

    fn take(&mut self, taken: &Taken, host: HostTime) {
        let Some(received) = &taken.received else {
            self.metrics.duplicates.inc();
            if let Some(agent) = self.agents.of(&taken.mark) {
                agent.duplicates += 1;
            }
            return;
        };
        let placement = self.windows.ingest(&received.batch, taken.at);
        // Old traces are still worth something; those of a clock that is ahead would outlast all that come after.
        if !matches!(placement, Placement::Future(_)) {
            for trace in &received.batch.traces {
                let learned = self.paths.learn(trace);
                if matches!(learned, Learned::New | Learned::Changed) {
                    self.fresh.borrow_mut().insert(trace.tuple);
                }
                if !taken.replayed {
                    self.metrics.traced(trace, learned);
                }
            }
        }
        if placement == Placement::Counted {
            self.hardware
                .hear(&taken.mark.host, &received.batch.hardware, taken.at);
            self.ledger
                .hear(&taken.mark.host, &received.batch, taken.at);
        }
        if taken.replayed {
            return;
        }
        if let Some(tap) = &self.tap {
            // Whoever watched may have gone.
            let _ = tap.blocking_send(Arc::new(received.batch.clone()));
        }
        let lost_before = self
            .agents
            .get(&taken.mark.sender.agent)
            .filter(|agent| agent.spool == taken.mark.sender.spool)
            .map_or(0, |agent| agent.lost_batches);
        let lost = taken.mark.lost.saturating_sub(lost_before);
        self.metrics.took(&received.batch, placement, lost);
        self.metrics
            .refused_reports
            .inc_by(received.refused.len() as u64);
        if let Some(agent) = self.agents.of(&taken.mark) {
            agent.follow(&taken.mark);
            agent.took(&received.batch, placement, taken.at);
            agent.refused_reports += received.refused.len() as u64;
            if let Some(refusal) = received.refused.last() {
                agent.last_refusal = Some(refusal.to_string());
            }
        }
        if let Some(refusal) = received.refused.first()
            && let Some(suppressed) = self.lines.admit(host)
        {
            tracing::warn!(
                agent = %taken.mark.sender.agent, reason = %refusal, refused = received.refused.len(), suppressed,
                "refused reports that contradict themselves; the rest of the batch counts"
            );
        }
    }

    /// What the judge needs for one run: counts, and the paths that were traced since the last.
    pub(super) fn material(&self, limits: &HashMap<u32, Nanos>, now: WallTime) -> Material {
        let fresh = std::mem::take(&mut *self.fresh.borrow_mut());
        let traced = fresh
            .iter()
            .filter_map(|tuple| self.traced(tuple))
            .collect();
        Material {
            snapshot: Snapshot::take(&self.windows, &self.ledger, limits, now),
            traced,
            differences: self.wiring.differences(self.ledger.rnics()),
            hardware: self.hardware.risen(now),
        }
    }

    /// The switches of a traced path, if all are known. Its first and last are the ToRs, whatever they call themselves.
    fn traced(&self, tuple: &Tuple) -> Option<Traced> {
        let route = self.paths.get(tuple)?.route()?;
        let mut switches: Vec<String> = route
            .hops()
            .iter()
            .map(|hop| hop.as_ref().map(ToString::to_string))
            .collect::<Option<_>>()?;
        let (source, target) = (
            self.ledger.end(tuple.source)?,
            self.ledger.end(tuple.target)?,
        );
        if source.tor == target.tor || switches.len() < 2 {
            return None;
        }
        *switches.first_mut()? = source.tor.to_string();
        *switches.last_mut()? = target.tor.to_string();
        Some((*tuple, switches))
    }

    fn update_gauges(&self) {
        self.metrics
            .set_memory(self.windows.memory(), self.agents.len());
        self.metrics
            .set_traced(self.paths.len(), self.paths.evicted());
    }
}
