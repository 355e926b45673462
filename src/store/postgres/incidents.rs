//! Incidents in PostgreSQL. An incident is a JSON object; columns are what is asked for.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio_postgres::Row;

use super::db::Db;
use crate::analysis::alerts::DeliveryState;
use crate::analysis::incident::Incident;
use crate::store::StoreError;
use crate::store::incidents::{Incidents, Query};
use crate::time::WallTime;

/// Incidents in a database that one analyzer at a time changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresIncidents(pub(in crate::store) Db);

impl PostgresIncidents {
    fn incident(&self, row: &Row) -> Option<Incident> {
        let id: i64 = row.try_get("id").unwrap_or_default();
        self.0.json(("incident", &id.to_string()), row, "body")
    }
}

#[tonic::async_trait]
impl Incidents for PostgresIncidents {
    async fn put(&self, incidents: Vec<Incident>) -> Result<(), StoreError> {
        let mut rows = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for incident in &incidents {
            rows.0.push(incident.id.cast_signed());
            rows.1.push(incident.opened_unix_ns);
            rows.2.push(incident.closed_unix_ns);
            rows.3.push(self.0.to_json(incident)?);
        }
        let largest = rows.0.iter().copied().max().unwrap_or(0);
        let rows = Arc::new(rows);
        self.0
            .write(move |transaction| {
                let rows = Arc::clone(&rows);
                async move {
                    let (ids, opened, closed, bodies) = &*rows;
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.incident (id, opened, closed, body)
                             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
                             ON CONFLICT (id) DO UPDATE SET opened = excluded.opened, closed = excluded.closed,
                                 body = excluded.body",
                            &[ids, opened, closed, bodies],
                        )
                        .await?;
                    // The counter outlives rows that are pruned.
                    transaction
                        .execute(
                            "UPDATE rpingmesh.counter SET value = $1 WHERE name = 'incident' AND value < $1",
                            &[&largest],
                        )
                        .await
                        .map(drop)
                }
                .boxed()
            })
            .await
    }

    async fn last_id(&self) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM rpingmesh.counter WHERE name = 'incident'";
        let rows = self.0.query(sql, &[]).await?;
        let last: i64 = match rows.first() {
            Some(row) => self.0.sql(row.try_get(0))?,
            None => 0,
        };
        Ok(last.cast_unsigned())
    }

    async fn read(&self, query: Query) -> Result<Vec<Incident>, StoreError> {
        let before = query
            .before
            .map_or(i64::MAX, |id| i64::try_from(id).unwrap_or(i64::MAX));
        let sql = "SELECT id, body FROM rpingmesh.incident
                   WHERE id < $1 AND ($2::boolean IS NULL OR (closed IS NULL) = $2)
                   ORDER BY id DESC LIMIT $3";
        let limit = i64::from(query.limit);
        let rows = self.0.query(sql, &[&before, &query.open, &limit]).await?;
        Ok(rows.iter().filter_map(|row| self.incident(row)).collect())
    }

    async fn open_at(&self, time: WallTime, limit: u32) -> Result<Vec<Incident>, StoreError> {
        let sql = "SELECT id, body FROM rpingmesh.incident
                   WHERE (closed IS NULL OR closed > $1) AND opened <= $1
                   ORDER BY id DESC LIMIT $2";
        let rows = self
            .0
            .query(sql, &[&time.nanos(), &i64::from(limit)])
            .await?;
        Ok(rows.iter().filter_map(|row| self.incident(row)).collect())
    }

    async fn prune(&self, closed: WallTime) -> Result<usize, StoreError> {
        self.0
            .write(move |transaction| {
                async move {
                    // What was delivered about an incident is deleted with it. An incident that is not stored yet has no row here.
                    transaction
                        .execute(
                            "DELETE FROM rpingmesh.alert
                             WHERE incident IN (SELECT id FROM rpingmesh.incident WHERE closed < $1)",
                            &[&closed.nanos()],
                        )
                        .await?;
                    let sql = "DELETE FROM rpingmesh.incident WHERE closed < $1";
                    let gone = transaction.execute(sql, &[&closed.nanos()]).await?;
                    Ok(usize::try_from(gone).unwrap_or(usize::MAX))
                }
                .boxed()
            })
            .await
    }

    async fn undelivered(
        &self,
        receiver: &str,
        now: WallTime,
        limit: u32,
    ) -> Result<Vec<(Incident, Option<DeliveryState>)>, StoreError> {
        let new: Arc<str> = receiver.into();
        self.0
            .write(move |transaction| {
                let receiver = Arc::clone(&new);
                async move {
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.alert_receiver (receiver, since) VALUES ($1, $2)
                             ON CONFLICT (receiver) DO NOTHING",
                            &[&&*receiver, &now.nanos()],
                        )
                        .await
                        .map(drop)
                }
                .boxed()
            })
            .await?;
        let sql = "SELECT incident.id, incident.body, alert.delivered FROM rpingmesh.incident
                   JOIN rpingmesh.alert_receiver ON alert_receiver.receiver = $1
                   LEFT JOIN rpingmesh.alert ON alert.receiver = $1 AND alert.incident = incident.id
                   WHERE incident.closed IS NULL
                      OR NOT alert.closed
                      OR (alert.incident IS NULL AND incident.closed >= alert_receiver.since)
                   ORDER BY incident.id DESC LIMIT $2";
        let rows = self.0.query(sql, &[&receiver, &i64::from(limit)]).await?;
        let undelivered = rows.iter().rev().filter_map(|row| {
            // What was delivered and cannot be read is delivered again.
            let delivered: Option<&str> = row.try_get(2).unwrap_or_default();
            let delivered = delivered.and_then(|delivered| serde_json::from_str(delivered).ok());
            Some((self.incident(row)?, delivered))
        });
        Ok(undelivered.collect())
    }

    async fn record_delivered(
        &self,
        receiver: &str,
        delivered: Vec<(u64, DeliveryState)>,
    ) -> Result<(), StoreError> {
        let mut rows = (receiver.to_owned(), Vec::new(), Vec::new(), Vec::new());
        // A statement cannot change a row twice: the last word about an incident counts.
        let delivered: std::collections::BTreeMap<_, _> = delivered.into_iter().collect();
        for (id, state) in &delivered {
            rows.1.push(id.cast_signed());
            rows.2.push(self.0.to_json(state)?);
            rows.3.push(state.closed);
        }
        let rows = Arc::new(rows);
        self.0
            .write(move |transaction| {
                let rows = Arc::clone(&rows);
                async move {
                    let (receiver, ids, states, closed) = &*rows;
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.alert (receiver, incident, delivered, closed)
                             SELECT $1::text, * FROM unnest($2::bigint[], $3::text[], $4::boolean[])
                             ON CONFLICT (receiver, incident) DO UPDATE SET delivered = excluded.delivered,
                                 closed = excluded.closed",
                            &[receiver, ids, states, closed],
                        )
                        .await
                        .map(drop)
                }
                .boxed()
            })
            .await
    }
}
