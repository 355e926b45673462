//! Which entry of a GID table an endpoint uses, and why. A function of the table alone, so that a recorded table is
//! explained like a live one.

use std::fmt;

use crate::rdma_settings::GidChoice;
use rpingmesh::transport::rdma_report::{GidEntry, GidKind, Place, Trouble};

/// How well an entry serves; the first is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    GlobalIpv4,
    GlobalIpv6,
    LinkLocal,
    /// Its interface does not exist here, as far as that can be told.
    Doubtful,
    /// It cannot be used at all.
    No(No),
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum No {
    Empty,
    Kind,
    Elsewhere,
    /// Address handles have 8 bits for the index (`ibv_global_route.sgid_index`, `verbs.h`).
    Index,
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GlobalIpv4 => "a global IPv4 address",
            Self::GlobalIpv6 => "a global IPv6 address",
            Self::LinkLocal => "a link-local address",
            Self::Doubtful => "an address whose interface does not exist here",
            Self::No(No::Empty) => "an empty entry",
            Self::No(No::Kind) => "not RoCE v2",
            Self::No(No::Elsewhere) => "of an interface in another network namespace",
            Self::No(No::Index) => "at an index above 255, for which address handles have no room",
        })
    }
}

fn rank(entry: &GidEntry) -> Rank {
    if entry.gid.is_zero() {
        return Rank::No(No::Empty);
    }
    if entry.kind != GidKind::RoceV2 {
        return Rank::No(No::Kind);
    }
    if u8::try_from(entry.index).is_err() {
        return Rank::No(No::Index);
    }
    match entry.place {
        Place::Elsewhere(_) => Rank::No(No::Elsewhere),
        Place::Doubtful(_) => Rank::Doubtful,
        Place::Here | Place::Unknown if entry.gid.is_link_local() => Rank::LinkLocal,
        Place::Here | Place::Unknown if entry.gid.is_ipv4() => Rank::GlobalIpv4,
        Place::Here | Place::Unknown => Rank::GlobalIpv6,
    }
}

/// Chooses a RoCE v2 entry of this network namespace, never one of another kind and never index 0 for want of something
/// better.
///
/// # Errors
/// What is wrong, what the table has and what to do.
pub(crate) fn choose<'a>(
    table: &'a [GidEntry],
    choice: &GidChoice,
) -> Result<&'a GidEntry, Trouble> {
    let wrong =
        |what: String, advice: &str| Trouble::new(format!("{what}; {}", contents(table)), advice);
    let entry = match choice {
        GidChoice::Auto => {
            return table
                .iter()
                .min_by_key(|entry| (rank(entry), entry.index))
                .filter(|entry| rank(entry) <= Rank::Doubtful)
                .ok_or_else(|| none(table));
        }
        GidChoice::Index(index) => table
            .iter()
            .find(|entry| entry.index == *index)
            .ok_or_else(|| {
                wrong(
                    format!("its GID table has nothing at the configured index {index}"),
                    "correct `gid_index`, or leave it out",
                )
            })?,
        GidChoice::Gids(gids) => gids
            .iter()
            // The same GID stands in a table once per protocol: the RoCE v2 entry, or any that shows what is wrong.
            .find_map(|gid| {
                let same = table.iter().filter(|entry| entry.gid == *gid);
                same.min_by_key(|entry| (rank(entry), entry.index))
            })
            .ok_or_else(|| {
                let names: Vec<_> = gids.iter().map(ToString::to_string).collect();
                wrong(
                    format!("it has none of the configured GIDs ({})", names.join(", ")),
                    "correct `gids`, or leave it out",
                )
            })?,
    };
    let named = format!("the configured GID {} at index {}", entry.gid, entry.index);
    match rank(entry) {
        Rank::No(No::Kind | No::Empty) => Err(wrong(
            format!("{named} is {}, not RoCE v2", entry.kind),
            "name a RoCE v2 entry in `gid_index` or `gids`, or leave them out",
        )),
        Rank::No(No::Elsewhere) => Err(wrong(
            format!("{named} is of an interface in another network namespace"),
            "name an entry of this network namespace, or run the agent in that one",
        )),
        Rank::No(No::Index) => Err(wrong(
            format!("{named} is at an index above 255, for which address handles have no room"),
            "name an entry with a smaller index, or remove addresses that the interface does not need",
        )),
        _ => Ok(entry),
    }
}

