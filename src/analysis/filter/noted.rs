//! Hosts and RNICs of which something was noted lately.

use std::collections::HashSet;

use crate::analysis::report::End;
use crate::id::{Gid, HostName};

/// Hosts and RNICs of which something was noted lately. The filter has nothing to say about the results between all others.
#[derive(Debug)]
pub(crate) struct Noted<'a> {
    pub(super) hosts: HashSet<&'a HostName>,
    pub(super) rnics: HashSet<Gid>,
}

impl Noted<'_> {
    /// Whether nothing was noted of either end.
    pub(crate) fn is_quiet(&self, source: &End, target: &End) -> bool {
        [source, target].into_iter().all(|end| {
            (self.hosts.is_empty() || !self.hosts.contains(&end.host))
                && (self.rnics.is_empty() || !self.rnics.contains(&end.gid))
        })
    }
}
