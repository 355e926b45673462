//! What a page of paths across something is about, and which paths cross it.

use crate::analysis::localize::Component;
use crate::analysis::report::End;
use crate::analysis::trend::Kind;
use crate::analysis::windows::PathView;
use crate::analyzer::dashboard::details::Lossy;
use crate::analyzer::dashboard::pages::parts::{link_path, rnic_path, trend_path};
use crate::analyzer::state::State;
use crate::id::{Gid, RnicName, UdpSourcePort};
use crate::probe::trace::Tuple;

/// A part of the fabric that has a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// One direction of a cable.
    Link { from: String, to: String },
    /// An RNIC.
    Rnic { host: String, device: String },
}

impl Subject {
    pub(super) fn title(&self) -> String {
        match self {
            Self::Link { from, to } => format!("{from} → {to}"),
            Self::Rnic { host, device } => format!("{host}/{device}"),
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Link { .. } => "Link, in this direction",
            Self::Rnic { .. } => "RNIC",
        }
    }

    pub(super) fn path(&self) -> String {
        match self {
            Self::Link { from, to } => link_path(from, to),
            Self::Rnic { host, device } => rnic_path(host, device),
        }
    }

    pub(super) fn trend(&self) -> String {
        match self {
            // Trends of links are kept between switches; a cable to an RNIC carries what the RNIC sends and gets.
            Self::Link { from, to } => {
                let rnic = [from, to]
                    .into_iter()
                    .find_map(|end| end.parse::<RnicName>().ok());
                rnic.map_or_else(
                    || trend_path(Kind::Link, from, to),
                    |rnic| trend_path(Kind::Rnic, rnic.host.as_str(), rnic.device.as_str()),
                )
            }
            Self::Rnic { host, device } => trend_path(Kind::Rnic, host, device),
        }
    }

    /// Which way probes of a path go across it; nothing where neither probes nor ACKs do.
    pub(super) fn direction(&self, state: &State, path: PathView<'_>) -> Option<Direction> {
        let (source, target) = (path.source(), path.target());
        match self {
            Self::Rnic { host, device } => {
                let is = |end: &End| end.host.as_str() == host && end.device.as_str() == device;
                match (is(source), is(target)) {
                    (true, _) => Some(Direction::Probes),
                    (false, true) => Some(Direction::Acks),
                    (false, false) => None,
                }
            }
            Self::Link { from, to } => {
                let port = path.source_port().unwrap_or(UdpSourcePort(0));
                let tuple = |source: Gid, target: Gid| Tuple {
                    source,
                    target,
                    port,
                };
                let link = (from.as_str(), to.as_str());
                let forth = tuple(source.gid, target.gid);
                if state.crosses(&forth, (source, target), link) {
                    return Some(Direction::Probes);
                }
                // ACKs have the probe's own port as theirs.
                let back = tuple(target.gid, source.gid);
                let crosses = state.crosses(&back, (target, source), link);
                crosses.then_some(Direction::Acks)
            }
        }
    }

    /// Whether an incident may be about it.
    pub(super) fn is_meant(&self, component: &Component) -> bool {
        match (self, component) {
            (
                Self::Link { from, to },
                Component::Link {
                    from: start,
                    to: end,
                },
            ) => from == start && to == end,
            (Self::Link { from, to }, Component::Switch { name }) => name == from || name == to,
            (Self::Link { from, to }, node @ Component::Rnic { .. }) => {
                let node = node.node().unwrap_or_default();
                node == from.as_str() || node == to.as_str()
            }
            (
                Self::Rnic { host, device },
                Component::Rnic {
                    host: of,
                    device: which,
                },
            ) => of.as_str() == host && which.as_str() == device,
            (Self::Rnic { host, .. }, Component::Host { name }) => name == host,
            (Self::Rnic { host, device }, Component::Link { from, to }) => {
                let is_it = |node: &str| {
                    node.parse::<RnicName>().is_ok_and(|rnic| {
                        rnic.host.as_str() == host && rnic.device.as_str() == device
                    })
                };
                is_it(from) || is_it(to)
            }
            _ => false,
        }
    }

    /// Whether a path of the past crosses it, by what was known of its way then.
    pub(super) fn is_on(&self, path: &Lossy) -> bool {
        match self {
            Self::Rnic { host, device } => [&path.source, &path.target]
                .iter()
                .any(|end| end.host == *host && end.device == *device),
            Self::Link { from, to } => path
                .way
                .windows(2)
                .any(|two| two[0] == *from && two[1] == *to),
        }
    }
}

/// Which packets of a path cross it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Probes,
    Acks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cable_of_an_rnic_leads_to_the_rnics_trend() {
        let trend = |from: &str, to: &str| {
            let (from, to) = (from.to_owned(), to.to_owned());
            Subject::Link { from, to }.trend()
        };
        assert_eq!(trend("spine1", "tor3"), "/trend/link/spine1/tor3");
        assert_eq!(trend("host1/mlx5_0", "tor3"), "/trend/rnic/host1/mlx5_0");
        assert_eq!(trend("tor3", "host1/mlx5_0"), "/trend/rnic/host1/mlx5_0");
    }
}
