//! Copies everything that a program keeps from one store to another, of the same engine or not: `rpingmesh store migrate`.
//!
//! Both stores are opened as their program opens them, so a program that runs is noticed. The copy is made in portions, each of which
//! can be repeated; a note beside the target ([`unfinished`](super::unfinished)) keeps programs away from it until all is there and
//! was compared. A copy that broke off is made again from the start by the same call.

mod analyzer;
mod controller;

use std::fmt;

use super::open::{Stores, registry_alone};
use super::postgres::fence::Role;
use super::registry::RegistryError;
use super::tenure::Tenure;
use super::{Location, StoreError, sqlite, unfinished};

/// Whose data it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Registered agents and the cluster's key.
    Controller,
    /// Incidents and what receivers were told of them, hosts, history, batches and watermarks.
    Analyzer,
}

impl Owner {
    const fn role(self) -> Role {
        match self {
            Self::Controller => Role::Controller,
            Self::Analyzer => Role::Analyzer,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.role().name())
    }
}

/// How far the copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is copied, in the plural.
    pub what: &'static str,
    /// How many were copied.
    pub done: u64,
    /// How many there are.
    pub all: u64,
}

/// What was copied of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// What, in the plural.
    pub what: &'static str,
    /// How many.
    pub count: u64,
    /// How many could not be read and stay behind.
    pub left_out: u64,
}

/// Why nothing, or not all, was copied.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Both are the same.
    #[error("{store} is both source and target: name another target")]
    Same {
        /// The store.
        store: String,
    },
    /// Nothing is left of a store in memory.
    #[error("a store in memory has nothing to copy, and keeps nothing: name a file or a database")]
    Memory,
    /// There is no such file.
    #[error("{store} is not there: name the file that the program's key `store` names")]
    Missing {
        /// The file.
        store: String,
    },
    /// It is not known which program's data is meant.
    #[error("no SQLite file says whose data is to be copied: add --of controller or --of analyzer")]
    Unknown,
    /// The file belongs to the other program, or to none of ours.
    #[error("{store} is not a store of the {owner}")]
    OtherOwner {
        /// The file.
        store: String,
        /// Whose data is to be copied.
        owner: Owner,
    },
    /// The target has data.
    #[error(
        "{store} has data of the {owner} already ({what}): nothing was copied; name an empty one"
    )]
    NotEmpty {
        /// The target.
        store: String,
        /// Whose data.
        owner: Owner,
        /// What is there.
        what: String,
    },
    /// The target holds a part of something else.
    #[error(
        "{store} holds a part of what was copied from {other}: copy from there again, or name an empty one"
    )]
    OtherSource {
        /// The target.
        store: String,
        /// Where that comes from.
        other: String,
    },
    /// What was written is not what is read.
    #[error(
        "{what} in {store} are not those that were copied ({found} instead of {copied}): the target cannot be used, copy again"
    )]
    Differs {
        /// What.
        what: &'static str,
        /// The target.
        store: String,
        /// How many are there.
        found: u64,
        /// How many were copied.
        copied: u64,
    },
    /// A store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry refuses an announcement.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Where progress goes.
pub type Reporter<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// Copies what `owner` keeps; without one the SQLite file says whose it is. The programs of both stores must be stopped.
///
/// # Errors
/// [`TransferError`]. Once something was written, the target is not opened by programs until the same copy has come to its end.
pub async fn copy(
    from: &Location,
    to: &Location,
    owner: Option<Owner>,
    report: Reporter<'_>,
) -> Result<Vec<Copied>, TransferError> {
    if from == to {
        let store = from.name();
        return Err(TransferError::Same { store });
    }
    let owner = owner_of(from, to, owner).await?;
    match owner {
        Owner::Controller => {
            unfinished::refuse(from, owner.role()).await?;
            let (source, target) = (registry_alone(from).await?, registry_alone(to).await?);
            let leases = [source.tenure(), target.tenure()];
            let copying = controller::Copying {
                source: &*source,
                target: &*target,
            };
            let copied = finished(from, to, owner, copying, report).await;
            give_up(leases).await;
            copied
        }
        Owner::Analyzer => {
            unfinished::refuse(from, owner.role()).await?;
            let (source, target) = (Stores::open_any(from).await?, Stores::open_any(to).await?);
            let leases = [source.tenure.clone(), target.tenure.clone()];
            let copying = analyzer::Copying { source, target };
            let copied = finished(from, to, owner, copying, report).await;
            give_up(leases).await;
            copied
        }
    }
}

