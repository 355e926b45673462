//! The messages of the tracer. The tracer is a part of the agent's binary that talks to the kernel; this is its channel
//! to everything that follows the services' connections.
//!
//! A tracer sends [`TraceMessage::Status`] first and at each change of it, a [`TraceMessage::Listing`] when it starts
//! (and whenever events were lost), and [`TraceMessage::Event`]s as they happen, each on its own account in time but not
//! in order. [`FlowTable::take`](super::flow::FlowTable::take) takes them all; tests feed it without a kernel.

use std::fmt;

use rpingmesh_ebpf_event::QpEvent;

use super::offsets::OffsetError;
use super::proof::Contradiction;
use super::qp::{CgroupPath, ListedQp, Variables};
pub use super::unseen::Unseen;
use crate::time::HostTime;

/// How many messages may wait in the channel. An event is about 200 bytes; 4 096 of them are what 10 000 changes a
/// second bring while a consumer is held up for 0.4 s. When the channel is full the tracer waits, and the kernel's ring
/// (22 000 events) takes the rest; what does not fit there either is counted.
pub const TRACE_DEPTH: usize = 4_096;

/// One item of the tracer's channel.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceMessage {
    /// A queue pair changed.
    Event(TracedEvent),
    /// The queue pairs that exist.
    Listing(Listing),
    /// The state of the tracer, or the reason why it does not trace: the first message, and again after each change.
    Status(TracerStatus),
    /// What the tracer counted, when it changed; totals since the agent started.
    Counters(TracerCounters),
}

/// An event of the eBPF programs and what belongs to it outside of the kernel's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedEvent {
    /// What happened.
    pub event: QpEvent,
    /// Where the event's cgroup lies; `None` when it was gone before it could be looked up.
    pub cgroup: Option<CgroupPath>,
    /// What rules ask for of the environment of the process.
    pub variables: Variables,
}

/// The queue pairs that RDMA netlink lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// All that were listed, kernel-owned ones included.
    pub qps: Vec<ListedQp>,
    /// When the listing began: what events tell of later times stands.
    pub taken_from: HostTime,
    /// Whether a QP that is not listed does not exist. Not so in a PID namespace of its own, where the kernel lists
    /// only what belongs to processes of that namespace.
    pub complete: bool,
    /// What the programs told while it was made: the GIDs of those listed, and whatever else happened. They belong
    /// together: these events do not say whose a queue pair is, the listing does.
    pub events: Vec<TracedEvent>,
}

/// What the tracer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracerStatus {
    /// The programs are attached: every change of a queue pair is seen.
    Attached {
        /// When the last of them was attached.
        since: HostTime,
        /// What is not seen because this kernel lacks a function, in order.
        unseen: Vec<Unseen>,
        /// Whether there is an mlx5 device: queue pairs that programs make on those by DEVX commands are not seen.
        devx: bool,
        /// Why it could not be shown that the programs read at the right places; `None` where it was shown. The kernel
        /// itself describes these places then.
        unproved: Option<String>,
    },
    /// `ib_core` is not loaded (any more); the tracer attaches as soon as it is.
    WaitingForIbCore,
    /// Nothing is traced, and why. Where [`Unavailable::may_pass`] the tracer tries again by itself.
    Unavailable(Unavailable),
    /// `tracing` is off.
    Off,
}

impl TracerStatus {
    /// All that [`Self::name`] gives.
    pub const NAMES: [&str; 6] = [
        "attached",
        "attached_unproved",
        "contradicted",
        "off",
        "unavailable",
        "waiting",
    ];

    /// One word for it, for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Attached { unproved: None, .. } => "attached",
            Self::Attached { .. } => "attached_unproved",
            Self::Unavailable(Unavailable::Contradicted(_)) => "contradicted",
            Self::Off => "off",
            Self::Unavailable(_) => "unavailable",
            Self::WaitingForIbCore => "waiting",
        }
    }
}

impl fmt::Display for TracerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached {
                unseen,
                devx,
                unproved,
                ..
            } => {
                f.write_str("attached")?;
                for unseen in unseen {
                    write!(f, "; {unseen}")?;
                }
                if *devx {
                    write!(f, "; {DEVX_UNSEEN}")?;
                }
                if let Some(why) = unproved {
                    write!(f, "; {UNPROVED}: {why}")?;
                }
                Ok(())
            }
            Self::WaitingForIbCore => f.write_str("waiting for ib_core to be loaded"),
            Self::Unavailable(why) => write!(f, "unavailable: {why} ({})", why.advice()),
            Self::Off => f.write_str("off, as configured"),
        }
    }
}

