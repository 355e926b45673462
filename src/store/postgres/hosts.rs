//! Hosts and RNICs that were there, in PostgreSQL. A host is a JSON object.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::db::Db;
use crate::analysis::fleet::record::HostRecord;
use crate::id::HostName;
use crate::store::StoreError;
use crate::store::fleet::Hosts;

/// Hosts in a database that one analyzer at a time changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresHosts(pub(in crate::store) Db);

#[tonic::async_trait]
impl Hosts for PostgresHosts {
    async fn load(&self) -> Result<Vec<HostRecord>, StoreError> {
        let rows = self
            .0
            .query("SELECT name, body FROM rpingmesh.host", &[])
            .await?;
        let records = rows.iter().filter_map(|row| {
            let name: String = row.try_get("name").unwrap_or_default();
            self.0.json(("host", &name), row, "body")
        });
        let mut records: Vec<HostRecord> = records.collect();
        records.sort_by(|a, b| a.host.as_str().cmp(b.host.as_str()));
        Ok(records)
    }

    async fn put(&self, changes: BTreeMap<HostName, Option<HostRecord>>) -> Result<(), StoreError> {
        let (mut gone, mut names, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for (name, record) in changes {
            match record {
                None => gone.push(name.as_str().to_owned()),
                Some(record) => {
                    bodies.push(self.0.to_json(&record)?);
                    names.push(name.as_str().to_owned());
                }
            }
        }
        let changes = Arc::new((gone, names, bodies));
        self.0
            .write(move |transaction| {
                let changes = Arc::clone(&changes);
                async move {
                    let (gone, names, bodies) = &*changes;
                    transaction
                        .execute("DELETE FROM rpingmesh.host WHERE name = ANY($1)", &[gone])
                        .await?;
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.host (name, body) SELECT * FROM unnest($1::text[], $2::text[])
                             ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                            &[names, bodies],
                        )
                        .await
                        .map(drop)
                }
                .boxed()
            })
            .await
    }
}
