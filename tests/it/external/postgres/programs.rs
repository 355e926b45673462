//! Our programs with a server as their store.

use super::cluster::Cluster;
use crate::support::program::{ANALYZER, CONTROLLER, OPERATOR, Program, command, refused};

/// A controller, and the line that says where it listens.
pub(super) fn controller(url: &str) -> (Program, String) {
    let mut program = Program::start(
        CONTROLLER,
        &["run", "--listen", "127.0.0.1:0", "--store", url],
    );
    let line = program.wait_for(&["controller listens"]);
    (program, line)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn several_controllers_at_a_time_of_which_one_holds_the_lease() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let url = cluster.url("rpingmesh", "fleet=east");
    let (first, _) = controller(&url);
    let client = cluster.client("rpingmesh").await;
    let is_held_by = async |program: &Program| {
        let sql = "SELECT holder FROM rpingmesh.owner WHERE role = 'controller'";
        let row = client.query_one(sql, &[]).await.expect("a row");
        let (holder, process) = (row.get::<_, String>(0), program.id());
        holder.ends_with(&format!("process {process}"))
    };
    assert!(is_held_by(&first).await, "whoever comes first holds it");
    let (mut second, _) = controller(&url);
    let living = "SELECT count(*) FROM rpingmesh.controller WHERE gone IS NULL";
    let living = async || {
        let row = client.query_one(living, &[]).await.expect("a row");
        row.get::<_, i64>(0)
    };
    assert_eq!(living().await, 2);
    // It gives the lease up: its successor need not wait for it to end.
    first.stop();
    second.wait_for(&["this controller holds the lease"]);
    assert!(is_held_by(&second).await);
    assert_eq!(living().await, 1);

    // What a whole copy needs is a database that nobody works with.
    let copy = [
        "store",
        "migrate",
        &url,
        "sqlite::memory:",
        "--of",
        "controller",
    ];
    let (status, error) = refused(OPERATOR, &copy);
    assert_eq!(status, Some(1), "{error}");
    let file = cluster.folder().join("copy.db");
    let file = format!("sqlite:{}", file.display());
    let copy = ["store", "migrate", &url, &file, "--of", "controller"];
    let (status, error) = refused(OPERATOR, &copy);
    assert_eq!(status, Some(1), "{error}");
    let holder = format!("process {}", second.id());
    assert!(
        error.contains("is used by another controller") && error.contains(&holder),
        "{error}"
    );
    second.stop();
    let done = command(OPERATOR, &copy).output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && text.contains("0 agents"),
        "{text}\n{done:?}"
    );
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
