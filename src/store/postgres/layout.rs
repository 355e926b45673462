//! The tables, their version, and the fleet that they belong to.

use deadpool_postgres::Transaction;
use futures_util::FutureExt as _;
use tokio_postgres::error::SqlState;

use super::connection::Link;
use super::errors::Failure;
use crate::store::StoreError;

/// SQL that leads from layout version `i` to `i + 1`, in order. Entries are never changed, only appended. Numbers of 64 bits
/// without sign are stored as the signed number of the same bits. Times are nanoseconds since 1970, but those of leases, which
/// the server's clock gives.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE rpingmesh.owner (
        role   TEXT   PRIMARY KEY,
        epoch  BIGINT NOT NULL,
        holder TEXT   NOT NULL
    );
    CREATE TABLE rpingmesh.lease (
        role    TEXT        PRIMARY KEY,
        epoch   BIGINT      NOT NULL,
        renewed TIMESTAMPTZ NOT NULL
    );
    CREATE TABLE rpingmesh.agent (
        id              TEXT   PRIMARY KEY,
        incarnation     BIGINT NOT NULL,
        host            TEXT   NOT NULL,
        version         TEXT   NOT NULL,
        announced_at_ns BIGINT NOT NULL
    );
    CREATE TABLE rpingmesh.rnic (
        gid       BYTEA   PRIMARY KEY,
        agent     TEXT    NOT NULL REFERENCES rpingmesh.agent (id) ON DELETE CASCADE,
        position  BIGINT  NOT NULL,
        qpn       BIGINT  NOT NULL,
        q_key     BIGINT  NOT NULL,
        device    TEXT    NOT NULL,
        port      INTEGER NOT NULL,
        tor       TEXT    NOT NULL,
        gid_index BIGINT  NOT NULL,
        clock     TEXT    NOT NULL,
        steering  TEXT    NOT NULL
    );
    CREATE INDEX rnic_agent ON rpingmesh.rnic (agent, position);
    CREATE TABLE rpingmesh.cluster_key (
        id          INTEGER PRIMARY KEY CHECK (id = 1),
        master      BYTEA   NOT NULL,
        generation  BIGINT  NOT NULL,
        phase       TEXT    NOT NULL,
        begun_at_ns BIGINT  NOT NULL,
        mixed       BOOLEAN NOT NULL
    );
    CREATE TABLE rpingmesh.watermark (
        agent    TEXT   NOT NULL,
        spool    BIGINT NOT NULL,
        host     TEXT   NOT NULL,
        sequence BIGINT NOT NULL,
        taken    BIGINT NOT NULL,
        lost     BIGINT NOT NULL,
        updated  BIGINT NOT NULL,
        PRIMARY KEY (agent, spool)
    );
    CREATE TABLE rpingmesh.batch (
        position BIGINT  PRIMARY KEY,
        agent    TEXT    NOT NULL,
        spool    BIGINT  NOT NULL,
        sequence BIGINT  NOT NULL,
        ended    BIGINT  NOT NULL,
        packed   BOOLEAN NOT NULL,
        payload  BYTEA   NOT NULL,
        UNIQUE (agent, spool, sequence)
    );
    CREATE INDEX batch_ended ON rpingmesh.batch (ended);
    CREATE TABLE rpingmesh.counter (
        name  TEXT   PRIMARY KEY,
        value BIGINT NOT NULL
    );
    INSERT INTO rpingmesh.counter (name, value) VALUES ('batch', 0), ('incident', 0);
    CREATE TABLE rpingmesh.incident (
        id     BIGINT PRIMARY KEY,
        opened BIGINT NOT NULL,
        closed BIGINT,
        body   TEXT   NOT NULL
    );
    CREATE INDEX incident_by_closed ON rpingmesh.incident (closed);
    CREATE TABLE rpingmesh.alert_receiver (
        receiver TEXT   PRIMARY KEY,
        since    BIGINT NOT NULL
    );
    CREATE TABLE rpingmesh.alert (
        receiver  TEXT    NOT NULL,
        incident  BIGINT  NOT NULL,
        delivered TEXT    NOT NULL,
        closed    BOOLEAN NOT NULL,
        PRIMARY KEY (receiver, incident)
    );
    CREATE TABLE rpingmesh.host (
        name TEXT PRIMARY KEY,
        body TEXT NOT NULL
    );
    CREATE TABLE rpingmesh.picture (
        at   BIGINT PRIMARY KEY,
        body BYTEA  NOT NULL
    );
