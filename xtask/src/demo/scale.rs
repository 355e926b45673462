//! `cargo xtask demo scale`: a site of several controllers and analyzers whose programs are killed one after the other.

mod asked;
mod fleet;
mod server;
mod table;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::asked::{Agent, Agents, Incident, Incidents, Status};
use self::fleet::{Fleet, HOSTS, Program, until};
use self::server::Server;
use self::table::{Row, table};
use crate::cargo::{self, Profile, cargo, target_folder};
use crate::process::{self, Scratch};

/// Batches of an agent that a judge must have, where the agent has made so many: the longest window holds 120 s, one batch a second.
const HELD: u64 = 115;
/// The agent that is killed.
const VICTIM: usize = 0;

/// Kills controllers, analyzers and the database of a running site, and shows that nothing is lost.
///
/// Starts PostgreSQL, two controllers, three analyzers and twelve agents on this machine, on loopback. The agents probe each
/// other over UDP (the user-space transport). Then it kills, with kill -9 and one after the other: an agent, so that an
/// incident opens; the controller that serves most agents; the analyzer that takes the results of most agents and does not
/// judge; the analyzer that judges. It also restarts the database. After each it shows who judges, when all agents upload again, that the incident is still open
/// under its number, and that no batch is missing. What was killed is started again.
///
/// It takes about a minute once the programs are compiled, and ends with status 0 only if all of this was seen. Ctrl-C ends all programs. As root on
/// Debian it installs PostgreSQL if it is missing; elsewhere, or as another user, install it first.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How the programs are compiled.
    #[arg(long, value_enum, default_value = "dev")]
    profile: Profile,
}

/// Tells the story; returns whether all of it was seen.
pub(super) fn run(options: &Options) -> Result<bool> {
    let mut build = cargo();
    build
        .args(["build", "--locked"])
        .args(options.profile.arguments());
    process::succeed(build.args(cargo::PROGRAMS))?;
    let programs = target_folder().join(options.profile.folder());
    let scratch = Scratch::new("rpingmesh-demo-")?;
    let told = Story::start(&programs, scratch.path()).and_then(|mut story| {
        let told = story.tell();
        // A program that has ended by itself is the reason.
        story.fleet.all_run()?;
        told?;
        print!("{}", table(&story.rows));
        Ok(())
    });
    match told {
        Ok(()) => {
            println!("all of this was checked while it happened");
            Ok(true)
        }
        Err(error) => {
            println!("FAILED: {error:#}");
            println!(
                "the logs of all programs are in {}",
                scratch.keep().display()
            );
            Ok(false)
        }
    }
}

struct Story {
    begun: Instant,
    server: Server,
    fleet: Fleet,
    /// The number of the incident.
    incident: u64,
    rows: Vec<Row>,
}

impl Story {
    fn start(programs: &Path, folder: &Path) -> Result<Self> {
        let begun = Instant::now();
        let server = Server::start(folder)?;
        say(
            begun,
            &format!("{} listens on 127.0.0.1:{}", server.version()?, server.port),
        );
        let fleet = Fleet::start(programs, folder, &server)?;
        say(
            begun,
            &format!("two controllers, three analyzers and {HOSTS} agents are started"),
        );
        Ok(Self {
            begun,
            server,
            fleet,
            incident: 0,
            rows: Vec::new(),
        })
    }

    fn say(&self, text: &str) {
        say(self.begun, text);
    }

    fn tell(&mut self) -> Result<()> {
        self.all_upload()?;
        self.an_agent_is_killed()?;
        self.a_controller_is_killed()?;
        self.an_owner_is_killed()?;
        self.the_judge_is_killed()?;
        self.the_database_restarts()?;
        self.the_agent_returns()
    }

