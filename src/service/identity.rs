//! The service that a process belongs to, from its cgroup path.

use std::fmt;

use crate::id::{ServiceName, is_printable};

/// The owner of a connection, in the most specific form that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// A Slurm job, by its number: the same on all its hosts, whatever step or task of it made the connection.
    Slurm(u32),
    /// A PBS job, by its id (`123.server`): the same on all its hosts.
    Pbs(String),
    /// An LSF job, by its number: the same on all its hosts.
    Lsf(u32),
    /// A slot of HTCondor (`slot1_2@host`), which runs one job at a time; the job's number is in no cgroup.
    Condor(String),
    /// A Kubernetes pod; the container where the path names it.
    Pod {
        /// The pod's UID, with dashes.
        uid: String,
        /// The container's id, shortened to 12 digits.
        container: Option<String>,
    },
    /// A container outside Kubernetes, system containers included.
    Container {
        /// What runs it: docker, containerd, crio, libpod, lxc, nspawn, machine.
        runtime: String,
        /// Its id, shortened to 12 digits, or its name.
        id: String,
    },
    /// A process that somebody started by hand: numbers of login sessions say nothing, and differ from host to host.
    User {
        /// Who is logged in.
        uid: u32,
        /// The process's name.
        comm: String,
    },
    /// A systemd unit.
    Unit(String),
    /// Any other cgroup, by its path.
    Cgroup(String),
    /// Nothing but the process's name is known.
    Process(String),
    /// A kernel module (`nvme_rdma`).
    Kernel(String),
}

/// Digits of a container's id that people use.
const SHORT_ID: usize = 12;

/// A pod's UID has 36 characters; that of a pod from a file on its host is a hash of 32.
const POD_UID: std::ops::RangeInclusive<usize> = 32..=36;

impl Service {
    /// From a cgroup's path below its mount point (`/system.slice/a.service`) and the process's name.
    ///
    /// The root cgroup and an unknown path (`None`) leave only the name. A job of a scheduler says more than what runs
    /// below it (a container in a job), a pod more than its container, a container more than a unit. Of several jobs
    /// the outermost counts: what a job makes below its own cgroup does not put it into another's.
    pub(crate) fn identify(cgroup: Option<&str>, comm: &str) -> Self {
        let process = || Self::Process(printable(comm));
        let Some(path) = cgroup else { return process() };
        let parts = parts(path);
        Self::managed(&parts).unwrap_or_else(|| {
            match parts.iter().rev().find(|part| is_unit(part)) {
                Some(unit) => match login(unit, &parts) {
                    Some(uid) => Self::User {
                        uid,
                        comm: printable(comm),
                    },
                    None => Self::Unit(printable(unit)),
                },
                None if parts.is_empty() => process(),
                None => Self::Cgroup(printable(&format!("/{}", parts.join("/")))),
            }
        })
    }

    /// A kernel module, by its name.
    pub(crate) fn module(name: &str) -> Self {
        Self::Kernel(printable(name))
    }

    /// Of a scheduler or a container runtime; `None` for units and anything else.
    fn managed(parts: &[&str]) -> Option<Self> {
        if let Some(job) = slurm_job(parts) {
            return Some(Self::Slurm(job));
        }
        if let Some(job) = pbs_job(parts) {
            return Some(Self::Pbs(job));
        }
        if let Some(job) = lsf_job(parts) {
            return Some(Self::Lsf(job));
        }
        if let Some(slot) = condor_slot(parts) {
            return Some(Self::Condor(slot));
        }
        let pod = |(at, part): (usize, &&str)| Some((at, pod_uid(part)?));
        if let Some((at, uid)) = parts.iter().enumerate().rev().find_map(pod) {
            // The first below the pod: what a container starts inside itself is still that container.
            let below = &parts[at + 1..];
            let container = below.iter().find_map(|part| {
                let named = container(part).map(|(_, id)| id);
                named.or_else(|| short_id(part))
            });
            return Some(Self::Pod { uid, container });
        }
        let found = parts.iter().rev().find_map(|part| container(part));
        let (runtime, id) = found
            .or_else(|| plain_docker(parts))
            .or_else(|| plain(parts))
            .or_else(|| parts.iter().rev().find_map(|part| machine(part)))?;
        Some(Self::Container { runtime, id })
    }

