//! The agent's keys: those of its configuration, or those that the controller has handed out, which are kept on the disk for a
//! start while the controller is away.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cluster_key::ring::{Parts, Ring};
use crate::cluster_key::{
    Followed, Generation, Held, KeySource, KeyUse, Order, Phase, Report, Secret,
};
use crate::config::agent::AgentConfig;
use crate::config::weak::HANDED_OUT as FILE;
use crate::net::tls::Security;
use crate::store::quarantine::set_aside;
use crate::wire::{Fingerprint, Keyring};

/// What an agent signs and verifies with.
pub struct Keys {
    source: Source,
    file: PathBuf,
}

enum Source {
    /// Of its own configuration.
    Own(Arc<Keyring>),
    /// The controller is reached without TLS: none are handed out.
    NoTls,
    Controller(Ring),
}

impl Keys {
    /// No keys, and none are taken: of an agent that reaches its controller without TLS.
    pub fn none() -> Self {
        Self {
            source: Source::NoTls,
            file: PathBuf::new(),
        }
    }

    /// Those of the configuration, else those that the controller has handed out.
    pub(super) async fn open(config: &AgentConfig) -> Self {
        let config_keys = &config.cluster_keys;
        let file = path(config);
        let source = if let Some(signs) = config_keys.signs_with() {
            tracing::info!(
                fingerprint = %signs,
                "probes are signed with the key of `cluster_key_file`: keys of the controller are not taken"
            );
            Source::Own(Arc::new(config_keys.clone()))
        } else if !matches!(config.security, Security::Mutual(_)) {
            Source::NoTls
        } else {
            let reading = file.clone();
            let read = tokio::task::spawn_blocking(move || stored_or_aside(&reading));
            Source::Controller(read.await.unwrap_or_default())
        };
        Self { source, file }
    }

    /// What the controller is told; `None` where it hands out nothing.
    pub(super) fn report(&self) -> Option<Report> {
        match &self.source {
            Source::Own(_) => Some(Report::Own),
            Source::NoTls => None,
            Source::Controller(ring) => Some(Report::Held(ring.held())),
        }
    }

    /// What packets are signed and verified with.
    pub(super) fn ring(&self) -> Arc<Keyring> {
        match &self.source {
            Source::Own(keys) => Arc::clone(keys),
            Source::NoTls => Arc::default(),
            Source::Controller(ring) => Arc::new(ring.keyring()),
        }
    }

    /// What people are told.
    pub(super) fn key_use(&self) -> KeyUse {
        match &self.source {
            Source::Own(keys) => KeyUse {
                source: KeySource::Own,
                phase: None,
                signs: keys.signs_with(),
            },
            Source::NoTls => KeyUse::default(),
            Source::Controller(ring) => ring.key_use(),
        }
    }

    /// Does what the controller says, and stores it. Gives what is held then, and why it cannot be stored; `None` where keys of the
    /// controller are not taken.
    pub(super) async fn follow(&mut self, order: &Order) -> Option<(Held, Option<String>)> {
        let Source::Controller(ring) = &mut self.source else {
            return None;
        };
        if ring.follow(order) {
            tracing::info!(
                generation = order.generation.0,
                phase = order.phase.name(),
                fingerprint = %order.key.fingerprint(),
                "key of the controller"
            );
        }
        // Also when it has not changed: it may not have been stored before.
        let (ring, file) = (ring.clone(), self.file.clone());
        let (held, text) = (ring.held(), Stored::from(&ring.parts()).text());
        let writing = tokio::task::spawn_blocking(move || write(&file, &text?));
        let result = writing
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        let trouble = result
            .err()
            .map(|error| format!("{}: {error}", self.file.display()));
        if let Some(why) = &trouble {
            tracing::warn!(why, "the controller's keys cannot be stored");
        }
        Some((held, trouble))
    }
}

/// The keys for a command that probes or answers by itself: those of the configuration, else those that the agent of this host
/// has from the controller, where this user may read them.
pub fn at_hand(config: &AgentConfig) -> Arc<Keyring> {
    if !config.cluster_keys.is_empty() {
        return Arc::new(config.cluster_keys.clone());
    }
    match read(&path(config)) {
        Ok(Some(ring)) => Arc::new(ring.keyring()),
        Ok(None) => Arc::default(),
        Err(error) => {
            let file = path(config).display().to_string();
            tracing::warn!(file, %error, "the agent's keys cannot be read: packets are not signed");
            Arc::default()
        }
    }
}

fn path(config: &AgentConfig) -> PathBuf {
    config.settings.state_dir.join(FILE)
}

/// A ring as the file has it. Keys are in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    lineage: Option<String>,
    generation: u64,
    phase: Option<String>,
    signs: Option<String>,
    takes_unsigned: bool,
    keys: Vec<String>,
}

