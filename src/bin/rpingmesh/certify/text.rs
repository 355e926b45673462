//! A report for people, on a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use rpingmesh::analysis::certify::{CONFIDENCE, LinkResult, LinkState, Report, Verdict};
use rpingmesh::config::HumanDuration;
use rpingmesh::time::Nanos;

/// Links that are listed.
const MOST_LISTED: usize = 10;

/// A span in whole minutes, or seconds below one minute.
pub(super) fn span(nanos: i64) -> String {
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or_default();
    let whole = if seconds < 60 {
        seconds
    } else {
        seconds.div_ceil(60) * 60
    };
    HumanDuration(Duration::from_secs(whole)).to_string()
}

/// How long it takes, before it has begun.
pub(super) fn beforehand(report: &Report) -> String {
    let percent = CONFIDENCE * 100.0;
    let what = format!(
        "{} links, each to be shown to lose at most {:e} of its packets (at {percent} %)",
        report.links.len(),
        report.loss
    );
    let how_long = match (report.verdict, report.left_ns, report.slowest()) {
        (Verdict::Accepted, ..) => "that is shown already".to_owned(),
        (_, None, _) => {
            "how long that takes is not known yet: no probe with a known path has come in"
                .to_owned()
        }
        (_, Some(Nanos(0)), None) => "no link is being counted: see the report".to_owned(),
        (_, Some(Nanos(left)), slowest) => {
            let slowest = slowest.map(|link| format!("; {}->{} needs longest", link.from, link.to));
            format!(
                "at today's rates that takes about {}{}",
                span(left),
                slowest.unwrap_or_default()
            )
        }
    };
    format!("{what}\n{how_long}")
}

/// One line while it goes on.
pub(super) fn progress(report: &Report) -> String {
    let left = match report.left_ns {
        Some(Nanos(left)) => format!("about {} left", span(left)),
        None => "time left not known".to_owned(),
    };
    let mut text = format!(
        "{} of {} links shown, {left}",
        report.proven,
        report.links.len()
    );
    if !report.faults.is_empty() {
        let _ = write!(text, ", {} faults", report.faults.len());
    }
    text
}

/// Whether no link is left of which more probes would tell.
pub(super) fn is_rest_proven(report: &Report) -> bool {
    report.probes > 0
        && report
            .links
            .iter()
            .all(|link| link.state != LinkState::Open)
}

/// The verdict in words.
pub(super) fn verdict(report: &Report) -> &'static str {
    match report.verdict {
        Verdict::Accepted => "ACCEPTED: nothing is wrong, and every link loses less than the bound",
        Verdict::Faults => "NOT ACCEPTED: faults were found",
        Verdict::Open => {
            "NOT DECIDED: nothing is wrong so far, but there is not enough evidence for every link"
        }
    }
}

/// A state in a word.
pub(super) const fn state(state: LinkState) -> &'static str {
    match state {
        LinkState::Faulty => "faulty",
        LinkState::Unseen => "unseen",
        LinkState::Open => "open",
        LinkState::Proven => "shown",
    }
}

/// The report.
pub(super) fn report(report: &Report) -> String {
    let mut text = format!("{}\n", verdict(report));
    let _ = writeln!(
        text,
        "{} RNICs, {} links: {} shown to lose at most {:e} at {} %; {} probes with known paths over {}, {} lost",
        report.rnics,
        report.links.len(),
        report.proven,
        report.loss,
        CONFIDENCE * 100.0,
        report.probes,
        span(report.covered_ns),
        report.lost
    );
    if !report.faults.is_empty() {
        let _ = writeln!(text, "\nfaults");
    }
    for fault in &report.faults {
        let _ = writeln!(text, "  {}", fault.text);
    }
    let left: Vec<&LinkResult> = report
        .links
        .iter()
        .filter(|link| link.state != LinkState::Proven)
        .collect();
    if !left.is_empty() {
        let _ = writeln!(text, "\nlinks that are not shown to be below the bound");
    }
    for link in left.iter().take(MOST_LISTED) {
        let _ = writeln!(
            text,
            "  {:<6}  {}->{}  at most {:.1e} ({} of {} lost)",
            state(link.state),
            link.from,
            link.to,
            link.bound,
            link.lost,
            link.sent
        );
    }
    if left.len() > MOST_LISTED {
        let _ = writeln!(
            text,
            "  and {} more (--json, --html)",
            left.len() - MOST_LISTED
        );
    }
    for (heading, lines) in [
        ("notes", &report.notes),
        ("not checked", &report.not_checked),
    ] {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{heading}");
        }
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text.trim_end().to_owned()
}
