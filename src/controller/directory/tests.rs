use std::time::Duration;

use super::*;
use crate::id::{QKey, Qpn};
use crate::topology::Rnic;
use crate::transport::{Address, CompletionClock, SourcePortSteering};

const LIFETIMES: Lifetimes = Lifetimes {
    lease: Duration::from_secs(30),
    retention: Duration::from_mins(10),
};

fn at(seconds: i64) -> HostTime {
    HostTime::from_nanos(seconds * 1_000_000_000)
}

fn announcement(agent: &str, incarnation: u64, rnics: &[(&str, u32)]) -> Announcement {
    Announcement {
        agent: agent.into(),
        incarnation,
        host: format!("host-{agent}").into(),
        version: String::new(),
        rnics: rnics
            .iter()
            .map(|(gid, qpn)| Rnic {
                address: Address {
                    gid: gid.parse().expect("GID"),
                    qpn: Qpn::from_lower_bits(*qpn),
                    q_key: QKey(1),
                },
                device: "rxe0".into(),
                port: 1,
                tor: "t0".into(),
                gid_index: 1,
                clock: CompletionClock::Software,
                steering: SourcePortSteering::FlowLabel,
            })
            .collect(),
    }
}

fn register(directory: &mut Directory, new: Announcement, stream: u64, now: HostTime) -> Change {
    register_from(directory, new, (stream, Origin::default()), now)
}

fn register_from(
    directory: &mut Directory,
    new: Announcement,
    (stream, origin): (u64, Origin),
    now: HostTime,
) -> Change {
    let superseded = directory.check(&new, &origin, now).expect("no conflict");
    directory.accept(new, &superseded, (StreamId(stream), origin), now)
}

fn from(address: &str, machine: &str) -> Origin {
    Origin {
        address: Some(address.parse().expect("an address")),
        machine: machine.to_owned(),
        ..Origin::default()
    }
}

#[test]
fn changes_are_told_apart() {
    let mut directory = Directory::new(Vec::new(), false, LIFETIMES, at(0));
    let first = announcement("a", 1, &[("10.0.0.1", 17), ("10.0.0.2", 17)]);
    assert!(register(&mut directory, first.clone(), 1, at(0)).membership);
    assert!(directory.is_known(&first));
    assert!(
        register(&mut directory, first, 2, at(1)).is_empty(),
        "a reconnection"
    );

    let restarted = announcement("a", 2, &[("10.0.0.1", 18), ("10.0.0.2", 17)]);
    let change = register(&mut directory, restarted, 3, at(2));
    let gid: Gid = "10.0.0.1".parse().expect("GID");
    assert_eq!(change.readdressed, [("t0".into(), gid)]);
    assert!(!change.membership);

    let less = announcement("a", 2, &[("10.0.0.2", 17)]);
    assert!(register(&mut directory, less, 3, at(3)).membership);
    assert_eq!(directory.topology().rnics(), 1);
    assert!(directory.resolve(&TargetQuery::Gid(gid)).is_empty());
}

#[test]
fn a_gid_of_a_live_agent_is_refused_and_of_a_stale_one_taken() {
    let mut directory = Directory::new(Vec::new(), false, LIFETIMES, at(0));
    register(
        &mut directory,
        announcement("a", 1, &[("10.0.0.1", 17), ("10.0.0.9", 17)]),
        1,
        at(0),
    );
    let b = announcement("b", 1, &[("10.0.0.1", 18)]);
    let error = directory
        .check(&b, &Origin::default(), at(30))
        .expect_err("a is live")
        .to_string();
    for word in ["10.0.0.1", "`a`", "host-a", "`b`", "host-b"] {
        assert!(error.contains(word), "{error}");
    }
    // The end of the stream alone is no proof that the agent is gone.
    directory.ended(&"a".into(), StreamId(1));
    assert!(directory.check(&b, &Origin::default(), at(30)).is_err());

    assert!(register(&mut directory, b, 2, at(31)).membership);
    let found = directory.resolve(&TargetQuery::Gid("10.0.0.1".parse().expect("GID")));
    assert_eq!(found[0].agent, "b".into());
    assert_eq!(
        directory.resolve(&TargetQuery::Host("host-a".into())).len(),
        1,
        "the other RNIC stays"
    );
    assert_eq!(directory.topology().rnics(), 2);
}

#[test]
fn a_restart_takes_over_and_a_second_host_with_the_same_id_does_not() {
    let mut directory = Directory::new(Vec::new(), false, LIFETIMES, at(0));
    register(
        &mut directory,
        announcement("a", 1, &[("10.0.0.1", 17)]),
        1,
        at(0),
    );
    register(
        &mut directory,
        announcement("a", 2, &[("10.0.0.1", 18)]),
        2,
        at(1),
    );
    assert!(
        !directory.renew_lease(&"a".into(), StreamId(1), at(2)),
        "the old stream is not the agent's"
    );
    assert!(directory.renew_lease(&"a".into(), StreamId(2), at(2)));

    let mut other = announcement("a", 3, &[("10.0.0.3", 17)]);
    other.host = "elsewhere".into();
    let error = directory
        .check(&other, &Origin::default(), at(3))
        .expect_err("in use")
        .to_string();
    assert!(
        error.contains("host-a") && error.contains("elsewhere"),
        "{error}"
    );
    directory.ended(&"a".into(), StreamId(2));
    assert!(
        directory.check(&other, &Origin::default(), at(3)).is_ok(),
        "the other one has gone"
    );
}

