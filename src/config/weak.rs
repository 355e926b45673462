//! Files whose permissions let other users of the host read a secret or change what a program relies on.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::agent::AgentSettings;
use super::analyzer::AnalyzerSettings;
use super::controller::ControllerSettings;
use super::{TlsSettings, store};
use crate::store::Location;

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;

/// A file that others can do more with than they should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeakFile {
    /// The configuration key that names it.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Its permissions, the lowest nine bits.
    pub mode: u32,
    what: &'static str,
    right: u32,
}

impl fmt::Display for WeakFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "{} ({path}) has mode {:04o}: {}",
            self.key, self.mode, self.what
        )
    }
}

impl WeakFile {
    /// The command that mends it.
    pub fn command(&self) -> String {
        format!("chmod {:04o} '{}'", self.right, self.path.display())
    }
}

/// Looks at one file that only this program's user should read. A file that is missing is somebody else's finding.
///
/// A group may read it where it belongs to another user: that is how a service without root gets at a key
/// (`SupplementaryGroups=` in its unit, `fsGroup` in Kubernetes).
pub fn examine(key: &'static str, path: &Path) -> Option<WeakFile> {
    let meta = std::fs::metadata(path).ok()?;
    let mode = meta.mode() & 0o777;
    let is_ours = meta.uid() == rustix::process::geteuid().as_raw();
    let (group, others) = (mode >> 3, mode);
    let what = if others & WRITE != 0 {
        "every user of this host can change it"
    } else if others & READ != 0 {
        "every user of this host can read it"
    } else if group & WRITE != 0 {
        "its group can change it"
    } else if group & READ != 0 && is_ours {
        "its group can read it"
    } else {
        return None;
    };
    let right = if is_ours { mode & 0o700 } else { mode & 0o740 };
    Some(WeakFile {
        key,
        path: path.to_owned(),
        mode,
        what,
        right: right | 0o400,
    })
}

/// The agent's file with the keys that the controller has handed out.
pub(crate) const HANDED_OUT: &str = "cluster-keys.json";

fn of_tls(tls: &TlsSettings) -> Option<WeakFile> {
    examine("tls.key", tls.key.as_deref()?)
}

fn of_store(text: &str) -> Option<WeakFile> {
    match store(text).ok()? {
        Location::File(path) => examine("store", &path),
        Location::Memory => None,
        Location::Postgres(server) => examine("store", server.password_file()?),
    }
}

impl AgentSettings {
    /// Its files that are weakly protected.
    pub fn weak_files(&self) -> Vec<WeakFile> {
        let keys = self.cluster_key_file.as_deref();
        let handed_out = self.state_dir.join(HANDED_OUT);
        let found = [
            of_tls(&self.tls),
            examine("state_dir", &handed_out),
            keys.and_then(|path| examine("cluster_key_file", path)),
        ];
        found.into_iter().flatten().collect()
    }
}

impl ControllerSettings {
    /// Its files that are weakly protected.
    pub fn weak_files(&self) -> Vec<WeakFile> {
        let found = [of_tls(&self.tls), of_store(&self.store)];
        found.into_iter().flatten().collect()
    }
}

impl AnalyzerSettings {
    /// Its files that are weakly protected.
    pub fn weak_files(&self) -> Vec<WeakFile> {
        let secret = self.alerts.webhook_secret_file.as_deref();
        let found = [
            of_tls(&self.tls),
            secret.and_then(|path| examine("alerts.webhook_secret_file", path)),
            of_store(&self.store),
        ];
        found.into_iter().flatten().collect()
    }
}

/// Warns of each in the log.
pub fn warn(files: &[WeakFile]) {
    for file in files {
        tracing::warn!(mend = file.command(), "weak permissions: {file}");
    }
}

/// Names each on standard output, for `check-config`.
pub fn print(files: &[WeakFile]) {
    for file in files {
        println!("warning: {file}; mend it with: {}", file.command());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_that_others_can_read_or_change_are_named_with_the_command() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("tls.key");
        fs::write(&path, "key").expect("write");
        let look = |mode| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
            examine("tls.key", &path)
        };
        for mode in [0o600, 0o400, 0o700] {
            assert_eq!(look(mode), None, "{mode:o}");
        }
        for (mode, what, right) in [
            (0o644, "every user of this host can read it", "0600"),
            (0o666, "every user of this host can change it", "0600"),
            (0o602, "every user of this host can change it", "0600"),
            (0o640, "its group can read it", "0600"),
            (0o660, "its group can change it", "0600"),
            (0o440, "its group can read it", "0400"),
        ] {
            let weak = look(mode).unwrap_or_else(|| panic!("{mode:o} is weak"));
            let shown = path.display();
            assert_eq!(
                weak.to_string(),
                format!("tls.key ({shown}) has mode {mode:04o}: {what}")
            );
            assert_eq!(weak.command(), format!("chmod {right} '{shown}'"));
        }
        assert_eq!(examine("tls.key", &folder.path().join("none")), None);
    }
}
