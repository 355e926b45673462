//! Two machines with one name, and one machine that restarts.

use super::*;

fn on(machine: &str, incarnation: u64, gid: &str) -> v1::Announcement {
    v1::Announcement {
        machine: machine.to_owned(),
        keys: None,
        ..announcement("hosta", "hosta", incarnation, &[gid])
    }
}

#[tokio::test]
async fn the_second_machine_with_a_name_is_refused_once_and_for_all() {
    let logs = Logs::collect();
    let plain = Security::loopback_plaintext();
    let registry = Registry::start(plain.clone(), "").await;
    let first = on("1111111111111111", 1, "10.1.0.1");
    let mut session = registry
        .register(&plain, first.clone())
        .await
        .expect("first");
    for _ in 0..200 {
        let second = on("2222222222222222", 2, "10.1.0.2");
        let refused = registry
            .register(&plain, second)
            .await
            .err()
            .expect("a twin");
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        let text = refused.message();
        assert!(
            text.contains("1111111111111111") && text.contains("2222222222222222"),
            "{text}"
        );
        assert!(text.contains("the key `host`"), "{text}");
    }
    assert!(session.is_open(first).await, "the first one never noticed");
    let line = "rpingmesh_controller_announcements_total{result=\"Twin\"} 200";
    assert!(registry.counted(line).await, "{line}");
    let text = logs.text();
    assert_eq!(
        text.matches("two machines are called host").count(),
        1,
        "{text}"
    );
    assert_eq!(text.matches("registered").count(), 2 + 1, "{text}");
}

#[tokio::test]
async fn machines_without_an_id_take_the_place_from_each_other_once() {
    let plain = Security::loopback_plaintext();
    let registry = Registry::start(plain.clone(), "").await;
    let (a, b) = (on("", 1, "10.1.0.1"), on("", 2, "10.1.0.2"));
    let mut first = registry.register(&plain, a.clone()).await.expect("first");
    let mut second = registry
        .register(&plain, b.clone())
        .await
        .expect("it may be a restart");
    assert!(!first.is_open(a.clone()).await, "its place was taken");
    let refused = registry
        .register(&plain, a)
        .await
        .err()
        .expect("it has not ended");
    assert!(
        refused
            .message()
            .contains("two machines are called host `hosta`"),
        "{refused}"
    );
    assert!(second.is_open(b).await);
}

#[tokio::test]
async fn a_machine_that_restarts_is_no_twin() {
    let plain = Security::loopback_plaintext();
    let registry = Registry::start(plain.clone(), "").await;
    let mut sessions = Vec::new();
    // The streams of its former runs stay open, as after a loss of power.
    for run in 1..20 {
        let announced = on("1111111111111111", run, "10.1.0.1");
        sessions.push(
            registry
                .register(&plain, announced)
                .await
                .expect("a restart"),
        );
    }
    let line = "rpingmesh_controller_announcements_total{result=\"Accepted\"} 19";
    assert!(registry.counted(line).await, "{line}");
}
