//! Findings about how the services of this host get their names. Never a problem: without names a service goes by its cgroup.

use std::fs;

use rpingmesh::agent::pods;
use rpingmesh::config::agent::{AgentConfig, TracingChoice};
use rpingmesh::error::describe;

use super::checks::effective_capabilities;
use super::finding::Finding;

/// Lets a process read the environment of another user's process (Linux `capability.h`).
const CAP_SYS_PTRACE: u32 = 19;

/// What the configuration asks for, and whether it can be had here.
pub(super) async fn findings(config: &AgentConfig) -> Vec<Finding> {
    if config.settings.tracing == TracingChoice::Off {
        // No connections, no services.
        return Vec::new();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut findings = Vec::new();
    findings.extend(environments(
        &config.settings.services.variables(),
        effective_capabilities(&status),
    ));
    findings.extend(pod_names(config).await);
    findings
}

/// Whether rules that ask for variables can be followed, with these capabilities; `None` for a system that has none.
fn environments(variables: &[String], effective: Option<u64>) -> Option<Finding> {
    if variables.is_empty() {
        return None;
    }
    let named = variables.join(", ");
    let may_read = effective.is_none_or(|effective| effective & (1 << CAP_SYS_PTRACE) != 0);
    Some(if may_read {
        Finding::ok(
            "services",
            format!("environments can be read, for rules with {named}"),
        )
    } else {
        Finding::note(
            "services",
            format!(
                "rules with {named} name services of this user's processes only: other users' environments cannot be read"
            ),
            "give the agent CAP_SYS_PTRACE (AmbientCapabilities in the systemd unit, agent.readEnvironment in the Helm chart)",
        )
    })
}

/// Asks for the names of this node's pods once, if they are wanted.
async fn pod_names(config: &AgentConfig) -> Option<Finding> {
    let source = config.kubernetes.as_ref()?;
    Some(match pods::fetch(source).await {
        Ok(names) => {
            let left_out = match names.left_out() {
                0 => String::new(),
                pods => format!(", and {pods} without a name that can be used"),
            };
            Finding::ok(
                "kubernetes",
                format!("{} names {} pods{left_out}", source.url, names.len()),
            )
        }
        Err(error) => Finding::note(
            "kubernetes",
            format!("{}: {}", source.url, describe(&error)),
            "until it answers pods go by their UID: see docs/tracing.md, \"Names from Kubernetes\", for URL, token and CA",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn environments_of_others_need_a_capability() {
        let wanted = ["JOB_NAME".to_owned(), "TEAM".to_owned()];
        let status = |effective| environments(&wanted, effective).map(|finding| finding.status);
        assert_eq!(status(Some(1 << CAP_SYS_PTRACE)), Some(Status::Ok));
        assert_eq!(status(None), Some(Status::Ok));
        assert_eq!(status(Some(1 << 21)), Some(Status::Note));
        let message = environments(&wanted, Some(0)).expect("rules").message;
        assert!(message.contains("rules with JOB_NAME, TEAM "), "{message}");
        assert!(environments(&[], Some(0)).is_none(), "nobody asks");
    }
}
