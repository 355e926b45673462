//! The registered memory of one queue pair: send slots, receive slots, and a place for what is too long.
//!
//! A receive slot holds the GRH and the longest payload; longer datagrams run on into one area that all slots share
//! and nobody reads, so that no sender can put the queue pair into an error state.
#![allow(
    unsafe_code,
    reason = "memory that the device writes while the program runs"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use rdma_core_sys::abi;
use rpingmesh::transport::{MAX_PAYLOAD, Payload};

use super::grh;
use super::handles::{ProtectionDomain, check};

const PAGE: usize = 4096;
const SEND_SLOT: usize = MAX_PAYLOAD;
/// GRH and payload, rounded up to two cache lines.
const RECEIVE_SLOT: usize = 128;
/// What a receive slot takes of a datagram.
const RECEIVE_LENGTH: usize = grh::LENGTH + MAX_PAYLOAD;
/// The largest path MTU, so that nothing is too long.
const SPILL: usize = 4096;
/// Pieces of a receive request: the slot and the spill area.
pub(super) const RECEIVE_PIECES: i32 = 2;

/// Registered memory for `slots` sends and as many receives.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
    region: NonNull<abi::ibv_mr>,
    key: u32,
    slots: usize,
    domain: Arc<ProtectionDomain>,
}

// SAFETY: the memory is owned; only this type accesses it.
unsafe impl Send for Memory {}

impl Memory {
    /// Allocates and registers it.
    ///
    /// # Errors
    /// Those of `ibv_reg_mr`: `ENOMEM` where the limit of locked memory is too low.
    pub(super) fn new(domain: &Arc<ProtectionDomain>, slots: usize) -> io::Result<Self> {
        let size = SPILL + slots * (SEND_SLOT + RECEIVE_SLOT);
        let layout = Layout::from_size_align(size, PAGE).map_err(io::Error::other)?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })
            .unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the domain is alive and the range allocated.
        let region = unsafe {
            (domain.context().library().ibv_reg_mr)(
                domain.raw(),
                start.as_ptr().cast(),
                size,
                abi::IBV_ACCESS_LOCAL_WRITE,
            )
        };
        let Some(region) = NonNull::new(region) else {
            let error = io::Error::last_os_error();
            // SAFETY: allocated above with this layout.
            unsafe { dealloc(start.as_ptr(), layout) };
            return Err(error);
        };
        Ok(Self {
            start,
            layout,
            region,
            // SAFETY: the region is alive.
            key: unsafe { region.as_ref() }.lkey,
            slots,
            domain: Arc::clone(domain),
        })
    }

    fn send_offset(slot: usize) -> usize {
        SPILL + slot * SEND_SLOT
    }

    fn receive_offset(&self, slot: usize) -> usize {
        SPILL + self.slots * SEND_SLOT + slot * RECEIVE_SLOT
    }

    fn piece(&self, offset: usize, length: usize) -> abi::ibv_sge {
        abi::ibv_sge {
            addr: (self.start.as_ptr().addr() + offset) as u64,
            #[expect(clippy::cast_possible_truncation, reason = "at most SPILL")]
            length: length as u32,
            lkey: self.key,
        }
    }

    /// Copies a payload into a send slot and describes it. The slot must not be under way.
    pub(super) fn fill(&mut self, slot: usize, payload: &Payload) -> abi::ibv_sge {
        assert!(slot < self.slots, "no such send slot");
        let bytes = payload.as_slice();
        let offset = Self::send_offset(slot);
        // SAFETY: the slot lies within the allocation and a payload is at most SEND_SLOT long; the device only reads it,
        // and not now.
        unsafe {
            self.start
                .as_ptr()
                .add(offset)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.piece(offset, bytes.len())
    }

    /// Describes a receive slot and the spill area behind it.
    pub(super) fn receive_pieces(&self, slot: usize) -> [abi::ibv_sge; RECEIVE_PIECES as usize] {
        assert!(slot < self.slots, "no such receive slot");
        [
            self.piece(self.receive_offset(slot), RECEIVE_LENGTH),
            self.piece(0, SPILL),
        ]
    }

    /// What was received into a slot, `length` bytes with the GRH; `None` where that is no GRH and payload. The slot
    /// must not be posted.
    pub(super) fn received(
        &self,
        slot: usize,
        length: usize,
    ) -> Option<([u8; grh::LENGTH], Payload)> {
        assert!(slot < self.slots, "no such receive slot");
        let payload = length
            .checked_sub(grh::LENGTH)
            .filter(|payload| *payload <= MAX_PAYLOAD)?;
        let mut bytes = [0; RECEIVE_LENGTH];
        // SAFETY: the slot lies within the allocation, and the device has completed writing it.
        unsafe {
            self.start
                .as_ptr()
                .add(self.receive_offset(slot))
                .copy_to_nonoverlapping(bytes.as_mut_ptr(), RECEIVE_LENGTH);
        }
        let (header, rest) = bytes.split_first_chunk()?;
        Some((*header, Payload::new(rest.get(..payload)?)?))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the owner destroys the queue pair first, so the device no longer uses the memory. If it cannot be
        // deregistered, it is leaked rather than freed under the device.
        unsafe {
            let library = self.domain.context().library();
            if check((library.ibv_dereg_mr)(self.region.as_ptr())).is_ok() {
                dealloc(self.start.as_ptr(), self.layout);
            }
        }
    }
}
