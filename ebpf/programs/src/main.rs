//! Follows RDMA queue pairs: kprobes on `ib_core`'s create, modify and destroy functions (Linux
//! `drivers/infiniband/core/verbs.c`), one event per call in a ring buffer. Programs and kernel modules call functions of
//! their own to create and modify, and the same one to destroy. While user space lists the queue pairs over RDMA netlink, the
//! kernel queries each of them; these queries show the connections that exist already.
//!
//! Arguments are kept at entry and the event is emitted on return, when the result is known. No layout of a kernel is
//! compiled in: before loading, user space sets [`OFFSETS`] from the running kernel's BTF.
#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    reason = "reads kernel memory through BPF helpers; the verifier checks every access"
)]

mod kernel;

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns,
};
use aya_ebpf::macros::{kprobe, kretprobe, map};
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use rpingmesh_ebpf_event::{EventKind, Offsets, QpEvent, architecture, calls, counter};

/// Offsets in the running kernel's structures; set by the loader.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    device_name: 0,
    qp_device: 0,
    qp_number: 0,
    qp_type: 0,
    qp_port: 0,
    qp_av_sgid_attr: 0,
    qp_real_qp: 0,
    qp_kern_name: 0,
    gid_attr_gid: 0,
    attr_qp_state: 0,
    attr_dest_qp_num: 0,
    attr_port_num: 0,
    attr_dgid: 0,
    attr_flow_label: 0,
    attr_sgid_index: 0,
    attr_traffic_class: 0,
    attr_ah_port: 0,
    valid: 0,
};

/// A call that has not returned yet.
#[repr(C)]
#[derive(Clone, Copy)]
struct Call {
    qp: u64,
    attr: u64,
    attr_mask: u32,
    reserved: u32,
}

/// Events for user space; 4 MiB holds about 22 000, 0.4 s at 50 000 events a second.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// `BPF_F_NO_COMMON_LRU` of Linux `include/uapi/linux/bpf.h`: each processor has its own list of the calls that began on it. With
/// one list for all, calls are forgotten long before the map is full, on machines with many processors.
const PER_PROCESSOR: u32 = 1 << 1;

/// Modifications under way, by thread. A call whose return is never seen does not keep its place: the oldest makes room. The
/// loader sets how many there are, by the number of processors (see [`calls`]).
#[map]
static MODIFYING: LruHashMap<u64, Call> =
    LruHashMap::with_max_entries(calls::MODIFYING, PER_PROCESSOR);

/// Modifications by kernel modules, as [`MODIFYING`].
#[map]
static MODIFYING_IN_KERNEL: LruHashMap<u64, Call> =
    LruHashMap::with_max_entries(calls::MODIFYING_IN_KERNEL, PER_PROCESSOR);

/// In [`DESTROYING`]: a handle of a shared QP is destroyed, of which no event tells.
const HANDLE: EventKind = EventKind::Unknown(0);

/// In `reserved` of what is kept: the call is within that for the last handle.
const WITHIN: u8 = 1;

/// Destructions under way, by thread: the QP is gone when the function returns, so the event is made at entry.
#[map]
static DESTROYING: LruHashMap<u64, QpEvent> =
    LruHashMap::with_max_entries(calls::DESTROYING, PER_PROCESSOR);

/// Queries under way, by thread.
#[map]
static QUERYING: LruHashMap<u64, Call> =
    LruHashMap::with_max_entries(calls::QUERYING, PER_PROCESSOR);

/// One slot: not 0 while user space lists, the only time at which queries are of interest.
#[map]
static LISTING: Array<u32> = Array::with_max_entries(1, 0);

/// See [`counter`].
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// One slot: see [`QpEvent::counted`].
#[map]
static COUNTED: Array<u32> = Array::with_max_entries(1, 0);

fn count(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the map's own slot of this CPU, which no other CPU touches; programs are not preempted by
        // themselves on one CPU.
        unsafe { *value += 1 };
    }
    if let Some(moves) = COUNTED.get_ptr_mut(0) {
        // SAFETY: the map's own slot, aligned, which lives as long as the program. Two CPUs at once may move it on only
        // once, which tells as much.
        unsafe { moves.write_volatile(moves.read_volatile().wrapping_add(1)) };
    }
}

/// See [`QpEvent::counted`].
fn counted() -> u32 {
    // SAFETY: as in `count`.
    COUNTED
        .get_ptr(0)
        .map_or(0, |moves| unsafe { moves.read_volatile() })
}

/// Remembers a thread's call until it returns.
fn keep<T>(calls: &LruHashMap<u64, T>, call: &T) {
    let thread = bpf_get_current_pid_tgid();
    if calls.get_ptr(thread).is_some() {
        // A thread is in one call at a time: the return of its former call was not seen.
        count(counter::RETURN_MISSED);
    }
    if calls.insert(thread, call, 0).is_err() {
        count(counter::CALLS_FULL);
    }
}

