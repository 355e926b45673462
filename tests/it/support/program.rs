//! Our programs as processes: wait for a line of their standard error, stop them as systemd does.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Nothing here waits longer for a line that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines that tell what a program did last.
const RECENT: usize = 30;
/// How long a program may take to stop.
const STOP: Duration = Duration::from_secs(5);

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_rpingmesh-agent");
pub(crate) const ANALYZER: &str = env!("CARGO_BIN_EXE_rpingmesh-analyzer");
pub(crate) const OPERATOR: &str = env!("CARGO_BIN_EXE_rpingmesh");
pub(crate) const CONTROLLER: &str = env!("CARGO_BIN_EXE_rpingmesh-controller");

/// A command that starts one of our programs as the tests themselves were started: where that is under an emulator
/// (`cargo xtask cross --test`), the variable `RPINGMESH_TEST_RUNNER` has its command line.
pub(crate) fn own(program: &str) -> Command {
    let runner = std::env::var("RPINGMESH_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain([program]);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words);
    command
}

/// Where an instrumented program writes what it counts (`cargo xtask coverage`).
const PROFILE: &str = "LLVM_PROFILE_FILE";

/// The same with arguments, without the variables of the machine that runs the test.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = own(program);
    command.args(arguments).env_clear();
    if let Some(file) = std::env::var_os(PROFILE) {
        command.env(PROFILE, file);
    }
    command
}

/// Exit status and standard error of a program that ends by itself.
pub(crate) fn refused(program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(program, arguments).output().expect("it runs");
    let text = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), text)
}

/// A running program, killed when this value goes away.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: VecDeque<String>,
}

impl Program {
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        Self::spawn(command(program, arguments))
    }

    /// The same with a command that was made elsewhere.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let pipe = child.stderr.take().expect("pipe");
        let (sender, lines) = channel();
        // Ends with the pipe; reads on when nobody waits, or the program would block.
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            seen: VecDeque::new(),
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The same for signals.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// The status of a program that ends by itself, soon. Panics unless it does.
    pub(crate) fn ends(mut self) -> Option<i32> {
        let end = Instant::now() + STOP;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on: {:#?}", self.seen);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has said last. Nothing of that comes again.
    pub(crate) fn recent(&self) -> Vec<String> {
        let mut said: Vec<_> = self.seen.iter().cloned().collect();
        said.extend(self.lines.try_iter());
        let first = said.len().saturating_sub(RECENT);
        said.split_off(first)
    }

    /// The next line that has all these parts.
    pub(crate) fn wait_for(&mut self, parts: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {parts:?} came after {:#?}", self.seen);
            };
            self.seen.push_back(line.clone());
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    /// Waits until it ends by itself; gives its exit status.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on: {:#?}", self.seen);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM; gives all lines of its life. Panics unless it ends soon with status 0.
    pub(crate) fn stop(mut self) -> Vec<String> {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM)
            .expect("signalled");
        let end = Instant::now() + STOP;
        // The pipe's end is the program's.
        while let Ok(line) = self
            .lines
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.seen.push_back(line);
        }
        let status = self.child.try_wait().expect("a child");
        assert!(
            Instant::now() < end,
            "it has not stopped in time: {status:?}: {:#?}",
            self.seen
        );
        let status = self.child.wait().expect("ended");
        assert_eq!(status.code(), Some(0), "{:#?}", self.seen);
        std::mem::take(&mut self.seen).into()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
