//! RNICs without hardware, kernel or privilege: a `libibverbs.so.1` that programs load through `LD_LIBRARY_PATH`.
//!
//! What there is stands in the text file that [`TABLE`] names (see [`table`]), which may change while a program runs: open
//! devices get the asynchronous events that a kernel would send. UD queue pairs carry real datagrams over UDP sockets on
//! loopback, from any process to any other; a queue pair's number is its socket's port, and a datagram to a GID that the
//! receiver's table does not have is lost. Completions are stamped by clocks of any width and frequency, which drift and step.
//! What is asked of a device is written to the file that [`LOG`] names: completion queues, queue pairs, each datagram sent with
//! its label, class, service level, port and UDP source port, and what is left of a context when it is closed.
#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "libibverbs' C interface from the other side: every function takes and gives raw pointers"
)]

pub mod profiles;
pub mod table;

mod carry;
mod clock;
mod device;
mod faults;
mod objects;
mod pair;
mod queue;
mod world;

/// The environment variable with the path of the table.
pub const TABLE: &str = "RPINGMESH_EMULATED_RNICS";

/// The environment variable with the path of the log: one line for each context, completion queue, queue pair and address
/// handle that is asked for, and for each datagram that is sent.
pub const LOG: &str = "RPINGMESH_EMULATED_LOG";

/// What the C interface calls errno.
fn set_errno(code: i32) {
    // SAFETY: the C library's own variable of this thread.
    unsafe { *libc::__errno_location() = code };
}

/// Fails a call that gives a pointer.
fn fail<T>(code: i32) -> *mut T {
    set_errno(code);
    std::ptr::null_mut()
}
