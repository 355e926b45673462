//! One queue pair with its memory and the account of what is under way on it.
#![allow(
    unsafe_code,
    reason = "posting needs the promise that memory and address handles outlive the requests, which is kept here"
)]

use std::io;
use std::sync::Arc;

use rdma_core_sys::abi;
use rpingmesh::id::{Gid, QKey, Qpn};
use rpingmesh::time::{Clock, HostTime, SystemClock};
use rpingmesh::transport::{MAX_PAYLOAD, Payload, SendRequest, SendToken};

use super::completion::CqHandle;
use super::grh;
use super::handles::{AddressHandle, ProtectionDomain, QueuePair, QueueSizes};
use super::memory::{Memory, RECEIVE_PIECES};

/// The longest payload, as the device is asked for it.
#[expect(clippy::cast_possible_truncation, reason = "64")]
const INLINE: u32 = MAX_PAYLOAD as u32;

/// Says in a work request's id that it is a receive.
const RECEIVE_BIT: u64 = 1 << 63;

/// What a work request's id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkId {
    /// A send from this slot of this queue.
    Send {
        /// Index of the queue pair in its endpoint.
        queue: usize,
        /// Index of the slot.
        slot: usize,
    },
    /// A receive into this slot of this queue.
    Receive {
        /// Index of the queue pair in its endpoint.
        queue: usize,
        /// Index of the slot.
        slot: usize,
    },
}

impl WorkId {
    fn encode(self) -> u64 {
        let (queue, slot, bit) = match self {
            Self::Send { queue, slot } => (queue, slot, 0),
            Self::Receive { queue, slot } => (queue, slot, RECEIVE_BIT),
        };
        bit | (queue as u64) << 32 | slot as u64
    }

    /// Any number means something; whether queue and slot exist is for the endpoint to see.
    pub(super) fn decode(id: u64) -> Self {
        let (queue, slot) = (
            ((id & !RECEIVE_BIT) >> 32) as usize,
            (id & 0xffff_ffff) as usize,
        );
        if id & RECEIVE_BIT == 0 {
            Self::Send { queue, slot }
        } else {
            Self::Receive { queue, slot }
        }
    }
}

/// A send under way; the address handle must outlive it.
struct InFlight {
    token: SendToken,
    /// When the call that posted it began.
    posted: HostTime,
    _handle: Arc<AddressHandle>,
}

/// A queue pair and everything that belongs to it alone. The order of the members matters: the queue pair goes first,
/// so that the device has let go of memory and address handles when they go.
pub(super) struct Queue {
    pair: QueuePair,
    memory: Memory,
    index: usize,
    sends: Vec<Option<InFlight>>,
    free: Vec<usize>,
    /// Sends that [`Queue::flush`] will post.
    staged: Vec<abi::ibv_send_wr>,
    pieces: Vec<abi::ibv_sge>,
    /// Receives that are not posted.
    returned: Vec<usize>,
    /// Which receives are posted, so that a confused driver cannot hand one over twice.
    posted: Vec<bool>,
    send_flags: u32,
    /// Whether it can take requests.
    running: bool,
}

// SAFETY: the pointers in `staged` lead to what the queue itself owns or keeps alive, and are only read by `flush`.
unsafe impl Send for Queue {}

impl Queue {
    /// Makes a queue pair with `depth` sends and receives and brings it to RTS with all receives posted.
    ///
    /// # Errors
    /// The call that failed, with its cause.
    pub(super) fn open(
        domain: &Arc<ProtectionDomain>,
        completions: &Arc<CqHandle>,
        index: usize,
        depth: u32,
        port: u8,
        q_key: QKey,
    ) -> Result<Self, (&'static str, io::Error)> {
        let sizes = QueueSizes {
            depth,
            inline: INLINE,
            receive_pieces: RECEIVE_PIECES.unsigned_abs(),
        };
        let slots = depth as usize;
        let memory = Memory::new(domain, slots).map_err(|error| ("ibv_reg_mr", error))?;
        let pair = QueuePair::new(domain, completions, sizes)
            .map_err(|error| ("ibv_create_qp (UD)", error))?;
        let inline = pair.inline_limit() as usize >= MAX_PAYLOAD;
        let mut queue = Self {
            pair,
            memory,
            index,
            sends: (0..slots).map(|_| None).collect(),
            free: (0..slots).rev().collect(),
            staged: Vec::with_capacity(slots),
            pieces: Vec::with_capacity(slots),
            returned: (0..slots).collect(),
            posted: vec![false; slots],
            send_flags: abi::IBV_SEND_SIGNALED | if inline { abi::IBV_SEND_INLINE } else { 0 },
            running: false,
        };
        queue.start(port, q_key)?;
        Ok(queue)
    }