fn offsets() -> Option<Offsets> {
    // SAFETY: a volatile read of a valid static: the loader replaces its bytes before the program is loaded, which
    // the compiler must not assume away.
    let offsets = unsafe { core::ptr::read_volatile(&raw const OFFSETS) };
    (offsets.valid == 1).then_some(offsets)
}

/// Fills in who calls and when.
fn stamp(event: &mut QpEvent) {
    let id = bpf_get_current_pid_tgid();
    event.tgid = (id >> 32) as u32;
    event.tid = id as u32;
    // SAFETY: helpers without arguments.
    unsafe {
        event.time_ns = bpf_ktime_get_ns();
        event.cgroup_id = bpf_get_current_cgroup_id();
    }
    if let Ok(comm) = bpf_get_current_comm() {
        event.comm = comm;
    }
}

/// Reserves a record, lets `fill` write it, and submits it; counts when there is no room.
fn emit(kind: EventKind, fill: impl FnOnce(&mut QpEvent)) {
    let Some(mut record) = EVENTS.reserve::<QpEvent>(0) else {
        count(counter::RING_FULL);
        return;
    };
    let event = record.write(QpEvent::empty(kind));
    fill(event);
    event.counted = counted();
    record.submit(0);
}

/// `struct ib_qp *ib_create_qp_user(dev, pd, attr, udata, uobj, caller)`
#[kretprobe]
pub fn qp_created(context: RetProbeContext) -> u32 {
    created(&context, |_, _, _| {});
    0
}

/// `struct ib_qp *ib_create_qp_kernel(struct ib_pd *pd, struct ib_qp_init_attr *attr, const char *caller)`
#[kretprobe]
pub fn kernel_qp_created(context: RetProbeContext) -> u32 {
    created(&context, kernel::read_module);
    0
}

#[inline(always)]
fn created(context: &RetProbeContext, owner: impl FnOnce(u64, &Offsets, &mut QpEvent)) {
    let qp: u64 = context.ret();
    let Some(offsets) = offsets() else { return };
    // An ERR_PTR: nothing was created.
    if qp == 0 || qp > u64::MAX - 4095 {
        return;
    }
    emit(EventKind::Create, |event| {
        stamp(event);
        owner(qp, &offsets, event);
        kernel::read_qp(qp, &offsets, event);
    });
}

/// `int ib_modify_qp_with_udata(struct ib_qp *qp, struct ib_qp_attr *attr, int attr_mask, struct ib_udata *udata)`
#[kprobe]
pub fn qp_modify(context: ProbeContext) -> u32 {
    modify(&context, &MODIFYING);
    0
}

/// The return of [`qp_modify`]'s call.
#[kretprobe]
pub fn qp_modified(context: RetProbeContext) -> u32 {
    modified(&context, &MODIFYING, |_, _, _| {});
    0
}

/// `int ib_modify_qp(struct ib_qp *qp, struct ib_qp_attr *attr, int attr_mask)`
#[kprobe]
pub fn kernel_qp_modify(context: ProbeContext) -> u32 {
    modify(&context, &MODIFYING_IN_KERNEL);
    0
}

/// The return of [`kernel_qp_modify`]'s call.
#[kretprobe]
pub fn kernel_qp_modified(context: RetProbeContext) -> u32 {
    modified(&context, &MODIFYING_IN_KERNEL, kernel::read_module);
    0
}

#[inline(always)]
fn modify(context: &ProbeContext, calls: &LruHashMap<u64, Call>) {
    let (Some(qp), Some(attr), Some(attr_mask)) = (
        context.arg::<u64>(0),
        context.arg::<u64>(1),
        context.arg::<u32>(2),
    ) else {
        return;
    };
    let call = Call {
        qp,
        attr,
        attr_mask,
        reserved: 0,
    };
    keep(calls, &call);
}

#[inline(always)]
fn modified(
    context: &RetProbeContext,
    calls: &LruHashMap<u64, Call>,
    owner: impl FnOnce(u64, &Offsets, &mut QpEvent),
) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry belongs to this thread, which is here and not modifying it.
    let Some(call) = (unsafe { calls.get(thread) }).copied() else {
        count(counter::CALL_UNKNOWN);
        return;
    };
    let _ = calls.remove(thread);
    let Some(offsets) = offsets() else { return };
    let return_code: i32 = context.ret();
    emit(EventKind::Modify, |event| {
        stamp(event);
        owner(call.qp, &offsets, event);
        event.return_code = return_code;
        kernel::read_qp(call.qp, &offsets, event);
        kernel::read_attributes(call.attr, call.attr_mask, &offsets, event);
        if return_code == 0 {
            kernel::read_source_gid(call.qp, &offsets, event);
        }
    });
}

