//! `rpingmesh status` and `top`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use rpingmesh::config::Span;
use rpingmesh::config::program::{Failure, stop_on_signal};
use rpingmesh::rpc::http::Url;
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
    let url = args.api.url()?;
    let status = api::block_on(async { api::read(&url, "status").await })?;
    if args.api.json {
        return api::print(&status.to_string());
    }
    api::print(&describe(&status))
}

fn describe(status: &Value) -> String {
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

/// What `top` takes.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// How often to look [default: 2s]
    #[arg(long, value_name = "DURATION")]
    interval: Option<Span>,
    /// Stop after so many looks [default: go on]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

const INTERVAL: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) fn top(args: &TopArgs) -> Result<(), Failure> {
    let url = args.api.url()?;
    let interval = args.interval.map_or(INTERVAL, |span| span.0);
    let clear = io::stdout().is_terminal() && !args.api.json;
    api::block_on(async {
        let stop = stop_on_signal().map_err(Failure::run)?;
        let mut looks = 0;
        loop {
            let text = look(&url, args.api.json).await?;
            api::print(&format!("{}{text}", if clear { CLEAR } else { "" }))?;
            looks += 1;
            if args.count.is_some_and(|count| looks >= count) {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    })
}

async fn look(url: &Url, json: bool) -> Result<String, Failure> {
    let status = api::read(url, "status").await?;
    let open = api::read(url, "incidents?state=open").await?;
    if json {
        let both = serde_json::json!({ "status": status, "incidents": open["incidents"] });
        return Ok(both.to_string());
    }
    let now = status["now_unix_ns"].as_i64().unwrap_or_default();
    let mut text = describe(&status);
    text.push('\n');
    for incident in api::list(&open, "/incidents") {
        let _ = write!(text, "\n{}", incidents::line(incident, now));
    }
    Ok(text)
}
