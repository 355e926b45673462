use super::*;
use crate::id::{QKey, Qpn, UdpSourcePort};
use crate::topology::Rnic;
use crate::transport::{Address, CompletionClock, SourcePortSteering};

fn announcement(agent: &str, gids: &[&str]) -> Announcement {
    Announcement {
        agent: agent.into(),
        incarnation: u64::MAX - 3,
        host: format!("host-{agent}").into(),
        version: "0.1.0".to_owned(),
        rnics: gids
            .iter()
            .map(|gid| Rnic {
                address: Address {
                    gid: gid.parse().expect("GID"),
                    qpn: Qpn::from_lower_bits(0x12),
                    q_key: QKey(0xffff_0000),
                },
                device: "rxe0".into(),
                port: 1,
                tor: "t0".into(),
                gid_index: 1,
                clock: CompletionClock::Software,
                steering: SourcePortSteering::QueuePair(vec![UdpSourcePort(50_000)]),
            })
            .collect(),
    }
}

const NOW: WallTime = WallTime::from_nanos(7);

#[tokio::test]
async fn announcements_survive_a_restart_and_are_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("folder");
    let location = Location::File(folder.path().join("registry.db"));
    let registry = SqliteRegistry::open(&location).await.expect("open");
    let (a, b) = (
        announcement("a", &["10.0.0.1", "fd00::1"]),
        announcement("b", &["10.0.0.2"]),
    );
    registry.put(&b, &[], NOW).await.expect("b");
    registry.put(&a, &[], NOW).await.expect("a");
    drop(registry);

    let registry = SqliteRegistry::open(&location).await.expect("reopen");
    assert_eq!(registry.load().await.expect("load"), [a, b.clone()]);
    let a = announcement("a", &["10.0.0.3"]);
    registry.put(&a, &[], NOW).await.expect("replace");
    assert_eq!(registry.load().await.expect("load"), [a, b.clone()]);
    registry
        .remove(&["a".into(), "unknown".into()])
        .await
        .expect("remove");
    assert_eq!(registry.load().await.expect("load"), [b]);
}

#[tokio::test]
async fn a_gid_has_one_owner_and_a_refused_put_changes_nothing() {
    let registry = SqliteRegistry::open(&Location::Memory).await.expect("open");
    let (a, b) = (
        announcement("a", &["10.0.0.1"]),
        announcement("b", &["10.0.0.2", "10.0.0.1"]),
    );
    registry.put(&a, &[], NOW).await.expect("a");
    let error = registry.put(&b, &[], NOW).await.expect_err("taken");
    assert!(
        matches!(&error, RegistryError::GidTaken { owner, gid } if *owner == "a".into() && *gid == a.rnics[0].address.gid),
        "{error}"
    );
    assert_eq!(registry.load().await.expect("load"), vec![a.clone()]);

    registry
        .put(&b, std::slice::from_ref(&a.agent), NOW)
        .await
        .expect("take over");
    let stored = registry.load().await.expect("load");
    assert!(stored[0].rnics.is_empty(), "{stored:?}");
    assert_eq!(stored[1], b);
}

#[tokio::test]
async fn of_several_announcements_those_that_can_be_are_stored() {
    let registry = SqliteRegistry::open(&Location::Memory).await.expect("open");
    let owner = announcement("owner", &["10.0.0.1", "10.0.0.2"]);
    registry.put(&owner, &[], NOW).await.expect("owner");
    let put = |announcement: &Announcement, superseded: &[&str]| Put {
        announcement: announcement.clone(),
        superseded: superseded.iter().map(|agent| (*agent).into()).collect(),
    };
    let (a, b) = (
        announcement("a", &["10.0.0.3"]),
        announcement("b", &["10.0.0.4"]),
    );
    // It may take the first GID, and is refused for the second: the first stays where it was.
    let other = announcement("other", &["10.0.0.5"]);
    let thief = announcement("thief", &["10.0.0.5", "10.0.0.2"]);
    let puts = [
        put(&other, &[]),
        put(&a, &[]),
        put(&thief, &["other"]),
        put(&b, &[]),
    ];
    let refused = registry.put_all(&puts, NOW).await.expect("stored");
    let refused: Vec<_> = refused
        .iter()
        .map(|refused| refused.as_ref().map(ToString::to_string))
        .collect();
    let taken = "GID 10.0.0.2 is stored for agent `owner`".to_owned();
    assert_eq!(refused, [None, None, Some(taken), None]);
    assert_eq!(registry.load().await.expect("load"), [a, b, other, owner]);
}

#[tokio::test]
async fn the_clusters_key_outlives_the_process_and_one_that_makes_no_sense_is_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::File(folder.path().join("registry.db"));
    let keys = Stored {
        master: Master::new(&[7; 32]).expect("a secret"),
        generation: Generation(u64::MAX),
        phase: Phase::Signing,
        begun: WallTime::from_nanos(1_790_000_000_000_000_000),
        is_mixed: true,
    };
    let registry = SqliteRegistry::open(&location).await.expect("opened");
    assert_eq!(registry.load_keys().await.expect("read"), None);
    for phase in Phase::ALL {
        let keys = Stored {
            phase,
            ..keys.clone()
        };
        registry.put_keys(&keys).await.expect("stored");
        assert_eq!(registry.load_keys().await.expect("read"), Some(keys));
    }
    drop(registry);
    let registry = SqliteRegistry::open(&location).await.expect("opened again");
    let spoil = |connection: &mut Connection| {
        connection.execute("UPDATE cluster_key SET phase = 'sideways'", [])
    };
    registry.db.call(spoil).await.expect("spoilt");
    assert_eq!(registry.load_keys().await.expect("read"), None);
    registry.put_keys(&keys).await.expect("stored");
    assert_eq!(registry.load_keys().await.expect("read"), Some(keys));
}
