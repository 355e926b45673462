//! What the lab knows while it runs: what the agents measured, beside the ground truth of the faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::check::Check;
use super::observed::{Counts, Observed, PathSample};
use super::show::{FaultProgress, Progress, ServiceSummary, Summary};
use super::verdict::{overall, verdicts};
use crate::analysis::report::{Batch, PathReport};
use crate::fabric::Engine;
use crate::fabric::topology::{Flow, Topology};
use crate::fabric::truth::FaultTruth;
use crate::id::ServiceName;
use crate::time::HostTime;

/// What the lab knows while it runs.
pub(super) struct Watch {
    pub(super) topology: Arc<Topology>,
    observed: Observed,
    pub(super) faults: Vec<String>,
    truth_before: Vec<FaultTruth>,
    pub(super) began: HostTime,
    first_results: Option<Duration>,
    reporting: BTreeSet<String>,
    services: BTreeMap<ServiceName, Counts>,
}

impl Watch {
    /// Of a fabric whose faults are injected and which begins at `began`.
    pub(super) fn new(engine: &Engine, began: HostTime) -> Self {
        let resolved: Vec<_> = engine
            .fault_truth()
            .map(|(fault, _)| fault.clone())
            .collect();
        Self {
            topology: Arc::clone(engine.topology()),
            observed: Observed::new(Arc::clone(engine.topology()), &resolved),
            faults: resolved
                .iter()
                .map(|resolved| resolved.fault.to_string())
                .collect(),
            truth_before: vec![FaultTruth::default(); resolved.len()],
            began,
            first_results: None,
            reporting: BTreeSet::new(),
            services: BTreeMap::new(),
        }
    }

    /// Counts what a stored batch says.
    pub(super) fn take(&mut self, batch: &Batch, now: HostTime) {
        for report in &batch.paths {
            self.take_report(report);
        }
        if let Some(first) = batch.paths.first() {
            self.reporting.insert(first.path.source.host.to_string());
            self.first_results
                .get_or_insert_with(|| now.since(self.began));
        }
    }

    fn take_report(&mut self, report: &PathReport) {
        let path = &report.path;
        let counts = Counts {
            sent: report.sent(),
            lost: report.lost,
            invalid: report.invalid_total(),
        };
        if let Some(service) = &path.service {
            self.services
                .entry(service.clone())
                .or_default()
                .add(counts);
        }
        let (Some(source), Some(target), Some(port)) = (
            self.topology.rnic_by_gid(path.source.gid),
            self.topology.rnic_by_gid(path.target.gid),
            path.source_port,
        ) else {
            return;
        };
        let rtts: Vec<_> = report
            .samples
            .iter()
            .map(|sample| sample.network_rtt)
            .collect();
        self.observed.add(PathSample {
            flow: Flow {
                source,
                target,
                port,
            },
            counts,
            rtts: &rtts,
        });
    }

    /// Since the last time.
    pub(super) fn progress(&mut self, truth: Vec<FaultTruth>, now: HostTime) -> Progress {
        let faults = self
            .faults
            .iter()
            .zip(&truth)
            .zip(&self.truth_before)
            .map(|((fault, now), before)| FaultProgress {
                fault: fault.clone(),
                exposed: now.exposed - before.exposed,
                lost: now.lost - before.lost,
            })
            .collect();
        self.truth_before = truth;
        let agents = (self.reporting.len(), self.topology.hosts().len());
        let pairs = self.observed.take_interval();
        let tor = |number| self.topology.tor_name(number).to_owned();
        Progress::new(now.since(self.began), agents, &pairs, &tor, faults)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The summary without what was located.
pub(super) fn summarise(engine: &Engine, watch: &Watch, now: HostTime) -> Summary {
    let faults = verdicts(engine, &watch.observed);
    let overall = overall(engine, &watch.observed);
    Summary {
        duration_ns: nanos(now.since(watch.began)),
        hosts: watch.topology.hosts().len(),
        rnics: watch.topology.rnics().len(),
        first_results_ns: watch.first_results.map(nanos),
        cpu_ns: nanos(processor_time()),
        agrees: Summary::all_agree(&overall, &faults),
        overall,
        packets: engine.totals(),
        faults,
        services: watch
            .services
            .iter()
            .map(|(service, counts)| ServiceSummary {
                service: service.clone(),
                sent: counts.sent,
                lost: counts.lost,
            })
            .collect(),
        located: Vec::new(),
        missed: Vec::new(),
        starved_hosts: 0,
        locations_right: Check::NotComparable,
    }
}
