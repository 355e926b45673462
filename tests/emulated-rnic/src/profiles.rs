//! What drivers' sources tell of their devices, as lines of the [`table`](crate::table): `like DRIVER`.
//!
//! Each line has its source: a file and a function of Linux, unless another project is named. What no source tells is not here; a table
//! adds it (the GID table, the state of a port).

/// A line of the table, and where it is from.
pub type Fact = (&'static str, &'static str);

/// The drivers, each with its facts.
pub const PROFILES: [(&str, &[Fact]); 7] = [
    (
        // ConnectX-4 and later.
        "mlx5",
        &[
            (
                // The frequency is the device's own (`device_frequency_khz`): this one is an example.
                "clock 63 1000000",
                "drivers/infiniband/hw/mlx5/main.c, mlx5_ib_query_device: timestamp_mask 0x7FFFFFFFFFFFFFFF, hca_core_clock",
            ),
            (
                "steer label",
                "drivers/infiniband/hw/mlx5/ah.c, mlx5_ah_get_udp_sport: rdma_flow_label_to_udp_sport of a label that is not 0",
            ),
        ],
    ),
    (
        "bnxt_re",
        &[
            (
                "port 1 4 2 5 256 0",
                "drivers/infiniband/hw/bnxt_re/ib_verbs.c, bnxt_re_get_link_layer: Ethernet; bnxt_re_query_port: max_mtu 4096",
            ),
            (
                "clockless",
                "drivers/infiniband/hw/bnxt_re/ib_verbs.c, bnxt_re_query_device: zeros but for what it names, no timestamp_mask",
            ),
        ],
    ),
    (
        // E810.
        "irdma-gen2",
        &[
            (
                "port 1 4 2 5 32 0",
                "drivers/infiniband/hw/irdma/verbs.c, irdma_query_port: gid_tbl_len 32 with RoCE",
            ),
            (
                "clock 17 0",
                "drivers/infiniband/hw/irdma/verbs.c, irdma_query_device: timestamp_mask 0x1ffff, no hca_core_clock",
            ),
        ],
    ),
    (
        // IPU E2000 and later.
        "irdma-gen3",
        &[
            (
                "port 1 4 2 5 32 0",
                "drivers/infiniband/hw/irdma/verbs.c, irdma_query_port: gid_tbl_len 32 with RoCE",
            ),
            (
                "clock 32 1000000",
                "drivers/infiniband/hw/irdma/verbs.c, irdma_query_device: timestamp_mask GENMASK(31, 0), HCA_CORE_CLOCK_KHZ 1000000",
            ),
        ],
    ),
    (
        // Speaks SRD, which is not RoCE; its UD queue pairs do neither.
        "efa",
        &[
            (
                "transport -1",
                "drivers/infiniband/hw/efa/efa_main.c: RDMA_NODE_UNSPECIFIED, whose transport rdma-core's libibverbs/init.c calls unknown",
            ),
            (
                "port 1 4 0 5 1 0",
                "drivers/infiniband/hw/efa/efa_verbs.c, efa_port_link_layer: unspecified; efa_query_port: active, gid_tbl_len 1",
            ),
            (
                "clockless",
                "drivers/infiniband/hw/efa/efa_verbs.c, efa_query_device: zeros but for what it names, no timestamp_mask",
            ),
        ],
    ),
    (
        "erdma",
        &[
            (
                "transport 1",
                "drivers/infiniband/hw/erdma/erdma_verbs.c, erdma_get_port_immutable: RDMA_CORE_PORT_IWARP",
            ),
            (
                "port 1 4 2 5 1 0",
                "drivers/infiniband/hw/erdma/erdma_verbs.c, erdma_query_port: gid_tbl_len 1",
            ),
            (
                "refuse qp none 95",
                "drivers/infiniband/hw/erdma/erdma_verbs.c, erdma_qp_validate_attr: EOPNOTSUPP for all types but RC",
            ),
        ],
    ),
    (
        "mana",
        &[
            (
                "port 1 4 2 5 16 0",
                "drivers/infiniband/hw/mana/main.c, mana_ib_get_port_immutable: RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP for port 1 only",
            ),
            (
                "clockless",
                "drivers/infiniband/hw/mana/main.c, mana_ib_query_device: zeros but for what it names, no timestamp_mask",
            ),
        ],
    ),
];

/// The lines of a driver; none of one that is not known.
pub(crate) fn lines(driver: &str) -> impl Iterator<Item = &'static str> {
    let facts = PROFILES.iter().find(|(name, _)| *name == driver);
    facts
        .map_or(&[][..], |(_, facts)| facts)
        .iter()
        .map(|(line, _)| *line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Clock, Steering, parse};

    #[test]
    fn every_fact_is_understood_and_has_a_source() {
        for (driver, facts) in PROFILES {
            let device = &parse(&format!("dev a 0 0 0\nlike {driver}\n"))[0];
            for (line, source) in facts {
                assert!(
                    source.starts_with("drivers/infiniband/hw/"),
                    "{driver}: {source}"
                );
                let alone = &parse(&format!("dev a 0 0 0\n{line}\n"))[0];
                // `clockless` takes a clock away, of which there is none.
                let changes = *alone != parse("dev a 0 0 0\n")[0];
                assert!(changes || *line == "clockless", "{driver}: {line}");
            }
            assert_ne!(*device, parse("dev a 0 0 0\n")[0], "{driver}");
        }
    }

    #[test]
    fn a_table_takes_a_driver_and_adds_to_it() {
        let device = &parse("dev mlx5_0 0 0 0\nlike mlx5\nport 1 4 2 5 256 0\ndrift 7\n")[0];
        let clock = Clock {
            bits: 63,
            khz: 1_000_000,
        };
        assert_eq!((device.clock, device.drift), (Some(clock), 7));
        assert_eq!((device.steering, device.ports.len()), (Steering::Label, 1));
        let none = &parse("dev a 0 0 0\nclock 48 5\nlike mana\nlike nobody\n")[0];
        assert_eq!((none.clock, none.ports.len()), (None, 1));
    }
}