/// Why there is nothing to choose from.
fn none(table: &[GidEntry]) -> Trouble {
    let has = |no| table.iter().any(|entry| rank(entry) == Rank::No(no));
    let (what, advice) = if has(No::Elsewhere) {
        (
            "its RoCE v2 GIDs all belong to interfaces of other network namespaces",
            "run the agent in the network namespace of the RNIC's interface (in a container: with the host's network), or \
             move the interface here",
        )
    } else if has(No::Index) {
        (
            "its RoCE v2 GIDs are all at indexes above 255, for which address handles have no room",
            "remove addresses that the interface does not need",
        )
    } else if table.iter().any(|entry| entry.kind == GidKind::RoceV1) {
        (
            "it has RoCE v1 GIDs and no RoCE v2 GID",
            "give its network interface an IP address; where it has one, switch the device or its driver to RoCE v2",
        )
    } else {
        (
            "it has no RoCE v2 GID",
            "give its network interface an IP address",
        )
    };
    Trouble::new(format!("{what}; {}", contents(table)), advice)
}

fn contents(table: &[GidEntry]) -> String {
    /// Entries that are listed; a table may have thousands.
    const LISTED: usize = 16;
    if table.is_empty() {
        return "its GID table is empty".to_owned();
    }
    let entries: Vec<_> = table.iter().take(LISTED).map(ToString::to_string).collect();
    let more = match table.len() - entries.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("its GID table has {}{more}", entries.join(", "))
}

/// For each entry whether it is used, and why.
pub(crate) fn explain(table: &[GidEntry], choice: &GidChoice) -> Vec<(u32, String)> {
    let used = choose(table, choice);
    let mut entries: Vec<&GidEntry> = table.iter().collect();
    entries.sort_by_key(|entry| entry.index);
    let why = |entry: &GidEntry| match (&used, rank(entry)) {
        (Ok(used), rank) if used.index == entry.index => match choice {
            GidChoice::Auto => format!("used: {rank}{}", beside(table, used)),
            GidChoice::Index(_) => format!("used: `gid_index` names it; it has {rank}"),
            GidChoice::Gids(_) => format!("used: `gids` names it; it has {rank}"),
        },
        (_, Rank::No(No::Kind)) => format!("not used: {}, not RoCE v2", entry.kind),
        (_, no @ Rank::No(_)) => format!("not used: {no}"),
        (Ok(_), _) if *choice != GidChoice::Auto => {
            "not used: the configuration names another".to_owned()
        }
        (Ok(best), own) if rank(best) == own => {
            format!(
                "not used: {own} like index {}, which comes first",
                best.index
            )
        }
        (Ok(best), own) => format!(
            "not used: {own} comes after {} (index {})",
            rank(best),
            best.index
        ),
        (Err(_), own) => format!("not used: {own}, but the configuration names another"),
    };
    let line = |entry: &&GidEntry| {
        let interface = match (&entry.interface, entry.place) {
            (Some(name), _) => format!(", {name}"),
            (None, Place::Elsewhere(number) | Place::Doubtful(number)) => {
                format!(", interface {number}")
            }
            (None, _) => String::new(),
        };
        let text = format!("{}, {}{interface}: {}", entry.gid, entry.kind, why(entry));
        (entry.index, text)
    };
    entries.iter().map(line).collect()
}

/// What the best entry was chosen from.
fn beside(table: &[GidEntry], best: &GidEntry) -> String {
    let usable = table.iter().filter(|entry| rank(entry) <= Rank::Doubtful);
    match usable.count() {
        0 | 1 => ", the only RoCE v2 entry that can be used".to_owned(),
        count if rank(best) == Rank::GlobalIpv4 => {
            format!(", the best of {count} RoCE v2 entries that can be used")
        }
        count => format!(", there is none better among {count} RoCE v2 entries that can be used"),
    }
}

#[cfg(test)]
mod tests;
