//! Owners of libibverbs' objects: each keeps alive what it was made from and destroys itself.
//!
//! libibverbs' calls are thread-safe on any object, so the handles may move and be shared between threads. What the
//! type system cannot know (a work request's memory must outlive it) is the contract of [`QueuePair::post_send`] and
//! [`QueuePair::post_receive`].
#![allow(
    unsafe_code,
    reason = "calls into libibverbs; nothing outside this module and `completion` touches its pointers"
)]

mod queue_pair;

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_core_sys::{Library, abi, inline};
use rpingmesh::id::Gid;
use rpingmesh::transport::rdma_report::GidKind;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::address::{Resolve, Route};

pub(super) use queue_pair::{QueuePair, QueueSizes};

/// The result of a verb that returns 0, an errno value, or −1 with errno set.
pub(super) fn check(result: c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        code if code > 0 => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The result of a verb that returns null with errno set.
fn not_null<T>(pointer: *mut T) -> io::Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(io::Error::last_os_error)
}

/// Makes a file descriptor of libibverbs non-blocking.
fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: the caller's object owns the descriptor and is alive.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(())
}

/// One device that libibverbs lists. Valid as long as its list.
pub(super) struct DeviceEntry<'a> {
    list: &'a DeviceList,
    raw: NonNull<abi::ibv_device>,
}

impl DeviceEntry<'_> {
    /// The kernel's name for it.
    pub(super) fn name(&self) -> String {
        // SAFETY: the device is in a list that is alive; the name is a string inside it.
        unsafe {
            let name = (self.list.library.ibv_get_device_name)(self.raw.as_ptr());
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        }
    }

    /// Whether it speaks iWARP, which has no UD queue pairs.
    pub(super) fn is_iwarp(&self) -> bool {
        // SAFETY: the device is in a list that is alive.
        unsafe { (*self.raw.as_ptr()).transport_type == abi::IBV_TRANSPORT_IWARP }
    }

    /// Opens it.
    pub(super) fn open(&self) -> io::Result<Arc<Context>> {
        // SAFETY: the device is in a list that is alive; an open context keeps its device alive by itself.
        let raw = unsafe { (self.list.library.ibv_open_device)(self.raw.as_ptr()) };
        let context = Context {
            raw: not_null(raw)?,
            library: Arc::clone(&self.list.library),
        };
        set_nonblocking(context.async_fd())?;
        Ok(Arc::new(context))
    }
}

/// The devices that libibverbs lists.
pub(super) struct DeviceList {
    raw: NonNull<*mut abi::ibv_device>,
    count: usize,
    library: Arc<Library>,
}

impl DeviceList {
    /// Reads the list anew.
    pub(super) fn read(library: &Arc<Library>) -> io::Result<Self> {
        let mut count: c_int = 0;
        // SAFETY: the count is writable.
        let raw = not_null(unsafe { (library.ibv_get_device_list)(&raw mut count) })?;
        Ok(Self {
            raw,
            count: usize::try_from(count).unwrap_or(0),
            library: Arc::clone(library),
        })
    }

    /// The devices.
    pub(super) fn entries(&self) -> impl Iterator<Item = DeviceEntry<'_>> {
        (0..self.count).filter_map(|index| {
            // SAFETY: the list has `count` pointers.
            let raw = NonNull::new(unsafe { *self.raw.as_ptr().add(index) })?;
            Some(DeviceEntry { list: self, raw })
        })
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: the list comes from ibv_get_device_list and is freed once.
        unsafe { (self.library.ibv_free_device_list)(self.raw.as_ptr()) };
    }
}

/// What a device says about itself.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    pub(super) firmware: String,
    pub(super) ports: u8,
    pub(super) max_qp_wr: u32,
    pub(super) max_cqe: u32,
    pub(super) timestamp_mask: u64,
    pub(super) core_clock_khz: u64,
}

/// An asynchronous event of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AsyncEvent {
    /// `ibv_event_type`.
    pub(super) kind: u32,
    /// The port, for events about ports; meaningless for others.
    pub(super) port: i32,
}

