//! The programs in the kernel: offsets from its BTF, loading, attaching, and what can be read from them.

use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::time::Instant;

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::{KProbe, ProbeKind, ProgramError};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use perf_event::{Builder, Counter, events};
use rpingmesh::error::describe;
use rpingmesh::service::btf::Btf;
use rpingmesh::service::offsets;
use rpingmesh::service::trace::{Unavailable, Unseen};
use rpingmesh_ebpf_event::{Offsets, calls, counter};
use rustix::io::Errno;

use super::ib_core::{self, Layout};
use super::object::object;
use super::privilege;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const IB_CORE: &str = "/sys/kernel/btf/ib_core";

/// Lines of the verifier's log that a message carries.
const VERIFIER_LINES: usize = 4;

/// How many processors are provided for where the kernel does not say how many there may be.
const ASSUMED_PROCESSORS: usize = 64;

/// A program and the function that it follows, under all names that kernels have for it.
type Follows = (&'static str, &'static [&'static str]);

/// Modifications by programs, which tell most: without these nothing is followed. Everywhere returns come before entries: what is
/// counted of returns without their entries until all are attached is left out, while an entry without its return would be counted
/// later.
const MODIFIED: [Follows; 2] = [
    ("qp_modified", &["ib_modify_qp_with_udata"]),
    ("qp_modify", &["ib_modify_qp_with_udata"]),
];

/// What a kernel may lack, and what is not seen then.
const OPTIONAL: [(Unseen, &[Follows]); 4] = [
    (Unseen::Creations, &[("qp_created", &["ib_create_qp_user"])]),
    (
        Unseen::Destructions,
        &[
            ("qp_destroyed", &["ib_destroy_qp_user"]),
            ("qp_destroy", &["ib_destroy_qp_user"]),
        ],
    ),
    (
        Unseen::EarlierGids,
        &[
            ("qp_queried", &["ib_query_qp"]),
            ("qp_query", &["ib_query_qp"]),
        ],
    ),
    (
        Unseen::KernelModules,
        &[
            // The first since Linux 5.15; ib_create_qp in 5.10.
            (
                "kernel_qp_created",
                &["ib_create_qp_kernel", "ib_create_named_qp", "ib_create_qp"],
            ),
            ("kernel_qp_modified", &["ib_modify_qp"]),
            ("kernel_qp_modify", &["ib_modify_qp"]),
        ],
    ),
];

/// The attached programs. They are detached and removed when this value goes away.
pub(super) struct Programs {
    /// Events of the kernel's that run the programs; before `ebpf`, so that none is left without its program.
    probes: Vec<Counter>,
    ebpf: Ebpf,
    counters: PerCpuArray<MapData, u64>,
    /// What was counted while the programs were attached one after the other: calls of which they saw only one end.
    before: Counts,
    listing: Array<MapData, u32>,
    /// Why nobody knows whether the kernel's description fits the loaded RDMA core, if so: it has to be shown.
    pub(super) doubt: Option<Unavailable>,
    /// What they do not see here.
    pub(super) unseen: Vec<Unseen>,
}

/// What the programs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) ring_full: u64,
    pub(super) calls_full: u64,
    pub(super) read_failed: u64,
}

impl Programs {
    /// Loads and attaches.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing stays behind.
    pub(super) fn attach() -> Result<(Self, RingBuf<MapData>), Unavailable> {
        // What is missing is said before what is described.
        object()?;
        if let Some(mode) = privilege::lockdown() {
            return Err(Unavailable::Lockdown { mode });
        }
        Self::attach_at(&Places::find()?)
    }

    /// The same where the places of the fields are known.
    pub(super) fn attach_at(places: &Places) -> Result<(Self, RingBuf<MapData>), Unavailable> {
        match Self::attach_with(places, VerifierLogLevel::DISABLE, false) {
            // Once more, for the kernel's own words; they cost time and memory. What is optional may be refused then.
            Err(Unavailable::Load(_)) => Self::attach_with(places, VerifierLogLevel::DEBUG, true),
            other => other,
        }
    }

    fn attach_with(
        places: &Places,
        log: VerifierLogLevel,
        may_refuse: bool,
    ) -> Result<(Self, RingBuf<MapData>), Unavailable> {
        let object = object()?;
        let began = Instant::now();
        let offsets = places.offsets.encode();
        let processors = aya::util::nr_cpus().unwrap_or(ASSUMED_PROCESSORS);
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(log)
            .map_max_entries("MODIFYING", calls::entries(calls::MODIFYING, processors))
            .map_max_entries(
                "MODIFYING_IN_KERNEL",
                calls::entries(calls::MODIFYING_IN_KERNEL, processors),
            )
            .map_max_entries("DESTROYING", calls::entries(calls::DESTROYING, processors))
            .map_max_entries("QUERYING", calls::entries(calls::QUERYING, processors))
            .override_global("OFFSETS", &offsets[..], true)
            .load(object)
            .map_err(|error| refused("bpf(BPF_MAP_CREATE)", &error))?;
        let ring = take(&mut ebpf, "EVENTS", RingBuf::try_from)?;
        let counters = take(&mut ebpf, "COUNTERS", PerCpuArray::try_from)?;
        let listing = take(&mut ebpf, "LISTING", Array::try_from)?;
        let mut probes = follow_all(&mut ebpf, &MODIFIED)?;
        let mut unseen = Vec::new();
        for (what, programs) in OPTIONAL {
            if what == Unseen::KernelModules && places.offsets.qp_kern_name == 0 {
                unseen.push(what);
                continue;
            }
            match follow_all(&mut ebpf, programs) {
                Ok(followed) => probes.extend(followed),
                Err(
                    why @ Unavailable::Symbol {
                        is_absent: true, ..
                    },
                ) => {
                    tracing::info!(%why, "{what}");
                    unseen.push(what);
                }
                Err(why @ Unavailable::Load(_)) if may_refuse => {
                    tracing::warn!(%why, "{what}");
                    unseen.push(what);
                }
                Err(why) => return Err(why),
            }
        }
        tracing::debug!(whole = ?began.elapsed(), "attached");
        let mut programs = Self {
            probes,
            ebpf,
            counters,
            before: Counts::default(),
            listing,
            doubt: places.doubt.clone(),
            unseen,
        };
        programs.before = programs.counts();
        Ok((programs, ring))
    }

    /// Tells the programs whether queries are of interest.
    pub(super) fn set_listing(&mut self, on: bool) {
        if let Err(error) = self.listing.set(0, u32::from(on), 0) {
            tracing::debug!(error = describe(&error), "LISTING cannot be set");
        }
    }

    /// What the programs count since they were attached. Takes `bpf` system calls: see [`counter`].
    pub(super) fn counts(&self) -> Counts {
        let sum = |index| -> u64 {
            self.counters
                .get(&index, 0)
                .map(|values| values.iter().sum())
                .unwrap_or_default()
        };
        let calls = [
            counter::CALLS_FULL,
            counter::RETURN_MISSED,
            counter::CALL_UNKNOWN,
        ];
        let calls_full: u64 = calls.into_iter().map(sum).sum();
        Counts {
            ring_full: sum(counter::RING_FULL),
            calls_full: calls_full.saturating_sub(self.before.calls_full),
            read_failed: sum(counter::READ_FAILED),
        }
    }

    /// How often the kernel did not run a program that follows queue pairs: so it does on a processor that is inside a
    /// `bpf` system call, which a preemptible kernel may have interrupted. Only the kernel counts these.
    pub(super) fn passed_over(&self) -> u64 {
        let optional = OPTIONAL.iter().filter(|(what, _)| {
            // Whoever asks for all queue pairs asks again.
            *what != Unseen::EarlierGids && !self.unseen.contains(what)
        });
        let programs = optional.flat_map(|(_, programs)| programs.iter());
        MODIFIED
            .iter()
            .chain(programs)
            .filter_map(|(name, _)| {
                let fd = self.ebpf.program(name)?.fd().ok()?.as_fd().as_raw_fd();
                recursion_misses(&fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?)
            })
            .sum()
    }

    /// How many programs are attached.
    pub(super) fn len(&self) -> usize {
        self.probes.len()
    }
}

fn take<T, E: Error + 'static>(
    ebpf: &mut Ebpf,
    name: &str,
    convert: impl FnOnce(aya::maps::Map) -> Result<T, E>,
) -> Result<T, Unavailable> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| Unavailable::Load(format!("the eBPF object has no map {name}")))?;
    convert(map).map_err(|error| refused("mmap", &error))
}

