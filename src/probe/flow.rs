//! Flow labels with distinct UDP source ports.
//!
//! ECMP hashes see the UDP source port, and 64 labels fold to the same one: distinct labels can share a path for a
//! reason that has nothing to do with the fabric. So ports are drawn, and labels derived from them.

use std::collections::HashSet;
use std::hash::BuildHasher;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::id::{FlowLabel, UdpSourcePort};

/// A flow label together with the UDP source port that it folds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// The port that switches hash.
    pub source_port: UdpSourcePort,
    /// A label that folds to it.
    pub label: FlowLabel,
}

/// More distinct ports were asked for than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} distinct UDP source ports were asked for and {free} are free: flow labels reach 16384 ports in all, \
     so spread the flows over more RNICs"
)]
pub struct PortsExhausted {
    /// How many were asked for.
    pub wanted: usize,
    /// How many are not taken.
    pub free: usize,
}

/// Draws `count` flows whose UDP source ports differ from each other and from those in `taken` (the ones that a
/// rotation keeps), every free port being equally likely.
///
/// # Errors
/// [`PortsExhausted`]: never fewer flows than asked for.
pub fn choose<R: Rng + ?Sized, S: BuildHasher>(
    rng: &mut R,
    count: usize,
    taken: &HashSet<UdpSourcePort, S>,
) -> Result<Vec<Flow>, PortsExhausted> {
    let free: Vec<Flow> = (UdpSourcePort::FIRST..=u16::MAX)
        .map(UdpSourcePort)
        .filter(|port| !taken.contains(port))
        .filter_map(|source_port| {
            let label = source_port.flow_label()?;
            Some(Flow { source_port, label })
        })
        .collect();
    if count > free.len() {
        return Err(PortsExhausted {
            wanted: count,
            free: free.len(),
        });
    }
    let mut flows: Vec<Flow> = free.choose_multiple(rng, count).copied().collect();
    flows.shuffle(rng);
    Ok(flows)
}

/// [`choose`] from a seed: the same seed gives the same flows in the same order.
///
/// # Errors
/// [`PortsExhausted`].
pub fn seeded(seed: u64, count: usize) -> Result<Vec<Flow>, PortsExhausted> {
    choose(&mut ChaCha8Rng::seed_from_u64(seed), count, &HashSet::new())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ports_are_distinct_and_labels_fold_to_them(seed: u64, count in 0_usize..600) {
            let flows = seeded(seed, count).expect("enough ports");
            let ports: HashSet<_> = flows.iter().map(|flow| flow.source_port).collect();
            prop_assert_eq!(ports.len(), count);
            for flow in &flows {
                prop_assert_eq!(flow.label.source_port(), flow.source_port);
            }
            prop_assert_eq!(flows, seeded(seed, count).expect("enough ports"));
        }

        #[test]
        fn taken_ports_are_left_alone(seed: u64, kept in 0_usize..300, fresh in 0_usize..300) {
            let taken: HashSet<_> = seeded(seed, kept).expect("enough").iter().map(|flow| flow.source_port).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
            let flows = choose(&mut rng, fresh, &taken).expect("enough");
            prop_assert_eq!(flows.len(), fresh);
            prop_assert!(flows.iter().all(|flow| !taken.contains(&flow.source_port)));
        }
    }

    #[test]
    fn all_ports_can_be_had_and_not_one_more() {
        let all = usize::from(UdpSourcePort::COUNT);
        assert_eq!(seeded(7, all).map(|flows| flows.len()), Ok(all));
        assert_eq!(
            seeded(7, all + 1),
            Err(PortsExhausted {
                wanted: all + 1,
                free: all
            })
        );
    }
}
