//! The server itself fails over: a standby with synchronous replication is promoted.

use std::time::{Duration, Instant};

use rpingmesh::store::open::{self, Stores};
use rpingmesh::store::{Location, StoreError};
use rpingmesh::time::WallTime;

use super::cluster::{Cluster, PASSWORD, USER};
use super::several::put;
use crate::support::program::{CONTROLLER, Program};

/// What must come comes in this time, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(100);

/// A server, and a standby that confirms each commit.
struct Pair {
    first: Cluster,
    second: Cluster,
}

impl Pair {
    async fn start() -> Self {
        let first = Cluster::start().await;
        first.create("rpingmesh");
        let second = first.standby().await;
        first.sql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
        );
        first.sql("postgres", "SELECT pg_reload_conf()");
        Self { first, second }
    }

    fn url(&self) -> String {
        let file = self.first.folder().join("password");
        let (first, second) = (self.first.port(), self.second.port());
        assert_eq!(
            std::fs::read_to_string(&file).expect("readable"),
            PASSWORD,
            "both have the same users"
        );
        let file = file.display();
        format!(
            "postgres://{USER}@127.0.0.1:{first},127.0.0.1:{second}/rpingmesh?fleet=east&password_file={file}"
        )
    }

    fn location(&self) -> Location {
        self.url().parse().expect("a store")
    }

    /// The first server is lost, the standby takes its place, as what watches over them would do it.
    fn fail_over(&mut self) {
        self.first.kill();
        self.second.sql("postgres", "SELECT pg_promote()");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn what_was_stored_is_there_after_a_standby_was_promoted_and_storing_goes_on() {
    let mut pair = Pair::start().await;
    let location = pair.location();
    let stores = Stores::open(&location).await.expect("stores");
    let registry = open::registry(&location).await.expect("a registry");
    let keep = async |time| {
        let time = WallTime::from_nanos(time);
        stores
            .history
            .put((time, vec![0]), WallTime::from_nanos(0))
            .await
    };
    for time in 1..=20 {
        keep(time).await.expect("stored");
    }
    let now = WallTime::from_nanos(7);
    let refused = registry.put_all(&[put("a", &["10.0.0.1"], &[])], now).await;
    assert!(refused.expect("stored")[0].is_none());

    pair.fail_over();
    let begun = Instant::now();
    let mut failures = 0;
    while let Err(error) = keep(21).await {
        failures += 1;
        assert!(
            begun.elapsed() < PATIENCE && matches!(error, StoreError::Unreachable { .. }),
            "attempt {failures}: {error:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
    println!(
        "stored again {:?} after the promotion, at attempt {}",
        begun.elapsed(),
        failures + 1
    );
    let (oldest, newest) = stores
        .history
        .bounds()
        .await
        .expect("readable")
        .expect("pictures");
    assert_eq!(
        (oldest, newest),
        (WallTime::from_nanos(1), WallTime::from_nanos(21))
    );
    let count = "SELECT count(*) FROM rpingmesh.picture";
    let client = pair.second.client("rpingmesh").await;
    let row = client.query_one(count, &[]).await.expect("readable");
    assert_eq!(
        row.get::<_, i64>(0),
        21,
        "each picture that was stored is there once"
    );
    let loaded = loop {
        match registry.load().await {
            Ok(loaded) => break loaded,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    assert_eq!(loaded.len(), 1, "{loaded:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn controllers_go_on_when_a_standby_was_promoted() {
    let mut pair = Pair::start().await;
    let url = pair.url();
    let arguments = ["run", "--listen", "127.0.0.1:0", "--store", &url];
    let both = [(); 2].map(|()| {
        let mut program = Program::start(CONTROLLER, &arguments);
        program.wait_for(&["controller listens"]);
        program
    });
    pair.fail_over();
    // A controller renews what the others see of it every second.
    let client = pair.second.client("rpingmesh").await;
    let sql = "SELECT count(*) FROM rpingmesh.controller WHERE gone IS NULL AND now() - renewed < interval '2 s'";
    let begun = Instant::now();
    loop {
        let row = client.query_one(sql, &[]).await.expect("readable");
        if begun.elapsed() > Duration::from_secs(3) && row.get::<_, i64>(0) == 2 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "they do not come back");
        tokio::time::sleep(PAUSE).await;
    }
    println!("both renew on the new server after {:?}", begun.elapsed());
    // None has ended: a program that has does not stop in order.
    for program in both {
        program.stop();
    }
}
