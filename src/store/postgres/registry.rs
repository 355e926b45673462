//! The registry in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_postgres::Error;

use super::connection::LIMIT;
use super::db::Db;
use super::fence::{Guard, Member, Role};
use super::notes::NEXT_KEY;
use super::ownership::{Decided, Owned, decide};
use super::{errors, members};
use crate::cluster_key::rotation::Stored;
use crate::cluster_key::{Generation, Master, Phase};
use crate::id::{AgentId, Gid};
use crate::store::StoreError;
use crate::store::analyzers::AnalyzerFleet;
use crate::store::registry::{Put, Registry, RegistryError};
use crate::store::server::Server;
use crate::store::shared::{SharedRegistry, View};
use crate::store::tenure::Tenure;
use crate::time::WallTime;
use crate::topology::Announcement;

/// [`Registry`] in a database that several controllers change.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresRegistry {
    pub(super) db: Db,
    pub(super) member: Arc<Member>,
    pub(super) view: watch::Receiver<View>,
    pub(super) analyzers: watch::Receiver<Arc<AnalyzerFleet>>,
}

impl PostgresRegistry {
    /// Opens the database and joins its controllers.
    ///
    /// # Errors
    /// Those of [`Db::join`].
    pub(in crate::store) async fn open(server: &Server) -> Result<Self, StoreError> {
        let (db, member, views) = Db::join(server).await?;
        let members::Views {
            registry: mut view,
            analyzers,
        } = views;
        // Who comes first holds the lease before anything else happens. A server that does not answer now is tried again later.
        let _ = tokio::time::timeout(LIMIT, view.changed()).await;
        Ok(Self {
            db,
            member,
            view,
            analyzers,
        })
    }

    /// The same where no other controller lives, and waits until this one holds the lease.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: another controller works with the database. Those of [`Db::join`].
    pub(in crate::store) async fn open_alone(server: &Server) -> Result<Self, StoreError> {
        let registry = Self::open(server).await?;
        if let Err(error) = registry.wait_until_alone().await {
            registry.db.tenure.clone().give_up().await;
            return Err(error);
        }
        Ok(registry)
    }

    async fn wait_until_alone(&self) -> Result<(), StoreError> {
        if let Some(holder) = members::another(&self.db.link, &self.member).await? {
            return Err(StoreError::Taken {
                store: self.db.link.store.to_string(),
                role: Role::Controller.name(),
                holder,
            });
        }
        let mut view = self.view.clone();
        // Whoever was killed a moment ago holds it for a while.
        let holding = view.wait_for(|view| view.is_holder);
        if tokio::time::timeout(ALONE, holding).await.is_err() {
            return Err(errors::timed_out(&self.db.link.store));
        }
        Ok(())
    }

    /// Makes changes that only the holder of the lease makes.
    async fn write_as_holder<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Transaction<'t>) -> BoxFuture<'t, Result<T, Error>> + Send + Sync,
    {
        let guard = Guard::Holder(Arc::clone(&self.member));
        self.db.link.transaction(guard, work).await
    }
}

/// How long the only controller waits for the lease.
const ALONE: Duration = Duration::from_secs(8);

#[tonic::async_trait]
impl Registry for PostgresRegistry {
    fn tenure(&self) -> Tenure {
        self.db.tenure.clone()
    }

    fn shared(&self) -> Option<Arc<dyn SharedRegistry>> {
        Some(Arc::new(self.clone()))
    }

