//! Copies everything that a program keeps from one store to another, of the same engine or not: `rpingmesh store migrate`.
//!
//! Both stores are opened as their program opens them, so a program that runs is noticed. The copy is made in portions, each of which
//! can be repeated; a note beside the target ([`unfinished`](super::unfinished::refuse)) keeps programs away from it until all is there and
//! was compared. A copy that broke off is made again from the start by the same call.

mod analyzer;
mod controller;
mod kept;

use super::open::{Stores, registry_alone};
use super::tenure::Tenure;
use super::{Location, StoreError, sqlite, unfinished};
use kept::Kept;

pub use kept::{Copied, Owner, Progress, Reporter, TransferError};

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
            let source = registry_alone(from).await?;
            // The note is read after opening, which brings a layout of an earlier version up to date.
            if let Err(error) = unfinished::refuse(from, owner.role()).await {
                source.tenure().give_up().await;
                return Err(error.into());
            }
            let target = match registry_alone(to).await {
                Ok(target) => target,
                Err(error) => {
                    source.tenure().give_up().await;
                    return Err(error.into());
                }
            };
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
            let source = Stores::open(from).await?;
            let target = match Stores::open_any(to).await {
                Ok(target) => target,
                Err(error) => {
                    source.tenure.give_up().await;
                    return Err(error.into());
                }
            };
            let leases = [source.tenure.clone(), target.tenure.clone()];
            let copying = analyzer::Copying { source, target };
            let copied = finished(from, to, owner, copying, report).await;
            give_up(leases).await;
            copied
        }
    }
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

async fn give_up(leases: [Tenure; 2]) {
    for lease in leases {
        lease.give_up().await;
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
