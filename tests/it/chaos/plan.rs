//! What happens in a run: all of it follows from its seed.

use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rpingmesh::fabric::scenario::Server;
use rpingmesh::fabric::topology::Shape;
use rpingmesh::fault::Fault;

use super::link::Way;

/// Six hosts with one RNIC each, under three ToRs.
pub(super) const SHAPE: Shape = Shape {
    spines: 2,
    tors: 3,
    hosts: 2,
    rnics: 1,
    ..Shape::DEFAULT
};
pub(super) const HOSTS: usize = 6;
/// The first second with a deed: all agents have reported by then.
const FIRST: u64 = 6;
/// From this second on everything works again, but for the fault of the fabric.
pub(super) const CALM: u64 = 36;
/// The last second in which anything is probed: the calm is long enough to find the fault, and the longest window holds the whole run.
pub(super) const END: u64 = 76;
/// Time between two kills of one agent, in seconds.
const PAUSE: u64 = 3;
/// A killed agent's queue pairs are gone; those of its next run are there just before it is. The fabric does both at these times.
const REOPENED: Duration = Duration::from_millis(50);
/// A spool that overflows when the analyzer is away for some seconds, in bytes.
const SMALL_SPOOL: u64 = 6_000;
const LARGE_SPOOL: u64 = 64 << 20;

/// When in its second a deed is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// Before the second's results are put into batches.
    Collected,
    /// Right after the batches went into the spools.
    Spooled,
    /// While they are on their way: the tasks have had so many turns.
    Underway(u32),
    /// When everything was acknowledged that can be.
    Quiet,
}

/// What is found in the place of a spool or of a server's database at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// What the killed process left.
    Left,
    /// The same, and a copy of it is kept.
    Copied,
    /// An older copy, if there is one.
    OlderCopy,
    /// The last bytes are missing, so many: the power failed. Only of spools.
    CutOff(u64),
}

/// Something that is done to the programs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    /// SIGKILL; it is started again after so many seconds.
    KillAgent {
        host: usize,
        away: u64,
        found: Found,
    },
    /// The same to a server.
    KillServer {
        server: Server,
        away: u64,
        found: Found,
    },
    /// The network between an agent and a server fails, for so many seconds.
    Part {
        host: usize,
        server: Server,
        way: Way,
        lasts: u64,
    },
    /// An agent's disk takes nothing, for so many seconds.
    FailDisk { host: usize, lasts: u64 },
    /// The disk of a server is full, or does not answer, for so many seconds.
    FillDisk {
        server: Server,
        hangs: bool,
        lasts: u64,
    },
    /// A backup of a running agent's spool.
    CopySpool { host: usize },
}

/// A deed with its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) second: u64,
    pub(super) moment: Moment,
    pub(super) deed: Deed,
}

/// All of a run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// What is wrong with the network itself from some time on, and the host whose RNIC it is.
    pub(super) fault: Option<(usize, Fault)>,
    /// The same of the agents' kills: what the fabric sees of them.
    pub(super) kills: Vec<Fault>,
    /// In bytes.
    pub(super) spool_limit: u64,
    /// In the order of time.
    pub(super) deeds: Vec<Planned>,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut draw = Draw {
            random: ChaCha8Rng::seed_from_u64(seed),
            dead: Vec::new(),
            faulty: None,
        };
        let fault = draw.fault();
        draw.faulty = fault.as_ref().map(|(host, _)| *host);
        let spool_limit = if draw.random.random_bool(0.25) {
            SMALL_SPOOL
        } else {
            LARGE_SPOOL
        };
        let count = draw.random.random_range(3..=12);
        let mut deeds: Vec<Planned> = Vec::new();
        if draw.random.random_bool(0.25) {
            deeds.extend(draw.older_copy_twice());
        }
        deeds.extend((0..count).filter_map(|_| draw.planned()));
        deeds.sort_by_key(|planned| planned.second);
        let kills = deeds.iter().flat_map(seen_by_the_fabric).collect();
        Self {
            seed,
            fault,
            kills,
            spool_limit,
            deeds,
        }
    }

    /// How often an agent is killed.
    pub(super) fn kills_of(&self, host: usize) -> usize {
        let kills = self.deeds.iter().filter(
            |planned| matches!(planned.deed, Deed::KillAgent { host: killed, .. } if killed == host),
        );
        kills.count()
    }
}

fn fault(text: &str) -> Fault {
    text.parse().expect("a fault")
}

