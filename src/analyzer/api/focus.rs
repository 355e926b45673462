//! `GET /api/v1/focus`.

use crate::analysis::focus::VALID;
use crate::analysis::incident::Incident;
use crate::analysis::judge;
use crate::analyzer::view::View;
use crate::api::focus::{Focus, Passed, Question, Suspect};
use crate::time::{Nanos, WallTime};

/// Suspects of one question in an answer.
const MOST_SUSPECTS: usize = 10;

/// Answers `GET /api/v1/focus`.
pub(in crate::analyzer) fn focus(view: &View, now: WallTime) -> Focus {
    let judgement = &view.judgement;
    let is_asking = view.focus.is_some() && !judgement.asked.is_empty();
    let until = judgement.at.map(|at| at + Nanos::from(VALID));
    Focus {
        now_unix_ns: now.nanos(),
        is_on: view.focus.is_some(),
        until_unix_ns: until.filter(|_| is_asking).map(WallTime::nanos),
        tuples: judgement.asked.len(),
        probes_per_second: judgement.questions.iter().map(|one| one.rate).sum(),
        controller: view
            .focus
            .and_then(|told| told.passed)
            .map(|(at, counts)| Passed {
                at_unix_ns: at.nanos(),
                passed_on: counts.passed_on,
                unknown: counts.unknown,
                beyond: counts.beyond,
            }),
        questions: judgement
            .questions
            .iter()
            .map(|one| question(one, &view.open))
            .collect(),
    }
}

fn question(one: &judge::Question, open: &[Incident]) -> Question {
    Question {
        suspects: one
            .suspects
            .iter()
            .take(MOST_SUSPECTS)
            .map(|(component, probability)| Suspect {
                component: component.into(),
                probability: *probability,
            })
            .collect(),
        tuples: one.tuples,
        probes_per_second: one.rate,
        entropy: one.entropy,
        information: one.information,
        incident: incident(one, open).map(|incident| incident.id),
    }
}

/// The open incident about one of the suspects, the most probable first.
pub(in crate::analyzer) fn incident<'a>(
    question: &judge::Question,
    open: &'a [Incident],
) -> Option<&'a Incident> {
    question.suspects.iter().find_map(|(component, _)| {
        let mut open = open.iter();
        open.find(|incident| incident.suspects().any(|one| one == component))
    })
}

#[cfg(test)]
mod tests;
