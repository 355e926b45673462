//! Mutual TLS between real servers and clients: who is let in, who is refused, and what both sides say about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::net::client::channel;
use rpingmesh::net::server::{self, Listener, RefusalKind, ServerCounters, ServerError};
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1::UploadResponse;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::rpc::v1::analyzer_service_server::{AnalyzerService, AnalyzerServiceServer};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::certs::{Authority, Validity, put, security};
use crate::support::logs::Logs;

/// Answers every upload with one acknowledgement.
struct Answering;

#[tonic::async_trait]
impl AnalyzerService for Answering {
    type UploadStream = tokio_stream::Once<Result<UploadResponse, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        assert!(
            server::peer_of(&request).is_some(),
            "the peer's address is known"
        );
        let answer = UploadResponse {
            acknowledged_sequence: 7,
            takes_zstd: false,
            takes_state: false,
            seen_since_sequence: 0,
        };
        Ok(Response::new(tokio_stream::once(Ok(answer))))
    }
}

struct Server {
    address: SocketAddr,
    counters: Arc<ServerCounters>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(security: Security) -> Server {
    let listener = Listener::bind("127.0.0.1:0".parse().expect("address"), security)
        .await
        .expect("bind");
    let server = Server {
        address: listener.address(),
        counters: listener.counters(),
        stop: CancellationToken::new(),
    };
    assert_ne!(server.address.port(), 0);
    let router = server::builder().add_service(AnalyzerServiceServer::new(Answering));
    let stop = server.stop.clone();
    tokio::spawn(listener.serve(router, stop, Duration::from_secs(1)));
    server
}

async fn call(url: &str, security: &Security) -> Result<u64, Status> {
    let url = Url::server(url).expect("url");
    let channel = channel(&url, security).expect("channel");
    let mut answers = AnalyzerServiceClient::new(channel)
        .upload(tokio_stream::empty())
        .await?
        .into_inner();
    Ok(answers
        .message()
        .await?
        .expect("an answer")
        .acknowledged_sequence)
}

fn url(server: &Server) -> String {
    format!("https://localhost:{}", server.address.port())
}

/// Waits until the server has counted a refusal of this kind.
async fn refused(server: &Server, kind: RefusalKind) -> u64 {
    let counted = async {
        while server.counters.refused(kind) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted)
        .await
        .expect("a refusal is counted");
    server.counters.refused(kind)
}

#[tokio::test]
async fn same_authority_works_and_plaintext_too_on_loopback() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new("fabric CA");
    let files = authority.issue(folder.path(), "localhost", Validity::Now);
    let both = security(files);
    let server = serve(both.clone()).await;
    assert_eq!(call(&url(&server), &both).await.expect("call"), 7);
    assert_eq!(server.counters.accepted(), 1);

    let plain = Security::loopback_plaintext();
    let server = serve(plain.clone()).await;
    let url = format!("http://{}", server.address);
    assert_eq!(call(&url, &plain).await.expect("call"), 7);
}

#[tokio::test]
async fn client_of_another_authority_is_refused_visibly_on_both_sides() {
    let logs = Logs::collect();
    let folder = tempfile::tempdir().expect("folder");
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = serve(security(ours.issue(
        &folder.path().join("s"),
        "localhost",
        Validity::Now,
    )))
    .await;
    // Trusts the server, but is itself signed by somebody else: only the server can object.
    let client_folder = folder.path().join("c");
    let mut files = other.issue(&client_folder, "agent", Validity::Now);
    files.ca = put(&client_folder, "ours.pem", &ours.pem());
    let status = call(&url(&server), &security(files))
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable);
    let text = status.message();
    assert!(text.contains(&url(&server)), "{text}");
    assert!(
        text.contains("our certificate (tls.cert) was refused"),
        "{text}"
    );
    assert!(text.contains("another CA"), "{text}");

    assert_eq!(refused(&server, RefusalKind::Certificate).await, 1);
    let text = logs.text();
    assert!(
        text.contains("WARN") && text.contains("refused a connection"),
        "{text}"
    );
    assert!(
        text.contains("127.0.0.1:") && text.contains("another CA"),
        "{text}"
    );
}

