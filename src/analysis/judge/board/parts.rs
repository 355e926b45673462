//! What a path crosses, as components with shares: with its round trip, and with its second ACK alone.

use super::{Board, HOST_LINKS};
use crate::analysis::localize::ComponentId;

/// The components of one path, each once.
#[derive(Debug, Default)]
pub(in crate::analysis::judge) struct Parts {
    /// At its ends, and the fabric as a whole: with the share of the packets that cross each.
    pub(in crate::analysis::judge) ends: Vec<(ComponentId, f64)>,
    /// Between the ToRs: with the shares of both directions added up.
    pub(in crate::analysis::judge) between: Vec<(ComponentId, f64)>,
    /// Probability, 0 to 1, that a traced path is out of date.
    pub(in crate::analysis::judge) elsewhere: f64,
    /// Links that a probe and its ACK cross.
    pub(in crate::analysis::judge) links: f64,
}

impl Board {
    /// What a path crosses; `with_fabric` says whether the fabric as a whole is a suspect.
    pub(in crate::analysis::judge) fn parts(
        &self,
        at: usize,
        with_fabric: bool,
        parts: &mut Parts,
    ) {
        self.end_parts(at, with_fabric, parts);
        self.between_parts(at, parts);
        parts.links = self.links(at);
    }

    /// What a path crosses at its ends.
    fn end_parts(&self, at: usize, with_fabric: bool, parts: &mut Parts) {
        let place = self.places[at];
        parts.ends.clear();
        let [source, target] = place.ends().map(|end| &self.ends[end]);
        parts.ends.extend([(source.rnic, 1.0), (target.rnic, 1.0)]);
        match self.bonds_of(at) {
            [] => {
                parts.ends.push((source.tor, 1.0));
                if target.tor != source.tor {
                    parts.ends.push((target.tor, 1.0));
                }
            }
            tors => parts.ends.extend_from_slice(tors),
        }
        if with_fabric
            && self.crosses_fabric(at)
            && let Some(cloud) = self.cloud
        {
            parts.ends.push((cloud, 1.0));
        }
    }

    /// What a path crosses between the ToRs.
    fn between_parts(&self, at: usize, parts: &mut Parts) {
        let place = self.places[at];
        parts.between.clear();
        let are_traced = place.legs().all(|leg| self.legs[leg].is_traced);
        let mut told = 1.0;
        for leg in place.legs() {
            let known = &self.legs[leg];
            told *= 1.0 - known.doubt;
            // Traced together the two legs are right or wrong together; beside candidates a trace counts by its share.
            let trust = if are_traced { 1.0 } else { 1.0 - known.doubt };
            let first = parts.between.len();
            for (id, share) in self.leg_parts(leg) {
                let of_other = parts.between[..first].iter_mut();
                match of_other.into_iter().find(|(known, _)| *known == id) {
                    Some((_, sum)) => *sum += share * trust,
                    None => parts.between.push((id, share * trust)),
                }
            }
        }
        parts.elsewhere = if are_traced { 1.0 - told } else { 0.0 };
    }

    /// What the second ACK of a path's probe crosses on its way back, alone; `false` where the reverse path was not traced: candidates
    /// would say again what the round trip has said. The shares of RNICs and ToRs are those of a round trip, which passes them twice.
    pub(in crate::analysis::judge) fn ack_parts(
        &self,
        at: usize,
        with_fabric: bool,
        parts: &mut Parts,
    ) -> bool {
        let Some(back) = self.traced_back(at) else {
            return false;
        };
        self.end_parts(at, with_fabric, parts);
        parts.between.clear();
        parts.between.extend(self.leg_parts(back));
        parts.links = HOST_LINKS / 2.0 + self.legs[back].links;
        parts.elsewhere = self.legs[back].doubt;
        true
    }

    /// The leg of a path's ACKs, where it was traced.
    fn traced_back(&self, at: usize) -> Option<usize> {
        let back = self.places[at].back as usize;
        self.legs.get(back)?.is_traced.then_some(back)
    }

    /// Links that the second ACK of a path's probe crosses, where the reverse path was traced.
    pub(in crate::analysis::judge) fn ack_links(&self, at: usize) -> Option<f64> {
        let back = self.traced_back(at)?;
        Some(HOST_LINKS / 2.0 + self.legs[back].links)
    }
}
