//! The gRPC service: one task per upload stream.
//!
//! A stream submits batches to the intake and passes its acknowledgements on, at most [`IN_FLIGHT`] ahead of them; beyond
//! that it stops reading, and HTTP/2's flow control stops the agent. A stream that ends at any point leaves nothing
//! half done: what was submitted is stored, what was not acknowledged is sent again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::intake::{Greeting, IntakeHandle, StoreFailure, Submission, Welcome};
use super::memory::Room;
use super::metrics::Metrics;
use super::state::Told;
use crate::analysis::report::{Sender, SpoolId};
use crate::error::describe;
use crate::id::{AgentId, AgentVersion, HostName};
use crate::net::receive::{Ledger, Metered, metered};
use crate::net::server::{identity_of, peer_of};
use crate::net::tls::PeerIdentity;
use crate::rpc::MAX_MESSAGE_BYTES;
use crate::rpc::convert::{self, FieldError};
use crate::rpc::results::Received;
use crate::rpc::shards::ShardEpoch;
use crate::rpc::upload::{Message, UploadRequest, unpack, unpacked_size};
use crate::rpc::v1::analyzer_service_server::{AnalyzerService, AnalyzerServiceServer};
use crate::rpc::v1::{self, UploadHello, UploadResponse};

/// Batches of one stream that wait for their acknowledgement: enough to fill a group commit, few enough that a stream
/// cannot take the intake's queue for itself.
pub(super) const IN_FLIGHT: usize = 16;
/// How long a stream may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a message around its batch: gRPC's five, key and length of the field.
const FRAMING: usize = 5 + 1 + 4;
/// Acknowledgements that wait for the agent to read them.
const ANSWERS: usize = IN_FLIGHT;

