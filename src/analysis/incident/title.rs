//! An incident in one line.

use std::fmt::Write as _;

use super::Incident;
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::analysis::routes::CLOUD;

impl Incident {
    /// What is wrong, in one line, by the newest estimate.
    pub fn title(&self) -> String {
        if let Component::Group { .. } = self.subject {
            return self.title_of_group();
        }
        let name = self.name();
        let share = Share(self.share, self.interval);
        match self.category {
            Category::HostDown => format!("host {name} is down"),
            Category::AgentSilent => format!("the agent of host {name} is silent"),
            Category::RnicDown if matches!(self.subject, Component::Host { .. }) => {
                format!("all RNICs of host {name} are down")
            }
            Category::RnicDown => format!("RNIC {name} is down"),
            Category::RnicLoss if matches!(self.subject, Component::Host { .. }) => {
                format!("all RNICs of host {name} lose {share} of their probes")
            }
            Category::RnicLoss => format!("RNIC {name} loses {share} of its probes"),
            Category::Flapping => format!("{name} comes and goes"),
            Category::LinkDown | Category::SwitchDown => format!("{name} is down"),
            Category::LinkLoss | Category::SwitchLoss | Category::Undecided => {
                format!("{name} loses {share}")
            }
            Category::Blackhole => format!("{name} drops all packets of {share} of the 5-tuples"),
            Category::Congestion => format!("{share} of the round trips over {name} are slow"),
            Category::PauseStorm => {
                format!(
                    "{share} of the round trips over {name} are slow, too long for queueing: PFC pauses suspected"
                )
            }
            Category::RnicSlow => format!("RNIC {name} delays {share} of its round trips"),
            Category::CpuOverload => format!("host {name} is starved of CPU"),
            Category::MissingRoute => format!("RNIC {name} cannot send"),
            Category::UnevenEcmp => {
                format!("ECMP at {name} is uneven: {share} of the 5-tuples would have to move")
            }
            Category::Withdrawn if matches!(self.subject, Component::Host { .. }) => {
                format!("host {name} is gone")
            }
            Category::Withdrawn => format!("RNIC {name} is withdrawn"),
            Category::Clock => format!("the clock of host {name} is off"),
            monitoring => format!("{name}: {}", monitoring.name().replace('_', " ")),
        }
    }

    /// What it is about, with what it may be instead.
    fn name(&self) -> String {
        let mut name = match &self.subject {
            Component::Link { from, to } if self.both_directions => format!("cable {from}-{to}"),
            Component::Switch { name } if name == CLOUD => "the fabric as a whole".to_owned(),
            // The sentences say what it is.
            subject @ (Component::Host { .. } | Component::Rnic { .. }) if self.or.is_empty() => {
                subject.node().unwrap_or_default().into_owned()
            }
            subject => subject.to_string(),
        };
        for other in &self.or {
            let _ = write!(name, " or {other}");
        }
        name
    }

    /// Of a group, or of the monitoring itself.
    fn title_of_group(&self) -> String {
        // Subjects recover one after the other: a closed incident says how many they were.
        let count = if self.is_open() {
            self.subjects.now
        } else {
            self.subjects.most
        };
        let (is, are_of) = if count == 1 { ("is", "") } else { ("are", "s") };
        let of = |what: &str| format!("{count} {what}{are_of} {is}");
        match self.category {
            Category::HostDown => format!("{} down", of("host")),
            Category::AgentSilent => format!("{} silent", of("agent")),
            Category::CpuOverload => format!("{} starved of CPU", of("host")),
            Category::Withdrawn if count == 1 => "1 host or RNIC is missing".to_owned(),
            Category::Withdrawn => format!("{count} hosts and RNICs are missing"),
            Category::Clock => format!("{} off", of("clock")),
            Category::MissingRoute => format!("{count} RNIC{are_of} cannot send"),
            Category::MonitoringBlind => format!(
                "blind{}: {} of the probes are set aside",
                self.blind_where(),
                Share(self.share, None)
            ),
            Category::MonitoringSilence => format!(
                "{} of {} hosts fell silent at once: none of them is judged",
                self.lost, self.sent
            ),
            Category::MonitoringMissing => format!(
                "{} of {} RNICs of the topology file report nothing",
                self.lost, self.sent
            ),
            Category::MonitoringLate => "the judge is too slow: incidents come late".to_owned(),
            Category::MonitoringEvicted => {
                format!("the windows are full: {} paths were dropped", self.lost)
            }
            Category::MonitoringStore => "the store takes nothing".to_owned(),
            Category::MonitoringFull if self.lost == 1 => {
                "the table of incidents is full: 1 finding waits".to_owned()
            }
            Category::MonitoringFull => {
                format!(
                    "the table of incidents is full: {} findings wait",
                    self.lost
                )
            }
            other => format!("{count} times {}", other.name().replace('_', " ")),
        }
    }

    fn blind_where(&self) -> String {
        match (self.subjects.now, self.explains.first()) {
            (0, _) | (_, None) => String::new(),
            (1, Some(tor)) => format!(" under {}", tor.subject.node().unwrap_or_default()),
            (count, _) => format!(" under {count} ToRs"),
        }
    }
}

/// A share in per cent, with its interval.
struct Share(f64, Option<[f64; 2]>);

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = |percent: f64| usize::from(percent < 9.95) + usize::from(percent < 0.995);
        let percent = self.0 * 100.0;
        write!(f, "{percent:.0$} %", digits(percent))?;
        if let Some([low, high]) = self.1 {
            let (low, high) = (low * 100.0, high * 100.0);
            write!(f, " ({low:.0$} to {high:.1$} %)", digits(low), digits(high))?;
        }
        Ok(())
    }
}
