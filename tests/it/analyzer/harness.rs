//! An analyzer in a runtime of its own that can be cut off, and an agent's side of an upload.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::analysis::windows::Limits;
use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::analyzer::{AnalyzerConfig, AnalyzerSettings};
use rpingmesh::config::{HumanDuration, TlsSettings};
use rpingmesh::events::Publisher;
use rpingmesh::net::client::channel;
use rpingmesh::net::tls::{Security, TlsFiles};
use rpingmesh::net::url::Url;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::store::Location;
use rpingmesh::time::{Clock, HostTime, SystemClock, WallTime};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

/// Wall clock of second 0 of every test: the beginning of a slot.
pub(crate) const START: i64 = 1_800_000_000_000_000_000;
pub(crate) const AGENT: &str = "agent-1";
/// What it says it is.
pub(crate) const VERSION: &str = "0.9.7";

/// A wall clock that stands still.
pub(crate) struct Standing(WallTime);

/// A wall clock at this second of the test.
pub(crate) fn clock(second: i64) -> Arc<dyn Clock> {
    Arc::new(Standing(WallTime::from_nanos(
        START + second * 1_000_000_000,
    )))
}

impl Clock for Standing {
    fn host(&self) -> HostTime {
        SystemClock.host()
    }

    fn wall(&self) -> WallTime {
        self.0
    }
}

/// One run of the analyzer.
pub(crate) struct Incarnation {
    runtime: Runtime,
    grpc: SocketAddr,
    web: SocketAddr,
    stop: CancellationToken,
}

impl Incarnation {
    pub(crate) fn start(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        Self::start_on(folder, clock, "127.0.0.1:0".parse().expect("address"))
    }

    /// With its web server at this address.
    pub(crate) fn start_on(folder: &Path, clock: Arc<dyn Clock>, web: SocketAddr) -> Self {
        let settings = AnalyzerSettings {
            web: web.to_string(),
            ..AnalyzerSettings::default()
        };
        Self::start_with(folder, clock, settings)
    }

    /// With these settings; the store is in `folder`, and addresses that are not given are chosen by the system.
    pub(crate) fn start_with(
        folder: &Path,
        clock: Arc<dyn Clock>,
        settings: AnalyzerSettings,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let any = || "127.0.0.1:0".to_owned();
        let is_given = settings.web != AnalyzerSettings::default().web;
        let settings = AnalyzerSettings {
            listen: any(),
            web: if is_given { settings.web } else { any() },
            judge_interval: HumanDuration(Duration::from_millis(200)),
            ..settings
        };
        let config = AnalyzerConfig {
            store: Location::File(folder.join("analyzer.db")),
            limits: Limits {
                lateness: Duration::from_mins(1),
                clock_tolerance: Duration::from_secs(5),
                paths: 100_000,
                bytes: 1 << 28,
            },
            security: Security::loopback_plaintext(),
            ..settings.validate().expect("a configuration")
        };
        let stop = CancellationToken::new();
        let analyzer = runtime
            .block_on(Analyzer::start(config, clock, Publisher::default()))
            .expect("the analyzer starts");
        let (grpc, web) = (analyzer.grpc_address(), analyzer.web_address());
        runtime.spawn(analyzer.run(stop.clone()));
        Self {
            runtime,
            grpc,
            web,
            stop,
        }
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Ends everything where it stands, without asking.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }

    /// Where its web server is.
    pub(crate) const fn web(&self) -> SocketAddr {
        self.web
    }

    /// Tells it to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    fn channel(&self) -> Channel {
        let url = Url::server(&format!("http://{}", self.grpc)).expect("url");
        channel(&url, &Security::loopback_plaintext()).expect("channel")
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = http(self.web, path).await;
        let answer = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        (status, answer)
    }

    pub(crate) async fn get_text(&self, path: &str) -> String {
        let (status, body) = http(self.web, path).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Probes of all paths in the longest window.
    pub(crate) async fn total_sent(&self) -> u64 {
        let (_, answer) = self.get("/api/v1/paths?window=120s").await;
        sent(&answer)
    }

    /// The only agent.
    pub(crate) async fn agent(&self) -> Value {
        let (_, answer) = self.get("/api/v1/agents").await;
        assert_eq!(answer["agents"].as_array().map(Vec::len), Some(1));
        answer["agents"][0].clone()
    }

    /// What a stream with this first message is answered.
    pub(crate) async fn first_answer(&self, first: UploadRequest) -> Result<u64, Code> {
        let mut answers = AnalyzerServiceClient::new(self.channel())
            .upload(tokio_stream::once(first))
            .await
            .map_err(|status| status.code())?
            .into_inner();
        match answers.message().await {
            Ok(Some(answer)) => Ok(answer.acknowledged_sequence),
            Ok(None) => panic!("the stream ended without an answer"),
            Err(status) => Err(status.code()),
        }
    }
}

