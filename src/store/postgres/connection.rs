//! Connections, and the two ways of using them: a query, and a transaction that writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Transaction,
};
use futures_util::future::BoxFuture;
use rand::Rng as _;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors::{Failure, no_connection, timed_out};
use super::fence::Guard;
use crate::net::tls::https;
use crate::store::StoreError;
use crate::store::server::Server;

/// How long a call may take. A server that was stopped, or a network that drops everything, must not hold its callers for ever.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// The same for the server, which ends what nobody waits for any more.
const SERVER_LIMITS: &str = "-c statement_timeout=5s -c idle_in_transaction_session_timeout=5s";
/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(3);
/// Connections of one store: one that writes, and some for those who read. The lease has its own.
const CONNECTIONS: usize = 6;
/// How often a transaction is tried that meets conflicts, and the first wait between two attempts, in milliseconds; it doubles.
const ATTEMPTS: u32 = 8;
const FIRST_WAIT: u64 = 5;

/// A pool of connections.
#[derive(Clone)]
pub(in crate::store) struct Link {
    pool: Pool,
    pub(super) store: Arc<str>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.store)
    }
}

impl Link {
    pub(super) async fn new(server: &Server) -> Result<Self, StoreError> {
        let store: Arc<str> = server.name().into();
        let mut config = server.config().clone();
        config
            .application_name("rpingmesh")
            // A transaction of a machine that is lost must not hold its locks, which a successor waits for.
            .options(SERVER_LIMITS)
            .connect_timeout(CONNECTING)
            .tcp_user_timeout(LIMIT)
            // Without a file an empty one: a server that wants a password then says so.
            .password(password(server).await?);
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let manager = manager(config, server)?;
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(LIMIT))
            .create_timeout(Some(LIMIT))
            .build()
            .map_err(|source| StoreError::Failed {
                store: store.to_string(),
                source: source.into(),
            })?;
        Ok(Self { pool, store })
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool
            .get()
            .await
            .map_err(|error| no_connection(&self.store, error))
    }

    /// Rows of one statement, in a transaction of its own.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut attempt = 0;
        loop {
            let client = self.client().await?;
            let asked = async {
                let statement = client.prepare_cached(sql).await?;
                client.query(&statement, parameters).await
            };
            let failure = match tokio::time::timeout(LIMIT, asked).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => Failure::Sql(error),
                Err(_) => {
                    self.abandon(client);
                    return Err(timed_out(&self.store));
                }
            };
            drop(client);
            self.wait_or_fail(failure, &mut attempt).await?;
        }
    }

    /// Makes changes in one serializable transaction.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Transaction<'t>) -> BoxFuture<'t, Result<T, Failure>> + Send + Sync,
    {
        self.transaction(Guard::Nothing, work).await
    }

    /// Makes changes in one transaction, as long as `guard` allows it.
    pub(super) async fn transaction<T, E, F>(&self, guard: Guard, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
        F: for<'t> Fn(&'t Transaction<'t>) -> BoxFuture<'t, Result<T, E>> + Send + Sync,
    {
        let mut attempt = 0;
        loop {
            let mut client = self.client().await?;
            let failure = match tokio::time::timeout(
                LIMIT,
                transact((&mut client, &self.store), &guard, &work),
            )
            .await
            {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    self.abandon(client);
                    return Err(timed_out(&self.store));
                }
            };
            drop(client);
            self.wait_or_fail(failure, &mut attempt).await?;
        }
    }

    /// Ends a connection on which a call is still under way. The server undoes what was begun and not committed.
    fn abandon(&self, client: Object) {
        tracing::warn!(store = %self.store, "the database does not answer: a connection is given up");
        drop(Object::take(client));
    }

    /// Returns when the call should be tried again.
    async fn wait_or_fail(&self, failure: Failure, attempt: &mut u32) -> Result<(), StoreError> {
        *attempt += 1;
        if !failure.is_conflict() || *attempt >= ATTEMPTS {
            return Err(failure.into_error(&self.store));
        }
        let longest = FIRST_WAIT << *attempt;
        let wait = rand::rng().random_range(longest / 2..=longest);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        Ok(())
    }
}

async fn transact<T, E, F>(
    (client, store): (&mut Object, &str),
    guard: &Guard,
    work: &F,
) -> Result<T, Failure>
where
    E: Into<Failure>,
    F: for<'t> Fn(&'t Transaction<'t>) -> BoxFuture<'t, Result<T, E>>,
{
    let transaction = client
        .build_transaction()
        .isolation_level(guard.isolation())
        .start()
        .await?;
    guard.check(store, &transaction).await?;
    let value = work(&transaction).await.map_err(Into::into)?;
    transaction.commit().await?;
    Ok(value)
}

/// The first line of the password file.
async fn password(server: &Server) -> Result<String, StoreError> {
    let Some(file) = server.password_file() else {
        return Ok(String::new());
    };
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|source| StoreError::Parameter {
            store: server.name().to_owned(),
            parameter: "password_file",
            file: file.display().to_string(),
            source: source.into(),
        })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn manager(mut config: Config, server: &Server) -> Result<Manager, StoreError> {
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let Some(ca) = server.ca() else {
        config.ssl_mode(SslMode::Disable);
        return Ok(Manager::from_config(config, NoTls, recycling));
    };
    let tls = https("sslrootcert", ca).map_err(|source| StoreError::Parameter {
        store: server.name().to_owned(),
        parameter: "sslrootcert",
        file: ca.display().to_string(),
        source: source.into(),
    })?;
    config.ssl_mode(SslMode::Require);
    let connector = MakeRustlsConnect::new(tls.as_ref().clone());
    Ok(Manager::from_config(config, connector, recycling))
}
