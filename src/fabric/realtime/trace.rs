//! Path tracing over the emulated fabric: packets that expire on its switches, and the switches' answers.

use std::collections::HashMap;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Command, Fabric, Stopped};
use crate::fabric::engine::{Engine, HopAnswer};
use crate::fabric::topology::RnicId;
use crate::id::NodeName;
use crate::path_trace::{PathTracer, Round, TraceError};
use crate::probe::trace::{Answer, MAX_HOPS, Observation, Tuple};
use crate::time::HostTime;

/// Bits of a packet's token that hold its hop limit; the others number the round.
const HOP_BITS: u32 = 8;

/// One round to make.
pub(super) struct Request {
    pub(super) at: HostTime,
    rnic: RnicId,
    tuple: Tuple,
    hops: u8,
    /// As many as there are hop limits find a place.
    answers: mpsc::Sender<HopAnswer>,
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

/// Traces over the emulated fabric. Switches answer by their names; targets do not, as RNICs do not.
#[derive(Clone)]
pub struct FabricTracer {
    fabric: Fabric,
}

impl FabricTracer {
    pub(super) const fn new(fabric: Fabric) -> Self {
        Self { fabric }
    }

    async fn run(&self, tuple: Tuple, round: Round) -> Result<Observation, TraceError> {
        let failed = |why: String| TraceError::Failed { tuple, why };
        let topology = &self.fabric.topology;
        let rnic = topology
            .rnic_by_gid(tuple.source)
            .ok_or_else(|| failed(format!("the emulated fabric has no RNIC {}", tuple.source)))?;
        let hops = round.max_hops.clamp(1, MAX_HOPS);
        let mut observation = Observation::empty(hops);
        let (answers, mut inbox) = mpsc::channel(usize::from(hops));
        let at = self.fabric.clock.host();
        let request = Request {
            at,
            rnic,
            tuple,
            hops,
            answers,
        };
        self.fabric
            .commands
            .send(Command::Trace(request))
            .await
            .map_err(|_| failed(Stopped.to_string()))?;
        let collect = async {
            while let Some(answer) = inbox.recv().await {
                #[expect(clippy::cast_possible_truncation, reason = "the hop limit's bits")]
                let hop_limit = answer.token as u8;
                let switch = Answer {
                    node: NodeName::new(topology.node_name(answer.switch)),
                    rtt: answer.at - at,
                };
                observation.answer(hop_limit, switch);
            }
        };
        // Nothing says that no more will come but the time.
        let _ = tokio::time::timeout(round.timeout, collect).await;
        Ok(observation)
    }
}

impl PathTracer for FabricTracer {
    fn name(&self) -> &'static str {
        "fabric"
    }

    fn round(&self, tuple: Tuple, round: Round) -> BoxFuture<'_, Result<Observation, TraceError>> {
        self.run(tuple, round).boxed()
    }
}

#[cfg(test)]
mod tests;
