//! The registry in PostgreSQL.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures_util::FutureExt as _;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Error, Row};

use super::db::Db;
use super::fence::Role;
use super::ownership::{Decided, decide};
use crate::cluster_key::rotation::Stored;
use crate::cluster_key::{Generation, Master, Phase};
use crate::id::{AgentId, Gid, QKey};
use crate::store::StoreError;
use crate::store::registry::{Put, Registry, RegistryError};
use crate::store::server::Server;
use crate::store::tenure::Tenure;
use crate::time::WallTime;
use crate::topology::{Announcement, Rnic};
use crate::transport::Address;

/// [`Registry`] in a database that one controller at a time changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresRegistry {
    db: Db,
}

impl PostgresRegistry {
    /// Opens the database and takes its lease.
    ///
    /// # Errors
    /// Those of [`Db::open`].
    pub(in crate::store) async fn open(server: &Server) -> Result<Self, StoreError> {
        let db = Db::open(server, Role::Controller).await?;
        Ok(Self { db })
    }
}

#[tonic::async_trait]
impl Registry for PostgresRegistry {
    fn tenure(&self) -> Tenure {
        self.db.tenure.clone()
    }

    async fn load(&self) -> Result<Vec<Announcement>, RegistryError> {
        let agents = "SELECT id, incarnation, host, version FROM rpingmesh.agent";
        let rnics = "SELECT agent, gid, qpn, q_key, device, port, tor, gid_index, clock, steering
                     FROM rpingmesh.rnic ORDER BY agent, position";
        let agents = self.db.query(agents, &[]).await?;
        let mut of_agent: HashMap<String, Vec<Row>> = HashMap::new();
        for row in self.db.query(rnics, &[]).await? {
            let agent = self.db.sql(row.try_get("agent"))?;
            of_agent.entry(agent).or_default().push(row);
        }
        let mut found = Vec::with_capacity(agents.len());
        for row in agents {
            let id: String = self.db.sql(row.try_get("id"))?;
            let host: String = self.db.sql(row.try_get("host"))?;
            let incarnation: i64 = self.db.sql(row.try_get("incarnation"))?;
            let version = self.db.sql(row.try_get("version"))?;
            let rows = of_agent.remove(&id).unwrap_or_default();
            match rows.iter().map(rnic).collect::<Result<_, _>>() {
                Ok(rnics) => found.push(Announcement {
                    agent: id.into(),
                    incarnation: incarnation.cast_unsigned(),
                    host: host.into(),
                    version,
                    rnics,
                }),
                // It registers again if it lives.
                Err(why) => {
                    tracing::error!(
                        agent = id,
                        why,
                        "an agent's RNICs cannot be read; it is left out"
                    );
                }
            }
        }
        found.sort_by(|a, b| a.agent.as_str().cmp(b.agent.as_str()));
        Ok(found)
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
        let puts: Arc<[Put]> = puts.into();
        self.db
            .write(move |transaction| {
                let puts = Arc::clone(&puts);
                async move {
                    let decided = decide(&puts, stored(transaction, &puts).await?);
                    replace(transaction, &decided, now).await?;
                    Ok(decided.refused)
                }
                .boxed()
            })
            .await
    }

    async fn remove(&self, agents: &[AgentId]) -> Result<(), RegistryError> {
        let agents: Arc<[String]> = agents
            .iter()
            .map(|agent| agent.as_str().to_owned())
            .collect();
        let removing = self.db.write(move |transaction| {
            let agents = Arc::clone(&agents);
            async move {
                let sql = "DELETE FROM rpingmesh.agent WHERE id = ANY($1)";
                transaction.execute(sql, &[&&agents[..]]).await.map(drop)
            }
            .boxed()
        });
        Ok(removing.await?)
    }

