//! The name of the service that a process belongs to: by the operator's rules, by Kubernetes, else by its cgroup.

use std::sync::Arc;

use super::identity::Service;
use super::pods::PodNames;
use super::qp::Owner;
use super::rules::Rule;
use crate::id::{MAX_NAME, ServiceName};

/// What names are made of. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Naming {
    rules: Arc<[Rule]>,
    pods: Arc<PodNames>,
}

/// A name, and what gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The service.
    pub name: ServiceName,
    /// In words: `rule 2 (env:JOB=batch/{1})`.
    pub why: String,
    /// A pod whose name is not known.
    pub is_unnamed_pod: bool,
}

impl Naming {
    /// By these rules, of which the first that applies names a service; no pod is known yet.
    pub fn new(rules: &[Rule]) -> Self {
        Self {
            rules: rules.into(),
            pods: Arc::default(),
        }
    }

    /// Pods go by these names from now on.
    pub fn set_pods(&mut self, pods: Arc<PodNames>) {
        self.pods = pods;
    }

    /// The pods whose names are known.
    pub fn pods(&self) -> &PodNames {
        &self.pods
    }

    /// The service of a process; `None` is a queue pair whose process is not known.
    pub fn decide(&self, owner: Option<&Owner>) -> Decision {
        let decision = |name: String, why: String| Decision {
            name: shortened(&name),
            why,
            is_unnamed_pod: false,
        };
        let Some(owner) = owner else {
            return decision("unknown".to_owned(), "its process is not known".to_owned());
        };
        let rules = self.rules.iter().enumerate();
        let mut ruled = rules.filter_map(|(index, rule)| Some((index, rule, rule.name(owner)?)));
        if let Some((index, rule, name)) = ruled.next() {
            return decision(name, format!("rule {} ({rule})", index + 1));
        }
        let service = owner.service();
        let Service::Pod { uid, .. } = &service else {
            return decision(service.to_string(), by(&service).to_owned());
        };
        match self.pods.get(uid) {
            Some(pod) => decision(
                format!("k8s/{}/{}/{}", pod.namespace, pod.kind, pod.owner),
                format!("Kubernetes: pod {}/{}, UID {uid}", pod.namespace, pod.pod),
            ),
            None => Decision {
                is_unnamed_pod: true,
                ..decision(service.to_string(), by(&service).to_owned())
            },
        }
    }
}

/// What of a process gave its service.
fn by(service: &Service) -> &'static str {
    match service {
        Service::Slurm(_) => "cgroup of a Slurm job",
        Service::Pbs(_) => "cgroup of a PBS job",
        Service::Lsf(_) => "cgroup of an LSF job",
        Service::Condor(_) => "cgroup of an HTCondor slot",
        Service::Pod { .. } => "cgroup of a Kubernetes pod, whose name is not known",
        Service::Container { .. } => "cgroup of a container",
        Service::User { .. } => "cgroup of a login session",
        Service::Unit(_) => "cgroup of a systemd unit",
        Service::Cgroup(_) => "cgroup",
        Service::Process(_) => "name of the process, which has no cgroup of its own",
        Service::Kernel(_) => "kernel module",
    }
}

/// Shortened from the front, where paths say least.
fn shortened(text: &str) -> ServiceName {
    if text.len() <= MAX_NAME {
        return ServiceName::new(text);
    }
    let begin = (text.len() + '…'.len_utf8() - MAX_NAME..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    ServiceName::new(format!("…{}", &text[begin..]))
}

#[cfg(test)]
mod tests;
