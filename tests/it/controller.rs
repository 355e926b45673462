//! The controller as agents meet it: a real server on a port of the system's choice, the generated client.

mod ready;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::config::controller::ControllerSettings;
use rpingmesh::controller::Controller;
use rpingmesh::net::client::channel;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::pinglist::delta::PinglistDelta;
use rpingmesh::pinglist::{GroupKind, Pinglist};
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::controller_service_client::ControllerServiceClient;
use rpingmesh::rpc::v1::register_request::Message as Request;
use rpingmesh::rpc::v1::register_response::Message as Answer;
use rpingmesh::store::open;
use rpingmesh::store::registry::Registry;
use rpingmesh::time::SystemClock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Nothing here waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    metrics: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    async fn start(settings: &str) -> Self {
        let parsed: ControllerSettings = toml::from_str(settings).expect("settings");
        let config = parsed.validate().expect("valid settings");
        let registry = open::registry(&config.store).await.expect("store");
        Self::start_on(settings, registry).await
    }

    async fn start_on(settings: &str, registry: Arc<dyn Registry>) -> Self {
        let settings = ControllerSettings {
            listen: loopback(),
            metrics: Some(loopback()),
            ..toml::from_str(settings).expect("settings")
        };
        let config = settings.validate().expect("valid settings");
        let controller = Controller::start(config, registry, Arc::new(SystemClock))
            .await
            .expect("start");
        let stop = CancellationToken::new();
        Self {
            address: controller.address(),
            metrics: controller.metrics_address().expect("metrics"),
            stop: stop.clone(),
            running: tokio::spawn(async move { controller.run(stop).await.expect("clean stop") }),
        }
    }

    async fn in_memory() -> Self {
        Self::start("store = 'sqlite::memory:'").await
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.running)
            .await
            .expect("stops within 5 s")
            .expect("no panic");
    }

    fn client(&self) -> ControllerServiceClient<Channel> {
        let url = Url::server(&format!("http://{}", self.address)).expect("URL");
        let channel = channel(&url, &Security::loopback_plaintext());
        ControllerServiceClient::new(channel.expect("channel"))
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

fn announcement(agent: &str, incarnation: u64, rnics: &[(&str, &str, u32)]) -> v1::Announcement {
    v1::Announcement {
        agent_id: agent.to_owned(),
        incarnation,
        host: format!("host-{agent}"),
        version: "0.1.0".to_owned(),
        rnics: rnics
            .iter()
            .map(|(gid, tor, qpn)| rnic(gid, tor, *qpn))
            .collect(),
        machine: String::new(),
        keys: None,
    }
}

fn gid(text: &str) -> bytes::Bytes {
    let gid: rpingmesh::id::Gid = text.parse().expect("GID");
    gid.bytes().to_vec().into()
}

fn rnic(address: &str, tor: &str, qpn: u32) -> v1::Rnic {
    v1::Rnic {
        address: Some(v1::RnicAddress {
            gid: gid(address),
            qpn,
            q_key: 0x1111_1111,
        }),
        device: "rxe0".to_owned(),
        port: 1,
        tor: tor.to_owned(),
        gid_index: 1,
        completion_clock: v1::CompletionClock::Software.into(),
        steering: v1::SourcePortSteering::FlowLabel.into(),
        source_ports: Vec::new(),
    }
}

/// An open registration stream.
struct Session {
    requests: mpsc::Sender<v1::RegisterRequest>,
    answers: Streaming<v1::RegisterResponse>,
}

impl Session {
    async fn open(server: &Server, first: Request) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(8);
        let session = v1::RegisterRequest {
            message: Some(first),
        };
        requests.send(session).await.expect("queue");
        let answers = server
            .client()
            .register(ReceiverStream::new(stream))
            .await?
            .into_inner();
        Ok(Self { requests, answers })
    }

    /// Registers and gives the answer too.
    async fn register(
        server: &Server,
        announcement: v1::Announcement,
    ) -> Result<(Self, v1::Registered), Status> {
        let mut session = Self::open(server, Request::Announcement(announcement)).await?;
        match session.next().await? {
            Answer::Registered(registered) => Ok((session, registered)),
            other @ (Answer::Changed(_)
            | Answer::Focused(_)
            | Answer::Keys(_)
            | Answer::Analyzer(_)) => {
                panic!("{other:?} before the registration")
            }
        }
    }

    async fn send(&self, message: Request) {
        let message = v1::RegisterRequest {
            message: Some(message),
        };
        self.requests.send(message).await.expect("open stream");
    }

    async fn next(&mut self) -> Result<Answer, Status> {
        let message = tokio::time::timeout(PATIENCE, self.answers.message())
            .await
            .expect("an answer in time")?;
        Ok(message.expect("an open stream").message.expect("a message"))
    }

    /// The error that ends the stream; changes before it are skipped.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

async fn fetch(server: &Server, agent: &str, known: u64) -> v1::GetPinglistResponse {
    let request = v1::GetPinglistRequest {
        agent_id: agent.to_owned(),
        known_version: known,
        takes_delta: false,
    };
    server
        .client()
        .get_pinglist(request)
        .await
        .expect("pinglist")
        .into_inner()
}

fn decode(response: v1::GetPinglistResponse) -> Pinglist {
    response
        .pinglist
        .expect("a list")
        .try_into()
        .expect("a valid list")
}

async fn resolve(server: &Server, by: v1::target_query::By) -> Vec<v1::ResolvedRnic> {
    let request = v1::ResolveTargetRequest {
        queries: vec![v1::TargetQuery { by: Some(by) }],
    };
    let response = server
        .client()
        .resolve_target(request)
        .await
        .expect("answer")
        .into_inner();
    response
        .targets
        .into_iter()
        .next()
        .expect("one per query")
        .rnics
}

/// Waits on the stream until the agent's list satisfies `wanted`, fetching at each change as an agent does.
async fn list_when(
    server: &Server,
    session: &mut Session,
    agent: &str,
    wanted: impl Fn(&Pinglist) -> bool,
) -> Pinglist {
    let mut version = 0;
    loop {
        let response = fetch(server, agent, version).await;
        version = response.version;
        if response.pinglist.is_some() {
            let list = decode(response);
            if wanted(&list) {
                return list;
            }
        }
        loop {
            match session.next().await.expect("open stream") {
                Answer::Changed(changed) if changed.pinglist_version != version => break,
                _ => {}
            }
        }
    }
}

fn qpns(list: &Pinglist, kind: GroupKind) -> Vec<u32> {
    let groups = list.rnics.iter().flat_map(|rnic| &rnic.groups);
    let mut qpns: Vec<_> = groups
        .filter(|group| group.kind == kind)
        .flat_map(|group| &group.targets)
        .map(|target| target.peer.address.qpn.get())
        .collect();
    qpns.sort_unstable();
    qpns.dedup();
    qpns
}

#[tokio::test]
async fn agents_find_each_other_and_unchanged_lists_are_empty_answers() {
    let server = Server::in_memory().await;
    let (mut a, registered) =
        Session::register(&server, announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]))
            .await
            .expect("a");
    assert_eq!(registered.lease_ns, 30_000_000_000);
    assert_eq!(registered.heartbeat_interval_ns, 10_000_000_000);
    let (_b, _) = Session::register(&server, announcement("b", 1, &[("10.0.0.2", "t0", 0x12)]))
        .await
        .expect("b");
    let (_c, _) = Session::register(&server, announcement("c", 1, &[("10.0.1.1", "t1", 0x13)]))
        .await
        .expect("c");
    let list = list_when(&server, &mut a, "a", |list| {
        !qpns(list, GroupKind::TorMesh).is_empty() && !qpns(list, GroupKind::InterTor).is_empty()
    })
    .await;
    assert_eq!(qpns(&list, GroupKind::TorMesh), [0x12]);
    assert_eq!(qpns(&list, GroupKind::InterTor), [0x13]);
    assert!((list.rnics[0].groups[0].probes_per_second - 10.0).abs() < f64::EPSILON);

    // Rounds of changes have an end: then the version stays and the answer is empty.
    let mut version = fetch(&server, "a", 0).await.version;
    loop {
        let quiet = tokio::time::timeout(Duration::from_millis(400), a.answers.message()).await;
        let Ok(message) = quiet else { break };
        message.expect("open stream");
        version = fetch(&server, "a", 0).await.version;
    }
    let response = fetch(&server, "a", version).await;
    assert_eq!((response.version, response.pinglist), (version, None));
    server.stop().await;
}

