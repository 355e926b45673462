//! Path tracing over the emulated fabric: packets that expire on its switches, and the switches' answers.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::rounds::Request;
use super::{Command, Fabric, Stopped};
use crate::id::NodeName;
use crate::path_trace::{PathTracer, Round, TraceError};
use crate::probe::trace::{Answer, MAX_HOPS, Observation, Tuple};

/// Traces over the emulated fabric. Switches answer by their names; targets do not, as RNICs do not.
#[derive(Clone)]
pub struct FabricTracer {
    fabric: Fabric,
}

impl Fabric {
    /// Traces from any RNIC.
    pub fn tracer(&self) -> FabricTracer {
        FabricTracer {
            fabric: self.clone(),
        }
    }
}

impl FabricTracer {
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
