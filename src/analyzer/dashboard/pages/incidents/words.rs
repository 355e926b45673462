//! Severities and categories in the words of people.

use crate::analysis::incident::Severity;
use crate::analysis::judge::Category;

/// What a severity means.
pub(super) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::P0 => "Paths of a service are affected, and its probes suffer.",
        Severity::P1 => {
            "Services use it and do not suffer yet, or perhaps use it and their probes suffer, or the monitoring is blind."
        }
        Severity::P2 => "Only cluster monitoring sees it. No service surely uses it and suffers.",
    }
}

/// For people.
pub(in super::super) const fn category(category: Category) -> &'static str {
    match category {
        Category::HostDown => "host down",
        Category::AgentSilent => "agent silent",
        Category::RnicDown => "RNIC down",
        Category::RnicLoss => "RNIC loss",
        Category::Flapping => "flapping",
        Category::LinkDown => "link down",
        Category::LinkLoss => "link loss",
        Category::SwitchDown => "switch down",
        Category::SwitchLoss => "switch loss",
        Category::Blackhole => "blackhole",
        Category::Congestion => "congestion",
        Category::PauseStorm => "pause storm",
        Category::RnicSlow => "RNIC slow",
        Category::CpuOverload => "CPU overload",
        Category::MissingRoute => "missing route",
        Category::UnevenEcmp => "uneven ECMP",
        Category::Undecided => "undecided",
        Category::Withdrawn => "missing",
        Category::Clock => "clock",
        Category::MonitoringBlind => "monitoring: blind",
        Category::MonitoringSilence => "monitoring: silence",
        Category::MonitoringMissing => "monitoring: missing",
        Category::MonitoringLate => "monitoring: late",
        Category::MonitoringEvicted => "monitoring: windows full",
        Category::MonitoringStore => "monitoring: store",
        Category::MonitoringFull => "monitoring: table full",
    }
}

/// What it means and what to look at first.
pub(super) const fn meaning(category: Category) -> &'static str {
    match category {
        Category::HostDown => {
            "The host answers no probe and its agent is silent. Look at the host's power, console and management network."
        }
        Category::AgentSilent => {
            "The agent uploads nothing, but the host's RNICs answer. Look at the agent's service and its connection to the analyzer; the network is not at fault."
        }
        Category::RnicDown => {
            "Nearly all probes to and from it are lost, but its host works. Look at the port, the cable, the transceiver and the RNIC's GIDs. If all RNICs of a host are down, look at what they share: the PCIe switch, the driver, the bond."
        }
        Category::RnicLoss => {
            "Some probes to or from it are lost, with any peer. Look at the cable to its ToR, at optical levels, and at the port's error counters on both ends."
        }
        Category::Flapping => {
            "It fails and recovers again and again. Look at the link state's history; a worn cable or transceiver is the usual cause."
        }
        Category::LinkDown => {
            "Nearly all packets on this link in this direction are lost. Take it out of ECMP, then look at the cable and at both ports."
        }
        Category::LinkLoss => {
            "Some packets on this link in this direction are lost: corruption or a gray failure. Look at FCS errors of the receiving port and at optical levels; take the link out of ECMP if services suffer."
        }
        Category::SwitchDown => {
            "Nearly all packets through this switch are lost. Drain it, then look at its console."
        }
        Category::SwitchLoss => {
            "Some packets through this switch are lost, on several of its links. Look at its drop counters, buffers and parity errors; drain it if services suffer."
        }
        Category::Blackhole => {
            "Some 5-tuples always pass here and others never: a corrupt forwarding entry, a broken ECMP member or an ACL. Compare forwarding tables in hardware and software."
        }
        Category::Congestion => {
            "Round trips through it take much longer than usual: queueing. Look at utilisation, ECN marks and incast; if ECMP is uneven, at the hash."
        }
        Category::PauseStorm => {
            "Round trips take milliseconds and some probes time out: PFC pauses. Find the port that sends pause frames and the RNIC or host behind it that does not drain."
        }
        Category::RnicSlow => {
            "Round trips of this RNIC take longer, with any peer. Look at PCIe link width and speed, at the RNIC's firmware, and at pause frames that it sends."
        }
        Category::CpuOverload => {
            "Completions wait for the host's CPU; the network is not at fault. Its results are set aside. Look at load, CPU limits of the agent's service and interrupts."
        }
        Category::MissingRoute => {
            "The RNIC cannot send: no route, no neighbour, or a GID index that moved. Look at its addresses and routes, and at the agent's log."
        }
        Category::UnevenEcmp => {
            "Some of the parallel paths carry far more than others. Look at the hash's fields and seed on the switch, and at members that are missing."
        }
        Category::Undecided => {
            "Probes are lost here, and the observations fit several components equally well. All are listed. More 5-tuples or a trace will decide."
        }
        Category::Withdrawn => {
            "It was there and no longer is: its agent has withdrawn it, or the agent itself is gone. Look at the port, the cable and the addresses; of a host at its power and its agent. If this is meant, `rpingmesh forget` says so."
        }
        Category::Clock => {
            "The agent dates its results by a clock that is off. They are moved by the estimate where that is possible. Look at the host's NTP or PTP client."
        }
        Category::MonitoringBlind => {
            "Most probes here are set aside because a host disturbed them: a fault of the network would not be seen. Look at the hosts that the evidence names."
        }
        Category::MonitoringSilence => {
            "So many hosts are rarely down at once. Look at the analyzer's CPU, at the management network between agents and analyzer, and at power, before you look at the hosts."
        }
        Category::MonitoringMissing => {
            "RNICs of the topology file never reported or no longer do: nothing is known of them. Look whether their agents run, and whether the file is right."
        }
        Category::MonitoringLate => {
            "Incidents come late. Give the analyzer more CPU, or look what else runs beside it."
        }
        Category::MonitoringEvicted => {
            "Paths were dropped before they could be judged. Raise `memory_limit` (or `max_paths` where it is set), or probe fewer 5-tuples."
        }
        Category::MonitoringStore => {
            "What the agents upload cannot be stored: they keep it, but only for a while. Look at the disk's free space and at the analyzer's log."
        }
        Category::MonitoringFull => {
            "There is no room for further incidents of this kind. Repair what the first incidents in the list name: the worst come first."
        }
    }
}
