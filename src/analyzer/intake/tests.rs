use super::*;
use crate::analysis::fleet::Fleet;
use crate::analysis::report::SpoolId;
use crate::analysis::sizing::Sizing;
use crate::analysis::windows::{PathView, Slot};
use crate::analyzer::state::{self, KnownTopology};
use crate::events::Publisher;
use crate::id::{AgentId, HostName};
use crate::rpc::v1;
use crate::store::Location;
use crate::store::open::Stores;
use crate::time::SystemClock;
use bytes::Bytes;
use prost::Message as _;

fn sender() -> Sender {
    Sender {
        agent: AgentId::new("a"),
        spool: SpoolId(7),
    }
}

/// A batch of one path with ten probes, of a second that has just gone.
pub(in crate::analyzer) fn batch(sequence: u64) -> Bytes {
    let end = |last: u8| v1::Peer {
        gid: crate::id::Gid::from(std::net::Ipv4Addr::new(10, 0, 0, last))
            .bytes()
            .to_vec()
            .into(),
        qpn: 17,
        host: format!("h{last}"),
        tor: "t0".to_owned(),
        device: "mlx5_0".to_owned(),
    };
    let now = SystemClock.wall().nanos();
    let batch = v1::ResultBatch {
        sequence,
        start_unix_ns: now - 2_000_000_000,
        end_unix_ns: now - 1_000_000_000,
        paths: vec![v1::PathReport {
            source: Some(end(1)),
            target: Some(end(2)),
            kind: v1::ProbeKind::TorMesh.into(),
            source_port: 50_000,
            sent: 10,
            lost: 10,
            clock: v1::CompletionClock::Software.into(),
            ..v1::PathReport::default()
        }],
        ..v1::ResultBatch::default()
    };
    batch.encode_to_vec().into()
}

async fn submit(intake: &IntakeHandle, sequence: u64) -> u64 {
    let payload = batch(sequence);
    let (reply, answer) = oneshot::channel();
    let submission = Submission {
        sender: sender(),
        host: HostName::new("h1"),
        version: None,
        received: intake.read(&payload).expect("a batch"),
        room: intake.memory().room(payload.len()).await,
        payload,
        shard: None,
        reply,
    };
    assert!(intake.submit(submission).await);
    answer.await.expect("an answer").expect("stored")
}

/// The probes that were counted, in whatever slot.
async fn counted(state: &StateHandle) -> u64 {
    let read = |state: &state::State, now: WallTime| {
        let newest = Slot::of(now);
        let all = newest.before(10)..Slot::of(now + Nanos::from(Duration::from_mins(1)));
        let sent = |path: PathView<'_>| path.counts(&all).map(|slot| slot.sent).sum::<u64>();
        state.windows.paths().map(sent).sum::<u64>()
    };
    state.read(read).await.expect("the thread runs")
}

async fn start(
    journal: &Arc<dyn Journal>,
    first: Duration,
) -> (
    StateHandle,
    Started<impl Future<Output = ()> + Send + use<>>,
) {
    let limits = Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: 1_000,
        bytes: 1 << 28,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new(Arc::default()));
    let (state, thread) = state::new(
        (limits.clone(), Sizing::new(&limits, false)),
        KnownTopology::new(None),
        Fleet::restored(Vec::new(), Duration::from_hours(24), clock.host()),
        Arc::clone(&clock),
        Arc::clone(&metrics),
        Publisher::default(),
    );
    tokio::task::spawn_blocking(|| thread.run());
    let journal = Arc::clone(journal);
    let started = super::start(journal, limits, clock, state.clone(), metrics, first).await;
    (state, started.expect("started"))
}

#[tokio::test]
async fn uploads_are_taken_while_a_large_journal_is_read_back_and_nothing_counts_twice() {
    let stores = Stores::open(&Location::Memory).await.expect("stores");
    let (_, started) = start(&stores.journal, REPLAY_FIRST).await;
    assert!(
        *started.replayed.borrow(),
        "an empty journal is read at once"
    );
    let running = tokio::spawn(started.task);
    for sequence in 1..=200 {
        assert_eq!(submit(&started.handle, sequence).await, sequence);
    }
    drop(started.handle);
    running.await.expect("ended");

    // Without any time for it before the task runs.
    let (state, mut started) = start(&stores.journal, Duration::ZERO).await;
    assert!(!*started.replayed.borrow());
    let running = tokio::spawn(started.task);
    let handle = &started.handle;
    let greeting = Greeting {
        sender: sender(),
        shard: None,
        acknowledged: 0,
    };
    let welcome = handle
        .greet(greeting)
        .await
        .expect("it runs")
        .expect("taken");
    assert_eq!((welcome.acknowledged, welcome.seen_since), (200, 0));
    assert_eq!(submit(handle, 200).await, 200, "known");
    assert_eq!(submit(handle, 201).await, 201);
    started
        .replayed
        .wait_for(|is_done| *is_done)
        .await
        .expect("read back");
    assert_eq!(counted(&state).await, 201 * 10);
    assert_eq!(handle.memory().used(), 0);
    drop(started.handle);
    running.await.expect("ended");
}