/// Status and body of a GET.
pub(crate) async fn http(address: SocketAddr, path: &str) -> (u16, String) {
    request(address, "GET", path).await
}

/// Status and body of what a request is answered.
pub(crate) async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connect");
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("request");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}

fn hello(agent: &str, spool: u64) -> v1::UploadHello {
    v1::UploadHello {
        agent_id: agent.to_owned(),
        spool_id: spool,
        host: "host1".to_owned(),
        version: VERSION.to_owned(),
        ..v1::UploadHello::default()
    }
}

fn messages(hello: v1::UploadHello, batches: Vec<v1::ResultBatch>) -> Vec<UploadRequest> {
    let batches = batches.into_iter();
    std::iter::once(hello.into())
        .chain(batches.map(|batch| UploadRequest::from(&batch)))
        .collect()
}

/// Sends batches and reads answers until the stream ends: the last acknowledgement, and the error it ended with.
pub(crate) async fn upload(
    analyzer: &Incarnation,
    spool: u64,
    batches: Vec<v1::ResultBatch>,
) -> (u64, Option<Code>) {
    upload_to(analyzer.channel(), AGENT, spool, batches).await
}

/// The same by another agent, which says that it is of this version.
pub(crate) async fn upload_of_version(
    analyzer: &Incarnation,
    agent: &str,
    version: &str,
    batches: Vec<v1::ResultBatch>,
) -> (u64, Option<Code>) {
    let hello = v1::UploadHello {
        version: version.to_owned(),
        ..hello(agent, 7)
    };
    exchange(analyzer.channel(), messages(hello, batches)).await
}

/// The same by the agent of a host, which is called like it.
pub(crate) async fn upload_from(
    analyzer: &Incarnation,
    host: &str,
    batches: Vec<v1::ResultBatch>,
) -> (u64, Option<Code>) {
    let hello = v1::UploadHello {
        host: host.to_owned(),
        ..hello(host, 7)
    };
    exchange(analyzer.channel(), messages(hello, batches)).await
}

/// The agent says what it is like.
pub(crate) async fn tell(analyzer: &Incarnation, state: v1::AgentState) {
    let messages = vec![hello(AGENT, 7).into(), UploadRequest::of_state(state)];
    assert_eq!(exchange(analyzer.channel(), messages).await.1, None);
}

/// An agent whose RNICs are these; those with `!` before their names cannot be used.
pub(crate) fn state(devices: &str) -> v1::AgentState {
    let rnic = |name: &str| v1::RnicState {
        device: name.trim_start_matches('!').to_owned(),
        closed: if name.starts_with('!') {
            "the port is down".to_owned()
        } else {
            String::new()
        },
        clock: if name.starts_with('!') {
            v1::CompletionClock::Unspecified.into()
        } else {
            v1::CompletionClock::Software.into()
        },
    };
    v1::AgentState {
        rnics: devices.split_whitespace().map(rnic).collect(),
        degraded: vec!["tracing: no CAP_BPF".to_owned()],
        tuples: 84,
        ..v1::AgentState::default()
    }
}

pub(crate) async fn upload_to(
    channel: Channel,
    agent: &str,
    spool: u64,
    batches: Vec<v1::ResultBatch>,
) -> (u64, Option<Code>) {
    exchange(channel, messages(hello(agent, spool), batches)).await
}

/// The same of bytes that need not be a batch.
pub(crate) async fn upload_bytes(
    analyzer: &Incarnation,
    spool: u64,
    bytes: &'static [u8],
) -> (u64, Option<Code>) {
    let request = UploadRequest::of_batch(bytes.into());
    let messages = vec![hello(AGENT, spool).into(), request];
    exchange(analyzer.channel(), messages).await
}

