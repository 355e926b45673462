//! A Clos fabric of namespaces: two spines, four ToRs, two hosts under each ToR.
//!
//! | cable | network |
//! |---|---|
//! | host `h<i>` - its ToR | 10.1.`<i>`.0/30: ToR .1, host .2 |
//! | ToR `t<t>` - spine `s<s>` | 10.2.`<2t + s>`.0/30: ToR .1, spine .2 |
//! | all hosts - `m`, where controller and analyzer run | 10.9.`<i>`.0/30: `m` .1, host .2 |
//!
//! Linux sorts addresses and ports before it hashes them, so ACKs would always come back by the spine that the probe took,
//! and nothing could tell the directions of a cable apart. Half of the ToRs list the spines in the other order.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lab::Namespaces;
use crate::support::program::{AGENT, ANALYZER, CONTROLLER, OPERATOR, Program};

pub(crate) const SPINES: usize = 2;
pub(crate) const TORS: usize = 4;
pub(crate) const HOSTS: usize = 8;
const LOOK: Duration = Duration::from_millis(500);

pub(crate) const fn tor_of(host: usize) -> usize {
    host / (HOSTS / TORS)
}

fn host_address(host: usize) -> String {
    format!("10.1.{host}.2")
}

fn host_of(address: &str) -> usize {
    address
        .split('.')
        .nth(2)
        .and_then(|part| part.parse().ok())
        .unwrap_or_else(|| panic!("{address} is no host"))
}

/// The fabric as an operator describes it: cables, hosts, and by which of their interfaces spines answer traces.
fn topology_file() -> Value {
    let pairs = || (0..TORS).flat_map(|t| (0..SPINES).map(move |s| (t, s)));
    let links: Vec<_> = pairs()
        .map(|(t, s)| serde_json::json!({"a": format!("t{t}"), "b": format!("s{s}")}))
        .collect();
    let hosts: Vec<_> = (0..HOSTS)
        .map(|h| serde_json::json!({"name": format!("h{h}"), "tor": format!("t{}", tor_of(h))}))
        .collect();
    let switches: Vec<_> = (0..SPINES)
        .map(|s| {
            let interfaces = (0..TORS).map(|t| format!("10.2.{}.2", SPINES * t + s));
            serde_json::json!({
                "name": format!("s{s}"), "addresses": interfaces.collect::<Vec<_>>(),
            })
        })
        .collect();
    serde_json::json!({"links": links, "hosts": hosts, "switches": switches})
}

/// What is probed: from which host to which, by which UDP source port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) source: usize,
    pub(crate) target: usize,
    pub(crate) port: u16,
}

impl Tuple {
    pub(crate) fn of(path: &Value) -> Self {
        let gid = |end: &str| host_of(path[end]["gid"].as_str().expect("a GID"));
        Self {
            source: gid("source"),
            target: gid("target"),
            port: u16::try_from(path["source_port"].as_u64().expect("a port")).expect("16 bits"),
        }
    }

    pub(crate) fn stays_under_its_tor(self) -> bool {
        tor_of(self.source) == tor_of(self.target)
    }

    /// The way of the ACKs.
    pub(crate) fn back(self) -> Self {
        Self {
            source: self.target,
            target: self.source,
            port: self.port,
        }
    }
}

/// The namespaces and the programs in them. Programs go first.
pub(crate) struct Clos {
    programs: Vec<Program>,
    spaces: Namespaces,
    folder: tempfile::TempDir,
}

impl Clos {
    /// Builds the fabric and starts everything in it.
    pub(crate) fn start(test: &str) -> Self {
        let numbered = |letter: &str, count| (0..count).map(|n| format!("{letter}{n}")).collect();
        let (spines, tors, hosts): (Vec<_>, Vec<_>, Vec<_>) = (
            numbered("s", SPINES),
            numbered("t", TORS),
            numbered("h", HOSTS),
        );
        let all: Vec<String> = [&spines[..], &tors, &hosts, &["m".to_owned()]].concat();
        let spaces = Namespaces::new(test, &all);
        for (h, host) in hosts.iter().enumerate() {
            let (own, tor) = (format!("10.1.{h}.2/30"), format!("10.1.{h}.1/30"));
            spaces.cable((host, &[&own]), (&tors[tor_of(h)], &[&tor]));
            let (own, servers) = (format!("10.9.{h}.2/30"), format!("10.9.{h}.1/30"));
            spaces.cable((host, &[&own]), ("m", &[&servers]));
            spaces.batch(host, &format!("route add 10.0.0.0/8 via 10.1.{h}.1\n"));
        }
        for (t, tor) in tors.iter().enumerate() {
            let mut hops = Vec::new();
            for (s, spine) in spines.iter().enumerate() {
                let net = SPINES * t + s;
                let (lower, upper) = (format!("10.2.{net}.1/30"), format!("10.2.{net}.2/30"));
                spaces.cable((tor, &[&lower]), (spine, &[&upper]));
                hops.push(format!("nexthop via 10.2.{net}.2"));
                let routes: Vec<_> = (0..HOSTS)
                    .filter(|h| tor_of(*h) == t)
                    .map(|h| format!("route add 10.1.{h}.0/30 via 10.2.{net}.1\n"))
                    .collect();
                spaces.batch(spine, &routes.concat());
            }
            if t >= TORS / 2 {
                hops.reverse();
            }
            spaces.batch(tor, &format!("route add 10.1.0.0/16 {}\n", hops.join(" ")));
        }
        for router in spines.iter().chain(&tors) {
            spaces.make_router(router);
        }
        let mut clos = Self {
            programs: Vec::new(),
            spaces,
            folder: tempfile::tempdir().expect("a folder"),
        };
        clos.start_programs();
        clos
    }