",
    "
    CREATE TABLE rpingmesh.unfinished_copy (
        role   TEXT PRIMARY KEY,
        source TEXT NOT NULL
    );
    CREATE TABLE rpingmesh.request (
        name TEXT PRIMARY KEY
    );
",
    "
    CREATE TABLE rpingmesh.controller (
        id      BIGINT      PRIMARY KEY,
        name    TEXT        NOT NULL,
        started TIMESTAMPTZ NOT NULL,
        renewed TIMESTAMPTZ NOT NULL,
        gone    TIMESTAMPTZ
    );
    ALTER TABLE rpingmesh.agent ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE rpingmesh.agent ADD COLUMN controller BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE rpingmesh.agent ADD COLUMN silent BOOLEAN NOT NULL DEFAULT false;
    ALTER TABLE rpingmesh.agent ADD COLUMN machine TEXT NOT NULL DEFAULT '';
    ALTER TABLE rpingmesh.agent ADD COLUMN keys BYTEA;
    CREATE INDEX agent_revision ON rpingmesh.agent (revision);
    INSERT INTO rpingmesh.counter (name, value)
        VALUES ('registry', 1), ('departures', 0), ('keys', 0), ('controller', 0);
    INSERT INTO rpingmesh.controller (id, name, started, renewed, gone)
        VALUES (0, 'an earlier version', to_timestamp(0), to_timestamp(0), now());
",
    "
    CREATE TABLE rpingmesh.trend (
        step   SMALLINT NOT NULL,
        at     BIGINT   NOT NULL,
        kind   SMALLINT NOT NULL,
        bucket INTEGER  NOT NULL,
        packed BOOLEAN  NOT NULL,
        body   BYTEA    NOT NULL,
        PRIMARY KEY (step, at, kind, bucket)
    );
",
    "
    CREATE TABLE rpingmesh.analyzer (
        id      BIGINT      PRIMARY KEY,
        name    TEXT        NOT NULL,
        grpc    TEXT        NOT NULL,
        web     TEXT        NOT NULL,
        started TIMESTAMPTZ NOT NULL,
        renewed TIMESTAMPTZ NOT NULL,
        gone    TIMESTAMPTZ,
        lag     BIGINT      NOT NULL DEFAULT 0
    );
    CREATE TABLE rpingmesh.shard (
        number INTEGER PRIMARY KEY,
        owner  BIGINT  NOT NULL,
        epoch  BIGINT  NOT NULL
    );
    ALTER TABLE rpingmesh.owner ADD COLUMN member BIGINT NOT NULL DEFAULT 0;
    INSERT INTO rpingmesh.counter (name, value) VALUES ('analyzer', 0), ('shards', 0);
",
];

/// Two programs that begin with an empty database at the same time meet in the catalogue.
const BEGINNINGS: u32 = 5;

