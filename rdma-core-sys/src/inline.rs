//! The verbs that `verbs.h` implements as `static inline`: calls through tables that the provider fills in.
//!
//! All functions here take pointers from libibverbs. Where a table entry is missing they give `EOPNOTSUPP` or null,
//! as the header's versions do, never a call through null.

use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr;

use libc::{EINVAL, ENOSYS, EOPNOTSUPP};

use crate::abi::{
    ibv_context, ibv_cq, ibv_cq_ex, ibv_cq_init_attr_ex, ibv_device_attr_ex, ibv_port_attr, ibv_qp,
    ibv_recv_wr, ibv_send_wr, ibv_values_ex, ibv_wc, verbs_context,
};
use crate::library::Library;

/// `verbs_get_ctx`: the extended context around `context`, if the library made one.
///
/// # Safety
/// `context` comes from `ibv_open_device` and is open.
unsafe fn extended(context: *mut ibv_context) -> Option<*mut verbs_context> {
    // SAFETY: the caller's promise.
    let marker = unsafe { (*context).abi_compat };
    (marker.addr() == usize::MAX).then(|| {
        // SAFETY: the marker says that the context is the last member of a `verbs_context`, so the result lies within
        // the same allocation.
        unsafe { context.byte_sub(offset_of!(verbs_context, context)) }.cast()
    })
}

/// `verbs_get_ctx_op`: reads one entry of the extended table, if the table reaches down to it.
macro_rules! operation {
    ($context:expr, $name:ident) => {{
        match extended($context) {
            Some(table)
                if (*table).sz >= size_of::<verbs_context>() - offset_of!(verbs_context, $name) =>
            {
                (*table).$name
            }
            _ => None,
        }
    }};
}

/// `ibv_port_attr` as libibverbs 56 declares it.
#[derive(Default)]
#[repr(C)]
struct NewerPortAttr {
    attr: ibv_port_attr,
    active_speed_ex: u32,
}

/// `ibv_query_port`. Returns 0 or an errno value.
///
/// # Safety
/// `context` is open and `attr` is writable.
pub unsafe fn ibv_query_port(
    library: &Library,
    context: *mut ibv_context,
    port: u8,
    attr: *mut ibv_port_attr,
) -> c_int {
    // SAFETY: the caller's promise; an entry within the table's size is a function of this type or null. The exported
    // function writes only the older, shorter struct.
    unsafe {
        attr.write(ibv_port_attr::default());
        match operation!(context, query_port) {
            Some(query) => {
                // libibverbs 56 refuses the length of older headers, and older ones take the newer length.
                let mut newer = NewerPortAttr::default();
                let result = query(
                    context,
                    port,
                    (&raw mut newer).cast(),
                    size_of::<NewerPortAttr>(),
                );
                attr.write(newer.attr);
                result
            }
            None => (library.ibv_query_port)(context, port, attr),
        }
    }
}

/// `ibv_query_device_ex` without input. Returns 0 or an errno value.
///
/// # Safety
/// `context` is open and `attr` is writable.
pub unsafe fn ibv_query_device_ex(
    library: &Library,
    context: *mut ibv_context,
    attr: *mut ibv_device_attr_ex,
) -> c_int {
    // SAFETY: the caller's promise; all zero is a value of this struct of integers.
    unsafe {
        attr.write_bytes(0, 1);
        if let Some(query) = operation!(context, query_device_ex) {
            let result = query(context, ptr::null(), attr, size_of::<ibv_device_attr_ex>());
            if result != EOPNOTSUPP && result != ENOSYS {
                return result;
            }
            attr.write_bytes(0, 1);
        }
        (library.ibv_query_device)(context, &raw mut (*attr).orig_attr)
    }
}

/// `ibv_query_rt_values_ex`. Returns 0 or an errno value.
///
/// # Safety
/// `context` is open and `values` is initialised.
pub unsafe fn ibv_query_rt_values_ex(
    context: *mut ibv_context,
    values: *mut ibv_values_ex,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match operation!(context, query_rt_values) {
            Some(query) => query(context, values),
            None => EOPNOTSUPP,
        }
    }
}

/// `ibv_create_cq_ex`. `Err` holds `EOPNOTSUPP` where the provider has no extended CQs; null means look at errno.
///
/// # Errors
/// `EOPNOTSUPP`.
///
/// # Safety
/// `context` is open and `attr` is initialised.
pub unsafe fn ibv_create_cq_ex(
    context: *mut ibv_context,
    attr: *mut ibv_cq_init_attr_ex,
) -> Result<*mut ibv_cq_ex, c_int> {
    // SAFETY: the caller's promise.
    unsafe {
        match operation!(context, create_cq_ex) {
            Some(create) => Ok(create(context, attr)),
            None => Err(EOPNOTSUPP),
        }
    }
}

