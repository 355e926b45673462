//! Nobody speaks for another: what a client with a certificate of the CA can do, and what it cannot.
//!
//! Real servers over mutual TLS on loopback, and clients that misbehave at the level of messages.

mod addresses;
mod focus;
mod injection;
pub(crate) mod keys;
mod twins;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::config::controller::{ControllerConfig, ControllerSettings};
use rpingmesh::controller::Controller;
use rpingmesh::events::Publisher;
use rpingmesh::net::client::channel;
use rpingmesh::net::tls::{IdentityRule, Security};
use rpingmesh::net::url::Url;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::rpc::v1::controller_service_client::ControllerServiceClient;
use rpingmesh::rpc::v1::register_request::Message as Request;
use rpingmesh::rpc::v1::register_response::Message as Answer;
use rpingmesh::store::{Location, open};
use rpingmesh::time::SystemClock;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::analyzer::harness::{batch, http, report};
use crate::support::certs::{Authority, Validity, security, security_by};
use crate::support::logs::Logs;

/// Nothing here waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A CA with its folder.
struct Pki {
    authority: Authority,
    folder: TempDir,
}

impl Pki {
    fn new() -> Self {
        Self {
            authority: Authority::new("fabric CA"),
            folder: tempfile::tempdir().expect("folder"),
        }
    }

    /// What the servers run with.
    fn servers(&self, rule: IdentityRule) -> Security {
        let folder = self.folder.path().join("server");
        security_by(
            self.authority.issue(&folder, "localhost", Validity::Now),
            rule,
        )
    }

    /// A client with a certificate of these names.
    fn client(&self, names: &[&str]) -> Security {
        let folder = self.folder.path().join(names.concat().replace('/', "_"));
        let (files, _) = self.authority.issue_numbered(&folder, names, Validity::Now);
        security(files)
    }
}

/// A running controller.
struct Registry {
    address: SocketAddr,
    metrics: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

impl Registry {
    async fn start(security: Security, settings: &str) -> Self {
        let settings = ControllerSettings {
            listen: loopback(),
            metrics: Some(loopback()),
            store: "sqlite::memory:".to_owned(),
            ..toml::from_str(settings).expect("settings")
        };
        let config = ControllerConfig {
            security,
            ..settings.validate().expect("valid settings")
        };
        let registry = open::registry(&config.store).await.expect("store");
        let controller = Controller::start(config, registry, Arc::new(SystemClock))
            .await
            .expect("start");
        let stop = CancellationToken::new();
        let registry = Self {
            address: controller.address(),
            metrics: controller.metrics_address().expect("metrics"),
            stop: stop.clone(),
        };
        tokio::spawn(async move { controller.run(stop).await.expect("clean stop") });
        registry
    }

    fn client(&self, security: &Security) -> ControllerServiceClient<Channel> {
        ControllerServiceClient::new(connect(self.address, security))
    }

    async fn register(
        &self,
        security: &Security,
        announcement: v1::Announcement,
    ) -> Result<Session, Status> {
        let (requests, stream) = mpsc::channel(8);
        let first = v1::RegisterRequest {
            message: Some(Request::Announcement(announcement)),
        };
        requests.send(first).await.expect("queue");
        let mut client = self.client(security);
        let answers = client
            .register(ReceiverStream::new(stream))
            .await?
            .into_inner();
        let mut session = Session { requests, answers };
        match session.next().await? {
            Answer::Registered(_) => Ok(session),
            other @ (Answer::Changed(_)
            | Answer::Focused(_)
            | Answer::Keys(_)
            | Answer::Analyzer(_)) => {
                panic!("{other:?} before the registration")
            }
        }
    }

    async fn pinglist(&self, security: &Security, agent: &str) -> Result<u64, Status> {
        let request = v1::GetPinglistRequest {
            agent_id: agent.to_owned(),
            known_version: 0,
            takes_delta: false,
        };
        let answer = self.client(security).get_pinglist(request).await?;
        Ok(answer.into_inner().version)
    }

    async fn counted(&self, line: &str) -> bool {
        let (_, text) = http(self.metrics, "/metrics").await;
        text.lines().any(|one| one == line)
    }
}

fn connect(address: SocketAddr, security: &Security) -> Channel {
    let (scheme, host) = match security {
        Security::Mutual(_) => ("https", "localhost"),
        Security::Plaintext { .. } => ("http", "127.0.0.1"),
    };
    let url = Url::server(&format!("{scheme}://{host}:{}", address.port())).expect("URL");
    channel(&url, security).expect("channel")
}

/// An open registration stream.
struct Session {
    requests: mpsc::Sender<v1::RegisterRequest>,
    answers: Streaming<v1::RegisterResponse>,
}

impl Session {
    async fn next(&mut self) -> Result<Answer, Status> {
        let message = tokio::time::timeout(PATIENCE, self.answers.message())
            .await
            .expect("an answer in time")?;
        Ok(message.expect("an open stream").message.expect("a message"))
    }