    /// RESET → RTS, with all receives posted.
    fn start(&mut self, port: u8, q_key: QKey) -> Result<(), (&'static str, io::Error)> {
        self.pair
            .initialize(port, q_key)
            .map_err(|error| ("ibv_modify_qp (INIT)", error))?;
        self.running = true;
        self.repost().map_err(|error| ("ibv_post_recv", error))?;
        self.pair
            .activate()
            .map_err(|error| ("ibv_modify_qp (RTR, RTS)", error))
    }

    /// Stops it after an error: what is under way will not complete any more, except for completions that are already
    /// in the completion queue. After those were taken, [`Queue::restart`] goes on.
    ///
    /// # Errors
    /// The call that failed, with its cause.
    pub(super) fn stop(&mut self) -> Result<(), (&'static str, io::Error)> {
        self.running = false;
        self.pair
            .reset()
            .map_err(|error| ("ibv_modify_qp (RESET)", error))
    }

    /// Starts anew under the same number and returns the tokens of what was under way.
    ///
    /// # Errors
    /// The call that failed, with its cause.
    pub(super) fn restart(
        &mut self,
        port: u8,
        q_key: QKey,
    ) -> Result<Vec<SendToken>, (&'static str, io::Error)> {
        let mut lost = Vec::new();
        for (slot, send) in self.sends.iter_mut().enumerate() {
            if let Some(send) = send.take() {
                lost.push(send.token);
                self.free.push(slot);
            }
        }
        self.returned = (0..self.posted.len()).collect();
        self.posted.fill(false);
        self.start(port, q_key)?;
        Ok(lost)
    }

    /// The queue pair's number.
    pub(super) fn qpn(&self) -> Qpn {
        self.pair.qpn()
    }

    /// Its state (`ibv_qp_state`).
    pub(super) fn state(&self) -> io::Result<u32> {
        self.pair.state()
    }

    /// Whether one more send can be staged.
    pub(super) fn has_room(&self) -> bool {
        self.running && !self.free.is_empty()
    }

    /// Prepares a send; [`Queue::flush`] posts it. Gives the request back when there is no room.
    pub(super) fn stage(
        &mut self,
        request: &SendRequest,
        handle: &Arc<AddressHandle>,
    ) -> Result<(), ()> {
        if !self.has_room() {
            return Err(());
        }
        let slot = self.free.pop().ok_or(())?;
        self.pieces.push(self.memory.fill(slot, &request.payload));
        self.staged.push(abi::ibv_send_wr {
            wr_id: WorkId::Send {
                queue: self.index,
                slot,
            }
            .encode(),
            next: std::ptr::null_mut(),
            sg_list: std::ptr::null_mut(),
            num_sge: 1,
            opcode: abi::IBV_WR_SEND,
            send_flags: self.send_flags,
            imm_data: 0,
            wr: QueuePair::address(handle, request.to.qpn, request.to.q_key),
            qp_type: 0,
            bind_mw: [0; 6],
        });
        self.sends[slot] = Some(InFlight {
            token: request.token,
            posted: HostTime::from_nanos(0),
            _handle: Arc::clone(handle),
        });
        Ok(())
    }

