//! The programs of the demonstration: each with its name, its addresses and its log.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::asked::{self, Status};
use super::server::Server;
use crate::process::Owned;

/// What must come comes in this time, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);
/// Agents: hosts with one RNIC each.
pub(super) const HOSTS: u8 = 12;
/// With two hosts each, so that each host has a peer.
const TORS: u8 = 6;

/// A program that runs, or was killed.
pub(super) struct Program {
    /// As it is called in the story.
    pub(super) name: String,
    /// Where it serves gRPC, and HTTP if it does.
    pub(super) addresses: Vec<SocketAddr>,
    command: Vec<String>,
    process: Option<Owned>,
}

/// Everything but the database.
pub(super) struct Fleet {
    programs: PathBuf,
    folder: PathBuf,
    store: String,
    pub(super) controllers: Vec<Program>,
    pub(super) analyzers: Vec<Program>,
    pub(super) agents: Vec<Program>,
}

/// Waits until there is an answer.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            bail!("not within {} s: {what}", PATIENCE.as_secs());
        }
        thread::sleep(LOOK);
    }
}

/// A TCP port that is free now.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("open a socket")?;
    Ok(listener.local_addr()?.port())
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Program {
    fn new(name: String, addresses: Vec<SocketAddr>, command: Vec<String>) -> Self {
        Self {
            name,
            addresses,
            command,
            process: None,
        }
    }

    /// Its process, if it runs.
    pub(super) fn id(&self) -> Option<u32> {
        Some(self.process.as_ref()?.id())
    }

    /// How many agents upload to it: it is an analyzer that runs.
    pub(super) fn uploading(&self) -> Result<u64> {
        asked::uploading(self.addresses[1])
    }

    /// SIGKILL: it has no time for anything.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }
}

impl Fleet {
    /// Two controllers and three analyzers on this database, and agents that know them.
    pub(super) fn start(programs: &Path, folder: &Path, server: &Server) -> Result<Self> {
        let mut fleet = Self {
            programs: programs.to_owned(),
            folder: folder.to_owned(),
            store: server.store(),
            controllers: Vec::new(),
            analyzers: Vec::new(),
            agents: Vec::new(),
        };
        for letter in ["A", "B"] {
            let address = free()?;
            let listen = address.to_string();
            let command = words(&[
                "rpingmesh-controller",
                "run",
                "--listen",
                &listen,
                "--store",
                &fleet.store,
            ]);
            let name = format!("controller {letter}");
            let program = Program::new(name, vec![address], command);
            fleet.controllers.push(program);
        }
        for letter in ["A", "B", "C"] {
            let (grpc, web) = (free()?, free()?);
            let urls = [format!("http://{grpc}"), format!("http://{web}")];
            let (listen, page) = (grpc.to_string(), web.to_string());
            let command = words(&[
                "rpingmesh-analyzer",
                "run",
                "--listen",
                &listen,
                "--web",
                &page,
                "--store",
                &fleet.store,
                "--advertise",
                &urls[0],
                "--advertise-web",
                &urls[1],
            ]);
            let name = format!("analyzer {letter}");
            let program = Program::new(name, vec![grpc, web], command);
            fleet.analyzers.push(program);
        }
        // The layout of the database is made by the first one.
        for at in 0..2 {
            fleet.run_controller(at)?;
        }
        for at in 0..3 {
            fleet.run_analyzer(at)?;
        }
        fleet.add_agents()?;
        for at in 0..fleet.agents.len() {
            fleet.run_agent(at)?;
        }
        Ok(fleet)
    }

    fn add_agents(&mut self) -> Result<()> {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let port = port.context("open a UDP socket")?.port().to_string();
        let urls = self.controllers.iter().map(|one| one.addresses[0]);
        let urls: Vec<_> = urls.map(|address| format!("http://{address}")).collect();
        let (controllers, analyzer) = (
            urls.join(","),
            format!("http://{}", self.analyzers[0].addresses[0]),
        );
        for number in 1..=HOSTS {
            let host = format!("h{number}");
            let address = Ipv4Addr::new(127, 0, 0, 10 + number).to_string();
            let (tor, state) = (format!("tor{}", number % TORS), self.folder.join(&host));
            let command = words(&[
                "rpingmesh-agent",
                "run",
                "--host",
                &host,
                "--tor",
                &tor,
                "--state-dir",
                &state.display().to_string(),
                "--controller",
                &controllers,
                "--analyzer",
                &analyzer,
                "--transport",
                "userspace",
                "--userspace-port",
                &port,
                "--userspace-addresses",
                &address,
                "--tracing",
                "off",
                "--path-trace-mode",
                "off",
            ]);
            self.agents.push(Program::new(host, Vec::new(), command));
        }
        Ok(())
    }

    /// Starts a controller, and waits until it listens.
    pub(super) fn run_controller(&mut self, at: usize) -> Result<()> {
        let (programs, folder) = (&self.programs, &self.folder);
        run(programs, folder, &mut self.controllers[at])
    }

    /// Starts an analyzer, and waits until it listens.
    pub(super) fn run_analyzer(&mut self, at: usize) -> Result<()> {
        let (programs, folder) = (&self.programs, &self.folder);
        run(programs, folder, &mut self.analyzers[at])
    }

    /// Starts an agent.
    pub(super) fn run_agent(&mut self, at: usize) -> Result<()> {
        let (programs, folder) = (&self.programs, &self.folder);
        run(programs, folder, &mut self.agents[at])
    }

    /// Where analyzers that run are asked.
    pub(super) fn webs(&self) -> impl Iterator<Item = SocketAddr> {
        let running = self.analyzers.iter().filter(|one| one.id().is_some());
        running.filter_map(|one| one.addresses.get(1).copied())
    }

    /// What `rpingmesh status` says of controllers and analyzers.
    pub(super) fn status(&self) -> Result<Option<Status>> {
        let Some(web) = self.webs().next() else {
            return Ok(None);
        };
        let mut command = Command::new(self.programs.join("rpingmesh"));
        let analyzer = format!("http://{web}");
        command.args(["status", "--json", "--analyzer", &analyzer]);
        command.args(["--store", &self.store]);
        asked::status(command)
    }

    /// An error names a program that has ended by itself.
    pub(super) fn all_run(&mut self) -> Result<()> {
        let all = [&mut self.controllers, &mut self.analyzers, &mut self.agents];
        for program in all.into_iter().flatten() {
            if let Some(process) = &mut program.process
                && let Some(status) = process.ended()?
            {
                bail!("{} has ended: {status}", program.name);
            }
        }
        Ok(())
    }
}

/// Starts a program with a log of its own, and waits until it listens, if it does.
fn run(programs: &Path, folder: &Path, program: &mut Program) -> Result<()> {
    let log = folder.join(format!("{}.log", program.name.replace(' ', "-")));
    let log = fs::File::options().create(true).append(true).open(log);
    let log = log.context("write a log")?;
    let mut command = Command::new(programs.join(&program.command[0]));
    command.args(&program.command[1..]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(log);
    program.process = Some(Owned::spawn(&mut command)?);
    for address in &program.addresses {
        let what = format!("{} listens", program.name);
        until(&what, || Ok(TcpStream::connect(address).ok().map(drop)))?;
    }
    Ok(())
}
