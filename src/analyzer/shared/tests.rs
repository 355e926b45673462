//! An owner and a judge without network and database: what agents send is counted once, and an earlier owner is not believed.

use prost::Message as _;

use tonic::Code;

use super::evidence::EvidenceHandle;
use super::service::{known, permit};
use super::*;
use crate::analysis::fleet::Fleet;
use crate::analysis::report::{Sender, SpoolId};
use crate::analysis::shards::{MemberId, Owned, ShardId};
use crate::analysis::sizing::Sizing;
use crate::analysis::windows::{Limits, PathView, Slot};
use crate::analyzer::intake::{Greeting, StoreFailure, Submission, Welcome};
use crate::analyzer::state::{self, KnownTopology, State, StateHandle};
use crate::id::{AgentId, HostName};
use crate::net::tls::PeerIdentity;
use crate::net::url::Url;
use crate::rpc::relay::{Frame, FrameShard};
use crate::rpc::shards::ShardEpoch;
use crate::rpc::v1;
use crate::store::analyzers::{AnalyzerFleet, Endpoints, Judge};
use crate::time::{Nanos, SystemClock, WallTime};
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(20);

fn shard() -> ShardId {
    ShardId::new(5).expect("there")
}

/// Two analyzers, of which one owns a shard; the first judges.
fn fleet(owner: i64, epoch: i64) -> Arc<AnalyzerFleet> {
    let mut fleet = AnalyzerFleet::default();
    for id in 1..3 {
        let url = Url::parse(&format!("http://127.0.0.1:{id}")).expect("a URL");
        let endpoints = Endpoints {
            grpc: url.clone(),
            web: url,
        };
        fleet.members.insert(MemberId(id), endpoints);
    }
    let owner = Some(MemberId(owner));
    fleet.table.set(shard(), Owned { owner, epoch });
    fleet.judge = Some(Judge {
        member: MemberId(1),
        epoch: 1,
    });
    Arc::new(fleet)
}

/// An analyzer, and who changes what it sees of the others.
fn here(id: i64, seen: Arc<AnalyzerFleet>) -> (Here, watch::Sender<Arc<AnalyzerFleet>>) {
    let (sender, fleet) = watch::channel(seen);
    let here = Here {
        id: MemberId(id),
        fleet,
        renewed: watch::channel(tokio::time::Instant::now()).1,
        log: SharedLog::new(1 << 24),
        metrics: Arc::new(Metrics::new(Arc::default())),
    };
    (here, sender)
}

fn front(here: &Here) -> IntakeHandle {
    let (requests, queue) = mpsc::channel(4);
    let front = front::Front::new(here.clone(), Arc::new(SystemClock));
    tokio::spawn(front.run(queue));
    IntakeHandle::new(requests, (Arc::default(), Memory::default()), None)
}

fn limits() -> Limits {
    Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: 1_000,
        bytes: 1 << 28,
    }
}

fn judge(here: &Here) -> (EvidenceHandle, watch::Receiver<bool>, StateHandle) {
    let (limits, clock) = (limits(), Arc::new(SystemClock));
    let (state, thread) = state::new(
        (limits.clone(), Sizing::new(&limits, false)),
        KnownTopology::new(None),
        Fleet::restored(Vec::new(), Duration::from_hours(24), clock.host()),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::clone(&here.metrics),
        Publisher::default(),
    );
    tokio::task::spawn_blocking(|| thread.run());
    let started = evidence::start(
        here.clone(),
        1,
        limits.clock_tolerance,
        state.clone(),
        clock,
    );
    tokio::spawn(started.task);
    (started.handle, started.replayed, state)
}

fn sender() -> Sender {
    Sender {
        agent: AgentId::new("a"),
        spool: SpoolId(7),
    }
}

/// As an agent is told it.
#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn told(epoch: i64) -> Option<ShardEpoch> {
    let shard = shard();
    Some(ShardEpoch { shard, epoch })
}

