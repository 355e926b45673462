//! `rpingmesh paths`.

use std::fmt::Write as _;

use clap::Args;
use rpingmesh::api::paths::{Distribution, End, Path, Paths, PathsQuery};
use rpingmesh::api::query::{PageSize, ProbeKindChoice, WindowChoice};
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};
use crate::list::{ListArgs, Picker};

/// Paths that are listed unless asked otherwise.
const LISTED: usize = 100;

/// What `paths` takes.
#[derive(Debug, Args)]
pub(crate) struct PathsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    list: ListArgs,
    /// How far back: 5s, 20s or 120s [default: 20s]
    #[arg(long, value_name = "WINDOW")]
    window: Option<WindowChoice>,
    /// GID, host or ToR of the probing RNIC [default: all]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// GID, host or ToR of the answering RNIC [default: all]
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Kind of the probes: tor_mesh, inter_tor, service_tracing or focus [default: all]
    #[arg(long, value_name = "KIND")]
    kind: Option<ProbeKindChoice>,
    /// Service that uses the paths [default: all]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Maximum number of paths [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<PageSize>,
}

pub(crate) fn main(args: &PathsArgs) -> Result<(), Failure> {
    let picker = args.list.picker::<Path>()?;
    let analyzer = args.api.analyzer()?;
    // The worst are looked for among all that one answer has; the analyzer says how many there are.
    let query = PathsQuery {
        window: args.window,
        source: args.source.clone(),
        target: args.target.clone(),
        kind: args.kind,
        service: args.service.clone(),
        limit: PageSize::new(PageSize::MAX),
        offset: None,
    };
    let answer = api::block_on(async { analyzer.ask(&query).await })?;
    let limit = args.limit.map_or(LISTED, PageSize::as_usize);
    let (shown, notes) = pick(answer, &picker, limit);
    if args.api.json {
        for note in &notes {
            eprintln!("{note}");
        }
        return shown.iter().try_for_each(api::print_json);
    }
    api::print(&describe(&shown, &notes))
}

/// The paths that pass, the worst first unless asked otherwise, and what is left out.
fn pick(answer: Paths, picker: &Picker, limit: usize) -> (Vec<Path>, Vec<String>) {
    let Paths {
        mut paths, total, ..
    } = answer;
    let mut notes = Vec::new();
    if paths.len() < total {
        notes.push(format!(
            "only {} of {total} paths were looked at: name --source or --target",
            paths.len()
        ));
    }
    if !picker.is_sorted() {
        let p99 = |path: &Path| path.network_rtt.as_ref().map_or(0, |rtt| rtt.p99_ns);
        let loss = |path: &Path| path.lost as f64 / path.sent.max(1) as f64;
        paths.sort_by(|a, b| {
            let by_loss = loss(b).total_cmp(&loss(a));
            by_loss.then_with(|| p99(b).cmp(&p99(a)))
        });
    }
    picker.apply(&mut paths);
    if paths.len() > limit {
        notes.push(format!("and {} more", paths.len() - limit));
        paths.truncate(limit);
    }
    (paths, notes)
}

/// One line for each path.
fn describe(paths: &[Path], notes: &[String]) -> String {
    if paths.is_empty() {
        return std::iter::once("no path passes")
            .chain(notes.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("\n");
    }
    let name = |end: &End| format!("{}/{}", end.host, end.device);
    let longest = |of: fn(&Path) -> &End| {
        let widths = paths.iter().map(|path| name(of(path)).chars().count());
        widths.max().unwrap_or(0).max(4)
    };
    let (from, to) = (longest(|path| &path.source), longest(|path| &path.target));
    let mut text = format!(
        "{:from$}  {:to$}   PORT  {:15}       LOST  RTT p50 µs  RTT p99 µs  SERVICE",
        "FROM", "TO", "KIND"
    );
    for path in paths {
        let port = path
            .source_port
            .map_or_else(|| "-".to_owned(), |port| port.to_string());
        let micros = |of: fn(&Distribution) -> i64| {
            path.network_rtt.as_ref().map_or_else(
                || "-".to_owned(),
                |rtt| format!("{:.1}", of(rtt) as f64 / 1e3),
            )
        };
        let line = format!(
            "\n{:from$}  {:to$}  {port:>5}  {:15}  {:>9}  {:>10}  {:>10}  {}",
            name(&path.source),
            name(&path.target),
            path.kind.to_string(),
            format!("{}/{}", path.lost, path.sent),
            micros(|rtt| rtt.p50_ns),
            micros(|rtt| rtt.p99_ns),
            path.service.as_deref().unwrap_or_default(),
        );
        text += line.trim_end();
    }
    for note in notes {
        let _ = write!(text, "\n{note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use rpingmesh::analysis::windows::WindowLength;
    use rpingmesh::api::paths::Focused;
    use rpingmesh::probe::ProbeKind;

    use super::*;

    fn path(source: &str, lost: u64, p99: Option<i64>) -> Path {
        let end = |host: &str| End {
            gid: "10.0.0.1".to_owned(),
            qpn: 17,
            host: host.to_owned(),
            tor: "tor0".to_owned(),
            device: "mlx5_0".to_owned(),
        };
        Path {
            source: end(source),
            target: end("host9"),
            kind: ProbeKind::InterTor.into(),
            source_port: Some(50_000),
            service: None,
            traffic_class: None,
            service_level: None,
            fidelity: None,
            sent: 100,
            lost,
            invalid: std::collections::BTreeMap::new(),
            network_rtt: p99.map(|p99_ns| Distribution {
                count: 100 - lost,
                min_ns: 1,
                p50_ns: 9_900,
                p90_ns: p99_ns,
                p99_ns,
                max_ns: p99_ns,
            }),
            prober_delay: None,
            responder_delay: None,
            focused: Focused::default(),
        }
    }

    fn answer(total: usize) -> Paths {
        let paths = vec![
            path("host1", 0, Some(12_300)),
            path("host10", 3, None),
            path("host2", 0, Some(45_600)),
        ];
        Paths {
            window: WindowLength::Middle.into(),
            start_unix_ns: 0,
            end_unix_ns: 0,
            total,
            offset: 0,
            next_offset: None,
            paths,
        }
    }

    #[test]
    fn the_worst_paths_come_first_and_what_is_left_out_is_said() {
        let (shown, notes) = pick(answer(9), &Picker::default(), 2);
        insta::assert_snapshot!(describe(&shown, &notes));
        let args = |filter: &str, sort: Option<&str>| {
            ListArgs::new(filter, sort)
                .picker::<Path>()
                .expect("a filter")
        };
        let hosts = |picker: &Picker| -> Vec<String> {
            let (shown, _) = pick(answer(3), picker, 10);
            shown.into_iter().map(|path| path.source.host).collect()
        };
        assert_eq!(hosts(&args("p99>=12us", None)), ["host2", "host1"]);
        assert_eq!(hosts(&args("", Some("from"))), ["host1", "host2", "host10"]);
        assert_eq!(hosts(&args("loss>1%", None)), ["host10"]);
        assert_eq!(describe(&[], &[]), "no path passes");
    }
}
