//! An incident in one line.

use std::fmt::Write as _;

use super::Incident;
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;

impl Incident {
    /// What is wrong, in one line.
    pub fn title(&self) -> String {
        let mut name = match &self.subject {
            Component::Link { from, to } if self.both_directions => format!("cable {from}-{to}"),
            // The sentences below say what it is.
            subject @ (Component::Host { .. } | Component::Rnic { .. }) if self.or.is_empty() => {
                subject.node().unwrap_or_default().into_owned()
            }
            subject => subject.to_string(),
        };
        for other in &self.or {
            let _ = write!(name, " or {other}");
        }
        let percent = Percent(self.share);
        match self.category {
            Category::HostDown => format!("host {name} is down"),
            Category::AgentSilent => format!("the agent of host {name} is silent"),
            Category::RnicDown => format!("RNIC {name} is down"),
            Category::RnicLoss => format!("RNIC {name} loses {percent} of its probes"),
            Category::Flapping => format!("{name} comes and goes"),
            Category::LinkDown | Category::SwitchDown => format!("{name} is down"),
            Category::LinkLoss | Category::SwitchLoss | Category::Undecided => {
                format!("{name} loses {percent}")
            }
            Category::Blackhole => format!("{name} drops all packets of {percent} of the 5-tuples"),
            Category::Congestion => format!("{percent} of the round trips over {name} are slow"),
            Category::PauseStorm => {
                format!(
                    "{percent} of the round trips over {name} are slow, too long for queueing: PFC pauses suspected"
                )
            }
            Category::RnicSlow => format!("RNIC {name} delays {percent} of its round trips"),
            Category::CpuOverload => format!("host {name} is starved of CPU"),
            Category::MissingRoute => format!("RNIC {name} cannot send"),
            Category::UnevenEcmp => {
                format!("ECMP at {name} is uneven: {percent} of the 5-tuples would have to move")
            }
        }
    }
}

struct Percent(f64);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = self.0 * 100.0;
        let digits = usize::from(percent < 9.95) + usize::from(percent < 0.995);
        write!(f, "{percent:.digits$} %")
    }
}
