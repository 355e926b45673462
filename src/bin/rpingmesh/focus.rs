//! `rpingmesh focus`.

use std::fmt::Write as _;

use clap::Args;
use rpingmesh::api::focus::{Focus, FocusQuery, Question};
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};

/// Suspects of a question that are named.
const MOST_SUSPECTS: usize = 3;

/// What `focus` takes.
#[derive(Debug, Args)]
pub(crate) struct FocusArgs {
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) fn main(args: &FocusArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let focus = api::block_on(async { analyzer.ask(&FocusQuery::default()).await })?;
    if args.api.json {
        return api::print_json(&focus);
    }
    api::print(&describe(&focus))
}

/// In one line.
pub(crate) fn summary(focus: &Focus) -> String {
    if !focus.is_on {
        return "focus is off: the analyzer's key focus_controller is not set".to_owned();
    }
    let Some(until) = focus.until_unix_ns else {
        return "focus asks for nothing: no probe would tell more about a suspect".to_owned();
    };
    let left = until.saturating_sub(focus.now_unix_ns).max(0) as f64 / 1e9;
    let mut text = format!(
        "focus      {} 5-tuples, {:.1} probes/s more, for {left:.1} s unless it is asked for again",
        focus.tuples, focus.probes_per_second
    );
    if let Some(passed) = &focus.controller {
        let _ = write!(text, "; the controller passed on {}", passed.passed_on);
        for (count, why) in [
            (passed.unknown, "of unknown RNICs"),
            (passed.beyond, "beyond its budgets"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} were {why}");
            }
        }
    }
    text
}

/// With what is asked about.
pub(crate) fn describe(focus: &Focus) -> String {
    let mut text = summary(focus);
    if focus.until_unix_ns.is_none() || focus.questions.is_empty() {
        return text;
    }
    text.push_str("\n\nPROBES/S  5-TUPLES  INCIDENT  SUSPECTS");
    for question in &focus.questions {
        let incident = question
            .incident
            .map_or_else(|| "-".to_owned(), |id| id.to_string());
        let _ = write!(
            text,
            "\n{:>8.1}  {:>8}  {incident:>8}  {}",
            question.probes_per_second,
            question.tuples,
            suspects(question)
        );
    }
    text
}

/// The suspects of a question with their probabilities.
pub(crate) fn suspects(question: &Question) -> String {
    let named = question.suspects.iter().take(MOST_SUSPECTS);
    let mut names: Vec<String> = named
        .map(|suspect| {
            let percent = suspect.probability * 100.0;
            format!("{} ({percent:.0} %)", suspect.component)
        })
        .collect();
    let more = question.suspects.len().saturating_sub(MOST_SUSPECTS);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(" or ")
}

#[cfg(test)]
pub(crate) mod tests {
    use rpingmesh::api::component::Component;
    use rpingmesh::api::focus::{Passed, Suspect};

    use super::*;

    fn suspect(from: &str, to: &str, probability: f64) -> Suspect {
        Suspect {
            component: Component::Link {
                from: from.to_owned(),
                to: to.to_owned(),
            },
            probability,
        }
    }

    /// Two questions, of which one belongs to an incident.
    pub(crate) fn focus() -> Focus {
        Focus {
            now_unix_ns: 1_000_000_000,
            is_on: true,
            until_unix_ns: Some(5_200_000_000),
            tuples: 14,
            probes_per_second: 31.5,
            controller: Some(Passed {
                at_unix_ns: 900_000_000,
                passed_on: 13,
                unknown: 1,
                beyond: 0,
            }),
            questions: vec![
                Question {
                    suspects: vec![
                        suspect("spine1", "tor3", 0.52),
                        suspect("tor3", "spine1", 0.47),
                    ],
                    tuples: 12,
                    probes_per_second: 30.0,
                    entropy: 0.7,
                    information: 0.2,
                    incident: Some(7),
                },
                Question {
                    suspects: vec![suspect("tor0", "spine2", 0.04)],
                    tuples: 2,
                    probes_per_second: 1.5,
                    entropy: 0.1,
                    information: 0.01,
                    incident: None,
                },
            ],
        }
    }

    #[test]
    fn what_is_probed_more_is_told_with_its_reason() {
        insta::assert_snapshot!(describe(&focus()), @r"
        focus      14 5-tuples, 31.5 probes/s more, for 4.2 s unless it is asked for again; the controller passed on 13, 1 were of unknown RNICs

        PROBES/S  5-TUPLES  INCIDENT  SUSPECTS
            30.0        12         7  link spine1->tor3 (52 %) or link tor3->spine1 (47 %)
             1.5         2         -  link tor0->spine2 (4 %)
        ");
        let nothing = Focus {
            until_unix_ns: None,
            questions: Vec::new(),
            ..focus()
        };
        let off = Focus {
            is_on: false,
            ..nothing.clone()
        };
        let lines = [describe(&nothing), describe(&off)].join("\n");
        insta::assert_snapshot!(lines, @r"
        focus asks for nothing: no probe would tell more about a suspect
        focus is off: the analyzer's key focus_controller is not set
        ");
    }
}
