//! What queue pairs are made from: protection domains, memory regions, address handles.

use std::ffi::{c_int, c_void};

use rdma_core_sys::abi;

use crate::faults::refused;
use crate::{device, fail, world};

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_alloc_pd(context: *mut abi::ibv_context) -> *mut abi::ibv_pd {
    // SAFETY: the context is open.
    let device = unsafe { device::spec(context) };
    if let Some(errno) = refused(&device, "ibv_alloc_pd") {
        return fail(errno);
    }
    world::count(context, 1);
    Box::into_raw(Box::new(abi::ibv_pd { context, handle: 0 }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_dealloc_pd(domain: *mut abi::ibv_pd) -> c_int {
    // SAFETY: freed once.
    let domain = unsafe { Box::from_raw(domain) };
    world::count(domain.context, -1);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_reg_mr(
    pd: *mut abi::ibv_pd,
    addr: *mut c_void,
    length: usize,
    _: c_int,
) -> *mut abi::ibv_mr {
    // SAFETY: the domain is alive, and its context open.
    let (context, device) = unsafe { ((*pd).context, device::spec((*pd).context)) };
    if let Some(errno) = refused(&device, "ibv_reg_mr") {
        return fail(errno);
    }
    world::count(context, 1);
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
    let region = unsafe { Box::from_raw(region) };
    world::count(region.context, -1);
    0
}

/// An address handle. The program sees `raw`.
#[repr(C)]
pub(crate) struct Handle {
    raw: abi::ibv_ah,
    pub(crate) attr: abi::ibv_ah_attr,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_ah(
    pd: *mut abi::ibv_pd,
    attr: *mut abi::ibv_ah_attr,
) -> *mut abi::ibv_ah {
    // SAFETY: the domain is alive and the attributes are complete; a GID is any bytes.
    unsafe {
        let (context, attr) = ((*pd).context, *attr);
        if let Some(errno) = refused(&device::spec(context), "ibv_create_ah") {
            return fail(errno);
        }
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
        world::count(context, 1);
        let raw = abi::ibv_ah {
            context,
            pd,
            handle: 0,
        };
        Box::into_raw(Box::new(Handle { raw, attr })).cast()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_ah(handle: *mut abi::ibv_ah) -> c_int {
    // SAFETY: freed once.
    let handle = unsafe { Box::from_raw(handle.cast::<Handle>()) };
    world::count(handle.raw.context, -1);
    0
}