    fn all_upload(&mut self) -> Result<()> {
        let since = now();
        let what = "all agents are served, and each analyzer owns its share";
        until(what, || {
            let Some(status) = self.fleet.status()? else {
                return Ok(None);
            };
            let served: u64 = status.controllers.iter().map(|one| one.agents).sum();
            let shares = status.analyzers.iter().filter(|one| one.shards >= 21);
            let uploading = self.fleet.analyzers.iter().map(Program::uploading);
            let uploading: u64 = uploading.sum::<Result<u64>>()?;
            let all = u64::from(HOSTS);
            let is_so = served >= all && shares.count() == 3 && uploading == all;
            Ok(is_so.then_some(()))
        })?;
        let batches = self.whole(since)?;
        self.say(&format!(
            "all agents upload: {batches} batches, none is missing"
        ));
        let status = self.status()?;
        for program in self.fleet.controllers.iter().chain(&self.fleet.analyzers) {
            self.say(&format!("  {}", description(program, &status)?));
        }
        Ok(())
    }

    fn an_agent_is_killed(&mut self) -> Result<()> {
        let host = self.fleet.agents[VICTIM].name.clone();
        self.say(&format!("kill -9: the agent of host {host}"));
        let begun = Instant::now();
        self.fleet.agents[VICTIM].kill();
        let incident = until("an incident about the host opens", || {
            let open = self.open_incidents()?;
            let about = open.into_iter().flatten();
            Ok(about
                .into_iter()
                .find(|incident| incident.title.contains(&host)))
        })?;
        self.incident = incident.id;
        let seconds = begun.elapsed().as_secs_f64();
        let Incident { id, title, .. } = incident;
        self.say(&format!(
            "after {seconds:.1} s incident {id} is open: {title}"
        ));
        Ok(())
    }

    fn a_controller_is_killed(&mut self) -> Result<()> {
        let status = self.status()?;
        let serves = |program: &Program| served_by(program, &status);
        let all = self.fleet.controllers.iter().enumerate();
        let most = all.max_by_key(|(_, program)| serves(program));
        let (at, _) = most.context("a controller")?;
        let served = serves(&self.fleet.controllers[at]);
        let what = format!(
            "{}, which serves {served} agents",
            self.fleet.controllers[at].name
        );
        let other = 1 - at;
        let since = self.kill(&what, |fleet| fleet.controllers[at].kill());
        until("the other controller serves all agents", || {
            let status = self.fleet.status()?;
            let others = status.map(|status| served_by(&self.fleet.controllers[other], &status));
            Ok(others
                .is_some_and(|others| others >= self.living())
                .then_some(()))
        })?;
        let seconds = since.0.elapsed().as_secs_f64();
        let name = self.fleet.controllers[other].name.clone();
        self.say(&format!("after {seconds:.1} s {name} serves all agents"));
        self.seen(&what, since, Judges::Still(self.judge(&status)?))?;
        self.fleet.run_controller(at)?;
        self.say(&format!("{} runs again", self.fleet.controllers[at].name));
        Ok(())
    }

    fn an_owner_is_killed(&mut self) -> Result<()> {
        let status = self.status()?;
        let judge = self.judge(&status)?;
        let mut owners = Vec::new();
        for (at, program) in self.fleet.analyzers.iter().enumerate() {
            if at != judge {
                owners.push((program.uploading()?, at));
            }
        }
        let (agents, at) = owners.into_iter().max().context("an owner")?;
        ensure!(
            agents > 0,
            "no agent uploads to an analyzer that does not judge"
        );
        let name = &self.fleet.analyzers[at].name;
        let what = format!("{name}, which takes the results of {agents} agents");
        let since = self.kill(&what, |fleet| fleet.analyzers[at].kill());
        self.seen(&what, since, Judges::Still(judge))?;
        self.analyzer_returns(at)
    }

    fn the_judge_is_killed(&mut self) -> Result<()> {
        let status = self.status()?;
        let at = self.judge(&status)?;
        let program = &self.fleet.analyzers[at];
        let (name, agents) = (&program.name, program.uploading()?);
        let what = format!("{name}, which judges, and takes the results of {agents} agents");
        let since = self.kill(&what, |fleet| fleet.analyzers[at].kill());
        self.seen(&what, since, Judges::Another(at))?;
        self.analyzer_returns(at)
    }

