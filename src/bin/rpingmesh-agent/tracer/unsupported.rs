//! Stands in for the tracer where there is none.

use std::sync::Arc;

use rpingmesh::service::proof::Specimen;
use rpingmesh::service::trace::{TraceMessage, TracerStatus, Unavailable};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Makes a queue pair and destroys it; never called.
pub(crate) type Prover = Arc<dyn Fn() -> Result<Specimen, String> + Send + Sync>;

/// Whether this system has a tracer at all.
pub(crate) const EXISTS: bool = false;

/// Says once that nothing is traced.
///
/// # Errors
/// Never.
pub(crate) fn start(
    _: bool,
    _: Prover,
    _: &[String],
    _: CancellationToken,
) -> std::io::Result<mpsc::Receiver<TraceMessage>> {
    let (out, messages) = mpsc::channel(1);
    // The channel is empty and its receiver is here.
    let _ = out.try_send(TraceMessage::Status(TracerStatus::Unavailable(
        Unavailable::Unsupported,
    )));
    Ok(messages)
}

/// Always fails.
///
/// # Errors
/// [`Unavailable::Unsupported`].
pub(crate) fn trial(_: &Prover) -> Result<Option<String>, Unavailable> {
    Err(Unavailable::Unsupported)
}

/// There is nothing to describe.
///
/// # Errors
/// [`Unavailable::Unsupported`].
pub(crate) fn layout() -> Result<&'static str, Unavailable> {
    Err(Unavailable::Unsupported)
}

/// There is none.
pub(crate) fn has_devx() -> bool {
    false
}

/// There is none.
pub(crate) fn has_ib_core() -> bool {
    false
}
