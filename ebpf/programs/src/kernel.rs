//! Reads of the kernel's structures at the offsets that the loader found.

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_buf, bpf_probe_read_kernel_str_bytes,
};
use rpingmesh_ebpf_event::{Offsets, QpEvent, counter, present};

use crate::count;

// enum ib_qp_attr_mask, include/rdma/ib_verbs.h
const IB_QP_STATE: u32 = 1 << 0;
const IB_QP_PORT: u32 = 1 << 5;
const IB_QP_AV: u32 = 1 << 7;
const IB_QP_DEST_QPN: u32 = 1 << 20;

/// What a connected QP has.
pub const CONNECTION: u32 = IB_QP_STATE | IB_QP_AV | IB_QP_DEST_QPN;

// enum ib_qp_type and enum ib_qp_state
const IB_QPT_RC: u32 = 2;
const IB_QPT_UC: u32 = 3;
const IB_QPS_RTR: u32 = 2;
const IB_QPS_ERR: u32 = 6;

/// Whether a QP is of a connected type and these attributes of it are those of a connection.
pub fn is_connected(qp: u64, attr: u64, offsets: &Offsets) -> bool {
    matches!(
        read::<u32>(qp, offsets.qp_type),
        Some(IB_QPT_RC | IB_QPT_UC)
    ) && read::<u32>(attr, offsets.attr_qp_state)
        .is_some_and(|state| (IB_QPS_RTR..IB_QPS_ERR).contains(&state))
}

/// A value at `base + offset` in kernel memory.
fn read<T>(base: u64, offset: u32) -> Option<T> {
    let address = base.wrapping_add(u64::from(offset)) as *const T;
    // SAFETY: the helper checks the address and reports a fault as an error.
    let value = unsafe { bpf_probe_read_kernel(address) };
    if value.is_err() {
        count(counter::READ_FAILED);
    }
    value.ok()
}

fn read_bytes(base: u64, offset: u32, to: &mut [u8; 16]) -> bool {
    let address = base.wrapping_add(u64::from(offset)) as *const u8;
    // SAFETY: as in `read`.
    let done = unsafe { bpf_probe_read_kernel_buf(address, to) }.is_ok();
    if !done {
        count(counter::READ_FAILED);
    }
    done
}

/// Number, type, port and device of a QP.
pub fn read_qp(qp: u64, offsets: &Offsets, event: &mut QpEvent) {
    if let Some(number) = read::<u32>(qp, offsets.qp_number) {
        event.local_qpn = number;
    }
    if let Some(qp_type) = read::<u32>(qp, offsets.qp_type) {
        event.qp_type = qp_type as u8;
    }
    if let Some(port) = read::<u32>(qp, offsets.qp_port) {
        event.port = port as u8;
    }
    let Some(device) = read::<u64>(qp, offsets.qp_device) else {
        return;
    };
    let name = device.wrapping_add(u64::from(offsets.device_name)) as *const u8;
    // SAFETY: as in `read`; at most the array's length is written, with a zero at its end.
    if unsafe { bpf_probe_read_kernel_str_bytes(name, &mut event.device) }.is_ok() {
        event.present |= present::DEVICE;
    } else {
        count(counter::READ_FAILED);
    }
}

/// What a modification asks for: only the attributes that its mask names are valid.
pub fn read_attributes(attr: u64, mask: u32, offsets: &Offsets, event: &mut QpEvent) {
    event.attr_mask = mask;
    if mask & IB_QP_STATE != 0
        && let Some(state) = read::<u32>(attr, offsets.attr_qp_state)
    {
        event.qp_state = state as u8;
        event.present |= present::STATE;
    }
    if mask & IB_QP_PORT != 0
        && let Some(port) = read::<u32>(attr, offsets.attr_port_num)
    {
        event.port = port as u8;
    }
    if mask & IB_QP_DEST_QPN != 0
        && let Some(number) = read::<u32>(attr, offsets.attr_dest_qp_num)
    {
        event.remote_qpn = number;
        event.present |= present::REMOTE_QPN;
    }
    if mask & IB_QP_AV != 0 {
        read_address_vector(attr, offsets, event);
    }
}

fn read_address_vector(attr: u64, offsets: &Offsets, event: &mut QpEvent) {
    let (Some(flow_label), Some(sgid_index), Some(traffic_class)) = (
        read::<u32>(attr, offsets.attr_flow_label),
        read::<u8>(attr, offsets.attr_sgid_index),
        read::<u8>(attr, offsets.attr_traffic_class),
    ) else {
        return;
    };
    if read_bytes(attr, offsets.attr_dgid, &mut event.destination_gid) {
        event.flow_label = flow_label;
        event.sgid_index = sgid_index;
        event.traffic_class = traffic_class;
        event.present |= present::ADDRESS_VECTOR;
    }
}

/// The source GID that the kernel resolved for a connected QP (`av_sgid_attr`; null before RTR and on UD QPs).
pub fn read_source_gid(qp: u64, offsets: &Offsets, event: &mut QpEvent) {
    let Some(gid_attr) = read::<u64>(qp, offsets.qp_av_sgid_attr) else {
        return;
    };
    if gid_attr != 0 && read_bytes(gid_attr, offsets.gid_attr_gid, &mut event.source_gid) {
        event.present |= present::SOURCE_GID;
    }
}
