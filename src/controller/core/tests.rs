use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;
use crate::cluster_key::rotation::Stored;
use crate::config::controller::ControllerSettings;
use crate::controller::origin::Origin;
use crate::id::{QKey, Qpn};
use crate::pinglist::Matrix;
use crate::store::StoreError;
use crate::time::WallTime;
use crate::topology::Rnic;
use crate::transport::{Address, CompletionClock, SourcePortSteering};

mod shared;

/// Each look at it takes 10 ms: every plan is a costly one.
#[derive(Debug, Default)]
struct SlowClock(AtomicI64);

impl Clock for SlowClock {
    fn host(&self) -> HostTime {
        HostTime::from_nanos(self.0.fetch_add(10_000_000, Ordering::Relaxed))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_nanos(0)
    }
}

/// 16 hosts with 4 RNICs on rails in each of 10 pods.
fn rails() -> Vec<Announcement> {
    let host = |host: u8| Announcement {
        agent: format!("host{host}").into(),
        incarnation: 1,
        host: format!("host{host}").into(),
        version: String::new(),
        rnics: (0..4)
            .map(|rail| Rnic {
                address: Address {
                    gid: Ipv4Addr::new(10, 0, rail, host).into(),
                    qpn: Qpn::from_lower_bits(17),
                    q_key: QKey(0x1111_1111),
                },
                device: format!("mlx5_{rail}").into(),
                port: 1,
                tor: format!("leaf{}-{rail}", host / 16).into(),
                gid_index: 3,
                clock: CompletionClock::HardwareWall,
                steering: SourcePortSteering::FlowLabel,
            })
            .collect(),
    };
    (0..160).map(host).collect()
}

/// A registry in memory whose disk can be full. It answers at once: with the clock paused, waiting for a thread would let time pass.
#[derive(Debug, Default)]
struct Kept {
    announcements: Mutex<BTreeMap<AgentId, Announcement>>,
    keys: Mutex<Option<Stored>>,
    is_full: AtomicBool,
}

impl Kept {
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<AgentId, Announcement>),
    ) -> Result<(), RegistryError> {
        if self.is_full.load(Ordering::Relaxed) {
            let store = "registry.db".to_owned();
            return Err(StoreError::Full { store }.into());
        }
        change(&mut self.announcements.lock().expect("no panic"));
        Ok(())
    }
}

#[tonic::async_trait]
impl Registry for Kept {
    async fn load(&self) -> Result<Vec<Announcement>, RegistryError> {
        let announcements = self.announcements.lock().expect("no panic");
        Ok(announcements.values().cloned().collect())
    }

    async fn put(
        &self,
        announcement: &Announcement,
        superseded: &[AgentId],
        _now: WallTime,
    ) -> Result<(), RegistryError> {
        self.change(|kept| {
            kept.retain(|agent, _| !superseded.contains(agent));
            kept.insert(announcement.agent.clone(), announcement.clone());
        })
    }

    async fn remove(&self, agents: &[AgentId]) -> Result<(), RegistryError> {
        self.change(|kept| kept.retain(|agent, _| !agents.contains(agent)))
    }

    async fn load_keys(&self) -> Result<Option<Stored>, RegistryError> {
        Ok(self.keys.lock().expect("no panic").clone())
    }

    async fn put_keys(&self, keys: &Stored) -> Result<(), RegistryError> {
        self.change(|_| ())?;
        *self.keys.lock().expect("no panic") = Some(keys.clone());
        Ok(())
    }
}

struct Running {
    handle: Handle,
    streams: u64,
}

impl Running {
    fn start() -> Self {
        let config = ControllerSettings::default().validate().expect("defaults");
        let (_, metrics) = Metrics::registered(Arc::default());
        let clock = Arc::new(SlowClock::default());
        let parts = (Arc::<Kept>::default() as Arc<dyn Registry>, Vec::new());
        let (core, handle) = Core::new(&config, parts, clock, metrics);
        tokio::spawn(core.run(CancellationToken::new()));
        Self { handle, streams: 0 }
    }

    async fn announce(&mut self, announcement: Announcement) -> watch::Receiver<u64> {
        let (reply, answer) = oneshot::channel();
        self.streams += 1;
        let stream = StreamId(self.streams);
        let waiting = Waiting {
            announcement,
            keys: None,
            origin: Origin::default(),
            stream,
            reply,
        };
        let command = Command::Announce(Box::new(waiting));
        self.handle.send(command).await.expect("the core runs");
        let admitted = answer.await.expect("an answer").expect("admitted");
        admitted.changes
    }

