//! The controller's registry.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use rpingmesh::cluster_key::rotation::Stored;
use rpingmesh::cluster_key::{Generation, Master, Phase};
use rpingmesh::id::{AgentId, QKey, Qpn, UdpSourcePort};
use rpingmesh::store::Location;
use rpingmesh::store::registry::{Put, RegistryError};
use rpingmesh::time::WallTime;
use rpingmesh::topology::{Announcement, Rnic};
use rpingmesh::transport::{Address, CompletionClock, SourcePortSteering};

use super::with_registry;

const NOW: WallTime = WallTime::from_nanos(7);

pub(crate) fn announcement(agent: &str, gids: &[&str]) -> Announcement {
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
                    qpn: Qpn::try_from(0xff_ffff).expect("QPN"),
                    q_key: QKey(0xffff_0000),
                },
                device: "rxe0".into(),
                port: 255,
                tor: "t0".into(),
                gid_index: u32::MAX,
                clock: CompletionClock::Software,
                steering: SourcePortSteering::QueuePair(vec![UdpSourcePort(50_000)]),
            })
            .collect(),
    }
}

pub(super) async fn announcements_outlive_the_process_and_are_replaced_as_a_whole(
    location: &Location,
) {
    let (a, b) = (
        announcement("a", &["10.0.0.1", "fd00::1"]),
        announcement("b", &["10.0.0.2"]),
    );
    with_registry(location, async |registry| {
        assert_eq!(registry.load().await.expect("load"), []);
        registry.put(&b, &[], NOW).await.expect("b");
        registry.put(&a, &[], NOW).await.expect("a");
    })
    .await;
    with_registry(location, async |registry| {
        assert_eq!(registry.load().await.expect("load"), [a, b.clone()]);
        let a = announcement("a", &["10.0.0.3"]);
        registry.put(&a, &[], NOW).await.expect("replace");
        assert_eq!(registry.load().await.expect("load"), [a, b.clone()]);
        let gone = ["a".into(), "unknown".into()];
        registry.remove(&gone).await.expect("remove");
        assert_eq!(registry.load().await.expect("load"), [b]);
    })
    .await;
}

pub(super) async fn a_gid_has_one_owner_and_a_refused_put_changes_nothing(location: &Location) {
    let (a, b) = (
        announcement("a", &["10.0.0.1"]),
        announcement("b", &["10.0.0.2", "10.0.0.1"]),
    );
    with_registry(location, async |registry| {
        registry.put(&a, &[], NOW).await.expect("a");
        let error = registry.put(&b, &[], NOW).await.expect_err("taken");
        assert!(
            matches!(&error, RegistryError::GidTaken { owner, gid } if *owner == "a".into() && *gid == a.rnics[0].address.gid),
            "{error}"
        );
        let loaded = registry.load().await.expect("load");
        assert_eq!(loaded, std::slice::from_ref(&a));
        let superseded = std::slice::from_ref(&a.agent);
        registry.put(&b, superseded, NOW).await.expect("take over");
        let stored = registry.load().await.expect("load");
        assert!(stored[0].rnics.is_empty(), "{stored:?}");
        assert_eq!(stored[1], b);
    })
    .await;
}

fn put(announcement: &Announcement, superseded: &[&str]) -> Put {
    Put {
        announcement: announcement.clone(),
        superseded: superseded.iter().map(|agent| (*agent).into()).collect(),
    }
}

pub(super) async fn of_several_announcements_those_that_can_be_are_stored(location: &Location) {
    let owner = announcement("owner", &["10.0.0.1", "10.0.0.2"]);
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
    with_registry(location, async |registry| {
        registry.put(&owner, &[], NOW).await.expect("owner");
        let refused = registry.put_all(&puts, NOW).await.expect("stored");
        let refused: Vec<_> = refused
            .iter()
            .map(|refused| refused.as_ref().map(ToString::to_string))
            .collect();
        let taken = "GID 10.0.0.2 is stored for agent `owner`".to_owned();
        assert_eq!(refused, [None, None, Some(taken), None]);
        assert_eq!(registry.load().await.expect("load"), [a, b, other, owner]);
    })
    .await;
}

pub(super) async fn the_clusters_key_outlives_the_process(location: &Location) {
    let keys = Stored {
        master: Master::new(&[7; 32]).expect("a secret"),
        generation: Generation(u64::MAX),
        phase: Phase::Signing,
        begun: WallTime::from_nanos(1_790_000_000_000_000_000),
        is_mixed: true,
    };
    with_registry(location, async |registry| {
        assert_eq!(registry.load_keys().await.expect("read"), None);
        let first = Stored {
            master: Master::new(&[1; 32]).expect("a secret"),
            generation: Generation(1),
            is_mixed: false,
            ..keys.clone()
        };
        let phases = [Phase::Offered, Phase::Signing, Phase::Steady].map(|phase| Stored {
            phase,
            ..keys.clone()
        });
        for keys in [&first].into_iter().chain(&phases).chain([&keys]) {
            registry.put_keys(keys).await.expect("stored");
            let read = registry.load_keys().await.expect("read");
            assert_eq!(read.as_ref(), Some(keys));
        }
    })
    .await;
    with_registry(location, async |registry| {
        assert_eq!(registry.load_keys().await.expect("read"), Some(keys));
    })
    .await;
}

/// Announcements of four agents over six GIDs, with takeovers allowed at random.
fn batches() -> impl Strategy<Value = Vec<Vec<Put>>> {
    const AGENTS: [&str; 4] = ["a", "b", "c", "d"];
    const GIDS: [&str; 6] = [
        "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6",
    ];
    let gids = prop::sample::subsequence(&GIDS[..], 0..=4);
    let superseded = prop::sample::subsequence(&AGENTS[..], 0..=3);
    let one = (prop::sample::select(&AGENTS[..]), gids, superseded)
        .prop_map(|(agent, gids, superseded)| put(&announcement(agent, &gids), &superseded));
    prop::collection::vec(prop::collection::vec(one, 1..6), 6)
}

/// Whether an engine takes a batch at once or one announcement after another must not show.
pub(super) async fn batches_end_as_single_announcements_do(together: &Location, alone: &Location) {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let cases: Vec<_> = (0..4)
        .map(|_| batches().new_tree(&mut runner).expect("a case").current())
        .collect();
    let all: Vec<AgentId> = ["a", "b", "c", "d"].map(AgentId::from).to_vec();
    let mut met = (0, 0);
    with_registry(together, async |together| {
        with_registry(alone, async |alone| {
            for batches in &cases {
                together.remove(&all).await.expect("empty");
                alone.remove(&all).await.expect("empty");
                for batch in batches {
                    let words = |error: &RegistryError| error.to_string();
                    let refused = together.put_all(batch, NOW).await.expect("stored");
                    let refused: Vec<_> =
                        refused.iter().map(|one| one.as_ref().map(words)).collect();
                    let mut expected = Vec::new();
                    for one in batch {
                        let put = alone.put(&one.announcement, &one.superseded, NOW).await;
                        expected.push(put.as_ref().err().map(words));
                    }
                    assert_eq!(refused, expected, "{batch:#?}");
                    let loaded = together.load().await.expect("load");
                    assert_eq!(loaded, alone.load().await.expect("load"), "{batch:#?}");
                    met.0 += refused.iter().flatten().count();
                    met.1 += loaded.iter().filter(|one| !one.rnics.is_empty()).count();
                }
            }
        })
        .await;
    })
    .await;
    assert!(
        met.0 > 5 && met.1 > 5,
        "the cases have no conflicts: {met:?}"
    );
}
