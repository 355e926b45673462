//! `rpingmesh matrix`.

use std::collections::HashMap;
use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use rpingmesh::api::matrix::{Matrix, MatrixQuery, Pair};
use rpingmesh::api::query::WindowChoice;
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};

/// ToRs up to which a table is drawn; beyond, the pairs with losses are listed.
const MOST_COLUMNS: usize = 16;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Show {
    Loss,
    Rtt,
}

/// What `matrix` takes.
#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// How far back: 5s, 20s or 120s [default: 20s]
    #[arg(long, value_name = "WINDOW")]
    window: Option<WindowChoice>,
    /// Loss in percent, or the 99th percentile of the network RTT in microseconds [default: loss]
    #[arg(long, value_enum)]
    show: Option<Show>,
}

pub(crate) fn main(args: &MatrixArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let query = MatrixQuery {
        window: args.window,
    };
    let answer = api::block_on(async { analyzer.ask(&query).await })?;
    if args.api.json {
        return answer.pairs.iter().try_for_each(api::print_json);
    }
    api::print(&draw(&answer, args.show.unwrap_or(Show::Loss)))
}

fn cell(pair: &Pair, show: Show) -> String {
    match (show, pair.rtt_p99_ns) {
        (Show::Loss, _) if pair.lost == 0 => "0".to_owned(),
        (Show::Loss, _) => format!("{:.2}", pair.lost as f64 * 100.0 / pair.sent.max(1) as f64),
        (Show::Rtt, Some(rtt)) => format!("{:.1}", rtt as f64 / 1e3),
        (Show::Rtt, None) => "-".to_owned(),
    }
}

fn draw(answer: &Matrix, show: Show) -> String {
    let what = match show {
        Show::Loss => "probes lost, in percent",
        Show::Rtt => "99th percentile of the network RTT, in microseconds",
    };
    let Matrix {
        window,
        tors,
        pairs,
        ..
    } = answer;
    let mut text = format!("{what}, over {window}; from the rows to the columns\n");
    if tors.len() > MOST_COLUMNS {
        for pair in pairs.iter().filter(|pair| pair.lost > 0) {
            let (from, to) = (&pair.source_tor, &pair.target_tor);
            let _ = write!(text, "\n{from} -> {to}  {}", cell(pair, show));
        }
        return text;
    }
    let cells: HashMap<(&str, &str), String> = pairs
        .iter()
        .map(|pair| ((&*pair.source_tor, &*pair.target_tor), cell(pair, show)))
        .collect();
    let width = tors.iter().map(String::len).max().unwrap_or(0).max(6);
    let _ = write!(text, "\n{:width$}", "");
    for tor in tors {
        let _ = write!(text, "  {tor:>width$}");
    }
    for from in tors {
        let _ = write!(text, "\n{from:width$}");
        for to in tors {
            let cell = cells.get(&(&**from, &**to)).map_or("-", String::as_str);
            let _ = write!(text, "  {cell:>width$}");
        }
    }
    text
}
