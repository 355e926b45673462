use proptest::prelude::*;
use rpingmesh::id::Gid;

use super::*;

fn entry(index: u32, gid: &str, kind: GidKind) -> GidEntry {
    GidEntry {
        index,
        gid: gid.parse().expect("a GID"),
        kind,
        interface: None,
        place: Place::Unknown,
    }
}

fn v2(index: u32, gid: &str) -> GidEntry {
    entry(index, gid, GidKind::RoceV2)
}

fn at(place: Place, entry: GidEntry) -> GidEntry {
    GidEntry { place, ..entry }
}

fn table() -> Vec<GidEntry> {
    vec![
        entry(0, "fe80::1", GidKind::RoceV1),
        v2(1, "fe80::1"),
        v2(2, "2001:db8::1"),
        entry(3, "10.0.0.1", GidKind::RoceV1),
        v2(4, "10.0.0.1"),
        v2(5, "10.0.0.2"),
    ]
}

fn auto(table: &[GidEntry]) -> u32 {
    choose(table, &GidChoice::Auto).expect("an entry").index
}

fn refused(table: &[GidEntry], choice: &GidChoice) -> String {
    choose(table, choice)
        .expect_err("nothing to use")
        .to_string()
}

#[test]
fn ipv4_comes_before_global_ipv6_before_link_local() {
    let mut table = table();
    assert_eq!(auto(&table), 4);
    table.retain(|entry| !entry.gid.is_ipv4());
    assert_eq!(auto(&table), 2);
    table.remove(2);
    assert_eq!(auto(&table), 1);
}

#[test]
fn link_local_addresses_of_both_families_come_last() {
    assert_eq!(auto(&[v2(1, "169.254.9.9"), v2(3, "2001:db8:5::7")]), 3);
    assert_eq!(auto(&[v2(0, "169.254.255.254"), v2(1, "fd93::1")]), 1);
    assert_eq!(auto(&[v2(0, "169.254.0.1"), v2(7, "10.1.0.2")]), 7);
    assert_eq!(auto(&[v2(0, "fe80::9"), v2(2, "169.254.1.1")]), 0);
    assert_eq!(auto(&[v2(5, "fe80::9"), v2(2, "169.254.1.1")]), 2);
    // Near the range and not in it.
    assert_eq!(auto(&[v2(0, "2001:db8::1"), v2(1, "169.253.1.1")]), 1);
    assert_eq!(auto(&[v2(0, "fe7f::1"), v2(1, "fe80::1")]), 0);
}

#[test]
fn the_order_of_the_table_does_not_matter() {
    let mut table = table();
    table.reverse();
    assert_eq!(auto(&table), 4);
}

#[test]
fn indexes_move_and_v1_lands_where_v2_was() {
    let before = [entry(2, "10.0.0.5", GidKind::RoceV1), v2(3, "10.0.0.5")];
    let after = [v2(2, "10.0.0.5"), entry(3, "10.0.0.5", GidKind::RoceV1)];
    let later = [v2(9, "10.0.0.5"), v2(3, "fe80::1")];
    assert_eq!((auto(&before), auto(&after), auto(&later)), (3, 2, 9));
}

#[test]
fn entries_of_other_network_namespaces_are_not_ours() {
    let other = Place::Elsewhere(7);
    assert_eq!(
        auto(&[
            at(other, v2(1, "10.0.0.1")),
            at(Place::Here, v2(2, "10.0.0.2"))
        ]),
        2
    );
    assert_eq!(
        auto(&[
            at(other, v2(1, "10.0.0.1")),
            at(Place::Here, v2(4, "fe80::1"))
        ]),
        4
    );
    let doubtful = Place::Doubtful(7);
    assert_eq!(
        auto(&[
            at(doubtful, v2(1, "10.0.0.1")),
            at(Place::Here, v2(4, "169.254.1.1"))
        ]),
        4
    );
    assert_eq!(auto(&[at(doubtful, v2(1, "10.0.0.1"))]), 1);
    let text = refused(&[at(other, v2(1, "10.0.0.1"))], &GidChoice::Auto);
    assert!(text.contains("other network namespaces"), "{text}");
    let text = refused(&[at(other, v2(1, "10.0.0.1"))], &GidChoice::Index(1));
    assert!(text.contains("another network namespace"), "{text}");
    // A VLAN's or a bond's entries are as good as any.
    assert_eq!(
        auto(&[
            at(Place::Here, v2(6, "192.168.77.1")),
            at(Place::Here, v2(5, "10.2.0.1"))
        ]),
        5
    );
}

