//! A table of cables, as CSV with a header: one cable a line, with the device and the port at each end.
//!
//! | column | names that are known |
//! |---|---|
//! | device at one end | `a`, `a_device`, `device_a`, `side_a_device`, `local_device` |
//! | its port, may be missing | `a_port`, `port_a`, `a_interface`, `side_a_name`, `local_port` |
//! | what it is, may be missing | `a_kind`, `kind_a`: `host` or `switch` |
//!
//! and the same with `b` or `remote` for the other end. Further columns are ignored. Capitals, spaces and hyphens in names of columns
//! make no difference.

use std::collections::{BTreeSet, HashSet};

use super::{Hosts, ImportError, Imported, checked, listed, named};
use crate::topology::wiring::file::Link;

/// How it is said which devices are hosts.
#[derive(Debug, Clone, Default)]
pub struct HostPatterns(Vec<String>);

impl HostPatterns {
    /// Names with `*` for any letters.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(patterns.into_iter().collect())
    }

    fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| is_like(pattern, name))
    }
}

/// Whether a name is like a pattern with `*` for any letters.
fn is_like(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(end)
}

/// Where the columns of one end are.
#[derive(Debug, Clone, Copy)]
struct Side {
    device: usize,
    port: Option<usize>,
    kind: Option<usize>,
}

/// One end of a cable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct End {
    device: String,
    port: Option<String>,
    is_host: bool,
}

/// Reads the table.
///
/// # Errors
/// [`ImportError`] names the line.
pub fn import(text: &str, hosts: &HostPatterns) -> Result<Imported, ImportError> {
    let mut records = records(text)?.into_iter();
    let Some((line, header)) = records.next() else {
        return Err(ImportError::Whole("the file is empty".to_owned()));
    };
    let sides = [
        side(&header, ["a", "local"], line)?,
        side(&header, ["b", "remote"], line)?,
    ];
    if hosts.0.is_empty() && sides.iter().any(|side| side.kind.is_none()) {
        let why = "nothing says which devices are hosts: name them by --host 'PATTERN' (such as 'node*'), or in the columns a_kind and \
                   b_kind";
        return Err(ImportError::Whole(why.to_owned()));
    }
    let mut table = Table::default();
    for (line, record) in records {
        if record.len() != header.len() {
            let why = format!("has {} fields, the header {}", record.len(), header.len());
            return Err(ImportError::line(line, why));
        }
        let [a, b] = sides.map(|side| end(&record, side, hosts, line));
        table.add(line, a?, b?)?;
    }
    table.finish()
}

/// The columns of one end, by how their names begin or end.
fn side(header: &[String], ends: [&str; 2], line: usize) -> Result<Side, ImportError> {
    let [letter, word] = ends;
    let column = |names: &[String]| header.iter().position(|name| names.contains(&plain(name)));
    let called = |what: &str| {
        [
            format!("{letter}{what}"),
            format!("{what}{letter}"),
            format!("side{letter}{what}"),
            format!("{word}{what}"),
        ]
    };
    let mut device = called("device").to_vec();
    device.push(letter.to_owned());
    let ports = ["port", "interface", "name"].map(called).concat();
    let Some(device) = column(&device) else {
        let why = format!(
            "the header has no column `{letter}` (or `{letter}_device`): expected such as a,a_port,b,b_port"
        );
        return Err(ImportError::line(line, why));
    };
    Ok(Side {
        device,
        port: column(&ports),
        kind: column(&called("kind")),
    })
}

