//! libibverbs, opened at run time.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::ManuallyDrop;

use libc::{size_t, ssize_t};

use crate::abi::{
    ibv_ah, ibv_ah_attr, ibv_async_event, ibv_comp_channel, ibv_context, ibv_cq, ibv_device,
    ibv_device_attr, ibv_gid, ibv_gid_entry, ibv_mr, ibv_pd, ibv_port_attr, ibv_qp, ibv_qp_attr,
    ibv_qp_init_attr,
};

/// The file name that carries the ABI this crate was written for.
pub(crate) const SONAME: &str = "libibverbs.so.1";

/// Why libibverbs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dynamic loader cannot open it.
    #[error(
        "cannot load {SONAME}: {why} (install rdma-core's libibverbs: Debian libibverbs1 and ibverbs-providers)"
    )]
    Open {
        /// The dynamic loader's own words.
        why: String,
    },
    /// It lacks a function.
    #[error("{SONAME} has no usable function {symbol}: {why} (update rdma-core)")]
    Symbol {
        /// The function.
        symbol: &'static str,
        /// The dynamic loader's own words.
        why: String,
    },
}

/// libloading keeps what dlerror said in `source` and prints none of it.
fn cause(error: &libloading::Error) -> String {
    let text =
        std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    text.trim_end().to_owned()
}

macro_rules! library {
    (
        required { $($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)* }
        optional { $($optional:ident: fn($($optional_argument:ty),*) $(-> $optional_result:ty)?;)* }
    ) => {
        /// The functions of libibverbs. They stay valid for the process's life: the library is never unloaded.
        #[expect(missing_docs, reason = "the names of verbs.h, which documents them")]
        pub struct Library {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            $(pub $optional: Option<unsafe extern "C" fn($($optional_argument),*) $(-> $optional_result)?>,)*
            // Never closed: a provider's threads may run in its code to the process's end.
            _handle: ManuallyDrop<libloading::Library>,
        }

        impl Library {
            fn from_handle(handle: libloading::Library) -> Result<Self, LoadError> {
                Ok(Self {
                    $($name: {
                        // SAFETY: the type is the prototype that verbs.h gives this symbol, and the pointer is
                        // stored beside the handle that keeps the library loaded.
                        let symbol = unsafe { handle.get(stringify!($name)) }.map_err(|error| LoadError::Symbol {
                            symbol: stringify!($name),
                            why: cause(&error),
                        })?;
                        *symbol
                    },)*
                    $($optional: {
                        // SAFETY: as for the required symbols.
                        unsafe { handle.get(stringify!($optional)) }.ok().map(|symbol| *symbol)
                    },)*
                    _handle: ManuallyDrop::new(handle),
                })
            }
        }
    };
}

library! {
    required {
        ibv_get_device_list: fn(*mut c_int) -> *mut *mut ibv_device;
        ibv_free_device_list: fn(*mut *mut ibv_device);
        ibv_get_device_name: fn(*mut ibv_device) -> *const c_char;
        ibv_open_device: fn(*mut ibv_device) -> *mut ibv_context;
        ibv_close_device: fn(*mut ibv_context) -> c_int;
        ibv_query_device: fn(*mut ibv_context, *mut ibv_device_attr) -> c_int;
        ibv_query_port: fn(*mut ibv_context, u8, *mut ibv_port_attr) -> c_int;
        ibv_query_gid: fn(*mut ibv_context, u8, c_int, *mut ibv_gid) -> c_int;
        ibv_alloc_pd: fn(*mut ibv_context) -> *mut ibv_pd;
        ibv_dealloc_pd: fn(*mut ibv_pd) -> c_int;
        ibv_reg_mr: fn(*mut ibv_pd, *mut c_void, size_t, c_int) -> *mut ibv_mr;
        ibv_dereg_mr: fn(*mut ibv_mr) -> c_int;
        ibv_create_comp_channel: fn(*mut ibv_context) -> *mut ibv_comp_channel;
        ibv_destroy_comp_channel: fn(*mut ibv_comp_channel) -> c_int;
        ibv_create_cq: fn(*mut ibv_context, c_int, *mut c_void, *mut ibv_comp_channel, c_int) -> *mut ibv_cq;
        ibv_destroy_cq: fn(*mut ibv_cq) -> c_int;
        ibv_get_cq_event: fn(*mut ibv_comp_channel, *mut *mut ibv_cq, *mut *mut c_void) -> c_int;
        ibv_ack_cq_events: fn(*mut ibv_cq, c_uint);
        ibv_create_qp: fn(*mut ibv_pd, *mut ibv_qp_init_attr) -> *mut ibv_qp;
        ibv_modify_qp: fn(*mut ibv_qp, *mut ibv_qp_attr, c_int) -> c_int;
        ibv_query_qp: fn(*mut ibv_qp, *mut ibv_qp_attr, c_int, *mut ibv_qp_init_attr) -> c_int;
        ibv_destroy_qp: fn(*mut ibv_qp) -> c_int;
        ibv_create_ah: fn(*mut ibv_pd, *mut ibv_ah_attr) -> *mut ibv_ah;
        ibv_destroy_ah: fn(*mut ibv_ah) -> c_int;
        ibv_get_async_event: fn(*mut ibv_context, *mut ibv_async_event) -> c_int;
        ibv_ack_async_event: fn(*mut ibv_async_event);
    }
    optional {
        // Since rdma-core 33 (IBVERBS_1.11).
        _ibv_query_gid_ex: fn(*mut ibv_context, u32, u32, *mut ibv_gid_entry, u32, size_t) -> c_int;
        _ibv_query_gid_table: fn(*mut ibv_context, *mut ibv_gid_entry, size_t, u32, size_t) -> ssize_t;
    }
}

impl Library {
    /// Opens `libibverbs.so.1` where the dynamic loader finds it. Providers are loaded by libibverbs itself.
    ///
    /// # Errors
    /// [`LoadError`], which says what the dynamic loader said.
    pub fn load() -> Result<Self, LoadError> {
        Self::load_from(SONAME)
    }

    /// Opens another file in its place.
    ///
    /// # Errors
    /// As [`Library::load`].
    pub fn load_from(file: &str) -> Result<Self, LoadError> {
        // SAFETY: loading libibverbs runs its initialisers, which only read its own configuration.
        let handle = unsafe { libloading::Library::new(file) }
            .map_err(|error| LoadError::Open { why: cause(&error) })?;
        Self::from_handle(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_the_loaders_reason() {
        let error = Library::load_from("/nonexistent/libibverbs.so.1")
            .err()
            .expect("there is no such file");
        let text = error.to_string();
        assert!(text.contains("/nonexistent/libibverbs.so.1"), "{text}");
        assert!(text.contains("No such file"), "{text}");
        assert!(text.contains("libibverbs1"), "{text}");
    }

    #[test]
    fn a_library_without_verbs_names_the_missing_function() {
        let error = Library::load_from("libc.so.6")
            .err()
            .expect("libc has no verbs");
        let text = error.to_string();
        assert!(text.contains("ibv_get_device_list"), "{text}");
        assert!(text.contains("undefined symbol"), "{text}");
    }
}