/// A used entry of a GID table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableEntry {
    pub(super) index: u32,
    pub(super) gid: Gid,
    pub(super) kind: GidKind,
    /// Number of its network interface; 0 where the driver does not tell.
    pub(super) interface: u32,
}

/// Entries of GID tables that one call can return: its answer has a 16-bit length. No known driver has more.
const GID_ENTRIES: usize = u16::MAX as usize / size_of::<abi::ibv_gid_entry>();

/// An open device.
pub(super) struct Context {
    raw: NonNull<abi::ibv_context>,
    library: Arc<Library>,
}

// SAFETY: libibverbs' verbs are thread-safe; the pointers are only handed to them.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// The library that made it.
    pub(super) fn library(&self) -> &Library {
        &self.library
    }

    /// For calls that take it.
    pub(super) fn raw(&self) -> *mut abi::ibv_context {
        self.raw.as_ptr()
    }

    /// Asks a device for its attributes.
    pub(super) fn attributes(&self) -> io::Result<Attributes> {
        let mut attr = std::mem::MaybeUninit::<abi::ibv_device_attr_ex>::zeroed();
        // SAFETY: the context is open, the struct writable; it holds integers only, for which all zero is a value.
        let attr = unsafe {
            check(inline::ibv_query_device_ex(
                &self.library,
                self.raw(),
                attr.as_mut_ptr(),
            ))?;
            attr.assume_init()
        };
        let firmware: Vec<u8> = attr
            .orig_attr
            .fw_ver
            .iter()
            // `c_char` has a sign on x86_64 and none on aarch64.
            .map(|c| c.to_ne_bytes()[0])
            .collect();
        let firmware = CStr::from_bytes_until_nul(&firmware)
            .map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Attributes {
            firmware,
            ports: attr.orig_attr.phys_port_cnt,
            max_qp_wr: u32::try_from(attr.orig_attr.max_qp_wr).unwrap_or(0),
            max_cqe: u32::try_from(attr.orig_attr.max_cqe).unwrap_or(0),
            timestamp_mask: attr.completion_timestamp_mask,
            core_clock_khz: attr.hca_core_clock,
        })
    }

    /// Asks a port for its attributes.
    pub(super) fn port(&self, port: u8) -> io::Result<abi::ibv_port_attr> {
        let mut attr = abi::ibv_port_attr::default();
        // SAFETY: the context is open and the struct writable.
        check(unsafe { inline::ibv_query_port(&self.library, self.raw(), port, &raw mut attr) })?;
        Ok(attr)
    }

    /// One entry of a port's GID table.
    pub(super) fn gid(&self, port: u8, index: u32) -> io::Result<Gid> {
        let mut gid = abi::ibv_gid { raw: [0; 16] };
        let index = c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the context is open and the union writable; any bytes are a GID.
        unsafe {
            check((self.library.ibv_query_gid)(
                self.raw(),
                port,
                index,
                &raw mut gid,
            ))?;
            Ok(Gid::from_bytes(gid.raw))
        }
    }

    /// The used entries of a port's GID table with their types; `None` where the library is too old to tell types.
    pub(super) fn gid_table(&self, port: u8) -> Option<io::Result<Vec<TableEntry>>> {
        let query = self.library._ibv_query_gid_table?;
        let empty = abi::ibv_gid_entry {
            gid: abi::ibv_gid { raw: [0; 16] },
            gid_index: 0,
            port_num: 0,
            gid_type: 0,
            ndev_ifindex: 0,
        };
        let mut entries = vec![empty; GID_ENTRIES];
        // SAFETY: the context is open and the array has as many entries of that size as it says.
        let count = unsafe {
            query(
                self.raw(),
                entries.as_mut_ptr(),
                GID_ENTRIES,
                0,
                size_of::<abi::ibv_gid_entry>(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let code = i32::try_from(count.saturating_neg()).unwrap_or(libc::EIO);
            return Some(Err(io::Error::from_raw_os_error(code)));
        };
        entries.truncate(count);
        entries.retain(|entry| entry.port_num == u32::from(port));
        Some(Ok(entries
            .iter()
            .map(|entry| TableEntry {
                index: entry.gid_index,
                // SAFETY: any bytes are a GID.
                gid: Gid::from_bytes(unsafe { entry.gid.raw }),
                kind: gid_kind(entry.gid_type),
                interface: entry.ndev_ifindex,
            })
            .collect()))
    }

    /// The descriptor that is readable when there is an asynchronous event.
    fn async_fd(&self) -> RawFd {
        // SAFETY: the context is open.
        unsafe { (*self.raw()).async_fd }
    }

    /// The next asynchronous event, if there is one. It is acknowledged at once: no object here waits for it.
    pub(super) fn next_event(&self) -> io::Result<Option<AsyncEvent>> {
        let mut event = abi::ibv_async_event {
            element: abi::ibv_async_event_element { port_num: 0 },
            event_type: u32::MAX,
        };
        // SAFETY: the context is open, the struct writable; a received event is acknowledged once. The integer is a
        // part of the union that is always initialised.
        unsafe {
            if (self.library.ibv_get_async_event)(self.raw(), &raw mut event) != 0 {
                return none_if_would_block(io::Error::last_os_error());
            }
            let port = event.element.port_num;
            (self.library.ibv_ack_async_event)(&raw mut event);
            Ok(Some(AsyncEvent {
                kind: event.event_type,
                port,
            }))
        }
    }
}

/// `ibv_gid_type`.
fn gid_kind(number: u32) -> GidKind {
    match number {
        abi::IBV_GID_TYPE_IB => GidKind::Infiniband,
        abi::IBV_GID_TYPE_ROCE_V1 => GidKind::RoceV1,
        abi::IBV_GID_TYPE_ROCE_V2 => GidKind::RoceV2,
        other => GidKind::Unknown(other),
    }
}

fn none_if_would_block<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.kind() == io::ErrorKind::WouldBlock {
        Ok(None)
    } else {
        Err(error)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: everything made from the context holds it, so nothing is left.
        unsafe { (self.library.ibv_close_device)(self.raw()) };
    }
}

