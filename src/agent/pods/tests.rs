//! A server that answers as the kubelet does, by HTTP and by HTTPS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::url::Url;

const TOKEN: &str = "a.secret-token";
const QUICK: Rhythm = Rhythm {
    refresh: Duration::from_mins(10),
    least: Duration::from_millis(20),
    first_wait: Duration::from_millis(20),
};

/// What it answers, and what it was asked.
#[derive(Default)]
struct Kubelet {
    answer: Mutex<(u16, String)>,
    asked: Mutex<Vec<String>>,
}

impl Kubelet {
    fn answering(status: u16, body: String) -> Arc<Self> {
        let kubelet = Arc::new(Self::default());
        kubelet.set(status, body);
        kubelet
    }

    fn set(&self, status: u16, body: String) {
        *self.answer.lock().expect("unpoisoned") = (status, body);
    }

    async fn listen(self: &Arc<Self>, tls: Option<TlsAcceptor>) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let kubelet = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => kubelet.converse(stream).await,
                    // A client that does not trust the certificate goes.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            kubelet.converse(stream).await;
                        }
                    }
                }
            }
        });
        address
    }

    async fn converse(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let request = String::from_utf8(request).expect("text");
        self.asked.lock().expect("unpoisoned").push(request);
        let (status, body) = self.answer.lock().expect("unpoisoned").clone();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // The client may stop reading.
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

fn list(uids: &[&str]) -> Value {
    let items: Vec<_> = uids
        .iter()
        .map(|uid| {
            json!({ "metadata": { "uid": uid, "name": format!("{uid}-0"), "namespace": "ml",
                "ownerReferences": [{ "kind": "PyTorchJob", "name": uid, "controller": true }] } })
        })
        .collect();
    json!({ "items": items })
}

fn plain(address: SocketAddr) -> Kubernetes {
    Kubernetes {
        url: Url::parse(&format!("http://{address}/pods")).expect("a URL"),
        token: None,
        ca: None,
    }
}

/// A CA's file, and a server with a certificate of it for `localhost`.
fn certified(folder: &Path) -> (PathBuf, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, issuer.pem()).expect("written");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
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
    (ca, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn the_token_goes_to_the_server_that_the_ca_vouches_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ca, tls) = certified(folder.path());
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).expect("written");
    let kubelet = Kubelet::answering(200, list(&["llama"]).to_string());
    let address = kubelet.listen(Some(tls)).await;
    let mut source = Kubernetes {
        url: Url::parse(&format!("https://localhost:{}/pods?x=y", address.port())).expect("a URL"),
        token: Some(token.clone()),
        ca: Some(ca),
    };
    let names = fetch(&source).await.expect("a list");
    assert_eq!(
        names.get("llama").map(|pod| pod.kind.as_str()),
        Some("pytorchjob")
    );
    let asked = kubelet
        .asked
        .lock()
        .expect("unpoisoned")
        .pop()
        .expect("asked");
    assert!(asked.starts_with("GET /pods?x=y HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.contains(&format!("authorization: Bearer {TOKEN}\r\n")),
        "{asked}"
    );

    // Another CA: it is told nothing.
    let other = tempfile::tempdir().expect("a folder");
    source.ca = Some(certified(other.path()).0);
    let error = fetch(&source).await.expect_err("another CA");
    assert!(
        matches!(error, FetchError::Http(HttpError::Tls { .. })),
        "{error}"
    );
    assert!(kubelet.asked.lock().expect("unpoisoned").is_empty());
    for bad in ["", " \n", "two\nlines"] {
        std::fs::write(&token, bad).expect("written");
        let error = fetch(&source).await.expect_err("no token");
        assert!(matches!(error, FetchError::NoToken { .. }), "{error}");
    }
    std::fs::remove_file(&token).expect("removed");
    let error = fetch(&source).await.expect_err("no file");
    assert!(matches!(error, FetchError::Token { .. }), "{error}");
}

#[tokio::test]
async fn answers_that_are_no_list_are_errors() {
    let kubelet = Kubelet::answering(200, "<html>".to_owned());
    let source = plain(kubelet.listen(None).await);
    assert!(matches!(fetch(&source).await, Err(FetchError::Answer(_))));
    kubelet.set(
        403,
        json!({ "kind": "Status", "message": "pods is forbidden" }).to_string(),
    );
    let error = fetch(&source).await.expect_err("forbidden");
    assert!(error.to_string().contains("pods is forbidden"), "{error}");
    let long = format!("{{\"items\":[]{}}}", " ".repeat(MOST_BYTES));
    kubelet.set(200, long);
    let error = fetch(&source).await.expect_err("too long");
    assert!(
        matches!(error, FetchError::Http(HttpError::Protocol { .. })),
        "{error}"
    );
}

async fn until(pods: &mut PodsIn, is: impl Fn(&KnownPods) -> bool) -> KnownPods {
    let known = pods.names.wait_for(is);
    let known = tokio::time::timeout(Duration::from_secs(30), known).await;
    known.expect("in time").expect("it runs").clone()
}

#[tokio::test]
async fn names_are_asked_for_when_they_are_wanted_and_stay_while_nobody_answers() {
    let kubelet = Kubelet::answering(200, list(&["first"]).to_string());
    let source = plain(kubelet.listen(None).await);
    let (task, mut pods) = Pods::in_rhythm(source, QUICK);
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    until(&mut pods, |known| known.names.get("first").is_some()).await;

    // Nothing is asked until a name is wanted.
    kubelet.set(200, list(&["second"]).to_string());
    pods.wanted.notify_one();
    let known = until(&mut pods, |known| known.names.get("second").is_some()).await;
    assert!(
        known.names.get("first").is_some(),
        "its connections may still be there"
    );

    kubelet.set(500, "broken".to_owned());
    pods.wanted.notify_one();
    let known = until(&mut pods, |known| known.trouble.is_some()).await;
    assert!(known.trouble.expect("trouble").contains("500"));
    assert_eq!(known.names.len(), 2);
    // It tries again by itself.
    kubelet.set(200, list(&["third"]).to_string());
    let known = until(&mut pods, |known| known.trouble.is_none()).await;
    assert!(known.names.get("third").is_some());
    stop.cancel();
    running.await.expect("it ends");
}
