//! The program of one host.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::programs::Programs;
use crate::config::agent::AgentSettings;
use crate::lab::error::LabError;

/// How long an agent may take to stop: more than it takes by itself.
const STOP: Duration = Duration::from_secs(6);

/// The variable with the path of the table (`tests/emulated-rnic/src/lib.rs`).
const TABLE: &str = "RPINGMESH_EMULATED_RNICS";

/// The name by which programs load the library.
const LIBIBVERBS: &str = "libibverbs.so.1";

/// A host whose agent is a program.
pub(in crate::lab) struct EmulatedHost {
    name: String,
    agent: PathBuf,
    /// Holds the table, the library by its name, the agent's configuration, and what the agent keeps.
    folder: PathBuf,
}

impl EmulatedHost {
    /// Writes what the program needs into its folder.
    pub(in crate::lab) fn new(
        programs: &Programs,
        folder: PathBuf,
        settings: &AgentSettings,
    ) -> Result<Self, LabError> {
        let config = toml::to_string(settings)
            .map_err(|error| LabError::Folder(std::io::Error::other(error)))?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join("agent.toml"), config))
            .and_then(|()| link(&programs.library, &folder.join(LIBIBVERBS)))
            .map_err(LabError::Folder)?;
        Ok(Self {
            name: settings.host.clone(),
            agent: programs.agent.clone(),
            folder,
        })
    }

    /// Runs the program until `stop`. When this future is dropped the program is killed, as where its host loses power.
    pub(in crate::lab) fn boot(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), LabError>> + Send + use<> {
        let mut command = Command::new(&self.agent);
        command
            .args(["run", "--config"])
            .arg(self.folder.join("agent.toml"))
            // The lab's own variables are not for its agents.
            .env_clear()
            .env("LD_LIBRARY_PATH", &self.folder)
            .env(TABLE, self.folder.join("table"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let host = self.name.clone();
        async move {
            let failed = |why: String| LabError::Program { host, why };
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return Err(failed(format!("it cannot be started: {error}"))),
            };
            let ended = tokio::select! {
                ended = child.wait() => ended.map_err(|error| error.to_string()),
                () = stop.cancelled() => match end(&mut child).await {
                    Ok(status) if status.success() => return Ok(()),
                    other => other,
                },
            };
            Err(failed(match ended {
                Ok(status) => format!("it ended with {status}; what it said is above"),
                Err(why) => why,
            }))
        }
    }
}

/// Asks a program to end.
async fn end(child: &mut Child) -> Result<ExitStatus, String> {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid {
        kill_process(pid, Signal::TERM).map_err(|error| format!("it cannot be ended: {error}"))?;
    }
    match tokio::time::timeout(STOP, child.wait()).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it has not ended within {STOP:?}")),
    }
}

fn link(to: &std::path::Path, name: &std::path::Path) -> std::io::Result<()> {
    let to = std::path::absolute(to)?;
    std::os::unix::fs::symlink(to, name)
}
