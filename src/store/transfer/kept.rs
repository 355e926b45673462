//! What is copied, and what can go wrong.

use std::fmt;

use crate::store::StoreError;
use crate::store::postgres::fence::Role;
use crate::store::registry::RegistryError;

/// Whose data it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Registered agents and the cluster's key.
    Controller,
    /// Incidents and what receivers were told of them, hosts, history, batches and watermarks.
    Analyzer,
}

impl Owner {
    pub(in crate::store) const fn role(self) -> Role {
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

/// What is done with the stores of one owner.
#[tonic::async_trait]
pub(super) trait Kept: Send + Sync {
    /// What the target has, in words; `None` if nothing.
    async fn present(&self) -> Result<Option<String>, TransferError>;

    /// Removes what an earlier copy has left.
    async fn clear(&self) -> Result<(), TransferError>;

    /// Copies all, and compares.
    async fn run(&self, store: &str, report: Reporter<'_>) -> Result<Vec<Copied>, TransferError>;
}

/// Compares what is there with what was copied.
pub(super) fn compare(
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

pub(super) fn count(length: usize) -> u64 {
    length as u64
}

/// What is there, in words.
pub(super) fn in_words(counts: &[(u64, &str)]) -> Option<String> {
    let there: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!there.is_empty()).then(|| there.join(", "))
}
