use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::message::{Links, alerts, changes, sign};
use super::*;
use crate::analysis::alerts::Event;
use crate::analysis::incident::{Severity, Subjects};
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::config::analyzer::{AlertSettings, AnalyzerSettings};
use crate::store::Location;
use crate::store::open::Stores;
use crate::time::{SystemClock, WallTime};

const SECOND: i64 = 1_000_000_000;

fn incident() -> Incident {
    Incident {
        id: 7,
        subject: Component::Link {
            from: "spine1".to_owned(),
            to: "tor3".to_owned(),
        },
        both_directions: false,
        or: Vec::new(),
        deciding: false,
        category: Category::LinkLoss,
        severity: Severity::P0,
        opened_unix_ns: 1_800_000_000 * SECOND,
        seen_unix_ns: 1_800_000_005 * SECOND,
        closed_unix_ns: None,
        confidence: 0.995,
        share: 0.05,
        sent: 1_000,
        lost: 50,
        services: [("train".to_owned(), true)].into(),
        perhaps: BTreeMap::new(),
        evidence: vec![
            "50 of 1000 probes were lost".to_owned(),
            "traced".to_owned(),
        ],
        openings: 1,
        interval: None,
        explains: Vec::new(),
        subjects: Subjects::default(),
        cause: None,
    }
}

fn links() -> Links {
    Links::new(
        Some("https://rpingmesh.example"),
        "127.0.0.1:7472".parse().expect("address"),
    )
}

#[test]
fn alertmanager_is_told_what_is_open_and_what_is_over() {
    let milder = DeliveryState {
        severity: Severity::P2,
        ..DeliveryState::from(&incident())
    };
    let closed = Incident {
        closed_unix_ns: Some(1_800_000_030 * SECOND),
        ..incident()
    };
    let batch = [
        Item {
            event: Event::Updated,
            over: Some(milder),
            incident: incident(),
        },
        Item {
            event: Event::Closed,
            over: Some(DeliveryState::from(&incident())),
            incident: closed,
        },
    ];
    let labels = [("cluster".to_owned(), "a".to_owned())].into();
    let now = WallTime::from_nanos(1_800_000_040 * SECOND);
    let alerts = alerts(
        &batch,
        &labels,
        &links(),
        now,
        now.after(Duration::from_mins(4)),
    );
    insta::assert_json_snapshot!(alerts);
}

#[test]
fn webhooks_get_the_incident_of_the_api() {
    let batch = [Item {
        event: Event::Opened,
        over: None,
        incident: incident(),
    }];
    insta::assert_json_snapshot!(changes(&batch, &links()));
}

#[test]
fn bodies_are_signed_as_others_do_it() {
    // RFC 4231, test case 2, with the key filled up to what the configuration asks for.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "Jefe\0\0\0\0\0\0\0\0\0\0\0\0\n").expect("a file");
    let settings = AnalyzerSettings {
        alerts: AlertSettings {
            webhooks: vec!["http://127.0.0.1:1/x".to_owned()],
            webhook_secret_file: Some(file),
            ..Default::default()
        },
        ..Default::default()
    };
    let secret = settings
        .validate()
        .expect("valid")
        .alerts
        .secret
        .expect("a secret");
    let (name, value) = sign(&secret, b"what do ya want for nothing?");
    assert_eq!(name, "x-rpingmesh-signature");
    assert_eq!(
        value,
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

/// What a receiver got: path and body of each request.
type Requests = mpsc::UnboundedReceiver<(String, Value)>;

/// A receiver on loopback that is called `localhost`, by TLS.
struct TlsReceiver {
    port: u16,
    requests: Requests,
    /// Files with its CA's certificate, and with that of another one.
    ours: PathBuf,
    other: PathBuf,
}

impl TlsReceiver {
    async fn listen(folder: &Path) -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).expect("parameters");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let issuer = CertifiedIssuer::self_signed(params, key).expect("a CA");
            let file = folder.join(name);
            std::fs::write(&file, issuer.pem()).expect("a file");
            (issuer, file)
        };
        let ((issuer, ours), (_, other)) = (authority("ours.pem"), authority("other.pem"));
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a configuration");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (taken, requests) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), taken));
        Self {
            port,
            requests,
            ours,
            other,
        }
    }

    async fn next(&mut self) -> (String, Value) {
        let next = tokio::time::timeout(Duration::from_secs(30), self.requests.recv());
        next.await.expect("a request in time").expect("it listens")
    }
}

