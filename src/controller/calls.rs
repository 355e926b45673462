//! What all calls of agents need: the core's answer, and values as messages have them.

use std::time::Duration;

use tokio::sync::oneshot;
use tonic::Status;

use super::core::{Command, Handle};

/// Asks the core for something, and waits for its answer.
pub(super) async fn ask<T>(
    core: &Handle,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Status> {
    let (reply, answer) = oneshot::channel();
    core.send(command(reply)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}

/// What a call gets while the controller stops.
pub(super) fn stopping() -> Status {
    Status::unavailable("the controller is stopping")
}

/// A span in nanoseconds; the longest that a message can say if it is longer.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
