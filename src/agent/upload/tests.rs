//! The uploader against an analyzer that does what the test wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::agent::condition::tests::idle;
use crate::analysis::shards::ShardId;
use crate::config::agent::AgentSettings;
use crate::rpc::shards::ShardEpoch;
use crate::rpc::upload::{Message, unpack, unpacked_size};
use crate::rpc::v1::AgentState as AgentStateMessage;
use crate::rpc::v1::UploadResponse;
use crate::rpc::v1::analyzer_service_server::{AnalyzerService, AnalyzerServiceServer};
use crate::store::Location;

const PATIENCE: Duration = Duration::from_secs(20);

/// By no controller.
fn unassigned() -> watch::Receiver<Option<Assignment>> {
    watch::channel(None).1
}

/// What it has, and what it refuses.
#[derive(Debug, Default)]
struct Known {
    /// By spool.
    marks: BTreeMap<u64, u64>,
    /// Start of the interval of each batch taken, by spool: tells batches apart whatever their number.
    taken: Vec<(u64, u64, i64)>,
    hellos: Vec<u64>,
    /// A batch with this start is refused as unreadable.
    unreadable: Option<i64>,
    /// It understands compressed batches, and sees one where it does.
    takes_zstd: bool,
    has_seen_zstd: bool,
    /// It understands what agents say of themselves, and what it was told.
    takes_state: bool,
    states: Vec<AgentStateMessage>,
    /// What it says that it has seen of the spool.
    seen_since: u64,
    /// Numbers that were taken before, as they came again, and what hellos said was acknowledged.
    again: Vec<u64>,
    acknowledged: Vec<u64>,
    /// Numbers of this spool are refused.
    too_far: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Known>>);