/// The asynchronous events of a context, as a file descriptor.
pub(super) struct AsyncEvents(pub(super) Arc<Context>);

impl AsRawFd for AsyncEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.0.async_fd()
    }
}

impl AsyncEvents {
    /// Registers the descriptor with the current tokio runtime.
    pub(super) fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the context owns the descriptor, keeps it open and lives as long as this value.
        unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }.map_err(Into::into)
    }
}

/// A protection domain.
pub(super) struct ProtectionDomain {
    raw: NonNull<abi::ibv_pd>,
    context: Arc<Context>,
}

// SAFETY: as for `Context`.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as for `Context`.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    /// Makes one.
    pub(super) fn new(context: &Arc<Context>) -> io::Result<Arc<Self>> {
        // SAFETY: the context is open.
        let raw = not_null(unsafe { (context.library.ibv_alloc_pd)(context.raw()) })?;
        Ok(Arc::new(Self {
            raw,
            context: Arc::clone(context),
        }))
    }

    /// The device.
    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// For calls that take it.
    pub(super) fn raw(&self) -> *mut abi::ibv_pd {
        self.raw.as_ptr()
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: everything made from the domain holds it, so nothing is left.
        unsafe { (self.context.library.ibv_dealloc_pd)(self.raw()) };
    }
}

/// A completion channel: the descriptor that tells of completions.
pub(super) struct Channel {
    raw: NonNull<abi::ibv_comp_channel>,
    context: Arc<Context>,
}

// SAFETY: as for `Context`.
unsafe impl Send for Channel {}
// SAFETY: as for `Context`.
unsafe impl Sync for Channel {}

impl Channel {
    /// Makes one whose descriptor does not block.
    pub(super) fn new(context: &Arc<Context>) -> io::Result<Arc<Self>> {
        // SAFETY: the context is open.
        let raw = not_null(unsafe { (context.library.ibv_create_comp_channel)(context.raw()) })?;
        let channel = Self {
            raw,
            context: Arc::clone(context),
        };
        set_nonblocking(channel.fd())?;
        Ok(Arc::new(channel))
    }

