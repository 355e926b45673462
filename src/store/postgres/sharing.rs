//! What controllers that share the registry read of each other, and rows of agents.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::registry::PostgresRegistry;
use crate::id::{AgentId, Gid, QKey};
use crate::store::StoreError;
use crate::store::analyzers::AnalyzerFleet;
use crate::store::shared::{Changes, Revision, SharedAgent, SharedRegistry, Told, View};
use crate::topology::{Announcement, Rnic};
use crate::transport::Address;

#[tonic::async_trait]
impl SharedRegistry for PostgresRegistry {
    fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    fn analyzers(&self) -> watch::Receiver<Arc<AnalyzerFleet>> {
        self.analyzers.clone()
    }

    async fn changes(&self, since: Revision) -> Result<Changes, StoreError> {
        // The revision first: what is committed meanwhile is read twice, and nothing is missed.
        let revision = self.revision().await?;
        let agents = self.agents(since.agents, Some(self.member.id)).await?;
        let mut changes = Changes {
            revision,
            agents,
            present: None,
        };
        if revision.departures != since.departures {
            let rows = self.db.query("SELECT id FROM rpingmesh.agent", &[]).await?;
            let ids: Result<_, StoreError> = rows
                .iter()
                .map(|row| Ok(self.db.sql(row.try_get::<_, String>(0))?.into()))
                .collect();
            changes.present = Some(ids?);
        }
        Ok(changes)
    }

    async fn tell(&self, agents: Vec<Told>) -> Result<(), StoreError> {
        let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for told in agents {
            columns.0.push(told.agent.as_str().to_owned());
            columns.1.push(!told.is_heard);
            columns.2.push(told.machine);
            columns.3.push(told.keys);
        }
        let (columns, me) = (Arc::new(columns), self.member.id);
        self.db
            .write(move |transaction| {
                let columns = Arc::clone(&columns);
                async move {
                    let sql = "UPDATE rpingmesh.agent SET silent = given.silent, machine = given.machine, keys = given.keys,
                                   revision = (SELECT value FROM rpingmesh.counter WHERE name = 'registry')
                               FROM unnest($1::text[], $2::boolean[], $3::text[], $4::bytea[])
                                   AS given (id, silent, machine, keys)
                               WHERE agent.id = given.id AND agent.controller = $5";
                    let (ids, silent, machines, keys) = &*columns;
                    transaction
                        .execute(sql, &[ids, silent, machines, keys, &me])
                        .await
                        .map(drop)
                }
                .boxed()
            })
            .await
    }

    async fn leave(&self, agents: &[AgentId]) -> Result<(), StoreError> {
        let ids = agents.iter().map(|agent| agent.as_str().to_owned());
        let (ids, me): (Arc<[String]>, _) = (ids.collect(), self.member.id);
        self.db
            .write(move |transaction| {
                let ids = Arc::clone(&ids);
                async move {
                    let sql = "UPDATE rpingmesh.agent SET controller = 0, silent = true,
                                   revision = (SELECT value FROM rpingmesh.counter WHERE name = 'registry')
                               WHERE id = ANY($1) AND controller = $2";
                    transaction.execute(sql, &[&&ids[..], &me]).await.map(drop)
                }
                .boxed()
            })
            .await
    }
}

impl PostgresRegistry {
    async fn revision(&self) -> Result<Revision, StoreError> {
        let sql = "SELECT (SELECT value FROM rpingmesh.counter WHERE name = 'registry'),
                          (SELECT value FROM rpingmesh.counter WHERE name = 'departures'),
                          (SELECT value FROM rpingmesh.counter WHERE name = 'keys')";
        let rows = self.db.query(sql, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(Revision::default());
        };
        Ok(Revision {
            agents: self.db.sql(row.try_get(0))?,
            departures: self.db.sql(row.try_get(1))?,
            keys: self.db.sql(row.try_get(2))?,
        })
    }

    /// Agents that were changed after a revision, but not by this controller. One that cannot be read is left out: it registers again if
    /// it lives.
    pub(super) async fn agents(
        &self,
        since: i64,
        but_of: Option<i64>,
    ) -> Result<Vec<SharedAgent>, StoreError> {
        let agents =
            "SELECT id, incarnation, host, version, silent, machine, keys FROM rpingmesh.agent
                      WHERE revision > $1 AND ($2::bigint IS NULL OR controller <> $2)";
        let rnics =
            "SELECT rnic.agent, gid, qpn, q_key, device, port, tor, gid_index, clock, steering
                     FROM rpingmesh.rnic JOIN rpingmesh.agent ON agent.id = rnic.agent
                     WHERE agent.revision > $1 AND ($2::bigint IS NULL OR agent.controller <> $2)
                     ORDER BY rnic.agent, rnic.position";
        let agents = self.db.query(agents, &[&since, &but_of]).await?;
        if agents.is_empty() {
            return Ok(Vec::new());
        }
        let mut of_agent: HashMap<String, Vec<Row>> = HashMap::new();
        for row in self.db.query(rnics, &[&since, &but_of]).await? {
            let agent = self.db.sql(row.try_get("agent"))?;
            of_agent.entry(agent).or_default().push(row);
        }
        let mut found = Vec::with_capacity(agents.len());
        for row in agents {
            let id: String = self.db.sql(row.try_get("id"))?;
            let host: String = self.db.sql(row.try_get("host"))?;
            let incarnation: i64 = self.db.sql(row.try_get("incarnation"))?;
            let version = self.db.sql(row.try_get("version"))?;
            let silent: bool = self.db.sql(row.try_get("silent"))?;
            let rows = of_agent.remove(&id).unwrap_or_default();
            match rows.iter().map(rnic).collect::<Result<_, _>>() {
                Ok(rnics) => found.push(SharedAgent {
                    announcement: Announcement {
                        agent: id.into(),
                        incarnation: incarnation.cast_unsigned(),
                        host: host.into(),
                        version,
                        rnics,
                    },
                    is_heard: !silent,
                    machine: self.db.sql(row.try_get("machine"))?,
                    keys: self.db.sql(row.try_get("keys"))?,
                }),
                Err(why) => {
                    tracing::error!(
                        agent = id,
                        why,
                        "an agent's RNICs cannot be read; it is left out"
                    );
                }
            }
        }
        Ok(found)
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