    /// Whether the stream takes it.
    async fn send(&self, message: Request) -> bool {
        let message = v1::RegisterRequest {
            message: Some(message),
        };
        self.requests.send(message).await.is_ok()
    }

    /// Whether the stream still is the agent's: a new announcement on it is answered.
    async fn is_open(&mut self, announcement: v1::Announcement) -> bool {
        if !self.send(Request::Announcement(announcement)).await {
            return false;
        }
        loop {
            match self.next().await {
                Ok(Answer::Registered(_)) => return true,
                Ok(
                    Answer::Changed(_) | Answer::Focused(_) | Answer::Keys(_) | Answer::Analyzer(_),
                ) => {}
                Err(_) => return false,
            }
        }
    }
}

fn announcement(agent: &str, host: &str, incarnation: u64, gids: &[&str]) -> v1::Announcement {
    v1::Announcement {
        agent_id: agent.to_owned(),
        incarnation,
        host: host.to_owned(),
        version: "0.1.0".to_owned(),
        rnics: gids
            .iter()
            .enumerate()
            .map(|(number, gid)| rnic(gid, &format!("mlx5_{number}")))
            .collect(),
        machine: String::new(),
        keys: None,
    }
}

fn rnic(gid: &str, device: &str) -> v1::Rnic {
    let gid: rpingmesh::id::Gid = gid.parse().expect("GID");
    v1::Rnic {
        address: Some(v1::RnicAddress {
            gid: gid.bytes().to_vec().into(),
            qpn: 17,
            q_key: 5,
        }),
        device: device.to_owned(),
        port: 1,
        tor: "tor1".to_owned(),
        gid_index: 3,
        completion_clock: v1::CompletionClock::HardwareWall.into(),
        steering: v1::SourcePortSteering::FlowLabel.into(),
        source_ports: Vec::new(),
    }
}

/// A running analyzer.
struct Intake {
    grpc: SocketAddr,
    web: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Intake {
    async fn start(security: Security) -> Self {
        let settings = AnalyzerSettings {
            listen: loopback().to_string(),
            web: loopback().to_string(),
            ..AnalyzerSettings::default()
        };
        let config = rpingmesh::config::analyzer::AnalyzerConfig {
            store: Location::Memory,
            security,
            ..settings.validate().expect("valid settings")
        };
        let analyzer = Analyzer::start(config, Arc::new(SystemClock), Publisher::default())
            .await
            .expect("start");
        let stop = CancellationToken::new();
        let intake = Self {
            grpc: analyzer.grpc_address(),
            web: analyzer.web_address(),
            stop: stop.clone(),
        };
        tokio::spawn(analyzer.run(stop));
        intake
    }

    /// Sends a hello and batches; the last acknowledgement or the error.
    async fn upload(
        &self,
        security: &Security,
        hello: v1::UploadHello,
        batches: Vec<v1::ResultBatch>,
    ) -> Result<u64, Status> {
        let messages: Vec<UploadRequest> = std::iter::once(hello.into())
            .chain(batches.iter().map(UploadRequest::from))
            .collect();
        let mut answers = AnalyzerServiceClient::new(connect(self.grpc, security))
            .upload(tokio_stream::iter(messages))
            .await?
            .into_inner();
        let mut last = 0;
        while let Some(answer) = answers.message().await? {
            last = answer.acknowledged_sequence;
        }
        Ok(last)
    }

    async fn get(&self, path: &str) -> String {
        let (status, body) = http(self.web, path).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

fn hello(agent: &str, host: &str) -> v1::UploadHello {
    v1::UploadHello {
        agent_id: agent.to_owned(),
        spool_id: 0x0123_4567_89ab_cdef,
        host: host.to_owned(),
        version: "0.1.0".to_owned(),
        ..v1::UploadHello::default()
    }
}

#[tokio::test]
async fn a_host_registers_and_is_told_its_list_as_itself_alone() {
    let logs = Logs::collect();
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), "").await;
    let (a, b) = (pki.client(&["hosta"]), pki.client(&["hostb.example.net"]));
    let own = announcement("hostb", "hostb", 1, &["10.1.0.2"]);
    let mut victim = registry.register(&b, own.clone()).await.expect("host B");

    for (agent, host) in [
        ("hostb", "hostb"),
        ("hosta", "hostb"),
        ("hostb", "hosta"),
        ("x", "hosta"),
    ] {
        let impostor = announcement(agent, host, 2, &["10.66.66.66"]);
        let refused = registry.register(&a, impostor).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{agent} on {host} was let in"));
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        let text = refused.message();
        assert!(text.contains("its certificate names `hosta`"), "{text}");
        assert!(
            text.contains("`host = \"hosta\"`") || text.contains("`agent_id`"),
            "{text}"
        );
    }
    let refused = registry.pinglist(&a, "hostb").await.expect_err("B's list");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");

    assert!(victim.is_open(own).await, "host B is still registered");
    registry.pinglist(&b, "hostb").await.expect("its own list");
    let mine = announcement("hosta", "hosta", 1, &["10.1.0.1"]);
    registry.register(&a, mine).await.expect("host A as itself");
    registry.pinglist(&a, "hosta").await.expect("its own list");

    let line = "rpingmesh_controller_announcements_total{result=\"OtherHost\"} 4";
    assert!(registry.counted(line).await, "{line}");
    let line = "rpingmesh_controller_pinglist_requests_total{answer=\"OtherHost\"} 1";
    assert!(registry.counted(line).await, "{line}");
    let text = logs.text();
    assert!(
        text.contains("an announcement was refused")
            && text.contains("its certificate names `hosta`"),
        "{text}"
    );
    assert!(!text.contains("tls.identity is `any`"), "{text}");
}

#[tokio::test]
async fn a_spiffe_id_names_the_host() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), "").await;
    let a = pki.client(&["spiffe://fabric/rack7/host/hosta"]);
    registry
        .register(&a, announcement("hosta", "hosta", 1, &["10.1.0.1"]))
        .await
        .expect("host A");
    let refused = registry
        .register(&a, announcement("rack7", "rack7", 1, &["10.1.0.2"]))
        .await
        .err();
    assert_eq!(
        refused.map(|status| status.code()),
        Some(Code::PermissionDenied)
    );
}

