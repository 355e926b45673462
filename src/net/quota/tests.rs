use std::net::Ipv4Addr;

use super::*;

fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

fn quota(total: usize, per_address: usize) -> Quota {
    Quota::new(Budget { total, per_address })
}

fn admit(quota: &Quota, peer: IpAddr) -> Place {
    quota.admit(peer).expect("a place").0
}

fn gone(places: &[Place]) -> Vec<usize> {
    let gone = places.iter().enumerate();
    gone.filter(|(_, place)| place.evicted().is_cancelled())
        .map(|(index, _)| index)
        .collect()
}

#[test]
fn half_open_connections_push_each_other_out() {
    let quota = quota(10, 4);
    let attackers: Vec<_> = (0..6).map(|_| admit(&quota, host(1))).collect();
    assert_eq!(gone(&attackers), [0, 1]);
    // Another address has its place, up to the most in all.
    let others: Vec<_> = (2..8).map(|number| admit(&quota, host(number))).collect();
    assert_eq!(gone(&attackers), [0, 1]);
    // Now the address with the most that are not busy makes room.
    let more: Vec<_> = (8..10).map(|number| admit(&quota, host(number))).collect();
    assert_eq!(gone(&attackers), [0, 1, 2, 3]);
    assert!(gone(&others).is_empty() && gone(&more).is_empty());
}

#[test]
fn greeting_connections_go_before_idle_ones_and_busy_ones_stay() {
    let quota = quota(100, 4);
    let places: Vec<_> = (0..4).map(|_| admit(&quota, host(1))).collect();
    places[0].enter(Stage::Idle);
    places[1].enter(Stage::Idle);
    places[1].enter(Stage::Busy);
    places[3].enter(Stage::Idle);
    let mut more = Vec::new();
    for expected in [vec![2], vec![0, 2], vec![0, 2, 3]] {
        more.push(admit(&quota, host(1)));
        more[more.len() - 1].enter(Stage::Busy);
        assert_eq!(gone(&places), expected);
    }
    assert_eq!(quota.admit(host(1)).expect_err("full"), Refused::Address);
    // A request that ends makes its connection one that can give way.
    places[1].enter(Stage::Idle);
    more.push(admit(&quota, host(1)));
    assert_eq!(gone(&places), [0, 1, 2, 3]);
}

#[test]
fn a_listener_whose_connections_are_all_busy_refuses() {
    let quota = quota(3, 3);
    let places: Vec<_> = (1..4).map(|number| admit(&quota, host(number))).collect();
    for place in &places {
        place.enter(Stage::Busy);
    }
    assert_eq!(quota.admit(host(9)).expect_err("full"), Refused::Listener);
    drop(places);
    let table = quota.table();
    assert!(table.entries.is_empty() && table.origins.is_empty() && table.crowded.is_empty());
}

#[test]
fn loopback_has_the_whole_budget_and_ipv6_networks_share_a_quota() {
    let quota = quota(10, 2);
    let own: Vec<_> = (0..8)
        .map(|_| admit(&quota, Ipv4Addr::LOCALHOST.into()))
        .collect();
    assert!(gone(&own).is_empty());
    let network: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
        .iter()
        .map(|text| admit(&quota, text.parse().expect("an address")))
        .collect();
    assert_eq!(gone(&network), [0]);
    let mapped = "::ffff:192.0.2.1".parse().expect("an address");
    assert_eq!(origin_of(mapped), host(1));
}