#[tokio::test]
async fn server_of_another_authority_is_refused_visibly_on_both_sides() {
    let logs = Logs::collect();
    let folder = tempfile::tempdir().expect("folder");
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = serve(security(other.issue(
        &folder.path().join("s"),
        "localhost",
        Validity::Now,
    )))
    .await;
    let client = security(ours.issue(&folder.path().join("c"), "agent", Validity::Now));
    let status = call(&url(&server), &client).await.expect_err("refused");
    let text = status.message();
    assert!(text.contains(&url(&server)), "{text}");
    assert!(
        text.contains("the peer's certificate was refused"),
        "{text}"
    );
    assert!(text.contains("another CA than those in tls.ca"), "{text}");
    refused(&server, RefusalKind::Certificate).await;
    assert!(
        logs.text().contains("was refused by the peer"),
        "{}",
        logs.text()
    );
}

#[tokio::test]
async fn expired_certificates_and_wrong_names_are_called_so() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new("ours");
    let good = security(authority.issue(&folder.path().join("good"), "localhost", Validity::Now));
    let expired =
        security(authority.issue(&folder.path().join("old"), "localhost", Validity::Expired));

    let server = serve(good.clone()).await;
    let text = call(&url(&server), &expired)
        .await
        .expect_err("expired")
        .to_string();
    assert!(
        text.contains("our certificate") && text.contains("expired"),
        "{text}"
    );
    refused(&server, RefusalKind::Certificate).await;

    let name = format!("https://127.0.0.1:{}", server.address.port());
    let text = call(&name, &good).await.expect_err("name").to_string();
    assert!(
        text.contains("not valid for the name `127.0.0.1`, only for"),
        "{text}"
    );
    assert!(text.contains("localhost"), "{text}");

    let server = serve(expired).await;
    let text = call(&url(&server), &good)
        .await
        .expect_err("expired")
        .to_string();
    assert!(
        text.contains("the peer's certificate") && text.contains("expired"),
        "{text}"
    );
}

#[tokio::test]
async fn plaintext_and_tls_do_not_mix_and_say_so() {
    let folder = tempfile::tempdir().expect("folder");
    let tls = security(Authority::new("ours").issue(folder.path(), "localhost", Validity::Now));
    let plain = Security::loopback_plaintext();

    let server = serve(tls.clone()).await;
    let status = call(&format!("http://{}", server.address), &plain).await;
    assert!(status.is_err());
    refused(&server, RefusalKind::Handshake).await;

    let server = serve(plain.clone()).await;
    let text = call(&url(&server), &tls)
        .await
        .expect_err("plaintext server")
        .to_string();
    assert!(text.contains("plaintext"), "{text}");

    let any = "0.0.0.0:0".parse().expect("address");
    let error = Listener::bind(any, plain).await.expect_err("not loopback");
    assert!(matches!(error, ServerError::Plaintext { .. }), "{error}");
}

#[tokio::test]
async fn rotated_files_are_used_without_a_restart_and_broken_ones_are_not() {
    let logs = Logs::collect();
    let folder = tempfile::tempdir().expect("folder");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (s, c) = (folder.path().join("s"), folder.path().join("c"));
    let server = serve(security(old.issue(&s, "localhost", Validity::Now))).await;
    let client = security(old.issue(&c, "agent", Validity::Now));
    assert_eq!(call(&url(&server), &client).await.expect("before"), 7);

    put(&s, "cert.pem", "half a fi");
    assert_eq!(call(&url(&server), &client).await.expect("old one kept"), 7);
    assert_eq!(call(&url(&server), &client).await.expect("old one kept"), 7);
    let text = logs.text();
    assert_eq!(
        text.matches("the old ones stay in use").count(),
        1,
        "{text}"
    );
    assert!(text.contains("cert.pem"), "{text}");

    new.issue(&s, "localhost", Validity::Now);
    let text = call(&url(&server), &client)
        .await
        .expect_err("rotated")
        .to_string();
    assert!(text.contains("another CA"), "{text}");
    new.issue(&c, "agent", Validity::Now);
    assert_eq!(call(&url(&server), &client).await.expect("both rotated"), 7);
}

