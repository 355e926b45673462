//! Our programs with a server as their store.

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use crate::support::program::{ANALYZER, CONTROLLER, OPERATOR, Program, command, refused};

/// How long a successor may wait for a lease that nobody gave up, and for its own start.
const SUCCESSION: Duration = Duration::from_secs(15);

fn controller(url: &str) -> Program {
    let mut program = Program::start(
        CONTROLLER,
        &["run", "--listen", "127.0.0.1:0", "--store", url],
    );
    program.wait_for(&["controller listens"]);
    program
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn one_controller_at_a_time_and_a_successor_when_it_has_gone() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let url = cluster.url("rpingmesh", "fleet=east");
    let first = controller(&url);

    let begun = Instant::now();
    let arguments = ["run", "--listen", "127.0.0.1:0", "--store", &url];
    let (status, error) = refused(CONTROLLER, &arguments);
    assert_eq!(status, Some(1), "{error}");
    let holder = format!("process {}", first.id());
    let is_named = error.contains("is used by another controller") && error.contains(&holder);
    assert!(is_named, "{error}");
    assert!(
        begun.elapsed() > Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );

    // It gives the database up: its successor need not wait for the lease to end.
    first.stop();
    let client = cluster.client("rpingmesh").await;
    let sql =
        "SELECT renewed < now() - interval '1 year' FROM rpingmesh.lease WHERE role = 'controller'";
    assert!(
        client
            .query_one(sql, &[])
            .await
            .expect("a row")
            .get::<_, bool>(0)
    );

    // Dropped, a program is killed.
    drop(controller(&url));
    let begun = Instant::now();
    let third = controller(&url);
    assert!(begun.elapsed() < SUCCESSION, "{:?}", begun.elapsed());
    third.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn an_analyzer_runs_on_it_and_the_operator_sees_it() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let url = cluster.url("rpingmesh", "fleet=east");
    let arguments = [
        "run",
        "--listen",
        "127.0.0.1:0",
        "--web",
        "127.0.0.1:0",
        "--store",
        &url,
    ];
    let mut analyzer = Program::start(ANALYZER, &arguments);
    let line = analyzer.wait_for(&["the analyzer is ready"]);
    let web = line.split_once("web=").expect("its address").1;
    let web = web.split_whitespace().next().expect("its address");
    let status = command(
        OPERATOR,
        &["status", "--analyzer", &format!("http://{web}")],
    )
    .output();
    let status = status.expect("it runs");
    let (text, errors) = (
        String::from_utf8_lossy(&status.stdout),
        String::from_utf8_lossy(&status.stderr),
    );
    assert!(status.status.success(), "{text}\n{errors}");

    // Another program takes over while this one stands still, and this one ends by itself.
    let client = cluster.client("rpingmesh").await;
    client
        .batch_execute(
            "UPDATE rpingmesh.owner SET epoch = epoch + 1, holder = 'host z, process 9' WHERE role = 'analyzer';
             UPDATE rpingmesh.lease SET epoch = epoch + 1, renewed = now() WHERE role = 'analyzer'",
        )
        .await
        .expect("taken over");
    analyzer.wait_for(&["is used by another analyzer (host z, process 9)"]);
}
