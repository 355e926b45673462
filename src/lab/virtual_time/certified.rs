//! `rpingmesh certify` in virtual time: the same evidence, the same answer, without a server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{INTERVAL, VirtualLab, VirtualTimeError, prepare, wall};
use crate::analysis::certify::{
    Beside, Evidence, Fault, Known, Progress, Question, Report, Verdict, gather,
};
use crate::analysis::incident::{Change, Incident};
use crate::analysis::routes::Routes;
use crate::analysis::windows::Slot;
use crate::config::HumanDuration;
use crate::fabric::Scenario;
use crate::fabric::topology::Topology;
use crate::id::{Gid, TorId};
use crate::lab::wiring;
use crate::probe::trace::Tuple;
use crate::time::HostTime;
use crate::topology::wiring::Wiring;
use crate::topology::wiring::file::File;

/// How often evidence is gathered.
const EVERY: Duration = Duration::from_secs(20);
/// Slots that are left out at the end: their results may still come.
const MARGIN: u32 = 2;

/// What the operator believes of the fabric.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The topology file; that of the fabric as it is where this is `None`.
    pub file: Option<Wiring>,
    /// ToRs that RNICs report, where that is not the one that they are cabled to.
    pub reported: HashMap<Gid, TorId>,
    /// There is no topology file.
    pub without_file: bool,
}

/// Certifies the fabric of a scenario until the answer is not [`Verdict::Open`] and the scenario's duration is over, or at once when
/// it is accepted.
///
/// # Errors
/// [`VirtualTimeError`].
pub fn certify_in_virtual_time(
    scenario: &Scenario,
    plan: &Plan,
    question: &Question,
) -> Result<Report, VirtualTimeError> {
    let topology = Arc::new(scenario.topology()?);
    let file = plan.file.clone().or_else(|| wiring::of(&topology).ok());
    let file = file.filter(|_| !plan.without_file);
    let (mut swarm, mut lab) = prepare(scenario, &topology, file.as_ref(), true)?;
    lab.reported.clone_from(&plan.reported);
    let HumanDuration(duration) = scenario.duration;
    let origin = HostTime::from_nanos(0);
    let mut certification = Certification {
        file: file.as_ref(),
        bonds: Routes::new(file.as_ref()),
        progress: Progress::default(),
        counted: Slot::of(wall(origin)),
    };
    let (mut now, mut due) = (origin, origin.after(EVERY));
    loop {
        now = now.after(INTERVAL);
        lab.step(&mut swarm, now)?;
        if now < due {
            continue;
        }
        due = now.after(EVERY);
        let report = certification.look(&lab, now, question)?;
        if report.verdict == Verdict::Accepted || now.since(origin) >= duration {
            return Ok(report);
        }
    }
}

/// The topology file of a scenario's fabric as it is.
///
/// # Errors
/// [`VirtualTimeError::Scenario`].
pub fn file(scenario: &Scenario) -> Result<File, VirtualTimeError> {
    Ok(wiring::file(&scenario.topology()?))
}

struct Certification<'a> {
    file: Option<&'a Wiring>,
    bonds: Routes,
    progress: Progress,
    /// Slots before this one are in `progress`.
    counted: Slot,
}

impl Certification<'_> {
    fn look(
        &mut self,
        lab: &VirtualLab,
        now: HostTime,
        question: &Question,
    ) -> Result<Report, VirtualTimeError> {
        let slots = self.counted..Slot::of(wall(now)).before(MARGIN);
        self.counted = slots.end;
        let later = self.gather(lab, slots, now);
        let beside = Beside {
            incidents: incidents(lab),
            unusable: Vec::new(),
        };
        Ok(self.progress.take(&later, &beside, question)?)
    }

    fn gather(&self, lab: &VirtualLab, slots: Range<Slot>, now: HostTime) -> Evidence {
        let traced = |tuple: &Tuple| lab.judge.routes.traced_leg(*tuple)?.path.clone();
        let first = |tuple: &Tuple| {
            let rnic = lab.topology.rnic(lab.topology.rnic_by_gid(tuple.source)?);
            let tor = rnic.tor.as_str().to_owned();
            rnic.bonded.is_none().then_some(tor)
        };
        let known = Known {
            host_filter: &lab.host_filter,
            wiring: self.file,
            routes: &self.bonds,
            traced: &traced,
            first: &first,
        };
        let mut evidence = gather(
            &lab.windows,
            &known,
            slots,
            self.progress.without.clone(),
            wall(now),
        );
        evidence.missing = missing(self.file, &lab.topology);
        evidence
    }
}

/// Hosts of the file that are not there.
fn missing(file: Option<&Wiring>, topology: &Topology) -> Vec<String> {
    let hosts = file.map(Wiring::hosts).unwrap_or_default().iter();
    let there: BTreeSet<_> = topology.hosts().iter().collect();
    hosts
        .filter(|host| !there.contains(&host.name))
        .map(|host| host.name.as_str().to_owned())
        .collect()
}

/// What was an incident so far, each as it was last seen; not those that another one explains.
fn incidents(lab: &VirtualLab) -> Vec<Fault> {
    let mut newest: BTreeMap<u64, &Incident> = BTreeMap::new();
    for event in &lab.outcome.events {
        let incident = match &event.change {
            Change::Opened(incident)
            | Change::Updated(incident)
            | Change::Refined(incident)
            | Change::Closed(incident) => incident,
        };
        newest.insert(incident.id, incident);
    }
    newest
        .into_values()
        .filter(|incident| incident.cause.is_none() && !incident.category.is_monitoring())
        .map(|incident| {
            let components: Vec<_> = [&incident.subject]
                .into_iter()
                .chain(&incident.or)
                .cloned()
                .collect();
            let name = incident.category.name();
            Fault::of_incident(
                name,
                &components,
                incident.both_directions,
                incident.title(),
            )
        })
        .collect()
}
