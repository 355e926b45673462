//! Service tracing: eBPF programs in the kernel tell of every queue pair, RDMA netlink lists those from before.
//!
//! Linux only; elsewhere `tracer/unsupported.rs` stands in its place. What a platform must supply: [`EXISTS`], [`start`],
//! [`Prover`], [`trial`], [`layout`], [`has_devx`] and [`has_ib_core`].
//!
//! [`start`] makes a thread of its own ([`task`]), so that nothing that the kernel takes its time for (checking programs,
//! listing thousands of queue pairs, cgroup look-ups) holds up the probes. The thread ends when
//! it is told to or when nobody receives any more; its only channel is that of [`TraceMessage`]s. Whatever fails becomes
//! a [`TracerStatus`](rpingmesh::service::trace::TracerStatus), never the agent's end.

mod attach;
mod cgroups;
mod environment;
mod ib_core;
#[cfg(test)]
mod kernel_tests;
mod list;
mod modules;
mod object;
mod owners;
mod privilege;
mod prove;
mod ring;
mod tally;
mod task;

use rpingmesh::service::trace::{TRACE_DEPTH, TraceMessage, Unavailable};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use prove::Prover;

/// Whether this system has a tracer at all.
pub(crate) const EXISTS: bool = true;

/// Starts a tracer. With `follow` it follows every change, else it only lists what there is, now and then. `prover` makes the
/// queue pair that shows whether the programs read rightly. What it tells has these `variables` of the processes' environments.
///
/// # Errors
/// The operating system's, when it gives no thread.
pub(crate) fn start(
    follow: bool,
    prover: Prover,
    variables: &[String],
    stop: CancellationToken,
) -> std::io::Result<mpsc::Receiver<TraceMessage>> {
    let (out, messages) = mpsc::channel(TRACE_DEPTH);
    let task = task::Task::new(follow, prover, variables, out, stop);
    std::thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || task.run())?;
    Ok(messages)
}

/// Tries whether the programs load, attach and read rightly here, and removes them again. Says why the last could not be shown,
/// if so.
///
/// # Errors
/// Why not.
pub(crate) fn trial(prover: &Prover) -> Result<Option<String>, Unavailable> {
    let (programs, mut ring) = attach::Programs::attach()?;
    let mut tally = tally::Tally::default();
    let shown = prove::prove(&programs, &mut ring, &mut tally, prover)?;
    Ok(shown.unproved)
}

/// What describes the structures of the loaded RDMA core, in words.
///
/// # Errors
/// [`Unavailable::ForeignIbCore`].
pub(crate) fn layout() -> Result<&'static str, Unavailable> {
    Ok(match ib_core::layout()? {
        ib_core::Layout::Module => "/sys/kernel/btf/ib_core is there",
        ib_core::Layout::BuiltIn => "ib_core is part of the kernel, whose BTF describes it",
        ib_core::Layout::InTree => {
            "ib_core has no BTF of its own and was built with this kernel, whose BTF describes it"
        }
    })
}

/// Whether programs may make queue pairs here that no tracer sees, by DEVX commands of mlx5 devices.
pub(crate) fn has_devx() -> bool {
    ib_core::has_mlx5()
}

/// Whether the kernel's RDMA core is loaded.
pub(crate) fn has_ib_core() -> bool {
    ib_core::IbCore::now() != ib_core::IbCore::Absent
}