    async fn load_keys(&self) -> Result<Option<Stored>, RegistryError> {
        let sql = "SELECT master, generation, phase, begun_at_ns, mixed FROM rpingmesh.cluster_key";
        let rows = self.db.query(sql, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let master: Vec<u8> = self.db.sql(row.try_get(0))?;
        let generation: i64 = self.db.sql(row.try_get(1))?;
        let phase: String = self.db.sql(row.try_get(2))?;
        match (Master::new(&master), Phase::from_name(&phase)) {
            (Some(master), Some(phase)) => Ok(Some(Stored {
                master,
                generation: Generation(generation.cast_unsigned().max(1)),
                phase,
                begun: WallTime::from_nanos(self.db.sql(row.try_get(3))?),
                is_mixed: self.db.sql(row.try_get(4))?,
            })),
            // As of a damaged file: the controller makes a new key.
            _ => {
                tracing::error!("the cluster's key cannot be read and is replaced");
                Ok(None)
            }
        }
    }

    async fn put_keys(&self, keys: &Stored) -> Result<(), RegistryError> {
        let keys = Arc::new(keys.clone());
        let storing = self.db.write(move |transaction| {
            let keys = Arc::clone(&keys);
            async move {
                let sql = "INSERT INTO rpingmesh.cluster_key (id, master, generation, phase, begun_at_ns, mixed)
                           VALUES (1, $1, $2, $3, $4, $5)
                           ON CONFLICT (id) DO UPDATE SET master = excluded.master, generation = excluded.generation,
                               phase = excluded.phase, begun_at_ns = excluded.begun_at_ns, mixed = excluded.mixed";
                let (generation, begun) = (keys.generation.0.cast_signed(), keys.begun.nanos());
                let (master, phase) = (&keys.master.bytes()[..], keys.phase.name());
                transaction
                    .execute(sql, &[&master, &generation, &phase, &begun, &keys.is_mixed])
                    .await
                    .map(drop)
            }
            .boxed()
        });
        Ok(storing.await?)
    }
}

/// The reason names the column.
fn rnic(row: &Row) -> Result<Rnic, String> {
    fn narrow<T, U: TryFrom<T>>(value: T, what: &str) -> Result<U, String> {
        U::try_from(value).map_err(|_| format!("{what} is out of range"))
    }
    fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &str) -> Result<T, String> {
        let text: &str = read(row, column)?;
        serde_json::from_str(text).map_err(|error| format!("{column}: {error}"))
    }
    fn read<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, String> {
        let value = row.try_get(column);
        value.map_err(|error| format!("{column}: {error}"))
    }
    let gid: [u8; 16] = narrow(read::<Vec<u8>>(row, "gid")?, "gid")?;
    let qpn: u32 = narrow(read::<i64>(row, "qpn")?, "qpn")?;
    Ok(Rnic {
        address: Address {
            gid: Gid::from_bytes(gid),
            qpn: narrow(qpn, "qpn")?,
            q_key: QKey(narrow(read::<i64>(row, "q_key")?, "q_key")?),
        },
        device: read::<String>(row, "device")?.into(),
        port: narrow(read::<i32>(row, "port")?, "port")?,
        tor: read::<String>(row, "tor")?.into(),
        gid_index: narrow(read::<i64>(row, "gid_index")?, "gid_index")?,
        clock: json(row, "clock")?,
        steering: json(row, "steering")?,
    })
}

/// Who has the GIDs of these announcements, and what else their agents have.
async fn stored(transaction: &Transaction<'_>, puts: &[Put]) -> Result<Vec<(Gid, AgentId)>, Error> {
    let statement = transaction
        .prepare_cached(
            "SELECT gid, agent FROM rpingmesh.rnic WHERE gid = ANY($1) OR agent = ANY($2)",
        )
        .await?;
    let agents: Vec<_> = puts
        .iter()
        .map(|put| put.announcement.agent.as_str())
        .collect();
    let rnics = puts.iter().flat_map(|put| &put.announcement.rnics);
    let gids: Vec<_> = rnics
        .map(|rnic| rnic.address.gid.bytes().to_vec())
        .collect();
    let rows = transaction.query(&statement, &[&gids, &agents]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        // A key of another length is no GID: nobody can register it.
        if let Ok(gid) = <[u8; 16]>::try_from(row.try_get::<_, &[u8]>(0)?) {
            found.push((Gid::from_bytes(gid), row.try_get::<_, String>(1)?.into()));
        }
    }
    Ok(found)
}

