//! Variables of processes' environments that rules for services ask for, from `/proc`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rpingmesh::service::qp::Variables;

/// The most of an environment that is read, in bytes.
const MOST_BYTES: u64 = 256 << 10;
/// The longest value that is kept, in bytes: longer ones stand in no name.
const MOST_VALUE: usize = 1 << 10;
/// How long what was read of a process stands for it: one process makes thousands of queue pairs at once.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Reads environments; nothing at all where no rule asks for a variable.
pub(super) struct Environments {
    wanted: Vec<String>,
    is_told: AtomicBool,
}

impl Environments {
    /// Of these variables.
    pub(super) fn of(wanted: &[String]) -> Self {
        Self {
            wanted: wanted.to_vec(),
            is_told: AtomicBool::new(false),
        }
    }

    /// The variables of a process that it has; none when it is gone or may not be read.
    pub(super) fn read(&self, pid: u32) -> Variables {
        if self.wanted.is_empty() {
            return Variables::default();
        }
        let mut bytes = Vec::new();
        let read = File::open(format!("/proc/{pid}/environ"))
            .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
        match read {
            Ok(_) => variables(&bytes, &self.wanted),
            Err(error) => {
                self.tell(&error);
                Variables::default()
            }
        }
    }

    /// Says once what an operator has to mend. A process that is gone is nothing to mend.
    fn tell(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied
            && !self.is_told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "environments of other users' processes cannot be read, so rules with env: do not name their services: give \
                 the agent CAP_SYS_PTRACE"
            );
        }
    }
}

/// What was read of processes in the last moment.
pub(super) struct Recent {
    environments: Environments,
    known: HashMap<u32, Variables>,
    since: Instant,
}

impl Recent {
    pub(super) fn new(environments: Environments) -> Self {
        Self {
            environments,
            known: HashMap::new(),
            since: Instant::now(),
        }
    }

    pub(super) fn environments(&self) -> &Environments {
        &self.environments
    }

    /// As [`Environments::read`].
    pub(super) fn read(&mut self, pid: u32) -> Variables {
        if self.environments.wanted.is_empty() {
            return Variables::default();
        }
        if self.since.elapsed() > REMEMBERED {
            self.known.clear();
            self.since = Instant::now();
        }
        let environments = &self.environments;
        let known = self.known.entry(pid);
        known.or_insert_with(|| environments.read(pid)).clone()
    }
}

/// The wanted ones of `NAME=VALUE` with a zero behind each; values that are not UTF-8 or too long are left out.
fn variables(environment: &[u8], wanted: &[String]) -> Variables {
    let named = environment.split(|byte| *byte == 0).filter_map(|entry| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        let is_wanted = wanted.iter().any(|wanted| wanted == name) && value.len() <= MOST_VALUE;
        is_wanted.then(|| (name.into(), value.into()))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_variables_are_found_among_others() {
        let long = format!("LONG={}", "x".repeat(MOST_VALUE + 1));
        let mut environment = b"JOBS=1\0JOB=llama=3\0BAD=\xff\0EMPTY\0\0OTHER=x\0".to_vec();
        environment.extend_from_slice(long.as_bytes());
        let wanted = ["JOB", "BAD", "EMPTY", "LONG"].map(ToOwned::to_owned);
        let found = variables(&environment, &wanted);
        assert_eq!(*found, [("JOB".into(), "llama=3".into())]);
        assert!(variables(b"", &wanted).is_empty());
    }

    #[test]
    fn this_process_has_an_environment_and_one_that_is_gone_has_none() {
        let path = ["PATH".to_owned()];
        let mut recent = Recent::new(Environments::of(&path));
        let expected = std::env::var("PATH").expect("set");
        for _ in 0..2 {
            assert_eq!(
                *recent.read(std::process::id()),
                [("PATH".into(), expected.as_str().into())]
            );
        }
        assert!(recent.read(u32::MAX).is_empty());
        assert!(Environments::of(&[]).read(std::process::id()).is_empty());
    }
}
