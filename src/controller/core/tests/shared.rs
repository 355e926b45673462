//! A core beside other controllers, whose part the tests play.

use super::*;
use crate::cluster_key::rotation::Spans;
use crate::cluster_key::{Generation, Master, Phase};
use crate::config::controller::Lifetimes;
use crate::store::analyzers::AnalyzerFleet;
use crate::store::shared::{Changes, Revision, SharedRegistry, Told, View};

const SPANS: Spans = Spans {
    settle: Duration::from_secs(1_000_000),
    overlap: Duration::from_secs(1_000_000),
    interval: Duration::from_secs(10_000_000),
};
/// What a call takes that a registry which hangs does not answer, in nanoseconds.
const LIMIT: i64 = 5_000_000_000;

#[derive(Debug, Default)]
struct State {
    kept: Kept,
    clock: Arc<SlowClock>,
    view: watch::Sender<View>,
    left: Mutex<Vec<AgentId>>,
    /// Reads of the key that fail, from now on.
    failures: AtomicI64,
    is_hanging: AtomicBool,
    calls: AtomicI64,
}

#[derive(Debug, Clone, Default)]
struct Joint(Arc<State>);

fn no_answer() -> StoreError {
    StoreError::Unreachable {
        store: "a database".to_owned(),
        source: "it does not answer".into(),
    }
}

#[tonic::async_trait]
impl Registry for Joint {
    fn shared(&self) -> Option<Arc<dyn SharedRegistry>> {
        Some(Arc::new(self.clone()))
    }

    async fn load(&self) -> Result<Vec<Announcement>, RegistryError> {
        self.0.kept.load().await
    }

    async fn put(
        &self,
        announcement: &Announcement,
        superseded: &[AgentId],
        now: WallTime,
    ) -> Result<(), RegistryError> {
        self.0.kept.put(announcement, superseded, now).await
    }

    async fn remove(&self, agents: &[AgentId]) -> Result<(), RegistryError> {
        self.0.kept.remove(agents).await
    }

    async fn load_keys(&self) -> Result<Option<Stored>, RegistryError> {
        if self.0.failures.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Err(no_answer().into());
        }
        self.0.kept.load_keys().await
    }

    async fn put_keys(&self, keys: &Stored) -> Result<(), RegistryError> {
        self.0.kept.put_keys(keys).await
    }
}

#[tonic::async_trait]
impl SharedRegistry for Joint {
    fn view(&self) -> watch::Receiver<View> {
        self.0.view.subscribe()
    }

    fn analyzers(&self) -> watch::Receiver<Arc<AnalyzerFleet>> {
        watch::channel(Arc::default()).1
    }

    async fn changes(&self, _since: Revision) -> Result<Changes, StoreError> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        if self.0.is_hanging.load(Ordering::Relaxed) {
            self.0.clock.0.fetch_add(LIMIT, Ordering::Relaxed);
            return Err(no_answer());
        }
        Ok(Changes {
            revision: self.0.view.borrow().revision,
            ..Changes::default()
        })
    }

    async fn tell(&self, _agents: Vec<Told>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn leave(&self, agents: &[AgentId]) -> Result<(), StoreError> {
        let mut left = self.0.left.lock().expect("no panic");
        left.extend(agents.iter().cloned());
        Ok(())
    }
}

impl Joint {
    /// A core on it. Agents are forgotten after 20 s.
    fn start(&self, keys: Option<Spans>) -> Running {
        let mut config = ControllerSettings::default().validate().expect("defaults");
        config.keys = keys;
        config.lifetimes = Lifetimes {
            lease: Duration::from_secs(10),
            retention: Duration::from_secs(20),
        };
        let (_, metrics) = Metrics::registered(Arc::default());
        let clock = Arc::clone(&self.0.clock) as Arc<dyn Clock>;
        let parts = (Arc::new(self.clone()) as Arc<dyn Registry>, Vec::new());
        let (core, handle) = Core::new(&config, parts, clock, metrics);
        tokio::spawn(core.run(CancellationToken::new()));
        Running { handle, streams: 0 }
    }

    /// What the controller sees of the lease and of the key.
    fn show(&self, epoch: i64, keys: i64) {
        let revision = Revision {
            agents: keys,
            departures: 0,
            keys,
        };
        self.0.view.send_replace(View {
            revision,
            is_holder: epoch != 0,
            epoch,
        });
    }

    fn store_key(&self, generation: u64) {
        *self.0.kept.keys.lock().expect("no panic") = Some(Stored {
            master: Master::new(&[7; 32]).expect("a secret"),
            generation: Generation(generation),
            phase: Phase::Steady,
            begun: WallTime::from_nanos(0),
            is_mixed: false,
        });
    }

    fn stored_key(&self) -> Option<u64> {
        let keys = self.0.kept.keys.lock().expect("no panic");
        keys.as_ref().map(|keys| keys.generation.0)
    }

    fn left(&self) -> Vec<AgentId> {
        self.0.left.lock().expect("no panic").clone()
    }
}

impl Running {
    async fn key(&self) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Keys { reply };
        self.handle.send(command).await.expect("the core runs");
        let summary = answer.await.expect("an answer");
        summary.key.map(|(generation, ..)| generation)
    }
}

/// Time for all that is done each second.
async fn seconds_pass() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_key_is_followed_though_its_first_read_fails() {
    let joint = Joint::default();
    joint.store_key(1);
    joint.show(0, 1);
    let running = joint.start(Some(SPANS));
    seconds_pass().await;
    assert_eq!(running.key().await, Some(1));

    joint.store_key(2);
    joint.0.failures.store(1, Ordering::Relaxed);
    joint.show(0, 2);
    seconds_pass().await;
    assert!(
        joint.0.failures.load(Ordering::Relaxed) < 0,
        "it was read again"
    );
    assert_eq!(running.key().await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_the_lease_over_goes_on_with_the_key_that_is_stored() {
    let joint = Joint::default();
    joint.store_key(1);
    joint.show(0, 1);
    let running = joint.start(Some(SPANS));
    seconds_pass().await;
    assert_eq!(running.key().await, Some(1));

    // The last change of the holder before was not seen.
    joint.store_key(5);
    joint.0.failures.store(2, Ordering::Relaxed);
    joint.show(3, 1);
    seconds_pass().await;
    assert_eq!(
        (running.key().await, joint.stored_key()),
        (Some(5), Some(5))
    );
}

#[tokio::test(start_paused = true)]
async fn agents_that_a_former_holder_has_forgotten_are_left_to_nobody() {
    let joint = Joint::default();
    joint.show(1, 1);
    let mut running = joint.start(None);
    let agents = rails();
    running.announce(agents[0].clone()).await;
    joint.0.kept.is_full.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(joint.left().is_empty(), "it may remove them itself later");

    joint.show(0, 2);
    joint.0.kept.is_full.store(false, Ordering::Relaxed);
    seconds_pass().await;
    assert_eq!(joint.left(), [agents[0].agent.clone()], "once");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_hangs_is_asked_less_than_half_of_the_time() {
    let joint = Joint::default();
    joint.show(0, 1);
    let _running = joint.start(None);
    seconds_pass().await;
    joint.0.is_hanging.store(true, Ordering::Relaxed);
    joint.show(0, 2);
    let now = || joint.0.clock.0.load(Ordering::Relaxed);
    let (begun, before) = (now(), joint.0.calls.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_mins(5)).await;
    let calls = joint.0.calls.load(Ordering::Relaxed) - before;
    let waited = calls * LIMIT;
    assert!(calls >= 3, "{calls}");
    assert!(waited <= (now() - begun) / 2 + LIMIT, "{calls}");
}