    /// Posts what is staged in one call and appends what could not be posted to `failed`, with the errno.
    pub(super) fn flush(&mut self, failed: &mut Vec<(SendToken, u32)>) {
        if self.staged.is_empty() {
            return;
        }
        let first = self.pieces.as_mut_ptr();
        for (index, request) in self.staged.iter_mut().enumerate() {
            request.sg_list = first.wrapping_add(index);
        }
        let now = SystemClock.host();
        for request in &self.staged {
            if let WorkId::Send { slot, .. } = WorkId::decode(request.wr_id)
                && let Some(send) = &mut self.sends[slot]
            {
                send.posted = now;
            }
        }
        // SAFETY: the pieces are read during the call; the slots and address handles they lead to are kept in `sends`
        // and `memory` until the completion, and both outlive the queue pair.
        let result = unsafe { self.pair.post_send(&mut self.staged) };
        if let Err((posted, error)) = result {
            let code = error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs();
            for request in &self.staged[posted..] {
                if let WorkId::Send { slot, .. } = WorkId::decode(request.wr_id)
                    && let Some(send) = self.sends[slot].take()
                {
                    self.free.push(slot);
                    failed.push((send.token, code));
                }
            }
        }
        self.staged.clear();
        self.pieces.clear();
    }

    /// Ends a send: its token and when it was posted, unless nothing was under way in that slot.
    pub(super) fn sent(&mut self, slot: usize) -> Option<(SendToken, HostTime)> {
        let send = self.sends.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some((send.token, send.posted))
    }

    /// Ends a receive: takes the slot back for [`Queue::repost`]. False if it was not posted.
    pub(super) fn end_receive(&mut self, slot: usize) -> bool {
        match self.posted.get_mut(slot) {
            Some(posted) if *posted => {
                *posted = false;
                self.returned.push(slot);
                true
            }
            _ => false,
        }
    }

    /// The sender and payload in a slot that [`Queue::end_receive`] took back; `None` where it is malformed.
    pub(super) fn received(&self, slot: usize, length: usize) -> Option<(Gid, Payload)> {
        let (header, payload) = self.memory.received(slot, length)?;
        Some((grh::source_gid(&header)?, payload))
    }

    /// Whether no receive is posted: packets may be lost at this moment.
    pub(super) fn is_dry(&self) -> bool {
        self.running && self.returned.len() == self.posted.len()
    }

    /// Posts all receives that were taken back, in one call.
    ///
    /// # Errors
    /// Those of `ibv_post_recv`; what was not posted is tried again next time.
    pub(super) fn repost(&mut self) -> io::Result<()> {
        if !self.running || self.returned.is_empty() {
            return Ok(());
        }
        let mut pieces: Vec<_> = self
            .returned
            .iter()
            .map(|slot| self.memory.receive_pieces(*slot))
            .collect();
        let mut requests: Vec<_> = self
            .returned
            .iter()
            .zip(&mut pieces)
            .map(|(slot, pieces)| abi::ibv_recv_wr {
                wr_id: WorkId::Receive {
                    queue: self.index,
                    slot: *slot,
                }
                .encode(),
                next: std::ptr::null_mut(),
                sg_list: pieces.as_mut_ptr(),
                num_sge: RECEIVE_PIECES,
            })
            .collect();
        // SAFETY: the pieces are read during the call; the memory they lead to outlives the queue pair and is not read
        // before the completion.
        let result = unsafe { self.pair.post_receive(&mut requests) };
        let posted = match &result {
            Ok(()) => self.returned.len(),
            Err((posted, _)) => *posted,
        };
        for slot in self.returned.drain(..posted) {
            self.posted[slot] = true;
        }
        result.map_err(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn work_ids_come_back(queue in 0usize..1 << 31, slot in 0usize..1 << 32) {
            for id in [WorkId::Send { queue, slot }, WorkId::Receive { queue, slot }] {
                prop_assert_eq!(WorkId::decode(id.encode()), id);
            }
        }

        #[test]
        fn any_number_is_a_work_id(id in any::<u64>()) {
            prop_assert_eq!(WorkId::decode(id).encode(), id);
        }
    }
}
