//! What the checks of steps came to: counted from their output, with what failed and why in one place for the end.

/// The most that is kept of what a failed check said.
const MOST_SAID: usize = 300;

/// Checks counted so far, and what the steps reported.
#[derive(Debug, Default)]
pub(super) struct Tally {
    passed: usize,
    failures: Vec<String>,
    /// What was measured.
    pub(super) reports: Vec<String>,
    /// The output of a check that has no result yet.
    said: Option<String>,
}

impl Tally {
    /// Takes note of a line that a step on that node printed; true when the line is one of ours and worth showing.
    pub(super) fn line(&mut self, node: &str, step: &str, line: &str) -> bool {
        if line.starts_with("ok - ") {
            self.passed += 1;
        } else if let Some(check) = line.strip_prefix("not ok - ") {
            let said = self.said.take().map(|said| format!(" ({said})"));
            self.fail(format!(
                "{node}, {step}: {check}{}",
                said.unwrap_or_default()
            ));
        } else if let Some(report) = line.strip_prefix("report - ") {
            self.reports.push(report.to_owned());
            return true;
        } else {
            self.said = line
                .strip_prefix("# ")
                .map(|said| said.chars().take(MOST_SAID).collect());
            return false;
        }
        self.said = None;
        true
    }

    pub(super) fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts what went wrong.
    pub(super) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    pub(super) fn failed(&self) -> usize {
        self.failures.len()
    }

    /// Shows the result; gives what failed.
    pub(super) fn finish(self) -> Vec<String> {
        if !self.reports.is_empty() {
            println!("measured (not asserted):");
            for report in &self.reports {
                println!("  {report}");
            }
        }
        if !self.failures.is_empty() {
            println!("failed:");
            for failure in &self.failures {
                println!("  {failure}");
            }
        }
        println!("{} passed, {} failed", self.passed, self.failures.len());
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        for line in output.lines() {
            tally.line("host-b", "late", line);
        }
        tally
    }

    #[test]
    fn failures_name_node_step_check_and_the_last_that_was_said() {
        let tally = tally("ok - a\n# one\n# two\nnot ok - b\nnot ok - c\nreport - 5 ms\n");
        assert_eq!(tally.reports, ["5 ms"]);
        assert_eq!(
            (tally.passed, tally.finish()),
            (
                1,
                vec![
                    "host-b, late: b (two)".to_owned(),
                    "host-b, late: c".to_owned()
                ]
            )
        );
    }

    #[test]
    fn what_another_check_said_is_not_taken_for_it() {
        let failures =
            tally("# of a\nok - a\nnot ok - b\n# of c\nsomething\nnot ok - c\n").finish();
        assert_eq!(failures, ["host-b, late: b", "host-b, late: c"]);
    }

    #[test]
    fn long_words_are_cut() {
        let failures = tally(&format!("# {}\nnot ok - a\n", "ä".repeat(5_000))).finish();
        assert_eq!(
            failures[0].chars().count(),
            "host-b, late: a ()".len() + MOST_SAID
        );
    }
}
