//! Devices, their ports and GID tables, and asynchronous events.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::{MaybeUninit, offset_of, zeroed};
use std::ptr;

use rdma_core_sys::abi;

use crate::faults::{anything, high, low, refused};
use crate::table::{Clock, Device, Port};
use crate::{clock, fail, pair, queue, set_errno, world};

/// A listed device.
#[repr(C)]
struct Listed {
    raw: abi::ibv_device,
}

/// An open device. The program sees `verbs.context`.
#[repr(C)]
struct Context {
    verbs: abi::verbs_context,
    /// Writing end of the pipe of events.
    events: c_int,
}

fn copy_name(name: &str, to: &mut [c_char]) {
    let room = to.len().saturating_sub(1);
    for (to, from) in to.iter_mut().zip(name.bytes().take(room)) {
        *to = c_char::from_ne_bytes([from]);
    }
}

/// The table's device behind a context.
///
/// # Safety
/// The context is open.
pub(crate) unsafe fn spec(context: *mut abi::ibv_context) -> Device {
    // SAFETY: the caller's promise; the name was written by `copy_name`, zero at the end.
    let name = unsafe { CStr::from_ptr((*(*context).device).name.as_ptr()) };
    world::device(&name.to_string_lossy()).unwrap_or_default()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_device_list(count: *mut c_int) -> *mut *mut abi::ibv_device {
    let mut list: Vec<*mut abi::ibv_device> = world::devices()
        .iter()
        .map(|device| {
            let address = world::listed(&device.name, || {
                // SAFETY: the struct holds integers and optional functions, for which all zero is a value.
                let mut listed: Box<Listed> = Box::new(unsafe { zeroed() });
                copy_name(&device.name, &mut listed.raw.name);
                listed.raw.node_type = 1;
                listed.raw.transport_type = device.transport;
                Box::into_raw(listed).expose_provenance()
            });
            ptr::with_exposed_provenance_mut(address)
        })
        .collect();
    if !count.is_null() {
        // SAFETY: the caller gives a writable count.
        unsafe { *count = c_int::try_from(list.len()).unwrap_or(0) };
    }
    list.push(ptr::null_mut());
    Box::into_raw(list.into_boxed_slice()).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_free_device_list(list: *mut *mut abi::ibv_device) {
    let mut length = 1;
    // SAFETY: the list is one of `ibv_get_device_list`, with null at its end.
    unsafe {
        while !(*list.add(length - 1)).is_null() {
            length += 1;
        }
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut(list, length)));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_device_name(device: *mut abi::ibv_device) -> *const c_char {
    // SAFETY: listed devices live as long as the process.
    unsafe { (*device).name.as_ptr() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_open_device(device: *mut abi::ibv_device) -> *mut abi::ibv_context {
    // SAFETY: listed devices live as long as the process; their names end with zero.
    let name = unsafe { CStr::from_ptr((*device).name.as_ptr()) };
    let name = name.to_string_lossy().into_owned();
    let Some(spec) = world::device(&name) else {
        return fail(libc::ENODEV);
    };
    if spec.open_errno != 0 {
        return fail(spec.open_errno);
    }
    if let Some(errno) = refused(&spec, "ibv_open_device") {
        return fail(errno);
    }
    let mut pipe = [0; 2];
    // SAFETY: the array is writable.
    if unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
        return ptr::null_mut();
    }
    world::log(&format!("open {name}"));
    // SAFETY: the struct holds integers, pointers and optional functions, for which all zero is a value.
    let mut context: Box<Context> = Box::new(unsafe { zeroed() });
    context.events = pipe[1];
    context.verbs.sz = size_of::<abi::verbs_context>();
    context.verbs.query_port = Some(query_port);
    context.verbs.query_device_ex = Some(query_device_ex);
    context.verbs.create_cq_ex = Some(queue::create_cq_ex);
    let raw = &mut context.verbs.context;
    raw.device = device;
    raw.async_fd = pipe[0];
    raw.abi_compat = ptr::without_provenance_mut(usize::MAX);
    raw.ops.poll_cq = Some(queue::poll_cq);
    raw.ops.req_notify_cq = Some(queue::req_notify_cq);
    raw.ops.post_send = Some(pair::post_send);
    raw.ops.post_recv = Some(pair::post_recv);
    let context = Box::into_raw(context);
    // SAFETY: the box was just made.
    let context = unsafe { &raw mut (*context).verbs.context };
    world::opened(context.addr(), &name, pipe[1]);
    context
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_close_device(context: *mut abi::ibv_context) -> c_int {
    world::closed(context.addr());
    // SAFETY: the context is the last member of the first member of a `Context` that `ibv_open_device` made.
    let context: *mut Context = unsafe {
        context
            .byte_sub(offset_of!(abi::verbs_context, context))
            .cast()
    };
    // SAFETY: closed once, and nobody writes to its pipe any more.
    unsafe {
        let context = Box::from_raw(context);
        libc::close(context.events);
        libc::close(context.verbs.context.async_fd);
    }
    0
}

unsafe extern "C" fn query_device_ex(
    context: *mut abi::ibv_context,
    _: *const abi::ibv_query_device_ex_input,
    attr: *mut abi::ibv_device_attr_ex,
    _: usize,
) -> c_int {
    // SAFETY: the context is open and the struct writable; all zero is a value of it.
    unsafe {
        let device = spec(context);
        if let Some(errno) = refused(&device, "ibv_query_device_ex") {
            return errno;
        }
        attr.write_bytes(0, 1);
        let basic = &mut (*attr).orig_attr;
        copy_name("1.2.3", &mut basic.fw_ver);
        basic.max_qp_wr = 4_096;
        basic.max_cqe = 1 << 20;
        basic.phys_port_cnt = u8::try_from(device.ports.len()).unwrap_or(u8::MAX);
        if let Some(Clock { bits, khz }) = device.clock {
            (*attr).completion_timestamp_mask = clock::mask(bits);
            (*attr).hca_core_clock = khz;
        }
        if let Some(number) = anything(&device) {
            basic.max_qp_wr = high(number).cast_signed();
            basic.max_cqe = low(number).cast_signed();
            basic.phys_port_cnt = number.to_le_bytes()[3];
            basic
                .fw_ver
                .fill(c_char::from_ne_bytes([number.to_le_bytes()[4] | 1]));
            (*attr).completion_timestamp_mask = number;
            (*attr).hca_core_clock = number.rotate_left(7);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_device(
    context: *mut abi::ibv_context,
    attr: *mut abi::ibv_device_attr,
) -> c_int {
    let mut whole = MaybeUninit::<abi::ibv_device_attr_ex>::uninit();
    // SAFETY: the context is open and both structs are writable; the first call fills the one that is read.
    unsafe {
        let size = size_of::<abi::ibv_device_attr_ex>();
        let result = query_device_ex(context, ptr::null(), whole.as_mut_ptr(), size);
        *attr = whole.assume_init().orig_attr;
        result
    }
}

unsafe extern "C" fn query_port(
    context: *mut abi::ibv_context,
    number: u8,
    attr: *mut abi::ibv_port_attr,
    _: usize,
) -> c_int {
    // SAFETY: the context is open.
    let device = unsafe { spec(context) };
    if let Some(errno) = refused(&device, "ibv_query_port") {
        return errno;
    }
    let found = device.ports.iter().find(|port| port.number == number);
    let Some(port) = found else {
        return libc::EINVAL;
    };
    if port.errno != 0 {
        return port.errno;
    }
    let mut answer = attributes(port);
    if let Some(number) = anything(&device) {
        answer.state = high(number) % 8;
        answer.link_layer = number.to_le_bytes()[0] % 5;
        answer.active_mtu = low(number) % 9;
        answer.gid_tbl_len = low(number).cast_signed();
    }
    // SAFETY: the struct is writable.
    unsafe { attr.write(answer) };
    0
}

fn attributes(port: &Port) -> abi::ibv_port_attr {
    abi::ibv_port_attr {
        state: port.state,
        link_layer: port.link_layer,
        active_mtu: port.mtu,
        max_mtu: port.mtu,
        gid_tbl_len: port.gids,
        ..abi::ibv_port_attr::default()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_port(
    context: *mut abi::ibv_context,
    number: u8,
    attr: *mut abi::ibv_port_attr,
) -> c_int {
    // SAFETY: as for the other; whoever has a context with an extended table takes that.
    unsafe { query_port(context, number, attr, size_of::<abi::ibv_port_attr>()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_gid(
    context: *mut abi::ibv_context,
    port: u8,
    index: c_int,
    gid: *mut abi::ibv_gid,
) -> c_int {
    // SAFETY: the context is open.
    let device = unsafe { spec(context) };
    if let Some(errno) = refused(&device, "ibv_query_gid") {
        return errno;
    }
    let found = device
        .gids
        .iter()
        .find(|one| one.port == port && i64::from(one.index) == i64::from(index));
    let raw = found.map_or([0; 16], |one| one.bytes);
    // SAFETY: the union is writable.
    unsafe { gid.write(abi::ibv_gid { raw }) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _ibv_query_gid_table(
    context: *mut abi::ibv_context,
    entries: *mut abi::ibv_gid_entry,
    room: usize,
    _: u32,
    _: usize,
) -> isize {
    // SAFETY: the context is open.
    let device = unsafe { spec(context) };
    if device.gid_errno != 0 {
        return -(device.gid_errno as isize);
    }
    if let Some(errno) = refused(&device, "_ibv_query_gid_table") {
        return -(errno as isize);
    }
    let gids = device.gids.iter().take(room);
    let mut count = 0;
    for (at, gid) in gids.enumerate() {
        let entry = abi::ibv_gid_entry {
            gid: abi::ibv_gid { raw: gid.bytes },
            gid_index: gid.index,
            port_num: u32::from(gid.port),
            gid_type: gid.kind,
            ndev_ifindex: gid.interface,
        };
        // SAFETY: the array has this much room.
        unsafe { entries.add(at).write(entry) };
        count += 1;
    }
    // More than are there, more than there was room for, or less than none.
    anything(&device).map_or(count, |number| low(number).cast_signed() as isize)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_async_event(
    context: *mut abi::ibv_context,
    event: *mut abi::ibv_async_event,
) -> c_int {
    // SAFETY: the context is open.
    let device = unsafe { spec(context) };
    // Before the event is taken, as a system call that is interrupted.
    if !device.name.is_empty()
        && let Some(errno) = refused(&device, "ibv_get_async_event")
    {
        set_errno(errno);
        return -1;
    }
    let mut words = [0i32; 2];
    let room = size_of_val(&words);
    // SAFETY: the context is open and the array writable.
    let got = unsafe {
        libc::read(
            (*context).async_fd,
            words.as_mut_ptr().cast::<c_void>(),
            room,
        )
    };
    if usize::try_from(got) != Ok(room) {
        if got >= 0 {
            set_errno(libc::EAGAIN);
        }
        return -1;
    }
    // SAFETY: the struct is writable.
    unsafe {
        event.write(abi::ibv_async_event {
            element: abi::ibv_async_event_element { port_num: words[0] },
            event_type: u32::from_ne_bytes(words[1].to_ne_bytes()),
        });
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_ack_async_event(_: *mut abi::ibv_async_event) {}
