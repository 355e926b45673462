//! Counts of lines in the format of LCOV (`geninfo(1)`: `SF:` names a file, `DA:` a line and how often it was run).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// How often each line of a file was run, by its number from 1.
pub(super) type Counts = BTreeMap<u32, u64>;

/// The counts of the files that `name` knows, by the names that it gives. Lines of unit tests, which end a file, are left out.
pub(super) fn read(
    report: &str,
    name: impl Fn(&Path) -> Option<String>,
) -> Result<BTreeMap<String, Counts>> {
    let mut files: BTreeMap<String, Counts> = BTreeMap::new();
    let mut current = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path);
            current = match name(path) {
                Some(name) => Some((name, first_of_tests(path)?)),
                None => None,
            };
        } else if let Some((name, tests)) = &current
            && let Some((number, count)) = counted(line)
            && number < *tests
        {
            let counts = files.entry(name.clone()).or_default();
            *counts.entry(number).or_default() += count;
        }
    }
    Ok(files)
}

/// `DA:<line number>,<execution count>[,<checksum>]`
fn counted(line: &str) -> Option<(u32, u64)> {
    let mut fields = line.strip_prefix("DA:")?.split(',');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The line at which the unit tests in a file begin; none has this number where there are none.
fn first_of_tests(path: &Path) -> Result<u32> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(tests_in(&text))
}

fn tests_in(text: &str) -> u32 {
    let lines: Vec<&str> = text.lines().collect();
    (1..)
        .zip(lines.windows(2))
        .find(|(_, pair)| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"))
        .map_or(u32::MAX, |(number, _)| number)
}

/// The percentage of all lines that were run, and a table of the files.
pub(super) fn table(files: &BTreeMap<String, Counts>, missing: bool) -> (f64, String) {
    let mut text = format!("{:>5} {:>5}   {:>5}  file\n", "lines", "run", "%");
    let (mut lines, mut run) = (0, 0);
    for (name, counts) in files {
        let hit = counts.values().filter(|count| **count > 0).count();
        row(&mut text, counts.len(), hit, name);
        if missing && hit < counts.len() {
            let _ = writeln!(text, "               not run: {}", ranges(counts));
        }
        lines += counts.len();
        run += hit;
    }
    row(&mut text, lines, run, "all");
    (percent(lines, run), text)
}

fn row(text: &mut String, lines: usize, run: usize, name: &str) {
    let part = percent(lines, run);
    // Writing to text does not fail.
    let _ = writeln!(text, "{lines:>5} {run:>5}   {part:>5.1}  {name}");
}

#[expect(clippy::cast_precision_loss, reason = "files have few lines")]
fn percent(lines: usize, run: usize) -> f64 {
    if lines == 0 {
        return 0.0;
    }
    run as f64 * 100.0 / lines as f64
}

/// The lines that were not run; what counts between the first and the last of a range was run neither.
fn ranges(counts: &Counts) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    let mut open = false;
    for (number, count) in counts {
        match (count, ranges.last_mut()) {
            (0, Some(last)) if open => last.1 = *number,
            (0, _) => ranges.push((*number, *number)),
            _ => {}
        }
        open = *count == 0;
    }
    let texts: Vec<_> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_programs_are_added_up_and_tests_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.rs");
        fs::write(&path, "fn a() {\n}\n\n#[cfg(test)]\nmod tests {\n}\n").expect("written");
        let file = format!("SF:{}\n", path.display());
        let report = format!(
            "{file}DA:1,0\nDA:2,3\nDA:5,7\nend_of_record\nSF:/other\nDA:1,9\n{file}DA:1,2\n"
        );
        let known = |path: &Path| path.ends_with("a.rs").then(|| "a.rs".to_owned());
        let files = read(&report, known).expect("read");
        assert_eq!(
            files,
            BTreeMap::from([("a.rs".to_owned(), Counts::from([(1, 2), (2, 3)]))])
        );
    }

    #[test]
    fn files_that_are_gone_are_an_error() {
        assert!(read("SF:/none/such.rs\n", |_| Some("a".to_owned())).is_err());
        assert_eq!(counted("DA:x,1"), None);
        assert_eq!(counted("LF:7"), None);
        assert_eq!(counted("DA:7,1,abc"), Some((7, 1)));
    }

    #[test]
    fn the_table_says_what_was_not_run() {
        let counts = Counts::from([(1, 1), (2, 0), (4, 0), (5, 9), (9, 0)]);
        let files = BTreeMap::from([("a.rs".to_owned(), counts)]);
        let (total, text) = table(&files, true);
        assert!((total - 40.0).abs() < 1e-9);
        assert!(text.contains("    5     2    40.0  a.rs\n"), "{text}");
        assert!(text.contains("not run: 2-4, 9\n"), "{text}");
        assert!(!table(&files, false).1.contains("not run"));
        assert!(table(&BTreeMap::new(), true).0 < 1.0);
    }
}
