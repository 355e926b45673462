//! Network namespaces that go away with the value that holds them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::program::Program;

/// Names of all namespaces begin with this and the number of the process that made them.
const PREFIX: &str = "rpm";

/// Namespaces of one test.
pub(crate) struct Namespaces {
    prefix: String,
    names: Vec<String>,
}

impl Namespaces {
    /// Makes them, with their loopback interfaces up. What a killed test left behind is removed first.
    pub(crate) fn new(test: &str, names: &[String]) -> Self {
        sweep();
        let mut namespaces = Self {
            prefix: format!("{PREFIX}{}-{test}-", std::process::id()),
            names: Vec::new(),
        };
        for name in names {
            // Before it is made, so that it is removed whatever happens.
            namespaces.names.push(name.clone());
            ip(&["netns", "add", &namespaces.full(name)], "");
            namespaces.batch(name, "link set dev lo up\n");
            // Addresses are usable at once, and ICMP is answered without limits.
            namespaces.shell(
                name,
                "cd /proc/sys/net; for f in ipv6/conf/*/accept_dad; do echo 0 > $f; done; \
                 echo 0 > ipv4/icmp_ratemask; echo 0 > ipv6/icmp/ratelimit",
            );
        }
        namespaces
    }

    /// The name that the system knows it by.
    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A cable: an interface named `b` in `a`, and one named `a` in `b`, each with its addresses.
    pub(crate) fn cable(
        &self,
        (a, a_addresses): (&str, &[&str]),
        (b, b_addresses): (&str, &[&str]),
    ) {
        let (full_a, full_b) = (self.full(a), self.full(b));
        ip(
            &[
                "link", "add", "name", b, "netns", &full_a, "type", "veth", "peer", "name", a,
                "netns", &full_b,
            ],
            "",
        );
        for (name, interface, addresses) in [(a, b, a_addresses), (b, a, b_addresses)] {
            let lines: Vec<_> = addresses
                .iter()
                .map(|address| {
                    let no_wait = if address.contains(':') { " nodad" } else { "" };
                    format!("address add {address} dev {interface}{no_wait}\n")
                })
                .chain([format!("link set dev {interface} up\n")])
                .collect();
            self.batch(name, &lines.concat());
        }
    }

    /// Runs lines of `ip` in a namespace; gives what they print.
    pub(crate) fn batch(&self, name: &str, lines: &str) -> String {
        ip(&["-n", &self.full(name), "-batch", "-"], lines)
    }

    /// Runs a shell script in a namespace; gives what it prints.
    pub(crate) fn shell(&self, name: &str, script: &str) -> String {
        let output = self.try_shell(name, script);
        assert!(output.status.success(), "{name}: {script}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same, whatever the status.
    pub(crate) fn try_shell(&self, name: &str, script: &str) -> Output {
        run(
            Command::new("ip").args(["netns", "exec", &self.full(name), "bash", "-c", script]),
            "",
        )
    }

    /// Makes a namespace a router that answers expired packets from the interface they came in by.
    pub(crate) fn make_router(&self, name: &str) {
        self.shell(
            name,
            "cd /proc/sys/net; for f in ipv4/conf/*/rp_filter; do echo 0 > $f; done; \
             echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding; echo 1 > ipv4/fib_multipath_hash_policy; \
             echo 1 > ipv4/icmp_errors_use_inbound_ifaddr",
        );
    }

    /// Starts one of our programs in a namespace.
    pub(crate) fn start(&self, name: &str, program: &str, arguments: &[&str]) -> Program {
        let full = self.full(name);
        let mut all = vec!["netns", "exec", &full, program];
        all.extend(arguments);
        Program::start(&tool("ip"), &all)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // One that could not be made cannot be removed.
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.full(name)])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Removes the namespaces of processes that are gone.
fn sweep() {
    for line in ip(&["netns", "list"], "").lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another test may sweep at the same time.
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

fn ip(arguments: &[&str], input: &str) -> String {
    let output = run(Command::new("ip").args(arguments), input);
    assert!(
        output.status.success(),
        "ip {arguments:?}: {input}: {output:?}"
    );
    String::from_utf8(output.stdout).expect("text")
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("pipe");
    let input = input.to_owned();
    // A thread of its own: input and output may both be larger than a pipe.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    // A command that ends early does not read all; its status says so.
    let _ = writer.join().expect("no panic");
    output
}

/// The full path of a program: ours are started without any environment.
fn tool(name: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("`{name}` is not installed"))
        .to_str()
        .expect("text")
        .to_owned()
}
