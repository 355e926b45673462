//! Findings about the operating system and the servers. Read from files that a system may lack, which is then said.

use std::fs;
use std::time::Duration;

use rpingmesh::config::agent::{AgentConfig, AgentSettings, TracingChoice};
use rpingmesh::error::describe;
use rpingmesh::net::url::Url;
use rpingmesh::path_trace::raw::RawTracer;
use rpingmesh::service::trace::{DEVX_UNSEEN, UNPROVED, Unavailable};
use rpingmesh::topology::lldp::Neighbours;
use rpingmesh::transport::Provider as _;
use rpingmesh::transport::userspace::{self, UserspaceProvider};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::{tracer, transports};

/// Pinned for the queues of one endpoint, rounded up.
const MEMLOCK_NEEDED: u64 = 1 << 20;
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Lifts the limit of locked memory (Linux `capability.h`).
const CAP_IPC_LOCK: u32 = 14;
/// Bits of `CapEff`: `CAP_NET_RAW`, `CAP_SYS_ADMIN`, `CAP_PERFMON`, `CAP_BPF` (Linux `capability.h`).
const CAPABILITIES: [(&str, u32); 4] = [
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];
const NAME_SWITCH: &str =
    "look whether the switch sends LLDP with its system name, or name it (`device_tors`)";
/// Without this function nothing is followed; the tracer says what it does not see without others.
const SYMBOLS: [&str; 1] = ["ib_modify_qp_with_udata"];

pub(super) fn kernel() -> Finding {
    let name = rustix::system::uname();
    Finding::ok(
        "kernel",
        format!(
            "{} {} {}",
            name.sysname().to_string_lossy(),
            name.release().to_string_lossy(),
            name.machine().to_string_lossy()
        ),
    )
}

/// The switches at this host's interfaces, where they are to come from lldpd.
pub(super) fn lldp(settings: &AgentSettings) -> Option<Finding> {
    let file = settings.lldp.as_ref()?;
    let neighbours = match Neighbours::read(file) {
        Ok(neighbours) => neighbours,
        Err(error) => {
            let advice = format!("lldpcli -f json0 show neighbors > {}", file.display());
            return Some(Finding::note("lldp", error.to_string(), advice));
        }
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for interface in neighbours.interfaces() {
        match neighbours.at(interface) {
            Ok(tor) => known.push(format!("{interface} {tor}")),
            Err(error) => unknown.push(error.to_string()),
        }
    }
    if known.is_empty() {
        known.push("none".to_owned());
        unknown.push("no switch is known".to_owned());
    }
    let message = format!("switches at interfaces: {}", known.join(", "));
    Some(if unknown.is_empty() {
        Finding::ok("lldp", message)
    } else {
        Finding::note(
            "lldp",
            format!("{message}; {}", unknown.join("; ")),
            NAME_SWITCH,
        )
    })
}

pub(super) fn memlock() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capable = effective_capabilities(&status)
        .is_some_and(|effective| effective & (1 << CAP_IPC_LOCK) != 0);
    locked_memory(getrlimit(Resource::Memlock).current, capable)
}

/// `limit` in bytes, `None` for no limit; `capable` where CAP_IPC_LOCK lifts it.
fn locked_memory(limit: Option<u64>, capable: bool) -> Finding {
    match limit {
        None => Finding::ok("memlock", "unlimited"),
        Some(limit) if capable => Finding::ok(
            "memlock",
            format!("CAP_IPC_LOCK lifts the limit of {limit} bytes"),
        ),
        Some(limit) if limit < MEMLOCK_NEEDED => Finding::problem(
            "memlock",
            format!("only {limit} bytes may be locked, an endpoint needs about {MEMLOCK_NEEDED}"),
            "raise it: `ulimit -l unlimited`, LimitMEMLOCK=infinity in the systemd unit, or give CAP_IPC_LOCK",
        ),
        Some(limit) => Finding::ok("memlock", format!("{limit} bytes may be locked")),
    }
}

/// The files that others can read or change, or that there are none.
pub(super) fn files(settings: &AgentSettings) -> Vec<Finding> {
    let weak = settings.weak_files();
    if weak.is_empty() {
        return vec![Finding::ok("files", "keys are for this user alone")];
    }
    weak.iter()
        .map(|file| Finding::note("files", file.to_string(), file.command()))
        .collect()
}

/// Whether the certificate names this agent; nothing without TLS.
pub(super) fn certificate(config: &AgentConfig) -> Option<Finding> {
    config.misnamed().map(|why| {
        Finding::problem(
            "certificate",
            why,
            "controller and analyzer refuse this agent: see docs/security.md, \"Who an agent is\"",
        )
    })
}

