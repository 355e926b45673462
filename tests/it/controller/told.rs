//! What a controller tells those who ask: of targets, of its settings, of itself in metrics, and after a restart.

use std::path::Path;
use std::time::Duration;

use rpingmesh::pinglist::GroupKind;
use rpingmesh::rpc::v1;
use tonic::Code;

use super::{
    PATIENCE, Server, Session, announcement, decode, fetch, gid, list_when, qpns, resolve, rnic,
};

#[tokio::test]
async fn targets_are_found_by_gid_address_and_host() {
    use v1::target_query::By;
    let server = Server::in_memory().await;
    let rails = announcement("a", 1, &[("10.0.0.1", "t0", 0x11), ("fd00::1", "t1", 0x12)]);
    let (_a, _) = Session::register(&server, rails).await.expect("a");
    let found = resolve(&server, By::Ip("10.0.0.1".to_owned())).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].host.as_str(), found[0].agent_id.as_str()),
        ("host-a", "a")
    );
    assert_eq!(found[0].rnic, Some(rnic("10.0.0.1", "t0", 0x11)));
    assert_eq!(resolve(&server, By::Gid(gid("10.0.0.1"))).await, found);
    assert_eq!(
        resolve(&server, By::Ip("fd00::1".to_owned())).await.len(),
        1
    );
    assert_eq!(
        resolve(&server, By::Host("host-a".to_owned())).await.len(),
        2
    );
    assert!(
        resolve(&server, By::Host("nobody".to_owned()))
            .await
            .is_empty()
    );

    let bad = v1::ResolveTargetRequest {
        queries: vec![v1::TargetQuery {
            by: Some(By::Ip("10.0.0".to_owned())),
        }],
    };
    let status = server
        .client()
        .resolve_target(bad)
        .await
        .expect_err("no address");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().starts_with("queries[0].ip: `10.0.0`"),
        "{status}"
    );
    server.stop().await;
}

fn file_store(folder: &Path) -> String {
    format!("store = 'sqlite:{}'", folder.join("registry.db").display())
}

#[tokio::test]
async fn a_restart_keeps_the_registry_and_the_versions() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = file_store(folder.path());
    let server = Server::start(&settings).await;
    let (mut a, _) = Session::register(&server, announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]))
        .await
        .expect("a");
    let (_b, _) = Session::register(&server, announcement("b", 1, &[("10.0.0.2", "t0", 0x12)]))
        .await
        .expect("b");
    // The plan follows the registrations.
    list_when(&server, &mut a, "a", |list| {
        qpns(list, GroupKind::TorMesh) == [0x12]
    })
    .await;
    let before = fetch(&server, "a", 0).await.version;
    server.stop().await;
    assert_eq!(a.end().await.code(), Code::Unavailable);

    let server = Server::start(&settings).await;
    let found = resolve(&server, v1::target_query::By::Ip("10.0.0.2".to_owned())).await;
    assert_eq!(found[0].agent_id, "b", "known before it has come back");
    let unchanged = fetch(&server, "a", before).await;
    assert_eq!(
        unchanged.version, before,
        "the same list has the same version"
    );
    assert!(unchanged.pinglist.is_none() && unchanged.delta.is_none());
    let response = fetch(&server, "a", 0).await;
    assert_eq!(response.version, before);
    assert_eq!(qpns(&decode(response), GroupKind::TorMesh), [0x12]);
    let again = announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]);
    Session::register(&server, again).await.expect("back again");
    server.stop().await;
}

#[tokio::test]
async fn agents_are_told_the_configuration_once() {
    let server =
        Server::start("store = 'sqlite::memory:'\n[agents]\nprobe_timeout = '250ms'").await;
    let mut client = server.client();
    let mut ask = async |known_version| {
        let request = v1::GetConfigRequest { known_version };
        client
            .get_config(request)
            .await
            .expect("configuration")
            .into_inner()
    };
    let first = ask(0).await;
    assert_eq!(
        first.config.expect("configuration").probe_timeout_ns,
        Some(250_000_000)
    );
    assert_eq!(ask(first.version).await.config, None);
    server.stop().await;
}

async fn metrics(server: &Server) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(server.metrics)
        .await
        .expect("connect");
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("request");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answer");
    text
}

#[tokio::test]
async fn metrics_tell_of_agents_and_of_coverage_that_is_not_reached() {
    let settings = "store = 'sqlite::memory:'\n[pinglist]\nmax_tuples_per_rnic = 64";
    let server = Server::start(settings).await;
    let (mut a, _) = Session::register(&server, announcement("a", 1, &[("10.0.0.1", "t0", 0x11)]))
        .await
        .expect("a");
    let (_b, _) = Session::register(&server, announcement("b", 1, &[("10.0.1.1", "t1", 0x12)]))
        .await
        .expect("b");
    let list = list_when(&server, &mut a, "a", |list| !list.shortfalls.is_empty()).await;
    assert_eq!(
        (list.shortfalls[0].tuples, list.shortfalls[0].wanted_tuples),
        (64, 115)
    );
    assert!((list.shortfalls[0].coverage - 0.765).abs() < 0.001);
    let expected = async {
        loop {
            let text = metrics(&server).await;
            if text.contains("rpingmesh_controller_coverage_short_tor_pairs 2\n")
                && text.contains("rpingmesh_controller_live_agents 2\n")
            {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let text = tokio::time::timeout(PATIENCE, expected)
        .await
        .expect("metrics follow");
    assert!(
        text.contains("rpingmesh_controller_announcements_total{result=\"Accepted\"} 2"),
        "{text}"
    );
    assert!(
        text.contains("rpingmesh_controller_coverage_lowest_ratio 0.76"),
        "{text}"
    );
    server.stop().await;
}
