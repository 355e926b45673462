//! `rpingmesh export`: what the analyzer knows as CSV, for spreadsheets, DuckDB, pandas and friends.

mod csv;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use rpingmesh::analysis::trend::{Kind, Step};
use rpingmesh::api::incidents::{Incident, IncidentsQuery};
use rpingmesh::api::paths::{Distribution, End, Path, PathsQuery};
use rpingmesh::api::query::{Bounded, Choice, IncidentPageSize, Number, PageSize};
use rpingmesh::api::status::StatusQuery;
use rpingmesh::api::trends::{Bucket, MOST_STEPS, TrendStepChoice, Trends, TrendsQuery};
use rpingmesh::config::program::Failure;
use rpingmesh::config::{ConfigError, HumanDuration};
use rpingmesh::error::describe;

use crate::api::{self, Analyzer, ApiArgs};
use csv::{Cell, line};

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
        return Err(ConfigError::value("json", "export writes CSV: leave out --json").into());
    }
    let (mut out, beside) = open(args.output.as_deref())?;
    let written = api::block_on(async {
        let written = match args.what.trend() {
            Some(kind) => trends(args, &analyzer, kind, &mut out).await,
            None if args.what == What::Incidents => incidents(&analyzer, &mut out).await,
            None => paths(&analyzer, &mut out).await,
        };
        Ok(written)
    })?;
    let written = written.and_then(|()| Ok(out.flush()?));
    drop(out);
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

/// Why nothing more is written.
#[derive(Debug)]
enum Ended {
    /// The reader has gone, such as `head`: no failure.
    NoReader,
    Failed(Failure),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::NoReader
        } else {
            Self::Failed(Failure::run(error))
        }
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ConfigError> for Ended {
    fn from(error: ConfigError) -> Self {
        Self::Failed(error.into())
    }
}

/// A file that is written beside the one that is wanted, and takes its place when it is whole; else it is deleted.
#[derive(Debug)]
struct Beside {
    file: PathBuf,
    wanted: PathBuf,
    is_whole: bool,
}

