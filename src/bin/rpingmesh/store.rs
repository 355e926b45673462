//! `rpingmesh store`.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use rpingmesh::config::program::Failure;
use rpingmesh::store::Location;
use rpingmesh::store::transfer::{self, Copied, Owner, Progress};
use serde::Serialize;

use crate::api;

/// Between two lines of progress.
const PAUSE: Duration = Duration::from_secs(1);

/// What `store` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy everything from one store to another, which must be empty: from SQLite to PostgreSQL, or back
    ///
    /// Stop the program that works with the store first. What is there afterwards is compared with what was copied. A copy that broke
    /// off is made again by the same command; until it is complete, no program starts with the target.
    Migrate(MigrateArgs),
}

/// What `store migrate` takes.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Where the data is, as in the program's key `store`: sqlite:PATH or postgres://USER@HOST/DATABASE?fleet=NAME
    #[arg(value_name = "FROM", value_parser = location)]
    from: Location,
    /// Where it is to be
    #[arg(value_name = "TO", value_parser = location)]
    to: Location,
    /// Whose data: one database can have both [default: that of the SQLite file]
    #[arg(long, value_enum, value_name = "PROGRAM")]
    of: Option<Of>,
    /// Print what was copied as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    /// Registered agents and the cluster's key
    Controller,
    /// Incidents, alerts, hosts, history, trends and batches
    Analyzer,
}

impl From<Of> for Owner {
    fn from(of: Of) -> Self {
        match of {
            Of::Controller => Self::Controller,
            Of::Analyzer => Self::Analyzer,
        }
    }
}

fn location(text: &str) -> Result<Location, String> {
    text.parse()
        .map_err(|error: rpingmesh::store::LocationError| error.to_string())
}

pub(crate) fn main(command: &StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Migrate(args) => migrate(args),
    }
}

fn migrate(args: &MigrateArgs) -> Result<(), Failure> {
    let mut shown = Shown::default();
    let mut report = |progress| shown.take(progress);
    let copied = api::block_on(async {
        let owner = args.of.map(Owner::from);
        let copying = transfer::copy(&args.from, &args.to, owner, &mut report);
        copying.await.map_err(Failure::run)
    })?;
    if args.json {
        return api::print_json(&Summary {
            copied: copied.iter().map(Line::from).collect(),
        });
    }
    for Copied {
        what,
        count,
        left_out,
    } in &copied
    {
        let rest = match left_out {
            0 => String::new(),
            rest => format!("; {rest} cannot be read and stay behind"),
        };
        api::print(&format!("{count} {what}{rest}"))?;
    }
    api::print(&format!("all was copied to {} and compared", args.to))
}

/// Lines on standard error: one a second, and where it is a terminal over each other.
#[derive(Default)]
struct Shown {
    last: Option<Instant>,
}

impl Shown {
    fn take(&mut self, Progress { what, done, all }: Progress) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= PAUSE);
        if !is_due {
            return;
        }
        self.last = Some(Instant::now());
        let mut out = std::io::stderr().lock();
        let end = if out.is_terminal() { '\r' } else { '\n' };
        // Nobody has to read it.
        let _ = write!(out, "{what}: {done} of {all}{end}");
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    copied: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    what: &'static str,
    count: u64,
    left_out: u64,
}

impl From<&Copied> for Line {
    fn from(copied: &Copied) -> Self {
        Self {
            what: copied.what,
            count: copied.count,
            left_out: copied.left_out,
        }
    }
}
