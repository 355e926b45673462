//! An agent that its controller has forgotten without removing it.

use rpingmesh::store::open;

use super::{BEFORE_ALL, put, taken};
use crate::external::postgres::cluster::Cluster;
use crate::stores::announcement;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn an_agent_that_its_controller_serves_no_more_is_silent_for_all_and_its_gids_are_free() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let location = cluster.location("rpingmesh", "fleet=east");
    let a = open::registry(&location).await.expect("a registry");
    let b = open::registry(&location).await.expect("another one");
    let (of_a, of_b) = (a.shared().expect("shared"), b.shared().expect("shared"));
    assert!(taken(&*a, put("old", &["10.0.0.1"], &[])).await);
    of_b.leave(&["old".into()]).await.expect("no error");
    assert!(
        !taken(&*b, put("new", &["10.0.0.1"], &["old"])).await,
        "it is not of the one that left it"
    );
    let before = of_a.changes(BEFORE_ALL).await.expect("readable");
    assert!(before.agents.is_empty(), "it is of this one");

    of_a.leave(&["old".into(), "nobody".into()])
        .await
        .expect("left");
    for shared in [&of_a, &of_b] {
        let seen = shared.changes(before.revision).await.expect("readable");
        let [old] = &seen.agents[..] else {
            panic!("{seen:?}");
        };
        assert!(!old.is_heard && old.announcement == announcement("old", &["10.0.0.1"]));
    }
    assert!(taken(&*b, put("new", &["10.0.0.1"], &["old"])).await);
}