/// Brings the layout up to date and checks whose it is.
///
/// # Errors
/// [`StoreError::Replica`], [`StoreError::NewerSchema`], [`StoreError::OtherFleet`], [`StoreError::Migration`]; those of the server.
pub(super) async fn prepare(link: &Link, fleet: &str) -> Result<(), StoreError> {
    let rows = link.query("SELECT pg_is_in_recovery()", &[]).await?;
    if rows
        .first()
        .is_some_and(|row| row.try_get(0).unwrap_or_default())
    {
        return Err(StoreError::Replica {
            store: link.store.to_string(),
        });
    }
    let mut attempt = 1;
    while let Err(error) = begin(link).await {
        if attempt == BEGINNINGS || !matches!(error, StoreError::Failed { .. }) {
            return Err(error);
        }
        attempt += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    migrate(link, fleet).await
}

/// Checks that the layout is of this version and whose it is, and changes nothing.
///
/// # Errors
/// [`StoreError::OlderSchema`], [`StoreError::NewerSchema`], [`StoreError::OtherFleet`]; those of the server.
pub(super) async fn check_present(link: &Link, fleet: &str) -> Result<(), StoreError> {
    let store = link.store.to_string();
    let (mut version, mut found) = (0, String::new());
    if !link.query(THERE, &[]).await?.is_empty() {
        let sql = "SELECT version, fleet FROM rpingmesh.layout";
        if let Some(row) = link.query(sql, &[]).await?.first() {
            let read = |error| super::errors::classify(&link.store, error);
            version = row.try_get(0).map_err(read)?;
            found = row.try_get(1).map_err(read)?;
        }
    }
    check(&store, version, (&found, fleet))?;
    if usize::try_from(version).is_ok_and(|version| version == MIGRATIONS.len()) {
        return Ok(());
    }
    Err(StoreError::OlderSchema {
        store,
        found: version,
        needed: MIGRATIONS.len(),
    })
}

/// Finds the table with the layout's version.
const THERE: &str = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'rpingmesh' AND table_name = 'layout'";

/// Makes the schema and the table with its version, where they are missing: who may not make a schema can be given one.
async fn begin(link: &Link) -> Result<(), StoreError> {
    if !link.query(THERE, &[]).await?.is_empty() {
        return Ok(());
    }
    let has_schema = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'rpingmesh'";
    let has_schema = !link.query(has_schema, &[]).await?.is_empty();
    link.write(move |transaction| {
        async move {
            if !has_schema {
                transaction.batch_execute("CREATE SCHEMA rpingmesh").await?;
            }
            transaction
                .batch_execute(
                    "CREATE TABLE rpingmesh.layout (
                         id      INTEGER PRIMARY KEY CHECK (id = 1),
                         version BIGINT  NOT NULL,
                         fleet   TEXT    NOT NULL
                     );
                     INSERT INTO rpingmesh.layout (id, version, fleet) VALUES (1, 0, '')",
                )
                .await?;
            Ok(())
        }
        .boxed()
    })
    .await
}

async fn migrate(link: &Link, fleet: &str) -> Result<(), StoreError> {
    let (store, wanted) = (link.store.to_string(), fleet.to_owned());
    link.write(move |transaction| {
        let (store, wanted) = (store.clone(), wanted.clone());
        async move {
            let row = transaction
                .query_one(
                    "SELECT version, fleet FROM rpingmesh.layout FOR UPDATE",
                    &[],
                )
                .await?;
            let (version, found): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            check(&store, version, (&found, &wanted)).map_err(Failure::Store)?;
            apply(transaction, version, &wanted, &store).await
        }
        .boxed()
    })
    .await
}

fn check(store: &str, version: i64, (found, wanted): (&str, &str)) -> Result<(), StoreError> {
    let store = store.to_owned();
    if usize::try_from(version).map_or(true, |version| version > MIGRATIONS.len()) {
        return Err(StoreError::NewerSchema {
            store,
            found: version,
            supported: MIGRATIONS.len(),
        });
    }
    if !found.is_empty() && found != wanted {
        return Err(StoreError::OtherFleet {
            store,
            found: found.to_owned(),
            wanted: wanted.to_owned(),
        });
    }
    Ok(())
}

async fn apply(
    transaction: &Transaction<'_>,
    version: i64,
    fleet: &str,
    store: &str,
) -> Result<(), Failure> {
    let done = usize::try_from(version).unwrap_or(0);
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        transaction.batch_execute(sql).await.map_err(|source| {
            let is_expected = source.code().is_some_and(|code| {
                [
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::INSUFFICIENT_PRIVILEGE,
                ]
                .contains(code)
            });
            if is_expected {
                return Failure::Sql(source);
            }
            Failure::Store(StoreError::Migration {
                store: store.to_owned(),
                version: index + 1,
                source: source.into(),
            })
        })?;
    }
    if done < MIGRATIONS.len() {
        let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        transaction
            .execute(
                "UPDATE rpingmesh.layout SET version = $1, fleet = $2",
                &[&version, &fleet],
            )
            .await?;
    }
    Ok(())
}
