//! What the lab prints of incidents.

use std::fmt::Write as _;

use serde::Serialize;

use super::check::Check;
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;

/// An incident was opened, changed or closed while the lab ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IncidentLine {
    /// Since the start.
    pub elapsed_ns: u64,
    /// opened, updated or closed.
    pub change: &'static str,
    /// Its number.
    pub id: u64,
    /// How bad it is.
    pub severity: &'static str,
    /// What is wrong.
    pub category: &'static str,
    /// In one line.
    pub title: String,
    /// Probes are under way that will tell which of its alternatives it is.
    pub deciding: bool,
}

impl IncidentLine {
    /// For people.
    pub fn text(&self) -> String {
        let deciding = if self.deciding { " (deciding)" } else { "" };
        format!(
            "         incident {} {} [{} {}]: {}{deciding}",
            self.id, self.change, self.severity, self.category, self.title
        )
    }
}

/// An incident of the whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LocatedJson {
    /// What it is about: `kind` with `from` and `to`, with `name`, or with `host` and `device`.
    #[serde(flatten)]
    pub subject: Component,
    /// What it may be instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<Component>,
    /// What is wrong.
    pub category: &'static str,
    /// How bad it is.
    pub severity: &'static str,
    /// In one line.
    pub title: String,
    /// How sure this is, 0 to 1.
    pub confidence: f64,
    /// When it was opened, since the start.
    pub opened_ns: u64,
    /// When it was closed, since the start; `null` if it was open at the end.
    pub closed_ns: Option<u64>,
    /// The injected fault that it is about.
    pub fault: Option<String>,
    /// How long after that began.
    pub delay_ns: Option<u64>,
    /// Whether subject and category are right; `null` where it is about a host and nothing was injected there, since a busy machine starves
    /// the lab's hosts too.
    pub right: Check,
    /// Titles of what it stands for or explains: subjects of a group, and incidents that the analyzer had opened before it knew
    /// the cause, and closed then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub explains: Vec<String>,
    /// Subjects that a group stood for at most; 0 where it is about one.
    #[serde(skip_serializing_if = "is_zero")]
    pub subjects: u64,
    /// Lines that explain it.
    pub evidence: Vec<String>,
}

/// An injected fault that no incident names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissedJson {
    /// The fault as text.
    pub fault: String,
    /// Whether it is so plain and was there for so long that it should have been named.
    pub must_show: bool,
}

impl MissedJson {
    /// For people, appended.
    pub fn add_to(&self, text: &mut String) {
        let _ = write!(text, "\n\nmissed   {}: nothing names it", self.fault);
        if !self.must_show {
            text.push_str(" (too mild, or there for too short a time, to demand it)");
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl LocatedJson {
    /// Whether it is about a host that the machine under the lab starved, not a fault.
    pub fn is_starved(&self) -> bool {
        self.right == Check::NotComparable && self.category == Category::CpuOverload.name()
    }

    /// For people, appended.
    pub fn add_to(&self, text: &mut String) {
        let verdict = match self.right {
            Check::Right => "right",
            Check::Wrong => "WRONG",
            Check::NotComparable => "a host of the lab",
        };
        let opened = self.opened_ns as f64 / 1e9;
        let _ = write!(
            text,
            "\n\nlocated  {} [{} {}] after {opened:.1} s: {verdict}",
            self.title, self.severity, self.category
        );
        if let (Some(fault), Some(delay)) = (&self.fault, self.delay_ns) {
            let _ = write!(
                text,
                "\n  fault     {fault}, {:.1} s before",
                delay as f64 / 1e9
            );
        }
        for explained in &self.explains {
            let _ = write!(text, "\n  explains  {explained}");
        }
        if let Some(closed) = self.closed_ns {
            let _ = write!(text, "\n  closed    after {:.1} s", closed as f64 / 1e9);
        }
        for line in &self.evidence {
            let _ = write!(text, "\n  {line}");
        }
    }
}