    fn the_database_restarts(&mut self) -> Result<()> {
        let what = "PostgreSQL ends at once, and is started again";
        let judge = self.judge(&self.status()?)?;
        self.say(what);
        let since = (Instant::now(), now());
        self.server.restart()?;
        self.seen(what, since, Judges::Still(judge))
    }

    fn the_agent_returns(&mut self) -> Result<()> {
        self.fleet.run_agent(VICTIM)?;
        let begun = Instant::now();
        let host = self.fleet.agents[VICTIM].name.clone();
        self.say(&format!("the agent of host {host} is started again"));
        until("the incident closes", || {
            let open = self.open_incidents()?;
            let is_open = |open: Vec<Incident>| open.iter().any(|one| one.id == self.incident);
            Ok(open.is_some_and(|open| !is_open(open)).then_some(()))
        })?;
        let (id, seconds) = (self.incident, begun.elapsed().as_secs_f64());
        self.say(&format!("after {seconds:.1} s incident {id} is closed"));
        Ok(())
    }

    /// Kills what is named; gives when.
    fn kill(&mut self, what: &str, kill: impl FnOnce(&mut Fleet)) -> (Instant, i64) {
        self.say(&format!("kill -9: {what}"));
        let since = (Instant::now(), now());
        kill(&mut self.fleet);
        since
    }

    /// Waits until everything is as it was, shows it, and keeps it for the table.
    fn seen(&mut self, what: &str, since: (Instant, i64), judges: Judges) -> Result<()> {
        let batches = self.whole(since.1)?;
        let took = since.0.elapsed();
        let status = self.status()?;
        let judge = self.judge(&status)?;
        let is_right = match judges {
            Judges::Still(before) => judge == before,
            Judges::Another(killed) => judge != killed,
        };
        let judge = self.fleet.analyzers[judge].name.clone();
        ensure!(is_right, "{judge} judges, which is not to be expected");
        self.incident_is_open()?;
        let id = self.incident;
        self.say(&format!(
            "after {:.1} s all agents upload; {judge} judges; incident {id} is open; {batches} batches, none is missing",
            took.as_secs_f64()
        ));
        self.rows.push(Row {
            what: what.to_owned(),
            took,
            judge,
            incident: id,
            batches,
        });
        Ok(())
    }

    /// The incident is open under its number, it is there once, and nothing else is wrong.
    fn incident_is_open(&self) -> Result<()> {
        let open = until("incidents are shown", || self.open_incidents())?;
        let numbers: Vec<_> = open.iter().map(|one| one.id).collect();
        let titles: Vec<_> = open.iter().map(|one| &one.title).collect();
        ensure!(
            numbers == [self.incident],
            "incident {} alone is to be open, but there are: {numbers:?} {titles:?}",
            self.incident
        );
        Ok(())
    }

    fn analyzer_returns(&mut self, at: usize) -> Result<()> {
        self.fleet.run_analyzer(at)?;
        until("each analyzer owns its share", || {
            let Some(status) = self.fleet.status()? else {
                return Ok(None);
            };
            let is_there =
                |program: &Program| shards(program, &status).is_ok_and(|shards| shards >= 21);
            let analyzers = &self.fleet.analyzers;
            Ok(analyzers.iter().all(is_there).then_some(()))
        })?;
        let name = &self.fleet.analyzers[at].name;
        self.say(&format!("{name} runs again, and owns its share of shards"));
        Ok(())
    }

    /// Waits until the judge has a batch of each living agent that ended after `since`, and all before it that a window needs. Gives how
    /// many those are.
    fn whole(&self, since: i64) -> Result<u64> {
        let living = self.fleet.agents.iter();
        let living = living.filter(|one| one.id().is_some());
        let living: Vec<_> = living.map(|one| one.name.as_str()).collect();
        let mut last = String::new();
        let found = until("no batch of any agent is missing", || {
            let agents: Option<Agents> = asked::ask(self.fleet.webs(), "/api/v1/agents")?;
            let Some(Agents { agents }) = agents else {
                return Ok(None);
            };
            let mut batches = 0;
            for host in &living {
                let Some(agent) = agents.iter().find(|one| one.host == **host) else {
                    last = format!("{host} is not listed");
                    return Ok(None);
                };
                match count(agent, since) {
                    Ok(count) => batches += count,
                    Err(why) => {
                        last = format!("{host}: {why}");
                        return Ok(None);
                    }
                }
            }
            Ok(Some(batches))
        });
        found.with_context(|| last.clone())
    }