#[tokio::test]
async fn unreachable_peer_is_named_and_found_when_it_comes() {
    let plain = Security::loopback_plaintext();
    let reserved = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let address = reserved.local_addr().expect("address");
    drop(reserved);
    let url = Url::server(&format!("http://{address}")).expect("url");
    let channel = channel(&url, &plain).expect("channel");
    let mut client = AnalyzerServiceClient::new(channel);
    let status = client
        .upload(tokio_stream::empty())
        .await
        .expect_err("nobody there");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status
            .message()
            .contains(&format!("cannot connect to {url}")),
        "{status}"
    );

    let listener = Listener::bind(address, plain).await.expect("bind");
    let stop = CancellationToken::new();
    let router = server::builder().add_service(AnalyzerServiceServer::new(Answering));
    let serving = tokio::spawn(listener.serve(router, stop.clone(), Duration::from_secs(1)));
    client
        .upload(tokio_stream::empty())
        .await
        .expect("the same channel reconnects");
    stop.cancel();
    serving.await.expect("task").expect("clean stop");
}

#[tokio::test]
async fn revoked_certificates_are_refused_on_both_sides_as_soon_as_the_list_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let ours = Authority::new("ours");
    let (s, c) = (folder.path().join("s"), folder.path().join("c"));
    let (mut server_files, server_serial) = ours.issue_numbered(&s, &["localhost"], Validity::Now);
    let (mut client_files, client_serial) = ours.issue_numbered(&c, &["agent"], Validity::Now);
    server_files.crl = Some(put(&s, "crl.pem", &ours.revocations(1, &[1_000_000])));
    client_files.crl = Some(put(&c, "crl.pem", &ours.revocations(1, &[1_000_000])));
    let server = serve(security(server_files)).await;
    let client = security(client_files);
    assert_eq!(call(&url(&server), &client).await.expect("not revoked"), 7);

    put(&s, "crl.pem", &ours.revocations(2, &[client_serial]));
    let text = call(&url(&server), &client)
        .await
        .expect_err("a revoked client")
        .to_string();
    assert!(
        text.contains("our certificate (tls.cert) was refused by the peer: it was revoked"),
        "{text}"
    );
    refused(&server, RefusalKind::Certificate).await;

    put(&s, "crl.pem", &ours.revocations(3, &[]));
    assert_eq!(call(&url(&server), &client).await.expect("not any more"), 7);
    put(&c, "crl.pem", &ours.revocations(3, &[server_serial]));
    let text = call(&url(&server), &client)
        .await
        .expect_err("a revoked server")
        .to_string();
    assert!(
        text.contains("the peer's certificate was refused: it was revoked (tls.crl)"),
        "{text}"
    );

    // A list of another CA says nothing of this one.
    put(&c, "crl.pem", &Authority::new("other").revocations(1, &[]));
    let text = call(&url(&server), &client)
        .await
        .expect_err("no list of its CA")
        .to_string();
    assert!(text.contains("tls.crl has no list of the CA"), "{text}");

    // A broken list does not end the monitoring: the last good one stays in force.
    put(&c, "crl.pem", &ours.revocations(4, &[]));
    assert_eq!(
        call(&url(&server), &client)
            .await
            .expect("a list of its CA"),
        7
    );
    put(&c, "crl.pem", "half a fi");
    assert_eq!(call(&url(&server), &client).await.expect("the old list"), 7);
}
