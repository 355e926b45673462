//! The task that traces paths: when the schedule says so, at most [`AT_ONCE`] at a time. Those of the probes, and those of
//! the ACKs to other hosts' probes, which can be traced from here only.
//!
//! Channels:
//! - in: `orders` (a `watch`), for the traffic class of the probes; `seen` (bounded, [`SEEN_DEPTH`]), what became of the probes of each path in an interval, and what probers tell of
//!   theirs;
//! - out: `traces` (bounded, [`TRACES_DEPTH`]), finished traces for the next batch; what finds no place is dropped and
//!   made again in its turn.
//!
//! It ends when its token is cancelled; traces under way are given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoint::Orders;
use super::outcome::PathOutcome;
use crate::error::describe;
use crate::path_trace::{self, PathTracer, Round, TraceError};
use crate::probe::trace::Trace;
use crate::probe::trace::schedule::{Config, Order, Schedule};
use crate::time::Clock;

/// Traces under way at once. Each takes up to three rounds, and with raw sockets a thread.
pub(crate) const AT_ONCE: usize = 8;

/// Intervals that wait for the schedule: it takes microseconds for each.
pub(crate) const SEEN_DEPTH: usize = 8;

/// Traces that wait for the collector: those of several seconds at the highest rate.
pub(crate) const TRACES_DEPTH: usize = 256;

/// How long an agent waits before it tries again to trace where it is not permitted.
const GENERAL_PAUSE: Duration = Duration::from_mins(1);

/// How an agent traces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    /// When.
    pub schedule: Config,
    /// How.
    pub round: Round,
}

/// The task.
pub(crate) struct Traces {
    tracer: Arc<dyn PathTracer>,
    settings: Settings,
    orders: watch::Receiver<Arc<Orders>>,
    clock: Arc<dyn Clock>,
    schedule: Schedule,
    seen: mpsc::Receiver<Vec<PathOutcome>>,
    finished: mpsc::Sender<Trace>,
    running: JoinSet<(Order, Result<Trace, TraceError>)>,
    failing: bool,
}

impl Traces {
    /// For the paths that come by `seen`.
    pub(crate) fn new(
        tracer: Arc<dyn PathTracer>,
        settings: Settings,
        orders: watch::Receiver<Arc<Orders>>,
        clock: Arc<dyn Clock>,
        seen: mpsc::Receiver<Vec<PathOutcome>>,
        traces: mpsc::Sender<Trace>,
    ) -> Self {
        Self {
            tracer,
            settings,
            orders,
            clock,
            schedule: Schedule::new(settings.schedule),
            seen,
            finished: traces,
            running: JoinSet::new(),
            failing: false,
        }
    }

    /// As the next trace is made: in the class of the probes.
    fn round(&self) -> Round {
        Round {
            traffic_class: self.orders.borrow().session.class.traffic_class,
            ..self.settings.round
        }
    }

    /// Traces until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut paused_until = tokio::time::Instant::now();
        loop {
            let free = self.running.len() < AT_ONCE;
            let now = self.clock.host();
            let due = self
                .schedule
                .next_wakeup(now)
                .filter(|_| free)
                .map(|wakeup| (tokio::time::Instant::now() + wakeup.since(now)).max(paused_until));
            tokio::select! {
                () = stop.cancelled() => return,
                seen = self.seen.recv() => match seen {
                    Some(seen) => self.see(&seen),
                    None => return,
                },
                Some(ended) = self.running.join_next() => {
                    if self.ended(ended) {
                        paused_until = tokio::time::Instant::now() + GENERAL_PAUSE;
                    }
                }
                () = until(due) => self.start(),
            }
        }
    }

    fn see(&mut self, seen: &[PathOutcome]) {
        let now = self.clock.host();
        for seen in seen {
            self.schedule
                .seen((seen.tuple, seen.direction), seen.lost, seen.complete, now);
        }
    }

    fn start(&mut self) {
        let Some(order) = self.schedule.next(self.clock.host()) else {
            return;
        };
        let (tracer, clock, round) = (self.tracer.clone(), self.clock.clone(), self.round());
        self.running.spawn(async move {
            let trace = path_trace::trace(&*tracer, &order, round, &*clock).await;
            (order, trace)
        });
    }

    /// Takes a trace that has ended; true if none can be made for now.
    fn ended(
        &mut self,
        ended: Result<(Order, Result<Trace, TraceError>), tokio::task::JoinError>,
    ) -> bool {
        let (order, trace) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a trace has died");
                return true;
            }
        };
        let now = self.clock.host();
        match trace {
            Ok(trace) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("paths can be traced again");
                }
                self.schedule.done(&trace, now);
                tracing::debug!(
                    path = %trace.tuple, reason = trace.reason.name(), end = trace.end.name(),
                    hops = %trace.route(), "traced"
                );
                if self.finished.try_send(trace).is_err() {
                    tracing::debug!("a trace found no place");
                }
                false
            }
            Err(error) => {
                self.schedule.failed(order.tuple, now);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        tracer = self.tracer.name(),
                        error = describe(&error),
                        "a path cannot be traced"
                    );
                }
                error.is_general()
            }
        }
    }
}

async fn until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
