//! A queue pair: its states, and what is posted to it.

use std::ffi::c_int;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_core_sys::{abi, inline};
use rpingmesh::id::{QKey, Qpn};

use super::{AddressHandle, ProtectionDomain, check, not_null};

/// How large a queue pair is to be.
#[derive(Debug, Clone, Copy)]
pub(in crate::verbs) struct QueueSizes {
    /// Sends and receives under way.
    pub(in crate::verbs) depth: u32,
    /// Bytes of a payload.
    pub(in crate::verbs) inline: u32,
    /// Pieces of a receive buffer.
    pub(in crate::verbs) receive_pieces: u32,
}

/// What a receiver without buffers asks the sender to wait: 0.64 ms (InfiniBand specification, table 45), which libibverbs'
/// examples use. Nothing is sent to a connection of this program.
const RNR_TIMER: u8 = 12;

/// A queue pair, of type UD but where it shows how the kernel keeps a connection.
pub(in crate::verbs) struct QueuePair {
    raw: NonNull<abi::ibv_qp>,
    domain: Arc<ProtectionDomain>,
    /// What the device granted.
    granted: abi::ibv_qp_cap,
    _completions: Arc<crate::verbs::completion::CqHandle>,
}

// SAFETY: as for `Context`.
unsafe impl Send for QueuePair {}

impl QueuePair {
    /// Makes one in state RESET. Where the device has no inline sends of that size it gets none.
    pub(in crate::verbs) fn new(
        domain: &Arc<ProtectionDomain>,
        completions: &Arc<crate::verbs::completion::CqHandle>,
        sizes: QueueSizes,
    ) -> io::Result<Self> {
        let create = |inline: u32| {
            let capacity = abi::ibv_qp_cap {
                max_send_wr: sizes.depth,
                max_recv_wr: sizes.depth,
                max_send_sge: 1,
                max_recv_sge: sizes.receive_pieces,
                max_inline_data: inline,
            };
            Self::create(domain, completions, abi::IBV_QPT_UD, capacity)
        };
        create(sizes.inline).or_else(|_| create(0))
    }

    /// Makes one of type RC with room for one request each way, in state RESET.
    pub(in crate::verbs) fn for_connection(
        domain: &Arc<ProtectionDomain>,
        completions: &Arc<crate::verbs::completion::CqHandle>,
    ) -> io::Result<Self> {
        let capacity = abi::ibv_qp_cap {
            max_send_wr: 1,
            max_recv_wr: 1,
            max_send_sge: 1,
            max_recv_sge: 1,
            max_inline_data: 0,
        };
        Self::create(domain, completions, abi::IBV_QPT_RC, capacity)
    }