/// A name of a column in small letters and digits alone.
fn plain(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

fn end(
    record: &[String],
    side: Side,
    hosts: &HostPatterns,
    line: usize,
) -> Result<End, ImportError> {
    let device = named(line, "device", record[side.device].trim())?;
    let port = side
        .port
        .map(|at| record[at].trim())
        .filter(|port| !port.is_empty());
    let kind = side.kind.map(|at| record[at].trim().to_ascii_lowercase());
    let is_host = match kind.as_deref() {
        Some("host" | "server") => true,
        Some("switch") => false,
        None | Some("") => hosts.matches(&device),
        Some(other) => {
            let why = format!("`{other}` is not a kind of device: write host or switch");
            return Err(ImportError::line(line, why));
        }
    };
    Ok(End {
        port: port.map(|port| named(line, "port", port)).transpose()?,
        device,
        is_host,
    })
}

/// What the lines say.
#[derive(Debug, Default)]
struct Table {
    links: Vec<Link>,
    hosts: Hosts,
    host_names: BTreeSet<String>,
    switch_names: BTreeSet<String>,
    /// Cables with both ports, which may be listed from either end.
    cables: HashSet<[End; 2]>,
    repeated: usize,
}

impl Table {
    fn add(&mut self, line: usize, a: End, b: End) -> Result<(), ImportError> {
        if a.device == b.device {
            let why = format!("`{}` has a cable to itself", a.device);
            return Err(ImportError::line(line, why));
        }
        for end in [&a, &b] {
            let (own, other) = if end.is_host {
                (&mut self.host_names, &self.switch_names)
            } else {
                (&mut self.switch_names, &self.host_names)
            };
            if other.contains(&end.device) {
                let why = format!(
                    "`{}` is a host in one line and a switch in another",
                    end.device
                );
                return Err(ImportError::line(line, why));
            }
            own.insert(end.device.clone());
        }
        if a.port.is_some() && b.port.is_some() {
            let mut cable = [a.clone(), b.clone()];
            cable.sort();
            if !self.cables.insert(cable) {
                self.repeated += 1;
                return Ok(());
            }
        }
        match (a.is_host, b.is_host) {
            (false, false) => self.links.push(Link::new(a.device, b.device)),
            (true, false) => self.hosts.add(&a.device, a.port.as_deref(), &b.device),
            (false, true) => self.hosts.add(&b.device, b.port.as_deref(), &a.device),
            (true, true) => {
                let why = format!("a cable joins the hosts `{}` and `{}`", a.device, b.device);
                return Err(ImportError::line(line, why));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Imported, ImportError> {
        let mut notes = vec![
            "the addresses by which switches answer traces are not known: add them under `switches`"
                .to_owned(),
        ];
        if self.repeated > 0 {
            notes.push(format!(
                "{} cables are listed from both ends: they count once",
                self.repeated
            ));
        }
        if self.switch_names.is_empty() && self.host_names.is_empty() {
            let why = "there is no cable: the header is all";
            return Err(ImportError::Whole(why.to_owned()));
        }
        if self.hosts.0.is_empty() {
            let why = format!(
                "none of the devices is a host: {}; --host 'PATTERN' says which are",
                listed(self.switch_names.iter().map(String::as_str))
            );
            return Err(ImportError::Whole(why));
        }
        checked(self.links, &self.hosts, notes)
    }
}

/// The records with their lines; quotes as RFC 4180 has them. Empty lines are left out.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, ImportError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut records = Vec::new();
    let (mut line, mut start) = (1, 1);
    let (mut record, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\n' {
            line += 1;
        }
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if is_quoted => {
                is_quoted = false;
                if letters
                    .peek()
                    .is_some_and(|next| !matches!(next, ',' | '\n' | '\r'))
                {
                    return Err(ImportError::line(line, "text follows a closing quote"));
                }
            }
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\r' if !is_quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                records.push((start, std::mem::take(&mut record)));
                start = line;
            }
            _ => field.push(letter),
        }
    }
    if is_quoted {
        return Err(ImportError::line(start, "a quote is not closed"));
    }
    record.push(field);
    records.push((start, record));
    records.retain(|(_, record)| record.iter().any(|field| !field.trim().is_empty()));
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, is) in [
            ("node*", "node17", true),
            ("node*", "leafnode", false),
            ("*-gpu*", "rack1-gpu7", true),
            ("*gpu", "gpu", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("node1", "node17", false),
        ] {
            assert_eq!(is_like(pattern, name), is, "{pattern} {name}");
        }
    }
}
