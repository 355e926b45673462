//! Lines of comma-separated values (RFC 4180).

use std::time::{Duration, UNIX_EPOCH};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// A text.
    Text(String),
    /// A number in its own digits.
    Number(String),
    /// Nothing is known.
    Nothing,
}

impl Cell {
    /// A point in time in nanoseconds since 1970, in UTC and to the second.
    pub(super) fn time(unix_ns: Option<i64>) -> Self {
        let Some(nanos) = unix_ns.and_then(|nanos| u64::try_from(nanos).ok()) else {
            return Self::Nothing;
        };
        let at = UNIX_EPOCH + Duration::from_nanos(nanos);
        Self::Number(humantime::format_rfc3339_seconds(at).to_string())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Nothing, Self::from)
    }
}

/// One line with its end. Texts with a comma, a quotation mark or a line break are put in quotation marks; one that a
/// spreadsheet would take for a formula gets an apostrophe, since names come from hosts.
pub(super) fn line(cells: impl IntoIterator<Item = Cell>) -> String {
    let mut text = String::new();
    for (number, cell) in cells.into_iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        match cell {
            Cell::Number(digits) => text += &digits,
            Cell::Nothing => {}
            Cell::Text(value) => add_text(&value, &mut text),
        }
    }
    text + "\r\n"
}

fn add_text(value: &str, text: &mut String) {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let needs_marks = value.contains([',', '"', '\n', '\r']);
    if needs_marks {
        text.push('"');
    }
    if is_formula {
        text.push('\'');
    }
    text.extend(value.chars().flat_map(|character| {
        let twice = (character == '"').then_some('"');
        twice.into_iter().chain([character])
    }));
    if needs_marks {
        text.push('"');
    }
}