async fn exchange(channel: Channel, messages: Vec<UploadRequest>) -> (u64, Option<Code>) {
    let mut client = AnalyzerServiceClient::new(channel).max_encoding_message_size(usize::MAX);
    let mut answers = match client.upload(tokio_stream::iter(messages)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (0, Some(status.code())),
    };
    let mut last = 0;
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                assert!(
                    answer.acknowledged_sequence >= last,
                    "acknowledgements never go back"
                );
                last = answer.acknowledged_sequence;
            }
            Ok(None) => return (last, None),
            Err(status) => return (last, Some(status.code())),
        }
    }
}

/// Opens an upload and goes away after its first answer, whatever has become of the batches by then.
pub(crate) async fn submit_without_waiting(
    analyzer: &Incarnation,
    agent: &str,
    spool: u64,
    batches: Vec<v1::ResultBatch>,
) {
    let outgoing = tokio_stream::iter(messages(hello(agent, spool), batches));
    let mut answers = AnalyzerServiceClient::new(analyzer.channel())
        .upload(outgoing)
        .await
        .expect("the stream opens")
        .into_inner();
    answers.message().await.expect("the watermark");
}

fn peer(number: u8) -> v1::Peer {
    let mut gid = [0u8; 16];
    gid[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, number]);
    v1::Peer {
        gid: gid.to_vec().into(),
        qpn: u32::from(number),
        host: format!("host{number}"),
        tor: format!("tor{}", number / 2),
        device: "rxe0".to_owned(),
    }
}

/// Results between two RNICs, all complete but `lost`.
pub(crate) fn report(source: u8, target: u8, sent: u64, lost: u64) -> v1::PathReport {
    let spans: Vec<i64> = (lost..sent).map(|_| 10_000).collect();
    v1::PathReport {
        source: Some(peer(source)),
        target: Some(peer(target)),
        kind: v1::ProbeKind::TorMesh.into(),
        source_port: 50_000,
        sent,
        lost,
        network_rtt_ns: spans.clone(),
        prober_delay_ns: spans.clone(),
        responder_delay_ns: spans,
        clock: v1::CompletionClock::Software.into(),
        ..Default::default()
    }
}

/// A trace from 10.0.0.`source` to 10.0.0.`target` on port 50000 that ended at `second` of the test; `-` for a hop that did
/// not answer.
pub(crate) fn trace(source: u8, target: u8, second: u64, hops: &str) -> v1::PathTrace {
    let gid = |number: u8| {
        let mut gid = vec![0; 10];
        gid.extend([0xff, 0xff, 10, 0, 0, number]);
        gid.into()
    };
    let hop = |node: &str| match node {
        "-" => v1::TraceHop::default(),
        node => v1::TraceHop {
            node: node.to_owned(),
            rtt_ns: 20_000,
        },
    };
    v1::PathTrace {
        source_gid: gid(source),
        target_gid: gid(target),
        source_port: 50_000,
        at_unix_ns: START + i64::try_from(second).expect("second") * 1_000_000_000,
        reason: v1::TraceReason::Scheduled.into(),
        end: v1::TraceEnd::Inferred.into(),
        hops: hops.split_whitespace().map(hop).collect(),
    }
}

/// A batch whose interval is the second that ends at `second` of the test.
pub(crate) fn batch(sequence: u64, second: u64, paths: Vec<v1::PathReport>) -> v1::ResultBatch {
    let end = START + i64::try_from(second).expect("second") * 1_000_000_000;
    v1::ResultBatch {
        sequence,
        start_unix_ns: end - 1_000_000_000,
        end_unix_ns: end,
        paths,
        counters: None,
        traces: Vec::new(),
        hardware: Vec::new(),
    }
}

/// Probes of all paths in an answer of `/api/v1/paths`.
pub(crate) fn sent(answer: &Value) -> u64 {
    let paths = answer["paths"].as_array().expect("paths");
    paths
        .iter()
        .map(|path| path["sent"].as_u64().expect("a number"))
        .sum()
}

/// A web server that asks for certificates.
pub(crate) fn over_tls(files: &TlsFiles) -> AnalyzerSettings {
    AnalyzerSettings {
        web_tls: true,
        tls: TlsSettings {
            cert: Some(files.cert.clone()),
            key: Some(files.key.clone()),
            ca: Some(files.ca.clone()),
            ..TlsSettings::default()
        },
        ..AnalyzerSettings::default()
    }
}
