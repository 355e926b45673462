//! Service tracing: eBPF programs in the kernel tell of every queue pair, RDMA netlink lists those from before.
//!
//! Linux only; elsewhere `tracer/unsupported.rs` stands in its place. What a platform must supply: [`EXISTS`], [`start`]
//! and [`trial`].
//!
//! [`start`] makes a thread of its own ([`task`]), so that nothing that the kernel takes its time for (checking programs,
//! listing thousands of queue pairs, cgroup look-ups) holds up the probes. The thread ends when
//! it is told to or when nobody receives any more; its only channel is that of [`TraceMessage`]s. Whatever fails becomes
//! a [`TracerStatus`](rpingmesh::service::trace::TracerStatus), never the agent's end.

mod attach;
mod cgroups;
mod ib_core;
mod list;
mod object;
mod owners;
mod privilege;
mod tally;
mod task;

use rpingmesh::service::trace::{TRACE_DEPTH, TraceMessage, Unavailable};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Whether this system has a tracer at all.
pub(crate) const EXISTS: bool = true;

/// Starts a tracer. With `follow` it follows every change, else it only lists what there is, now and then.
///
/// # Errors
/// The operating system's, when it gives no thread.
pub(crate) fn start(
    follow: bool,
    stop: CancellationToken,
) -> std::io::Result<mpsc::Receiver<TraceMessage>> {
    let (out, messages) = mpsc::channel(TRACE_DEPTH);
    let task = task::Task::new(follow, out, stop);
    std::thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || task.run())?;
    Ok(messages)
}

/// Tries whether the programs load and attach here, and removes them again.
///
/// # Errors
/// Why not.
pub(crate) fn trial() -> Result<(), Unavailable> {
    attach::Programs::attach().map(drop)
}

/// Whether the kernel's RDMA core is loaded.
pub(crate) fn has_ib_core() -> bool {
    ib_core::IbCore::now() != ib_core::IbCore::Absent
}