/// How many files and connections the agent may open: it raises the limit to the hard one.
pub(super) fn descriptors() -> Finding {
    const NEEDED: u64 = 1_024;
    match getrlimit(Resource::Nofile).maximum {
        Some(hard) if hard < NEEDED => Finding::note(
            "descriptors",
            format!("only {hard} files and connections may be open"),
            "raise the hard limit: LimitNOFILE in the systemd unit, `ulimit -Hn` in a shell",
        ),
        Some(hard) => Finding::ok("descriptors", format!("{hard} may be open")),
        None => Finding::ok("descriptors", "unlimited"),
    }
}

/// Without binding it: that alone would keep soft-RoCE from starting.
pub(super) fn port_in_use(port: u16) -> Finding {
    let tables: Vec<_> = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    if tables.is_empty() {
        return Finding::note(
            "port",
            format!("it is unknown whether UDP port {port} is in use"),
            "look with `netstat -an`",
        );
    }
    if tables.iter().any(|table| has_port(table, port)) {
        Finding::ok(
            "port",
            format!("UDP port {port} is in use (soft-RoCE, when it runs)"),
        )
    } else {
        Finding::ok("port", format!("UDP port {port} is free"))
    }
}

/// Whether a table of `/proc/net` has a socket with this local port: `  sl  local_address …`, `ADDRESS:PORT` in
/// hexadecimal.
fn has_port(table: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .any(|local| local.ends_with(&suffix))
}

/// Opens each endpoint for a moment.
pub(super) fn userspace(config: &AgentConfig) -> Vec<Finding> {
    let provider = UserspaceProvider::new(userspace::Config {
        addresses: config.settings.userspace_addresses.clone(),
        udp_port: config.settings.userspace_port,
        ..userspace::Config::default()
    });
    let ports = match provider.discover() {
        Ok(ports) => ports,
        Err(error) => {
            return vec![Finding::problem(
                "userspace",
                describe(&error),
                "name addresses of this host in `userspace_addresses`",
            )];
        }
    };
    let Ok(runtime) = crate::cli::runtime() else {
        return vec![Finding::problem(
            "userspace",
            "no runtime",
            "free some memory or file descriptors",
        )];
    };
    let _context = runtime.enter();
    ports
        .into_iter()
        .filter(|port| config.allows(&port.name))
        .map(|port| match provider.open(&port.name) {
            Ok(endpoint) => Finding::ok(
                "userspace",
                format!(
                    "{}: {} can be used, completions stamped by {:?}",
                    port.name,
                    port.gid,
                    endpoint.capabilities().clock
                ),
            ),
            Err(error) => Finding::problem(
                "userspace",
                describe(&error),
                "stop what uses the port (soft-RoCE does), or choose other addresses in `userspace_addresses`",
            ),
        })
        .collect()
}

pub(super) fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        return Finding::ok("capabilities", "this system has no capabilities");
    };
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| effective & (1 << bit) == 0)
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        Finding::ok("capabilities", "all that any part of the agent uses")
    } else {
        Finding::note(
            "capabilities",
            format!("without {}", missing.join(", ")),
            "probing needs none of them; service and path tracing do (AmbientCapabilities in the systemd unit)",
        )
    }
}

pub(super) fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether paths can be traced. Never a problem: the agent does without.
pub(super) fn path_tracing(config: &AgentConfig) -> Finding {
    if config.settings.path_trace.mode == TracingChoice::Off {
        return Finding::note(
            "path_tracing",
            "off by configuration",
            "set `path_trace.mode` to auto: faults are located better where the paths are known",
        );
    }
    match RawTracer::new() {
        Ok(_) => Finding::ok(
            "path_tracing",
            "raw sockets can be opened, paths can be traced",
        ),
        Err(error) => Finding::note(
            "path_tracing",
            describe(&error),
            "without it faults are located by candidate paths: give the agent CAP_NET_RAW, or set `path_trace.mode` to off",
        ),
    }
}

