//! The analyzer under large batches, and its restart on the journal that they leave.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use rpingmesh::net::client::channel;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::time::{Clock as _, SystemClock};

use crate::analyzer::harness::report;
use crate::support::program::{ANALYZER, Program};

/// The bound beside `memory_limit`, and what the windows may take here, in bytes.
const BESIDE: u64 = 256 << 20;
const WINDOWS: u64 = 64 << 20;
/// Without a bound these take 500 MB.
const CLIENTS: u64 = 8;
const BATCHES: u64 = 1;

struct Analyzer {
    program: Program,
    grpc: SocketAddr,
}

impl Analyzer {
    fn start(folder: &Path) -> Self {
        let store = format!("--store=sqlite:{}", folder.join("a.db").display());
        let limit = format!("--memory-limit={WINDOWS}");
        let arguments = [
            "run",
            "--listen=127.0.0.1:0",
            "--web=127.0.0.1:0",
            "--log-format=json",
            &store,
            &limit,
        ];
        let mut program = Program::start(ANALYZER, &arguments);
        let ready = program.wait_for(&["the analyzer is ready"]);
        let fields: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        let grpc = fields["grpc"].as_str().expect("an address");
        Self {
            grpc: grpc.parse().expect("an address"),
            program,
        }
    }

    /// The most memory that it has had, in bytes, and that it has, where the system tells.
    fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes << 10)
    }

    fn assert_bounded(&self) {
        if let Some(peak) = self.memory() {
            let bound = WINDOWS + BESIDE;
            assert!(
                peak <= bound,
                "{} MiB, more than {} MiB",
                peak >> 20,
                bound >> 20
            );
        }
    }
}

/// About 7 MB: a span of a few nanoseconds takes one byte, and 32 in memory.
fn large(sequence: u64) -> v1::ResultBatch {
    const SAMPLES: usize = 200_000;
    let now = SystemClock.wall().nanos();
    let path = |target| v1::PathReport {
        network_rtt_ns: vec![50; SAMPLES],
        prober_delay_ns: vec![50; SAMPLES],
        responder_delay_ns: vec![50; SAMPLES],
        sent: SAMPLES as u64,
        lost: 0,
        ..report(1, target, 1, 0)
    };
    v1::ResultBatch {
        sequence,
        start_unix_ns: now - 1_000_000_000,
        end_unix_ns: now,
        paths: (2..14).map(path).collect(),
        ..v1::ResultBatch::default()
    }
}

/// Sends all batches without waiting for answers; gives the last acknowledgement.
async fn flood(grpc: SocketAddr, client: u64, batches: Vec<UploadRequest>) -> u64 {
    let url = Url::server(&format!("http://{grpc}")).expect("url");
    let channel = channel(&url, &Security::loopback_plaintext()).expect("channel");
    let hello = v1::UploadHello {
        agent_id: format!("m{client}"),
        spool_id: client + 1,
        host: "host1".to_owned(),
        ..v1::UploadHello::default()
    };
    let requests: Vec<_> = std::iter::once(hello.into()).chain(batches).collect();
    let mut answers = AnalyzerServiceClient::new(channel)
        .upload(tokio_stream::iter(requests))
        .await
        .expect("a stream")
        .into_inner();
    let mut last = 0;
    while let Some(answer) = answers.message().await.expect("an answer") {
        last = answer.acknowledged_sequence;
    }
    last
}

#[tokio::test]
async fn large_batches_and_the_restart_after_them_stay_within_the_bound() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Analyzer::start(folder.path());
    let batches: Vec<_> = (1..=BATCHES)
        .map(|sequence| {
            let encoded = large(sequence).encode_to_vec();
            assert!(encoded.len() > 7_000_000, "{}", encoded.len());
            UploadRequest::of_batch(encoded.into())
        })
        .collect();
    let clients = (0..CLIENTS).map(|client| flood(analyzer.grpc, client, batches.clone()));
    let acknowledged = futures_util::future::join_all(clients).await;
    assert_eq!(
        acknowledged,
        vec![BATCHES; usize::try_from(CLIENTS).expect("few")]
    );
    analyzer.assert_bounded();
    analyzer.program.stop();

    // Its journal has 58 MB now. It is ready while it is read, and takes uploads.
    let analyzer = Analyzer::start(folder.path());
    let small = v1::ResultBatch {
        paths: vec![report(1, 2, 10, 1)],
        ..large(BATCHES + 1)
    };
    let next = vec![UploadRequest::from(&small)];
    let next = tokio::time::timeout(Duration::from_secs(30), flood(analyzer.grpc, 0, next));
    assert_eq!(next.await.expect("in time"), BATCHES + 1);
    let mut analyzer = analyzer;
    let line = analyzer.program.wait_for(&["the journal was replayed"]);
    let fields: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(fields["batches"], CLIENTS * BATCHES, "{line}");
    analyzer.assert_bounded();
}
