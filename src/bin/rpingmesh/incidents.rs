//! `rpingmesh incidents`.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use rpingmesh::config::program::Failure;
use serde_json::Value;

use crate::api::{self, ApiArgs};

/// Which incidents.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Open,
    Closed,
    All,
}

/// What `incidents` takes.
#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    /// Explain this one [default: list all]
    #[arg(value_name = "NUMBER")]
    id: Option<u64>,
    #[command(flatten)]
    api: ApiArgs,
    /// Which to list [default: open]
    #[arg(long, value_enum)]
    state: Option<State>,
    /// At most so many, the newest first [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

pub(crate) fn main(args: &IncidentsArgs) -> Result<(), Failure> {
    let url = args.api.url()?;
    let state = match args.state.unwrap_or(State::Open) {
        State::Open => "open",
        State::Closed => "closed",
        State::All => "all",
    };
    let query = match args.id {
        Some(id) => format!("incidents?id={id}"),
        None => format!(
            "incidents?state={state}&limit={}",
            args.limit.unwrap_or(100)
        ),
    };
    let (answer, status) = api::block_on(async {
        Ok((
            api::read(&url, &query).await?,
            api::read(&url, "status").await?,
        ))
    })?;
    let now = status["now_unix_ns"].as_i64().unwrap_or_default();
    let incidents = api::list(&answer, "/incidents");
    if args.api.json {
        return incidents
            .iter()
            .try_for_each(|incident| api::print(&incident.to_string()));
    }
    match (args.id, incidents) {
        (Some(id), []) => Err(Failure::run(format!(
            "there is no incident {id}; `rpingmesh incidents --state all` lists them"
        ))),
        (Some(_), [incident, ..]) => api::print(&explain(incident, now)),
        (None, []) => api::print("no incident"),
        (None, all) => all
            .iter()
            .try_for_each(|incident| api::print(&line(incident, now))),
    }
}

/// One line about an incident.
pub(crate) fn line(incident: &Value, now: i64) -> String {
    let opened = incident["opened_unix_ns"].as_i64().unwrap_or_default();
    let state = match incident["closed_unix_ns"].as_i64() {
        Some(closed) => format!("closed {} ago", api::ago(now, closed)),
        None => "open".to_owned(),
    };
    format!(
        "{:>5}  {}  {:<14} {:>7} ago  {state}  {}",
        api::number(incident, "/id"),
        api::text(incident, "/severity"),
        api::text(incident, "/category"),
        api::ago(now, opened),
        api::text(incident, "/title"),
    )
}

/// All about an incident.
pub(crate) fn explain(incident: &Value, now: i64) -> String {
    let mut text = line(incident, now);
    let confidence = incident["confidence"].as_f64().unwrap_or_default();
    let _ = write!(text, "\n\nconfidence {confidence:.3}");
    for service in api::list(incident, "/services") {
        let suffers = if service["suffers"].as_bool() == Some(true) {
            "suffers"
        } else {
            "has paths across it, and does not suffer"
        };
        let _ = write!(
            text,
            "\nservice    {} {suffers}",
            api::text(service, "/name")
        );
    }
    text.push_str("\nevidence");
    for evidence in api::list(incident, "/evidence") {
        let _ = write!(text, "\n  {}", evidence.as_str().unwrap_or_default());
    }
    text
}