    fn start_programs(&mut self) {
        let state = |name: &str| self.folder.path().join(name).display().to_string();
        let (registry, journal) = (
            format!("sqlite:{}", state("registry.db")),
            format!("sqlite:{}", state("analyzer.db")),
        );
        let mut controller = self.spaces.start(
            "m",
            CONTROLLER,
            &[
                "run",
                "--listen=0.0.0.0:7470",
                "--tls-allow-plaintext",
                "--pinglist-parallel-paths=2",
                "--pinglist-tor-mesh-rate=10",
                "--pinglist-link-rate=20",
                &format!("--store={registry}"),
            ],
        );
        let topology = self.folder.path().join("topology.json");
        std::fs::write(&topology, topology_file().to_string()).expect("a file");
        let mut analyzer = self.spaces.start(
            "m",
            ANALYZER,
            &[
                "run",
                "--listen=0.0.0.0:7471",
                "--tls-allow-plaintext",
                &format!("--topology={}", topology.display()),
                &format!("--store={journal}"),
            ],
        );
        controller.wait_for(&["listens"]);
        analyzer.wait_for(&["ready"]);
        let agents: Vec<_> = (0..HOSTS)
            .map(|h| {
                let host = format!("h{h}");
                self.spaces.start(
                    &host,
                    AGENT,
                    &[
                        "run",
                        "--transport=userspace",
                        "--tls-allow-plaintext",
                        &format!("--userspace-addresses={}", host_address(h)),
                        &format!("--controller=http://10.9.{h}.1:7470"),
                        &format!("--analyzer=http://10.9.{h}.1:7471"),
                        &format!("--tor=t{}", tor_of(h)),
                        &format!("--host={host}"),
                        &format!("--state-dir={}", state(&host)),
                        "--path-trace-mode=on",
                        "--path-trace-interval=10s",
                        "--path-trace-rate=20",
                        "--path-trace-switch-rate=200",
                    ],
                )
            })
            .collect();
        self.programs = agents;
        self.programs.extend([controller, analyzer]);
    }

    /// What `rpingmesh` prints, asked beside the analyzer.
    pub(crate) fn operator(&self, arguments: &str) -> String {
        self.spaces.shell("m", &format!("{OPERATOR} {arguments}"))
    }

    /// What the analyzer answers.
    pub(crate) fn get(&self, path: &str) -> Value {
        let request =
            format!("GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n");
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/7472; printf '{request}' >&3; cat <&3");
        let answer = self.spaces.shell("m", &script);
        let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Looks until `judge` is content, and gives what it found; it says what it misses.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        path: &str,
        judge: impl Fn(&Value) -> Result<T, String>,
    ) -> T {
        let end = Instant::now() + patience;
        loop {
            let answer = self.get(path);
            match judge(&answer) {
                Ok(found) => return found,
                Err(missing) => assert!(
                    Instant::now() < end,
                    "{path}: {missing} after {patience:?}: {answer:#}"
                ),
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The spine that the kernel of the source's ToR chooses for each 5-tuple, asked of that kernel.
    pub(crate) fn spines(&self, tuples: &[Tuple]) -> HashMap<Tuple, usize> {
        let mut spines = HashMap::new();
        for tor in 0..TORS {
            let asked: Vec<_> = tuples
                .iter()
                .filter(|tuple| tor_of(tuple.source) == tor && !tuple.stays_under_its_tor())
                .collect();
            let lines: Vec<_> = asked
                .iter()
                .map(|tuple| {
                    format!(
                        "route get {} from {} iif h{} ipproto udp sport {} dport 4791\n",
                        host_address(tuple.target),
                        host_address(tuple.source),
                        tuple.source,
                        tuple.port
                    )
                })
                .collect();
            let answer = self.spaces.batch(&format!("t{tor}"), &lines.concat());
            let chosen: Vec<usize> = answer
                .lines()
                .filter_map(|line| line.split(" dev s").nth(1)?.split_whitespace().next())
                .map(|number| number.parse().expect("a spine"))
                .collect();
            assert_eq!(chosen.len(), asked.len(), "{answer}");
            spines.extend(asked.into_iter().copied().zip(chosen));
        }
        spines
    }

    /// The interfaces that packets of a 5-tuple enter switches by.
    pub(crate) fn route(tuple: Tuple, spine: Option<usize>) -> Vec<String> {
        let mut route = vec![format!("10.1.{}.1", tuple.source)];
        if let Some(spine) = spine {
            route.push(format!("10.2.{}.2", SPINES * tor_of(tuple.source) + spine));
            route.push(format!("10.2.{}.1", SPINES * tor_of(tuple.target) + spine));
        }
        route
    }

    /// Drops packets that leave a spine towards a ToR: `share` of 100, whatever they are.
    pub(crate) fn drop_packets(&self, spine: usize, tor: usize, share: u32) {
        self.repair(spine);
        let which = match share {
            100 => String::new(),
            share => format!("numgen random mod 100 < {share}"),
        };
        self.spaces.shell(
            &format!("s{spine}"),
            &format!(
                "nft 'add table ip fault; \
                 add chain ip fault out {{ type filter hook postrouting priority 0; }}; \
                 add rule ip fault out oifname \"t{tor}\" {which} drop'"
            ),
        );
    }

    /// Takes the fault away.
    pub(crate) fn repair(&self, spine: usize) {
        self.spaces.shell(
            &format!("s{spine}"),
            "nft 'add table ip fault; delete table ip fault'",
        );
    }

    /// Stops everything as systemd does.
    pub(crate) fn stop(mut self) {
        for program in self.programs.drain(..) {
            program.stop();
        }
    }
}