    /// For calls that take it.
    pub(super) fn raw(&self) -> *mut abi::ibv_comp_channel {
        self.raw.as_ptr()
    }

    fn fd(&self) -> RawFd {
        // SAFETY: the channel is alive.
        unsafe { (*self.raw()).fd }
    }

    /// Takes one notification, if there is one, and acknowledges it.
    pub(super) fn take_event(&self) -> io::Result<Option<()>> {
        let mut cq = ptr::null_mut();
        let mut cq_context = ptr::null_mut();
        // SAFETY: the channel is alive and the pointers writable; the CQ that comes back is one of this channel, and
        // the endpoint that holds the channel keeps its only CQ alive.
        unsafe {
            let library = &self.context.library;
            if (library.ibv_get_cq_event)(self.raw(), &raw mut cq, &raw mut cq_context) != 0 {
                return none_if_would_block(io::Error::last_os_error());
            }
            (library.ibv_ack_cq_events)(cq, 1);
        }
        Ok(Some(()))
    }
}

/// The notifications of a channel, as a file descriptor.
pub(super) struct Notifications(pub(super) Arc<Channel>);

impl AsRawFd for Notifications {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd()
    }
}

impl Notifications {
    /// Registers the descriptor with the current tokio runtime.
    pub(super) fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the channel owns the descriptor, keeps it open and lives as long as this value.
        unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }.map_err(Into::into)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: CQs hold their channel, so none is left.
        unsafe { (self.context.library.ibv_destroy_comp_channel)(self.raw()) };
    }
}

/// Where address handles start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// The port.
    pub(super) port: u8,
    /// Index of the source GID.
    pub(super) gid_index: u8,
}

/// What a packet may pass at most; RoCE v2 drivers take 64 by default.
const HOP_LIMIT: u8 = 64;

/// The way from a port to a destination.
pub(super) fn address_vector(from: Origin, to: Route) -> abi::ibv_ah_attr {
    abi::ibv_ah_attr {
        grh: abi::ibv_global_route {
            dgid: abi::ibv_gid {
                raw: to.gid.bytes(),
            },
            flow_label: to.flow_label,
            sgid_index: from.gid_index,
            hop_limit: HOP_LIMIT,
            traffic_class: to.class.traffic_class,
        },
        dlid: 0,
        sl: to.class.service_level,
        src_path_bits: 0,
        static_rate: 0,
        is_global: 1,
        port_num: from.port,
    }
}

/// An address handle.
pub(super) struct AddressHandle {
    raw: NonNull<abi::ibv_ah>,
    domain: Arc<ProtectionDomain>,
}

// SAFETY: as for `Context`.
unsafe impl Send for AddressHandle {}
// SAFETY: as for `Context`.
unsafe impl Sync for AddressHandle {}

impl AddressHandle {
    /// Makes one. Blocks while the neighbour's hardware address is being resolved, for about a second if it does not
    /// answer.
    pub(super) fn new(domain: &Arc<ProtectionDomain>, from: Origin, to: Route) -> io::Result<Self> {
        let mut attr = address_vector(from, to);
        // SAFETY: the domain is alive and the attributes are complete.
        let raw = unsafe { (domain.context.library.ibv_create_ah)(domain.raw(), &raw mut attr) };
        Ok(Self {
            raw: not_null(raw)?,
            domain: Arc::clone(domain),
        })
    }
}

impl Drop for AddressHandle {
    fn drop(&mut self) {
        // SAFETY: sends under way hold their handle, so none uses it.
        unsafe { (self.domain.context.library.ibv_destroy_ah)(self.raw.as_ptr()) };
    }
}

/// Makes the address handles of one port.
pub(super) struct Addresses {
    /// What they belong to.
    pub(super) domain: Arc<ProtectionDomain>,
    /// Where they start.
    pub(super) origin: Origin,
}

impl Resolve for Addresses {
    type Handle = AddressHandle;

    fn resolve(&self, route: Route) -> io::Result<AddressHandle> {
        AddressHandle::new(&self.domain, self.origin, route)
    }
}
