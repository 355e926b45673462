//! The task that judges: copies counts out of the state thread, judges them on a thread of its own, keeps the incidents.
//!
//! It owns judge, tracker and the snapshot of the last run. Once per interval it has the state thread bring the snapshot up to date and
//! hands all three to a blocking thread; it then stores what has changed and publishes a [`View`] for the readers. When a run takes long the break after
//! it is [`PAUSE`](health::PAUSE) times as long, so that judging never takes more than a third of a core from the rest.
//!
//! Changes that the store does not take are kept and tried again with the next run: nothing is lost while the disk is
//! full, only late. Cancelling is safe: an incident whose last change was not stored goes on from the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::alerts::Alerts;
use super::focusing::Asking;
use super::metrics::Metrics;
use super::state::{Material, StateHandle};
use super::view::{Told, View, Views};
use crate::analysis::fleet::missing;
use crate::analysis::fleet::record::HostRecord;
use crate::analysis::focus::Bounds;
use crate::analysis::health::{self, Health, Rise};
use crate::analysis::incident::{Change, Incident, Tracker};
use crate::analysis::judge::{Category, Judge, Judgement, Pace, Snapshot};
use crate::analysis::localize::{Component, ProblemError};
use crate::analysis::routes::Routes;
use crate::events::{Event, Publisher};
use crate::id::{HostName, RnicName};
use crate::net::limit::LogLimit;
use crate::store::StoreError;
use crate::store::damage::Damage;
use crate::store::fleet::Hosts;
use crate::store::incidents::{Incidents, Query};
use crate::time::{Clock, Nanos, WallTime};

/// How often closed incidents that are too old are forgotten.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// How long a damaged file or row of the store is reported.
const DAMAGE_REPORTED: Duration = Duration::from_mins(10);
/// Changes that wait for the store; beyond, the oldest of an incident that has changed again goes.
const MOST_WAITING: usize = 10_000;
/// The most open incidents that are taken over at the start.
const MOST_RESTORED: u32 = 1_000;

/// An agent is silent for so long when an incident about that opens: a slot.
const SILENT_BEFORE: Nanos = Nanos(5_000_000_000);

/// What the task needs.
pub(super) struct JudgingInputs {
    pub(super) store: Arc<dyn Incidents>,
    /// Where hosts that were there are kept.
    pub(super) hosts: Arc<dyn Hosts>,
    /// What was damaged in the store.
    pub(super) damage: Damage,
    pub(super) alerts: Alerts,
    pub(super) state: StateHandle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) routes: Routes,
    pub(super) interval: Duration,
    /// Share of the packets below which a loss is not reported, 0 to 1.
    pub(super) least_loss: f64,
    pub(super) retention: Duration,
    pub(super) events: Publisher,
    /// True as soon as the journal is read back; before, the windows do not hold what they should.
    pub(super) replayed: watch::Receiver<bool>,
    /// Takes what is to be probed more; `None` where nobody is told.
    pub(super) asked: Option<Asking>,
}

/// Restores what was open; gives the task.
pub(super) async fn start(
    parts: JudgingInputs,
    stop: CancellationToken,
) -> Result<(Views, impl Future<Output = ()> + Send), StoreError> {
    let query = Query {
        open: Some(true),
        before: None,
        limit: MOST_RESTORED,
    };
    let open = parts.store.read(query).await?;
    let next = parts.store.last_id().await?.saturating_add(1);
    let now = parts.clock.wall();
    // Nobody may have what they have uploaded last.
    parts.state.found_silent(silent_hosts(&open)).await;
    let views = Views::default();
    let tracker = Tracker::new(open, next, now);
    views.set(View {
        open: tracker.open().into_iter().cloned().collect(),
        ..View::default()
    });
    let mut judge = Judge::new(Routes::default(), parts.least_loss);
    judge.focus = parts.asked.as_ref().map(|_| Bounds::default());
    let judging = Judging {
        worker: Some(Worker {
            judge,
            snapshot: Snapshot::empty(),
            tracker,
            evicted: Rise::default(),
            unlisted: Rise::default(),
            refused: Rise::default(),
            took: Duration::ZERO,
            pace: Pace::default(),
        }),
        parts,
        views: views.clone(),
        waiting: Vec::new(),
        hosts: BTreeMap::new(),
        damage: Vec::new(),
        runs: 0,
        pruned: None,
        lines: LogLimit::new(5, Duration::from_mins(1)),
    };
    Ok((views, judging.run(stop)))
}

/// Hosts whose agents were silent when these incidents were open, and since when.
fn silent_hosts(open: &[Incident]) -> Vec<(HostName, WallTime)> {
    let mut hosts = Vec::new();
    for incident in open {
        let explained = incident.explains.iter();
        let explained = explained.map(|one| (&one.subject, one.category));
        let all = std::iter::once((&incident.subject, incident.category)).chain(explained);
        // It had been silent for some time when it was found.
        let since = WallTime::from_nanos(incident.opened_unix_ns) + (Nanos::ZERO - SILENT_BEFORE);
        for (subject, category) in all {
            if let (Component::Host { name }, Category::HostDown | Category::AgentSilent) =
                (subject, category)
            {
                hosts.push((HostName::new(name.clone()), since));
            }
        }
    }
    hosts
}

