//! Findings about what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use super::record::Absence;
use crate::analysis::judge::{Category, Finding};
use crate::analysis::localize::Component;
use crate::id::{DeviceName, HostName, RnicName, ServiceName};
use crate::time::WallTime;

/// A host or an RNIC that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The host.
    pub(crate) host: HostName,
    /// The RNIC; `None` where the host is meant.
    pub(crate) device: Option<DeviceName>,
    /// Since when.
    pub(crate) since: WallTime,
    /// Why, in words.
    pub(crate) reason: String,
    /// Services that used it.
    pub(crate) services: BTreeSet<ServiceName>,
}

impl Missing {
    pub(super) fn new(host: &HostName, device: Option<&DeviceName>, absence: &Absence) -> Self {
        Self {
            host: host.clone(),
            device: device.cloned(),
            since: WallTime::from_nanos(absence.since_unix_ns),
            reason: absence.reason.clone(),
            services: absence.services.clone(),
        }
    }

    /// Its name, as `rpingmesh forget` takes it.
    pub(crate) fn name(&self) -> String {
        match &self.device {
            Some(device) => RnicName::new(self.host.clone(), device.clone()).to_string(),
            None => self.host.to_string(),
        }
    }

    fn subject(&self) -> Component {
        match &self.device {
            Some(device) => Component::rnic(RnicName::new(self.host.clone(), device.clone())),
            None => Component::Host {
                name: self.host.as_str().to_owned(),
            },
        }
    }

    fn finding(&self, subject: Component) -> Finding {
        let services: BTreeMap<_, _> = self
            .services
            .iter()
            .map(|service| (service.clone(), false))
            .collect();
        Finding {
            services,
            evidence: vec![
                format!("missing since {}: {}", stamp(self.since), self.reason),
                format!(
                    "reported until it returns; `rpingmesh forget {}` says that this is known",
                    self.name()
                ),
            ],
            ..Finding::of_state(subject, Category::Withdrawn, 1.0)
        }
    }
}

/// Adds what is missing to the findings of a run. What another finding says of the same host or RNIC is worse, and stays alone.
pub(crate) fn add_to(findings: &mut Vec<Finding>, missing: &[Missing]) {
    let known: BTreeSet<Component> = findings
        .iter()
        .map(|finding| finding.subject.clone())
        .collect();
    for one in missing {
        let subject = one.subject();
        if !known.contains(&subject) {
            findings.push(one.finding(subject));
        }
    }
}

/// `2026-11-26T13:07:31Z`.
fn stamp(at: WallTime) -> String {
    let nanos = u64::try_from(at.nanos()).unwrap_or(0);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string()
}