    async fn list(&self, agent: &AgentId) -> (Announcement, Arc<PinglistPlan>) {
        let (reply, answer) = oneshot::channel();
        let command = Command::Pinglist {
            agent: agent.clone(),
            known: 0,
            reply,
        };
        self.handle.send(command).await.expect("the core runs");
        match answer.await.expect("an answer") {
            ListAnswer::Made {
                announcement,
                plan: (_, plan),
                ..
            } => (announcement, plan),
            ListAnswer::Unchanged(_) | ListAnswer::UnknownAgent => panic!("{agent} has no list"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_large_fabric_a_joining_agent_concerns_few_and_gets_its_list_with_the_next_plan() {
    let agents = rails();
    let mut running = Running::start();
    let mut changes = Vec::new();
    for agent in &agents[1..] {
        changes.push((agent, running.announce(agent.clone()).await));
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (_, before) = running.list(&agents[1].agent).await;
    assert!(matches!(before.matrix(), Matrix::Sparse { .. }));
    for (_, versions) in &mut changes {
        versions.mark_unchanged();
    }

    let mut own = running.announce(agents[0].clone()).await;
    let (_, stale) = running.list(&agents[0].agent).await;
    assert!(Arc::ptr_eq(&stale, &before), "plans are costly here");
    own.mark_unchanged();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let (announcement, after) = running.list(&agents[0].agent).await;
    assert!(
        own.has_changed().expect("it is registered"),
        "its list came from the old plan"
    );
    let list = after.pinglist(&announcement);
    assert!(list.rnics.iter().all(|rnic| rnic.groups.len() == 2));
    let mut told = 0;
    for (agent, versions) in &changes {
        let has_new_list = before.pinglist(agent) != after.pinglist(agent);
        let is_told = versions.has_changed().expect("it is registered");
        assert_eq!(is_told, has_new_list, "{}", agent.agent);
        told += usize::from(is_told);
    }
    assert!(told < 150, "{told} of 159");
}

/// The cause of endless rounds: whoever fetched a list during a round was told again before those who had not been told at all.
#[tokio::test(start_paused = true)]
async fn agents_that_register_at_once_and_fetch_each_newer_list_come_to_rest_with_the_same_plan() {
    let agents = rails();
    let mut running = Running::start();
    let mut fetching = Vec::new();
    for agent in &agents {
        let mut notices = running.announce(agent.clone()).await;
        notices.mark_changed();
        let asking = Running {
            handle: running.handle.clone(),
            streams: 0,
        };
        let agent = agent.agent.clone();
        fetching.push(tokio::spawn(async move {
            let mut plans = Vec::new();
            // A notice 0 says that there is no list yet.
            while let Ok(Ok(())) =
                tokio::time::timeout(Duration::from_secs(30), notices.changed()).await
            {
                if *notices.borrow_and_update() > 0 {
                    plans.push(asking.list(&agent).await.1);
                }
            }
            plans
        }));
    }
    let mut most = 0;
    let mut last: Option<Arc<PinglistPlan>> = None;
    for fetched in fetching {
        let plans = fetched.await.expect("no panic");
        most = most.max(plans.len());
        let newest = plans.last().expect("each gets a list");
        let last = last.get_or_insert_with(|| Arc::clone(newest));
        assert!(Arc::ptr_eq(last, newest), "all lists fit together");
    }
    assert!(most <= 5, "{most} lists of one agent");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_takes_nothing_is_served_from_memory_and_stored_later() {
    let agents = rails();
    let config = ControllerSettings::default().validate().expect("defaults");
    let (exposed, metrics) = Metrics::registered(Arc::default());
    let registry = Arc::<Kept>::default();
    let clock = Arc::new(SlowClock::default());
    let parts = (Arc::clone(&registry) as Arc<dyn Registry>, Vec::new());
    let (core, handle) = Core::new(&config, parts, clock, metrics);
    tokio::spawn(core.run(CancellationToken::new()));
    let mut running = Running { handle, streams: 0 };
    running.announce(agents[0].clone()).await;
    registry.is_full.store(true, Ordering::Relaxed);
    // New ones, and one that has restarted: its peers learn its new queue pair.
    running.announce(agents[1].clone()).await;
    running.announce(agents[2].clone()).await;
    let mut restarted = agents[0].clone();
    restarted.incarnation += 1;
    restarted.rnics[0].address.qpn = Qpn::from_lower_bits(99);
    running.announce(restarted.clone()).await;
    let (served, _) = running.list(&restarted.agent).await;
    assert_eq!(served, restarted);
    let shown = |line: &str| {
        let text = crate::telemetry::metrics::text(&exposed).expect("metrics");
        text.lines().any(|shown| shown == line)
    };
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(shown("rpingmesh_controller_agents_unstored 3"));
    assert_eq!(
        registry.load().await.expect("readable"),
        [agents[0].clone()]
    );

    registry.is_full.store(false, Ordering::Relaxed);
    // The database has a thread of its own, for which no time is paused.
    while !shown("rpingmesh_controller_agents_unstored 0") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let stored = registry.load().await.expect("readable");
    assert_eq!(stored, [restarted, agents[1].clone(), agents[2].clone()]);
}