/// `int ib_destroy_qp_user(struct ib_qp *qp, struct ib_udata *udata)`
#[kprobe]
pub fn qp_destroy(context: ProbeContext) -> u32 {
    let Some(qp) = context.arg::<u64>(0) else {
        return 0;
    };
    let Some(offsets) = offsets() else { return 0 };
    let mut event = QpEvent::empty(EventKind::Destroy);
    if kernel::is_handle(qp, &offsets) {
        // With the last handle the kernel destroys the QP itself, in a call within this one.
        event.kind = HANDLE.code();
        keep(&DESTROYING, &event);
        return 0;
    }
    kernel::read_qp(qp, &offsets, &mut event);
    if let Some(outer) = DESTROYING.get_ptr_mut(bpf_get_current_pid_tgid())
        // SAFETY: the entry belongs to this thread, which is here and not modifying it.
        && unsafe { (*outer).kind } == HANDLE.code()
    {
        event.reserved[0] = WITHIN;
        // SAFETY: as above.
        unsafe { *outer = event };
        return 0;
    }
    keep(&DESTROYING, &event);
    0
}

/// The return of [`qp_destroy`]'s call.
#[kretprobe]
pub fn qp_destroyed(context: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry belongs to this thread, which is here and not modifying it.
    let Some(kept) = DESTROYING.get_ptr_mut(thread) else {
        count(counter::CALL_UNKNOWN);
        return 0;
    };
    // SAFETY: as above.
    let (kind, within) = unsafe { ((*kept).kind, (*kept).reserved[0] == WITHIN) };
    if kind == HANDLE.code() {
        let _ = DESTROYING.remove(thread);
        return 0;
    }
    let return_code: i32 = context.ret();
    emit(EventKind::Destroy, |event| {
        // SAFETY: as above.
        *event = unsafe { *kept };
        stamp(event);
        event.reserved = [0; 2];
        event.return_code = return_code;
    });
    if within {
        // The call for the handle has not returned yet.
        // SAFETY: as above.
        unsafe {
            (*kept).kind = HANDLE.code();
            (*kept).reserved[0] = 0;
        }
    } else {
        let _ = DESTROYING.remove(thread);
    }
    0
}

/// `int ib_query_qp(struct ib_qp *qp, struct ib_qp_attr *attr, int attr_mask, struct ib_qp_init_attr *init)`
#[kprobe]
pub fn qp_query(context: ProbeContext) -> u32 {
    if LISTING.get(0).copied().unwrap_or_default() == 0 {
        return 0;
    }
    let (Some(qp), Some(attr)) = (context.arg::<u64>(0), context.arg::<u64>(1)) else {
        return 0;
    };
    let call = Call {
        qp,
        attr,
        attr_mask: 0,
        reserved: 0,
    };
    keep(&QUERYING, &call);
    0
}

/// The return of [`qp_query`]'s call. Only a connected QP has anything to add to a listing.
#[kretprobe]
pub fn qp_queried(context: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry belongs to this thread, which is here and not modifying it.
    let Some(call) = (unsafe { QUERYING.get(thread) }).copied() else {
        return 0;
    };
    let _ = QUERYING.remove(thread);
    let Some(offsets) = offsets() else { return 0 };
    let return_code: i32 = context.ret();
    if return_code != 0 || !kernel::is_connected(call.qp, call.attr, &offsets) {
        return 0;
    }
    emit(EventKind::Query, |event| {
        stamp(event);
        kernel::read_qp(call.qp, &offsets, event);
        kernel::read_attributes(call.attr, kernel::CONNECTION, &offsets, event);
        kernel::read_source_gid(call.qp, &offsets, event);
    });
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel's licence check: GPL-only helpers (reading kernel memory, the cgroup id) need a GPL-compatible one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(bpf_target_arch = "x86_64")]
const PROCESSOR: &str = "x86_64";
#[cfg(bpf_target_arch = "aarch64")]
const PROCESSOR: &str = "aarch64";
#[cfg(not(any(bpf_target_arch = "x86_64", bpf_target_arch = "aarch64")))]
compile_error!(
    "say for which processor's kernels: --cfg=bpf_target_arch=\"x86_64\" or \"aarch64\", as `cargo xtask ebpf` does"
);

/// Read by the agent's build script and loader, which refuse an object for another processor: see [`architecture`].
#[unsafe(link_section = "rpingmesh_arch")]
#[unsafe(no_mangle)]
static ARCHITECTURE: [u8; architecture::MARK_SIZE] = architecture::mark(PROCESSOR);
