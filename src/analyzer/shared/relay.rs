//! The task that passes on to the judge what agents of this analyzer's shards have sent.
//!
//! In: the log, and who judges (`watch`). A judge that was told nothing gets what is new first, then what is kept, the newest first. A
//! stream to the same judge goes on behind what it has taken. What no judge has taken is new to the next one; each takes a batch once, by
//! its number. Dropping the task at any await is safe: agents have what is lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::here::Here;
use super::log::{Content, Cursor, Portion, Position};
use crate::net::client::channel_to_one_of_several;
use crate::net::limit::LogLimit;
use crate::net::tls::Security;
use crate::rpc::MAX_MESSAGE_BYTES;
use crate::rpc::relay::{self, Outgoing, Said};
use crate::rpc::shards::ShardEpoch;
use crate::rpc::v1;
use crate::rpc::v1::judge_service_client::JudgeServiceClient;
use crate::rpc::v1::relay_request::Message;
use crate::store::analyzers::{Endpoints, Judge};
use crate::store::membership::Membership;
use crate::time::{Clock as _, SystemClock};

/// Frames on their way, that the judge has not taken yet.
const IN_FLIGHT: usize = 4;
/// Bytes of one frame before it is compressed, as far as one item allows.
const FRAME: usize = 2 << 20;
/// What has come is gathered for so long.
const LINGER: Duration = Duration::from_millis(100);
/// A frame is sent at least so often: the judge knows that nothing is missing.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// The judge may take this long for a frame, or to begin.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the judge is tried again.
const PAUSE: Duration = Duration::from_millis(250);
/// zstd's fastest regular level.
const LEVEL: i32 = 1;