#[tokio::test]
async fn a_certificate_without_names_is_nobodys() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), "").await;
    let nameless = pki.client(&[]);
    let refused = registry
        .register(&nameless, announcement("hosta", "hosta", 1, &["10.1.0.1"]))
        .await
        .err()
        .expect("its subject (CN) is hosta, which does not count");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("names no host"), "{refused}");
}

#[tokio::test]
async fn who_may_be_anybody_is_said() {
    let logs = Logs::collect();
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::Any), "").await;
    let intake = Intake::start(pki.servers(IdentityRule::Any)).await;
    let a = pki.client(&["hosta"]);
    registry
        .register(&a, announcement("hostb", "hostb", 1, &["10.1.0.2"]))
        .await
        .expect("any certificate will do");
    let taken = intake.upload(&a, hello("hostb", "hostb"), Vec::new()).await;
    assert_eq!(taken.expect("any certificate will do"), 0);
    assert_eq!(
        logs.text().matches("tls.identity is `any`").count(),
        2,
        "once each"
    );
    let status = intake.get("/api/v1/status").await;
    assert!(status.contains("\"agent_identity\":\"any\""), "{status}");
}

#[tokio::test]
async fn nobody_uploads_as_another_host_and_spools_stay_secret() {
    let logs = Logs::collect();
    let pki = Pki::new();
    let intake = Intake::start(pki.servers(IdentityRule::San)).await;
    let (a, b) = (pki.client(&["host1"]), pki.client(&["host2"]));
    let lie = || vec![batch(1, 1, vec![report(2, 3, 200, 190)])];
    for (agent, host) in [
        ("host2", "host2"),
        ("host2", "host1"),
        ("host1", "host2"),
        ("host1", ""),
    ] {
        let refused = intake.upload(&a, hello(agent, host), lie()).await;
        let refused = refused.expect_err("host A is not host B");
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert!(
            refused.message().contains("its certificate names `host1`"),
            "{refused}"
        );
    }
    assert_eq!(
        intake
            .get("/api/v1/agents")
            .await
            .matches("\"agent\":")
            .count(),
        0
    );
    let taken = intake.upload(&b, hello("host2", "host2"), lie()).await;
    assert_eq!(taken.expect("host B as itself"), 1);
    let agents = intake.get("/api/v1/agents").await;
    assert!(agents.contains("\"agent\":\"host2\""), "{agents}");
    let (number, hexadecimal) = ("81985529216486895", "123456789abcdef");
    for path in [
        "/api/v1/agents",
        "/api/v1/status",
        "/metrics",
        "/agents",
        "/",
    ] {
        let text = intake.get(path).await;
        assert!(
            !text.contains(number) && !text.contains(hexadecimal),
            "{path}: {text}"
        );
    }
    assert!(
        intake
            .get("/api/v1/status")
            .await
            .contains("\"agent_identity\":\"san\"")
    );
    let metrics = intake.get("/metrics").await;
    assert!(
        metrics.contains("reason=\"other_host\"} 4"),
        "refusals are counted: {metrics}"
    );
    let text = logs.text();
    assert!(
        text.contains("an upload ended") && text.contains("its certificate names `host1`"),
        "{text}"
    );
    assert!(
        !text.contains(number) && !text.contains(hexadecimal),
        "{text}"
    );
}