async fn greet(
    intake: &IntakeHandle,
    shard: Option<ShardEpoch>,
    acknowledged: u64,
) -> Result<Welcome, StoreFailure> {
    let greeting = Greeting {
        sender: sender(),
        shard,
        acknowledged,
    };
    intake.greet(greeting).await.expect("it runs")
}

/// A batch of one path with ten probes.
async fn submit(
    intake: &IntakeHandle,
    shard: Option<ShardEpoch>,
    sequence: u64,
) -> Result<u64, StoreFailure> {
    let payload: bytes::Bytes = intake::tests::batch(sequence);
    let (reply, answer) = oneshot::channel();
    let submission = Submission {
        sender: sender(),
        host: HostName::new("h1"),
        version: None,
        received: intake.read(&payload).expect("a batch"),
        room: intake.memory().room(payload.len()).await,
        payload,
        shard,
        reply,
    };
    assert!(intake.submit(submission).await);
    answer.await.expect("an answer")
}

/// What an analyzer would relay to a judge that knows nothing.
fn frame(here: &Here) -> v1::RelayFrame {
    let portion = here.log.next(&mut here.log.cursor(None, false), 1 << 20);
    relay::frame(1, &portion, relay::owned(here)).expect("memory")
}

/// How many items of a frame the judge refuses, where it is the first of a stream.
async fn take(evidence: &EvidenceHandle, from: i64, frame: v1::RelayFrame) -> u64 {
    let frame = evidence.reader().read(frame).expect("a frame");
    let stale = evidence.take(MemberId(from), frame).await;
    stale.expect("it runs")
}

/// Probes that were counted.
async fn counted(state: &StateHandle) -> u64 {
    let read = |state: &State, now: WallTime| {
        let newest = Slot::of(now);
        let all = newest.before(10)..Slot::of(now + Nanos::from(Duration::from_mins(1)));
        let sent = |path: PathView<'_>| path.counts(&all).map(|slot| slot.sent).sum::<u64>();
        state.windows.paths().map(sent).sum::<u64>()
    };
    state.read(read).await.expect("the thread runs")
}

#[tokio::test]
async fn batches_count_once_whichever_owners_relay_them() {
    let (first, first_sees) = here(1, fleet(1, 1));
    let (second, second_sees) = here(2, fleet(1, 1));
    let (evidence, mut replayed, state) = judge(&first);
    let (at_first, at_second) = (front(&first), front(&second));
    let welcome = greet(&at_first, told(1), 0).await.expect("taken");
    assert_eq!((welcome.acknowledged, welcome.seen_since), (0, 1));
    for sequence in 1..=10 {
        assert_eq!(
            submit(&at_first, told(1), sequence).await.expect("new"),
            sequence
        );
    }
    assert_eq!(submit(&at_first, told(1), 10).await.expect("known"), 10);
    let early = submit(&at_second, told(1), 11)
        .await
        .expect_err("not its shard");
    assert!(early.text.contains("another analyzer's"), "{}", early.text);
    // The judge has what the first one had, and has it twice.
    let late = frame(&first);
    for _ in 0..2 {
        assert_eq!(take(&evidence, 1, frame(&first)).await, 0);
    }
    assert_eq!(counted(&state).await, 100);
    let complete = tokio::time::timeout(PATIENCE, replayed.wait_for(|is_done| *is_done));
    complete.await.expect("in time").expect("it runs");

    // The second one becomes the owner; the agent has kept 1 to 10 and has 11 and 12, which nobody has seen.
    second_sees.send_replace(fleet(2, 2));
    first_sees.send_replace(fleet(2, 2));
    let welcome = greet(&at_second, told(2), 10).await.expect("taken");
    assert_eq!((welcome.acknowledged, welcome.seen_since), (10, 11));
    for sequence in [11, 12, 10, 9, 8] {
        let answer = submit(&at_second, told(2), sequence).await.expect("new");
        assert_eq!(answer, sequence.max(11 + u64::from(sequence != 11)));
    }
    let again = greet(&at_second, told(2), 12).await.expect("taken");
    assert_eq!((again.acknowledged, again.seen_since), (12, 8));
    assert_eq!(take(&evidence, 2, frame(&second)).await, 0);
    assert_eq!(counted(&state).await, 120);

    // What the first one still has is refused, by its own knowledge and by the judge.
    assert_eq!(take(&evidence, 1, late.clone()).await, 10);
    let mut forged = late;
    for shard in &mut forged.shards {
        shard.shard = told(2).map(Into::into);
    }
    assert_eq!(take(&evidence, 1, forged).await, 10);
    let refused = greet(&at_first, told(1), 12).await.expect_err("stale");
    assert!(refused.text.contains("by now (epoch 2"), "{}", refused.text);
    assert!(frame(&first).shards.is_empty(), "it has forgotten them");
    assert_eq!(counted(&state).await, 120);
}

