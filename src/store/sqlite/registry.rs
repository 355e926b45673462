//! The registry in an embedded SQLite database.

use rusqlite::types::Type;
use rusqlite::{
    Connection, OptionalExtension as _, Row, Savepoint, Statement, TransactionBehavior, params,
};

use super::Db;
use super::damaged::set_row_aside;
use super::opening::Schema;
use crate::cluster_key::rotation::Stored;
use crate::cluster_key::{Generation, Master, Phase};
use crate::id::{AgentId, Gid, QKey, Qpn};
use crate::store::damage::Damage;
use crate::store::registry::{Put, Registry, RegistryError};
use crate::store::{Location, StoreError};
use crate::time::WallTime;
use crate::topology::{Announcement, Rnic};
use crate::transport::Address;

/// "rpmc"
pub(in crate::store) const APPLICATION_ID: i32 = 0x7270_6d63;

const SCHEMA: Schema = Schema {
    application_id: APPLICATION_ID,
    migrations: &[
        "
        CREATE TABLE agent (
            id              TEXT PRIMARY KEY,
            incarnation     INTEGER NOT NULL,
            host            TEXT NOT NULL,
            version         TEXT NOT NULL,
            announced_at_ns INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE rnic (
            gid       BLOB PRIMARY KEY,
            agent     TEXT NOT NULL REFERENCES agent (id) ON DELETE CASCADE,
            position  INTEGER NOT NULL,
            qpn       INTEGER NOT NULL,
            q_key     INTEGER NOT NULL,
            device    TEXT NOT NULL,
            port      INTEGER NOT NULL,
            tor       TEXT NOT NULL,
            gid_index INTEGER NOT NULL,
            clock     TEXT NOT NULL,
            steering  TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX rnic_agent ON rnic (agent, position);
    ",
        super::damaged::MIGRATION,
        "
        CREATE TABLE cluster_key (
            id          INTEGER PRIMARY KEY CHECK (id = 1),
            master      BLOB NOT NULL,
            generation  INTEGER NOT NULL,
            phase       TEXT NOT NULL,
            begun_at_ns INTEGER NOT NULL,
            mixed       INTEGER NOT NULL
        ) STRICT;
    ",
    ],
};

/// [`Registry`] in one SQLite file that this process owns.
#[derive(Debug, Clone)]
pub(crate) struct SqliteRegistry {
    db: Db,
}

impl SqliteRegistry {
    /// Opens or makes the database.
    ///
    /// # Errors
    /// Those of [`Db::open`].
    #[cfg(test)]
    async fn open(location: &Location) -> Result<Self, StoreError> {
        let (registry, failure) = Self::open_later(location).await?;
        failure.map_or(Ok(registry), Err)
    }

    /// Opens or makes the database. One that cannot be opened is tried again with each call; gives why.
    ///
    /// # Errors
    /// Those of [`Db::open_later`].
    pub(crate) async fn open_later(
        location: &Location,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let (db, failure) = Db::open_later(location, &SCHEMA).await?;
        Ok((Self { db }, failure))
    }
}

#[tonic::async_trait]
impl Registry for SqliteRegistry {
    async fn load(&self) -> Result<Vec<Announcement>, RegistryError> {
        let damage = self.db.damage.clone();
        Ok(self
            .db
            .read(move |connection| load(connection, &damage))
            .await?)
    }

    async fn put(
        &self,
        announcement: &Announcement,
        superseded: &[AgentId],
        now: WallTime,
    ) -> Result<(), RegistryError> {
        let put = Put {
            announcement: announcement.clone(),
            superseded: superseded.to_vec(),
        };
        let refused = self.put_all(&[put], now).await?;
        refused.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    async fn put_all(
        &self,
        puts: &[Put],
        now: WallTime,
    ) -> Result<Vec<Option<RegistryError>>, StoreError> {
        let puts = puts.to_vec();
        let taken = self
            .db
            .call(move |connection| put_all(connection, &puts, now))
            .await?;
        let refused = taken.into_iter().map(|taken| {
            let (gid, owner) = taken?;
            Some(RegistryError::GidTaken { gid, owner })
        });
        Ok(refused.collect())
    }

    async fn remove(&self, agents: &[AgentId]) -> Result<(), RegistryError> {
        let agents = agents.to_vec();
        Ok(self
            .db
            .call(move |connection| remove(connection, &agents))
            .await?)
    }

    async fn load_keys(&self) -> Result<Option<Stored>, RegistryError> {
        let damage = self.db.damage.clone();
        Ok(self
            .db
            .read(move |connection| load_keys(connection, &damage))
            .await?)
    }

    async fn put_keys(&self, keys: &Stored) -> Result<(), RegistryError> {
        let keys = keys.clone();
        Ok(self
            .db
            .call(move |connection| put_keys(connection, &keys))
            .await?)
    }
}

/// What is stored of the keys; what cannot be read is set aside, and the controller makes new keys.
fn load_keys(connection: &Connection, damage: &Damage) -> rusqlite::Result<Option<Stored>> {
    let found = connection
        .prepare_cached("SELECT master, generation, phase, begun_at_ns, mixed FROM cluster_key")?
        .query_row([], keys)
        .optional();
    match found {
        Err(error @ rusqlite::Error::SqliteFailure(..)) => Err(error),
        Err(error) => {
            let entry = ("1", error.to_string());
            let delete = "DELETE FROM cluster_key WHERE id = ?1";
            set_row_aside(
                connection,
                damage,
                "cluster_key",
                (entry.0, &entry.1),
                delete,
            )?;
            Ok(None)
        }
        Ok(found) => Ok(found),
    }
}

fn keys(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let wrong = |column, what: &'static str| unreadable(column, std::io::Error::other(what));
    let master: Vec<u8> = row.get(0)?;
    let phase: String = row.get(2)?;
    Ok(Stored {
        master: Master::new(&master).ok_or_else(|| wrong(0, "not a secret"))?,
        generation: Generation(row.get::<_, i64>(1)?.cast_unsigned().max(1)),
        phase: Phase::from_name(&phase).ok_or_else(|| wrong(2, "not a phase"))?,
        begun: WallTime::from_nanos(row.get(3)?),
        is_mixed: row.get(4)?,
    })
}

fn put_keys(connection: &Connection, keys: &Stored) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO cluster_key (id, master, generation, phase, begun_at_ns, mixed)
             VALUES (1, ?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET master = excluded.master, generation = excluded.generation,
                 phase = excluded.phase, begun_at_ns = excluded.begun_at_ns, mixed = excluded.mixed",
        )?
        .execute(params![
            keys.master.bytes(),
            keys.generation.0.cast_signed(),
            keys.phase.name(),
            keys.begun.nanos(),
            keys.is_mixed,
        ])?;
    Ok(())
}

/// All agents; one of which something cannot be read is set aside, and registers again if it lives.
fn load(connection: &Connection, damage: &Damage) -> rusqlite::Result<Vec<Announcement>> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    {
        let mut agents = connection
            .prepare_cached("SELECT id, incarnation, host, version FROM agent ORDER BY id")?;
        let mut rnics = connection.prepare_cached(
            "SELECT gid, qpn, q_key, device, port, tor, gid_index, clock, steering FROM rnic WHERE agent = ?1 ORDER BY position",
        )?;
        let mut rows = agents.query([])?;
        while let Some(row) = rows.next()? {
            match announcement(row, &mut rnics) {
                Ok(announcement) => found.push(announcement),
                // The file, not the row.
                Err(error @ rusqlite::Error::SqliteFailure(..)) => return Err(error),
                Err(error) => {
                    let id = row.get_ref(0)?.as_bytes().unwrap_or_default();
                    unreadable.push((String::from_utf8_lossy(id).into_owned(), error.to_string()));
                }
            }
        }
    }
    for (id, error) in &unreadable {
        set_row_aside(
            connection,
            damage,
            "agent",
            (id, error),
            "DELETE FROM agent WHERE id = ?1",
        )?;
    }
    Ok(found)
}

fn announcement(row: &Row<'_>, rnics: &mut Statement<'_>) -> rusqlite::Result<Announcement> {
    let agent: String = row.get(0)?;
    Ok(Announcement {
        rnics: rnics.query_map([&agent], rnic)?.collect::<Result<_, _>>()?,
        agent: agent.into(),
        incarnation: row.get::<_, i64>(1)?.cast_unsigned(),
        host: row.get::<_, String>(2)?.into(),
        version: row.get(3)?,
    })
}

fn rnic(row: &Row<'_>) -> rusqlite::Result<Rnic> {
    Ok(Rnic {
        address: Address {
            gid: Gid::from_bytes(row.get(0)?),
            qpn: Qpn::try_from(row.get::<_, u32>(1)?).map_err(|error| unreadable(1, error))?,
            q_key: QKey(row.get(2)?),
        },
        device: row.get::<_, String>(3)?.into(),
        port: row.get(4)?,
        tor: row.get::<_, String>(5)?.into(),
        gid_index: row.get(6)?,
        clock: json(row, 7)?,
        steering: json(row, 8)?,
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(|error| unreadable(column, error))
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A GID, and the agent that it belongs to.
type Taken = (Gid, AgentId);

/// Stores all that can be; for the others gives the first GID that belongs to somebody else.
fn put_all(
    connection: &mut Connection,
    puts: &[Put],
    now: WallTime,
) -> rusqlite::Result<Vec<Option<Taken>>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(puts.len());
    for one in puts {
        // Dropped, it undoes what was begun for an announcement that is refused.
        let savepoint = transaction.savepoint()?;
        let taken = put(&savepoint, one, now)?;
        if taken.is_none() {
            savepoint.commit()?;
        }
        results.push(taken);
    }
    transaction.commit()?;
    Ok(results)
}

fn put(transaction: &Savepoint<'_>, put: &Put, now: WallTime) -> rusqlite::Result<Option<Taken>> {
    let Put {
        announcement,
        superseded,
    } = put;
    let agent = announcement.agent.as_str();
    for rnic in &announcement.rnics {
        let gid = rnic.address.gid;
        let owner = transaction
            .prepare_cached("SELECT agent FROM rnic WHERE gid = ?1 AND agent <> ?2")?
            .query_row(params![gid.bytes(), agent], |row| row.get::<_, String>(0))
            .optional()?
            .map(AgentId::from);
        match owner {
            Some(owner) if !superseded.contains(&owner) => return Ok(Some((gid, owner))),
            Some(_) => {
                transaction
                    .prepare_cached("DELETE FROM rnic WHERE gid = ?1")?
                    .execute([gid.bytes()])?;
            }
            None => {}
        }
    }
    transaction
        .prepare_cached(
            "INSERT INTO agent (id, incarnation, host, version, announced_at_ns) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, host = excluded.host,
                 version = excluded.version, announced_at_ns = excluded.announced_at_ns",
        )?
        .execute(params![
            agent,
            announcement.incarnation.cast_signed(),
            announcement.host.as_str(),
            announcement.version,
            now.nanos(),
        ])?;
    transaction
        .prepare_cached("DELETE FROM rnic WHERE agent = ?1")?
        .execute([agent])?;
    for (position, rnic) in announcement.rnics.iter().enumerate() {
        insert(transaction, agent, position, rnic)?;
    }
    Ok(None)
}

fn insert(
    connection: &Connection,
    agent: &str,
    position: usize,
    rnic: &Rnic,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO rnic (gid, agent, position, qpn, q_key, device, port, tor, gid_index, clock, steering)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            rnic.address.gid.bytes(),
            agent,
            u32::try_from(position).unwrap_or(u32::MAX),
            rnic.address.qpn.get(),
            rnic.address.q_key.0,
            rnic.device.as_str(),
            rnic.port,
            rnic.tor.as_str(),
            rnic.gid_index,
            to_json(&rnic.clock)?,
            to_json(&rnic.steering)?,
        ])?;
    Ok(())
}

fn remove(connection: &mut Connection, agents: &[AgentId]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for agent in agents {
        transaction
            .prepare_cached("DELETE FROM agent WHERE id = ?1")?
            .execute([agent.as_str()])?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests;