/// Why a stream to the judge has ended.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("{0}")]
    Channel(#[from] crate::net::client::ChannelError),
    #[error("{}", .0.message())]
    Status(Box<tonic::Status>),
    #[error("no answer within {PATIENCE:?}")]
    Silent,
    #[error("the judge has closed the stream")]
    Closed,
    #[error("a frame cannot be compressed")]
    Packing(#[source] std::io::Error),
}

/// The task.
pub(super) struct Relay {
    here: Here,
    membership: Arc<Membership>,
    security: Security,
    lines: LogLimit,
    /// What was taken, and the judge that took it last.
    told: Option<(Judge, Position)>,
}

/// One stream to one judge.
struct Stream {
    requests: mpsc::Sender<v1::RelayRequest>,
    answers: Streaming<v1::RelayResponse>,
    cursor: Cursor,
    number: u64,
    /// Frames that the judge has not taken.
    in_flight: VecDeque<Frame>,
    sent_at: Instant,
}

/// A frame on its way.
struct Frame {
    number: u64,
    /// When the oldest came of what is new in it.
    oldest: Option<Instant>,
    /// Where the cursor is behind it.
    end: Position,
}

impl Relay {
    /// Connects when it runs.
    pub(super) fn new(here: Here, membership: Arc<Membership>, security: Security) -> Self {
        Self {
            here,
            membership,
            security,
            lines: LogLimit::new(3, Duration::from_mins(1)),
            told: None,
        }
    }

    /// Tells whoever judges, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.keep_telling()).await;
        stop.cancelled().await;
    }

    async fn keep_telling(&mut self) {
        let mut fleet = self.here.fleet.clone();
        loop {
            let seen = Arc::clone(&fleet.borrow_and_update());
            let judge = seen.judge.zip(seen.judge_endpoints().cloned());
            let Some((judge, endpoints)) = judge else {
                if fleet.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let another = async {
                let is_another = fleet.wait_for(|fleet| fleet.judge != Some(judge));
                if is_another.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let told = tokio::select! {
                told = self.tell(judge, &endpoints) => told,
                () = another => continue,
            };
            if let Err(error) = told
                && let Some(suppressed) = self.lines.admit(SystemClock.host())
            {
                let error = crate::error::describe(&error);
                tracing::warn!(judge = %endpoints.grpc, error, suppressed, "the judge takes nothing; it is tried again");
            }
            let told = self.told.map(|(_, position)| position);
            self.note_lag(self.here.log.oldest_untold(told));
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn tell(&mut self, judge: Judge, endpoints: &Endpoints) -> Result<(), RelayError> {
        let mut stream = self.begin(judge, endpoints).await?;
        let mut ticks = tokio::time::interval(LINGER);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_news = true;
        loop {
            let patience = if stream.in_flight.is_empty() {
                Duration::MAX
            } else {
                PATIENCE
            };
            tokio::select! {
                answer = tokio::time::timeout(patience, stream.answers.message()) => {
                    let answer = answer
                        .map_err(|_| RelayError::Silent)?
                        .map_err(|status| RelayError::Status(status.into()))?
                        .ok_or(RelayError::Closed)?;
                    while let Some(taken) = stream.in_flight.pop_front_if(|frame| frame.number <= answer.number) {
                        self.told = Some((judge, taken.end));
                    }
                    self.here.metrics.shared.evidence_refused.inc_by(answer.stale);
                }
                () = self.here.log.news(), if !has_news => has_news = true,
                _ = ticks.tick(), if stream.in_flight.len() < IN_FLIGHT => {
                    let is_due = stream.sent_at.elapsed() >= HEARTBEAT;
                    if has_news || is_due {
                        has_news = !stream.send(&self.here).await?;
                        if has_news {
                            ticks.reset_immediately();
                        }
                    }
                }
            }
            let untold = self.here.log.oldest_untold(Some(stream.cursor.position()));
            let under_way = stream.in_flight.iter().filter_map(|frame| frame.oldest);
            self.note_lag(under_way.chain(untold).min());
        }
    }

    /// How far the judge is behind, by when the oldest came that it has not taken.
    fn note_lag(&self, oldest: Option<Instant>) {
        let lag = oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed());
        self.here
            .metrics
            .shared
            .relay_lag_seconds
            .set(lag.as_secs_f64());
        self.membership.tell_lag(lag);
    }

    async fn begin(&self, judge: Judge, endpoints: &Endpoints) -> Result<Stream, RelayError> {
        let channel = channel_to_one_of_several(&endpoints.grpc, &self.security)?;
        let mut client =
            JudgeServiceClient::new(channel).max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (requests, stream) = mpsc::channel(IN_FLIGHT + 1);
        let hello = v1::RelayHello {
            analyzer: self.here.id.0,
            judge_epoch: judge.epoch,
        };
        let hello = v1::RelayRequest {
            message: Some(Message::Hello(hello)),
        };
        // The channel is empty: there is room.
        let _ = requests.try_send(hello);
        let beginning = async {
            let call = client.relay(ReceiverStream::new(stream));
            let mut answers = call
                .await
                .map_err(|status| RelayError::Status(status.into()))?
                .into_inner();
            let first = answers.message().await;
            first
                .map_err(|status| RelayError::Status(status.into()))?
                .ok_or(RelayError::Closed)?;
            Ok::<_, RelayError>(answers)
        };
        let answers = tokio::time::timeout(PATIENCE, beginning).await;
        let answers = answers.map_err(|_| RelayError::Silent)??;
        let is_same = self.told.is_some_and(|(told, _)| told == judge);
        let told = self.told.map(|(_, position)| position);
        Ok(Stream {
            requests,
            answers,
            cursor: self.here.log.cursor(told, is_same),
            number: 0,
            in_flight: VecDeque::new(),
            sent_at: Instant::now(),
        })
    }
}

impl Stream {
    /// Sends a frame; gives whether nothing is left.
    async fn send(&mut self, here: &Here) -> Result<bool, RelayError> {
        let portion = here.log.next(&mut self.cursor, FRAME);
        let (oldest, is_last) = (portion.oldest, portion.is_last);
        self.number += 1;
        let (number, owned) = (self.number, owned(here));
        // Megabytes of it would hold up others.
        let packing = tokio::task::spawn_blocking(move || {
            let frame = frame(number, &portion, owned)?;
            zstd::bulk::compress(&frame.encode_to_vec(), LEVEL)
        });
        let packed = packing.await.map_err(std::io::Error::other).flatten();
        let packed = packed.map_err(RelayError::Packing)?;
        let metrics = &here.metrics.shared;
        metrics.relay_frames.inc();
        metrics.relay_bytes.inc_by(packed.len() as u64);
        let request = v1::RelayRequest {
            message: Some(Message::ZstdFrame(packed.into())),
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| RelayError::Closed)?;
        self.in_flight.push_back(Frame {
            number: self.number,
            oldest,
            end: self.cursor.position(),
        });
        self.sent_at = Instant::now();
        Ok(is_last)
    }
}

/// Items by their shards. All shards that this analyzer owns are named, also those of which there is nothing: it is there for them.
pub(super) fn frame(
    number: u64,
    portion: &Portion,
    owned: impl IntoIterator<Item = ShardEpoch>,
) -> std::io::Result<v1::RelayFrame> {
    let owned = owned.into_iter().map(|shard| (shard, Vec::new()));
    let mut shards: BTreeMap<ShardEpoch, Vec<Outgoing<'_>>> = owned.collect();
    for (item, again) in &portion.items {
        let content = match &item.content {
            Content::Batch(batch, standing) => Said::Batch(batch, *standing),
            Content::State(state) => Said::State(state),
        };
        shards.entry(item.shard).or_default().push(Outgoing {
            sender: &item.sender,
            host: &item.host,
            version: item.version.as_ref(),
            again: *again,
            late: item.late,
            content,
        });
    }
    relay::frame(number, shards, &portion.paths, portion.is_last)
}

/// The shards of this analyzer, as far as it knows.
pub(super) fn owned(here: &Here) -> Vec<ShardEpoch> {
    let fleet = here.fleet.borrow();
    let owned = fleet.table.of(here.id).map(|shard| ShardEpoch {
        shard,
        epoch: fleet.table.get(shard).epoch,
    });
    owned.collect()
}