    fn open_incidents(&self) -> Result<Option<Vec<Incident>>> {
        let path = "/api/v1/incidents?state=open&limit=1000";
        let answer: Option<Incidents> = asked::ask(self.fleet.webs(), path)?;
        let all = answer.map(|answer| answer.incidents.into_iter());
        Ok(all.map(|all| {
            all.filter(|one| one.is_open() && !one.is_of_load())
                .collect()
        }))
    }

    fn status(&self) -> Result<Status> {
        until("an analyzer judges", || {
            let status = self.fleet.status()?;
            Ok(status.filter(|status| self.judge(status).is_ok()))
        })
    }

    /// Which analyzer judges.
    fn judge(&self, status: &Status) -> Result<usize> {
        let judges = |program: &Program| {
            let id = program.id();
            let mut members = status.analyzers.iter();
            members.any(|one| one.is_judge && !one.is_gone && id.is_some_and(|id| one.is(id)))
        };
        let at = self.fleet.analyzers.iter().position(judges);
        at.context("no analyzer that runs judges")
    }

    fn living(&self) -> u64 {
        let living = self.fleet.agents.iter().filter(|one| one.id().is_some());
        living.count() as u64
    }
}

/// Who must judge afterwards.
#[derive(Clone, Copy)]
enum Judges {
    /// This one, as before.
    Still(usize),
    /// Not this one.
    Another(usize),
}

/// How many batches of an agent the judge has.
///
/// # Errors
/// What is missing.
fn count(agent: &Agent, since: i64) -> Result<u64> {
    let held = agent.oldest_sequence.zip(agent.missing_batches);
    let Some((oldest, missing)) = held else {
        bail!("the judge has none of its batches");
    };
    ensure!(
        agent.last_interval_end_unix_ns > since,
        "nothing new has come"
    );
    ensure!(missing == 0, "{missing} batches are missing");
    ensure!(
        agent.lost_batches == 0 && agent.late_batches == 0,
        "batches were lost or came too late"
    );
    let count = agent.sequence - oldest + 1;
    ensure!(
        count >= agent.sequence.min(HELD),
        "of {} batches the judge has only the last {count}",
        agent.sequence
    );
    Ok(count)
}

fn shards(program: &Program, status: &Status) -> Result<u64> {
    let id = program.id().context("it does not run")?;
    let mut members = status.analyzers.iter();
    let member = members.find(|one| one.is(id) && !one.is_gone);
    Ok(member.context("it has not joined")?.shards)
}

fn served_by(program: &Program, status: &Status) -> u64 {
    let Some(id) = program.id() else {
        return 0;
    };
    let all = status.controllers.iter();
    all.filter(|one| one.is(id) && !one.is_gone)
        .map(|one| one.agents)
        .sum()
}

fn description(program: &Program, status: &Status) -> Result<String> {
    let id = program.id().context("it runs")?;
    let name = format!("{} (process {id})", program.name);
    if let Some(one) = status.analyzers.iter().find(|one| one.is(id)) {
        let judges = if one.is_judge { "; it judges" } else { "" };
        let (shards, agents) = (one.shards, program.uploading()?);
        return Ok(format!(
            "{name} owns {shards} of 64 shards, and takes the results of {agents} agents{judges}"
        ));
    }
    Ok(format!(
        "{name} serves {} agents",
        served_by(program, status)
    ))
}

fn say(begun: Instant, text: &str) {
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seconds:6.1} s  {text}");
}

/// Unix nanoseconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since: Duration| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
