//! The table at the end.

use std::fmt::Write as _;
use std::time::Duration;

/// What was seen after one of the kills.
pub(super) struct Row {
    pub(super) what: String,
    /// Until all agents uploaded again.
    pub(super) took: Duration,
    /// Who judged then.
    pub(super) judge: String,
    /// What was open.
    pub(super) incident: u64,
    /// Those that the judge had.
    pub(super) batches: u64,
}

const HEAD: [&str; 5] = [
    "what was killed",
    "all upload after",
    "judge",
    "incident",
    "batches, none missing",
];

/// Rows below their heads.
pub(super) fn table(rows: &[Row]) -> String {
    let rows = rows.iter().map(|row| {
        [
            row.what.clone(),
            format!("{:.1} s", row.took.as_secs_f64()),
            row.judge.clone(),
            format!("{} is open", row.incident),
            row.batches.to_string(),
        ]
    });
    let all: Vec<_> = std::iter::once(HEAD.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut text = "\n".to_owned();
    for row in &all {
        for (at, cell) in row.iter().enumerate() {
            let width = all.iter().map(|row| row[at].chars().count()).max();
            let _ = write!(text, "{cell:width$}  ", width = width.unwrap_or_default());
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_heads() {
        let row = Row {
            what: "analyzer B, which judges".to_owned(),
            took: Duration::from_millis(3_456),
            judge: "analyzer C".to_owned(),
            incident: 7,
            batches: 421,
        };
        let expected = "\n\
            what was killed           all upload after  judge       incident   batches, none missing\n\
            analyzer B, which judges  3.5 s             analyzer C  7 is open  421\n\n";
        assert_eq!(table(&[row]), expected);
    }
}
