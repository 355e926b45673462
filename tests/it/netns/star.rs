//! Hosts of a management network: each is a namespace with a cable to the router `m`, which can cut any two of them apart.
//!
//! | cable | network |
//! |---|---|
//! | host number `n` - `m` | 10.7.`<n>`.0/30: `m` .1, host .2 |
//!
//! A cut drops packets and closes nothing, as a firewall or a switch does it. `m` itself reaches all hosts all the time.

use super::lab::Namespaces;
use crate::support::program::Program;

const ROUTER: &str = "m";

/// The hosts. Programs in them go first.
pub(crate) struct Star {
    spaces: Namespaces,
    hosts: Vec<String>,
}

impl Star {
    pub(crate) fn new(test: &str, hosts: &[String]) -> Self {
        let all = [hosts, &[ROUTER.to_owned()]].concat();
        let spaces = Namespaces::new(test, &all);
        for (n, host) in hosts.iter().enumerate() {
            let (own, router) = (format!("10.7.{n}.2/30"), format!("10.7.{n}.1/30"));
            spaces.cable((host, &[&own]), (ROUTER, &[&router]));
            spaces.batch(host, &format!("route add default via 10.7.{n}.1\n"));
        }
        spaces.make_router(ROUTER);
        spaces.shell(
            ROUTER,
            "nft 'add table ip cut; add chain ip cut forward { type filter hook forward priority 0; }'",
        );
        let hosts = hosts.to_vec();
        Self { spaces, hosts }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: &str) -> String {
        let number = self.hosts.iter().position(|one| one == host);
        let number = number.unwrap_or_else(|| panic!("{host} is not one of the hosts"));
        format!("10.7.{number}.2")
    }

    /// The name of a host's namespace.
    pub(crate) fn space(&self, host: &str) -> String {
        self.spaces.full(host)
    }

    /// Starts one of our programs on a host.
    pub(crate) fn start(&self, host: &str, program: &str, arguments: &[&str]) -> Program {
        self.spaces.start(host, program, arguments)
    }

    /// Cuts each of some hosts off from each of others, in both directions.
    pub(crate) fn cut(&self, some: &[&str], others: &[&str]) {
        self.cut_one_way(some, others);
        self.cut_one_way(others, some);
    }

    /// Drops what some hosts send to others. What these send arrives.
    pub(crate) fn cut_one_way(&self, from: &[&str], to: &[&str]) {
        let set = |hosts: &[&str]| {
            let addresses: Vec<_> = hosts.iter().map(|host| self.address(host)).collect();
            addresses.join(", ")
        };
        let rule = format!(
            "add rule ip cut forward ip saddr {{ {} }} ip daddr {{ {} }} drop",
            set(from),
            set(to)
        );
        self.spaces.shell(ROUTER, &format!("nft '{rule}'"));
    }

    /// Cuts a host off from all others.
    pub(crate) fn isolate(&self, host: &str) {
        let others = self.hosts.iter().map(String::as_str);
        let others: Vec<_> = others.filter(|other| *other != host).collect();
        self.cut(&[host], &others);
    }

    /// Takes all cuts away.
    pub(crate) fn heal(&self) {
        self.spaces.shell(ROUTER, "nft flush chain ip cut forward");
    }

    /// What a server on a host answers to a GET: status line, headers and body. `None` if it does not answer.
    pub(crate) fn get(&self, address: &str, path: &str) -> Option<String> {
        let (host, port) = address.split_once(':')?;
        let request =
            format!("GET {path} HTTP/1.1\\r\\nHost: {address}\\r\\nConnection: close\\r\\n\\r\\n");
        let script = format!(
            "exec 3<>/dev/tcp/{host}/{port} && printf '{request}' >&3 && timeout 3 cat <&3"
        );
        let done = self.spaces.try_shell(ROUTER, &script);
        let text = String::from_utf8(done.stdout).ok()?;
        (done.status.success() && !text.is_empty()).then_some(text)
    }
}
