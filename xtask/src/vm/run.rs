//! Runs scenarios: boots the nodes, calls the steps in order, counts the checks, shows what went wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::guest::{Guest, GuestSpec};
use super::image::Image;
use super::kernel::{Kernel, Series};
use super::scenario::Scenario;
use super::switch::Switch;
use super::tally::Tally;
use super::userland::Userland;
use super::{Accelerator, Arch, Options, Show};
use crate::cache::Cache;
use crate::cargo;

/// Lines of a guest's console and logs that are shown when something failed.
const TAIL: usize = 40;

/// How long the logs may take to come out of a guest.
const LOG_TIME: Duration = Duration::from_secs(10);

/// Prints every log from its beginning, also those that appear later.
const FOLLOW: &str = r#"
while sleep 0.5; do
    for log in /run/logs/*.log; do
        [ -f "$log" ] && [ ! -e "$log.followed" ] || continue
        : >"$log.followed"
        name=${log##*/}
        tail -n +1 -f "$log" | while IFS= read -r line; do echo "${name%.log}: $line"; done &
    done
done
"#;

/// How long a command of `--exec` may take.
const EXEC_TIME: Duration = Duration::from_mins(10);

/// Runs all scenarios of `options`; gives what failed.
pub(super) fn scenarios(options: &Options) -> Result<Vec<String>> {
    let scenarios = options
        .scenarios
        .iter()
        .map(|name| Scenario::load(name))
        .collect::<Result<Vec<_>>>()?;
    let cache = Cache::open()?;
    let mut tally = Tally::default();
    for kernel in &options.kernels {
        for scenario in &scenarios {
            if let Err(error) = one(&cache, (options, *kernel), scenario, &mut tally) {
                println!("scenario {}: {error:#}", scenario.name);
                tally.fail(format!("scenario {}: {error:#}", scenario.name));
            }
        }
    }
    Ok(tally.finish())
}

fn one(
    cache: &Cache,
    (options, series): (&Options, Series),
    scenario: &Scenario,
    tally: &mut Tally,
) -> Result<()> {
    let arch = options.arch.unwrap_or_else(Arch::host);
    let kernel = Kernel::fetch(cache, series, arch)?;
    let userland = Userland::fetch(cache, arch)?;
    let tests = cargo::build_tests(&scenario.tests, arch)?;
    let programs = match &options.programs {
        _ if scenario.binaries.is_empty() && scenario.examples.is_empty() => None,
        Some(folder) => Some(folder.clone()),
        None => {
            if scenario.ebpf {
                // Left where the agent's build looks for them.
                crate::ebpf::build()?;
            }
            let profile = if options.release {
                cargo::Profile::Release
            } else {
                options.profile
            };
            Some(cargo::build_programs(arch, profile)?)
        }
    };
    let work = WorkFolder::create(options.keep)?;
    let initramfs = work.path.join("initramfs");
    let image = Image {
        kernel: &kernel,
        userland: &userland,
        scenario,
        programs: programs.as_deref(),
        tests: &tests,
    };
    let size = image.write(&initramfs, &work.path)?;
    let accel = options
        .accel
        .decide(arch, &kernel.image, &initramfs, &work.path)?;
    println!(
        "scenario {}: {}\n{} guests, kernel {}, {}, initramfs {} MiB",
        scenario.name,
        scenario.description,
        scenario.nodes.len(),
        kernel.release,
        accel.name(),
        size >> 20
    );
    let started = Instant::now();
    let deadline = started + scenario.timeout * accel.patience();
    let mut segment = Segment::boot(scenario, arch, accel, &kernel, &initramfs, &work.path)?;
    let booted = segment.await_boot(deadline);
    let outcome = booted.and_then(|()| {
        println!("booted in {:.1} s", started.elapsed().as_secs_f64());
        if options.show == Show::Live {
            segment.follow_logs()?;
        }
        match &options.exec {
            Some(command) => segment.everywhere(command, tally),
            None => segment.steps(
                scenario,
                accel.patience(),
                options.show != Show::Checks,
                deadline,
                tally,
            ),
        }
    });
    if outcome.is_err() || tally.failed() > 0 {
        segment.show_logs();
    }
    if segment.switch.dropped() > 0 {
        println!(
            "the switch dropped {} frames for guests that were too slow",
            segment.switch.dropped()
        );
    }
    println!(
        "scenario {}: {:.1} s",
        scenario.name,
        started.elapsed().as_secs_f64()
    );
    outcome
}

/// The running guests and what connects them.
struct Segment {
    guests: Vec<Guest>,
    switch: Switch,
}

