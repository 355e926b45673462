//! Analyzers that share a fleet over TLS: each passes results on as the one whose host its certificate names.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use rpingmesh::net::tls::TlsFiles;
use rpingmesh::transport::memory::Network;

use super::site::{
    Controller, HOSTS, PATIENCE, Plan, Site, agent, arguments, free, member_with, name_of, until,
};
use crate::external::postgres::cluster::Cluster;
use crate::support::certs::{Authority, Validity};
use crate::support::program::{ANALYZER, CONTROLLER, Program};

/// An address on a loopback host of its own.
fn free_on(host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), free().port()))
}

fn flags(files: &TlsFiles) -> [String; 6] {
    let path = |path: &Path| path.display().to_string();
    [
        "--tls-cert".to_owned(),
        path(&files.cert),
        "--tls-key".to_owned(),
        path(&files.key),
        "--tls-ca".to_owned(),
        path(&files.ca),
    ]
}

fn table(files: &TlsFiles) -> String {
    format!(
        "[tls]\ncert = '{}'\nkey = '{}'\nca = '{}'",
        files.cert.display(),
        files.key.display(),
        files.ca.display()
    )
}

/// What an analyzer on these addresses is started with.
fn words(store: &str, grpc: SocketAddr, web: SocketAddr, files: &TlsFiles) -> Vec<String> {
    let plain = arguments(store, grpc, web).into_iter();
    let encrypted = plain.map(|word| {
        if word == format!("http://{grpc}") {
            format!("https://{grpc}")
        } else {
            word
        }
    });
    encrypted.chain(flags(files)).collect()
}

fn encrypted_controller(store: &str, files: &TlsFiles) -> (Controller, String) {
    let flags = flags(files);
    let mut words = vec!["run", "--listen", "127.0.0.1:0", "--store", store];
    words.extend(flags.iter().map(String::as_str));
    let mut program = Program::start(CONTROLLER, &words);
    let line = program.wait_for(&["controller listens"]);
    let address = line.split_once("address=").expect("its address").1;
    let address = address.split_whitespace().next().expect("its address");
    let url = format!("https://{address}");
    let address = address.parse().expect("an address");
    (Controller { program, address }, url)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn analyzers_with_certificates_share_a_fleet_each_in_its_own_name() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let store = cluster.url("rpingmesh", "fleet=east");
    let client = cluster.client("rpingmesh").await;
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("ours");
    let issue = |name: &str| authority.issue(&folder.path().join(name), name, Validity::Now);
    let (controller, url) = encrypted_controller(&store, &issue("127.0.0.1"));
    let mut members = Vec::new();
    for host in 2..4 {
        let (grpc, web) = (free_on(host), free());
        let files = issue(&grpc.ip().to_string());
        let words = words(&store, grpc, web, &files);
        members.push(member_with(&words, (grpc, web), &client).await);
    }
    let network = Network::new();
    let any = format!("https://{}", members[0].grpc);
    let agents = (1..=HOSTS).map(|number| {
        let other = table(&issue(&name_of(number)));
        agent((number, &url, &any), &other, &network, folder.path())
    });
    let site = Site {
        agents: agents.collect(),
        store: store.clone(),
        client,
        members,
        plan: Plan::default(),
        controllers: vec![controller],
        folder: tempfile::tempdir().expect("a folder"),
        cluster,
    };
    until("both own a share", PATIENCE, async || {
        let owned = site.owned().await;
        owned.iter().map(|(_, shards)| *shards).eq([32, 32])
    })
    .await;
    until("all results are judged", PATIENCE, async || {
        site.is_whole().await
    })
    .await;
    assert_eq!(site.incidents().await, Some(Vec::new()), "nothing is wrong");

    // Its certificate names another host than the one that it says it is.
    let (grpc, web) = (free_on(4), free());
    let words = words(&store, grpc, web, &issue("127.0.0.5"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut pretender = Program::start(ANALYZER, &words);
    pretender.wait_for(&["does not name `127.0.0.4`", "`advertise`"]);
    drop(pretender);
    until("all results are judged again", PATIENCE, async || {
        site.is_whole().await
    })
    .await;
    site.stop().await;
}
