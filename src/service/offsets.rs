//! The offsets that the eBPF programs need, found in the running kernel's BTF.

use rpingmesh_ebpf_event::Offsets;

use super::btf::{Btf, BtfError};

/// Why the offsets of the kernel's fields are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// A structure or member is missing or unreadable.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// A member is not as wide as the programs read it.
    #[error(
        "the kernel's `{structure}.{member}` has {size} bytes where the tracer reads {wanted}: this kernel is not supported"
    )]
    Size {
        /// The structure.
        structure: &'static str,
        /// The path of members.
        member: &'static str,
        /// Bytes that it has.
        size: u32,
        /// Bytes that the programs read.
        wanted: u32,
    },
}

/// Finds all offsets in `ib_core`'s split BTF over `vmlinux` (or in `vmlinux` alone where `ib_core` is built in).
///
/// # Errors
/// [`OffsetError`], naming the first member that is not as expected.
pub fn find(btf: &Btf<'_>) -> Result<Offsets, OffsetError> {
    let at = |structure, member, wanted| member_of(btf, structure, member, &[wanted]);
    // One byte before Linux 5.11; of four bytes the programs keep the lowest.
    let port = |structure, member| member_of(btf, structure, member, &[4, 1]);
    // What the programs do without.
    let optional = |structure, member, wanted| at(structure, member, wanted).unwrap_or(0);
    Ok(Offsets {
        device_name: at("ib_device", "name", 64)?,
        qp_device: at("ib_qp", "device", 8)?,
        qp_number: at("ib_qp", "qp_num", 4)?,
        qp_type: at("ib_qp", "qp_type", 4)?,
        qp_port: port("ib_qp", "port")?,
        qp_av_sgid_attr: at("ib_qp", "av_sgid_attr", 8)?,
        qp_real_qp: optional("ib_qp", "real_qp", 8),
        qp_kern_name: optional("ib_qp", "res.kern_name", 8),
        gid_attr_gid: at("ib_gid_attr", "gid", 16)?,
        attr_qp_state: at("ib_qp_attr", "qp_state", 4)?,
        attr_dest_qp_num: at("ib_qp_attr", "dest_qp_num", 4)?,
        attr_port_num: port("ib_qp_attr", "port_num")?,
        attr_dgid: at("ib_qp_attr", "ah_attr.grh.dgid", 16)?,
        attr_flow_label: at("ib_qp_attr", "ah_attr.grh.flow_label", 4)?,
        attr_sgid_index: at("ib_qp_attr", "ah_attr.grh.sgid_index", 1)?,
        attr_traffic_class: at("ib_qp_attr", "ah_attr.grh.traffic_class", 1)?,
        attr_ah_port: port("ib_qp_attr", "ah_attr.port_num")?,
        valid: 1,
    })
}

fn member_of(
    btf: &Btf<'_>,
    structure: &'static str,
    member: &'static str,
    wanted: &[u32],
) -> Result<u32, OffsetError> {
    let found = btf.member(structure, member)?;
    if wanted.contains(&found.size) {
        Ok(found.offset)
    } else {
        Err(OffsetError::Size {
            structure,
            member,
            size: found.size,
            wanted: wanted.first().copied().unwrap_or_default(),
        })
    }
}