/// `ibv_poll_cq`: the number of completions written to `wc`, or a negative number.
///
/// # Safety
/// `cq` is alive and `wc` has room for `entries`.
pub unsafe fn ibv_poll_cq(cq: *mut ibv_cq, entries: c_int, wc: *mut ibv_wc) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match (*(*cq).context).ops.poll_cq {
            Some(poll) => poll(cq, entries, wc),
            None => -EOPNOTSUPP,
        }
    }
}

/// `ibv_req_notify_cq` for all completions. Returns 0 or an errno value.
///
/// # Safety
/// `cq` is alive.
pub unsafe fn ibv_req_notify_cq(cq: *mut ibv_cq) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match (*(*cq).context).ops.req_notify_cq {
            Some(notify) => notify(cq, 0),
            None => EOPNOTSUPP,
        }
    }
}

/// `ibv_post_send`. Returns 0 or an errno value, with `bad` at the first request that was not posted.
///
/// # Safety
/// `qp` is alive; the list, what it points to and the address handles are valid until the requests complete.
pub unsafe fn ibv_post_send(
    qp: *mut ibv_qp,
    list: *mut ibv_send_wr,
    bad: *mut *mut ibv_send_wr,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match (*(*qp).context).ops.post_send {
            Some(post) => post(qp, list, bad),
            None => {
                *bad = list;
                EOPNOTSUPP
            }
        }
    }
}

/// `ibv_post_recv`. Returns 0 or an errno value, with `bad` at the first request that was not posted.
///
/// # Safety
/// `qp` is alive; the list is valid for the call, the buffers until the requests complete.
pub unsafe fn ibv_post_recv(
    qp: *mut ibv_qp,
    list: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match (*(*qp).context).ops.post_recv {
            Some(post) => post(qp, list, bad),
            None => {
                *bad = list;
                EOPNOTSUPP
            }
        }
    }
}

/// `ibv_start_poll`: 0 when there is a completion, `ENOENT` when there is none. After 0, [`ibv_end_poll`] must follow.
///
/// # Safety
/// `cq` is alive and not being polled.
pub unsafe fn ibv_start_poll(cq: *mut ibv_cq_ex) -> c_int {
    let mut attr = crate::abi::ibv_poll_cq_attr { comp_mask: 0 };
    // SAFETY: the caller's promise.
    unsafe {
        match (*cq).start_poll {
            Some(start) => start(cq, &raw mut attr),
            None => EINVAL,
        }
    }
}

/// `ibv_next_poll`: 0 when there is another completion, `ENOENT` when there is none.
///
/// # Safety
/// Between [`ibv_start_poll`] and [`ibv_end_poll`].
pub unsafe fn ibv_next_poll(cq: *mut ibv_cq_ex) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match (*cq).next_poll {
            Some(next) => next(cq),
            None => EINVAL,
        }
    }
}

/// `ibv_end_poll`.
///
/// # Safety
/// Once after each [`ibv_start_poll`] that returned 0.
pub unsafe fn ibv_end_poll(cq: *mut ibv_cq_ex) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(end) = (*cq).end_poll {
            end(cq);
        }
    }
}

macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident, $entry:ident, $type:ty;)*) => {$(
        $(#[$doc])*
        /// `None` when the CQ was not created for it.
        ///
        /// # Safety
        /// Between a successful start or next poll of `cq` and its end.
        pub unsafe fn $name(cq: *mut ibv_cq_ex) -> Option<$type> {
            // SAFETY: the caller's promise.
            unsafe { (*cq).$entry.map(|read| read(cq)) }
        }
    )*};
}

readers! {
    /// `ibv_wc_read_opcode`.
    ibv_wc_read_opcode, read_opcode, u32;
    /// `ibv_wc_read_vendor_err`.
    ibv_wc_read_vendor_err, read_vendor_err, u32;
    /// `ibv_wc_read_byte_len`.
    ibv_wc_read_byte_len, read_byte_len, u32;
    /// `ibv_wc_read_qp_num`.
    ibv_wc_read_qp_num, read_qp_num, u32;
    /// `ibv_wc_read_src_qp`.
    ibv_wc_read_src_qp, read_src_qp, u32;
    /// `ibv_wc_read_wc_flags`.
    ibv_wc_read_wc_flags, read_wc_flags, u32;
    /// `ibv_wc_read_completion_ts`: ticks of the device's clock.
    ibv_wc_read_completion_ts, read_completion_ts, u64;
    /// `ibv_wc_read_completion_wallclock_ns`: nanoseconds of the device's wall clock.
    ibv_wc_read_completion_wallclock_ns, read_completion_wallclock_ns, u64;
}
