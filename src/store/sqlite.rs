//! Opening an SQLite database so that nothing stored in it is ever at risk, and one way of using it from tasks.
//!
//! One process owns a file: it is opened with an exclusive lock, so a second process gets [`StoreError::Busy`] instead
//! of mixing its writes in. Commits are durable when they return (write-ahead log, `synchronous = FULL`). A file that
//! this program does not understand (newer version, another program's) is left untouched. One that is damaged is renamed, and a
//! fresh one takes its place with what can still be read ([`damaged`]), at the start and at run time.
//!
//! [`Db`] is the handle for tasks: one thread owns the connection and works off a bounded queue of closures. A caller
//! that stops waiting does not undo its closure, so dropping a [`Db::call`] future is safe.

mod blobs;
pub(super) mod contents;
mod damaged;
pub(super) mod fleet;
pub(super) mod history;
pub(super) mod incidents;
pub(super) mod journal;
mod opening;
pub(super) mod registry;
pub(super) mod spool;
pub(super) mod trends;

use std::fmt;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub(super) use self::opening::application_id;
use self::opening::{Schema, classify};
use super::damage::Damage;
use super::{Location, StoreError};
use crate::error::describe;

/// Depth of a [`Db`]'s queue. Each waiting closure has a waiting caller, so this only bounds what piles up behind a slow
/// disk; callers beyond it wait for a place.
const QUEUE_DEPTH: usize = 64;

/// What the owner thread does with the database, or with the reason why there is none. Gives whether the file is damaged.
type Job = Box<dyn FnOnce(Result<&mut Connection, StoreError>) -> Option<StoreError> + Send>;

/// A database for tasks: cheap to clone; the file is closed when the last clone is dropped.
#[derive(Clone)]
struct Db {
    jobs: mpsc::Sender<Job>,
    store: String,
    damage: Damage,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({})", self.store)
    }
}

impl Db {
    /// Opens a database, replaces it if it is damaged, and starts the thread that owns it.
    ///
    /// # Errors
    /// Those of [`open`].
    async fn open(location: &Location, schema: &'static Schema) -> Result<Self, StoreError> {
        let (db, failure) = Self::open_later(location, schema).await?;
        failure.map_or(Ok(db), Err)
    }

    /// The same; a database that cannot be opened is tried again with each call. Gives why it could not be opened.
    ///
    /// # Errors
    /// No thread can be started.
    async fn open_later(
        location: &Location,
        schema: &'static Schema,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let store = location.name();
        let damage = Damage::default();
        let mut owner = Owner {
            connection: None,
            location: location.clone(),
            schema,
            damage: damage.clone(),
        };
        let opening = tokio::task::spawn_blocking(move || {
            let failure = owner.connection().err();
            (owner, failure)
        });
        let (owner, failure) = opening.await.map_err(|source| StoreError::Failed {
            store: store.clone(),
            source: source.into(),
        })?;
        let (jobs, queue) = mpsc::channel(QUEUE_DEPTH);
        std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || owner.work(queue))
            .map_err(|source| StoreError::Unavailable {
                store: store.clone(),
                source: source.into(),
            })?;
        let db = Self {
            jobs,
            store,
            damage,
        };
        Ok((db, failure))
    }

    /// Runs `job` on the owner thread after those before it. Whatever must happen together belongs into one job with
    /// one transaction. A file that proves to be damaged is replaced after the call that met it has failed.
    ///
    /// # Errors
    /// Failures of the job's statements, classified by [`classify`]; those of opening; `Closed`.
    async fn call<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, done) = oneshot::channel();
        let store = self.store.clone();
        let job: Job = Box::new(move |connection| {
            let result = connection
                .and_then(|connection| job(connection).map_err(|source| classify(&store, source)));
            let damaged = match &result {
                Err(error @ (StoreError::Corrupt { .. } | StoreError::NoDatabase { .. })) => {
                    let source = describe(error).into();
                    Some(StoreError::Corrupt { store, source })
                }
                _ => None,
            };
            // A caller that no longer waits does not need the answer.
            let _ = answer.send(result);
            damaged
        });
        let closed = || StoreError::Closed {
            store: self.store.clone(),
        };
        self.jobs.send(job).await.map_err(|_| closed())?;
        done.await.map_err(|_| closed())?
    }

    /// The same for a job that reads: it is done again on the file that has replaced a damaged one.
    ///
    /// # Errors
    /// Those of [`Db::call`].
    async fn read<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Clone + Send + 'static,
    {
        match self.call(job.clone()).await {
            Err(StoreError::Corrupt { .. } | StoreError::NoDatabase { .. }) => self.call(job).await,
            other => other,
        }
    }
}

/// The thread that owns a connection.
struct Owner {
    /// `None` while the file cannot be opened.
    connection: Option<Connection>,
    location: Location,
    schema: &'static Schema,
    damage: Damage,
}

impl Owner {
    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => damaged::open_or_replace(&self.location, self.schema, &self.damage)?,
        };
        Ok(self.connection.insert(connection))
    }

    fn work(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.blocking_recv() {
            if let Some(error) = job(self.connection()) {
                self.replace(error);
            }
        }
        self.close();
    }

    fn replace(&mut self, error: StoreError) {
        if self.location == Location::Memory {
            return;
        }
        self.close();
        // Where that fails the next call tries to open the file that is there.
        self.connection = damaged::replace(&self.location, self.schema, &self.damage, error).ok();
    }

    fn close(&mut self) {
        if let Some(Err((_, error))) = self.connection.take().map(Connection::close) {
            tracing::warn!(%error, "a database was not closed cleanly; its log is replayed at the next start");
        }
    }
}

#[cfg(test)]
mod tests;