/// What a kill does to the fabric: nothing answers at the host's RNIC, and then another queue pair does.
fn seen_by_the_fabric(planned: &Planned) -> Vec<Fault> {
    let Deed::KillAgent { host, away, .. } = planned.deed else {
        return Vec::new();
    };
    let reopened = Duration::from_secs(planned.second + away).saturating_sub(REOPENED);
    vec![
        fault(&format!(
            "host host{host} down at={}s for={away}s",
            planned.second
        )),
        fault(&format!(
            "host host{host} restart at={}ms",
            reopened.as_millis()
        )),
    ]
}

struct Draw {
    random: ChaCha8Rng,
    /// Hosts whose agents are dead, from and until.
    dead: Vec<(usize, u64, u64)>,
    /// The host of the fabric's fault: its agent lives, so that it can be told which of both it is.
    faulty: Option<usize>,
}

impl Draw {
    fn fault(&mut self) -> Option<(usize, Fault)> {
        if !self.random.random_bool(0.4) {
            return None;
        }
        let host = self.random.random_range(0..HOSTS);
        let at = self.random.random_range(FIRST..CALM);
        let effects = ["down", "loss=40%"];
        let effect = effects.choose(&mut self.random)?;
        let text = format!("rnic host{host}/0 {effect} at={at}s");
        Some((host, fault(&text)))
    }

    /// What chance alone would rarely bring together: the agent goes on with an older copy of its spool while the analyzer is
    /// away, and is killed once more before that comes back.
    fn older_copy_twice(&mut self) -> Vec<Planned> {
        let host = self.random.random_range(0..HOSTS);
        let begin = self.random.random_range(FIRST..CALM - 13);
        let deed = |second, deed| Planned {
            second: begin + second,
            moment: Moment::Quiet,
            deed,
        };
        let first = self.killed(host, begin + 4, 1, Found::OlderCopy);
        let second = self.killed(host, begin + 8, 1, Found::Left);
        let (Some(first), Some(second)) = (first, second) else {
            return Vec::new();
        };
        let away = Deed::KillServer {
            server: Server::Analyzer,
            away: 10,
            found: Found::Left,
        };
        vec![
            deed(0, Deed::CopySpool { host }),
            deed(3, away),
            deed(4, first),
            deed(8, second),
        ]
    }

    /// A deed that is possible beside the others.
    fn planned(&mut self) -> Option<Planned> {
        let second = self.random.random_range(FIRST..CALM - 2);
        let lasts = self.random.random_range(1..=9).min(CALM - second);
        let moment = match self.random.random_range(0..4) {
            0 => Moment::Collected,
            1 => Moment::Spooled,
            2 => Moment::Underway(self.random.random_range(1..200)),
            _ => Moment::Quiet,
        };
        let host = self.random.random_range(0..HOSTS);
        let server = if self.random.random_bool(0.7) {
            Server::Analyzer
        } else {
            Server::Controller
        };
        let deed = match self.random.random_range(0..12) {
            0..=2 => self.kill_agent(host, second, lasts)?,
            3..=5 => Deed::KillServer {
                server,
                away: lasts,
                found: self.database(),
            },
            6 | 7 => Deed::Part {
                host,
                server,
                way: self.way(),
                lasts,
            },
            8 => Deed::FailDisk { host, lasts },
            9 => Deed::FillDisk {
                server,
                hangs: self.random.random_bool(0.5),
                lasts,
            },
            _ => Deed::CopySpool { host },
        };
        Some(Planned {
            second,
            moment,
            deed,
        })
    }

    fn kill_agent(&mut self, host: usize, second: u64, away: u64) -> Option<Deed> {
        let found = match self.random.random_range(0..6) {
            0..=2 => Found::Left,
            3 | 4 => Found::OlderCopy,
            _ => Found::CutOff(self.random.random_range(1..200)),
        };
        self.killed(host, second, away, found)
    }

    /// A kill, unless the agent is dead then, or must live.
    fn killed(&mut self, host: usize, second: u64, away: u64, found: Found) -> Option<Deed> {
        let overlaps = |(dead, from, until): &(usize, u64, u64)| {
            *dead == host && second < until + PAUSE && *from < second + away + PAUSE
        };
        if self.faulty == Some(host) || self.dead.iter().any(overlaps) {
            return None;
        }
        self.dead.push((host, second, second + away));
        Some(Deed::KillAgent { host, away, found })
    }

    fn database(&mut self) -> Found {
        match self.random.random_range(0..4) {
            0 | 1 => Found::Left,
            2 => Found::Copied,
            _ => Found::OlderCopy,
        }
    }

    fn way(&mut self) -> Way {
        let ways = [
            Way::Closed,
            Way::Silent {
                up: true,
                down: true,
            },
            // Batches arrive, acknowledgements do not.
            Way::Silent {
                up: false,
                down: true,
            },
            Way::Silent {
                up: true,
                down: false,
            },
        ];
        *ways.choose(&mut self.random).expect("some")
    }
}