impl Fake {
    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().expect("no panic"))
    }

    fn take(&self, spool: u64, batch: &ResultBatch) -> Result<u64, Status> {
        self.known(|known| {
            if known.unreadable == Some(batch.start_unix_ns) {
                return Err(Status::invalid_argument("the message holds no batch"));
            }
            if known.too_far == Some(spool) {
                return Err(Status::failed_precondition("too far"));
            }
            let mark = known.marks.entry(spool).or_default();
            if batch.sequence > *mark {
                *mark = batch.sequence;
                let taken = (spool, batch.sequence, batch.start_unix_ns);
                known.taken.push(taken);
            } else {
                known.again.push(batch.sequence);
            }
            Ok(*mark)
        })
    }

    async fn serve(self, compressed: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("socket");
        let address = listener.local_addr().expect("address");
        self.known(|known| known.takes_zstd = compressed);
        let service = AnalyzerServiceServer::new(self);
        let router = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

#[tonic::async_trait]
impl AnalyzerService for Fake {
    type UploadStream = ReceiverStream<Result<UploadResponse, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let mut inbound = request.into_inner();
        let (answers, stream) = mpsc::channel(16);
        let fake = self.clone();
        tokio::spawn(async move {
            let mut spool = 0;
            while let Ok(Some(UploadRequest {
                message: Some(message),
            })) = inbound.message().await
            {
                let answer = match message {
                    Message::Hello(hello) => {
                        spool = hello.spool_id;
                        fake.known(|known| {
                            known.hellos.push(spool);
                            known.acknowledged.push(hello.acknowledged_sequence);
                            Ok(known.marks.get(&spool).copied().unwrap_or(0))
                        })
                    }
                    Message::State(state) => {
                        fake.known(|known| known.states.push(state));
                        continue;
                    }
                    Message::Batch(batch) => {
                        fake.take(spool, &ResultBatch::decode(batch).expect("a batch"))
                    }
                    Message::ZstdBatch(packed) => {
                        fake.known(|known| known.has_seen_zstd = true);
                        let size = unpacked_size(&packed).expect("a size");
                        let batch = unpack(&packed, size).expect("a frame");
                        fake.take(spool, &ResultBatch::decode(batch).expect("a batch"))
                    }
                };
                let is_over = answer.is_err();
                let answer = answer.map(|acknowledged_sequence| UploadResponse {
                    acknowledged_sequence,
                    takes_zstd: fake.known(|known| known.takes_zstd),
                    takes_state: fake.known(|known| known.takes_state),
                    seen_since_sequence: fake.known(|known| known.seen_since),
                });
                if answers.send(answer).await.is_err() || is_over {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A batch that is known by its start.
async fn append(spool: &Spool, start: i64) -> u64 {
    let appended = spool
        .append(move |sequence| {
            ResultBatch {
                sequence,
                start_unix_ns: start,
                end_unix_ns: start + 1,
                paths: vec![crate::rpc::v1::PathReport::default(); 50],
                ..ResultBatch::default()
            }
            .encode_to_vec()
        })
        .await;
    appended.expect("appended").sequence
}

fn config(analyzer: SocketAddr) -> AgentConfig {
    let settings: AgentSettings = toml::from_str(&format!(
        "host = 'h'\ntor = 't'\ncontroller = 'http://127.0.0.1:1'\nanalyzer = 'http://{analyzer}'"
    ))
    .expect("settings");
    settings.validate().expect("valid")
}

/// Uploads until everything has been taken or passed over.
async fn upload(spool: &Spool, analyzer: SocketAddr) {
    let config = config(analyzer);
    let (_spooled, news) = watch::channel(0);
    let upload =
        Upload::new(&config, spool.clone(), news, idle(), unassigned()).expect("an uploader");
    let stop = CancellationToken::new();
    let task = tokio::spawn(upload.run(stop.clone()));
    let empty = async {
        while spool.waiting().await.expect("open") > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty)
        .await
        .expect("everything is taken");
    stop.cancel();
    task.await.expect("no panic");
}

fn starts(fake: &Fake) -> Vec<i64> {
    fake.known(|known| known.taken.iter().map(|(_, _, start)| *start).collect())
}

#[tokio::test]
async fn a_batch_that_the_analyzer_cannot_read_holds_up_no_other() {
    for compressed in [true, false] {
        let fake = Fake::default();
        let address = fake.clone().serve(compressed).await;
        let spool = Spool::open(&Location::Memory, 1 << 20)
            .await
            .expect("spool");
        for start in 1..=30 {
            append(&spool, start).await;
        }
        fake.known(|known| known.unreadable = Some(12));
        upload(&spool, address).await;
        let expected: Vec<_> = (1..=30).filter(|start| *start != 12).collect();
        assert_eq!(starts(&fake), expected);
        assert_eq!(spool.status().damaged, 1);
        assert_eq!(fake.known(|known| known.has_seen_zstd), compressed);
    }
}

#[tokio::test]
async fn a_batch_that_nobody_can_read_holds_up_no_other() {
    let fake = Fake::default();
    let address = fake.clone().serve(true).await;
    let spool = Spool::open(&Location::Memory, 1 << 20)
        .await
        .expect("spool");
    append(&spool, 1).await;
    spool.append(|_| vec![0xff; 100]).await.expect("appended");
    append(&spool, 3).await;
    spool.append(|_| vec![0xff; 100]).await.expect("appended");
    upload(&spool, address).await;
    assert_eq!(starts(&fake), [1, 3]);
    assert_eq!(spool.status().damaged, 2);
}

/// An assignment to this analyzer.
#[expect(clippy::unnecessary_wraps, reason = "as the channel has it")]
fn assignment(analyzer: SocketAddr, epoch: i64) -> Option<Assignment> {
    Some(Assignment {
        analyzer: Url::server(&format!("http://{analyzer}")).expect("a URL"),
        shard: ShardEpoch {
            shard: ShardId::new(3).expect("there"),
            epoch,
        },
    })
}

#[tokio::test]
async fn a_new_analyzer_gets_what_is_new_and_what_was_acknowledged_lately() {
    let (first, second) = (Fake::default(), Fake::default());
    let addresses = [
        first.clone().serve(true).await,
        second.clone().serve(true).await,
    ];
    let spool = Spool::open(&Location::Memory, 1 << 20)
        .await
        .expect("spool");
    let (assign, assigned) = watch::channel(assignment(addresses[0], 1));
    let (spooled, news) = watch::channel(0);
    // Its own setting names nobody.
    let nobody = config("127.0.0.1:1".parse().expect("an address"));
    let upload = Upload::new(&nobody, spool.clone(), news, idle(), assigned).expect("an uploader");
    let stop = CancellationToken::new();
    let task = tokio::spawn(upload.run(stop.clone()));
    let until = async |is_done: &dyn Fn() -> bool| {
        let waiting = async {
            while !is_done() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("done");
    };
    for start in 1..=20 {
        spooled.send_replace(append(&spool, start).await);
    }
    until(&|| starts(&first).len() == 20).await;
    until(&|| first.known(|known| known.acknowledged == [0])).await;

    // The new one has nothing, and says so: it takes the mark over from the agent.
    second.known(|known| {
        known.seen_since = 21;
        known.marks.insert(spool.id(), 20);
    });
    assign.send_replace(assignment(addresses[1], 2));
    until(&|| second.known(|known| known.again.len() == 20)).await;
    spooled.send_replace(append(&spool, 21).await);
    until(&|| starts(&second) == [21]).await;
    let backwards: Vec<_> = (1..=20).rev().collect();
    assert_eq!(second.known(|known| known.again.clone()), backwards);
    assert_eq!(second.known(|known| known.acknowledged.clone()), [20]);
    assert_eq!(starts(&first).len(), 20, "it got nothing more");
    let empty = async {
        while spool.waiting().await.expect("open") > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty)
        .await
        .expect("acknowledged");
    stop.cancel();
    task.await.expect("no panic");
}

#[tokio::test]
async fn what_was_acknowledged_before_an_analyzer_was_named_is_kept_for_it() {
    let (first, second) = (Fake::default(), Fake::default());
    let addresses = [
        first.clone().serve(true).await,
        second.clone().serve(true).await,
    ];
    let spool = Spool::open(&Location::Memory, 1 << 20)
        .await
        .expect("spool");
    let (assign, assigned) = watch::channel(None);
    let (spooled, news) = watch::channel(0);
    let upload = Upload::new(&config(addresses[0]), spool.clone(), news, idle(), assigned)
        .expect("an uploader");
    let stop = CancellationToken::new();
    let task = tokio::spawn(upload.run(stop.clone()));
    for start in 1..=5 {
        spooled.send_replace(append(&spool, start).await);
    }
    let until = async |is_done: &dyn Fn() -> bool| {
        let waiting = async {
            while !is_done() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("done");
    };
    until(&|| starts(&first).len() == 5).await;
    while spool.waiting().await.expect("open") > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    second.known(|known| {
        known.seen_since = 6;
        known.marks.insert(spool.id(), 5);
    });
    assign.send_replace(assignment(addresses[1], 1));
    until(&|| second.known(|known| known.again == [5, 4, 3, 2, 1])).await;
    stop.cancel();
    task.await.expect("no panic");
}

/// Else the next analyzer would not ask for what the spool has forgotten meanwhile.
#[test]
fn an_acknowledgement_counts_although_the_task_moves_meanwhile() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let spool = Spool::open(&Location::Memory, 1 << 20)
            .await
            .expect("spool");
        let (_, news) = watch::channel(append(&spool, 1).await);
        let nobody = config("127.0.0.1:1".parse().expect("an address"));
        let mut upload =
            Upload::new(&nobody, spool.clone(), news, idle(), unassigned()).expect("an uploader");
        let id = spool.begin().await.expect("open");
        upload.hello.spool_id = id;
        // The spool's only thread is busy until the task has moved.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let forgotten = tokio::select! {
            biased;
            _ = upload.forget(1) => true,
            () = std::future::ready(()) => false,
        };
        assert!(!forgotten, "it was cancelled");
        assert_eq!(upload.reached, (id, 1));
        drop(release);
        busy.await.expect("no panic").expect_err("released");
    });
}

/// The deed of `fakeanalyzer`: an older copy of the spool is put back. 25 batches were gone without a word.
#[tokio::test]
async fn a_restored_spool_loses_no_batch_and_sends_none_twice() {
    let fake = Fake::default();
    let address = fake.clone().serve(true).await;
    let folder = tempfile::tempdir().expect("folder");
    let (own, backup) = (folder.path().join("spool"), folder.path().join("backup"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        // It may not be there yet.
        let _ = std::fs::remove_dir_all(to);
        std::fs::create_dir(to).expect("folder");
        for entry in std::fs::read_dir(from).expect("folder") {
            let entry = entry.expect("entry");
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    };
    let location = Location::File(own.clone());
    let spool = Spool::open(&location, 1 << 20).await.expect("spool");
    for start in 1..=5 {
        append(&spool, start).await;
    }
    upload(&spool, address).await;
    for start in 6..=8 {
        append(&spool, start).await;
    }
    drop(spool);
    copy(&own, &backup);
    let spool = Spool::open(&location, 1 << 20).await.expect("spool");
    for start in 9..=33 {
        append(&spool, start).await;
    }
    upload(&spool, address).await;
    drop(spool);

    copy(&backup, &own);
    let spool = Spool::open(&location, 1 << 20).await.expect("spool");
    for start in 34..=70 {
        append(&spool, start).await;
    }
    upload(&spool, address).await;
    assert_eq!(starts(&fake), (1..=70).collect::<Vec<_>>());
    // The copy has no number that was given again: each run has an identity of its own.
    assert_eq!(spool.status().rolled_back, 0);
    fake.known(|known| {
        let spools: std::collections::BTreeSet<_> =
            known.taken.iter().map(|(spool, _, _)| *spool).collect();
        assert_eq!(spools.len(), 3);
        // Numbers of the last run begin at 1, without gaps.
        let fresh = known.taken.iter().filter(|(_, _, start)| *start > 33);
        let numbers: Vec<_> = fresh.map(|(_, sequence, _)| *sequence).collect();
        assert_eq!(numbers, (1..=37).collect::<Vec<_>>());
    });
}

#[tokio::test]
async fn a_spool_whose_numbers_are_refused_goes_on_under_a_new_identity() {
    let fake = Fake::default();
    let address = fake.clone().serve(true).await;
    let spool = Spool::open(&Location::Memory, 1 << 20)
        .await
        .expect("spool");
    let id = spool.id();
    for start in 1..=12 {
        append(&spool, start).await;
    }
    fake.known(|known| known.too_far = Some(id));
    upload(&spool, address).await;
    assert_eq!(starts(&fake), (1..=12).collect::<Vec<_>>());
    assert_ne!(spool.id(), id);
    assert_eq!(append(&spool, 13).await, 13);
}

/// A mark that somebody else has set: what was not sent is not taken for acknowledged.
#[tokio::test]
async fn a_mark_beyond_everything_silences_nobody() {
    let fake = Fake::default();
    let address = fake.clone().serve(true).await;
    let spool = Spool::open(&Location::Memory, 1 << 20)
        .await
        .expect("spool");
    fake.known(|known| known.marks.insert(spool.id(), (1 << 63) - 1));
    for start in 1..=12 {
        append(&spool, start).await;
    }
    upload(&spool, address).await;
    assert_eq!(starts(&fake), (1..=12).collect::<Vec<_>>());
    assert_eq!(spool.status().rolled_back, 1);
}

#[tokio::test]
async fn an_analyzer_that_takes_it_is_told_of_the_agent_when_that_changes() {
    for takes_state in [true, false] {
        let fake = Fake::default();
        fake.known(|known| known.takes_state = takes_state);
        let address = fake.clone().serve(true).await;
        let spool = Spool::open(&Location::Memory, 1 << 20)
            .await
            .expect("spool");
        let (without_rnics, seen) = watch::channel(None);
        let condition = Condition {
            without_rnics: seen,
            ..idle()
        };
        let (_spooled, news) = watch::channel(0);
        let upload = Upload::new(
            &config(address),
            spool.clone(),
            news,
            condition,
            unassigned(),
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(upload.expect("an uploader").run(stop.clone()));
        let told = || fake.known(|known| known.states.clone());
        if takes_state {
            let until = async |count| {
                while told().len() < count {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let patiently = |count| tokio::time::timeout(PATIENCE, until(count));
            patiently(1).await.expect("the first state");
            without_rnics.send_replace(Some("no device".to_owned()));
            patiently(2).await.expect("the second state");
            let degraded: Vec<_> = told().into_iter().map(|state| state.degraded).collect();
            assert_eq!(degraded, [vec![], vec!["probing: no device".to_owned()]]);
        } else {
            append(&spool, 1).await;
            tokio::time::sleep(LOOK * 2).await;
            assert_eq!(told(), []);
        }
        stop.cancel();
        task.await.expect("no panic");
    }
}