impl Segment {
    fn boot(
        scenario: &Scenario,
        arch: Arch,
        accel: Accelerator,
        kernel: &Kernel,
        initramfs: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let socket = folder.join("switch");
        let switch = Switch::start(&socket)?;
        let guests = scenario
            .nodes
            .iter()
            .enumerate()
            .map(|(number, node)| {
                Guest::start(&GuestSpec {
                    number,
                    name: &node.name,
                    memory: node.memory,
                    arch,
                    accel,
                    kernel: &kernel.image,
                    initramfs,
                    switch: &socket,
                    folder,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { guests, switch })
    }

    fn await_boot(&mut self, deadline: Instant) -> Result<()> {
        self.guests
            .iter_mut()
            .try_for_each(|guest| guest.await_boot(deadline))
    }

    fn steps(
        &mut self,
        scenario: &Scenario,
        patience: u32,
        verbose: bool,
        deadline: Instant,
        tally: &mut Tally,
    ) -> Result<()> {
        for (index, step) in scenario.steps.iter().enumerate() {
            let guest = self
                .guests
                .iter_mut()
                .find(|guest| guest.name == step.node)
                .with_context(|| format!("no node {}", step.node))?;
            println!("--- {}: {}", step.node, step.run);
            let failed_before = tally.failed();
            let script = format!(
                "PATIENCE={patience} exec sh /scenario/step.sh /scenario/files {}",
                step.run
            );
            let end = deadline.min(Instant::now() + step.timeout * patience);
            let mut hidden = Vec::new();
            let status = guest.run(&script, end, &mut |line| {
                if tally.line(&step.node, &step.run, line) || verbose {
                    println!("{:>12} | {line}", step.node);
                } else {
                    hidden.push(line.to_owned());
                }
            })?;
            let fault = match status {
                Some(0) => continue,
                Some(_) if tally.failed() > failed_before => None,
                Some(status) => Some(format!("ended with status {status}")),
                None => Some("took too long".to_owned()),
            };
            for line in &hidden[hidden.len().saturating_sub(TAIL)..] {
                println!("{:>12} | {line}", step.node);
            }
            if let Some(fault) = fault {
                // Later steps build on this one: they count as failed instead of being tried or forgotten.
                let rest = scenario.steps.len() - index - 1;
                println!(
                    "not ok - step {} on {} {fault}; {rest} later steps did not run",
                    step.run, step.node
                );
                tally.fail(format!("{}, {}: {fault}", step.node, step.run));
                for step in &scenario.steps[index + 1..] {
                    tally.fail(format!("{}, {}: did not run", step.node, step.run));
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs one command on every guest; its status counts as a check.
    fn everywhere(&mut self, command: &str, tally: &mut Tally) -> Result<()> {
        for guest in &mut self.guests {
            let name = guest.name.clone();
            let script = format!(". /scenario/lib.sh\n{command}");
            let status = guest.run(&script, Instant::now() + EXEC_TIME, &mut |line| {
                println!("{name:>12} | {line}");
            })?;
            if status == Some(0) {
                tally.pass();
            } else {
                tally.fail(format!("{name}: {command}: status {status:?}"));
            }
        }
        Ok(())
    }

    /// Starts a command on every guest that prints what is written into its logs, for as long as the guest runs.
    fn follow_logs(&mut self) -> Result<()> {
        for guest in &mut self.guests {
            guest.follow(FOLLOW)?;
        }
        Ok(())
    }

    fn show_logs(&mut self) {
        for guest in &mut self.guests {
            println!("=== {}: console", guest.name);
            println!("{}", guest.console_tail(TAIL));
            let script = format!(
                "for f in /run/logs/*; do [ -f $f ] && echo == $f && tail -n {TAIL} $f; done; true"
            );
            let mut lines = Vec::new();
            let shown = guest.run(&script, Instant::now() + LOG_TIME, &mut |line| {
                lines.push(line.to_owned());
            });
            println!("=== {}: logs of its programs", guest.name);
            println!("{}", lines.join("\n"));
            if let Err(error) = shown {
                println!("{error:#}");
            }
        }
    }
}

/// A folder for one run, removed at the end unless it is to be kept.
struct WorkFolder {
    path: PathBuf,
    keep: bool,
}

impl WorkFolder {
    /// In the system's temporary folder: Unix sockets need a short path.
    fn create(keep: bool) -> Result<Self> {
        for number in 0..10_000 {
            let path =
                std::env::temp_dir().join(format!("rpingmesh-vm-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, keep }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("create {}", path.display()));
                }
            }
        }
        anyhow::bail!(
            "no free name for a work folder in {}",
            std::env::temp_dir().display()
        )
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if self.keep {
            println!(
                "kept {}: NODE.log is a console, NODE.qemu what QEMU said,",
                self.path.display()
            );
            println!(
                "  list the guests' files with: cpio -itv < {}/initramfs",
                self.path.display()
            );
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
