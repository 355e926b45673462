//! UD queue pairs, what they are made from, and what they carry.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdma_core_sys::abi;

use crate::queue::{Completions, Done, Queue, locked, refusal, shared};
use crate::table::Device;
use crate::{device, fail, set_errno, world};

/// How soon a queue pair's thread sees that it is to end.
const IDLE: Duration = Duration::from_millis(20);
/// Length of what precedes the payload of a received datagram.
const GRH: usize = 40;
/// Length of what precedes the payload on loopback: both GIDs, the sender's number, the key, the traffic class.
const HEADER: usize = 16 + 16 + 4 + 4 + 1;

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_alloc_pd(context: *mut abi::ibv_context) -> *mut abi::ibv_pd {
    Box::into_raw(Box::new(abi::ibv_pd { context, handle: 0 }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_dealloc_pd(domain: *mut abi::ibv_pd) -> c_int {
    // SAFETY: freed once.
    drop(unsafe { Box::from_raw(domain) });
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_reg_mr(
    pd: *mut abi::ibv_pd,
    addr: *mut c_void,
    length: usize,
    _: c_int,
) -> *mut abi::ibv_mr {
    // SAFETY: the domain is alive.
    let context = unsafe { (*pd).context };
    Box::into_raw(Box::new(abi::ibv_mr {
        context,
        pd,
        addr,
        length,
        handle: 0,
        lkey: 7,
        rkey: 0,
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_dereg_mr(region: *mut abi::ibv_mr) -> c_int {
    // SAFETY: freed once.
    drop(unsafe { Box::from_raw(region) });
    0
}

#[repr(C)]
struct Handle {
    raw: abi::ibv_ah,
    attr: abi::ibv_ah_attr,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_ah(
    pd: *mut abi::ibv_pd,
    attr: *mut abi::ibv_ah_attr,
) -> *mut abi::ibv_ah {
    // SAFETY: the domain is alive and the attributes are complete; a GID is any bytes.
    unsafe {
        let attr = *attr;
        let grh = attr.grh;
        world::log(&format!(
            "ah label {} class {} level {} index {} port {} hops {}",
            grh.flow_label,
            grh.traffic_class,
            attr.sl,
            grh.sgid_index,
            attr.port_num,
            grh.hop_limit
        ));
        let raw = abi::ibv_ah {
            context: (*pd).context,
            pd,
            handle: 0,
        };
        Box::into_raw(Box::new(Handle { raw, attr })).cast()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_ah(handle: *mut abi::ibv_ah) -> c_int {
    // SAFETY: freed once.
    drop(unsafe { Box::from_raw(handle.cast::<Handle>()) });
    0
}

/// Buffers of a receive: address and length of each piece.
struct Buffers {
    id: u64,
    pieces: Vec<(usize, usize)>,
}

/// What a queue pair's thread needs.
struct Receiver {
    socket: UdpSocket,
    completions: Arc<Completions>,
    receives: Mutex<VecDeque<Buffers>>,
    device: String,
    port: AtomicU32,
    key: AtomicU32,
    stop: AtomicBool,
}

#[repr(C)]
struct Pair {
    raw: abi::ibv_qp,
    receiver: Arc<Receiver>,
    sends: Arc<Completions>,
    thread: Option<JoinHandle<()>>,
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
        if let Some(errno) = refusal(&device, true, stamps) {
            return fail(errno);
        }
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else {
            return fail(libc::ENOMEM);
        };
        let number = socket.local_addr().map_or(0, |address| address.port());
        if socket.set_read_timeout(Some(IDLE)).is_err() {
            return fail(libc::ENOMEM);
        }
        let receiver = Arc::new(Receiver {
            socket,
            completions: Arc::clone(shared((*attr).recv_cq.cast())),
            receives: Mutex::default(),
            device: device.name,
            port: AtomicU32::new(1),
            key: AtomicU32::new(0),
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
            thread: Some(thread),
        };
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
        let receiver = &(*pair).receiver;
        if mask & abi::IBV_QP_PORT != 0 {
            let port = u32::from((*attr).port_num);
            receiver.port.store(port, Ordering::Relaxed);
        }
        if mask & abi::IBV_QP_QKEY != 0 {
            receiver.key.store((*attr).qkey, Ordering::Relaxed);
        }
        if mask & abi::IBV_QP_STATE != 0 {
            (*pair).raw.state = (*attr).qp_state;
            if (*attr).qp_state == abi::IBV_QPS_RESET {
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
    // SAFETY: the queue pair is alive and the struct writable.
    unsafe { (*attr).qp_state = (*pair).state };
    0
}

pub(crate) unsafe extern "C" fn post_recv(
    pair: *mut abi::ibv_qp,
    mut request: *mut abi::ibv_recv_wr,
    _: *mut *mut abi::ibv_recv_wr,
) -> c_int {
    let pair: *mut Pair = pair.cast();
    // SAFETY: the queue pair is alive and the list is complete.
    unsafe {
        let receiver = &(*pair).receiver;
        let mut receives = locked(&receiver.receives);
        while !request.is_null() {
            receives.push_back(Buffers {
                id: (*request).wr_id,
                pieces: pieces((*request).sg_list, (*request).num_sge),
            });
            request = (*request).next;
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
        while !request.is_null() {
            if (*pair).raw.state != abi::IBV_QPS_RTS {
                *bad = request;
                set_errno(libc::EINVAL);
                return libc::EINVAL;
            }
            let to = (*request).wr.ud;
            let attr = (*to.ah.cast::<Handle>()).attr;
            let mut packet = header(&device, &attr, (*pair).raw.qp_num, to.remote_qkey);
            for (at, length) in pieces((*request).sg_list, (*request).num_sge) {
                let bytes: *const u8 = ptr::with_exposed_provenance(at);
                packet.extend(std::slice::from_raw_parts(bytes, length));
            }
            let port = u16::try_from(to.remote_qpn).unwrap_or(0);
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let done = (*pair).sends.stamped(Done {
                id: (*request).wr_id,
                ..Done::default()
            });
            // Nobody may be there: a datagram that nobody takes is lost.
            let receiver = &(*pair).receiver;
            let _ = receiver.socket.send_to(&packet, target);
            (*pair).sends.push(done);
            request = (*request).next;
        }
    }
    0
}

fn header(device: &Device, attr: &abi::ibv_ah_attr, number: u32, key: u32) -> Vec<u8> {
    let own = device
        .gids
        .iter()
        .find(|gid| gid.port == attr.port_num && gid.index == u32::from(attr.grh.sgid_index));
    let mut packet = Vec::with_capacity(256);
    packet.extend(own.map_or([0; 16], |gid| gid.bytes));
    // SAFETY: any bytes are a GID.
    packet.extend(unsafe { attr.grh.dgid.raw });
    packet.extend(number.to_be_bytes());
    packet.extend(key.to_be_bytes());
    packet.push(attr.grh.traffic_class);
    packet
}

impl Receiver {
    fn run(&self) {
        let mut packet = [0; 4096];
        while !self.stop.load(Ordering::Relaxed) {
            // Time is up, or nobody took what was sent to somebody.
            let Ok(length) = self.socket.recv(&mut packet) else {
                continue;
            };
            self.take(&packet[..length]);
        }
    }

    fn take(&self, packet: &[u8]) {
        let Some((header, payload)) = packet.split_first_chunk::<HEADER>() else {
            return;
        };
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (source, target) = (&header[..16], &header[16..32]);
        let device = world::device(&self.device).unwrap_or_default();
        let port = self.port.load(Ordering::Relaxed);
        let ours = device.gids.iter().any(|gid| {
            gid.kind == abi::IBV_GID_TYPE_ROCE_V2
                && u32::from(gid.port) == port
                && gid.bytes == *target
        });
        if !ours || word(36) != self.key.load(Ordering::Relaxed) {
            return;
        }
        let mut receives = locked(&self.receives);
        let Some(buffers) = receives.pop_front() else {
            return;
        };
        let mut whole = grh(source, target, header[40], payload.len()).to_vec();
        whole.extend(payload);
        let mut rest = &whole[..];
        for (at, room) in &buffers.pieces {
            let (now, later) = rest.split_at(rest.len().min(*room));
            let to: *mut u8 = ptr::with_exposed_provenance_mut(*at);
            // SAFETY: a posted buffer is valid until its completion, or until the queue pair is reset, which waits for
            // the lock that is held here.
            unsafe { ptr::copy_nonoverlapping(now.as_ptr(), to, now.len()) };
            rest = later;
        }
        let done = Done {
            id: buffers.id,
            length: u32::try_from(whole.len()).unwrap_or(u32::MAX),
            source: word(32),
            flags: abi::IBV_WC_GRH,
            ..Done::default()
        };
        self.completions.push(self.completions.stamped(done));
    }
}

/// What a UD queue pair finds before a datagram: the IPv6 header, or twenty bytes of nothing and the IPv4 header.
fn grh(source: &[u8], target: &[u8], class: u8, payload: usize) -> [u8; GRH] {
    let mut grh = [0; GRH];
    if source[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] {
        let length = u16::try_from(20 + 8 + 12 + 8 + payload + 4).unwrap_or(u16::MAX);
        let ip = &mut grh[20..];
        ip[0] = 0x45;
        ip[1] = class;
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        (ip[8], ip[9]) = (64, 17);
        ip[12..16].copy_from_slice(&source[12..]);
        ip[16..20].copy_from_slice(&target[12..]);
        let sum: u32 = ip
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let check = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
        ip[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        grh[0] = 0x60 | class >> 4;
        grh[1] = class << 4;
        (grh[6], grh[7]) = (17, 64);
        grh[8..24].copy_from_slice(source);
        grh[24..].copy_from_slice(target);
    }
    grh
}
