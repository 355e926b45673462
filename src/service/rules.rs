//! The operator's own rules for the names of services: by an environment variable of the process, or by its cgroup.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::qp::Owner;
use crate::id::is_printable;

/// The longest value of a variable or part of a path that becomes a part of a name, in bytes.
const MOST_VALUE: usize = 128;
/// The longest rule, in bytes.
const MOST_RULE: usize = 512;
/// The most `*` of a pattern, so that each has one digit.
const MOST_STARS: usize = 9;

/// Names a service if it applies to a process; see [`FromStr`] for its forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    source: Source,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A variable of the process's environment.
    Variable(String),
    /// Folders of its cgroup's path, each with `*` for any characters.
    Cgroup {
        /// Whether the pattern begins at the root of the path.
        from_root: bool,
        folders: Vec<String>,
    },
}

impl Rule {
    /// The name that it gives the service of a process; `None` if it does not apply.
    pub(crate) fn name(&self, owner: &Owner) -> Option<String> {
        let found = match &self.source {
            Source::Variable(wanted) => vec![value(owner, wanted)?],
            Source::Cgroup { from_root, folders } => {
                found_in(owner.cgroup.as_deref()?, *from_root, folders)?
            }
        };
        let usable = |text: &&str| {
            !text.is_empty() && text.len() <= MOST_VALUE && text.chars().all(is_printable)
        };
        found.iter().all(usable).then(|| self.filled(&found))
    }

    /// The variable that it looks at.
    pub fn variable(&self) -> Option<&str> {
        match &self.source {
            Source::Variable(name) => Some(name),
            Source::Cgroup { .. } => None,
        }
    }

    /// The name with its places filled.
    fn filled(&self, found: &[&str]) -> String {
        let mut name = String::new();
        let mut rest = self.name.as_str();
        while let Some((before, digit, after)) = next_place(rest) {
            name.push_str(before);
            name.push_str(found.get(digit - 1).copied().unwrap_or_default());
            rest = after;
        }
        name.push_str(rest);
        name
    }
}

/// The text before the next `{1}` … `{9}`, its digit, and the text behind it.
fn next_place(text: &str) -> Option<(&str, usize, &str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let [b'{', digit @ b'1'..=b'9', b'}'] = text.as_bytes().get(at..at + 3)? else {
            return None;
        };
        Some((&text[..at], usize::from(digit - b'0'), &text[at + 3..]))
    })
}

fn value<'a>(owner: &'a Owner, wanted: &str) -> Option<&'a str> {
    let found = owner.variables.iter().find(|(name, _)| **name == *wanted);
    found.map(|(_, value)| &**value)
}

/// What the stars of a pattern stand for in a path; what lies below the pattern's last folder does not matter.
fn found_in<'a>(path: &'a str, from_root: bool, folders: &[String]) -> Option<Vec<&'a str>> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut windows = parts.windows(folders.len());
    let matched = |window: &[&'a str]| {
        let mut found = Vec::new();
        for (part, folder) in window.iter().zip(folders) {
            let pieces: Vec<_> = folder.split('*').collect();
            found.extend(stars(part, &pieces)?);
        }
        Some(found)
    };
    if from_root {
        return matched(windows.next()?);
    }
    windows.find_map(matched)
}

/// What lies between the pieces of a pattern in a text; each star takes as little as it can.
fn stars<'a>(text: &'a str, pieces: &[&str]) -> Option<Vec<&'a str>> {
    let [first, middle @ .., last] = pieces else {
        return (pieces == [text]).then(Vec::new);
    };
    let mut rest = text.strip_prefix(first)?.strip_suffix(last)?;
    let mut found = Vec::new();
    for piece in middle {
        let at = rest.find(piece)?;
        found.push(&rest[..at]);
        rest = &rest[at + piece.len()..];
    }
    found.push(rest);
    Some(found)
}

impl FromStr for Rule {
    type Err = String;

    /// `env:VARIABLE=NAME` with the variable's value as `{1}`; `cgroup:PATTERN=NAME`, where each `*` of the pattern stands for any
    /// characters of one folder and is `{1}`, `{2}` … in the name. A pattern that begins with `/` begins at the root.
    fn from_str(text: &str) -> Result<Self, String> {
        let fail = |why: &str| {
            let shown = crate::id::shown(text);
            format!(
                "`{shown}` is not a rule such as env:JOB_NAME=batch/{{1}} or cgroup:/batch/job-*=batch/{{1}}: {why}"
            )
        };
        if text.len() > MOST_RULE {
            return Err(fail("it is too long"));
        }
        let (source, name) = text.split_once('=').ok_or_else(|| fail("it has no `=`"))?;
        let (source, places) = if let Some(variable) = source.strip_prefix("env:") {
            (variable_source(variable).map_err(fail)?, 1)
        } else if let Some(pattern) = source.strip_prefix("cgroup:") {
            (
                pattern_source(pattern).map_err(fail)?,
                pattern.matches('*').count(),
            )
        } else {
            return Err(fail("it must begin with env: or cgroup:"));
        };
        check_template(name, places).map_err(fail)?;
        Ok(Self {
            source,
            name: name.to_owned(),
        })
    }
}

fn variable_source(name: &str) -> Result<Source, &'static str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_word) {
        return Err("a variable's name has letters, digits and underscores");
    }
    Ok(Source::Variable(name.to_owned()))
}

fn pattern_source(pattern: &str) -> Result<Source, &'static str> {
    let folders: Vec<String> = pattern
        .split('/')
        .filter(|part| !part.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    if folders.is_empty() {
        return Err("the pattern names no folder");
    }
    if pattern.matches('*').count() > MOST_STARS {
        return Err("a pattern has at most nine *");
    }
    if pattern.contains("**") {
        return Err("between two * of a pattern must be something");
    }
    Ok(Source::Cgroup {
        from_root: pattern.starts_with('/'),
        folders,
    })
}

fn check_template(name: &str, places: usize) -> Result<(), &'static str> {
    if name.is_empty() || !name.chars().all(is_printable) {
        return Err("the name is empty or cannot be printed");
    }
    let mut rest = name;
    while let Some((_, digit, after)) = next_place(rest) {
        if digit > places {
            return Err("the name asks for more than the pattern has");
        }
        rest = after;
    }
    Ok(())
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Variable(name) => write!(f, "env:{name}={}", self.name),
            Source::Cgroup { from_root, folders } => {
                let root = if *from_root { "/" } else { "" };
                write!(f, "cgroup:{root}{}={}", folders.join("/"), self.name)
            }
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests;
