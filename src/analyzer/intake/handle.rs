//! What upload streams hold of whoever takes their batches: the intake of an analyzer, or that of shards.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::refusal::StoreFailure;
use crate::analysis::report::Sender;
use crate::analyzer::memory::{Memory, Room};
use crate::analyzer::state::{StateHandle, Told};
use crate::id::{AgentVersion, HostName};
use crate::rpc::results::{BatchError, Ends, Received};
use crate::rpc::shards::ShardEpoch;

/// Who begins an upload.
#[derive(Debug, Clone)]
pub(in crate::analyzer) struct Greeting {
    pub(in crate::analyzer) sender: Sender,
    /// As the controller has said; `None` from agents that were told nothing.
    pub(in crate::analyzer) shard: Option<ShardEpoch>,
    /// Up to which batch an analyzer has acknowledged, as the agent says; 0 for none.
    pub(in crate::analyzer) acknowledged: u64,
}

/// Where an upload goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analyzer) struct Welcome {
    /// Behind this batch.
    pub(in crate::analyzer) acknowledged: u64,
    /// Everything from this one on was seen: what the agent has kept below is wanted. 0: nothing is.
    pub(in crate::analyzer) seen_since: u64,
}

/// A batch on its way into the journal, or to the judge.
#[derive(Debug)]
pub(in crate::analyzer) struct Submission {
    pub(in crate::analyzer) sender: Sender,
    pub(in crate::analyzer) host: HostName,
    /// Of the agent's program, where it tells.
    pub(in crate::analyzer) version: Option<AgentVersion>,
    pub(in crate::analyzer) received: Received,
    /// The batch as it came.
    pub(in crate::analyzer) payload: Bytes,
    /// What both take.
    pub(in crate::analyzer) room: Room,
    /// As in [`Greeting`].
    pub(in crate::analyzer) shard: Option<ShardEpoch>,
    pub(in crate::analyzer) reply: oneshot::Sender<Result<u64, StoreFailure>>,
}

/// What streams ask for.
#[derive(Debug)]
pub(in crate::analyzer) enum Request {
    Hello(Greeting, oneshot::Sender<Result<Welcome, StoreFailure>>),
    Batch(Box<Submission>),
    /// Only where nobody else is told.
    Told(Box<Told>, Option<ShardEpoch>),
}

/// For the upload streams.
#[derive(Debug, Clone)]
pub(in crate::analyzer) struct IntakeHandle {
    requests: mpsc::Sender<Request>,
    ends: Arc<Ends>,
    memory: Memory,
    /// Who is told what agents say of themselves, past the queue.
    state: Option<StateHandle>,
}

impl IntakeHandle {
    /// Of a task that takes requests.
    pub(in crate::analyzer) fn new(
        requests: mpsc::Sender<Request>,
        (ends, memory): (Arc<Ends>, Memory),
        state: Option<StateHandle>,
    ) -> Self {
        Self {
            requests,
            ends,
            memory,
            state,
        }
    }

    /// Bounds what batches take on their way.
    pub(in crate::analyzer) const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where the sender's upload goes on; `None` when the analyzer ends.
    pub(in crate::analyzer) async fn greet(
        &self,
        greeting: Greeting,
    ) -> Option<Result<Welcome, StoreFailure>> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Hello(greeting, reply))
            .await
            .ok()?;
        answer.await.ok()
    }

    /// Reads an encoded batch.
    pub(in crate::analyzer) fn read(&self, batch: &[u8]) -> Result<Received, BatchError> {
        Received::read(batch, &self.ends)
    }

    /// Submits a batch; its reply comes when it is taken. False when the analyzer ends.
    pub(in crate::analyzer) async fn submit(&self, submission: Submission) -> bool {
        let request = Request::Batch(Box::new(submission));
        self.requests.send(request).await.is_ok()
    }

    /// Passes on what an agent says of itself.
    pub(in crate::analyzer) async fn tell(&self, told: Told, shard: Option<ShardEpoch>) {
        match &self.state {
            Some(state) => state.told(told).await,
            None => {
                // At the end of the analyzer nobody needs it.
                let _ = self
                    .requests
                    .send(Request::Told(Box::new(told), shard))
                    .await;
            }
        }
    }
}
