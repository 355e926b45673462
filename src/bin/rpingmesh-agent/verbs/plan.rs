//! Opens the queues of an endpoint with the best format of completions that the device accepts.

use std::sync::Arc;

use rpingmesh::id::QKey;
use rpingmesh::transport::rdma_report::Refused;
use rpingmesh::transport::{RnicName, TransportError};

use super::completion::{CompletionQueue, Format};
use super::failure;
use super::handles::{Channel, Context as Device, ProtectionDomain};
use super::ports::UsablePort;
use super::queue::Queue;
use super::steering::Steering;
use crate::rdma_settings::Settings;

/// What the queues of an endpoint are to be.
pub(super) struct QueueSpec<'a> {
    pub(super) rnic: &'a RnicName,
    pub(super) device: &'a Arc<Device>,
    pub(super) domain: &'a Arc<ProtectionDomain>,
    pub(super) channel: &'a Arc<Channel>,
    /// Queue pairs.
    pub(super) count: usize,
    /// Sends and receives under way per queue pair.
    pub(super) depth: u32,
    /// Of the completion queue.
    pub(super) entries: u32,
    pub(super) q_key: QKey,
}

/// What was opened.
pub(super) struct Opened {
    pub(super) queues: Vec<Queue>,
    pub(super) completions: CompletionQueue,
    /// The clocks that the device refused, in the order of trying, and why.
    pub(super) refused: Vec<Refused>,
}

impl QueueSpec<'_> {
    /// Opens with the first format that the device accepts: some refuse one only when a queue pair is made.
    ///
    /// # Errors
    /// The refusal of the last, or one that has nothing to do with formats.
    pub(super) fn open_first(&self, formats: Vec<Format>) -> Result<Opened, TransportError> {
        let mut refused = Vec::new();
        let mut last = None;
        for format in formats {
            let clock = format.clock();
            match self.open(format) {
                Ok((queues, completions)) => {
                    // A plain queue after an extended one without stamps is no other clock.
                    refused.retain(|refused: &Refused| refused.clock != clock);
                    if !refused.is_empty() {
                        let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
                        tracing::info!(
                            rnic = %self.rnic, refused = refused.join(", "), used = %clock,
                            "completions are stamped otherwise than asked for first"
                        );
                    }
                    return Ok(Opened {
                        queues,
                        completions,
                        refused,
                    });
                }
                Err((call, error)) if concerns_all(&error) => {
                    return Err(failure::call(self.rnic, call, error));
                }
                Err((call, error)) => {
                    tracing::debug!(rnic = %self.rnic, %clock, call, %error, "refused");
                    refused.push(Refused {
                        clock,
                        why: format!("{call} failed: {error}"),
                    });
                    // What was refused last says why none is left.
                    last = Some((call, error));
                }
            }
        }
        let (call, error) =
            last.unwrap_or(("ibv_create_cq", std::io::ErrorKind::Unsupported.into()));
        Err(failure::call(self.rnic, call, error))
    }

    fn open(
        &self,
        format: Format,
    ) -> Result<(Vec<Queue>, CompletionQueue), (&'static str, std::io::Error)> {
        let completions = CompletionQueue::new(self.device, self.channel, self.entries, format)
            .map_err(|error| ("ibv_create_cq", error))?;
        let queues = (0..self.count)
            .map(|index| {
                Queue::open(
                    self.domain,
                    completions.handle(),
                    index,
                    self.depth,
                    self.rnic.port,
                    self.q_key,
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok((queues, completions))
    }
}

/// Failures that no other format of completions helps: memory, files, rights.
fn concerns_all(error: &std::io::Error) -> bool {
    let code = error.raw_os_error();
    [
        libc::ENOMEM,
        libc::EMFILE,
        libc::ENFILE,
        libc::EACCES,
        libc::EPERM,
        libc::ENODEV,
    ]
    .iter()
    .any(|fatal| code == Some(*fatal))
}

/// How much an endpoint's queues hold.
pub(super) struct Sizes {
    /// Queue pairs.
    pub(super) count: usize,
    /// Sends and receives under way per queue pair.
    pub(super) depth: u32,
    /// Of the completion queue.
    pub(super) entries: u32,
}

impl Sizes {
    pub(super) fn of(port: &UsablePort, settings: &Settings, steering: Steering) -> Self {
        let count = match steering {
            Steering::QueuePair => settings.queue_pairs.clamp(1, 64),
            Steering::FlowLabel | Steering::Driver => 1,
        };
        let depth = settings.depth.clamp(1, port.attributes.max_qp_wr.max(1));
        let entries = u32::try_from(count)
            .unwrap_or(u32::MAX)
            .saturating_mul(2)
            .saturating_mul(depth)
            .min(port.attributes.max_cqe);
        // The completion queue must hold everything that can be under way, or it would overrun.
        let depth = depth
            .min(entries / 2 / u32::try_from(count).unwrap_or(1))
            .max(1);
        Self {
            count,
            depth,
            entries,
        }
    }
}

/// Refuses a Q_Key that only privileged programs may set.
pub(super) fn check_q_key(rnic: &RnicName, settings: &Settings) -> Result<(), TransportError> {
    if settings.q_key.0 >> 31 == 0 {
        return Ok(());
    }
    Err(TransportError::Rnic {
        rnic: rnic.clone(),
        why: "a Q_Key with its top bit set is reserved for privileged use: choose a smaller one"
            .to_owned(),
    })
}
