//! Opening an SQLite database so that nothing stored in it is ever at risk, and one way of using it from tasks.
//!
//! One process owns a file: it is opened with an exclusive lock, so a second process gets [`StoreError::Locked`] instead
//! of mixing its writes in. Commits are durable when they return (write-ahead log, `synchronous = FULL`). A file that
//! this program does not understand (newer version, another program's, not a database) is left untouched.
//!
//! [`Db`] is the handle for tasks: one thread owns the connection and works off a bounded queue of closures. A caller
//! that stops waiting does not undo its closure, so dropping a [`Db::call`] future is safe.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

/// How long to wait for a lock that another process holds; long enough for a predecessor that is just closing.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Depth of a [`Db`]'s queue. Each waiting closure has a waiting caller, so this only bounds what piles up behind a slow
/// disk; callers beyond it wait for a place.
pub const QUEUE_DEPTH: usize = 64;

/// Why a database cannot be used. What is stored stays as it is in every case.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error(
        "database {path} is locked by another process: stop the other one (for example another instance of this \
         program) or choose another file"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A later version of this program has changed the file's layout.
    #[error(
        "database {path} has layout version {found}, this program knows versions up to {supported}: use the newer \
         program, or another file"
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// `user_version` in the file.
        found: i64,
        /// The newest that this program knows.
        supported: usize,
    },
    /// The file is something else.
    #[error("{path} is not a database of this program ({why}): choose another file")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// The database is damaged.
    #[error("database {path} is damaged: restore it from a backup, or move it away to start empty")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// File or folder cannot be read or written.
    #[error(
        "cannot open database {path}: check that the folder exists and that this user may read and write it"
    )]
    Access {
        /// The file or its folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No space is left.
    #[error(
        "no space left for database {path}: what was stored is safe, the last change was not stored"
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// A migration of the layout failed; the file is as before.
    #[error("database {path}: changing its layout to version {version} failed")]
    Migration {
        /// The file.
        path: PathBuf,
        /// The version that could not be reached.
        version: usize,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// Any other failure of a statement.
    #[error("database {path}")]
    Sql {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// The thread that owns the database has ended.
    #[error("database {path} is closed")]
    Closed {
        /// The file.
        path: PathBuf,
    },
}

/// Where a database lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a file, made if missing, with its folder.
    File(PathBuf),
    /// In memory, gone with the connection.
    Memory,
}

impl Location {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Memory => Path::new(":memory:"),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

/// What a program keeps in its database.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Marks the file as this kind (`PRAGMA application_id`); distinct per program, never 0.
    pub application_id: i32,
    /// SQL that leads from layout version `i` to `i + 1`, in order. Entries are never changed, only appended.
    pub migrations: &'static [&'static str],
}

/// Opens a database and brings its layout up to date.
///
/// # Errors
/// Any [`StoreError`] but `Closed`.
pub fn open(location: &Location, schema: &Schema) -> Result<Connection, StoreError> {
    let path = location.path();
    let mut connection = match location {
        Location::File(path) => open_file(path)?,
        Location::Memory => {
            Connection::open_in_memory().map_err(|source| classify(path, source))?
        }
    };
    configure(&connection).map_err(|source| classify(path, source))?;
    check_writable(&connection, path)?;
    check_ownership(&connection, path, schema)?;
    migrate(&mut connection, path, schema)?;
    Ok(connection)
}

fn open_file(path: &Path) -> Result<Connection, StoreError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Access {
            path: folder.to_owned(),
            source: source.into(),
        })?;
    }
    Connection::open(path).map_err(|source| classify(path, source))
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
fn check_writable(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let read_only = connection
        .is_readonly(rusqlite::MAIN_DB)
        .map_err(|source| classify(path, source))?;
    if read_only {
        return Err(StoreError::Access {
            path: path.to_owned(),
            source: "this user may read the file but not write it".into(),
        });
    }
    Ok(())
}

fn check_ownership(
    connection: &Connection,
    path: &Path,
    schema: &Schema,
) -> Result<(), StoreError> {
    let read = |pragma: &str| {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            .map_err(|source| classify(path, source))
    };
    let application = read("application_id")?;
    let version = read("user_version")?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|source| classify(path, source))?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if !is_new && application != i64::from(schema.application_id) {
        return Err(StoreError::NotOurs {
            path: path.to_owned(),
            why: format!("an SQLite database of another program, application id {application}"),
        });
    }
    if usize::try_from(version).map_or(true, |version| version > schema.migrations.len()) {
        return Err(StoreError::NewerVersion {
            path: path.to_owned(),
            found: version,
            supported: schema.migrations.len(),
        });
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path, schema: &Schema) -> Result<(), StoreError> {
    let settings = || -> rusqlite::Result<i64> {
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.query_row("PRAGMA user_version", [], |row| row.get(0))
    };
    let version = settings().map_err(|source| classify(path, source))?;
    let done = usize::try_from(version).unwrap_or(0);
    for (index, sql) in schema.migrations.iter().enumerate().skip(done) {
        apply(connection, schema, index + 1, sql).map_err(|source| {
            match classify(path, source) {
                StoreError::Sql { path, source } => StoreError::Migration {
                    path,
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
pub fn classify(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    let rusqlite::Error::SqliteFailure(failure, _) = &source else {
        return StoreError::Sql { path, source };
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Locked { path },
        ErrorCode::NotADatabase => StoreError::NotOurs {
            path,
            why: "not an SQLite database".to_owned(),
        },
        ErrorCode::DatabaseCorrupt => StoreError::Damaged { path, source },
        ErrorCode::DiskFull => StoreError::DiskFull { path },
        ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::SystemIoFailure => StoreError::Access {
            path,
            source: source.into(),
        },
        _ => StoreError::Sql { path, source },
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A database for tasks: cheap to clone; the file is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Db {
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({})", self.path.display())
    }
}

impl Db {
    /// Opens a database and starts the thread that owns it. Blocks while the file is opened; call it at start.
    ///
    /// # Errors
    /// Those of [`open`].
    pub fn open(location: &Location, schema: &Schema) -> Result<Self, StoreError> {
        let connection = open(location, schema)?;
        let path = location.path().to_owned();
        let (jobs, queue) = mpsc::channel(QUEUE_DEPTH);
        std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || work(connection, queue))
            .map_err(|source| StoreError::Access {
                path: path.clone(),
                source: source.into(),
            })?;
        Ok(Self { jobs, path })
    }

    /// The file, `:memory:` for a database in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `job` on the owner thread after those before it. Whatever must happen together belongs into one job with
    /// one transaction.
    ///
    /// # Errors
    /// Failures of the job's statements, classified by [`classify`]; `Closed`.
    pub async fn call<T, F>(&self, job: F) -> Result<T, StoreError>
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
            path: self.path.clone(),
        };
        self.jobs.send(job).await.map_err(|_| closed())?;
        done.await
            .map_err(|_| closed())?
            .map_err(|source| classify(&self.path, source))
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
