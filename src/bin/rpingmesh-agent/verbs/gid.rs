//! Which entry of a GID table an endpoint uses.

use crate::rdma_settings::GidChoice;
use rpingmesh::transport::rdma_report::{GidEntry, GidKind};

/// Chooses a RoCE v2 entry, never one of another kind and never index 0 for want of something better.
///
/// # Errors
/// What is wrong, what the table has and what to do, in one sentence.
pub(super) fn choose<'a>(
    table: &'a [GidEntry],
    choice: &GidChoice,
) -> Result<&'a GidEntry, String> {
    let found = match choice {
        GidChoice::Auto => table
            .iter()
            .filter(|entry| entry.kind == GidKind::RoceV2)
            .min_by_key(|entry| (preference(entry), entry.index))
            .ok_or_else(|| {
                "it has no RoCE v2 GID: give its network interface an IP address".to_owned()
            }),
        GidChoice::Index(index) => table
            .iter()
            .find(|entry| entry.index == *index)
            .ok_or_else(|| format!("its GID table has nothing at the configured index {index}")),
        GidChoice::Gids(gids) => gids
            .iter()
            .find_map(|gid| roce_v2_first(table, |entry| entry.gid == *gid))
            .ok_or_else(|| {
                let names: Vec<_> = gids.iter().map(ToString::to_string).collect();
                format!("it has none of the configured GIDs ({})", names.join(", "))
            }),
    };
    found
        .and_then(|entry| match entry.kind {
            GidKind::RoceV2 => Ok(entry),
            other => Err(format!(
                "the configured GID {} at index {} is {other}, not RoCE v2",
                entry.gid, entry.index
            )),
        })
        .map_err(|why| format!("{why}; {}", contents(table)))
}

/// The same GID stands in a table once per protocol: the RoCE v2 entry, or any that shows what is wrong.
fn roce_v2_first(table: &[GidEntry], wanted: impl Fn(&GidEntry) -> bool) -> Option<&GidEntry> {
    table
        .iter()
        .filter(|entry| wanted(entry))
        .min_by_key(|entry| entry.kind != GidKind::RoceV2)
}

fn preference(entry: &GidEntry) -> u8 {
    if entry.gid.is_ipv4() {
        0
    } else if entry.gid.is_link_local() {
        2
    } else {
        1
    }
}

fn contents(table: &[GidEntry]) -> String {
    if table.is_empty() {
        return "its GID table is empty".to_owned();
    }
    let entries: Vec<_> = table.iter().map(ToString::to_string).collect();
    format!("its GID table has {}", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use rpingmesh::id::Gid;

    use super::*;

    fn entry(index: u32, gid: &str, kind: GidKind) -> GidEntry {
        GidEntry {
            index,
            gid: gid.parse().expect("a GID"),
            kind,
            interface: None,
        }
    }

    fn table() -> Vec<GidEntry> {
        vec![
            entry(0, "fe80::1", GidKind::RoceV1),
            entry(1, "fe80::1", GidKind::RoceV2),
            entry(2, "2001:db8::1", GidKind::RoceV2),
            entry(3, "10.0.0.1", GidKind::RoceV1),
            entry(4, "10.0.0.1", GidKind::RoceV2),
            entry(5, "10.0.0.2", GidKind::RoceV2),
        ]
    }

    fn auto(table: &[GidEntry]) -> u32 {
        choose(table, &GidChoice::Auto).expect("an entry").index
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
    fn the_order_of_the_table_does_not_matter() {
        let mut table = table();
        table.reverse();
        assert_eq!(auto(&table), 4);
    }

    #[test]
    fn a_table_without_roce_v2_is_refused_and_listed() {
        let table = [
            entry(0, "fe80::1", GidKind::RoceV1),
            entry(1, "10.0.0.1", GidKind::Unknown(9)),
        ];
        insta::assert_snapshot!(
            choose(&table, &GidChoice::Auto).expect_err("no RoCE v2"),
            @"it has no RoCE v2 GID: give its network interface an IP address; its GID table has 0: fe80::1 (RoCE v1), 1: 10.0.0.1 (GID type 9)"
        );
        insta::assert_snapshot!(
            choose(&[], &GidChoice::Auto).expect_err("nothing"),
            @"it has no RoCE v2 GID: give its network interface an IP address; its GID table is empty"
        );
    }

    #[test]
    fn a_configured_index_must_exist_and_be_roce_v2() {
        let table = table();
        assert_eq!(
            choose(&table, &GidChoice::Index(5)).expect("RoCE v2").index,
            5
        );
        insta::assert_snapshot!(
            choose(&table[..2], &GidChoice::Index(0)).expect_err("RoCE v1"),
            @"the configured GID fe80::1 at index 0 is RoCE v1, not RoCE v2; its GID table has 0: fe80::1 (RoCE v1), 1: fe80::1 (RoCE v2)"
        );
        insta::assert_snapshot!(
            choose(&table[..1], &GidChoice::Index(7)).expect_err("not there"),
            @"its GID table has nothing at the configured index 7; its GID table has 0: fe80::1 (RoCE v1)"
        );
    }

    #[test]
    fn a_configured_gid_is_taken_from_its_roce_v2_entry() {
        let table = table();
        let gids = |text: &str| {
            GidChoice::Gids(
                text.split(' ')
                    .map(|gid| gid.parse().expect("a GID"))
                    .collect(),
            )
        };
        assert_eq!(
            choose(&table, &gids("10.9.9.9 fe80::1"))
                .expect("there")
                .index,
            1
        );
        insta::assert_snapshot!(
            choose(&table[3..4], &gids("10.0.0.1")).expect_err("RoCE v1 only"),
            @"the configured GID 10.0.0.1 at index 3 is RoCE v1, not RoCE v2; its GID table has 3: 10.0.0.1 (RoCE v1)"
        );
        let absent: Gid = "10.9.9.9".parse().expect("a GID");
        insta::assert_snapshot!(
            choose(&table[..1], &GidChoice::Gids(vec![absent])).expect_err("absent"),
            @"it has none of the configured GIDs (10.9.9.9); its GID table has 0: fe80::1 (RoCE v1)"
        );
    }
}
