//! `rpingmesh top`: matrix, incidents, agents and focus, live.
//!
//! On a terminal one loop owns it: it takes keys from a thread that reads them, answers of the analyzer from a task that
//! asks for them, and draws what the [`Model`] says. The terminal is given back on every way out: the end, a signal, an
//! error, a panic. Elsewhere each look is printed as lines.

mod details;
mod draw;
mod model;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rpingmesh::api::agents::AgentsQuery;
use rpingmesh::api::focus::FocusQuery;
use rpingmesh::api::incidents::{Incident, IncidentsQuery, Wanted};
use rpingmesh::api::matrix::MatrixQuery;
use rpingmesh::api::query::{Choice, IncidentPageSize};
use rpingmesh::api::status::StatusQuery;
use rpingmesh::config::HumanDuration;
use rpingmesh::config::program::{Failure, stop_on_signal};
use rpingmesh::error::describe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Analyzer, ApiArgs};
use crate::{focus, incidents, status};
use model::{Answers, Model};

const INTERVAL: Duration = Duration::from_secs(2);
/// Keys and answers that wait for the loop, which takes them as they come.
const DEPTH: usize = 64;

/// What `top` takes.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Time between two requests [default: 2s]
    #[arg(long, value_name = "DURATION")]
    interval: Option<HumanDuration>,
    /// Stop after this number of requests [default: run until interrupted]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print lines even on a terminal
    #[arg(long)]
    plain: bool,
}

pub(crate) fn main(args: &TopArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let interval = args.interval.map_or(INTERVAL, |span| span.0);
    let full_screen =
        !args.plain && !args.api.json && io::stdout().is_terminal() && io::stdin().is_terminal();
    api::block_on(async {
        let stop = stop_on_signal().map_err(Failure::run)?;
        if full_screen {
            let terminal = Terminal::take()?;
            show(terminal, &analyzer, interval, args.count, stop).await
        } else {
            print(args, &analyzer, interval, stop).await
        }
    })
}

async fn print(
    args: &TopArgs,
    analyzer: &Analyzer,
    interval: Duration,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut looks = 0;
    loop {
        api::print(&lines(analyzer, args.api.json).await?)?;
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(interval))
            .await
            .is_none()
        {
            return Ok(());
        }
    }
}

async fn lines(analyzer: &Analyzer, json: bool) -> Result<String, Failure> {
    let status = analyzer.ask(&StatusQuery::default()).await?;
    let first = IncidentsQuery {
        limit: IncidentPageSize::new(IncidentPageSize::MAX),
        ..incidents::open_by_rank()
    };
    let open = analyzer.ask(&first).await?;
    let (left_out, incidents) = (open.left_out, open.incidents);
    // An older analyzer has no such resource.
    let asked = analyzer.ask(&FocusQuery::default()).await.ok();
    if json {
        let all = serde_json::json!({ "status": status, "incidents": incidents, "focus": asked });
        return Ok(all.to_string());
    }
    let mut text = status::describe(&status);
    text.push('\n');
    if !incidents.is_empty() {
        let _ = write!(text, "\n{}", incidents::list(&incidents, left_out, &status));
    }
    if let Some(asked) = asked.filter(|asked| asked.until_unix_ns.is_some()) {
        let _ = write!(text, "\n\n{}", focus::describe(&asked));
    }
    Ok(text)
}

/// The terminal in its full-screen state, until this value goes away.
struct Terminal(DefaultTerminal);

impl Terminal {
    /// Also gives it back before a panic is printed.
    fn take() -> Result<Self, Failure> {
        ratatui::try_init()
            .map(Self)
            .map_err(|error| Failure::run(format!("the terminal cannot be used: {error}")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn show(
    mut terminal: Terminal,
    analyzer: &Analyzer,
    interval: Duration,
    count: Option<u64>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut events = read_events();
    let (answers, mut answered) = mpsc::channel(DEPTH);
    tokio::spawn(look(analyzer.clone(), interval, answers));
    let mut model = Model::new(analyzer.to_string());
    let mut looks = 0;
    while !model.is_over() {
        terminal
            .0
            .draw(|frame| draw::draw(frame, &mut model))
            .map_err(Failure::run)?;
        tokio::select! {
            () = stop.cancelled() => break,
            event = events.recv() => match event {
                Some(Event::Key(key)) => model.press(key),
                // Anything else, a resize above all: draw again.
                Some(_) => {}
                None => break,
            },
            Some(answer) = answered.recv() => {
                model.take(answer);
                looks += 1;
                if count.is_some_and(|count| looks >= count) {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Reads keys on a thread of its own, which ends with the process.
fn read_events() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(DEPTH);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The open incidents, the one to look at first at the top, then the newest of those that are over.
async fn both(analyzer: &Analyzer) -> Result<Vec<Incident>, Failure> {
    let mut all = analyzer.ask(&incidents::open_by_rank()).await?.incidents;
    let closed = IncidentsQuery {
        state: Some(Choice(Wanted::Closed)),
        ..IncidentsQuery::default()
    };
    all.extend(analyzer.ask(&closed).await?.incidents);
    Ok(all)
}

/// Asks again and again until nobody wants to know.
async fn look(
    analyzer: Analyzer,
    interval: Duration,
    answers: mpsc::Sender<Result<Answers, String>>,
) {
    loop {
        let seen = async {
            Ok::<_, Failure>(Answers {
                status: analyzer.ask(&StatusQuery::default()).await?,
                matrix: analyzer.ask(&MatrixQuery::default()).await?,
                incidents: both(&analyzer).await?,
                agents: analyzer.ask(&AgentsQuery::default()).await?.agents,
                focus: analyzer.ask(&FocusQuery::default()).await.ok(),
            })
        };
        let answer = seen.await.map_err(|failure| describe(&failure));
        if answers.send(answer).await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests;
