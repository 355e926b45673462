//! The task that makes batches: takes what the endpoints deliver, puts a batch into the spool each interval.
//!
//! Channels:
//! - in: `deliveries` (bounded, see [`DELIVERY_DEPTH`](super::endpoint::DELIVERY_DEPTH));
//! - in: `traces` (bounded, see [`TRACES_DEPTH`](super::traces::TRACES_DEPTH)), what the tracer has found;
//! - in: `hardware` (bounded, see [`RISES_DEPTH`](super::hardware::RISES_DEPTH)), hardware counters that rose;
//! - in: `interval` (watch), how often;
//! - out: `spooled` (watch), the newest batch in the spool;
//! - out: `health` (watch), for the heartbeats;
//! - out: `seen` (bounded), which paths were probed or answered and with what success, for the tracer. When that is behind
//!   it gets the next interval instead.
//!
//! When its token is cancelled it takes what is delivered already, makes a last batch and ends. Dropping it before loses
//! the results of the interval.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::endpoint::{Delivery, EndpointCounters};
use super::health::Health;
use super::metrics::Metrics;
use super::outcome::PathOutcome;
use crate::analysis::hardware::PortRise;
use crate::analysis::report::{AgentCounters, Batch, Collector, End, Path, PathReport};
use crate::error::describe;
use crate::id::HostName;
use crate::probe::ProbeResult;
use crate::probe::trace::Trace;
use crate::rpc::results::MAX_INTERVAL;
use crate::rpc::v1;
use crate::store::StoreError;
use crate::store::spool::{Appended, Spool};
use crate::time::{Clock, Nanos, WallTime};
use crate::transport::RnicName;

/// Results in one batch. A hundred times what eight RNICs have in a second, and about 4 MB encoded, far below the
/// largest message.
const MAX_RESULTS: usize = 120_000;

/// Paths in one batch: with the longest names that are accepted and all of [`MAX_RESULTS`] it still fits a message
/// ([`crate::rpc::MAX_MESSAGE_BYTES`]). What one interval has beyond goes into further batches.
const MAX_PATHS: usize = 5_000;

/// Where batches go and who is told.
pub struct Outputs {
    /// Keeps the batches.
    pub spool: Spool,
    /// The newest batch.
    pub spooled: watch::Sender<u64>,
    /// For heartbeats.
    pub health: watch::Sender<Health>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// What batches are made of, and when.
pub struct Inputs {
    /// Results.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Traces.
    pub traces: mpsc::Receiver<Trace>,
    /// Hardware counters that rose.
    pub hardware: mpsc::Receiver<Vec<PortRise>>,
    /// How often.
    pub interval: watch::Receiver<Duration>,
}

/// The task.
pub struct Collect {
    deliveries: mpsc::Receiver<Delivery>,
    traces: mpsc::Receiver<Trace>,
    hardware: mpsc::Receiver<Vec<PortRise>>,
    interval: watch::Receiver<Duration>,
    outputs: Outputs,
    seen: Option<mpsc::Sender<Vec<PathOutcome>>>,
    /// Of the interval, for `seen`.
    reverse_paths: Vec<PathOutcome>,
    host: HostName,
    clock: Arc<dyn Clock>,
    collector: Collector,
    endpoints: HashMap<RnicName, EndpointCounters>,
    started: WallTime,
    results_lost: u64,
    batches_dropped: u64,
    waiting: u64,
    /// How many batches waited when the spool began to overflow.
    overflow: Option<u64>,
}

impl Collect {
    /// For an agent on `host`; `seen` leads to the tracer, where there is one.
    pub fn new(
        inputs: Inputs,
        outputs: Outputs,
        seen: Option<mpsc::Sender<Vec<PathOutcome>>>,
        host: HostName,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            deliveries: inputs.deliveries,
            traces: inputs.traces,
            hardware: inputs.hardware,
            interval: inputs.interval,
            outputs,
            seen,
            reverse_paths: Vec::new(),
            host,
            collector: Collector::new(MAX_RESULTS),
            endpoints: HashMap::new(),
            started: clock.wall(),
            clock,
            results_lost: 0,
            batches_dropped: 0,
            waiting: 0,
            overflow: None,
        }
    }

