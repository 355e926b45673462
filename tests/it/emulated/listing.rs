//! What `doctor` says of devices and ports of every kind.

use super::Rnics;

/// Devices with ports of different kinds; interface 1 is the loopback, which exists everywhere.
const ALL_KINDS: &str = "\
dev mlx4_0 0 0 0
port 1 4 1 5 128 5
port 2 4 2 3 128 0
gid 2 0 fe80::2 1 1
gid 2 1 fe80::2 2 1
gid 2 3 10.1.0.2 2 1
dev mlx5_ib0 0 0 0
port 1 4 1 5 8 0
gid 1 0 fe80::1:2:3:4 0 0
dev mlx5_down0 0 0 0
port 1 1 2 5 8 0
gid 1 0 fe80::1 2 1
dev efa_0 -1 0 0
port 1 4 0 5 1 0
gid 1 0 fe80::44:55ff:fe66:7788 0 0
dev mana_0 0 0 0
port 1 4 2 5 16 0
gid 1 0 10.3.0.4 2 1
dev siw0 1 0 0
port 1 4 2 5 1 0
dev irdma0 0 0 61
port 1 4 2 5 32 0
dev late0 0 0 0
port 1 4 2 5 32 0
dev old0 0 0 0
port 1 4 2 5 32 0
gid 1 0 fe80::1 1 1
dev gone0 0 2 0
port 1 4 2 5 32 0
dev closed0 0 13 0
port 1 4 2 5 32 0
dev busy0 0 16 0
port 1 4 2 5 32 0
";

#[test]
fn every_device_and_port_is_judged_by_itself_and_advice_fits_the_cause() {
    insta::assert_snapshot!(Rnics::new(ALL_KINDS).doctor(&[]));
}

#[test]
fn a_bad_port_hides_neither_its_device_nor_other_ports() {
    for (bad, good) in [
        // In front, behind, between; not answering, down, InfiniBand.
        ("port 1 4 2 5 8 5", "port 2 4 2 5 8 0\ngid 2 1 10.0.0.2 2 1"),
        (
            "port 2 4 2 5 8 22",
            "port 1 4 2 5 8 0\ngid 1 1 10.0.0.1 2 1",
        ),
        ("port 1 1 2 5 8 0", "port 2 4 2 5 8 0\ngid 2 1 10.0.0.2 2 1"),
        (
            "port 3 4 1 5 8 0",
            "port 1 4 2 5 8 110\nport 2 4 2 5 8 0\ngid 2 1 10.0.0.2 2 1",
        ),
    ] {
        let found = Rnics::new(&format!("dev mlx5_0 0 0 0\n{bad}\n{good}\n")).doctor(&[]);
        assert!(found.contains("1 usable RNIC ports"), "{found}");
        assert!(found.contains("GID index 1 is used"), "{found}");
        assert!(found.contains("note    ports: mlx5_0/"), "{found}");
        assert!(!found.contains("uverbs"), "{found}");
    }
}

#[test]
fn link_local_addresses_of_either_family_come_last() {
    for (gids, used) in [
        ("gid 1 1 169.254.9.9 2 1\ngid 1 3 2001:db8:5::7 2 1", 3),
        ("gid 1 0 fe80::9 2 1\ngid 1 1 fd93::1 2 1", 1),
        (
            "gid 1 0 169.254.3.4 2 1\ngid 1 1 fe80::1 2 1\ngid 1 5 10.0.0.1 2 1",
            5,
        ),
        ("gid 1 2 fe80::1 2 1\ngid 1 4 169.254.3.4 2 1", 2),
    ] {
        let table = format!("dev rocep1s0 0 0 0\nport 1 4 2 5 256 0\n{gids}\n");
        let found = Rnics::new(&table).doctor(&[]);
        assert!(
            found.contains(&format!("GID index {used} is used")),
            "{found}"
        );
    }
}

#[test]
fn entries_of_interfaces_that_do_not_exist_here_come_after_all_others() {
    for (gids, used) in [
        ("gid 1 1 10.0.0.1 2 99999\ngid 1 3 10.0.0.2 2 1", 3),
        ("gid 1 1 10.0.0.1 2 99999\ngid 1 3 fe80::1 2 1", 3),
        ("gid 1 1 10.0.0.1 2 99999\ngid 1 7 2001:db8::1 2 0", 7),
    ] {
        let table = format!("dev mlx5_0 0 0 0\nport 1 4 2 5 256 0\n{gids}\n");
        let found = Rnics::new(&table).doctor(&["--explain-gids"]);
        assert!(
            found.contains(&format!("GID index {used} is used")),
            "{found}"
        );
        assert!(
            found.contains("whose interface does not exist here"),
            "{found}"
        );
    }
}

#[test]
fn tables_are_explained_live_and_recorded() {
    let table = "dev mlx5_0 0 0 0\nport 1 4 2 5 256 0\ngid 1 0 fe80::1 1 0\ngid 1 1 fe80::1 2 0\n\
                 gid 1 2 169.254.9.9 2 0\ngid 1 4 10.0.0.5 1 0\ngid 1 5 10.0.0.5 2 0\n";
    let rnics = Rnics::new(table);
    let live = rnics.doctor(&["--explain-gids"]);
    let recorded = rnics.printed(&["doctor", "--gid-table", &rnics.path("table")]);
    insta::assert_snapshot!(recorded);
    for line in recorded.lines().filter(|line| line.contains(" gid: ")) {
        let why = line.rsplit("mlx5_0/1").next().expect("text");
        assert!(live.contains(why), "{why} is not in {live}");
    }
}

/// Cards with many virtual functions have tables of this size, with as many entries as libibverbs can tell at once. Time is not
/// measured here; the length of what is printed is.
#[test]
fn a_table_of_16384_entries_is_explained_in_few_lines() {
    let gids: Vec<_> = (0..2_040)
        .map(|number| {
            format!(
                "gid 1 {} 10.1.{}.{} 2 1",
                number * 8,
                number / 256,
                number % 256
            )
        })
        .collect();
    let table = format!(
        "dev mlx5_0 0 0 0\nport 1 4 2 5 16384 0\n{}\n",
        gids.join("\n")
    );
    let found = Rnics::new(&table).doctor(&["--explain-gids"]);
    assert!(
        found.lines().count() < 400,
        "{} lines",
        found.lines().count()
    );
    assert!(found.contains("and 2008 more"), "{found}");
    let rest = "index 256 to 16312: not used: 2008 entries at indexes above 255";
    assert!(found.contains(rest), "{found}");
    assert!(found.contains("1 usable RNIC ports"), "{found}");
}

/// What would be used is what one asks while the port is down.
#[test]
fn a_port_that_is_down_is_explained() {
    let table = "dev mlx5_0 0 0 0\nport 1 1 2 5 8 0\ngid 1 0 fe80::1 2 1\ngid 1 3 10.0.0.1 2 1\n";
    let found = Rnics::new(table).doctor(&["--explain-gids"]);
    let line = found
        .lines()
        .find(|line| line.contains("mlx5_0/1 index 3:"))
        .expect("explained");
    assert!(
        line.contains("as the port is now it is not used; otherwise: used: a global IPv4 address"),
        "{line}"
    );
    assert!(found.contains("the port is down"), "{found}");
}
