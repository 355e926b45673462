//! Who a process is, from `/proc`.

use std::collections::HashMap;
use std::fs;

use rpingmesh::service::flow::Owner;

use super::cgroups::Cgroups;
use super::environment::Environments;

/// Owners by the process or thread id that the kernel lists; for one listing, in which one process may have thousands
/// of queue pairs.
pub(super) struct Owners<'a> {
    cgroups: &'a Cgroups,
    environments: &'a Environments,
    known: HashMap<u32, Option<Owner>>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(cgroups: &'a Cgroups, environments: &'a Environments) -> Self {
        Self {
            cgroups,
            environments,
            known: HashMap::new(),
        }
    }

    /// `None` when the process is gone.
    pub(super) fn get(&mut self, id: u32) -> Option<Owner> {
        let (cgroups, environments) = (self.cgroups, self.environments);
        self.known
            .entry(id)
            .or_insert_with(|| owner(cgroups, environments, id))
            .clone()
    }
}

fn owner(cgroups: &Cgroups, environments: &Environments, id: u32) -> Option<Owner> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let pid = thread_group(&status)?;
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let (cgroup, cgroup_id) = cgroups.of_process(pid).unzip();
    Some(Owner {
        is_kernel: false,
        pid,
        comm: comm.trim_end_matches('\n').to_owned(),
        cgroup_id: cgroup_id.flatten(),
        cgroup,
        variables: environments.read(pid),
    })
}

/// The kernel lists the thread that made a queue pair; the process is its group.
fn thread_group(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|text| text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_its_process() {
        assert_eq!(thread_group("Name:\tx\nTgid:\t77\nPid:\t78\n"), Some(77));
        assert_eq!(thread_group("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_is_known_and_one_that_is_gone_is_not() {
        let cgroups = Cgroups::new();
        let environments = Environments::of(&[]);
        let mut owners = Owners::new(&cgroups, &environments);
        let own = owners.get(std::process::id()).expect("this process");
        assert_eq!(own.pid, std::process::id());
        assert!(!own.comm.is_empty());
        assert_eq!(owners.get(u32::MAX), None);
    }
}