/// Whoever knows the list that it was given gets what has changed since; whoever names another list, or cannot take changes, gets all.
#[tokio::test]
async fn an_agent_that_knows_its_list_gets_what_has_changed_since() {
    let server = Server::in_memory().await;
    let rnic = |at: usize| {
        announcement(
            &format!("a{at}"),
            1,
            &[(&format!("10.0.0.{at}"), "t0", 0x11)],
        )
    };
    let (mut first, _) = Session::register(&server, rnic(1)).await.expect("a1");
    let mut others = Vec::new();
    for at in 2..9 {
        others.push(
            Session::register(&server, rnic(at))
                .await
                .expect("registered"),
        );
    }
    list_when(&server, &mut first, "a1", |list| {
        list.rnics[0]
            .groups
            .first()
            .is_some_and(|group| group.targets.len() == 7)
    })
    .await;
    let old = fetch(&server, "a1", 0).await;
    let version = old.version;
    let old = decode(old);
    assert_eq!(version, old.version());

    others.push(Session::register(&server, rnic(9)).await.expect("a9"));
    let ask = |known_version, takes_delta| {
        let request = v1::GetPinglistRequest {
            agent_id: "a1".to_owned(),
            known_version,
            takes_delta,
        };
        let mut client = server.client();
        async move {
            client
                .get_pinglist(request)
                .await
                .expect("an answer")
                .into_inner()
        }
    };
    let changed = loop {
        let answer = ask(version, true).await;
        if answer.version != version {
            break answer;
        }
        first.next().await.expect("open stream");
    };
    assert_eq!(changed.pinglist, None);
    let delta: PinglistDelta = changed.delta.expect("changes").try_into().expect("valid");
    assert_eq!(delta.added(), 1);
    let new = delta.apply(&old).expect("fits");
    assert_eq!(new.version(), changed.version);
    assert_eq!(new.rnics[0].groups[0].targets.len(), 8);

    let unchanged = ask(changed.version, true).await;
    assert_eq!((unchanged.pinglist, unchanged.delta), (None, None));
    for (known, takes_delta) in [(17, true), (version, false)] {
        let whole = ask(known, takes_delta).await;
        assert_eq!((whole.version, &whole.delta), (changed.version, &None));
        assert_eq!(decode(whole), new);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_responders_new_qpn_reaches_its_probers_at_once() {
    let server = Server::in_memory().await;
    let (mut a, _) = Session::register(&server, announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]))
        .await
        .expect("a");
    let (b, _) = Session::register(&server, announcement("b", 1, &[("10.0.0.2", "t0", 0x12)]))
        .await
        .expect("b");
    list_when(&server, &mut a, "a", |list| {
        qpns(list, GroupKind::TorMesh) == [0x12]
    })
    .await;
    drop(b);
    let restarted = tokio::time::Instant::now();
    let (b, _) = Session::register(&server, announcement("b", 2, &[("10.0.0.2", "t0", 0x99)]))
        .await
        .expect("b again");
    list_when(&server, &mut a, "a", |list| {
        qpns(list, GroupKind::TorMesh) == [0x99]
    })
    .await;
    assert!(
        restarted.elapsed() < Duration::from_secs(5),
        "{:?}",
        restarted.elapsed()
    );

    // The same without a restart: the announcement on the open stream replaces the former one.
    b.send(Request::Announcement(announcement(
        "b",
        2,
        &[("10.0.0.2", "t0", 0x77)],
    )))
    .await;
    list_when(&server, &mut a, "a", |list| {
        qpns(list, GroupKind::TorMesh) == [0x77]
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_gid_of_a_live_agent_is_refused_and_can_be_taken_when_its_lease_is_over() {
    let server = Server::start("store = 'sqlite::memory:'\n[registry]\nlease = '1s'").await;
    let (a, registered) =
        Session::register(&server, announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]))
            .await
            .expect("a");
    let thief = announcement(
        "b",
        1,
        &[("10.0.0.2", "t0", 0x12), ("10.0.0.1", "t0", 0x13)],
    );
    let status = Session::register(&server, thief.clone())
        .await
        .err()
        .expect("refused");
    assert_eq!(status.code(), Code::AlreadyExists);
    for word in ["10.0.0.1", "`a`", "host-a", "`b`", "host-b"] {
        assert!(status.message().contains(word), "{status}");
    }
    let untouched = resolve(&server, v1::target_query::By::Ip("10.0.0.2".to_owned())).await;
    assert!(
        untouched.is_empty(),
        "nothing of the refused announcement is registered"
    );

    let lease = Duration::from_nanos(registered.lease_ns);
    drop(a);
    let taken = async {
        loop {
            match Session::register(&server, thief.clone()).await {
                Ok(session) => return session,
                Err(status) => assert_eq!(status.code(), Code::AlreadyExists),
            }
            tokio::time::sleep(lease / 10).await;
        }
    };
    let _b = tokio::time::timeout(PATIENCE, taken)
        .await
        .expect("the lease ends");
    let found = resolve(&server, v1::target_query::By::Ip("10.0.0.1".to_owned())).await;
    assert_eq!(found[0].agent_id, "b");
    server.stop().await;
}

#[tokio::test]
async fn silence_ends_the_stream_and_heartbeats_keep_it() {
    let server = Server::start("store = 'sqlite::memory:'\n[registry]\nlease = '1s'").await;
    let (mut a, _) = Session::register(&server, announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]))
        .await
        .expect("a");
    let began = tokio::time::Instant::now();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        a.send(Request::Heartbeat(v1::Heartbeat::default())).await;
    }
    let status = a.end().await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("`a`"), "{status}");
    assert!(
        began.elapsed() > Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_registered_is_named() {
    let server = Server::in_memory().await;
    let mut bad = announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]);
    bad.rnics[0].address.as_mut().expect("address").qpn = 1 << 24;
    let status = Session::register(&server, bad)
        .await
        .err()
        .expect("bad QPN");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status
            .message()
            .starts_with("announcement.rnics[0].address.qpn"),
        "{status}"
    );

    let heartbeat = Request::Heartbeat(v1::Heartbeat::default());
    let mut session = Session::open(&server, heartbeat).await.expect("open");
    assert_eq!(session.end().await.code(), Code::FailedPrecondition);

    let mut large = announcement("a", 1, &[]);
    large.version = "x".repeat(2 << 20);
    let status = Session::register(&server, large)
        .await
        .err()
        .expect("too large");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");

    let request = v1::GetPinglistRequest {
        agent_id: "a".to_owned(),
        known_version: 0,
        takes_delta: false,
    };
    let status = server
        .client()
        .get_pinglist(request)
        .await
        .expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("`a`"), "{status}");
    server.stop().await;
}

#[tokio::test]
async fn a_second_stream_of_the_same_agent_replaces_the_first() {
    let server = Server::in_memory().await;
    let one = announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]);
    let (mut first, _) = Session::register(&server, one).await.expect("first");
    let two = announcement("a", 2, &[("10.0.0.1", "t0", 0x12)]);
    let (_second, _) = Session::register(&server, two).await.expect("second");
    assert_eq!(first.end().await.code(), Code::Aborted);
    server.stop().await;
}
