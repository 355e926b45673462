//! What failures of the server mean.

use std::io;

use deadpool_postgres::PoolError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Why a call failed, before it is known whether it is tried again.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server or the connection.
    Sql(Error),
    /// Anything that is final.
    Store(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl Failure {
    /// Whether the same transaction may succeed when it is tried again.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Sql(error) = self else {
            return false;
        };
        error.code().is_some_and(|code| {
            [
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::T_R_DEADLOCK_DETECTED,
            ]
            .contains(code)
        })
    }

    /// As callers get it.
    pub(super) fn into_error(self, store: &str) -> StoreError {
        match self {
            Self::Sql(error) => classify(store, error),
            Self::Store(error) => error,
        }
    }
}

/// Turns a failure into one that says what to do.
pub(super) fn classify(store: &str, source: Error) -> StoreError {
    let store = store.to_owned();
    let Some(code) = source.code().cloned() else {
        return without_code(store, source);
    };
    let source = source.into();
    let is_one_of = |codes: &[SqlState]| codes.contains(&code);
    if is_one_of(&[
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ]) {
        StoreError::Denied { store, source }
    } else if is_one_of(&[SqlState::READ_ONLY_SQL_TRANSACTION]) {
        StoreError::Replica { store }
    } else if is_one_of(&[SqlState::DISK_FULL]) {
        StoreError::Full { store }
    } else if is_one_of(&[
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
    ]) {
        StoreError::Unreachable { store, source }
    } else if is_one_of(&[SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED]) {
        StoreError::Corrupt { store, source }
    } else {
        StoreError::Failed { store, source }
    }
}

fn without_code(store: String, source: Error) -> StoreError {
    let cause =
        std::error::Error::source(&source).and_then(|cause| cause.downcast_ref::<io::Error>());
    // What the library says when none of several hosts takes changes.
    if cause.is_some_and(|cause| {
        cause.kind() == io::ErrorKind::PermissionDenied && cause.raw_os_error().is_none()
    }) {
        return StoreError::Replica { store };
    }
    let is_lost = source.is_closed() || cause.is_some();
    let source = source.into();
    if is_lost {
        StoreError::Unreachable { store, source }
    } else {
        StoreError::Failed { store, source }
    }
}

/// The same for a connection that could not be had.
pub(super) fn no_connection(store: &str, error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => classify(store, error),
        other => StoreError::Unreachable {
            store: store.to_owned(),
            source: other.into(),
        },
    }
}

/// It did not answer in time.
pub(super) fn timed_out(store: &str) -> StoreError {
    StoreError::Unreachable {
        store: store.to_owned(),
        source: io::Error::from(io::ErrorKind::TimedOut).into(),
    }
}
