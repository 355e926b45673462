//! What was counted so far, in a file: a certification that was stopped goes on from there.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rpingmesh::analysis::certify::{Fault, Progress, Question};
use rpingmesh::api::evidence::Evidence;
use rpingmesh::config::ConfigError;
use rpingmesh::config::program::Failure;
use serde::{Deserialize, Serialize};

/// Of the file's form.
const VERSION: u32 = 1;

/// A certification under way.
#[derive(Debug)]
pub(super) struct Certification {
    pub(super) question: Question,
    pub(super) progress: Progress,
    /// When the first evidence begins.
    started: Option<i64>,
    file: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    loss: f64,
    hosts: BTreeSet<String>,
    started_unix_ns: Option<i64>,
    evidence: Option<Evidence>,
    known: Vec<Fault>,
    without: BTreeSet<String>,
}

impl Certification {
    /// A new one, or the one of the file, if there is one.
    pub(super) fn open(file: Option<&Path>, question: Question) -> Result<Self, Failure> {
        let mut new = Self {
            question,
            progress: Progress::default(),
            started: None,
            file: file.map(Path::to_owned),
        };
        let Some(file) = file else {
            return Ok(new);
        };
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(new),
            Err(error) => return Err(wrong(file, &format!("cannot be read: {error}"))),
        };
        new.restore(&text).map_err(|why| wrong(file, &why))?;
        Ok(new)
    }

    fn restore(&mut self, text: &str) -> Result<(), String> {
        let not_ours = |error: &dyn std::fmt::Display| {
            format!("is no state of a certification: {error}; name another file")
        };
        let saved: Saved = serde_json::from_str(text).map_err(|error| not_ours(&error))?;
        if saved.version != VERSION {
            return Err(not_ours(&format!("version {}", saved.version)));
        }
        let hosts: BTreeSet<String> = self.hosts();
        if saved.loss.to_bits() != self.question.loss.to_bits() || saved.hosts != hosts {
            let asked: Vec<String> = saved.hosts.into_iter().collect();
            let asked = if asked.is_empty() {
                "all hosts".to_owned()
            } else {
                asked.join(",")
            };
            return Err(format!(
                "is of another certification (--loss {:e}, {asked}); name another file, or ask the same",
                saved.loss
            ));
        }
        let evidence = saved.evidence.as_ref().map(TryInto::try_into).transpose();
        self.progress = Progress {
            evidence: evidence.map_err(|error| not_ours(&error))?,
            known: saved.known,
            without: saved.without,
        };
        self.started = saved.started_unix_ns;
        Ok(())
    }

    fn hosts(&self) -> BTreeSet<String> {
        let hosts = self.question.hosts.iter();
        hosts.map(|host| host.as_str().to_owned()).collect()
    }

    /// When the first evidence begins, `now` if this is it.
    pub(super) fn started(&mut self, now: i64) -> i64 {
        *self.started.get_or_insert(now)
    }

    /// Writes the file, whole or not at all.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let saved = Saved {
            version: VERSION,
            loss: self.question.loss,
            hosts: self.hosts(),
            started_unix_ns: self.started,
            evidence: self.progress.evidence.as_ref().map(Into::into),
            known: self.progress.known.clone(),
            without: self.progress.without.clone(),
        };
        let text = serde_json::to_vec(&saved).map_err(Failure::run)?;
        let mut beside = file.clone().into_os_string();
        beside.push(".new");
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, file))
            .map_err(|error| wrong(file, &format!("cannot be written: {error}")))
    }
}

fn wrong(file: &Path, why: &str) -> Failure {
    ConfigError::value("state", format!("{} {why}", file.display())).into()
}
