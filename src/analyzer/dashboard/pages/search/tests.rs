use super::*;

fn found(wanted: &Wanted, names: &[(Kind, &str)]) -> Found {
    let mut found = Found::default();
    for (kind, name) in names {
        found.add(*kind, || wanted.hit(name, "", format!("/{name}")));
    }
    found
}

#[test]
fn one_thing_of_the_name_is_meant_whatever_contains_it() {
    let wanted = Wanted::new("Host1");
    let names = [
        (Kind::Host, "host1"),
        (Kind::Host, "host10"),
        (Kind::Rnic, "host1/mlx5_0"),
    ];
    assert_eq!(found(&wanted, &names).only(), Some("/host1"));
    assert_eq!(found(&wanted, &names[1..]).only(), None, "two contain it");
    assert_eq!(found(&wanted, &names[2..]).only(), Some("/host1/mlx5_0"));
    let twice = [(Kind::Host, "host1"), (Kind::Service, "host1")];
    assert_eq!(found(&wanted, &twice).only(), None, "two have the name");
    assert_eq!(found(&wanted, &[]).only(), None);
}

#[test]
fn long_lists_are_folded_and_bounded() {
    let wanted = Wanted::new("host");
    let mut found = Found::default();
    for number in (0..MOST_FOUND + 7).rev() {
        found.add(Kind::Host, || {
            wanted.hit(&format!("host{number}"), "", String::new())
        });
    }
    let groups = found.groups();
    let [group] = groups.as_slice() else {
        panic!("{groups:?}");
    };
    assert_eq!(group.total, MOST_FOUND + 7);
    assert_eq!(
        (group.first.len(), group.folded.len()),
        (FIRST, MOST_SHOWN - FIRST)
    );
    assert_eq!(group.more, MOST_FOUND + 7 - MOST_SHOWN);
    assert!(
        group
            .first
            .windows(2)
            .all(|two| natural(&two[0].name, &two[1].name).is_lt())
    );
}

#[test]
fn numbers_of_incidents_are_understood() {
    for (text, id) in [
        ("12", Some(12)),
        ("#12", Some(12)),
        ("Incident 12", Some(12)),
        ("incident #12", Some(12)),
        ("incident", None),
        ("12a", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(Wanted::new(text).incident(), id, "{text}");
    }
}

#[test]
fn only_a_part_of_a_gid_is_looked_for_among_gids() {
    assert!(Wanted::new("10.0.").may_be_in_gid() && Wanted::new("fe80:").may_be_in_gid());
    assert!(!Wanted::new("rack1.row").may_be_in_gid() && !Wanted::new("10").may_be_in_gid());
    assert_eq!(
        Wanted::new("10.0.0.1").gid,
        Wanted::new("::ffff:10.0.0.1").gid
    );
}