impl From<&Parts> for Stored {
    fn from(parts: &Parts) -> Self {
        let followed = parts.followed;
        let keys = parts
            .secrets
            .iter()
            .map(|secret| hexadecimal(secret.bytes()));
        Self {
            lineage: followed.map(|at| at.lineage.to_string()),
            generation: followed.map_or(0, |at| at.generation.0),
            phase: followed.map(|at| at.phase.name().to_owned()),
            signs: parts.signs.map(|print| print.to_string()),
            takes_unsigned: parts.takes_unsigned,
            keys: keys.collect(),
        }
    }
}

impl Stored {
    fn text(&self) -> io::Result<String> {
        serde_json::to_string_pretty(self).map_err(io::Error::other)
    }

    /// `None` for what no ring can be.
    fn ring(&self) -> Option<Ring> {
        let print = |text: &String| Some(Fingerprint(bytes(text)?.try_into().ok()?));
        let followed = match (&self.lineage, &self.phase) {
            (Some(lineage), Some(phase)) => Some(Followed {
                lineage: print(lineage)?,
                generation: Generation(self.generation),
                phase: Phase::from_name(phase)?,
            }),
            _ => None,
        };
        let signs = match &self.signs {
            Some(text) => Some(print(text)?),
            None => None,
        };
        let secrets = self.keys.iter().map(|text| Secret::new(&bytes(text)?));
        Ring::restored(Parts {
            secrets: secrets.collect::<Option<_>>()?,
            signs,
            takes_unsigned: self.takes_unsigned,
            followed,
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// What is stored; `None` where there is nothing. The error of a damaged file does not quote it.
fn read(path: &Path) -> io::Result<Option<Ring>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let stored = serde_json::from_str::<Stored>(&text).ok();
    let ring = stored.and_then(|stored| stored.ring());
    ring.map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
}

/// What is stored. A damaged file is renamed; then the agent starts without keys, as a new one does.
fn stored_or_aside(path: &Path) -> Ring {
    match read(path) {
        Ok(ring) => ring.unwrap_or_default(),
        Err(error) => {
            let damaged = error.kind() == io::ErrorKind::InvalidData;
            let kept = damaged.then(|| set_aside(path)).and_then(Result::ok);
            tracing::error!(
                file = %path.display(), %error, kept = kept.map(|kept| kept.display().to_string()),
                "the controller's keys cannot be read: probes are not signed until it hands them out again"
            );
            Ring::default()
        }
    }
}

/// Replaces the file as one step; nobody else can read it at any time.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension("new");
    // One that a crash has left may have other rights.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cluster_key::Master;

    fn order(generation: u64, phase: Phase) -> Order {
        let master = Master::new(&[7; 32]).expect("a secret");
        let generation = Generation(generation);
        Order {
            lineage: master.lineage(),
            generation,
            phase,
            key: master.secret(generation),
            previous: generation.before().map(|before| master.secret(before)),
            keeps: false,
        }
    }

    #[tokio::test]
    async fn keys_outlive_the_process_and_only_its_user_reads_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state").join(FILE);
        let mut keys = Keys {
            source: Source::Controller(Ring::default()),
            file: file.clone(),
        };
        for order in [order(3, Phase::Offered), order(3, Phase::Signing)] {
            let (_, trouble) = keys.follow(&order).await.expect("taken");
            assert_eq!(trouble, None);
            let Source::Controller(ring) = &keys.source else {
                unreachable!("made so");
            };
            assert_eq!(stored_or_aside(&file), *ring);
        }
        let mode = std::fs::metadata(&file)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&file, "{\"keys\": [\"zz\"]}").expect("written");
        assert_eq!(stored_or_aside(&file), Ring::default());
        assert!(!file.exists(), "a damaged file has another name");
    }

    #[tokio::test]
    async fn own_keys_win_and_what_cannot_be_stored_is_said() {
        let mut own = Keys {
            source: Source::Own(Arc::default()),
            file: PathBuf::new(),
        };
        assert_eq!(own.report(), Some(Report::Own));
        assert_eq!(own.follow(&order(1, Phase::Steady)).await, None);
        let mut keys = Keys {
            source: Source::Controller(Ring::default()),
            file: PathBuf::from("/dev/null/cluster-keys.json"),
        };
        let (held, trouble) = keys.follow(&order(1, Phase::Steady)).await.expect("taken");
        assert!(held.signs.is_some());
        let trouble = trouble.expect("it cannot be stored");
        assert!(
            trouble.starts_with("/dev/null/cluster-keys.json: "),
            "{trouble}"
        );
        assert_eq!(keys.ring().signs_with(), held.signs);
    }
}