/// What a tracer cannot see on mlx5 devices: neither the followed functions nor RDMA netlink know of these queue pairs.
pub const DEVX_UNSEEN: &str = "queue pairs that programs make by mlx5's DEVX commands (UCX rc_mlx5, NVSHMEM IBGDA, DeepEP, \
                               NCCL GDAKI) are not seen";

/// What is said where no queue pair of the agent's own has shown that the programs read rightly.
pub const UNPROVED: &str =
    "what the programs read could not be compared with a queue pair of the agent's own";

/// Why nothing is traced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// An operating system without eBPF.
    #[error("service tracing exists on Linux only")]
    Unsupported,
    /// The agent was built without the eBPF object.
    #[error("this agent was built without the eBPF object")]
    NoObject,
    /// The agent was built with an eBPF object for another processor, or one that does not say for which it is.
    #[error("the eBPF object in this agent cannot be used: {object} {why}")]
    WrongObject {
        /// The object's file name when the agent was built.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel refuses the system call because a privilege is missing.
    #[error("the kernel refuses {call} (EPERM): the agent lacks {missing}")]
    Privilege {
        /// What was refused.
        call: String,
        /// The missing capabilities, or another possible cause.
        missing: String,
    },
    /// The kernel is locked down, so that not even root may read its memory with eBPF.
    #[error("the kernel is locked down ({mode}): eBPF may not read its memory")]
    Lockdown {
        /// `integrity` or `confidentiality`.
        mode: String,
    },
    /// The kernel does not describe its types.
    #[error("the kernel's type information {path} cannot be read: {why}")]
    NoBtf {
        /// The file.
        path: String,
        /// The operating system's reason.
        why: String,
    },
    /// The kernel describes its types in a way that the tracer cannot use.
    #[error("the offsets of this kernel's structures are not known: {0}")]
    Offsets(#[from] OffsetError),
    /// The loaded `ib_core` does not describe its structures, and nothing shows that it is the kernel's own, which the
    /// kernel describes.
    #[error(
        "the layout of the loaded ib_core's structures cannot be known: it has no BTF of its own, and {why}"
    )]
    ForeignIbCore {
        /// What shows that it is not the kernel's own, or that nothing shows that it is.
        why: String,
    },
    /// The programs were attached and read something else of the agent's own queue pair than what is so, or saw nothing of it.
    #[error(
        "the loaded ib_core is not as it is described: {what} is {known}, and the programs read {seen} of the agent's own queue \
         pair",
        what = .0.what, known = .0.known, seen = .0.seen
    )]
    Contradicted(Contradiction),
    /// `ib_core` is there without one of the functions.
    #[error("the kernel has no function `{symbol}` that could be followed: {why}")]
    Symbol {
        /// Its name.
        symbol: &'static str,
        /// The operating system's reason.
        why: String,
        /// Whether the kernel lacks it, or does not let anybody follow it; false where the reason may pass, such as want of memory.
        is_absent: bool,
    },
    /// The kernel refuses the programs for any other reason.
    #[error("the kernel does not take the eBPF programs: {0}")]
    Load(String),
}

impl Unavailable {
    /// What an operator can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unsupported => "nothing to do; the agent probes without it",
            Self::NoObject => {
                "build the object with `cargo xtask ebpf` and the agent again, or name one in RPINGMESH_EBPF_OBJECT when building"
            }
            Self::WrongObject { .. } => {
                "build the objects with `cargo xtask ebpf`, and the agent again with the one for its processor"
            }
            Self::Privilege { .. } => {
                "give the agent CAP_BPF and CAP_PERFMON (AmbientCapabilities= in the systemd unit; in a container also \
                 check its seccomp profile), or set `tracing` to off"
            }
            Self::Lockdown { .. } => {
                "start the kernel with lockdown=integrity or none, or set `tracing` to off"
            }
            Self::NoBtf { .. } | Self::Offsets(_) => {
                "use a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_DEBUG_INFO_BTF_MODULES"
            }
            Self::ForeignIbCore { .. } | Self::Contradicted(_) => {
                "connections are only listed, without their GIDs; to follow them use the kernel's own RDMA modules, or build \
                 those of DOCA-OFED or MLNX_OFED with BTF"
            }
            Self::Symbol { .. } => "use a kernel with CONFIG_KPROBES, 5.10 or newer",
            Self::Load(_) => "please report it with the kernel's release",
        }
    }

    /// Whether it can end without a restart of the agent.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NoBtf { .. } | Self::Offsets(_) | Self::Symbol { .. }
        )
    }
}