    async fn load(&self) -> Result<Vec<Announcement>, RegistryError> {
        let mut found: Vec<_> = self
            .agents(i64::MIN, None)
            .await?
            .into_iter()
            .map(|agent| agent.announcement)
            .collect();
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
        let (puts, me): (Arc<[Put]>, _) = (puts.into(), self.member.id);
        self.db
            .write(move |transaction| {
                let puts = Arc::clone(&puts);
                async move {
                    let decided = decide(&puts, stored(transaction, &puts, me).await?);
                    replace(transaction, &decided, (now, me)).await?;
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
        let me = self.member.id;
        let removing = self.write_as_holder(move |transaction| {
            let agents = Arc::clone(&agents);
            async move {
                // One that another controller has heard meanwhile stays.
                let sql = "DELETE FROM rpingmesh.agent WHERE id = ANY($1) AND (silent OR controller = $2)";
                transaction.execute(sql, &[&&agents[..], &me]).await?;
                let departed = "UPDATE rpingmesh.counter SET value = value + 1 WHERE name = 'departures'";
                transaction.execute(departed, &[]).await.map(drop)
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
        let storing = self.write_as_holder(move |transaction| {
            let keys = Arc::clone(&keys);
            async move {
                let changed = "UPDATE rpingmesh.counter SET value = value + 1 WHERE name = 'keys'";
                transaction.execute(changed, &[]).await?;
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

    async fn take_key_request(&self) -> Result<bool, RegistryError> {
        if !self.member.is_holder() {
            return Ok(false);
        }
        let sql = "SELECT 1 FROM rpingmesh.request WHERE name = $1";
        if self.db.query(sql, &[&NEXT_KEY]).await?.is_empty() {
            return Ok(false);
        }
        let taking = self.write_as_holder(|transaction| {
            async move {
                let sql = "DELETE FROM rpingmesh.request WHERE name = $1";
                transaction.execute(sql, &[&NEXT_KEY]).await
            }
            .boxed()
        });
        Ok(taking.await? > 0)
    }
}

/// Who has the GIDs of these announcements, and what else their agents have. An agent that another controller hears keeps its own.
async fn stored(transaction: &Transaction<'_>, puts: &[Put], me: i64) -> Result<Vec<Owned>, Error> {
    let statement = transaction
        .prepare_cached(
            "SELECT rnic.gid, rnic.agent, agent.silent OR agent.controller = $3
             FROM rpingmesh.rnic JOIN rpingmesh.agent ON agent.id = rnic.agent
             WHERE rnic.gid = ANY($1) OR rnic.agent = ANY($2)",
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
    let rows = transaction
        .query(&statement, &[&gids, &agents, &me])
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        // A key of another length is no GID: nobody can register it.
        if let Ok(gid) = <[u8; 16]>::try_from(row.try_get::<_, &[u8]>(0)?) {
            found.push(Owned {
                gid: Gid::from_bytes(gid),
                agent: row.try_get::<_, String>(1)?.into(),
                may_lose: row.try_get(2)?,
            });
        }
    }
    Ok(found)
}

async fn replace(
    transaction: &Transaction<'_>,
    decided: &Decided<'_>,
    by: (WallTime, i64),
) -> Result<(), Error> {
    let vacated: Vec<_> = decided
        .vacated
        .iter()
        .map(|gid| gid.bytes().to_vec())
        .collect();
    let all = decided.agents.keys();
    let agents: Vec<_> = all.map(|agent| agent.as_str()).collect();
    // Who loses a GID is silent. Everybody reads its row again, also the controller that it had and this one.
    let lose = transaction
        .prepare_cached(
            "UPDATE rpingmesh.agent SET controller = 0, silent = true,
                 revision = (SELECT value FROM rpingmesh.counter WHERE name = 'registry')
             WHERE id IN (SELECT agent FROM rpingmesh.rnic WHERE gid = ANY($1)) AND id <> ALL($2)",
        )
        .await?;
    transaction.execute(&lose, &[&vacated, &agents]).await?;
    let delete = transaction
        .prepare_cached("DELETE FROM rpingmesh.rnic WHERE gid = ANY($1)")
        .await?;
    transaction.execute(&delete, &[&vacated]).await?;
    put_agents(transaction, decided, by).await?;
    put_rnics(transaction, decided).await
}

async fn put_agents(
    transaction: &Transaction<'_>,
    decided: &Decided<'_>,
    (now, me): (WallTime, i64),
) -> Result<(), Error> {
    let upsert = transaction
        .prepare_cached(
            "INSERT INTO rpingmesh.agent (id, incarnation, host, version, announced_at_ns, revision, controller, silent)
             SELECT given.id, given.incarnation, given.host, given.version, $5::bigint, counter.value, $6::bigint, false
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS given (id, incarnation, host, version)
             CROSS JOIN (SELECT value FROM rpingmesh.counter WHERE name = 'registry') AS counter
             ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, host = excluded.host,
                 version = excluded.version, announced_at_ns = excluded.announced_at_ns,
                 revision = excluded.revision, controller = excluded.controller, silent = excluded.silent,
                 machine = '', keys = NULL",
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
            &[&ids, &incarnations, &hosts, &versions, &now.nanos(), &me],
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