async fn replace(
    transaction: &Transaction<'_>,
    decided: &Decided<'_>,
    now: WallTime,
) -> Result<(), Error> {
    let vacated: Vec<_> = decided
        .vacated
        .iter()
        .map(|gid| gid.bytes().to_vec())
        .collect();
    let delete = transaction
        .prepare_cached("DELETE FROM rpingmesh.rnic WHERE gid = ANY($1)")
        .await?;
    transaction.execute(&delete, &[&vacated]).await?;
    put_agents(transaction, decided, now).await?;
    put_rnics(transaction, decided).await
}

async fn put_agents(
    transaction: &Transaction<'_>,
    decided: &Decided<'_>,
    now: WallTime,
) -> Result<(), Error> {
    let upsert = transaction
        .prepare_cached(
            "INSERT INTO rpingmesh.agent (id, incarnation, host, version, announced_at_ns)
             SELECT id, incarnation, host, version, $5::bigint
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS given (id, incarnation, host, version)
             ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, host = excluded.host,
                 version = excluded.version, announced_at_ns = excluded.announced_at_ns",
        )
        .await?;
    let all = || decided.agents.values().map(|put| &put.announcement);
    let ids: Vec<_> = all().map(|one| one.agent.as_str()).collect();
    let incarnations: Vec<_> = all().map(|one| one.incarnation.cast_signed()).collect();
    let hosts: Vec<_> = all().map(|one| one.host.as_str()).collect();
    let versions: Vec<_> = all().map(|one| one.version.as_str()).collect();
    transaction
        .execute(
            &upsert,
            &[&ids, &incarnations, &hosts, &versions, &now.nanos()],
        )
        .await
        .map(drop)
}

async fn put_rnics(transaction: &Transaction<'_>, decided: &Decided<'_>) -> Result<(), Error> {
    let insert = transaction
        .prepare_cached(
            "INSERT INTO rpingmesh.rnic (gid, agent, position, qpn, q_key, device, port, tor, gid_index, clock, steering)
             SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[],
                                  $7::integer[], $8::text[], $9::bigint[], $10::text[], $11::text[])",
        )
        .await?;
    let all = &decided.rnics;
    let gids: Vec<_> = all
        .iter()
        .map(|(.., rnic)| rnic.address.gid.bytes().to_vec())
        .collect();
    let agents: Vec<_> = all.iter().map(|(agent, ..)| agent.as_str()).collect();
    let positions: Vec<_> = all
        .iter()
        .map(|(_, position, _)| i64::try_from(*position).unwrap_or(i64::MAX))
        .collect();
    let qpns: Vec<_> = all
        .iter()
        .map(|(.., rnic)| i64::from(rnic.address.qpn.get()))
        .collect();
    let q_keys: Vec<_> = all
        .iter()
        .map(|(.., rnic)| i64::from(rnic.address.q_key.0))
        .collect();
    let devices: Vec<_> = all.iter().map(|(.., rnic)| rnic.device.as_str()).collect();
    let ports: Vec<_> = all.iter().map(|(.., rnic)| i32::from(rnic.port)).collect();
    let tors: Vec<_> = all.iter().map(|(.., rnic)| rnic.tor.as_str()).collect();
    let gid_indices: Vec<_> = all
        .iter()
        .map(|(.., rnic)| i64::from(rnic.gid_index))
        .collect();
    let clocks: Vec<_> = all.iter().map(|(.., rnic)| words(&rnic.clock)).collect();
    let steerings: Vec<_> = all.iter().map(|(.., rnic)| words(&rnic.steering)).collect();
    transaction
        .execute(
            &insert,
            &[
                &gids,
                &agents,
                &positions,
                &qpns,
                &q_keys,
                &devices,
                &ports,
                &tors,
                &gid_indices,
                &clocks,
                &steerings,
            ],
        )
        .await
        .map(drop)
}

/// As JSON. These types always have such a form; an empty text would be left out when it is read.
fn words(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