fn follow_all(ebpf: &mut Ebpf, programs: &[Follows]) -> Result<Vec<Counter>, Unavailable> {
    programs
        .iter()
        .map(|(program, functions)| follow(ebpf, program, functions))
        .collect()
}

fn follow(ebpf: &mut Ebpf, name: &str, functions: &[&'static str]) -> Result<Counter, Unavailable> {
    let program: &mut KProbe = ebpf
        .program_mut(name)
        .ok_or_else(|| Unavailable::Load(format!("the eBPF object has no program {name}")))?
        .try_into()
        .map_err(|error: ProgramError| Unavailable::Load(describe(&error)))?;
    program
        .load()
        .map_err(|error| refused("bpf(BPF_PROG_LOAD)", &error))?;
    let returns = matches!(program.kind(), ProbeKind::Return);
    let program = program
        .fd()
        .map_err(|error| Unavailable::Load(describe(&error)))?
        .as_fd()
        .as_raw_fd();
    let mut attached = Err(Unavailable::Load(format!("{name} follows no function")));
    for function in functions {
        attached =
            probe(program, function, returns).map_err(|error| not_attached(function, &error));
        // Only where it is not there may it have another name.
        if !matches!(
            attached,
            Err(Unavailable::Symbol {
                is_absent: true,
                ..
            })
        ) {
            break;
        }
    }
    attached
}

/// Has the kernel run a program whenever it calls a function or returns from it (`perf_event_open(2)` of the dynamic PMU
/// `kprobe`, Linux 4.17). The event is of one processor as each must be; its program runs on all.
fn probe(program: RawFd, function: &str, returns: bool) -> io::Result<Counter> {
    let event = if returns {
        events::KProbe::retprobe(function, 0)
    } else {
        events::KProbe::probe(function, 0)
    }?;
    let mut counter = Builder::new(event).any_pid().one_cpu(0).build()?;
    counter.set_bpf(program)?;
    counter.enable()?;
    Ok(counter)
}

/// Everything but a refusal for want of privilege has to do with the function.
fn not_attached(function: &'static str, error: &io::Error) -> Unavailable {
    // Not known, not to be followed, no kprobes, and a name that several have (`kernel/trace/trace_kprobe.c`).
    let absent = [
        Errno::NOENT,
        Errno::INVAL,
        Errno::OPNOTSUPP,
        Errno::ADDRNOTAVAIL,
    ];
    match refused("perf_event_open", error) {
        Unavailable::Load(why) => Unavailable::Symbol {
            symbol: function,
            why,
            is_absent: Errno::from_io_error(error).is_some_and(|error| absent.contains(&error)),
        },
        other => other,
    }
}

/// Sorts an error of aya by the operating system's reason in it.
fn refused(call: &str, error: &(dyn Error + 'static)) -> Unavailable {
    let reasons = [Errno::PERM, Errno::ACCESS];
    let mut cause = Some(error);
    while let Some(this) = cause {
        let number = this
            .downcast_ref::<io::Error>()
            .and_then(Errno::from_io_error);
        if number.is_some_and(|number| reasons.contains(&number)) {
            return for_want_of_privilege(call);
        }
        if let Some(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) = this.downcast_ref()
        {
            return not_loaded(call, io_error, &verifier_log.to_string());
        }
        cause = this.source();
    }
    Unavailable::Load(describe(&error))
}

/// The verifier refuses with EACCES and says why; EPERM is for want of privilege here, too.
fn not_loaded(call: &str, error: &io::Error, log: &str) -> Unavailable {
    if Errno::from_io_error(error) == Some(Errno::PERM) {
        return for_want_of_privilege(call);
    }
    Unavailable::Load(format!("{error}: {}", ending(log)))
}

fn for_want_of_privilege(call: &str) -> Unavailable {
    Unavailable::Privilege {
        call: call.to_owned(),
        missing: privilege::missing(),
    }
}

/// The last words of the kernel's verifier, before its statistics.
fn ending(log: &str) -> String {
    let lines: Vec<_> = log
        .lines()
        .filter(|line| !line.starts_with("processed ") && !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(VERIFIER_LINES)..].join(" | ")
}

/// `recursion_misses` in what `/proc/PID/fdinfo` tells of a program (Linux `kernel/bpf/syscall.c`).
fn recursion_misses(fdinfo: &str) -> Option<u64> {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))
        .and_then(|text| text.trim().parse().ok())
}

