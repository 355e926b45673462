//! Which service a process belongs to, as far as its cgroup path tells.

use std::fmt;

use crate::id::ServiceName;

/// The owner of a connection, in the most telling form that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// A Kubernetes pod; the container where the path names it.
    Pod {
        /// The pod's UID, with dashes.
        uid: String,
        /// The container's id, shortened to 12 digits.
        container: Option<String>,
    },
    /// A container outside Kubernetes.
    Container {
        /// What runs it: docker, containerd, crio, libpod.
        runtime: String,
        /// Its id, shortened to 12 digits.
        id: String,
    },
    /// A systemd unit.
    Unit(String),
    /// Any other cgroup, by its path.
    Cgroup(String),
    /// Nothing but the process's name is known.
    Process(String),
}

/// Digits of a container's id that people use.
const SHORT_ID: usize = 12;

impl Service {
    /// From a cgroup v2 path below its mount point (`/system.slice/a.service`) and the process's name.
    ///
    /// The root cgroup and an unknown path (`None`) leave only the name.
    pub fn identify(cgroup: Option<&str>, comm: &str) -> Self {
        let process = || Self::Process(comm.to_owned());
        let Some(path) = cgroup else { return process() };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let container = parts.iter().rev().find_map(|part| container(part));
        if let Some(uid) = parts.iter().rev().find_map(|part| pod_uid(part)) {
            let container = container.map(|(_, id)| id).or_else(|| last_id(&parts));
            return Self::Pod { uid, container };
        }
        if let Some((runtime, id)) = container.or_else(|| plain_docker(&parts)) {
            return Self::Container { runtime, id };
        }
        match parts.iter().rev().find(|part| is_unit(part)) {
            Some(unit) => Self::Unit((*unit).to_owned()),
            None if parts.is_empty() => process(),
            None => Self::Cgroup(format!("/{}", parts.join("/"))),
        }
    }

    /// The name under which results of this service are reported.
    pub fn name(&self) -> ServiceName {
        ServiceName::new(self.to_string())
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
        }
    }
}

/// The cgroup v2 path in the text of `/proc/PID/cgroup` (`0::/system.slice/a.service`); `None` where the process is in
/// none, or in one outside of the reader's cgroup namespace.
pub fn cgroup_path(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    // Of a cgroup that is gone while the process lives on.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    (path.starts_with('/') && !path.starts_with("/..")).then_some(path)
}

fn short_id(text: &str) -> Option<String> {
    let is_id = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text[..SHORT_ID].to_owned())
}

/// `cri-containerd-<id>.scope`, `crio-<id>.scope`, `docker-<id>.scope`, `libpod-<id>.scope`
fn container(part: &str) -> Option<(String, String)> {
    let (runtime, id) = part.strip_suffix(".scope")?.rsplit_once('-')?;
    let runtime = runtime.strip_prefix("cri-").unwrap_or(runtime);
    Some((runtime.to_owned(), short_id(id)?))
}

/// `/docker/<id>`, the cgroupfs driver's form.
fn plain_docker(parts: &[&str]) -> Option<(String, String)> {
    parts.windows(2).rev().find_map(|pair| match pair {
        ["docker", id] => Some(("docker".to_owned(), short_id(id)?)),
        _ => None,
    })
}

/// In a pod's folder the cgroupfs driver names containers by their bare id.
fn last_id(parts: &[&str]) -> Option<String> {
    parts.last().and_then(|part| short_id(part))
}

/// `kubepods-burstable-pod<uid with underscores>.slice` or `pod<uid>`
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = name.rsplit_once("pod")?;
    if !(before.is_empty() || before.starts_with("kubepods")) {
        return None;
    }
    let uid = uid.replace('_', "-");
    let is_uid = uid.len() >= 32
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
