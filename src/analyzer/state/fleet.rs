//! What agents say of themselves, and what is missing: see [`crate::analysis::fleet`].

use std::collections::HashSet;

use super::{State, Told};
use crate::analysis::admission::Watermark;
use crate::analysis::fleet::missing::Missing;
use crate::analysis::fleet::{ForgetError, Now};
use crate::id::{DeviceName, HostName};
use crate::time::{HostTime, WallTime};
use crate::topology::wiring::Rnics;

impl State {
    pub(super) fn tell(&mut self, told: &Told, host: HostTime, wall: WallTime) {
        let now = Now { host, wall };
        let fleet = self.fleet.get_mut();
        fleet.tell(&told.host, &told.sender.agent, &told.state, now);
        if told.state.is_stopping {
            tracing::info!(agent = %told.sender.agent, host = %told.host, "an agent stops");
            self.host_filter.stops(&told.host, wall);
        }
        let mark = Watermark::new(told.sender.clone(), told.host.clone(), wall);
        if let Some(agent) = self.agents.of(&mark) {
            agent.version.clone_from(&told.version);
            agent.state = Some(told.state.clone());
        }
    }

    /// Decides what is missing from now on, and which services have used it.
    pub(super) fn step_fleet(&mut self, host: HostTime, wall: WallTime) {
        let fleet = self.fleet.get_mut();
        fleet.step(Now { host, wall });
        if !fleet.needs_services() {
            return;
        }
        let used = self.windows.paths().flat_map(|path| {
            let ends = [path.source(), path.target()];
            let service = path.service();
            ends.into_iter()
                .filter_map(move |end| Some((&end.host, &end.device, service?)))
        });
        fleet.note_services(used);
    }

    /// Keeps as many paths as the agents' pinglists need.
    pub(super) fn follow_pinglists(&mut self) {
        let was_short = self.sizing.shortfall().is_some();
        if let Some(paths) = self.sizing.follow(self.agents.tuples()) {
            tracing::info!(
                paths,
                tuples = self.sizing.tuples(),
                "more paths are kept: the pinglists have more 5-tuples"
            );
            self.windows.keep(paths);
            self.paths.keep(paths);
        }
        if !was_short && let Some(why) = self.sizing.shortfall() {
            tracing::warn!(why, "the windows have no room for all paths");
        }
    }

    /// Hosts and RNICs that were there and are missing.
    pub(in crate::analyzer) fn missing(&self) -> Vec<Missing> {
        self.fleet.borrow().missing()
    }

    /// An operator acknowledges that a host or an RNIC is missing. Gives the names of what is not reported any more.
    ///
    /// # Errors
    /// [`ForgetError`].
    pub(in crate::analyzer) fn forget(
        &self,
        host: &HostName,
        device: Option<&DeviceName>,
    ) -> Result<Vec<String>, ForgetError> {
        self.fleet.borrow_mut().forget(host, device)
    }

    /// Looks which RNICs or hosts of the file report nothing.
    pub(super) fn look_for_missing(&mut self) {
        let Some(wiring) = &self.topology.wiring else {
            return;
        };
        let mut hosts: HashSet<&str> = HashSet::new();
        let mut rnics: HashSet<(&str, &str)> = HashSet::new();
        for end in self.host_filter.rnics() {
            hosts.insert(end.host.as_str());
            rnics.insert((end.host.as_str(), end.device.as_str()));
        }
        let mut missing = Vec::new();
        let mut expected = 0;
        for host in wiring.hosts() {
            let name = host.name.as_str();
            match &host.rnics {
                Rnics::All(_) => {
                    expected += 1;
                    if !hosts.contains(name) {
                        missing.push(format!("host {name}"));
                    }
                }
                Rnics::Each(each) => {
                    expected += each.len();
                    missing.extend(
                        each.iter()
                            .filter(|rnic| !rnics.contains(&(name, rnic.device.as_str())))
                            .map(|rnic| format!("{name}/{}", rnic.device)),
                    );
                }
            }
        }
        self.missing = (expected, missing);
    }
}
