//! The judge's gRPC service: one task per analyzer that relays.
//!
//! A stream passes its frames to the intake of evidence, one at a time, and its answers back. A stream that ends at any point leaves
//! nothing half done: what the judge has not answered comes again, and is known by its numbers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::evidence::EvidenceHandle;
use super::here::Here;
use crate::analysis::shards::MemberId;
use crate::error::describe;
use crate::net::server::{identity_of, peer_of};
use crate::net::tls::PeerIdentity;
use crate::rpc::relay::{Frame, Reader};
use crate::rpc::shards::ShardEpoch;
use crate::rpc::upload::{unpack, unpacked_size};
use crate::rpc::v1::judge_service_server::{JudgeService, JudgeServiceServer};
use crate::rpc::v1::relay_request::Message;
use crate::rpc::{MAX_MESSAGE_BYTES, v1};
use crate::store::analyzers::AnalyzerFleet;

/// How long an analyzer may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// The judge sees new owners as soon as they do themselves, or a moment later.
const BEHIND: Duration = Duration::from_secs(2);
/// Answers that wait for the analyzer to read them.
const ANSWERS: usize = 16;

/// The service with its limit on messages.
pub(super) fn service(
    here: Here,
    judge: watch::Receiver<Option<EvidenceHandle>>,
    stop: CancellationToken,
) -> JudgeServiceServer<Relays> {
    JudgeServiceServer::new(Relays { here, judge, stop })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) struct Relays {
    here: Here,
    /// Who takes evidence while this analyzer judges.
    judge: watch::Receiver<Option<EvidenceHandle>>,
    stop: CancellationToken,
}

type Answers = mpsc::Sender<Result<v1::RelayResponse, Status>>;

#[tonic::async_trait]
impl JudgeService for Relays {
    type RelayStream = ReceiverStream<Result<v1::RelayResponse, Status>>;

    async fn relay(
        &self,
        request: Request<Streaming<v1::RelayRequest>>,
    ) -> Result<Response<Self::RelayStream>, Status> {
        let identity = identity_of(&request);
        let peer = peer_of(&request);
        let judge = self.judge.borrow().clone().ok_or_else(no_judge)?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let (here, stop) = (self.here.clone(), self.stop.clone());
        let inbound = request.into_inner();
        tokio::spawn(async move {
            let from = |analyzer| permit(&here.fleet.borrow(), &identity, analyzer);
            let fleet = here.fleet.clone();
            let ended = tokio::select! {
                ended = converse(inbound, (judge, fleet), from, &answers) => ended,
                () = stop.cancelled() => Err(no_judge()),
                // The analyzer has gone; nobody is left to tell.
                () = answers.closed() => Ok(()),
            };
            if let Err(status) = ended {
                tracing::info!(?peer, code = ?status.code(), reason = status.message(), "a relay ended");
                // The analyzer may have gone meanwhile.
                let _ = answers.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Lets an analyzer speak for itself alone: whoever passes results on speaks for any host of its shards.
pub(super) fn permit(
    fleet: &AnalyzerFleet,
    identity: &PeerIdentity,
    analyzer: i64,
) -> Result<MemberId, Status> {
    let from = MemberId(analyzer);
    let endpoints = fleet.members.get(&from).ok_or_else(|| {
        // It may have come a moment ago: it tries again.
        Status::unavailable(format!(
            "analyzer {analyzer} is not among those that share this fleet"
        ))
    })?;
    let host = endpoints.grpc.host();
    identity.permit_analyzer(&[host.to_owned()]).map_err(|_| {
        Status::permission_denied(format!(
            "the client's certificate does not name `{host}`, the host of analyzer {analyzer}: its key `advertise` must name a host \
             that its certificate (tls.cert) names, too"
        ))
    })?;
    Ok(from)
}

fn no_judge() -> Status {
    Status::unavailable("this analyzer does not judge")
}

async fn converse(
    mut inbound: Streaming<v1::RelayRequest>,
    (judge, mut fleet): (EvidenceHandle, watch::Receiver<Arc<AnalyzerFleet>>),
    permitted: impl Fn(i64) -> Result<MemberId, Status>,
    answers: &Answers,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came in time"))??;
    let Some(Message::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("a relay begins with a hello"));
    };
    if hello.judge_epoch != judge.epoch {
        return Err(Status::unavailable(format!(
            "this analyzer judges in epoch {}, not in {}",
            judge.epoch, hello.judge_epoch
        )));
    }
    let from = permitted(hello.analyzer)?;
    answer(answers, v1::RelayResponse::default()).await?;
    let mut reader = judge.reader();
    while let Some(request) = inbound.message().await? {
        let Some(Message::ZstdFrame(packed)) = request.message else {
            return Err(Status::invalid_argument("only frames may follow the hello"));
        };
        let (frame, read_on) = read(packed, reader).await?;
        reader = read_on;
        let number = frame.number;
        known(&mut fleet, &frame).await?;
        let stale = judge.take(from, frame).await.ok_or_else(no_judge)?;
        answer(answers, v1::RelayResponse { number, stale }).await?;
    }
    Ok(())
}

/// Waits until this analyzer knows all epochs of a frame: what it refused because it is behind would not come again.
///
/// # Errors
/// It does not see them in time. The relay begins anew then, with all that was not taken.
pub(super) async fn known(
    fleet: &mut watch::Receiver<Arc<AnalyzerFleet>>,
    frame: &Frame,
) -> Result<(), Status> {
    let named = frame.shards.iter();
    let named: Vec<ShardEpoch> = named
        .filter_map(|one| one.shard.as_ref().ok().copied())
        .collect();
    let is_known = |fleet: &Arc<AnalyzerFleet>| {
        let mut all = named.iter();
        all.all(|one| fleet.table.get(one.shard).epoch >= one.epoch)
    };
    match tokio::time::timeout(BEHIND, fleet.wait_for(is_known)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(no_judge()),
        Err(_) => Err(Status::unavailable(
            "this analyzer does not know yet who owns these shards",
        )),
    }
}

/// Megabytes of it would hold up others.
async fn read(packed: Bytes, mut reader: Reader) -> Result<(Frame, Reader), Status> {
    let reading = tokio::task::spawn_blocking(move || {
        let unusable = |error| Status::invalid_argument(describe(&error));
        let size = unpacked_size(&packed).map_err(unusable)?;
        let frame = unpack(&packed, size).map_err(unusable)?;
        let frame = v1::RelayFrame::decode(frame)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let frame = reader
            .read(frame)
            .map_err(|error| Status::invalid_argument(describe(&error)))?;
        Ok((frame, reader))
    });
    reading
        .await
        .map_err(|_| Status::internal("reading a frame failed"))?
}

async fn answer(answers: &Answers, answer: v1::RelayResponse) -> Result<(), Status> {
    let sent = answers.send(Ok(answer)).await;
    sent.map_err(|_| Status::cancelled("the analyzer has closed the stream"))
}
