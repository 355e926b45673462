//! UD queue pairs.

use std::ffi::c_int;
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdma_core_sys::abi;

use crate::carry::{Buffers, Receiver, header, source_port};
use crate::faults::{anything, high, low, refused};
use crate::objects::Handle;
use crate::queue::{Completions, Done, Queue, locked, refusal, shared};
use crate::table::{Device, Port};
use crate::{clock, device, fail, set_errno, world};

/// How soon a queue pair's thread sees that it is to end.
const IDLE: Duration = Duration::from_millis(20);

#[repr(C)]
struct Pair {
    raw: abi::ibv_qp,
    receiver: Arc<Receiver>,
    sends: Arc<Completions>,
    /// Requests that were posted.
    posted: u64,
    thread: Option<JoinHandle<()>>,
}

/// A socket for a queue pair, and its number.
fn socket() -> Option<(UdpSocket, u16)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket.set_read_timeout(Some(IDLE)).ok()?;
    let number = socket.local_addr().ok()?.port();
    Some((socket, number))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_qp(
    pd: *mut abi::ibv_pd,
    attr: *mut abi::ibv_qp_init_attr,
) -> *mut abi::ibv_qp {
    // SAFETY: the domain is alive, the attributes are complete, and the completion queues are of this library.
    unsafe {
        let context = (*pd).context;
        let device = device::spec(context);
        let queue: *mut Queue = (*attr).send_cq.cast();
        let stamps = (*queue).stamps;
        world::log(&format!("qp {} {stamps:?}", device.name));
        let refused = refusal(&device, true, stamps).or_else(|| refused(&device, "ibv_create_qp"));
        if let Some(errno) = refused {
            return fail(errno);
        }
        let Some((socket, number)) = socket() else {
            return fail(libc::ENOMEM);
        };
        let receiver = Arc::new(Receiver {
            socket,
            completions: Arc::clone(shared((*attr).recv_cq.cast())),
            receives: Mutex::default(),
            device: device.name,
            port: AtomicU32::new(1),
            key: AtomicU32::new(0),
            state: AtomicU32::new(abi::IBV_QPS_RESET),
            taken: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let thread = {
            let receiver = Arc::clone(&receiver);
            thread::spawn(move || receiver.run())
        };
        let mut raw: abi::ibv_qp = zeroed();
        (raw.context, raw.pd, raw.qp_num) = (context, pd, u32::from(number));
        (*attr).cap.max_inline_data = 0;
        let pair = Pair {
            raw,
            receiver,
            sends: Arc::clone(shared(queue)),
            posted: 0,
            thread: Some(thread),
        };
        world::count(context, 1);
        Box::into_raw(Box::new(pair)).cast()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_qp(pair: *mut abi::ibv_qp) -> c_int {
    // SAFETY: destroyed once.
    let mut pair = unsafe { Box::from_raw(pair.cast::<Pair>()) };
    pair.receiver.stop.store(true, Ordering::Relaxed);
    if let Some(thread) = pair.thread.take() {
        // A thread that panicked has said so.
        let _ = thread.join();
    }
    world::count(pair.raw.context, -1);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_modify_qp(
    pair: *mut abi::ibv_qp,
    attr: *mut abi::ibv_qp_attr,
    mask: c_int,
) -> c_int {
    let pair: *mut Pair = pair.cast();
    // SAFETY: the queue pair is alive and the attributes are complete.
    unsafe {
        let device = device::spec((*pair).raw.context);
        if let Some(errno) = refused(&device, "ibv_modify_qp") {
            return errno;
        }
        let receiver = &(*pair).receiver;
        if mask & abi::IBV_QP_PORT != 0 {
            let port = u32::from((*attr).port_num);
            receiver.port.store(port, Ordering::Relaxed);
        }
        if mask & abi::IBV_QP_QKEY != 0 {
            receiver.key.store((*attr).qkey, Ordering::Relaxed);
        }
        if mask & abi::IBV_QP_STATE != 0 {
            let state = (*attr).qp_state;
            (*pair).raw.state = state;
            receiver.state.store(state, Ordering::Relaxed);
            if state == abi::IBV_QPS_RESET {
                locked(&receiver.receives).clear();
            }
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_qp(
    pair: *mut abi::ibv_qp,
    attr: *mut abi::ibv_qp_attr,
    _: c_int,
    _: *mut abi::ibv_qp_init_attr,
) -> c_int {
    let pair: *mut Pair = pair.cast();
    // SAFETY: the queue pair is alive and the struct writable.
    unsafe {
        let device = device::spec((*pair).raw.context);
        if let Some(errno) = refused(&device, "ibv_query_qp") {
            return errno;
        }
        let receiver = &(*pair).receiver;
        let state = receiver.state.load(Ordering::Relaxed);
        (*attr).qp_state = anything(&device).map_or(state, |number| low(number) % 9);
    }
    0
}

pub(crate) unsafe extern "C" fn post_recv(
    pair: *mut abi::ibv_qp,
    mut request: *mut abi::ibv_recv_wr,
    bad: *mut *mut abi::ibv_recv_wr,
) -> c_int {
    let pair: *mut Pair = pair.cast();
    // SAFETY: the queue pair is alive and the list is complete.
    unsafe {
        let device = device::spec((*pair).raw.context);
        let receiver = &(*pair).receiver;
        while !request.is_null() {
            if let Some(errno) = refused(&device, "ibv_post_recv") {
                *bad = request;
                return errno;
            }
            locked(&receiver.receives).push_back(Buffers {
                id: (*request).wr_id,
                pieces: pieces((*request).sg_list, (*request).num_sge),
            });
            request = (*request).next;
        }
        if receiver.state.load(Ordering::Relaxed) == abi::IBV_QPS_ERR {
            receiver.fail();
        }
    }
    0
}

/// # Safety
/// The list has that many pieces.
unsafe fn pieces(list: *const abi::ibv_sge, count: c_int) -> Vec<(usize, usize)> {
    (0..usize::try_from(count).unwrap_or(0))
        .map(|at| {
            // SAFETY: the caller's promise.
            let piece = unsafe { *list.add(at) };
            (
                usize::try_from(piece.addr).unwrap_or(0),
                piece.length as usize,
            )
        })
        .collect()
}

pub(crate) unsafe extern "C" fn post_send(
    pair: *mut abi::ibv_qp,
    mut request: *mut abi::ibv_send_wr,
    bad: *mut *mut abi::ibv_send_wr,
) -> c_int {
    let pair: *mut Pair = pair.cast();
    // SAFETY: the queue pair is alive, the list and what it points to are complete, the handles are of this library.
    unsafe {
        let device = device::spec((*pair).raw.context);
        let receiver = &(*pair).receiver;
        while !request.is_null() {
            let state = receiver.state.load(Ordering::Relaxed);
            let refused = match state {
                abi::IBV_QPS_RTS | abi::IBV_QPS_ERR => refused(&device, "ibv_post_send"),
                _ => Some(libc::EINVAL),
            };
            if let Some(errno) = refused {
                *bad = request;
                set_errno(errno);
                return errno;
            }
            (*pair).posted += 1;
            send(&*pair, &device, &*request, state);
            request = (*request).next;
        }
    }
    0
}

/// Sends a datagram, unless the queue pair is in error or comes into error with it, and completes the request.
///
/// # Safety
/// What the request points to is complete, and its address handle of this library.
unsafe fn send(pair: &Pair, device: &Device, request: &abi::ibv_send_wr, state: u32) {
    let mut done = Done {
        id: request.wr_id,
        ..Done::default()
    };
    let departure = clock::now();
    if state == abi::IBV_QPS_ERR {
        done.status = abi::IBV_WC_WR_FLUSH_ERR;
    } else if let Some((_, status)) = device
        .send_error
        .filter(|(nth, _)| pair.posted.is_multiple_of(*nth))
    {
        done.status = status;
    } else {
        // SAFETY: the caller's promise.
        unsafe { depart(pair, device, request, departure) };
    }
    let failed = done.status != abi::IBV_WC_SUCCESS;
    if let Some(number) = anything(device) {
        // Another request, one that there is not, or the same once more.
        done.id = if number % 2 == 0 { number } else { done.id ^ 1 };
        done.status = high(number) % 25;
        pair.sends.push(done);
    }
    pair.sends.push(done.stamped(device, departure));
    if failed {
        pair.receiver.fail();
    }
}

/// # Safety
/// What the request points to is complete, and its address handle of this library.
unsafe fn depart(pair: &Pair, device: &Device, request: &abi::ibv_send_wr, departure: u64) {
    // SAFETY: a UD request, and the caller's promise.
    let (to, attr) = unsafe {
        let to = request.wr.ud;
        (to, (*to.ah.cast::<Handle>()).attr)
    };
    let number = pair.raw.qp_num;
    let mut packet = header(device, &attr, (number, &to), departure);
    // SAFETY: the caller's promise.
    for (at, length) in unsafe { pieces(request.sg_list, request.num_sge) } {
        let bytes: *const u8 = ptr::with_exposed_provenance(at);
        // SAFETY: the caller's promise.
        packet.extend(unsafe { std::slice::from_raw_parts(bytes, length) });
    }
    let label = attr.grh.flow_label;
    world::log(&format!(
        "sent {} label {label} class {} level {} port {} source {} to {}",
        device.name,
        attr.grh.traffic_class,
        attr.sl,
        attr.port_num,
        source_port(device, label, number),
        to.remote_qpn
    ));
    let is_up = |port: &Port| port.number == attr.port_num && port.state == abi::IBV_PORT_ACTIVE;
    if !device.ports.iter().any(is_up) {
        return;
    }
    let receiver = u16::try_from(to.remote_qpn).unwrap_or(0);
    let port = device.fabric.unwrap_or(receiver);
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Nobody may be there: a datagram that nobody takes is lost.
    let _ = pair.receiver.socket.send_to(&packet, target);
}
