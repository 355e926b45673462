//! Four hosts under one ToR whose agents upload every half second, and an RNIC that may be dead.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rpingmesh::net::client::channel;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::time::{Clock as _, SystemClock};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

const HOSTS: u8 = 4;
const INTERVAL: Duration = Duration::from_millis(500);
/// Probes per path and interval.
const PROBES: u64 = 10;
/// Longer than uploads take, so that a stopped analyzer is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The agents. They end with this value.
pub(crate) struct Agents {
    dead: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl Agents {
    /// Starts them; all is well.
    pub(crate) fn start(analyzer: SocketAddr) -> Self {
        let url = Url::server(&format!("http://{analyzer}")).expect("url");
        let channel = channel(&url, &Security::loopback_plaintext()).expect("a channel");
        let dead = Arc::new(AtomicU8::new(0));
        let task = tokio::spawn(run(channel, Arc::clone(&dead)));
        Self { dead, task }
    }

    /// Kills the RNIC of a host, from 1; 0 for none.
    pub(crate) fn kill(&self, host: u8) {
        self.dead.store(host, Ordering::Relaxed);
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(channel: Channel, dead: Arc<AtomicU8>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut before = SystemClock.wall().nanos();
    for sequence in 1.. {
        ticks.tick().await;
        let now = SystemClock.wall().nanos();
        let dead = dead.load(Ordering::Relaxed);
        for host in 1..=HOSTS {
            let batch = v1::ResultBatch {
                sequence,
                start_unix_ns: before,
                end_unix_ns: now,
                paths: paths(host, dead),
                ..Default::default()
            };
            // An analyzer that is being restarted misses it, as it would miss that of an agent whose spool is full.
            let _ = tokio::time::timeout(PATIENCE, upload(channel.clone(), host, batch)).await;
        }
        before = now;
    }
}

async fn upload(channel: Channel, host: u8, batch: v1::ResultBatch) -> Result<(), tonic::Status> {
    let hello = v1::UploadHello {
        agent_id: format!("agent-{host}"),
        spool_id: 7,
        host: format!("host{host}"),
        ..v1::UploadHello::default()
    };
    let messages = [hello.into(), UploadRequest::from(&batch)];
    let mut answers = AnalyzerServiceClient::new(channel)
        .upload(tokio_stream::iter(messages))
        .await?
        .into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

fn peer(host: u8) -> v1::Peer {
    let mut gid = vec![0; 10];
    gid.extend([0xff, 0xff, 10, 0, 0, host]);
    v1::Peer {
        gid: gid.into(),
        qpn: u32::from(host),
        host: format!("host{host}"),
        tor: "tor0".to_owned(),
        device: "mlx5_0".to_owned(),
    }
}

/// What a host sees of the others.
fn paths(source: u8, dead: u8) -> Vec<v1::PathReport> {
    let others = (1..=HOSTS).filter(|target| *target != source);
    others
        .map(|target| {
            let lost = if source == dead || target == dead {
                PROBES
            } else {
                0
            };
            let spans: Vec<i64> = (lost..PROBES).map(|_| 10_000).collect();
            v1::PathReport {
                source: Some(peer(source)),
                target: Some(peer(target)),
                kind: v1::ProbeKind::TorMesh.into(),
                source_port: 50_000,
                sent: PROBES,
                lost,
                network_rtt_ns: spans.clone(),
                prober_delay_ns: spans.clone(),
                responder_delay_ns: spans,
                clock: v1::CompletionClock::Software.into(),
                ..Default::default()
            }
        })
        .collect()
}