    /// The name under which results of this service are reported.
    pub fn name(&self) -> ServiceName {
        ServiceName::new(self.to_string())
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slurm(job) => write!(f, "slurm/{job}"),
            Self::Pbs(job) => write!(f, "pbs/{job}"),
            Self::Lsf(job) => write!(f, "lsf/{job}"),
            Self::Condor(slot) => write!(f, "htcondor/{slot}"),
            Self::User { uid, comm } => write!(f, "user/{uid}/{comm}"),
            Self::Pod {
                uid,
                container: Some(container),
            } => write!(f, "pod/{uid}/{container}"),
            Self::Pod {
                uid,
                container: None,
            } => write!(f, "pod/{uid}"),
            Self::Container { runtime, id } => write!(f, "{runtime}/{id}"),
            Self::Unit(unit) => f.write_str(unit),
            Self::Cgroup(path) => write!(f, "cgroup{path}"),
            Self::Process(comm) => write!(f, "process/{comm}"),
            Self::Kernel(module) => write!(f, "kernel/{module}"),
        }
    }
}

/// The cgroup path in the text of `/proc/PID/cgroup`, of the hierarchy that tells most: a v1 hierarchy
/// (`4:freezer:/slurm/uid_1000/job_4711`) where it names a job, a pod or a container and v2 does not, else v2
/// (`0::/system.slice/a.service`), else systemd's own (`1:name=systemd:…`). `None` where the process is in none of
/// these, or in one outside of the reader's cgroup namespace.
pub fn cgroup_path(text: &str) -> Option<&str> {
    let tells = |path: &&str| Service::managed(&parts(path)).is_some();
    let unified = hierarchies(text).find_map(|(name, path)| name.is_empty().then_some(path));
    unified
        .filter(tells)
        .or_else(|| hierarchies(text).map(|(_, path)| path).find(tells))
        .or_else(|| unified.filter(|path| *path != "/"))
        .or_else(|| {
            hierarchies(text).find_map(|(name, path)| (name == "name=systemd").then_some(path))
        })
        .or(unified)
}

/// The controllers of each line and the path there. Controllers are empty for v2.
fn hierarchies(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (name, path) = rest.split_once(':')?;
        // Of a cgroup that is gone while the process lives on.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let own = path.starts_with('/') && !path.starts_with("/..");
        (own && (number == "0") == name.is_empty()).then_some((name, path))
    })
}

/// The folders of a path. A runtime that hands a systemd-style name to the cgroupfs driver makes one folder of three:
/// `kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`.
fn parts(path: &str) -> Vec<&str> {
    path.split('/')
        .flat_map(|part| {
            // No folder's name has a slash: the others stay whole.
            let separator = if part.contains(".slice:") { ':' } else { '/' };
            part.split(separator)
        })
        .filter(|part| !part.is_empty())
        .collect()
}

/// What is not printable has no place in a name: a cgroup's or a process's may have any but the line end.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if is_printable(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// The outermost Slurm job: `slurmstepd.scope/job_N` (v2), `slurm/uid_U/job_N` (v1), each with the node's name where
/// several slurmd run on one host (`NODE_slurmstepd.scope`, `slurm_NODE`). Slurm `cgroup_v2.c`, `xcgroup.c`.
fn slurm_job(parts: &[&str]) -> Option<u32> {
    let v2 = |scope: &str| scope == "slurmstepd.scope" || scope.ends_with("_slurmstepd.scope");
    let v1 = |folder: &str| folder == "slurm" || folder.starts_with("slurm_");
    (0..parts.len()).find_map(|at| match parts[at..] {
        [scope, job, ..] if v2(scope) => numbered(job, "job_"),
        [folder, user, job, ..] if v1(folder) && numbered(user, "uid_").is_some() => {
            numbered(job, "job_")
        }
        _ => None,
    })
}

/// `pbs_jobs.service/jobid/123.server`; the first folder's name is configurable (PBS, `pbs_cgroups.PY`, `cgroup_prefix`).
fn pbs_job(parts: &[&str]) -> Option<String> {
    parts.windows(3).find_map(|three| match three {
        [folder, "jobid", job] if folder.starts_with("pbs") => Some(printable(job)),
        _ => None,
    })
}

/// `lsf/CLUSTER/job.ID.PID.TIME`, in each hierarchy of cgroup v1 and in v2.
fn lsf_job(parts: &[&str]) -> Option<u32> {
    parts.windows(3).find_map(|three| match three {
        ["lsf", _, job] => {
            let (number, _) = job.strip_prefix("job.")?.split_once('.')?;
            numbered(number, "")
        }
        _ => None,
    })
}