#[tokio::test]
async fn agents_that_know_nothing_of_shards_are_taken_by_whoever_owns_one() {
    let (first, sees) = here(1, Arc::default());
    let intake = front(&first);
    let refused = greet(&intake, None, 0).await.expect_err("it owns none");
    assert!(refused.text.contains("no shard yet"), "{}", refused.text);
    sees.send_replace(fleet(1, 1));
    let welcome = greet(&intake, None, 0).await.expect("taken");
    assert_eq!((welcome.acknowledged, welcome.seen_since), (0, 0));
    assert_eq!(submit(&intake, None, 7).await.expect("new"), 7);
    assert_eq!(submit(&intake, None, 6).await.expect("old"), 7);
    let frame = frame(&first);
    let items: Vec<_> = frame.shards.iter().flat_map(|shard| &shard.items).collect();
    assert_eq!(items.len(), 1, "as a single analyzer takes them");
    let batch = v1::ResultBatch::decode(items[0].batch.clone()).expect("a batch");
    assert_eq!(batch.sequence, 7);
}

#[test]
fn an_analyzer_passes_results_on_for_itself_alone() {
    let mut fleet = AnalyzerFleet::default();
    for (id, host) in [(1, "a.example"), (2, "b.example")] {
        let url = Url::parse(&format!("https://{host}:7471")).expect("a URL");
        let endpoints = Endpoints {
            grpc: url.clone(),
            web: url,
        };
        fleet.members.insert(MemberId(id), endpoints);
    }
    let ask = |names: &[&str], analyzer| {
        let identity = PeerIdentity::of_dns_names(names);
        permit(&fleet, &identity, analyzer).map_err(|status| status.code())
    };
    assert_eq!(ask(&["a.example"], 1), Ok(MemberId(1)));
    assert_eq!(ask(&["a.example", "b.example"], 2), Ok(MemberId(2)));
    assert_eq!(
        ask(&["a.example"], 2),
        Err(Code::PermissionDenied),
        "another analyzer"
    );
    assert_eq!(ask(&["host1"], 1), Err(Code::PermissionDenied), "an agent");
    assert_eq!(
        ask(&["a.example"], 3),
        Err(Code::Unavailable),
        "nobody has that number"
    );
}

/// A judge that is behind does not refuse what would not come again.
#[tokio::test(start_paused = true)]
async fn a_frame_of_an_owner_that_the_judge_does_not_know_yet_waits() {
    let (mut here, seen) = here(1, fleet(1, 1));
    let frame = |epoch| Frame {
        number: 1,
        shards: vec![FrameShard {
            shard: Ok(told(epoch).expect("a shard")),
            items: Vec::new(),
        }],
        caught_up: false,
    };
    known(&mut here.fleet, &frame(1)).await.expect("known");
    let behind = known(&mut here.fleet, &frame(2)).await;
    assert_eq!(behind.expect_err("too late").code(), Code::Unavailable);
    let sees = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        seen.send_replace(fleet(2, 2));
    };
    let second = frame(2);
    let (known, ()) = tokio::join!(known(&mut here.fleet, &second), sees);
    known.expect("in time");
}