/// Judge and tracker, which move to a blocking thread and back.
struct Worker {
    judge: Judge,
    /// What the last run has judged; the state thread brings it up to date.
    snapshot: Snapshot,
    tracker: Tracker,
    evicted: Rise,
    unlisted: Rise,
    refused: Rise,
    /// The last run.
    took: Duration,
    pace: Pace,
}

struct Judging {
    worker: Option<Worker>,
    parts: JudgingInputs,
    views: Views,
    waiting: Vec<Incident>,
    /// Hosts that are to be stored.
    hosts: BTreeMap<HostName, Option<HostRecord>>,
    /// What was damaged in the store, and when that was seen.
    damage: Vec<(WallTime, String)>,
    runs: u64,
    pruned: Option<WallTime>,
    lines: LogLimit,
}

struct Run {
    worker: Worker,
    result: Result<(Judgement, Vec<Change>), ProblemError>,
    took: Duration,
    now: WallTime,
    differences: Vec<String>,
    missing: usize,
}

impl Judging {
    async fn run(mut self, stop: CancellationToken) {
        if let Some(worker) = &mut self.worker {
            worker.judge.routes = std::mem::take(&mut self.parts.routes);
        }
        tokio::select! {
            // An error means that the intake has ended, and with it the analyzer.
            _ = self.parts.replayed.wait_for(|is_done| *is_done) => {}
            () = stop.cancelled() => {}
        }
        loop {
            let took = tokio::select! {
                took = self.step() => took,
                () = stop.cancelled() => break,
            };
            let Some(took) = took else {
                break;
            };
            let pause = self.parts.interval.max(took * health::PAUSE);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        self.store().await;
        self.store_hosts().await;
    }

    /// One run; `None` when the analyzer ends.
    async fn step(&mut self) -> Option<Duration> {
        let mut worker = self.worker.take()?;
        worker.judge.budget = worker.pace.budget(self.parts.interval);
        let limits = worker.judge.limits();
        let snapshot = std::mem::replace(&mut worker.snapshot, Snapshot::empty());
        let mut material = self
            .parts
            .state
            .read(move |state, now| state.material(snapshot, &limits, now))
            .await?;
        self.hosts.append(&mut material.hosts);
        let clock = Arc::clone(&self.parts.clock);
        let refused = self.parts.metrics.uploads.store_failures.get();
        let damaged = self.damaged(clock.wall());
        let known = (refused, damaged);
        let run = tokio::task::spawn_blocking(move || run(worker, material, known, &*clock))
            .await
            .ok()?;
        self.worker = Some(run.worker);
        self.runs += 1;
        match run.result {
            Ok((judgement, changes)) => {
                self.deliver(&changes, run.now).await;
                self.publish(judgement, run.took, (run.differences, run.missing));
            }
            Err(error) => {
                if let Some(suppressed) = self.lines.admit(self.parts.clock.host()) {
                    tracing::error!(%error, suppressed, "what was counted contradicts itself; this run judges nothing");
                }
            }
        }
        self.store().await;
        self.store_hosts().await;
        self.prune(run.now).await;
        Some(run.took)
    }

    /// What was damaged in the store in the last [`DAMAGE_REPORTED`].
    fn damaged(&mut self, now: WallTime) -> Vec<String> {
        let fresh = self.parts.damage.take();
        self.parts
            .metrics
            .uploads
            .store_set_aside
            .inc_by(fresh.len() as u64);
        self.damage
            .extend(fresh.into_iter().map(|line| (now, line)));
        self.damage
            .retain(|(at, _)| now.since(*at) < DAMAGE_REPORTED);
        self.damage.iter().map(|(_, line)| line.clone()).collect()
    }

    async fn deliver(&mut self, changes: &[Change], now: WallTime) {
        for change in changes {
            let incident = change.incident();
            let title = incident.title();
            let (id, severity) = (incident.id, incident.severity.name());
            match change {
                Change::Opened(_) => tracing::warn!(id, severity, %title, "incident opened"),
                Change::Updated(_) => tracing::warn!(id, severity, %title, "incident changed"),
                Change::Refined(_) => tracing::debug!(id, severity, %title, "incident seen again"),
                Change::Closed(_) => tracing::info!(id, severity, %title, "incident closed"),
            }
            self.parts.metrics.incident(change);
            self.parts.alerts.learn(incident);
            let event = || Event::Incident {
                at: now,
                change: change.clone(),
            };
            self.parts.events.publish(event).await;
            self.waiting.retain(|waiting| waiting.id != incident.id);
            self.waiting.push(incident.clone());
        }
        if self.waiting.len() > MOST_WAITING {
            let beyond = self.waiting.len() - MOST_WAITING;
            self.waiting.drain(..beyond);
        }
    }

    fn publish(
        &mut self,
        judgement: Judgement,
        took: Duration,
        (differences, missing): (Vec<String>, usize),
    ) {
        let (open, traced, sprayed) =
            self.worker
                .as_ref()
                .map_or_else(Default::default, |worker| {
                    let open: Vec<_> = worker.tracker.open().into_iter().cloned().collect();
                    let routes = &worker.judge.routes;
                    (open, routes.traced(), routes.sprayed())
                });
        self.parts.alerts.follow(&open);
        if let Some(asking) = &self.parts.asked {
            asking.asked.send_replace(Arc::new(judgement.asked.clone()));
        }
        let view = View {
            open,
            judgement,
            runs: self.runs,
            took,
            waiting: self.waiting.len(),
            differences,
            traced,
            sprayed,
            missing,
            focus: self.parts.asked.as_ref().map(|asking| Told {
                passed: asking.passed.get(),
            }),
        };
        self.parts.metrics.judged(&view);
        self.views.set(view);
    }

    async fn store(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        match self.parts.store.put(self.waiting.clone()).await {
            Ok(()) => self.waiting.clear(),
            Err(error) => {
                self.parts.metrics.uploads.store_failures.inc();
                if let Some(suppressed) = self.lines.admit(self.parts.clock.host()) {
                    tracing::error!(
                        %error, waiting = self.waiting.len(), suppressed,
                        "incidents cannot be stored; they are kept in memory and tried again"
                    );
                }
            }
        }
    }

    async fn store_hosts(&mut self) {
        if self.hosts.is_empty() {
            return;
        }
        match self.parts.hosts.put(self.hosts.clone()).await {
            Ok(()) => self.hosts.clear(),
            Err(error) => {
                self.parts.metrics.uploads.store_failures.inc();
                if let Some(suppressed) = self.lines.admit(self.parts.clock.host()) {
                    tracing::error!(
                        %error, waiting = self.hosts.len(), suppressed,
                        "hosts that were there cannot be stored; they are kept in memory and tried again"
                    );
                }
            }
        }
    }

    async fn prune(&mut self, now: WallTime) {
        if self
            .pruned
            .is_some_and(|last| now.since(last) < PRUNE_EVERY)
        {
            return;
        }
        self.pruned = Some(now);
        let oldest = now + (Nanos::ZERO - Nanos::from(self.parts.retention));
        if let Err(error) = self.parts.store.prune(oldest).await {
            tracing::warn!(%error, "old incidents cannot be forgotten; tried again in an hour");
        }
    }
}

/// One run; with how many writes the store has refused since the start, and what was damaged in it lately.
fn run(
    mut worker: Worker,
    material: Material,
    (refused, damaged): (u64, Vec<String>),
    clock: &dyn Clock,
) -> Run {
    let began = clock.host();
    let now = material.snapshot.now;
    let routes = &mut worker.judge.routes;
    routes.forget(material.untraced);
    for (tuple, switches) in material.traced {
        routes.learn(tuple, switches, now);
    }
    routes.age(now);
    let health = Health {
        evicted: worker.evicted.take(material.evicted, now),
        unlisted: worker.unlisted.take(material.unlisted, now),
        refused: worker.refused.take(refused, now),
        damaged,
        run: worker.took,
        ..material.health
    };
    let result = worker.judge.judge(&material.snapshot).map(|mut judgement| {
        health::add_to(&mut judgement.findings, &material.snapshot, &health);
        missing::add_to(&mut judgement.findings, &material.missing);
        for finding in &mut judgement.findings {
            let lines = material.hardware.evidence(&finding.subject);
            finding.evidence.extend(lines);
            finding
                .evidence
                .extend(contradiction(&finding.subject, &material.contradicted));
        }
        let changes = worker.tracker.step(&judgement, now);
        (judgement, changes)
    });
    worker.snapshot = material.snapshot;
    worker.took = clock.host().since(began);
    if let Ok((judgement, _)) = &result {
        worker.pace.learn(judgement.work, worker.took);
    }
    Run {
        took: worker.took,
        worker,
        result,
        now,
        differences: material.differences,
        missing: health.missing.len(),
    }
}

/// That reports contradict each other about where a finding's RNICs are.
fn contradiction(subject: &Component, contradicted: &BTreeSet<RnicName>) -> Option<String> {
    let rnics: Vec<_> = contradicted
        .iter()
        .filter(|rnic| match subject {
            Component::Rnic { host, device } => (host, device) == (&rnic.host, &rnic.device),
            Component::Host { name } => rnic.host.as_str() == name,
            Component::Link { .. } | Component::Switch { .. } | Component::Group { .. } => false,
        })
        .map(ToString::to_string)
        .collect();
    (!rnics.is_empty()).then(|| {
        format!(
            "uncertain: others report another host or ToR for {} than its own agent does; paths may be attributed wrongly",
            rnics.join(", ")
        )
    })
}

#[cfg(test)]
mod tests;
