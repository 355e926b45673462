//! Opening an SQLite database so that nothing stored in it is ever at risk, and one way of using it from tasks.
//!
//! One process owns a file: it is opened with an exclusive lock, so a second process gets [`StoreError::Busy`] instead
//! of mixing its writes in. Commits are durable when they return (write-ahead log, `synchronous = FULL`). A file that
//! this program does not understand (newer version, another program's, not a database) is left untouched.
//!
//! [`Db`] is the handle for tasks: one thread owns the connection and works off a bounded queue of closures. A caller
//! that stops waiting does not undo its closure, so dropping a [`Db::call`] future is safe.

pub(super) mod history;
pub(super) mod incidents;
pub(super) mod journal;
pub(super) mod registry;
pub(super) mod spool;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{Location, StoreError};

/// How long to wait for a lock that another process holds; long enough for a predecessor that is just closing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Depth of a [`Db`]'s queue. Each waiting closure has a waiting caller, so this only bounds what piles up behind a slow
/// disk; callers beyond it wait for a place.
const QUEUE_DEPTH: usize = 64;

/// What a program keeps in its database.
#[derive(Debug, Clone, Copy)]
struct Schema {
    /// Marks the file as this kind (`PRAGMA application_id`); distinct per program, never 0.
    application_id: i32,
    /// SQL that leads from layout version `i` to `i + 1`, in order. Entries are never changed, only appended.
    migrations: &'static [&'static str],
}

/// Opens a database and brings its layout up to date.
///
/// # Errors
/// Any [`StoreError`] but `Closed`.
fn open(location: &Location, schema: &Schema) -> Result<Connection, StoreError> {
    let store = location.name();
    let mut connection = match location {
        Location::File(path) => open_file(path)?,
        Location::Memory => {
            Connection::open_in_memory().map_err(|source| classify(&store, source))?
        }
    };
    configure(&connection).map_err(|source| classify(&store, source))?;
    check_writable(&connection, &store)?;
    check_ownership(&connection, &store, schema)?;
    migrate(&mut connection, &store, schema)?;
    Ok(connection)
}

fn open_file(path: &Path) -> Result<Connection, StoreError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Unavailable {
            store: folder.display().to_string(),
            source: source.into(),
        })?;
    }
    Connection::open(path).map_err(|source| classify(&path.display().to_string(), source))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // Reading takes the lock, so a file that is in use or no database fails here and before anything is changed.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

/// SQLite opens a file that this user may only read without a word; the first change would fail much later.
fn check_writable(connection: &Connection, store: &str) -> Result<(), StoreError> {
    let read_only = connection
        .is_readonly(rusqlite::MAIN_DB)
        .map_err(|source| classify(store, source))?;
    if read_only {
        return Err(StoreError::ReadOnly {
            store: store.to_owned(),
        });
    }
    Ok(())
}

fn check_ownership(
    connection: &Connection,
    store: &str,
    schema: &Schema,
) -> Result<(), StoreError> {
    let read = |pragma: &str| {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            .map_err(|source| classify(store, source))
    };
    let application = read("application_id")?;
    let version = read("user_version")?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|source| classify(store, source))?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if !is_new && application != i64::from(schema.application_id) {
        return Err(StoreError::Foreign {
            store: store.to_owned(),
            why: format!("an SQLite database of another program, application id {application}"),
        });
    }
    if usize::try_from(version).map_or(true, |version| version > schema.migrations.len()) {
        return Err(StoreError::NewerSchema {
            store: store.to_owned(),
            found: version,
            supported: schema.migrations.len(),
        });
    }
    Ok(())
}

fn migrate(connection: &mut Connection, store: &str, schema: &Schema) -> Result<(), StoreError> {
    let settings = || -> rusqlite::Result<i64> {
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.query_row("PRAGMA user_version", [], |row| row.get(0))
    };
    let version = settings().map_err(|source| classify(store, source))?;
    let done = usize::try_from(version).unwrap_or(0);
    for (index, sql) in schema.migrations.iter().enumerate().skip(done) {
        apply(connection, schema, index + 1, sql).map_err(|source| {
            match classify(store, source) {
                StoreError::Failed { store, source } => StoreError::Migration {
                    store,
                    version: index + 1,
                    source,
                },
                other => other,
            }
        })?;
    }
    Ok(())
}

fn apply(
    connection: &mut Connection,
    schema: &Schema,
    version: usize,
    sql: &str,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "application_id", schema.application_id)?;
    transaction.pragma_update(
        None,
        "user_version",
        u32::try_from(version).unwrap_or(u32::MAX),
    )?;
    transaction.commit()
}

/// Turns a failure of SQLite into one that says what to do.
fn classify(store: &str, source: rusqlite::Error) -> StoreError {
    let store = store.to_owned();
    let code = source.sqlite_error_code();
    let source = source.into();
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { store },
        Some(ErrorCode::NotADatabase) => StoreError::Foreign {
            store,
            why: "not an SQLite database".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { store, source },
        Some(ErrorCode::DiskFull) => StoreError::Full { store },
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { store },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure) => {
            StoreError::Unavailable { store, source }
        }
        _ => StoreError::Failed { store, source },
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A database for tasks: cheap to clone; the file is closed when the last clone is dropped.
#[derive(Clone)]
struct Db {
    jobs: mpsc::Sender<Job>,
    store: String,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({})", self.store)
    }
}

impl Db {
    /// Opens a database and starts the thread that owns it.
    ///
    /// # Errors
    /// Those of [`open`].
    async fn open(location: &Location, schema: &'static Schema) -> Result<Self, StoreError> {
        let store = location.name();
        let location = location.clone();
        let opened = tokio::task::spawn_blocking(move || open(&location, schema)).await;
        let connection = opened.map_err(|source| StoreError::Failed {
            store: store.clone(),
            source: source.into(),
        })??;
        let (jobs, queue) = mpsc::channel(QUEUE_DEPTH);
        std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || work(connection, queue))
            .map_err(|source| StoreError::Unavailable {
                store: store.clone(),
                source: source.into(),
            })?;
        Ok(Self { jobs, store })
    }

    /// Runs `job` on the owner thread after those before it. Whatever must happen together belongs into one job with
    /// one transaction.
    ///
    /// # Errors
    /// Failures of the job's statements, classified by [`classify`]; `Closed`.
    async fn call<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, done) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A caller that no longer waits does not need the answer.
            let _ = answer.send(job(connection));
        });
        let closed = || StoreError::Closed {
            store: self.store.clone(),
        };
        self.jobs.send(job).await.map_err(|_| closed())?;
        done.await
            .map_err(|_| closed())?
            .map_err(|source| classify(&self.store, source))
    }
}

fn work(mut connection: Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        job(&mut connection);
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "a database was not closed cleanly; its log is replayed at the next start");
    }
}

#[cfg(test)]
mod tests;