/// One request on each connection.
async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    taken: mpsc::UnboundedSender<(String, Value)>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        // A client that does not trust the certificate goes.
        let Ok(mut stream) = acceptor.accept(stream).await else {
            continue;
        };
        let mut text = String::new();
        let (head, length) = loop {
            let mut part = vec![0; 4096];
            let count = stream.read(&mut part).await.expect("a request");
            text.push_str(std::str::from_utf8(&part[..count]).expect("text"));
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let lower = head.to_lowercase();
            let (_, length) = lower.split_once("content-length: ").expect("a length");
            let length: usize = length
                .lines()
                .next()
                .and_then(|length| length.parse().ok())
                .expect("a number");
            if body.len() >= length {
                break (head.len(), length);
            }
        };
        let path = text.split(' ').nth(1).expect("a path").to_owned();
        let body = &text[head + 4..head + 4 + length];
        let body = serde_json::from_str(body).expect("JSON");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.expect("answered");
        let _ = stream.shutdown().await;
        // The test may have ended.
        let _ = taken.send((path, body));
    }
}

/// Starts the receivers of a configuration and tells them of an incident.
async fn told_of(settings: AlertSettings, stop: &CancellationToken) -> Alerts {
    let settings = AnalyzerSettings {
        alerts: settings,
        ..Default::default()
    };
    let stores = Stores::open(&Location::Memory).await.expect("a store");
    let parts = AlertInputs {
        config: settings.validate().expect("valid").alerts,
        store: stores.incidents,
        clock: Arc::new(SystemClock),
        web: "127.0.0.1:7472".parse().expect("address"),
    };
    let alerts = restore(parts, &AlertMetrics::default())
        .await
        .expect("the store can be read");
    let mut supervisor = Supervisor::new("test");
    let stage = supervisor.stage(Duration::ZERO);
    alerts.spawn(&mut supervisor, &stage);
    tokio::spawn(supervisor.run(stop.clone()));
    alerts.learn(&incident());
    alerts
}

/// Waits until so many incidents wait for receivers.
async fn waiting(alerts: &Alerts, count: usize) {
    let reached = async {
        while alerts.sizes().1 != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, reached).await.expect("told");
}

#[tokio::test]
async fn receivers_are_told_by_https() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut receiver = TlsReceiver::listen(folder.path()).await;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let url = format!("https://localhost:{}", receiver.port);
    let settings = AlertSettings {
        alertmanagers: vec![url.clone()],
        webhooks: vec![format!("{url}/hook")],
        ca: Some(receiver.ours.clone()),
        ..Default::default()
    };
    let alerts = told_of(settings, &stop).await;
    let mut requests = [receiver.next().await, receiver.next().await];
    requests.sort_by(|a, b| a.0.cmp(&b.0));
    let [(first, alert), (second, change)] = requests;
    assert_eq!([&*first, &*second], ["/api/v2/alerts", "/hook"]);
    assert_eq!(alert[0]["labels"]["subject"], "spine1->tor3");
    assert_eq!(change["changes"][0]["incident"]["id"], 7);
    waiting(&alerts, 0).await;
}

#[tokio::test]
async fn a_receiver_that_another_authority_vouches_for_is_told_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut receiver = TlsReceiver::listen(folder.path()).await;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let hook = format!("https://localhost:{}/hook", receiver.port);
    let settings = |ca: &Path| AlertSettings {
        webhooks: vec![hook.clone()],
        ca: Some(ca.to_owned()),
        ..Default::default()
    };
    let client = Client::with_ca("alerts.ca", &receiver.other, Duration::from_secs(10));
    let url = Url::parse(&hook).expect("a URL");
    let refused = client
        .expect("a CA")
        .post_json(&url, &[], Bytes::new())
        .await;
    let error = refused.expect_err("the certificate is not trusted");
    assert!(!error.is_refusal(), "it is tried again: {error}");
    assert!(
        describe(&error).contains("certificate"),
        "{}",
        describe(&error)
    );
    let alerts = told_of(settings(&receiver.other), &stop).await;
    assert_eq!(alerts.sizes(), (1, 1), "it waits");
    // The next request that arrives is that of one who trusts the receiver.
    let trusting = told_of(settings(&receiver.ours), &stop).await;
    receiver.next().await;
    waiting(&trusting, 0).await;
    assert_eq!(alerts.sizes(), (1, 1), "it still waits");
    assert!(receiver.requests.try_recv().is_err());
}
