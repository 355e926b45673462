//! Everything that an analyzer keeps in PostgreSQL, for a move to another store.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::db::Db;
use crate::store::StoreError;
use crate::store::contents::{AlertLedger, Contents, Rows};
use crate::store::history::Picture;
use crate::time::WallTime;

/// The content of a database that one analyzer at a time changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresContents(pub(in crate::store) Db);

/// An alert ledger by columns.
#[derive(Debug, Default)]
struct Columns {
    last_incident: i64,
    receivers: (Vec<String>, Vec<i64>),
    told: Vec<String>,
    incidents: Vec<i64>,
    states: Vec<String>,
    closed: Vec<bool>,
}

impl PostgresContents {
    fn columns(&self, ledger: AlertLedger) -> Result<Columns, StoreError> {
        let receivers = ledger.receivers.into_iter();
        let mut columns = Columns {
            last_incident: ledger.last_incident.cast_signed(),
            receivers: receivers.map(|(name, since)| (name, since.nanos())).unzip(),
            ..Columns::default()
        };
        for (receiver, incident, state) in ledger.deliveries {
            columns.states.push(self.0.to_json(&state)?);
            columns.told.push(receiver);
            columns.incidents.push(incident.cast_signed());
            columns.closed.push(state.closed);
        }
        Ok(columns)
    }
}

#[tonic::async_trait]
impl Contents for PostgresContents {
    async fn rows(&self) -> Result<Rows, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM rpingmesh.incident), (SELECT count(*) FROM rpingmesh.alert),
                          (SELECT count(*) FROM rpingmesh.host), (SELECT count(*) FROM rpingmesh.picture),
                          (SELECT count(*) FROM rpingmesh.batch)";
        let rows = self.0.query(sql, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(Rows::default());
        };
        let count = |column: usize| {
            self.0
                .sql(row.try_get::<_, i64>(column))
                .map(i64::cast_unsigned)
        };
        Ok(Rows {
            incidents: count(0)?,
            deliveries: count(1)?,
            hosts: count(2)?,
            pictures: count(3)?,
            batches: count(4)?,
        })
    }

    async fn alert_ledger(&self) -> Result<AlertLedger, StoreError> {
        let last = "SELECT value FROM rpingmesh.counter WHERE name = 'incident'";
        let last = self.0.query(last, &[]).await?;
        let last: i64 = match last.first() {
            Some(row) => self.0.sql(row.try_get(0))?,
            None => 0,
        };
        let mut ledger = AlertLedger {
            last_incident: last.cast_unsigned(),
            ..AlertLedger::default()
        };
        let receivers = "SELECT receiver, since FROM rpingmesh.alert_receiver";
        for row in self.0.query(receivers, &[]).await? {
            let since = WallTime::from_nanos(self.0.sql(row.try_get(1))?);
            ledger.receivers.push((self.0.sql(row.try_get(0))?, since));
        }
        let deliveries = "SELECT receiver, incident, delivered FROM rpingmesh.alert";
        for row in self.0.query(deliveries, &[]).await? {
            let receiver: String = self.0.sql(row.try_get(0))?;
            let incident: i64 = self.0.sql(row.try_get(1))?;
            if let Some(state) = self.0.json(("alert", &receiver), &row, "delivered") {
                ledger
                    .deliveries
                    .push((receiver, incident.cast_unsigned(), state));
            }
        }
        // The server's order depends on its locale.
        ledger.receivers.sort();
        ledger
            .deliveries
            .sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        Ok(ledger)
    }

    async fn add_alert_ledger(&self, ledger: AlertLedger) -> Result<(), StoreError> {
        let columns = Arc::new(self.columns(ledger)?);
        self.0
            .write(move |transaction| {
                let columns = Arc::clone(&columns);
                async move {
                    transaction
                        .execute(
                            "UPDATE rpingmesh.counter SET value = $1 WHERE name = 'incident' AND value < $1",
                            &[&columns.last_incident],
                        )
                        .await?;
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.alert_receiver (receiver, since)
                             SELECT * FROM unnest($1::text[], $2::bigint[])
                             ON CONFLICT (receiver) DO UPDATE SET since = excluded.since",
                            &[&columns.receivers.0, &columns.receivers.1],
                        )
                        .await?;
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.alert (receiver, incident, delivered, closed)
                             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::boolean[])
                             ON CONFLICT (receiver, incident) DO UPDATE SET delivered = excluded.delivered,
                                 closed = excluded.closed",
                            &[&columns.told, &columns.incidents, &columns.states, &columns.closed],
                        )
                        .await
                        .map(drop)
                }
                .boxed()
            })
            .await
    }

    async fn pictures(&self, after: WallTime, limit: u32) -> Result<Vec<Picture>, StoreError> {
        let sql = "SELECT at, body FROM rpingmesh.picture WHERE at > $1 ORDER BY at LIMIT $2";
        let rows = self
            .0
            .query(sql, &[&after.nanos(), &i64::from(limit)])
            .await?;
        rows.iter()
            .map(|row| {
                let at = WallTime::from_nanos(self.0.sql(row.try_get(0))?);
                Ok((at, self.0.sql(row.try_get(1))?))
            })
            .collect()
    }
}