/// What the tracer counts since the agent started. Everything but `events` should stay 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct TracerCounters {
    /// Events that the programs handed over.
    pub events: u64,
    /// Events lost because the ring buffer was full.
    pub ring_full: u64,
    /// Calls not followed because too many were under way at once.
    pub calls_full: u64,
    /// Reads of the kernel's memory that failed: events with a field missing.
    pub read_failed: u64,
    /// Events that could not be understood.
    pub undecodable: u64,
    /// How often the programs were attached again, because `ib_core` was loaded again.
    pub reattached: u64,
}

impl TracerCounters {
    /// Changes of queue pairs that were not seen.
    pub const fn lost(&self) -> u64 {
        self.ring_full
            .saturating_add(self.calls_full)
            .saturating_add(self.undecodable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_to_do() {
        let reasons = [
            Unavailable::Unsupported,
            Unavailable::NoObject,
            Unavailable::WrongObject {
                object: "bpfel-x86_64.o".to_owned(),
                why: "is for x86_64, and aarch64 is wanted".to_owned(),
            },
            Unavailable::Privilege {
                call: "bpf(BPF_PROG_LOAD)".to_owned(),
                missing: "CAP_BPF".to_owned(),
            },
            Unavailable::Lockdown {
                mode: "confidentiality".to_owned(),
            },
            Unavailable::NoBtf {
                path: "/sys/kernel/btf/vmlinux".to_owned(),
                why: "No such file or directory".to_owned(),
            },
            Unavailable::ForeignIbCore {
                why: "its taint has an O".to_owned(),
            },
            Unavailable::Contradicted(Contradiction {
                what: "its number",
                known: "17".to_owned(),
                seen: "0".to_owned(),
            }),
            Unavailable::Symbol {
                symbol: "ib_create_qp_user",
                why: "not found".to_owned(),
                is_absent: true,
            },
            Unavailable::Load("invalid argument".to_owned()),
        ];
        for reason in reasons {
            let text = TracerStatus::Unavailable(reason.clone()).to_string();
            assert!(text.contains(reason.advice()) && !reason.advice().is_empty());
            assert!(text.contains(&reason.to_string()), "{text}");
        }
    }

    #[test]
    fn what_is_attached_says_what_it_does_not_see() {
        let status = |unseen: &[Unseen], devx, unproved| TracerStatus::Attached {
            since: HostTime::from_nanos(0),
            unseen: unseen.to_vec(),
            devx,
            unproved,
        };
        let shown = |unseen: &[Unseen], devx| status(unseen, devx, None).to_string();
        let unproved = Some("there is no RDMA device".to_owned());
        assert_eq!(
            status(&[], false, unproved).to_string(),
            "attached; what the programs read could not be compared with a queue pair of the agent's own: there is no RDMA \
             device"
        );
        assert_eq!(shown(&[], false), "attached");
        let names = [
            status(&[], false, None),
            status(&[Unseen::Creations], false, Some(String::new())),
            TracerStatus::Unavailable(Unavailable::Contradicted(Contradiction {
                what: "its number",
                known: "17".to_owned(),
                seen: "0".to_owned(),
            })),
            TracerStatus::Off,
            TracerStatus::Unavailable(Unavailable::NoObject),
            TracerStatus::WaitingForIbCore,
        ]
        .map(|status| status.name());
        assert_eq!(names, TracerStatus::NAMES);
        assert_eq!(
            shown(&[Unseen::EarlierGids], false),
            "attached; connections from before have no GIDs"
        );
        assert!(
            shown(&[], true).starts_with("attached; queue pairs that programs make by mlx5's DEVX")
        );
        assert!(shown(&[Unseen::EarlierGids], true).contains("no GIDs; queue pairs"));
        let most = [
            Unseen::Creations,
            Unseen::Destructions,
            Unseen::KernelModules,
        ];
        assert_eq!(
            shown(&most, false),
            "attached; a queue pair is seen when it is first modified; the end of a connection is seen when queue pairs are \
             listed; connections of kernel modules (NVMe-oF, iSER) are not followed"
        );
    }

    #[test]
    fn what_was_not_seen_is_added_up() {
        let counters = TracerCounters {
            events: 10,
            ring_full: 1,
            calls_full: 2,
            read_failed: 4,
            undecodable: 8,
            reattached: 16,
        };
        assert_eq!(counters.lost(), 11);
        let most = TracerCounters {
            ring_full: u64::MAX,
            ..counters
        };
        assert_eq!(most.lost(), u64::MAX);
    }
}