/// Where the running kernel has the fields that the programs read.
pub(super) struct Places {
    pub(super) offsets: Offsets,
    /// Why nobody knows whether they are right, if so.
    pub(super) doubt: Option<Unavailable>,
}

impl Places {
    /// In the kernel's description of its types. A module from elsewhere that has no description of its own may have the same
    /// layout as the kernel's own, which is then to be shown.
    pub(super) fn find() -> Result<Self, Unavailable> {
        match ib_core::layout() {
            Ok(layout) => Ok(Self {
                offsets: described(layout)?,
                doubt: None,
            }),
            Err(why) => match described(Layout::InTree) {
                Ok(offsets) => Ok(Self {
                    offsets,
                    doubt: Some(why),
                }),
                Err(_) => Err(why),
            },
        }
    }
}

fn described(layout: Layout) -> Result<Offsets, Unavailable> {
    let vmlinux = Btf::parse(&read(VMLINUX)?).map_err(offsets::OffsetError::from)?;
    let found = match layout {
        Layout::Module => {
            let module = read(IB_CORE)?;
            let split = Btf::parse_split(&module, &vmlinux).map_err(offsets::OffsetError::from)?;
            offsets::find(&split)
        }
        Layout::BuiltIn | Layout::InTree => offsets::find(&vmlinux),
    };
    Ok(found?)
}

