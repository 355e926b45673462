//! Reads of the kernel's structures at the offsets that the loader found.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
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
const IB_QPT_XRC_INI: u32 = 9;
const IB_QPT_XRC_TGT: u32 = 10;
const IB_QPS_RTR: u32 = 2;
const IB_QPS_ERR: u32 = 6;

/// Whether a QP is of a connected type and these attributes of it are those of a connection.
pub fn is_connected(qp: u64, attr: u64, offsets: &Offsets) -> bool {
    let (mut qp_type, mut state) = (0, 0);
    read(qp, offsets.qp_type, &mut qp_type)
        && read(attr, offsets.attr_qp_state, &mut state)
        && matches!(
            qp_type,
            IB_QPT_RC | IB_QPT_UC | IB_QPT_XRC_INI | IB_QPT_XRC_TGT
        )
        && (IB_QPS_RTR..IB_QPS_ERR).contains(&state)
}

/// Reads `base + offset` of kernel memory into its place; zeros where that fails, which is counted.
///
/// Into its place, and not as a value that is there or not: the compiler may load such a value from the stack also where
/// it is not there, which verifiers before Linux 6.3 refuse.
fn read<T>(base: u64, offset: u32, to: &mut T) -> bool {
    let address = base.wrapping_add(u64::from(offset)) as *const c_void;
    // SAFETY: `to` is writable for its size; the helper checks the address, reports a fault as an error and fills `to`
    // with zeros then, which is a value of every type that is read here.
    let error = unsafe {
        bpf_probe_read_kernel(
            core::ptr::from_mut(to).cast(),
            size_of::<T>() as u32,
            address,
        )
    };
    if error != 0 {
        count(counter::READ_FAILED);
    }
    error == 0
}

/// Number, type, port and device of a QP.
pub fn read_qp(qp: u64, offsets: &Offsets, event: &mut QpEvent) {
    let (mut qp_type, mut port, mut device) = (0u32, 0u32, 0u64);
    read(qp, offsets.qp_number, &mut event.local_qpn);
    read(qp, offsets.qp_type, &mut qp_type);
    read(qp, offsets.qp_port, &mut port);
    event.qp_type = qp_type as u8;
    event.port = port as u8;
    if read(qp, offsets.qp_device, &mut device)
        && read(device, offsets.device_name, &mut event.device)
    {
        event.present |= present::DEVICE;
    }
}

/// What a modification asks for: only the attributes that its mask names are valid.
pub fn read_attributes(attr: u64, mask: u32, offsets: &Offsets, event: &mut QpEvent) {
    event.attr_mask = mask;
    let mut wide = 0u32;
    if mask & IB_QP_STATE != 0 && read(attr, offsets.attr_qp_state, &mut wide) {
        event.qp_state = wide as u8;
        event.present |= present::STATE;
    }
    if mask & IB_QP_PORT != 0 && read(attr, offsets.attr_port_num, &mut wide) {
        event.port = wide as u8;
    }
    if mask & IB_QP_DEST_QPN != 0 && read(attr, offsets.attr_dest_qp_num, &mut event.remote_qpn) {
        event.present |= present::REMOTE_QPN;
    }
    if mask & IB_QP_AV != 0
        && read(attr, offsets.attr_flow_label, &mut event.flow_label)
        && read(attr, offsets.attr_sgid_index, &mut event.sgid_index)
        && read(attr, offsets.attr_traffic_class, &mut event.traffic_class)
        && read(attr, offsets.attr_dgid, &mut event.destination_gid)
    {
        event.present |= present::ADDRESS_VECTOR;
    }
}

/// The kernel module that made a QP stands for the process: who calls is a worker of the kernel's.
pub fn read_module(qp: u64, offsets: &Offsets, event: &mut QpEvent) {
    event.comm = [0; 16];
    (event.tgid, event.tid, event.cgroup_id) = (0, 0, 0);
    event.present |= present::KERNEL;
    let mut name = 0u64;
    if offsets.qp_kern_name == 0 || !read(qp, offsets.qp_kern_name, &mut name) || name == 0 {
        return;
    }
    // SAFETY: `comm` is writable for its size; the helper checks the address and ends the text with a zero.
    let length = unsafe {
        bpf_probe_read_kernel_str(
            event.comm.as_mut_ptr().cast(),
            event.comm.len() as u32,
            name as *const c_void,
        )
    };
    if length < 0 {
        count(counter::READ_FAILED);
    }
}

/// Whether this is one of several handles of a shared QP (XRC receivers): the QP lives as long as one of them.
pub fn is_handle(qp: u64, offsets: &Offsets) -> bool {
    let mut real = 0u64;
    offsets.qp_real_qp != 0 && read(qp, offsets.qp_real_qp, &mut real) && real != 0 && real != qp
}

/// The source GID that the kernel resolved for a connected QP (`av_sgid_attr`; null before RTR and on UD QPs). Receivers of
/// XRC share a QP, which has it.
pub fn read_source_gid(mut qp: u64, offsets: &Offsets, event: &mut QpEvent) {
    let mut gid_attr = 0u64;
    if u32::from(event.qp_type) == IB_QPT_XRC_TGT && offsets.qp_real_qp != 0 {
        let mut shared = 0u64;
        if !read(qp, offsets.qp_real_qp, &mut shared) {
            return;
        }
        qp = shared;
    }
    if read(qp, offsets.qp_av_sgid_attr, &mut gid_attr)
        && gid_attr != 0
        && read(gid_attr, offsets.gid_attr_gid, &mut event.source_gid)
    {
        event.present |= present::SOURCE_GID;
    }
}
