//! Completion channels and queues, and the clocks that stamp.

use std::collections::VecDeque;
use std::ffi::{c_int, c_uint, c_void};
use std::mem::zeroed;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdma_core_sys::abi;

use crate::faults::{anything, code, refused};
use crate::table::{Device, Stamps};
use crate::{clock, device, fail, set_errno, world};

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A completion with all that may be asked of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) id: u64,
    pub(crate) status: u32,
    pub(crate) length: u32,
    pub(crate) source: u32,
    pub(crate) flags: c_uint,
    pub(crate) ticks: u64,
    pub(crate) nanos: u64,
}

#[derive(Default)]
struct Ready {
    waiting: VecDeque<Done>,
    current: Done,
    armed: bool,
    /// It has overrun.
    overran: bool,
}

/// The part of a completion queue that the threads of queue pairs share.
pub(crate) struct Completions {
    ready: Mutex<Ready>,
    /// What it holds at most.
    entries: usize,
    context: usize,
    /// Notifications go to this channel, as an event of this queue.
    channel: usize,
    queue: usize,
}

impl Done {
    /// As the device stamps it at this moment of the host's clock.
    pub(crate) fn stamped(mut self, device: &Device, at: u64) -> Self {
        (self.ticks, self.nanos) = clock::shown(device, at);
        if let Some(number) = anything(device) {
            (self.ticks, self.nanos) = (number, number.rotate_left(11));
        }
        self
    }
}

impl Completions {
    pub(crate) fn push(&self, done: Done) {
        let mut ready = locked(&self.ready);
        if ready.waiting.len() >= self.entries {
            let is_first = !std::mem::replace(&mut ready.overran, true);
            drop(ready);
            if is_first {
                let context = ptr::with_exposed_provenance_mut(self.context);
                world::notify(context, abi::IBV_EVENT_CQ_ERR, 0);
            }
            return;
        }
        ready.waiting.push_back(done);
        let armed = std::mem::take(&mut ready.armed);
        drop(ready);
        if armed && self.channel != 0 {
            let channel: *mut Channel = ptr::with_exposed_provenance_mut(self.channel);
            // SAFETY: a completion queue keeps its channel: it is destroyed before that one.
            unsafe { (*channel).notify(self.queue) };
        }
    }
}

/// A completion queue. The program sees `raw`, or its beginning where it is a plain one.
#[repr(C)]
pub(crate) struct Queue {
    raw: abi::ibv_cq_ex,
    shared: Option<Arc<Completions>>,
    pub(crate) stamps: Option<Stamps>,
}

#[repr(C)]
struct Channel {
    raw: abi::ibv_comp_channel,
    notified: Mutex<VecDeque<usize>>,
}