fn read(path: &str) -> Result<Vec<u8>, Unavailable> {
    fs::read(path).map_err(|error| no_btf(path, &error))
}

fn no_btf(path: &str, error: &io::Error) -> Unavailable {
    Unavailable::NoBtf {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_words_are_kept() {
        let log = "0: (b7) r0 = 0\n1\n2\n3\n4\nR1 !read_ok\nprocessed 2 insns\n\n";
        assert_eq!(ending(log), "2 | 3 | 4 | R1 !read_ok");
        assert_eq!(ending(""), "");
    }

    #[test]
    fn programs_that_were_passed_over_are_counted() {
        let fdinfo = "pos:\t0\nprog_type:\t2\nrun_cnt:\t9\nrecursion_misses:\t3\n";
        assert_eq!(recursion_misses(fdinfo), Some(3));
        assert_eq!(recursion_misses("pos:\t0\n"), None);
        assert_eq!(recursion_misses("recursion_misses:\tx\n"), None);
    }

    #[test]
    fn refusals_for_want_of_privilege_are_told_apart() {
        let denied = io::Error::from(Errno::PERM);
        assert!(matches!(
            refused("bpf", &denied),
            Unavailable::Privilege { call, .. } if call == "bpf"
        ));
        let other = io::Error::from(Errno::INVAL);
        assert!(matches!(refused("bpf", &other), Unavailable::Load(_)));
        assert!(matches!(
            not_loaded("bpf", &denied, ""),
            Unavailable::Privilege { .. }
        ));
        let verifier = io::Error::from(Errno::ACCESS);
        assert!(matches!(
            not_loaded("bpf", &verifier, "R1 !read_ok"),
            Unavailable::Load(why) if why.contains("R1 !read_ok")
        ));
    }

    #[test]
    fn a_function_that_is_not_there_is_named() {
        let why = not_attached("ib_create_qp_user", &io::Error::from(Errno::NOENT));
        assert!(
            matches!(&why, Unavailable::Symbol { symbol: "ib_create_qp_user", why, is_absent: true }
                if why.contains("No such file")),
            "{why}"
        );
        let full = not_attached("ib_create_qp_user", &io::Error::from(Errno::MFILE));
        assert!(
            matches!(
                full,
                Unavailable::Symbol {
                    is_absent: false,
                    ..
                }
            ),
            "too many open files say nothing of the kernel"
        );
        assert!(full.may_pass());
        assert!(why.may_pass(), "the module may come");
        let denied = not_attached("ib_create_qp_user", &io::Error::from(Errno::ACCESS));
        assert!(matches!(denied, Unavailable::Privilege { .. }));
    }
}
