//! Which addresses agents may register.

use super::*;

#[tokio::test]
async fn nobodys_addresses_are_refused_with_the_rule() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), "").await;
    let a = pki.client(&["hosta"]);
    let evil = [
        "8.8.8.8",
        "2a00:1450::1",
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
    ];
    for gid in evil {
        let lie = announcement("hosta", "hosta", 1, &["10.1.0.1", gid]);
        let refused = registry.register(&a, lie).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{gid} was registered"));
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let text = refused.message();
        assert!(text.contains("announcement.rnics[1].address.gid"), "{text}");
        assert!(text.contains(" is "), "{text}");
    }
    let line = "rpingmesh_controller_live_agents 0";
    assert!(registry.counted(line).await, "{line}");
}

#[tokio::test]
async fn prefixes_of_the_fabric_keep_strangers_out() {
    let pki = Pki::new();
    let settings = "agents.prefixes = ['10.0.0.0/8', 'fd00::/8']";
    let registry = Registry::start(pki.servers(IdentityRule::San), settings).await;
    let a = pki.client(&["hosta"]);
    for gid in [
        "8.8.8.8",
        "127.0.0.1",
        "169.254.7.7",
        "fe80::1",
        "2001:db8::1",
        "10.255.255.255",
    ] {
        let lie = announcement("hosta", "hosta", 1, &[gid]);
        let refused = registry.register(&a, lie).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{gid} was registered"));
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("agents.prefixes"), "{refused}");
    }
    let line = "rpingmesh_controller_announcements_total{result=\"Address\"} 6";
    assert!(registry.counted(line).await, "{line}");
    registry
        .register(
            &a,
            announcement("hosta", "hosta", 1, &["10.1.0.1", "fd00::1"]),
        )
        .await
        .expect("its own addresses");
}

#[tokio::test]
async fn a_hosts_agents_have_a_bounded_number_of_rnics_together() {
    let pki = Pki::new();
    let registry = Registry::start(pki.servers(IdentityRule::San), "").await;
    let a = pki.client(&["hosta"]);
    let gids: Vec<_> = (0..64).map(|number| format!("10.8.8.{number}")).collect();
    let gids: Vec<_> = gids.iter().map(String::as_str).collect();
    let _first = registry
        .register(&a, announcement("hosta", "hosta", 1, &gids))
        .await
        .expect("as many as a host may have");
    let more = announcement("hosta/2", "hosta", 1, &["10.8.9.1"]);
    let refused = registry.register(&a, more).await.err().expect("one more");
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert!(
        refused
            .message()
            .contains("host `hosta` has 1 agents with 64 RNICs"),
        "{refused}"
    );
}

#[tokio::test]
async fn loopback_is_the_fabric_where_everything_is_on_this_machine() {
    let plain = Security::loopback_plaintext();
    let registry = Registry::start(plain.clone(), "").await;
    registry
        .register(&plain, announcement("hosta", "hosta", 1, &["127.0.0.1"]))
        .await
        .expect("a demonstration on loopback");
}
