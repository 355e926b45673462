//! Who may say what is to be probed more, and what reaches the agents of it.

use rpingmesh::id::Gid;

use super::*;

fn gid(text: &str) -> Vec<u8> {
    let gid: Gid = text.parse().expect("GID");
    gid.bytes().to_vec()
}

fn tuple(target: &str, portions: u32) -> v1::FocusedTuple {
    v1::FocusedTuple {
        target_gid: gid(target).into(),
        source_port: 50_000,
        portions,
    }
}

fn request(run: u64, number: u64, source: &str, tuples: Vec<v1::FocusedTuple>) -> v1::FocusRequest {
    v1::FocusRequest {
        run,
        number,
        valid_ns: 5_000_000_000,
        rnics: vec![v1::FocusedRnic {
            source_gid: gid(source).into(),
            tuples,
        }],
    }
}

impl Registry {
    async fn focus(
        &self,
        security: &Security,
        request: v1::FocusRequest,
    ) -> Result<v1::FocusResponse, Status> {
        let answer = self.client(security).focus(request).await?;
        Ok(answer.into_inner())
    }
}

/// What the stream brings next of what is to be probed more.
async fn focused(session: &mut Session) -> v1::Focused {
    loop {
        if let Answer::Focused(focused) = session.next().await.expect("an open stream") {
            return focused;
        }
    }
}

const FOCUS: &str = "focus.analyzers = ['analyzer.example.net']";

#[tokio::test]
async fn an_analyzer_is_followed_and_its_end_is_told() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), FOCUS).await;
    let (a, analyzer) = (
        pki.client(&["hosta"]),
        pki.client(&["analyzer.example.net"]),
    );
    let own = announcement("hosta", "hosta", 1, &["10.1.0.1", "10.1.0.2"]);
    let mut session = registry.register(&a, own).await.expect("host A");
    let asked = vec![tuple("10.1.0.2", 3), tuple("10.99.0.1", 1)];
    let first = request(7, 1, "10.1.0.1", asked);
    let answer = registry
        .focus(&analyzer, first.clone())
        .await
        .expect("followed");
    let expected = v1::FocusResponse {
        passed_on: 1,
        unknown: 1,
        beyond: 0,
    };
    assert_eq!(answer, expected);
    let told = focused(&mut session).await;
    assert!((1..=5_000_000_000).contains(&told.valid_ns), "{told:?}");
    assert_eq!(told.rnics.len(), 1);
    assert_eq!(told.rnics[0].source_gid, first.rnics[0].source_gid);
    assert_eq!(told.rnics[0].tuples, [tuple("10.1.0.2", 3)]);

    let nothing = v1::FocusRequest {
        rnics: Vec::new(),
        ..request(7, 2, "10.1.0.1", Vec::new())
    };
    registry.focus(&analyzer, nothing).await.expect("followed");
    assert_eq!(focused(&mut session).await.rnics, []);
    for line in [
        "rpingmesh_controller_focus_requests_total 2",
        "rpingmesh_controller_focus_tuples_passed_on_total 1",
        "rpingmesh_controller_focus_tuples_unknown_total 1",
    ] {
        assert!(registry.counted(line).await, "{line}");
    }
}

#[tokio::test]
async fn nobody_but_the_analyzer_is_followed() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), FOCUS).await;
    let off = Registry::start(pki.servers(IdentityRule::San), "").await;
    let asked = || request(7, 1, "10.1.0.1", vec![tuple("10.1.0.2", 3)]);
    for (registry, names) in [
        (&registry, "hosta"),
        (&registry, "analyzer.evil.net"),
        (&off, "analyzer.example.net"),
    ] {
        let client = pki.client(&[names]);
        let refused = registry.focus(&client, asked()).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert!(refused.message().contains("focus.analyzers"), "{refused}");
    }
    let line = "rpingmesh_controller_focus_requests_refused_total 2";
    assert!(registry.counted(line).await, "{line}");
}

#[tokio::test]
async fn an_older_run_and_nonsense_are_refused() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), FOCUS).await;
    let analyzer = pki.client(&["analyzer.example.net"]);
    let asked = |run, number| request(run, number, "10.1.0.1", vec![tuple("10.1.0.2", 1)]);
    registry
        .focus(&analyzer, asked(7, 5))
        .await
        .expect("followed");
    for (run, number) in [(6, 9), (7, 5)] {
        let refused = registry
            .focus(&analyzer, asked(run, number))
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::Aborted, "{refused}");
    }
    let mut nonsense = asked(8, 1);
    nonsense.rnics[0].tuples[0].portions = 0;
    let refused = registry
        .focus(&analyzer, nonsense)
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(
        refused.message().contains("rnics[0].tuples[0].portions"),
        "{refused}"
    );
    let line = "rpingmesh_controller_focus_requests_refused_total 3";
    assert!(registry.counted(line).await, "{line}");
}

#[tokio::test]
async fn what_has_expired_is_told_to_nobody() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), FOCUS).await;
    let analyzer = pki.client(&["analyzer.example.net"]);
    let own = announcement("hosta", "hosta", 1, &["10.1.0.1", "10.1.0.2"]);
    let session = registry.register(&pki.client(&["hosta"]), own).await;
    let mut session = session.expect("host A");
    let expired = v1::FocusRequest {
        valid_ns: 0,
        ..request(7, 1, "10.1.0.1", vec![tuple("10.1.0.2", 3)])
    };
    registry.focus(&analyzer, expired).await.expect("followed");
    let fresh = request(7, 2, "10.1.0.1", vec![tuple("10.1.0.2", 1)]);
    registry.focus(&analyzer, fresh).await.expect("followed");
    let told = focused(&mut session).await;
    assert_eq!(told.rnics[0].tuples, [tuple("10.1.0.2", 1)]);
}

/// A controller that has started again knows nothing of the requests before: the analyzer's next one is followed.
#[tokio::test]
async fn a_controller_that_restarts_follows_the_next_request() {
    let pki = Pki::new();
    let analyzer = pki.client(&["analyzer.example.net"]);
    let asked = || request(7, 5, "10.1.0.1", vec![tuple("10.1.0.2", 1)]);
    for _ in 0..2 {
        let registry = Registry::start(pki.servers(IdentityRule::San), FOCUS).await;
        let answer = registry.focus(&analyzer, asked()).await;
        // No agent has registered again yet: nothing is passed on.
        let unknown = answer.expect("followed").unknown;
        assert_eq!(unknown, 1);
        let again = registry.focus(&analyzer, asked()).await;
        assert_eq!(again.expect_err("refused").code(), Code::Aborted);
    }
}
