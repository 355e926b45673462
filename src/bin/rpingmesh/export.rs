//! `rpingmesh export`: what the analyzer knows as CSV or Parquet, for spreadsheets, DuckDB, pandas and friends.

mod cell;
mod csv;
mod ended;
mod output;
mod parquet;
mod rows;
mod table;
mod thrift;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use rpingmesh::analysis::trend::{Kind, Step};
use rpingmesh::api::trends::TrendStepChoice;
use rpingmesh::config::program::Failure;
use rpingmesh::config::{ConfigError, HumanDuration};
use rpingmesh::error::describe;

use crate::api::{self, ApiArgs};
use ended::Ended;
use output::{Beside, open};
use table::Format;

/// What to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Loss and round trips of pairs of ToRs
    Tors,
    /// Loss and round trips of RNICs
    Rnics,
    /// Loss and round trips of links, one direction each
    Links,
    /// Loss and round trips of services
    Services,
    /// Incidents, the newest first
    Incidents,
    /// What was measured per path in the last 120 s
    Paths,
}

impl What {
    const fn trend(self) -> Option<Kind> {
        match self {
            Self::Tors => Some(Kind::TorPair),
            Self::Rnics => Some(Kind::Rnic),
            Self::Links => Some(Kind::Link),
            Self::Services => Some(Kind::Service),
            Self::Incidents | Self::Paths => None,
        }
    }
}

/// What `export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// What to export
    #[arg(value_enum, value_name = "WHAT")]
    what: What,
    #[command(flatten)]
    api: ApiArgs,
    /// Beginning of the range (trends only): a time such as 2026-11-26T13:00:00Z, or how long before its end, such as 7d [default: 1d]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End of the range (trends only): a time, or how long ago [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Length of a point (trends only): 1min (kept for 6h), 10min (2d) or 60min [default: 60min]
    #[arg(long, value_name = "STEP")]
    step: Option<TrendStepChoice>,
    /// File to write, under another name until it is whole [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How to write it [default: parquet if the file's name ends in .parquet, else csv]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

impl ExportArgs {
    /// How to write it.
    fn format(&self) -> Format {
        let extension = self.output.as_deref().and_then(Path::extension);
        let by_name = match extension {
            Some(extension) if extension == "parquet" => Format::Parquet,
            _ => Format::Csv,
        };
        self.format.unwrap_or(by_name)
    }
}

#[cfg(test)]
impl ExportArgs {
    /// As the command line makes it without options.
    fn of(what: What) -> Self {
        Self {
            what,
            api: ApiArgs::default(),
            from: None,
            to: None,
            step: None,
            output: None,
            format: None,
        }
    }
}

pub(crate) fn main(args: &ExportArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let range_is_for_trends = args.from.is_some() || args.to.is_some() || args.step.is_some();
    if args.what.trend().is_none() && range_is_for_trends {
        let why = "--from, --to and --step are for trends: tors, rnics, links and services";
        return Err(ConfigError::value("from", why).into());
    }
    if args.api.json {
        return Err(ConfigError::value(
            "json",
            "export writes CSV or Parquet (--format): leave out --json",
        )
        .into());
    }
    let (out, beside) = open(args.output.as_deref())?;
    let format = args.format();
    let written = api::block_on(async {
        let written = match args.what.trend() {
            Some(kind) => {
                let step = args.step.map_or(Step::Hour, |step| step.0);
                let range = |now| range(args, now);
                rows::trends(&analyzer, (kind, step), &range, (format, out)).await
            }
            None if args.what == What::Incidents => rows::incidents(&analyzer, format, out).await,
            None => rows::paths(&analyzer, format, out).await,
        };
        Ok(written)
    })?;
    let finished = match written {
        Ok(()) => beside.map_or(Ok(()), Beside::take_its_place),
        Err(Ended::NoReader) => Ok(()),
        Err(Ended::Failed(failure)) => Err(failure),
    };
    finished.map_err(|failure| match (failure, &args.output) {
        (Failure::Run(error), Some(file)) => Failure::run(format!(
            "{} is not written: {}",
            file.display(),
            describe(&*error)
        )),
        (failure, _) => failure,
    })
}

/// A point in time: itself, or how long before another one.
fn time(key: &'static str, text: &str, before: SystemTime) -> Result<SystemTime, ConfigError> {
    if let Ok(span) = text.parse::<HumanDuration>() {
        return before.checked_sub(span.0).ok_or_else(|| {
            ConfigError::value(key, format!("`{text}` is longer ago than times reach"))
        });
    }
    humantime::parse_rfc3339_weak(text).map_err(|_| {
        let why = format!(
            "`{text}` is neither a time such as 2026-11-26T13:00:00Z nor a span such as 7d"
        );
        ConfigError::value(key, why)
    })
}

fn nanos(key: &'static str, time: SystemTime) -> Result<u64, ConfigError> {
    let since = time.duration_since(UNIX_EPOCH).ok();
    since
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .filter(|nanos| i64::try_from(*nanos).is_ok())
        .ok_or_else(|| ConfigError::value(key, "is before 1970 or after 2262"))
}

/// The range in nanoseconds since 1970.
fn range(args: &ExportArgs, now: SystemTime) -> Result<(u64, u64), ConfigError> {
    let to = match &args.to {
        Some(text) => time("to", text, now)?,
        None => now,
    };
    let from = time("from", args.from.as_deref().unwrap_or("1d"), to)?;
    let (from, to) = (nanos("from", from)?, nanos("to", to)?);
    if from >= to {
        return Err(ConfigError::value(
            "from",
            "must be before the end of the range",
        ));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests;