impl Beside {
    fn take_its_place(mut self) -> Result<(), Failure> {
        std::fs::rename(&self.file, &self.wanted).map_err(Failure::run)?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_whole {
            // What remains is a file that says by its name that it is not whole.
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

/// Opens what is written to: standard output, a device or pipe, or a file beside the one that is wanted.
fn open(output: Option<&std::path::Path>) -> Result<(Box<dyn Write>, Option<Beside>), Failure> {
    let Some(wanted) = output else {
        return Ok((Box::new(io::stdout().lock()), None));
    };
    // A link stays, and the file that it leads to is replaced.
    let wanted = wanted.canonicalize().unwrap_or_else(|_| wanted.to_owned());
    let is_special = wanted.metadata().is_ok_and(|found| !found.is_file());
    let file = if is_special {
        wanted.clone()
    } else {
        let mut name = wanted.clone().into_os_string();
        name.push(format!(".{}.part", std::process::id()));
        name.into()
    };
    let opened = File::create(&file)
        .map_err(|error| Failure::run(format!("{}: cannot be written: {error}", file.display())))?;
    let beside = Beside {
        file,
        wanted,
        is_whole: false,
    };
    let beside = (!is_special).then_some(beside);
    Ok((Box::new(BufWriter::new(opened)), beside))
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

async fn trends(
    args: &ExportArgs,
    analyzer: &Analyzer,
    kind: Kind,
    out: &mut dyn Write,
) -> Result<(), Ended> {
    // By the analyzer's clock, which has dated the points.
    let now = analyzer.ask(&StatusQuery::default()).await?.now_unix_ns;
    let now = UNIX_EPOCH + Duration::from_nanos(u64::try_from(now).unwrap_or_default());
    let (from, to) = range(args, now)?;
    let step = args.step.map_or(Step::Hour, |step| step.0);
    let (first, second) = match kind {
        Kind::TorPair => ("source_tor", "target_tor"),
        Kind::Rnic => ("host", "device"),
        Kind::Link => ("from", "to"),
        Kind::Service => ("service", ""),
    };
    // A service has one name.
    let names = [first, second].into_iter().filter(|name| !name.is_empty());
    let heads = ["start", "step_s"].into_iter().chain(names);
    let heads = heads.chain(["sent", "lost", "rtt_p50_ns", "rtt_p99_ns"]);
    out.write_all(line(heads.map(Cell::from)).as_bytes())?;
    let portion = u64::try_from(step.nanos().0).unwrap_or(1) * MOST_STEPS as u64;
    let mut start = from - from % portion;
    while start < to {
        let end = (start + portion).min(to);
        let mut bucket = Some(0);
        while let Some(number) = bucket {
            let query = TrendsQuery {
                kind: Some(Choice(kind)),
                bucket: Bucket::new(number),
                step: Some(Choice(step)),
                from_unix_ns: Some(start.max(from).into()),
                to_unix_ns: Some(end.into()),
                ..TrendsQuery::default()
            };
            let answer = analyzer.ask(&query).await?;
            out.write_all(rows(&answer).as_bytes())?;
            bucket = answer.next_bucket.filter(|next| *next > number);
        }
        start = end;
    }
    Ok(())
}

/// The lines of an answer.
fn rows(answer: &Trends) -> String {
    let mut text = String::new();
    for series in &answer.series {
        for point in &series.points {
            let mut cells = vec![
                Cell::time(Some(point.start_unix_ns)),
                (answer.step_ns / 1_000_000_000).into(),
                series.first.as_str().into(),
            ];
            if !answer.kind.is(Kind::Service) {
                cells.push(series.second.as_str().into());
            }
            cells.extend([
                point.sent.into(),
                point.lost.into(),
                point.rtt_p50_ns.into(),
                point.rtt_p99_ns.into(),
            ]);
            text += &line(cells);
        }
    }
    text
}

async fn incidents(analyzer: &Analyzer, out: &mut dyn Write) -> Result<(), Ended> {
    let heads = [
        "id",
        "state",
        "severity",
        "category",
        "what",
        "subject",
        "opened",
        "seen",
        "closed",
        "confidence",
        "share",
        "sent",
        "lost",
        "services",
    ];
    out.write_all(line(heads.map(Cell::from)).as_bytes())?;
    let mut before: Option<Number> = None;
    loop {
        let query = IncidentsQuery {
            before,
            limit: IncidentPageSize::new(IncidentPageSize::MAX),
            ..IncidentsQuery::default()
        };
        let answer = analyzer.ask(&query).await?;
        for incident in &answer.incidents {
            out.write_all(incident_line(incident).as_bytes())?;
        }
        let next = answer
            .next_before
            .filter(|next| before.is_none_or(|last| *next < last.get()));
        match next {
            Some(next) => before = Some(next.into()),
            None => return Ok(()),
        }
    }
}

fn incident_line(incident: &Incident) -> String {
    let services: Vec<_> = incident
        .services
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    line([
        incident.id.into(),
        Cell::from(incident.state.as_str()),
        incident.severity.as_str().into(),
        incident.category.as_str().into(),
        incident.title.as_str().into(),
        Cell::Text(incident.subject.to_string()),
        Cell::time(Some(incident.opened_unix_ns)),
        Cell::time(Some(incident.seen_unix_ns)),
        Cell::time(incident.closed_unix_ns),
        incident.confidence.into(),
        incident.share.into(),
        incident.sent.into(),
        incident.lost.into(),
        Cell::Text(services.join(" ")),
    ])
}

async fn paths(analyzer: &Analyzer, out: &mut dyn Write) -> Result<(), Ended> {
    let heads = [
        "window_start",
        "window_end",
        "source_gid",
        "source_host",
        "source_device",
        "source_tor",
        "target_gid",
        "target_host",
        "target_device",
        "target_tor",
        "kind",
        "source_port",
        "service",
        "sent",
        "lost",
        "rtt_p50_ns",
        "rtt_p90_ns",
        "rtt_p99_ns",
        "rtt_max_ns",
    ];
    out.write_all(line(heads.map(Cell::from)).as_bytes())?;
    let mut offset = 0;
    loop {
        let query = PathsQuery {
            window: Some(Choice(rpingmesh::analysis::windows::WindowLength::Long)),
            limit: PageSize::new(PageSize::MAX),
            offset: Bounded::new(offset),
            ..PathsQuery::default()
        };
        let answer = analyzer.ask(&query).await?;
        let window = (answer.start_unix_ns, answer.end_unix_ns);
        for path in &answer.paths {
            out.write_all(path_line(window, path).as_bytes())?;
        }
        let next = answer.next_offset.and_then(|next| u64::try_from(next).ok());
        match next.filter(|next| *next > offset) {
            Some(next) => offset = next,
            None => return Ok(()),
        }
    }
}

fn path_line((start, end): (i64, i64), path: &Path) -> String {
    let names = |end: &End| {
        [&end.gid, &end.host, &end.device, &end.tor].map(|name| Cell::from(name.as_str()))
    };
    let rtt = |of: fn(&Distribution) -> i64| Cell::from(path.network_rtt.as_ref().map(of));
    let mut cells = vec![Cell::time(Some(start)), Cell::time(Some(end))];
    cells.extend(names(&path.source));
    cells.extend(names(&path.target));
    cells.extend([
        Cell::from(path.kind.as_str()),
        path.source_port.map(i64::from).into(),
        path.service.as_deref().unwrap_or_default().into(),
        path.sent.into(),
        path.lost.into(),
        rtt(|rtt| rtt.p50_ns),
        rtt(|rtt| rtt.p90_ns),
        rtt(|rtt| rtt.p99_ns),
        rtt(|rtt| rtt.max_ns),
    ]);
    line(cells)
}

#[cfg(test)]
mod tests;