/// What is done with the stores of one owner.
#[tonic::async_trait]
trait Kept: Send + Sync {
    /// What the target has, in words; `None` if nothing.
    async fn present(&self) -> Result<Option<String>, TransferError>;

    /// Removes what an earlier copy has left.
    async fn clear(&self) -> Result<(), TransferError>;

    /// Copies all, and compares.
    async fn run(&self, store: &str, report: Reporter<'_>) -> Result<Vec<Copied>, TransferError>;
}

async fn finished(
    from: &Location,
    to: &Location,
    owner: Owner,
    copying: impl Kept,
    report: Reporter<'_>,
) -> Result<Vec<Copied>, TransferError> {
    let source = from.to_string();
    match unfinished::source(to, owner.role()).await? {
        Some(other) if other != source => {
            let store = to.name();
            return Err(TransferError::OtherSource { store, other });
        }
        Some(_) => copying.clear().await?,
        None => {
            if let Some(what) = copying.present().await? {
                let store = to.name();
                return Err(TransferError::NotEmpty { store, owner, what });
            }
            unfinished::begin(to, owner.role(), &source).await?;
        }
    }
    let copied = copying.run(&to.name(), report).await?;
    unfinished::end(to, owner.role()).await?;
    Ok(copied)
}

/// As programs do at their end, so that the next one need not wait.
async fn give_up(leases: [Tenure; 2]) {
    let over = tokio_util::sync::CancellationToken::new();
    over.cancel();
    for lease in leases {
        if let Err(error) = lease.hold(over.clone()).await {
            tracing::debug!(%error, "the lease was lost after the copy");
        }
    }
}

/// Whose data is copied: what the caller says, or the file that is there.
async fn owner_of(
    from: &Location,
    to: &Location,
    said: Option<Owner>,
) -> Result<Owner, TransferError> {
    let mut owner = said;
    for (location, is_source) in [(from, true), (to, false)] {
        let path = match location {
            Location::Memory => return Err(TransferError::Memory),
            Location::Postgres(_) => continue,
            Location::File(path) => path.clone(),
        };
        if !path.exists() {
            if is_source {
                let store = location.name();
                return Err(TransferError::Missing { store });
            }
            continue;
        }
        let reading = tokio::task::spawn_blocking(move || sqlite::application_id(&path));
        let id = reading.await.map_err(|source| StoreError::Failed {
            store: location.name(),
            source: source.into(),
        })??;
        let known = match id {
            sqlite::registry::APPLICATION_ID => Some(Owner::Controller),
            sqlite::journal::APPLICATION_ID => Some(Owner::Analyzer),
            // An empty file.
            0 if !is_source => continue,
            _ => None,
        };
        if known.is_none() || owner.is_some_and(|owner| known != Some(owner)) {
            return Err(TransferError::OtherOwner {
                store: location.name(),
                owner: owner.or(known).unwrap_or(Owner::Controller),
            });
        }
        owner = known;
    }
    owner.ok_or(TransferError::Unknown)
}

/// Compares what is there with what was copied.
fn compare(
    (what, store): (&'static str, &str),
    is_same: bool,
    (found, copied): (u64, u64),
) -> Result<(), TransferError> {
    if is_same && found == copied {
        return Ok(());
    }
    Err(TransferError::Differs {
        what,
        store: store.to_owned(),
        found,
        copied,
    })
}

fn count(length: usize) -> u64 {
    length as u64
}

/// What is there, in words.
fn in_words(counts: &[(u64, &str)]) -> Option<String> {
    let there: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!there.is_empty()).then(|| there.join(", "))
}