/// The service with its limit on messages.
pub(super) fn service(
    intake: IntakeHandle,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Metered<AnalyzerServiceServer<Uploads>> {
    let receiving = intake.memory().receiving.clone();
    let service = AnalyzerServiceServer::new(Uploads {
        intake,
        metrics,
        stop,
    })
    .max_decoding_message_size(MAX_MESSAGE_BYTES);
    metered(service, receiving)
}

#[derive(Debug)]
pub(super) struct Uploads {
    intake: IntakeHandle,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

type Answers = mpsc::Sender<Result<UploadResponse, Status>>;

#[tonic::async_trait]
impl AnalyzerService for Uploads {
    type UploadStream = ReceiverStream<Result<UploadResponse, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let (peer, identity) = (peer_of(&request), identity_of(&request));
        let ledger = request.extensions().get::<Ledger>().cloned();
        let (answers, stream) = mpsc::channel(ANSWERS);
        let session = Session {
            ledger,
            inbound: request.into_inner(),
            identity,
            intake: self.intake.clone(),
            answers: answers.clone(),
            waiting: VecDeque::new(),
        };
        let (metrics, stop) = (self.metrics.clone(), self.stop.clone());
        tokio::spawn(async move {
            metrics.uploads.streams.inc();
            let ended = tokio::select! {
                ended = session.run() => ended,
                () = stop.cancelled() => Err(Status::unavailable("the analyzer is stopping")),
                // The agent has gone; nobody is left to tell.
                () = answers.closed() => Ok(()),
            };
            metrics.uploads.streams.dec();
            if let Err(status) = ended {
                metrics.refuse_upload(reason(status.code()));
                tracing::info!(?peer, code = ?status.code(), reason = status.message(), "an upload ended");
                // The agent may have gone meanwhile.
                let _ = answers.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn reason(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "invalid",
        Code::PermissionDenied => "other_host",
        Code::OutOfRange => "too_large",
        Code::ResourceExhausted => "store_full",
        Code::FailedPrecondition => "sequence",
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded => "timeout",
        _ => "other",
    }
}

/// What a hello says.
struct Origin {
    sender: Sender,
    host: HostName,
    version: Option<AgentVersion>,
    shard: Option<ShardEpoch>,
}

struct Session {
    /// What has arrived and is not taken yet.
    ledger: Option<Ledger>,
    inbound: Streaming<UploadRequest>,
    identity: PeerIdentity,
    intake: IntakeHandle,
    answers: Answers,
    /// Replies of the intake, in the order of the batches.
    waiting: VecDeque<oneshot::Receiver<Result<u64, StoreFailure>>>,
}

impl Session {
    async fn run(mut self) -> Result<(), Status> {
        let (from, greeting) = self.hello().await?;
        let welcome = self.intake.greet(greeting).await.ok_or_else(stopping)?;
        self.welcome(welcome.map_err(refused)?).await;
        let mut open = true;
        while open || !self.waiting.is_empty() {
            // Both branches may be dropped between two polls without losing anything: the reply stays in its channel,
            // a message stays in the decoder.
            tokio::select! {
                reply = front(&mut self.waiting) => {
                    self.waiting.pop_front();
                    let sequence = reply.ok_or_else(stopping)?.map_err(refused)?;
                    self.acknowledge(sequence).await;
                }
                message = self.inbound.message(), if open && self.waiting.len() < IN_FLIGHT => {
                    let submitted = match message {
                        Ok(Some(message)) => self.submit(message, &from).await,
                        Ok(None) => {
                            open = false;
                            Ok(())
                        }
                        Err(status) => Err(status),
                    };
                    if let Err(status) = submitted {
                        self.settle().await;
                        return Err(status);
                    }
                }
            }
        }
        Ok(())
    }

    /// Acknowledges what came before a message that is refused: so the agent knows which one it is.
    async fn settle(&mut self) {
        while let Some(reply) = self.waiting.pop_front() {
            let Ok(Ok(sequence)) = reply.await else {
                return;
            };
            self.acknowledge(sequence).await;
        }
    }

    async fn hello(&mut self) -> Result<(Origin, Greeting), Status> {
        let first = tokio::time::timeout(HELLO_TIMEOUT, self.inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came in time"))??;
        if let Some(ledger) = &self.ledger {
            ledger.release(usize::MAX);
        }
        let Some(Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("an upload begins with a hello"));
        };
        let UploadHello {
            agent_id,
            spool_id,
            host,
            version,
            shard,
            acknowledged_sequence,
        } = hello;
        let within = |error: FieldError| Status::from(error.within("hello"));
        let agent: AgentId = convert::name("agent_id", agent_id).map_err(within)?;
        let host = HostName::new(convert::optional_text("host", host).map_err(within)?);
        let version = convert::optional_text("version", version).map_err(within)?;
        self.identity
            .permit(&host, &agent)
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        let sender = Sender {
            agent,
            spool: SpoolId(spool_id),
        };
        let shard = shard.map(ShardEpoch::try_from).transpose();
        let shard = shard.map_err(|error| within(error.within("shard")))?;
        let greeting = Greeting {
            sender: sender.clone(),
            shard,
            acknowledged: acknowledged_sequence,
        };
        let origin = Origin {
            sender,
            host,
            version: (!version.is_empty()).then(|| AgentVersion::new(version)),
            shard,
        };
        Ok((origin, greeting))
    }

    async fn submit(&mut self, message: UploadRequest, from: &Origin) -> Result<(), Status> {
        let unusable = |error| Status::invalid_argument(describe(&error));
        let (mut room, batch) = match message.message {
            Some(Message::Batch(batch)) => (self.room(batch.len(), batch.len()).await, batch),
            Some(Message::State(state)) => {
                self.tell(state, from).await;
                return Ok(());
            }
            Some(Message::ZstdBatch(packed)) => {
                let size = unpacked_size(&packed).map_err(unusable)?;
                let room = self.room(size, packed.len()).await;
                (room, unpack(&packed, size).map_err(unusable)?)
            }
            Some(Message::Hello(_)) | None => {
                return Err(Status::invalid_argument(
                    "only batches and states may follow the hello",
                ));
            }
        };
        let received = self.read(&batch)?.of_host(&from.host);
        room.shrink(&received, batch.len());
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            sender: from.sender.clone(),
            host: from.host.clone(),
            version: from.version.clone(),
            received,
            payload: batch,
            room,
            shard: from.shard,
            reply,
        };
        if !self.intake.submit(submission).await {
            return Err(stopping());
        }
        self.waiting.push_back(answer);
        Ok(())
    }

    /// Passes on what the agent says of itself.
    async fn tell(&self, state: v1::AgentState, from: &Origin) {
        if let Some(ledger) = &self.ledger {
            ledger.complete();
            ledger.release(state.encoded_len() + FRAMING);
        }
        let told = Told {
            sender: from.sender.clone(),
            host: from.host.clone(),
            version: from.version.clone(),
            state: state.into(),
        };
        self.intake.tell(told, from.shard).await;
    }

    /// Waits for the memory to read a batch of so many bytes. From then on the batch counts there, and what has `arrived` of it
    /// no longer counts as such.
    async fn room(&self, bytes: usize, arrived: usize) -> Room {
        if let Some(ledger) = &self.ledger {
            ledger.complete();
        }
        let room = self.intake.memory().room(bytes).await;
        if let Some(ledger) = &self.ledger {
            ledger.release(arrived + FRAMING);
        }
        room
    }

    fn read(&self, batch: &Bytes) -> Result<Received, Status> {
        self.intake
            .read(batch)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }

    async fn acknowledge(&self, sequence: u64) {
        let welcome = Welcome {
            acknowledged: sequence,
            seen_since: 0,
        };
        self.welcome(welcome).await;
    }

    async fn welcome(&self, welcome: Welcome) {
        let answer = UploadResponse {
            acknowledged_sequence: welcome.acknowledged,
            takes_zstd: true,
            takes_state: true,
            seen_since_sequence: welcome.seen_since,
        };
        // A stream whose reader has gone ends by itself.
        let _ = self.answers.send(Ok(answer)).await;
    }
}

/// The reply of the oldest waiting batch; never when none waits.
async fn front(
    waiting: &mut VecDeque<oneshot::Receiver<Result<u64, StoreFailure>>>,
) -> Option<Result<u64, StoreFailure>> {
    match waiting.front_mut() {
        Some(reply) => reply.await.ok(),
        None => std::future::pending().await,
    }
}

fn stopping() -> Status {
    Status::unavailable("the analyzer is stopping")
}

fn refused(failure: StoreFailure) -> Status {
    Status::new(failure.code, failure.text)
}