#[test]
fn empty_entries_are_never_chosen() {
    assert_eq!(auto(&[v2(0, "::"), v2(1, "fe80::1")]), 1);
    assert!(choose(&[v2(0, "::")], &GidChoice::Auto).is_err());
}

#[test]
fn a_table_without_roce_v2_is_refused_and_listed() {
    let table = [
        entry(0, "fe80::1", GidKind::RoceV1),
        entry(1, "10.0.0.1", GidKind::Unknown(9)),
    ];
    insta::assert_snapshot!(
        refused(&table, &GidChoice::Auto),
        @"it has RoCE v1 GIDs and no RoCE v2 GID; its GID table has 0: fe80::1 (RoCE v1), 1: 10.0.0.1 (GID type 9); give its network interface an IP address; where it has one, switch the device or its driver to RoCE v2"
    );
    insta::assert_snapshot!(
        refused(&[], &GidChoice::Auto),
        @"it has no RoCE v2 GID; its GID table is empty; give its network interface an IP address"
    );
}

#[test]
fn a_configured_index_must_exist_and_be_roce_v2() {
    let table = table();
    let at = |index| choose(&table, &GidChoice::Index(index)).map(|entry| entry.index);
    assert_eq!(at(5).expect("RoCE v2"), 5);
    insta::assert_snapshot!(
        refused(&table[..2], &GidChoice::Index(0)),
        @"the configured GID fe80::1 at index 0 is RoCE v1, not RoCE v2; its GID table has 0: fe80::1 (RoCE v1), 1: fe80::1 (RoCE v2); name a RoCE v2 entry in `gid_index` or `gids`, or leave them out"
    );
    insta::assert_snapshot!(
        refused(&table[..1], &GidChoice::Index(7)),
        @"its GID table has nothing at the configured index 7; its GID table has 0: fe80::1 (RoCE v1); correct `gid_index`, or leave it out"
    );
}

#[test]
fn a_configured_gid_is_taken_from_its_roce_v2_entry() {
    let table = table();
    let gids = |text: &str| {
        let gids = text.split(' ').map(|gid| gid.parse().expect("a GID"));
        GidChoice::Gids(gids.collect())
    };
    let chosen = choose(&table, &gids("10.9.9.9 fe80::1")).expect("there");
    assert_eq!(chosen.index, 1);
    insta::assert_snapshot!(
        refused(&table[3..4], &gids("10.0.0.1")),
        @"the configured GID 10.0.0.1 at index 3 is RoCE v1, not RoCE v2; its GID table has 3: 10.0.0.1 (RoCE v1); name a RoCE v2 entry in `gid_index` or `gids`, or leave them out"
    );
    insta::assert_snapshot!(
        refused(&table[..1], &gids("10.9.9.9")),
        @"it has none of the configured GIDs (10.9.9.9); its GID table has 0: fe80::1 (RoCE v1); correct `gids`, or leave it out"
    );
}

#[test]
fn long_tables_are_listed_in_part() {
    let many: Vec<_> = (0..16_384)
        .map(|index| entry(index, "10.0.0.1", GidKind::RoceV1))
        .collect();
    let text = refused(&many, &GidChoice::Auto);
    assert!(text.contains("and 16368 more"), "{text}");
    assert!(text.len() < 1_500);
}

