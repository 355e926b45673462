//! `rpingmesh status`.

use std::fmt::Write as _;

use clap::Args;
use rpingmesh::config::program::Failure;
use serde_json::Value;

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
    let (status, open) = api::block_on(async {
        let status = analyzer.read("status").await?;
        let open = format!("incidents?state=open&limit={MOST_LISTED}");
        Ok((status, analyzer.read(&open).await?))
    })?;
    if args.api.json {
        return api::print(&status.to_string());
    }
    let mut text = describe(&status);
    let now = status["now_unix_ns"].as_i64().unwrap_or_default();
    let open = api::list(&open, "/incidents");
    if !open.is_empty() {
        let _ = write!(text, "\n\n{}", incidents::HEADING);
    }
    for incident in open {
        let _ = write!(text, "\n{}", incidents::line(incident, now));
    }
    api::print(&text)
}

/// Open incidents that are listed below the numbers, the newest first.
const MOST_LISTED: usize = 10;

/// In a few lines.
pub(crate) fn describe(status: &Value) -> String {
    let count = |pointer: &str| api::number(status, pointer);
    let mut text = format!(
        "incidents  {} open: {} P0, {} P1, {} P2\nagents     {} on {} hosts with {} RNICs under {} ToRs",
        count("/incidents/open"),
        count("/incidents/p0"),
        count("/incidents/p1"),
        count("/incidents/p2"),
        count("/agents"),
        count("/hosts"),
        count("/rnics"),
        count("/tors"),
    );
    let versions: Vec<_> = api::list(status, "/agent_versions")
        .iter()
        .map(|one| match api::text(one, "/version") {
            "" => format!("{} unknown", api::number(one, "/agents")),
            version => format!("{} of {version}", api::number(one, "/agents")),
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
    let lost = api::share(count("/probes/lost"), count("/probes/judged"));
    let _ = write!(text, "\nprobes     {lost} lost in the last 20 s");
    if let Some(reasons) = status
        .pointer("/probes/set_aside")
        .and_then(Value::as_object)
    {
        for (reason, counts) in reasons {
            let sent = api::number(counts, "/sent");
            let lost = api::number(counts, "/lost");
            let _ = write!(
                text,
                "\nset aside  {sent} more, {lost} of them lost: {reason}"
            );
        }
    }
    let _ = write!(
        text,
        "\npaths      {} traced, {} by candidates, {} unknown\njudge      run {} took {:.1} ms",
        count("/paths/traced"),
        count("/paths/candidates"),
        count("/paths/unknown"),
        count("/judge/runs"),
        count("/judge/took_ns") as f64 / 1e6,
    );
    if count("/incidents/waiting_for_store") > 0 {
        let _ = write!(
            text,
            "\nSTORE      {} changes of incidents cannot be stored; see the analyzer's log",
            count("/incidents/waiting_for_store")
        );
    }
    if count("/alerts/waiting") > 0 {
        let _ = write!(
            text,
            "\nALERTS     {} not taken yet by {} receivers; see the analyzer's log",
            count("/alerts/waiting"),
            count("/alerts/receivers")
        );
    }
    for difference in api::list(status, "/topology/differences") {
        let _ = write!(
            text,
            "\ntopology   {}",
            difference.as_str().unwrap_or_default()
        );
    }
    for rnic in api::list(status, "/topology/contradicted_rnics") {
        let rnic = rnic.as_str().unwrap_or_default();
        let _ = write!(
            text,
            "\ntopology   reports say that {rnic} is elsewhere than its own agent does"
        );
    }
    text
}
