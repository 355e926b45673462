//! `rpingmesh status`.

use std::fmt::Write as _;

use clap::Args;
use rpingmesh::api::incidents::{IncidentsQuery, Wanted};
use rpingmesh::api::query::{Choice, IncidentPageSize};
use rpingmesh::api::status::{Status, StatusQuery};
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};
use crate::incidents;

/// What `status` takes.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) fn main(args: &StatusArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let newest = IncidentsQuery {
        state: Some(Choice(Wanted::Open)),
        limit: IncidentPageSize::new(MOST_LISTED),
        ..IncidentsQuery::default()
    };
    let (status, open) = api::block_on(async {
        let status = analyzer.ask(&StatusQuery::default()).await?;
        Ok((status, analyzer.ask(&newest).await?.incidents))
    })?;
    if args.api.json {
        return api::print_json(&status);
    }
    let mut text = describe(&status);
    if !open.is_empty() {
        let _ = write!(text, "\n\n{}", incidents::HEADING);
    }
    for incident in &open {
        let _ = write!(text, "\n{}", incidents::line(incident, status.now_unix_ns));
    }
    api::print(&text)
}

/// Open incidents that are listed below the numbers, the newest first.
const MOST_LISTED: u64 = 10;

/// In a few lines.
pub(crate) fn describe(status: &Status) -> String {
    let Status {
        incidents,
        probes,
        paths,
        judge,
        topology,
        alerts,
        ..
    } = status;
    let mut text = format!(
        "incidents  {} open: {} P0, {} P1, {} P2\nagents     {} on {} hosts with {} RNICs under {} ToRs",
        incidents.open,
        incidents.p0,
        incidents.p1,
        incidents.p2,
        status.agents,
        status.hosts,
        status.rnics,
        status.tors,
    );
    let versions: Vec<_> = status
        .agent_versions
        .iter()
        .map(|one| match &one.version {
            None => format!("{} unknown", one.agents),
            Some(version) => format!("{} of {version}", one.agents),
        })
        .collect();
    match versions.len() {
        0 => {}
        1 => {
            let _ = write!(text, "\nversions   {}", versions.join(""));
        }
        _ => {
            let _ = write!(text, "\nVERSIONS   mixed: {}", versions.join(", "));
        }
    }
    let lost = api::share(probes.lost, probes.judged);
    let _ = write!(text, "\nprobes     {lost} lost in the last 20 s");
    for (reason, counts) in &probes.set_aside {
        let _ = write!(
            text,
            "\nset aside  {} more, {} of them lost: {reason}",
            counts.sent, counts.lost
        );
    }
    let _ = write!(
        text,
        "\npaths      {} traced, {} by candidates, {} unknown\njudge      run {} took {:.1} ms",
        paths.traced,
        paths.candidates,
        paths.unknown,
        judge.runs,
        judge.took_ns as f64 / 1e6,
    );
    if incidents.waiting_for_store > 0 {
        let _ = write!(
            text,
            "\nSTORE      {} changes of incidents cannot be stored; see the analyzer's log",
            incidents.waiting_for_store
        );
    }
    if alerts.waiting > 0 {
        let _ = write!(
            text,
            "\nALERTS     {} not taken yet by {} receivers; see the analyzer's log",
            alerts.waiting, alerts.receivers
        );
    }
    for difference in &topology.differences {
        let _ = write!(text, "\ntopology   {difference}");
    }
    for rnic in &topology.contradicted_rnics {
        let _ = write!(
            text,
            "\ntopology   reports say that {rnic} is elsewhere than its own agent does"
        );
    }
    text
}
