//! What cannot be used, and what is said of it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use rpingmesh::error::describe;
use rpingmesh::store::open::{self, Stores};
use rpingmesh::store::{Location, StoreError};

use super::cluster::{Cluster, PASSWORD, USER};
use crate::support::certs::{Authority, Validity};

/// What opening says; in the order of the calls, for the snapshot.
struct Told {
    lines: String,
    port: String,
    folder: String,
}

impl Told {
    fn of(cluster: &Cluster) -> Self {
        Self {
            lines: String::new(),
            port: cluster.port().to_string(),
            folder: cluster.folder().display().to_string(),
        }
    }

    async fn opening(&mut self, what: &str, location: &Location) -> StoreError {
        let error = Stores::open(location).await.err();
        let error = error.unwrap_or_else(|| panic!("{what}: it can be used"));
        let text = describe(&error)
            .replace(&self.port, "PORT")
            .replace(&self.folder, "FOLDER")
            .replace(&self.folder.replace('/', "%2F"), "FOLDER");
        assert!(!text.contains(PASSWORD), "{text}");
        let _ = writeln!(self.lines, "{what}\n  {text}");
        error
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn what_cannot_be_used_says_why() {
    let mut cluster = Cluster::start().await;
    let mut told = Told::of(&cluster);
    cluster.create("rpingmesh");
    let right = cluster.location("rpingmesh", "fleet=east");

    let port = cluster.port();
    let text = format!("postgres://{USER}@127.0.0.1:{port}/rpingmesh?fleet=east");
    told.opening("no password", &text.parse().expect("a store"))
        .await;
    let wrong = cluster.folder().join("wrong");
    std::fs::write(&wrong, "guessed\n").expect("a file");
    let text = format!("{text}&password_file={}", wrong.display());
    told.opening("a wrong password", &text.parse().expect("a store"))
        .await;
    let text = text.replace("wrong", "missing");
    told.opening("no password file", &text.parse().expect("a store"))
        .await;
    let elsewhere = cluster.location("elsewhere", "fleet=east");
    told.opening("no such database", &elsewhere).await;
    let nowhere = cluster
        .url("rpingmesh", "fleet=east")
        .replace(&format!(":{port}/"), ":1/");
    told.opening("nobody listens", &nowhere.parse().expect("a store"))
        .await;

    cluster.sql("postgres", "CREATE ROLE bob LOGIN");
    let socket = cluster.folder().display().to_string().replace('/', "%2F");
    let bob = format!("postgres://bob@{socket}:{port}/rpingmesh?fleet=east");
    told.opening("a user without rights", &bob.parse().expect("a store"))
        .await;

    // Now it has tables.
    drop(Stores::open(&right).await.expect("it can be used"));
    let west = cluster.location("rpingmesh", "fleet=west");
    told.opening("another fleet", &west).await;
    cluster.sql(
        "rpingmesh",
        "UPDATE rpingmesh.layout SET version = version + 1",
    );
    told.opening("a newer layout", &right).await;
    cluster.sql(
        "rpingmesh",
        "UPDATE rpingmesh.layout SET version = version - 1",
    );
    cluster.sql(
        "postgres",
        "ALTER DATABASE rpingmesh SET default_transaction_read_only = on",
    );
    told.opening("read-only", &right).await;
    cluster.sql(
        "postgres",
        "ALTER DATABASE rpingmesh RESET default_transaction_read_only",
    );

    // A replica that follows nobody.
    cluster.stop();
    std::fs::write(cluster.data().join("standby.signal"), "").expect("a file");
    cluster.start_again().await;
    told.opening("a replica", &right).await;
    let twice = cluster.url("rpingmesh", "fleet=east");
    let host = format!("127.0.0.1:{port}");
    let twice = twice.replace(&host, &format!("{host},localhost:{port}"));
    told.opening(
        "several hosts, none of which takes changes",
        &twice.parse().expect("a store"),
    )
    .await;
    let error = open::registry(&right)
        .await
        .expect_err("as for the analyzer");
    assert!(matches!(error, StoreError::Replica { .. }), "{error}");
    insta::assert_snapshot!(told.lines);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn tls_is_used_with_the_own_ca_and_names_are_verified() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let cluster = Cluster::start_with(|folder| {
        let files = ours.issue(folder, "localhost", Validity::Now);
        std::fs::write(folder.join("others.pem"), others.pem()).expect("a file");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&files.key, private).expect("rights");
        vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", files.cert.display()),
            format!("ssl_key_file={}", files.key.display()),
        ]
    })
    .await;
    cluster.create("rpingmesh");
    let folder = cluster.folder().display().to_string();
    let url = |ca: &str| {
        cluster.url(
            "rpingmesh",
            &format!("fleet=east&sslrootcert={folder}/{ca}"),
        )
    };
    let named = |ca: &str| -> Location {
        url(ca)
            .replace("127.0.0.1", "localhost")
            .parse()
            .expect("a store")
    };
    let mut told = Told::of(&cluster);
    told.opening("another CA", &named("others.pem")).await;
    told.opening("another name", &url("ca.pem").parse().expect("a store"))
        .await;
    told.opening("no CA", &named("missing.pem")).await;
    told.opening("not a CA", &named("password")).await;
    insta::assert_snapshot!(told.lines);

    let stores = Stores::open(&named("ca.pem"))
        .await
        .expect("it can be used");
    let client = cluster.client("rpingmesh").await;
    let sql = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
               WHERE application_name = 'rpingmesh'";
    let row = client.query_one(sql, &[]).await.expect("readable");
    let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
    assert!(all > 0 && all == encrypted, "{encrypted} of {all}");
    drop(stores);
}
