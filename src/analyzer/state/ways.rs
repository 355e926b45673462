//! The switches on the way of a 5-tuple, as pages ask for them.

use super::State;
use crate::analysis::map;
use crate::analysis::report::End;
use crate::probe::trace::Tuple;

/// A switch on a way: as it answered, and by the name that links and incidents have for it.
pub(in crate::analyzer) type NamedHop<'a> = (Option<&'a str>, Option<&'a str>);

impl State {
    /// The hops of a traced 5-tuple; none where it was not traced. The RNICs' ToRs stand for the first and the last hop.
    pub(in crate::analyzer) fn hops<'s>(
        &'s self,
        tuple: &Tuple,
    ) -> impl Iterator<Item = NamedHop<'s>> + use<'s> {
        let ends = (
            self.host_filter.end(tuple.source),
            self.host_filter.end(tuple.target),
        );
        let route = self.paths.get(tuple).and_then(|known| known.route());
        route
            .into_iter()
            .flat_map(move |route| map::named(ends, route, &self.topology.names))
    }

    /// Whether packets of a 5-tuple cross the link from one node to another, as far as is known: RNICs and their ToRs are
    /// cabled, a trace shows the rest. A node is a switch, a host, or an RNIC written as `HOST/DEVICE`.
    pub(in crate::analyzer) fn crosses(
        &self,
        tuple: &Tuple,
        (source, target): (&End, &End),
        (from, to): (&str, &str),
    ) -> bool {
        if (source.tor.as_str() == to && is_node(source, from))
            || (target.tor.as_str() == from && is_node(target, to))
        {
            return true;
        }
        let mut before = None;
        for (_, name) in self.hops(tuple) {
            if before == Some(from) && name == Some(to) {
                return true;
            }
            before = name;
        }
        false
    }
}

/// Whether an RNIC or its host has this name.
fn is_node(end: &End, name: &str) -> bool {
    let device = name
        .strip_prefix(end.host.as_str())
        .map(|rest| rest.strip_prefix('/'));
    match device {
        Some(Some(device)) => device == end.device.as_str(),
        Some(None) => name.len() == end.host.as_str().len(),
        None => false,
    }
}