    /// Runs until `stop`, after which nothing more is delivered.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut due = tokio::time::Instant::now() + *self.interval.borrow();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(delivery) = self.deliveries.recv() => self.take(delivery),
                () = tokio::time::sleep_until(due) => {
                    self.flush().await;
                    due = tokio::time::Instant::now() + *self.interval.borrow();
                }
            }
        }
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.take(delivery);
        }
        self.flush().await;
    }

    /// Counts what an endpoint delivers.
    pub fn take(&mut self, delivery: Delivery) {
        for result in &delivery.results {
            let path = path(&delivery, &self.host, result);
            self.outputs.metrics.measured(result);
            self.collector.add(&path, result.clock, &result.outcome);
        }
        if self.seen.is_some() {
            self.reverse_paths.extend(delivery.reverse_paths);
        }
        self.endpoints.insert(delivery.rnic, delivery.counters);
    }

    /// Makes the batches of the interval that ends now, and tells everybody.
    pub async fn flush(&mut self) {
        let interval = self.next_interval();
        let (paths, counters) = (self.collector.take(), self.counters());
        if let Some(tracer) = &self.seen {
            // A tracer that is behind learns of the next interval.
            let there = paths.iter().filter_map(PathOutcome::of);
            let _ = tracer.try_send(there.chain(self.reverse_paths.drain(..)).collect());
        }
        let mut traces = Vec::new();
        while let Ok(trace) = self.traces.try_recv() {
            traces.push(trace);
        }
        let mut hardware = Vec::new();
        while let Ok(rises) = self.hardware.try_recv() {
            hardware.extend(rises);
        }
        for paths in parts(paths) {
            let results = paths.iter().map(PathReport::sent).sum();
            let batch = Batch {
                sequence: 0,
                interval: interval.clone(),
                paths,
                traces: std::mem::take(&mut traces),
                counters,
                hardware: std::mem::take(&mut hardware),
            };
            self.append(batch, results).await;
        }
        let counters = self.counters();
        let health = Health {
            probes_sent: self.sum(|counters| counters.session.probes_sent),
            results_dropped: counters.results_dropped,
            batches_dropped: counters.batches_dropped,
            batches_waiting: self.waiting,
            spool: self.outputs.spool.status(),
        };
        self.outputs.health.send_replace(health.clone());
        self.outputs.metrics.flushed(health, self.endpoints.iter());
    }

    /// Stores a batch under the spool's next number.
    async fn append(&mut self, batch: Batch, results: u64) {
        let appended = self
            .outputs
            .spool
            .append(move |sequence| {
                v1::ResultBatch::from(Batch { sequence, ..batch }).encode_to_vec()
            })
            .await;
        match appended {
            Ok(appended) => self.appended(appended),
            Err(error) => self.failed(&error, results),
        }
    }

    /// From the end of the last batch, unless the wall clock was set meanwhile.
    fn next_interval(&mut self) -> std::ops::Range<WallTime> {
        let end = self.clock.wall();
        let length = end - self.started;
        let start = if length > Nanos::ZERO && length <= Nanos::from(MAX_INTERVAL) {
            self.started
        } else {
            let nominal = Nanos::from(*self.interval.borrow());
            WallTime::from_nanos(end.nanos().saturating_sub(nominal.0.max(1)))
        };
        self.started = end;
        start..end
    }

    fn appended(&mut self, appended: Appended) {
        self.waiting = appended.waiting;
        self.batches_dropped += appended.dropped;
        match self.overflow {
            None if appended.dropped > 0 => {
                tracing::warn!(
                    waiting = appended.waiting,
                    "the spool is full (spool_limit): the oldest results are dropped until the analyzer takes them"
                );
                self.overflow = Some(appended.waiting);
            }
            Some(then) if appended.waiting < then / 2 => {
                tracing::info!(dropped = self.batches_dropped, "the spool has room again");
                self.overflow = None;
            }
            _ => {}
        }
        self.outputs.spooled.send_replace(appended.sequence);
    }

    /// The spool has ended before its user.
    fn failed(&mut self, error: &StoreError, results: u64) {
        self.results_lost += results;
        tracing::error!(error = describe(error), results, "results are dropped");
    }

    fn sum(&self, of: impl Fn(&EndpointCounters) -> u64) -> u64 {
        self.endpoints.values().map(of).sum()
    }

    fn counters(&self) -> AgentCounters {
        AgentCounters {
            results_dropped: self.results_lost
                + self.collector.dropped()
                + self.sum(|counters| counters.results_dropped),
            batches_dropped: self.batches_dropped,
            malformed_packets: self.sum(|counters| counters.session.packets_malformed),
            unmatched_acks: self.sum(|counters| counters.session.acks_unmatched),
            probes_answered: self.sum(|counters| counters.session.probes_answered),
            source_ports_as_meant: self.sum(|counters| counters.driver.source_ports_as_meant),
            source_ports_otherwise: self.sum(|counters| counters.driver.source_ports_otherwise),
        }
    }
}

/// What fits one batch each; one without paths where there are none, which tells that the agent lives.
fn parts(mut paths: Vec<PathReport>) -> Vec<Vec<PathReport>> {
    let mut parts = Vec::new();
    while paths.len() > MAX_PATHS {
        let rest = paths.split_off(MAX_PATHS);
        parts.push(std::mem::replace(&mut paths, rest));
    }
    parts.push(paths);
    parts
}

fn path(delivery: &Delivery, host: &HostName, result: &ProbeResult) -> Path {
    let target = &result.path.target;
    Path {
        source: Arc::new(End {
            gid: result.source.gid,
            qpn: result.source.qpn,
            host: host.clone(),
            tor: delivery.tor.clone(),
            device: delivery.rnic.device.clone(),
        }),
        target: Arc::new(End {
            gid: target.address.gid,
            qpn: target.address.qpn,
            host: target.host.clone(),
            tor: target.tor.clone(),
            device: target.device.clone(),
        }),
        kind: result.kind,
        source_port: result.source_port,
        service: result.path.service.clone(),
        class: Some(result.class),
        fidelity: result.path.fidelity,
    }
}

#[cfg(test)]
mod tests;