/// `htcondor/condor_FOLDER_slot1_2@host`, FOLDER being that of the jobs with `_` for `/`; with cgroup v2 and systemd both end in
/// `.slice` or `.service` (HTCondor manual, "Cgroup-Based Process Tracking"; pull request 3341).
fn condor_slot(parts: &[&str]) -> Option<String> {
    parts.windows(2).find_map(|pair| match pair {
        ["htcondor" | "htcondor.slice" | "htcondor.service", job] => {
            let name = ["service", "slice", "scope"]
                .iter()
                .find_map(|suffix| job.strip_suffix(suffix)?.strip_suffix('.'))
                .unwrap_or(job);
            let at = name.strip_prefix("condor_").and(name.rfind("slot"))?;
            Some(printable(&name[at..]))
        }
        _ => None,
    })
}

/// The user in whose login session a process is, where no unit of the user's own says more.
fn login(unit: &str, parts: &[&str]) -> Option<u32> {
    let session = unit.strip_suffix(".scope");
    let is_session = session.is_some_and(|name| name.starts_with("session-"));
    let is_manager = unit == "init.scope" || unit.starts_with("user@");
    let user = |part: &&str| numbered(part.strip_suffix(".slice")?, "user-");
    (is_session || is_manager).then(|| parts.iter().find_map(user))?
}

/// `prefix` and a decimal number of 32 bits.
fn numbered(part: &str, prefix: &str) -> Option<u32> {
    let digits = part.strip_prefix(prefix)?;
    let decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
    decimal.then(|| digits.parse().ok()).flatten()
}

fn short_id(text: &str) -> Option<String> {
    let is_id = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text[..SHORT_ID].to_owned())
}

/// `cri-containerd-<id>.scope`, `crio-<id>.scope`, `docker-<id>.scope`, `libpod-<id>.scope`, and the same without
/// `.scope` as the cgroupfs driver has it.
fn container(part: &str) -> Option<(String, String)> {
    let scope = part.strip_suffix(".scope");
    let (runtime, id) = scope.unwrap_or(part).rsplit_once('-')?;
    if runtime.is_empty() || (scope.is_none() && id.len() != 64) {
        return None;
    }
    let runtime = runtime.strip_prefix("cri-").unwrap_or(runtime);
    // Podman with `--cgroups=split`.
    let runtime = runtime.strip_suffix("-payload").unwrap_or(runtime);
    Some((printable(runtime), short_id(id)?))
}

/// `/docker/<id>`, the cgroupfs driver's form.
fn plain_docker(parts: &[&str]) -> Option<(String, String)> {
    parts.windows(2).rev().find_map(|pair| match pair {
        ["docker", id] => Some(("docker".to_owned(), short_id(id)?)),
        _ => None,
    })
}

/// `/ecs/<task>/<id>`, `/default/<id>`: a runtime's own folder and, somewhere below, a whole id.
fn plain(parts: &[&str]) -> Option<(String, String)> {
    let (runtime, below) = parts.split_first()?;
    let id = below.iter().rev().find(|part| part.len() == 64);
    Some((printable(runtime), short_id(id?)?))
}

/// A system container with units of its own inside: `lxc.payload.<name>`, `systemd-nspawn@<name>.service`,
/// `machine-<name>.scope` (`systemd-machined`).
fn machine(part: &str) -> Option<(String, String)> {
    let named = |runtime: &str, name: &str| (runtime.to_owned(), printable(name));
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(named("lxc", name));
    }
    if let Some(name) = part.strip_suffix(".scope") {
        return Some(named("machine", name.strip_prefix("machine-")?));
    }
    let name = part.strip_suffix(".service")?;
    Some(named("nspawn", name.strip_prefix("systemd-nspawn@")?))
}

/// `kubepods-burstable-pod<uid with underscores>.slice`, the same below a cgroup root for the kubelet
/// (`kubelet-kubepods-…`, or any other prefix), or `pod<uid>`
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = name.rsplit_once("pod")?;
    let of_kubelet = before
        .strip_suffix('-')
        .is_some_and(|before| before.split('-').any(|piece| piece == "kubepods"));
    if !(before.is_empty() || of_kubelet) {
        return None;
    }
    let uid = uid.replace('_', "-");
    let is_uid = POD_UID.contains(&uid.len())
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".socket", ".mount"]
        .iter()
        .any(|suffix| part.ends_with(suffix))
}

#[cfg(test)]
mod tests;
