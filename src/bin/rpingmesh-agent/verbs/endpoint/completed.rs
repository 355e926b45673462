//! What the completion queue says: sends that have ended, packets that have come, queue pairs in error.

use rdma_core_sys::abi;
use rpingmesh::id::Qpn;
use rpingmesh::transport::{Completion, Received, SendStatus};

use super::super::completion::WorkCompletion;
use super::super::queue::WorkId;
use super::{BATCH, VerbsEndpoint, count};

/// Batches of completions that a queue may hold, generously: devices allow 4 million entries.
const MOST_ROUNDS: usize = 1 << 16;

impl VerbsEndpoint {
    /// Takes completions from the queue, up to a batch, and says whether that was all.
    pub(super) fn poll_queue(&mut self, out: &mut Vec<Completion>) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        let result = self.completions.poll(&mut taken, BATCH);
        let all = taken.len() < BATCH;
        for completion in taken.drain(..) {
            match WorkId::decode(completion.id) {
                WorkId::Send { queue, slot } => self.finish_send(queue, slot, &completion, out),
                WorkId::Receive { queue, slot } => {
                    self.finish_receive(queue, slot, &completion, out);
                }
            }
        }
        self.taken = taken;
        self.return_receives();
        if let Err(error) = result {
            self.lose(format!("polling the completion queue failed: {error}"));
        }
        all
    }

    fn finish_send(
        &mut self,
        queue: usize,
        slot: usize,
        completion: &WorkCompletion,
        out: &mut Vec<Completion>,
    ) {
        let Some((token, posted)) = self
            .queues
            .get_mut(queue)
            .and_then(|queue| queue.sent(slot))
        else {
            count(
                &mut self.counters.unexpected,
                "unexpected completion",
                &self.rnic,
            );
            return;
        };
        let status = if completion.status == abi::IBV_WC_SUCCESS {
            SendStatus::Sent
        } else {
            self.suspect(queue);
            SendStatus::Failed(completion.status)
        };
        out.push(Completion::Sent {
            token,
            at: self.completions.departure(completion, posted),
            status,
        });
    }

    fn finish_receive(
        &mut self,
        index: usize,
        slot: usize,
        completion: &WorkCompletion,
        out: &mut Vec<Completion>,
    ) {
        let Some(queue) = self.queues.get_mut(index) else {
            count(
                &mut self.counters.unexpected,
                "unexpected completion",
                &self.rnic,
            );
            return;
        };
        if !queue.end_receive(slot) {
            count(
                &mut self.counters.unexpected,
                "unexpected completion",
                &self.rnic,
            );
            return;
        }
        if completion.status != abi::IBV_WC_SUCCESS {
            count(
                &mut self.counters.failed_receives,
                "failed receive",
                &self.rnic,
            );
            self.suspect(index);
            return;
        }
        let has_grh = completion.flags & abi::IBV_WC_GRH != 0;
        match queue.received(slot, completion.length as usize) {
            Some((source_gid, payload)) if has_grh => {
                out.push(Completion::Received(Received {
                    at: completion.at,
                    source_gid,
                    source_qpn: Qpn::from_lower_bits(completion.source_qpn),
                    source_port: None,
                    payload,
                }));
            }
            _ => count(
                &mut self.counters.malformed,
                "malformed datagram",
                &self.rnic,
            ),
        }
    }

    fn suspect(&mut self, queue: usize) {
        if !self.suspects.contains(&queue) {
            self.suspects.push(queue);
        }
    }

    /// Gives the device back the receive slots that were read, except on queue pairs with a completion in error: one that is in
    /// error itself completes what is posted at once, and nothing more would be learned.
    pub(super) fn return_receives(&mut self) {
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if self.suspects.contains(&index) {
                continue;
            }
            if queue.is_dry() {
                count(
                    &mut self.counters.dry,
                    "queue pair without receive buffers, packets may be lost",
                    &self.rnic,
                );
            }
            if let Err(error) = queue.repost() {
                tracing::debug!(rnic = %self.rnic, %error, "receives were not posted");
            }
        }
    }

    /// Looks at the queue pairs that completed something with an error, when nothing more is in the completion queue,
    /// and starts those anew that stopped. Their numbers stay.
    pub(super) fn examine_suspects(&mut self, out: &mut Vec<Completion>) {
        for index in std::mem::take(&mut self.suspects) {
            match self.queues[index].state() {
                Ok(abi::IBV_QPS_RTS) => {}
                Ok(_) => {
                    if let Err((call, error)) = self.restart(index, out) {
                        self.lose(format!(
                            "a queue pair is in error and {call} failed: {error}"
                        ));
                    }
                }
                Err(error) => self.lose(format!("ibv_query_qp failed: {error}")),
            }
        }
        // Those that are well after all have waited for theirs.
        self.return_receives();
    }

    fn restart(
        &mut self,
        index: usize,
        out: &mut Vec<Completion>,
    ) -> Result<(), (&'static str, std::io::Error)> {
        self.queues[index].stop()?;
        // A slot must not be used again while its old completion can still come.
        if !(0..MOST_ROUNDS).any(|_| self.poll_queue(out)) {
            let endless = std::io::Error::other("it gives completions without end");
            return Err(("ibv_poll_cq", endless));
        }
        let lost = self.queues[index].restart(self.rnic.port, self.settings.q_key)?;
        count(
            &mut self.counters.restarts,
            "queue pair in error, started anew",
            &self.rnic,
        );
        for token in lost {
            self.report_failed(token, abi::IBV_WC_WR_FLUSH_ERR);
        }
        Ok(())
    }
}
