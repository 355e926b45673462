//! Rounds of path tracing that are under way: which packets expire where, and who waits for the answers.

use std::collections::HashMap;

use tokio::sync::mpsc;

use crate::fabric::engine::{Engine, HopAnswer};
use crate::fabric::topology::RnicId;
use crate::probe::trace::Tuple;
use crate::time::HostTime;

/// Bits of a packet's token that hold its hop limit; the others number the round.
const HOP_BITS: u32 = 8;

/// One round to make.
pub(super) struct Request {
    pub(super) at: HostTime,
    pub(super) rnic: RnicId,
    pub(super) tuple: Tuple,
    pub(super) hops: u8,
    /// As many as there are hop limits find a place.
    pub(super) answers: mpsc::Sender<HopAnswer>,
}

/// Rounds under way.
#[derive(Default)]
pub(super) struct Traces {
    begun: u64,
    waiting: HashMap<u64, mpsc::Sender<HopAnswer>>,
}

impl Traces {
    pub(super) fn begin(&mut self, request: Request, engine: &mut Engine) {
        // Those who have stopped waiting get nothing any more.
        self.waiting.retain(|_, answers| !answers.is_closed());
        self.begun += 1;
        self.waiting.insert(self.begun, request.answers);
        for hop_limit in 1..=request.hops {
            engine.send_ttl_probe(
                request.at,
                request.rnic,
                request.tuple.target,
                request.tuple.port,
                hop_limit,
                self.begun << HOP_BITS | u64::from(hop_limit),
            );
        }
    }

    pub(super) fn deliver(&mut self, answers: &mut Vec<HopAnswer>) {
        for answer in answers.drain(..) {
            if let Some(waiting) = self.waiting.get(&(answer.token >> HOP_BITS)) {
                // Whoever waited may have gone.
                let _ = waiting.try_send(answer);
            }
        }
    }
}
