//! Lines of comma-separated values (RFC 4180).

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use super::cell::{Cell, Column};

/// A table in lines, the first one with the names of the columns.
pub(super) struct Csv<W: Write> {
    out: W,
}

impl<W: Write> Csv<W> {
    pub(super) fn begin(columns: &[Column], out: W) -> io::Result<Self> {
        let mut csv = Self { out };
        csv.row(columns.iter().map(|column| column.name.into()).collect())?;
        Ok(csv)
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.out.write_all(line(cells).as_bytes())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
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
            Cell::Integer(number) => text += &number.to_string(),
            Cell::Real(number) => text += &number.to_string(),
            Cell::Time(unix_ns) => text += &utc(unix_ns),
            Cell::Nothing => {}
            Cell::Text(value) => add_text(&value, &mut text),
        }
    }
    text + "\r\n"
}

/// A point in time, to the second.
fn utc(unix_ns: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(u64::try_from(unix_ns).unwrap_or_default());
    humantime::format_rfc3339_seconds(at).to_string()
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
