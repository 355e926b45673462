//! Hosts and RNICs that were there, in the analyzer's SQLite file, beside the journal.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::Db;
use super::damaged::set_row_aside;
use crate::analysis::fleet::record::HostRecord;
use crate::id::HostName;
use crate::store::StoreError;
use crate::store::damage::Damage;
use crate::store::fleet::Hosts;

/// The layout's part of the journal's file. A host is a JSON object.
pub(super) const MIGRATION: &str = "
    CREATE TABLE host (
        name TEXT PRIMARY KEY,
        body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Hosts in an SQLite file.
#[derive(Debug, Clone)]
pub(crate) struct SqliteHosts {
    db: Db,
}

impl SqliteHosts {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl Hosts for SqliteHosts {
    async fn load(&self) -> Result<Vec<HostRecord>, StoreError> {
        let damage = self.db.damage.clone();
        self.db
            .read(move |connection| load(connection, &damage))
            .await
    }

    async fn put(&self, changes: BTreeMap<HostName, Option<HostRecord>>) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                for (name, record) in &changes {
                    let Some(record) = record else {
                        transaction
                            .prepare_cached("DELETE FROM host WHERE name = ?1")?
                            .execute([name.as_str()])?;
                        continue;
                    };
                    let body = serde_json::to_string(record).map_err(|error| {
                        rusqlite::Error::ToSqlConversionFailure(Box::new(error))
                    })?;
                    transaction
                        .prepare_cached(
                            "INSERT INTO host (name, body) VALUES (?1, ?2)
                             ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                        )?
                        .execute(params![name.as_str(), body])?;
                }
                transaction.commit()
            })
            .await
    }
}

/// All hosts; one that cannot be read is set aside.
fn load(connection: &Connection, damage: &Damage) -> rusqlite::Result<Vec<HostRecord>> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    {
        let mut select = connection.prepare("SELECT name, body FROM host ORDER BY name")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_bytes().map_err(rusqlite::Error::from)?;
            let body = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
            match serde_json::from_slice(body) {
                Ok(record) => found.push(record),
                Err(_) => unreadable.push((
                    String::from_utf8_lossy(name).into_owned(),
                    String::from_utf8_lossy(body).into_owned(),
                )),
            }
        }
    }
    for (name, body) in &unreadable {
        set_row_aside(
            connection,
            damage,
            "host",
            (name, body),
            "DELETE FROM host WHERE name = ?1",
        )?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