impl Channel {
    fn notify(&self, queue: usize) {
        locked(&self.notified).push_back(queue);
        let one = 1u64;
        // SAFETY: the descriptor is the channel's own; an eventfd takes eight bytes.
        let written = unsafe { libc::write(self.raw.fd, (&raw const one).cast::<c_void>(), 8) };
        // The counter cannot be full.
        let _ = written;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_comp_channel(
    context: *mut abi::ibv_context,
) -> *mut abi::ibv_comp_channel {
    // SAFETY: the context is open.
    let device = unsafe { device::spec(context) };
    if let Some(errno) = refused(&device, "ibv_create_comp_channel") {
        return fail(errno);
    }
    world::count(context, 1);
    // SAFETY: a plain system call.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE) };
    let channel = Channel {
        raw: abi::ibv_comp_channel {
            context,
            fd,
            refcnt: 0,
        },
        notified: Mutex::default(),
    };
    Box::into_raw(Box::new(channel)).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_comp_channel(channel: *mut abi::ibv_comp_channel) -> c_int {
    // SAFETY: destroyed once, after its completion queues.
    unsafe {
        let channel = Box::from_raw(channel.cast::<Channel>());
        world::count(channel.raw.context, -1);
        libc::close(channel.raw.fd)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_cq_event(
    channel: *mut abi::ibv_comp_channel,
    queue: *mut *mut abi::ibv_cq,
    context: *mut *mut c_void,
) -> c_int {
    let channel: *mut Channel = channel.cast();
    let mut count = 0u64;
    // SAFETY: the channel is alive and the pointers writable.
    unsafe {
        let device = device::spec((*channel).raw.context);
        if !device.name.is_empty()
            && let Some(errno) = refused(&device, "ibv_get_cq_event")
        {
            set_errno(errno);
            return -1;
        }
        if libc::read((*channel).raw.fd, (&raw mut count).cast(), 8) != 8 {
            return -1;
        }
        let notified = locked(&(*channel).notified).pop_front();
        *queue = ptr::with_exposed_provenance_mut(notified.unwrap_or(0));
        *context = ptr::null_mut();
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_ack_cq_events(_: *mut abi::ibv_cq, _: c_uint) {}

/// Why a device refuses.
pub(crate) fn refusal(device: &Device, queue_pair: bool, stamps: Option<Stamps>) -> Option<c_int> {
    let found = device
        .refusals
        .iter()
        .find(|refusal| refusal.queue_pair == queue_pair && Some(refusal.stamps) == stamps);
    found.map(|refusal| refusal.errno)
}

/// # Safety
/// Context and channel are alive and belong together.
unsafe fn make_queue(
    context: *mut abi::ibv_context,
    channel: *mut abi::ibv_comp_channel,
    stamps: Option<Stamps>,
    entries: u32,
) -> *mut Queue {
    // SAFETY: the caller's promise.
    let device = unsafe { device::spec(context) };
    world::log(&format!("cq {} {stamps:?}", device.name));
    let refused = refusal(&device, false, stamps).or_else(|| refused(&device, "ibv_create_cq"));
    if let Some(errno) = refused {
        return fail(errno);
    }
    world::count(context, 1);
    // SAFETY: the struct holds integers, pointers and optional functions, for which all zero is a value.
    let raw: abi::ibv_cq_ex = unsafe { zeroed() };
    let queue = Box::into_raw(Box::new(Queue {
        raw,
        shared: None,
        stamps,
    }));
    let shared = Completions {
        ready: Mutex::default(),
        entries: device.entries.unwrap_or(entries as usize),
        context: context.expose_provenance(),
        channel: channel.expose_provenance(),
        queue: queue.expose_provenance(),
    };
    // SAFETY: the box was just made.
    unsafe {
        (*queue).shared = Some(Arc::new(shared));
        let raw = &mut (*queue).raw;
        (raw.context, raw.channel) = (context, channel);
        raw.start_poll = Some(start_poll);
        raw.next_poll = Some(next_poll);
        raw.end_poll = Some(end_poll);
        raw.read_byte_len = Some(read_byte_len);
        raw.read_src_qp = Some(read_src_qp);
        raw.read_wc_flags = Some(read_wc_flags);
        match stamps {
            Some(Stamps::Wall) => raw.read_completion_wallclock_ns = Some(read_nanos),
            Some(Stamps::Raw) => raw.read_completion_ts = Some(read_ticks),
            Some(Stamps::None) | None => {}
        }
    }
    queue
}

pub(crate) unsafe extern "C" fn create_cq_ex(
    context: *mut abi::ibv_context,
    attr: *mut abi::ibv_cq_init_attr_ex,
) -> *mut abi::ibv_cq_ex {
    // SAFETY: the context is open and the attributes are complete.
    unsafe {
        let flags = (*attr).wc_flags;
        let stamps = if flags & abi::IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK != 0 {
            Stamps::Wall
        } else if flags & abi::IBV_WC_EX_WITH_COMPLETION_TIMESTAMP != 0 {
            Stamps::Raw
        } else {
            Stamps::None
        };
        make_queue(context, (*attr).channel, Some(stamps), (*attr).cqe).cast()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_cq(
    context: *mut abi::ibv_context,
    entries: c_int,
    _: *mut c_void,
    channel: *mut abi::ibv_comp_channel,
    _: c_int,
) -> *mut abi::ibv_cq {
    let entries = u32::try_from(entries).unwrap_or(0);
    // SAFETY: the caller gives what is alive.
    unsafe { make_queue(context, channel, None, entries).cast() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_cq(queue: *mut abi::ibv_cq) -> c_int {
    // SAFETY: destroyed once, after its queue pairs.
    let queue = unsafe { Box::from_raw(queue.cast::<Queue>()) };
    world::count(queue.raw.context, -1);
    0
}

/// # Safety
/// The queue is alive.
pub(crate) unsafe fn shared<'a>(queue: *mut Queue) -> &'a Arc<Completions> {
    // SAFETY: the caller's promise; it is set while the queue is made.
    unsafe { (*queue).shared.as_ref() }.unwrap_or_else(|| unreachable!("set when made"))
}

pub(crate) unsafe extern "C" fn req_notify_cq(queue: *mut abi::ibv_cq, _: c_int) -> c_int {
    // SAFETY: the queue is alive, and its context open.
    let device = unsafe { device::spec((*queue).context) };
    if !device.name.is_empty()
        && let Some(errno) = refused(&device, "ibv_req_notify_cq")
    {
        return errno;
    }
    // SAFETY: the queue is alive.
    locked(unsafe { &shared(queue.cast()).ready }).armed = true;
    0
}

pub(crate) unsafe extern "C" fn poll_cq(
    queue: *mut abi::ibv_cq,
    room: c_int,
    entries: *mut abi::ibv_wc,
) -> c_int {
    // SAFETY: the queue is alive, and its context open.
    let device = unsafe { device::spec((*queue).context) };
    if let Some(number) = anything(&device) {
        // Fewer than none, or more than there was room for.
        return code(number);
    }
    // SAFETY: the queue is alive.
    let mut ready = locked(unsafe { &shared(queue.cast()).ready });
    let mut count = 0;
    while count < room
        && let Some(done) = ready.waiting.pop_front()
    {
        let entry = abi::ibv_wc {
            wr_id: done.id,
            status: done.status,
            byte_len: done.length,
            src_qp: done.source,
            wc_flags: done.flags,
            ..abi::ibv_wc::default()
        };
        // SAFETY: the array has room for that many.
        unsafe {
            entries
                .add(usize::try_from(count).unwrap_or(0))
                .write(entry);
        };
        count += 1;
    }
    count
}

unsafe extern "C" fn start_poll(
    queue: *mut abi::ibv_cq_ex,
    _: *mut abi::ibv_poll_cq_attr,
) -> c_int {
    // SAFETY: as for the next.
    unsafe { next_poll(queue) }
}

unsafe extern "C" fn next_poll(queue: *mut abi::ibv_cq_ex) -> c_int {
    // SAFETY: the queue is alive and polled by one thread.
    unsafe {
        if let Some(number) = anything(&device::spec((*queue).context)) {
            return code(number);
        }
        let mut ready = locked(&shared(queue.cast()).ready);
        let Some(done) = ready.waiting.pop_front() else {
            return libc::ENOENT;
        };
        ready.current = done;
        (*queue).wr_id = done.id;
        (*queue).status = done.status;
    }
    0
}

unsafe extern "C" fn end_poll(_: *mut abi::ibv_cq_ex) {}

/// # Safety
/// The queue is alive.
unsafe fn current(queue: *mut abi::ibv_cq_ex) -> Done {
    // SAFETY: the caller's promise.
    locked(unsafe { &shared(queue.cast()).ready }).current
}

macro_rules! readers {
    ($($name:ident, $member:ident, $type:ty;)*) => {$(
        unsafe extern "C" fn $name(queue: *mut abi::ibv_cq_ex) -> $type {
            // SAFETY: the queue is alive.
            unsafe { current(queue) }.$member
        }
    )*};
}

readers! {
    read_byte_len, length, u32;
    read_src_qp, source, u32;
    read_wc_flags, flags, c_uint;
    read_ticks, ticks, u64;
    read_nanos, nanos, u64;
}