#[test]
fn silence_makes_stale_then_forgotten() {
    let stored = vec![announcement("a", 1, &[("10.0.0.1", 17)])];
    let mut directory = Directory::new(stored, false, LIFETIMES, at(100));
    assert_eq!(directory.expire(at(130)), Expired::default());
    let expired = directory.expire(at(131));
    assert_eq!(expired.stale, [AgentId::from("a")]);
    assert_eq!(directory.expire(at(132)), Expired::default(), "told once");
    assert_eq!(
        directory.census(),
        Census {
            live: 0,
            stale: 1,
            rnics: 1,
            tors: 1
        }
    );
    let expired = directory.expire(at(701));
    assert_eq!(expired.forgotten, [AgentId::from("a")]);
    directory.forget(&expired.forgotten);
    assert_eq!(directory.census(), Census::default());
    assert!(
        directory
            .resolve(&TargetQuery::Host("host-a".into()))
            .is_empty()
    );
}

#[test]
fn a_heartbeat_revives() {
    let mut directory = Directory::new(Vec::new(), false, LIFETIMES, at(0));
    register(
        &mut directory,
        announcement("a", 1, &[("10.0.0.1", 17)]),
        1,
        at(0),
    );
    assert_eq!(directory.expire(at(40)).stale.len(), 1);
    assert!(directory.renew_lease(&"a".into(), StreamId(1), at(41)));
    assert_eq!(directory.census().live, 1);
}

#[test]
fn another_machine_with_the_name_is_refused_and_a_restart_is_not() {
    let mut directory = Directory::new(Vec::new(), false, LIFETIMES, at(0));
    let (first, second) = (from("10.9.0.1", "aaaa"), from("10.9.0.2", "bbbb"));
    let a = |incarnation, gid: &str| announcement("a", incarnation, &[(gid, 17)]);
    register_from(&mut directory, a(1, "10.0.0.1"), (1, first.clone()), at(0));
    let error = directory
        .check(&a(2, "10.0.0.2"), &second, at(1))
        .expect_err("another machine")
        .to_string();
    insta::assert_snapshot!(error, @"two machines are called host `host-a` (agent id `a`): one at 10.9.0.1 (machine aaaa), which stays registered, and one at 10.9.0.2 (machine bbbb), which is refused: give one of them another name (the key `host`, and `agent_id` where it is set)");

    // The machine itself restarts faster than the end of its connection is noticed, perhaps with another address.
    let moved = from("10.9.0.7", "aaaa");
    register_from(&mut directory, a(3, "10.0.0.1"), (2, moved), at(2));
    // It has gone, and another machine replaces it.
    directory.ended(&"a".into(), StreamId(2));
    register_from(&mut directory, a(4, "10.0.0.1"), (3, second), at(3));
}

#[test]
fn machines_of_one_image_are_told_apart_when_the_replaced_one_comes_back() {
    let mut directory = Directory::new(Vec::new(), false, LIFETIMES, at(0));
    let (first, second) = (from("10.9.0.1", ""), from("10.9.0.2", ""));
    let a = |incarnation, gid: &str| announcement("a", incarnation, &[(gid, 17)]);
    register_from(&mut directory, a(1, "10.0.0.1"), (1, first.clone()), at(0));
    // It may be a restart.
    register_from(&mut directory, a(2, "10.0.0.2"), (2, second.clone()), at(1));
    for second in 2..20 {
        let error = directory
            .check(&a(1, "10.0.0.1"), &first, at(second))
            .expect_err("it has not ended");
        assert!(matches!(error, Conflict::Twin { .. }), "{error}");
        directory.renew_lease(&"a".into(), StreamId(2), at(second));
    }
    // The other one has gone.
    directory.ended(&"a".into(), StreamId(2));
    register_from(&mut directory, a(1, "10.0.0.1"), (3, first), at(20));
    assert!(
        directory.check(&a(2, "10.0.0.2"), &second, at(21)).is_err(),
        "now the second is the one that was replaced"
    );
}

#[test]
fn a_host_has_a_bounded_number_of_agents_and_rnics() {
    let mut directory = Directory::new(Vec::new(), false, LIFETIMES, at(0));
    let agent = |number: usize, rnics: usize| {
        let gids: Vec<_> = (0..rnics)
            .map(|rnic| format!("10.0.{number}.{rnic}"))
            .collect();
        let rnics: Vec<_> = gids.iter().map(|gid| (gid.as_str(), 17)).collect();
        Announcement {
            host: "host-a".into(),
            ..announcement(&format!("host-a/{number}"), 1, &rnics)
        }
    };
    register(&mut directory, agent(0, 60), 1, at(0));
    register(&mut directory, agent(1, 4), 2, at(0));
    let error = directory
        .check(&agent(2, 1), &Origin::default(), at(0))
        .expect_err("65 RNICs");
    insta::assert_snapshot!(error, @"host `host-a` has 2 agents with 64 RNICs already; at most 16 and 64 are registered: agent `host-a/2` with 1 RNICs is refused");
    for number in 2..MOST_AGENTS {
        register(&mut directory, agent(number, 0), 3, at(0));
    }
    assert!(
        directory
            .check(&agent(99, 0), &Origin::default(), at(0))
            .is_err()
    );
    assert!(
        directory
            .check(&agent(99, 1), &Origin::default(), at(31))
            .is_ok(),
        "the others are stale"
    );
}