/// What following the services' connections needs. Never a problem: the agent does without.
pub(super) fn tracing(config: &AgentConfig) -> Vec<Finding> {
    if !tracer::EXISTS {
        return vec![Finding::note(
            "tracing",
            Unavailable::Unsupported.to_string(),
            Unavailable::Unsupported.advice(),
        )];
    }
    let mut findings = vec![if fs::metadata(VMLINUX).is_ok() {
        Finding::ok("btf", format!("{VMLINUX} is there"))
    } else {
        Finding::note(
            "btf",
            format!("{VMLINUX} is missing, services cannot be traced"),
            "use a kernel with CONFIG_DEBUG_INFO_BTF",
        )
    }];
    if !tracer::has_ib_core() {
        findings.push(Finding::note(
            "tracing",
            "ib_core is not loaded; services are traced as soon as it is",
            "load it (`modprobe ib_core`), or a driver that needs it",
        ));
        return findings;
    }
    findings.push(match tracer::layout() {
        Ok(described) => Finding::ok("btf", described),
        Err(why) => Finding::note(
            "btf",
            why.to_string(),
            "nothing to do if the next finding about tracing is good: then the kernel's description was found to fit",
        ),
    });
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let missing: Vec<_> = SYMBOLS
        .iter()
        .filter(|symbol| {
            !symbols
                .lines()
                .any(|line| line.split_whitespace().nth(2) == Some(symbol))
        })
        .copied()
        .collect();
    findings.push(if missing.is_empty() {
        Finding::ok("symbols", "the kernel has ib_modify_qp_with_udata")
    } else {
        Finding::note(
            "symbols",
            format!(
                "the kernel has no {}, services cannot be traced",
                missing.join(", ")
            ),
            "use a kernel with CONFIG_KPROBES and a loaded ib_core from 5.10 or newer",
        )
    });
    findings.push(traceable(config));
    findings
}

/// Loads and attaches the programs for a moment, and compares what they read of a queue pair of this program's own: what the
/// kernel says then is the only sure answer.
fn traceable(config: &AgentConfig) -> Finding {
    match tracer::trial(&transports::prover(config)) {
        Ok(Some(why)) => Finding::note(
            "tracing",
            format!("the eBPF programs load and attach; {UNPROVED}: {why}"),
            "nothing to do where the RDMA core is the kernel's own; otherwise make a queue pair of type RC possible on one RNIC",
        ),
        Ok(None) if tracer::has_devx() => Finding::note(
            "tracing",
            format!("{TRACEABLE}; {DEVX_UNSEEN}"),
            "nothing to do: other connections are followed",
        ),
        Ok(None) => Finding::ok("tracing", TRACEABLE),
        Err(why) => Finding::note("tracing", why.to_string(), why.advice()),
    }
}

/// What is said where nothing is wrong.
const TRACEABLE: &str =
    "the eBPF programs load, attach, and read a queue pair of this program's own rightly";

/// The servers that are configured; defaults are not.
pub(super) async fn servers(config: &AgentConfig) -> Vec<Finding> {
    let (mut findings, defaults) = (Vec::new(), AgentSettings::default());
    if config.settings.controller != defaults.controller {
        for controller in config.controller.iter() {
            findings.push(reachable("controller", controller).await);
        }
    }
    if config.settings.analyzer != defaults.analyzer {
        findings.push(reachable("analyzer", &config.analyzer).await);
    }
    findings
}

/// TCP only: the agent reports itself what TLS refuses.
async fn reachable(name: &'static str, url: &Url) -> Finding {
    let connect = tokio::net::TcpStream::connect((url.host(), url.port()));
    let why = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(Ok(_)) => return Finding::ok(name, format!("{url} can be reached")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {CONNECT_TIMEOUT:?}"),
    };
    Finding::note(
        name,
        format!("{url} cannot be reached: {why}"),
        "start it or correct the URL; the agent keeps trying and keeps its results meanwhile",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn ports_are_found_in_the_tables_of_the_kernel() {
        let table =
            "   sl  local_address rem_address   st\n  12: 0100007F:12B7 00000000:0000 07 x\n";
        assert!(has_port(table, 4791));
        assert!(!has_port(table, 4790));
        assert!(!has_port("", 4791));
    }

    #[test]
    fn a_limit_of_locked_memory_counts_without_the_capability() {
        let small = MEMLOCK_NEEDED - 1;
        let status = |limit, capable| locked_memory(limit, capable).status;
        assert_eq!(status(Some(small), false), Status::Problem);
        assert_eq!(status(Some(small), true), Status::Ok);
        assert_eq!(status(Some(MEMLOCK_NEEDED), false), Status::Ok);
        assert_eq!(status(None, false), Status::Ok);
        let text = locked_memory(Some(65536), false).message;
        assert!(text.contains("only 65536 bytes"), "{text}");
    }

    #[test]
    fn capabilities_are_read() {
        assert_eq!(
            effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(effective_capabilities("nothing"), None);
    }
}