#[test]
fn every_entry_is_explained() {
    let mut table = table();
    table.push(at(Place::Elsewhere(12), v2(6, "10.7.0.1")));
    table.push(v2(7, "169.254.9.9"));
    let shown = |choice: &GidChoice| {
        let lines = explain(&table, choice).into_iter();
        let lines: Vec<_> = lines
            .map(|(index, why)| format!("{index}: {why}"))
            .collect();
        lines.join("\n")
    };
    insta::assert_snapshot!(shown(&GidChoice::Auto), @r"
    0: fe80::1, RoCE v1: not used: RoCE v1, not RoCE v2
    1: fe80::1, RoCE v2: not used: a link-local address comes after a global IPv4 address (index 4)
    2: 2001:db8::1, RoCE v2: not used: a global IPv6 address comes after a global IPv4 address (index 4)
    3: 10.0.0.1, RoCE v1: not used: RoCE v1, not RoCE v2
    4: 10.0.0.1, RoCE v2: used: a global IPv4 address, the best of 5 RoCE v2 entries that can be used
    5: 10.0.0.2, RoCE v2: not used: a global IPv4 address like index 4, which comes first
    6: 10.7.0.1, RoCE v2, interface 12: not used: of an interface in another network namespace
    7: 169.254.9.9, RoCE v2: not used: a link-local address comes after a global IPv4 address (index 4)
    ");
    insta::assert_snapshot!(shown(&GidChoice::Index(7)), @r"
    0: fe80::1, RoCE v1: not used: RoCE v1, not RoCE v2
    1: fe80::1, RoCE v2: not used: the configuration names another
    2: 2001:db8::1, RoCE v2: not used: the configuration names another
    3: 10.0.0.1, RoCE v1: not used: RoCE v1, not RoCE v2
    4: 10.0.0.1, RoCE v2: not used: the configuration names another
    5: 10.0.0.2, RoCE v2: not used: the configuration names another
    6: 10.7.0.1, RoCE v2, interface 12: not used: of an interface in another network namespace
    7: 169.254.9.9, RoCE v2: used: `gid_index` names it; it has a link-local address
    ");
    insta::assert_snapshot!(
        explain(&table[1..2], &GidChoice::Auto)[0].1,
        @"fe80::1, RoCE v2: used: a link-local address, the only RoCE v2 entry that can be used"
    );
}

prop_compose! {
    fn any_entry()(
        index in 0u32..40,
        gid in prop_oneof![
            any::<[u8; 16]>().prop_map(Gid::from_bytes),
            any::<[u8; 4]>().prop_map(|ip| Gid::from(std::net::Ipv4Addr::from(ip))),
            Just("fe80::1".parse().expect("a GID")),
            Just("169.254.1.1".parse().expect("a GID")),
        ],
        kind in prop_oneof![
            Just(GidKind::RoceV2), Just(GidKind::RoceV1), Just(GidKind::Infiniband),
            any::<u32>().prop_map(GidKind::Unknown),
        ],
        place in prop_oneof![
            Just(Place::Here), Just(Place::Unknown), Just(Place::Elsewhere(9)), Just(Place::Doubtful(9)),
        ],
    ) -> GidEntry {
        GidEntry { index, gid, kind, interface: None, place }
    }
}

proptest! {
    #[test]
    fn what_is_chosen_is_roce_v2_ours_and_no_worse_than_any(table in prop::collection::vec(any_entry(), 0..12)) {
        let usable = |entry: &&GidEntry| {
            entry.kind == GidKind::RoceV2 && !entry.gid.is_zero() && !matches!(entry.place, Place::Elsewhere(_))
        };
        match choose(&table, &GidChoice::Auto) {
            Ok(chosen) => {
                prop_assert!(usable(&chosen));
                if chosen.gid.is_link_local() {
                    let better = |entry: &GidEntry| !entry.gid.is_link_local() && matches!(entry.place, Place::Here | Place::Unknown);
                    prop_assert!(!table.iter().filter(usable).any(better));
                }
            }
            Err(_) => prop_assert_eq!(table.iter().filter(usable).count(), 0),
        }
        prop_assert_eq!(explain(&table, &GidChoice::Auto).len(), table.len());
    }
}
