//! Running other programs: complete error texts, and no child left behind when this process is asked to end.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

/// Process ids of the running children, and how each is ended; the signal thread ends exactly these.
static CHILDREN: Mutex<BTreeMap<u32, Ending>> = Mutex::new(BTreeMap::new());

/// Folders that are removed when a signal ends this process.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary folder. It is removed with this value, and also when a signal ends this process.
#[derive(Debug)]
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// An empty folder whose name begins like this.
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir();
        let folder = folder.context("make a temporary folder")?;
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        folders.push(folder.path().to_owned());
        Ok(Self(folder))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves it where it is.
    pub(crate) fn keep(self) -> PathBuf {
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        folders.retain(|folder| folder != self.0.path());
        self.0.keep()
    }
}

/// How a child is ended.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// SIGKILL: for programs that leave nothing behind.
    Kill,
    /// SIGTERM to the process group that the child leads: for programs that start others, as cargo starts compilers.
    TerminateGroup,
}

impl Ending {
    /// Arguments of kill(1) for a child.
    fn arguments(self, child: u32) -> Vec<String> {
        match self {
            Self::Kill => vec!["-KILL".to_owned(), child.to_string()],
            Self::TerminateGroup => {
                vec!["-TERM".to_owned(), "--".to_owned(), format!("-{child}")]
            }
        }
    }
}

/// A child that is killed and reaped when this value goes away.
#[derive(Debug)]
pub(crate) struct Owned(Child);

impl Owned {
    /// Starts `command` and remembers the child for [`end_children_on_signals`].
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        Self::start(command, Ending::Kill)
    }

    /// Runs `command` in a process group of its own, so that all that it starts can be ended with it.
    pub(crate) fn run_to_end(command: &mut Command) -> Result<ExitStatus> {
        let mut child = Self::start(command.process_group(0), Ending::TerminateGroup)?;
        child.0.wait().with_context(|| describe(command))
    }

    fn start(command: &mut Command, ending: Ending) -> Result<Self> {
        // The lock spans the start, so that a signal between start and registration still finds the child.
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn().with_context(|| describe(command))?;
        children.insert(child.id(), ending);
        Ok(Self(child))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until the child has ended by itself.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }

    /// The status if the child has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only for a child that is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
        CHILDREN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0.id());
    }
}

/// Processor time of all processes that this one has started and that have ended, theirs included; `None` where the system
/// has no `/proc`. Unlike elapsed time it says the same on a busy machine.
pub(crate) fn processor_time() -> Option<Duration> {
    children_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 16 and 17 of proc_pid_stat(5), in ticks of a hundredth of a second, which is what Linux shows to programs.
fn children_of(stat: &str) -> Option<Duration> {
    // The program's name may hold anything but ends with the last parenthesis; what follows begins with field 3.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(10 * (user + system)))
}

/// On SIGINT, SIGTERM and SIGHUP ends the children and then this process with the customary status.
pub(crate) fn end_children_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install signal handlers")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // Kept until the exit: no child can start any more.
                let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
                for (child, ending) in children.iter() {
                    let _ = Command::new("kill").args(ending.arguments(*child)).status();
                }
                let folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
                for folder in folders.iter() {
                    let _ = std::fs::remove_dir_all(folder);
                }
                eprintln!("ended by signal {signal}");
                std::process::exit(128 + signal);
            }
        })
        .context("start the signal thread")?;
    Ok(())
}

/// Runs `command` to its end; an error carries what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| describe(command))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}{}",
            describe(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` with our own output; an error unless it succeeds.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = Owned::run_to_end(command)?;
    ensure!(
        status.success(),
        "{} ended with {status}",
        describe(command)
    );
    Ok(())
}

/// Runs `command`, shows what it prints as it comes, and returns that; `None` if the command failed.
pub(crate) fn printed(command: &mut Command) -> Result<Option<String>> {
    let mut child = Owned::spawn(command.stdout(Stdio::piped()))?;
    let mut text = String::new();
    if let Some(stdout) = child.0.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.with_context(|| describe(command))?;
            println!("{line}");
            text.push_str(&line);
            text.push('\n');
        }
    }
    let status = child.0.wait().with_context(|| describe(command))?;
    Ok(status.success().then_some(text))
}

/// Whether a program of that name is in `PATH`.
pub(crate) fn in_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(program).is_file())
    })
}

/// The command line, for error texts.
pub(crate) fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_prints_is_returned_unless_it_fails() {
        let run = |script: &str| printed(Command::new("sh").args(["-c", script])).expect("a shell");
        assert_eq!(run("echo a; echo b"), Some("a\nb\n".to_owned()));
        assert_eq!(run("echo a; exit 3"), None);
    }

    #[test]
    fn processor_time_of_children() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 4194304 9 9 9 9 11 12 250 150 20 0 1 0 5 0 0";
        assert_eq!(children_of(stat), Some(Duration::from_secs(4)));
        assert_eq!(children_of("7 (a) S 1"), None);
        assert_eq!(children_of(""), None);
    }
}
