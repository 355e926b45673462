//! Rows that hold JSON, and what becomes of those that cannot be read.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::{Error, Row};

use super::db::Db;
use super::errors::classify;
use crate::store::StoreError;

impl Db {
    /// What a column holds as JSON; `None` where it cannot be read. The row stays as it is: a person or a newer program can look at it.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        (table, key): (&str, &str),
        row: &Row,
        column: &str,
    ) -> Option<T> {
        let error = match row.try_get::<_, String>(column) {
            Ok(body) => match serde_json::from_str(&body) {
                Ok(value) => return Some(value),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let line = format!("row {key} of table {table} cannot be read and is left out: {error}");
        tracing::error!(store = %self.link.store, "{line}");
        self.damage.note(line);
        None
    }

    /// What was read of a row.
    ///
    /// # Errors
    /// Somebody has changed the type of a column.
    pub(super) fn sql<T>(&self, read: Result<T, Error>) -> Result<T, StoreError> {
        read.map_err(|error| classify(&self.link.store, error))
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// It has no such form.
    pub(super) fn to_json(&self, value: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|source| StoreError::Failed {
            store: self.link.store.to_string(),
            source: source.into(),
        })
    }
}