    fn create(
        domain: &Arc<ProtectionDomain>,
        completions: &Arc<crate::verbs::completion::CqHandle>,
        qp_type: u32,
        cap: abi::ibv_qp_cap,
    ) -> io::Result<Self> {
        let mut attr = abi::ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: completions.raw(),
            recv_cq: completions.raw(),
            srq: ptr::null_mut(),
            cap,
            qp_type,
            sq_sig_all: 0,
        };
        // SAFETY: domain and CQ are alive and of the same context; the attributes are complete.
        let raw = unsafe { (domain.context.library.ibv_create_qp)(domain.raw(), &raw mut attr) };
        Ok(Self {
            raw: not_null(raw)?,
            domain: Arc::clone(domain),
            granted: attr.cap,
            _completions: Arc::clone(completions),
        })
    }

    /// Its number.
    pub(in crate::verbs) fn qpn(&self) -> Qpn {
        // SAFETY: the queue pair is alive.
        Qpn::from_lower_bits(unsafe { (*self.raw.as_ptr()).qp_num })
    }

    /// The largest payload that is copied at once when it is posted.
    pub(in crate::verbs) fn inline_limit(&self) -> u32 {
        self.granted.max_inline_data
    }

    /// RESET → INIT: receives can be posted.
    pub(in crate::verbs) fn initialize(&self, port: u8, q_key: QKey) -> io::Result<()> {
        let attr = abi::ibv_qp_attr {
            qp_state: abi::IBV_QPS_INIT,
            pkey_index: 0,
            port_num: port,
            qkey: q_key.0,
            ..empty_qp_attr()
        };
        self.modify(
            attr,
            abi::IBV_QP_STATE | abi::IBV_QP_PKEY_INDEX | abi::IBV_QP_PORT | abi::IBV_QP_QKEY,
        )
    }

    /// INIT → RTR → RTS: it receives and sends.
    pub(in crate::verbs) fn activate(&self) -> io::Result<()> {
        let to = |qp_state| abi::ibv_qp_attr {
            qp_state,
            ..empty_qp_attr()
        };
        self.modify(to(abi::IBV_QPS_RTR), abi::IBV_QP_STATE)?;
        self.modify(to(abi::IBV_QPS_RTS), abi::IBV_QP_STATE | abi::IBV_QP_SQ_PSN)
    }

    /// RESET → INIT of a connection.
    pub(in crate::verbs) fn bind(&self, port: u8) -> io::Result<()> {
        let attr = abi::ibv_qp_attr {
            qp_state: abi::IBV_QPS_INIT,
            port_num: port,
            ..empty_qp_attr()
        };
        self.modify(
            attr,
            abi::IBV_QP_STATE
                | abi::IBV_QP_PKEY_INDEX
                | abi::IBV_QP_PORT
                | abi::IBV_QP_ACCESS_FLAGS,
        )
    }

    /// INIT → RTR of a connection, by these attributes to the queue pair `peer`.
    pub(in crate::verbs) fn connect(&self, peer: Qpn, to: abi::ibv_ah_attr) -> io::Result<()> {
        let attr = abi::ibv_qp_attr {
            qp_state: abi::IBV_QPS_RTR,
            path_mtu: abi::IBV_MTU_256,
            dest_qp_num: peer.get(),
            ah_attr: to,
            max_dest_rd_atomic: 1,
            min_rnr_timer: RNR_TIMER,
            ..empty_qp_attr()
        };
        self.modify(
            attr,
            abi::IBV_QP_STATE
                | abi::IBV_QP_AV
                | abi::IBV_QP_PATH_MTU
                | abi::IBV_QP_DEST_QPN
                | abi::IBV_QP_RQ_PSN
                | abi::IBV_QP_MAX_DEST_RD_ATOMIC
                | abi::IBV_QP_MIN_RNR_TIMER,
        )
    }

    /// Back to RESET: everything under way is forgotten, the number stays.
    pub(in crate::verbs) fn reset(&self) -> io::Result<()> {
        let attr = abi::ibv_qp_attr {
            qp_state: abi::IBV_QPS_RESET,
            ..empty_qp_attr()
        };
        self.modify(attr, abi::IBV_QP_STATE)
    }

    fn modify(&self, mut attr: abi::ibv_qp_attr, mask: c_int) -> io::Result<()> {
        // SAFETY: the queue pair is alive and the attributes are complete.
        check(unsafe {
            (self.domain.context.library.ibv_modify_qp)(self.raw.as_ptr(), &raw mut attr, mask)
        })
    }

    /// Its state (`ibv_qp_state`), as the device sees it.
    pub(in crate::verbs) fn state(&self) -> io::Result<u32> {
        let mut attr = empty_qp_attr();
        let mut init = abi::ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: ptr::null_mut(),
            recv_cq: ptr::null_mut(),
            srq: ptr::null_mut(),
            cap: abi::ibv_qp_cap::default(),
            qp_type: 0,
            sq_sig_all: 0,
        };
        // SAFETY: the queue pair is alive and both structs writable.
        check(unsafe {
            (self.domain.context.library.ibv_query_qp)(
                self.raw.as_ptr(),
                &raw mut attr,
                abi::IBV_QP_STATE,
                &raw mut init,
            )
        })?;
        Ok(attr.qp_state)
    }

    /// Posts a list of sends. On failure also says how many from the front were posted.
    ///
    /// # Safety
    /// What the requests point to stays valid until they complete or the queue pair is gone.
    pub(in crate::verbs) unsafe fn post_send(
        &self,
        list: &mut [abi::ibv_send_wr],
    ) -> Result<(), (usize, io::Error)> {
        let first = link(list, |request, next| request.next = next);
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair is alive, the list is linked and ends, the rest is the caller's promise.
        let result =
            check(unsafe { inline::ibv_post_send(self.raw.as_ptr(), first, &raw mut bad) });
        result.map_err(|error| (index_of(list, bad), error))
    }

    /// Posts a list of receives. On failure also says how many from the front were posted.
    ///
    /// # Safety
    /// What the requests point to stays valid and untouched until they complete or the queue pair is gone.
    pub(in crate::verbs) unsafe fn post_receive(
        &self,
        list: &mut [abi::ibv_recv_wr],
    ) -> Result<(), (usize, io::Error)> {
        let first = link(list, |request, next| request.next = next);
        let mut bad = ptr::null_mut();
        // SAFETY: as for `post_send`.
        let result =
            check(unsafe { inline::ibv_post_recv(self.raw.as_ptr(), first, &raw mut bad) });
        result.map_err(|error| (index_of(list, bad), error))
    }

    /// A send request for `handle`, which must outlive it.
    pub(in crate::verbs) fn address(
        handle: &AddressHandle,
        qpn: Qpn,
        q_key: QKey,
    ) -> abi::ibv_send_wr_wr {
        abi::ibv_send_wr_wr {
            ud: abi::ibv_send_wr_ud {
                ah: handle.raw.as_ptr(),
                remote_qpn: qpn.get(),
                remote_qkey: q_key.0,
            },
        }
    }
}

/// Links the elements of a list in their order and returns the first; the last gets null.
fn link<T>(list: &mut [T], set: impl Fn(&mut T, *mut T)) -> *mut T {
    let first = list.as_mut_ptr();
    for index in 0..list.len() {
        let next = if index + 1 < list.len() {
            first.wrapping_add(index + 1)
        } else {
            ptr::null_mut()
        };
        // SAFETY: the index is within the list, and all access goes through the one pointer.
        set(unsafe { &mut *first.add(index) }, next);
    }
    first
}

/// Index of the element at `at`; 0 (nothing was posted) where that is no element.
fn index_of<T>(list: &[T], at: *const T) -> usize {
    list.iter()
        .position(|element| ptr::eq(element, at))
        .unwrap_or(0)
}

fn empty_qp_attr() -> abi::ibv_qp_attr {
    // SAFETY: the struct holds integers only, for which all zero is a value.
    unsafe { std::mem::zeroed() }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: the queue pair is destroyed once; events about it are acknowledged when they are read.
        unsafe { (self.domain.context.library.ibv_destroy_qp)(self.raw.as_ptr()) };
    }
}
