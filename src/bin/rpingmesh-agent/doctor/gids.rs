//! Why which entry of a GID table is used: of this host's tables or of recorded ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rpingmesh::config::agent::AgentConfig;
use rpingmesh::config::program::Failure;
use rpingmesh::id::Gid;
use rpingmesh::transport::RnicName;
use rpingmesh::transport::rdma_report::{GidEntry, GidKind, Place};

use super::Finding;
use crate::gid_choice;
use crate::rdma_settings::GidChoice;
use crate::transports;

/// One finding for each entry that address handles have room for, and one for all others. Of a port that is not `usable` it is
/// said which entry would be used.
pub(super) fn explained(
    name: &RnicName,
    table: &[GidEntry],
    choice: &GidChoice,
    usable: bool,
) -> impl Iterator<Item = Finding> + use<> {
    let (within, beyond): (Vec<_>, Vec<_>) = gid_choice::explain(table, choice)
        .into_iter()
        .partition(|(index, _)| u8::try_from(*index).is_ok());
    let rest = beyond.first().zip(beyond.last()).map(|(first, last)| {
        format!(
            "{name} index {} to {}: not used: {} entries at indexes above 255, for which address handles have no room",
            first.0,
            last.0,
            beyond.len()
        )
    });
    let name = name.clone();
    let lines = within.into_iter().map(move |(index, why)| {
        let would = if usable {
            ""
        } else {
            "as the port is now it is not used; otherwise: "
        };
        let why = why.replacen(": used: ", &format!(": {would}used: "), 1);
        format!("{name} index {index}: {why}")
    });
    lines.chain(rest).map(|line| Finding::ok("gid", line))
}

/// Explains the tables in a file. Interfaces are not looked up: their numbers are another host's.
///
/// # Errors
/// The file cannot be read, or a line not understood.
pub(super) fn recorded(file: &Path, config: &AgentConfig) -> Result<Vec<Finding>, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::run(format!("{}: {error}", file.display())))?;
    let tables =
        parse(&text).map_err(|error| Failure::run(format!("{}, {error}", file.display())))?;
    let choice = transports::verbs_settings(config).gid;
    let mut findings = Vec::new();
    if tables.is_empty() {
        findings.push(Finding::problem(
            "ports",
            format!("{} has no `gid` line", file.display()),
            "write one line for each entry: `gid PORT INDEX ADDRESS TYPE`, below a line `dev NAME`",
        ));
    }
    // One port that can be used is enough to probe.
    let usable = tables
        .values()
        .any(|table| gid_choice::choose(table, &choice).is_ok());
    for (name, table) in &tables {
        findings.push(match gid_choice::choose(table, &choice) {
            Ok(entry) => Finding::ok(
                "ports",
                format!("{name}: GID index {} is used", entry.index),
            ),
            Err(trouble) => Finding::with(
                "ports",
                if usable {
                    super::Status::Note
                } else {
                    super::Status::Problem
                },
                format!("{name}: {}", trouble.what),
                trouble.advice,
            ),
        });
        findings.extend(explained(name, table, &choice, true));
    }
    Ok(findings)
}

fn parse(text: &str) -> Result<BTreeMap<RnicName, Vec<GidEntry>>, String> {
    let mut tables: BTreeMap<RnicName, Vec<GidEntry>> = BTreeMap::new();
    let mut device = None;
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        let mut words = line.split_whitespace();
        match words.next() {
            Some("dev") => device = Some(words.next().ok_or_else(|| wrong("no device is named"))?),
            Some("gid") => {
                let device = device.ok_or_else(|| wrong("there is no `dev` line before"))?;
                let words: Vec<&str> = words.collect();
                let [port, index, gid, kind, ..] = words[..] else {
                    return Err(wrong("`gid` needs PORT INDEX ADDRESS TYPE"));
                };
                let name = RnicName {
                    device: device.into(),
                    port: port.parse().map_err(|_| wrong("the port is no number"))?,
                };
                tables.entry(name).or_default().push(GidEntry {
                    index: index.parse().map_err(|_| wrong("the index is no number"))?,
                    gid: gid
                        .parse::<Gid>()
                        .map_err(|_| wrong("the address is no GID"))?,
                    kind: match kind.parse().map_err(|_| wrong("the type is no number"))? {
                        0 => GidKind::Infiniband,
                        1 => GidKind::RoceV1,
                        2 => GidKind::RoceV2,
                        other => GidKind::Unknown(other),
                    },
                    interface: None,
                    place: Place::Unknown,
                });
            }
            _ => {}
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_tables_are_read() {
        let text = "dev a 0 0 0\nport 1 4 2 5 256 0\ngid 1 1 169.254.9.9 2 4\ngid 1 3 2001:db8::7 2\n\n# x\ndev b\ngid 2 0 fe80::1 9";
        let tables = parse(text).expect("tables");
        let shown: Vec<String> = tables
            .iter()
            .map(|(name, table)| {
                let entries: Vec<_> = table.iter().map(ToString::to_string).collect();
                format!("{name}: {}", entries.join(", "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "a/1: 1: 169.254.9.9 (RoCE v2), 3: 2001:db8::7 (RoCE v2)",
                "b/2: 0: fe80::1 (GID type 9)"
            ]
        );
    }

    #[test]
    fn what_is_no_table_is_named_with_its_line() {
        for (text, error) in [
            ("gid 1 1 ::1 2", "line 1: there is no `dev` line before"),
            (
                "dev a\ngid 1",
                "line 2: `gid` needs PORT INDEX ADDRESS TYPE",
            ),
            ("dev a\n\ngid 1 1 x 2", "line 3: the address is no GID"),
            ("dev a\ngid 999 1 ::1 2", "line 2: the port is no number"),
            ("dev", "line 1: no device is named"),
        ] {
            assert_eq!(parse(text).expect_err("wrong"), error);
        }
    }
}
