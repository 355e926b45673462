//! What decides the UDP source port of a device's UD packets, by driver.

use rpingmesh::config::agent::SteeringChoice;
use rpingmesh::id::{Qpn, UdpSourcePort};

/// What an endpoint has to do so that probes can choose their path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steering {
    /// One queue pair; every flow label has its own address handle.
    FlowLabel,
    /// Several queue pairs, each with its own port.
    QueuePair,
    /// One queue pair; the port is not known.
    Driver,
}

/// The rule for a device: the configured one, else what is known of the driver's address handles for RoCE v2.
///
/// - `mlx5` (rdma-core `providers/mlx5/verbs.c`, `mlx5_create_ah`) and `hns3` (Linux `hns_roce_ah.c`) fold the flow label.
/// - `rxe` (Linux `rxe_qp.c`) hashes the QPN and ignores the label.
/// - Others choose for themselves or were not looked into.
pub(super) fn decide(driver: Option<&str>, choice: SteeringChoice) -> Steering {
    match choice {
        SteeringChoice::FlowLabel => Steering::FlowLabel,
        SteeringChoice::QueuePair => Steering::QueuePair,
        SteeringChoice::Driver => Steering::Driver,
        SteeringChoice::Auto => match driver {
            Some("mlx5_core" | "hns3") => Steering::FlowLabel,
            Some("rxe") => Steering::QueuePair,
            _ => Steering::Driver,
        },
    }
}

/// The source port of what a soft-RoCE UD queue pair sends: 0xC000 plus 14 bits of the QPN's hash (Linux
/// `rxe_qp_init_req`; `hash_32` of `include/linux/hash.h`).
pub(super) fn queue_pair_port(qpn: Qpn) -> UdpSourcePort {
    const GOLDEN_RATIO_32: u32 = 0x61c8_8647;
    let hash = (qpn.get().wrapping_mul(GOLDEN_RATIO_32) >> (32 - 14)) as u16;
    UdpSourcePort(UdpSourcePort::FIRST + hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_drivers_are_steered_by_what_they_honour() {
        let auto = |driver| decide(driver, SteeringChoice::Auto);
        assert_eq!(auto(Some("mlx5_core")), Steering::FlowLabel);
        assert_eq!(auto(Some("rxe")), Steering::QueuePair);
        assert_eq!(auto(Some("bnxt_en")), Steering::Driver);
        assert_eq!(auto(None), Steering::Driver);
    }

    #[test]
    fn the_configuration_overrides_the_driver() {
        assert_eq!(
            decide(Some("rxe"), SteeringChoice::Driver),
            Steering::Driver
        );
        assert_eq!(decide(None, SteeringChoice::FlowLabel), Steering::FlowLabel);
        assert_eq!(decide(None, SteeringChoice::QueuePair), Steering::QueuePair);
    }

    #[test]
    fn ports_are_the_kernels_hash_of_the_qpn() {
        let port = |qpn| queue_pair_port(Qpn::new(qpn).expect("24 bits")).0;
        // hash_32(17, 14): 17 × 0x61c88647 = 0x6_7e50_eab7, of whose lower 32 bits the upper 14 are 0x1f94.
        assert_eq!(port(17), 0xc000 + 0x1f94);
        assert_eq!(port(0), 0xc000);
        let distinct: std::collections::BTreeSet<_> = (16..80).map(port).collect();
        assert_eq!(distinct.len(), 64);
    }
}
