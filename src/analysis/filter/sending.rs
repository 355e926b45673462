//! Which RNICs of a batch could send.

use crate::analysis::report::PathReport;
use crate::id::Gid;
use crate::measure::Invalid;

/// Which RNICs of a batch could send, and which could not, to some peer.
#[derive(Default)]
pub(super) struct Sending(pub(super) Vec<(Gid, bool, bool)>);

impl Sending {
    /// Takes in the results of one path.
    pub(super) fn add(&mut self, report: &PathReport) {
        let failed = report
            .invalid
            .iter()
            .any(|(why, count)| *why == Invalid::SendFailed && *count > 0);
        let could = report.lost > 0 || !report.samples.is_empty();
        let gid = report.path.source.gid;
        match self.0.iter_mut().find(|(known, ..)| *known == gid) {
            Some(sending) => {
                sending.1 |= could;
                sending.2 |= failed;
            }
            None => self.0.push((gid, could, failed)),
        }
    }
}
