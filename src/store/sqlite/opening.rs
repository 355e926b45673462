//! Opening an SQLite file, and what its failures mean.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::store::{Location, StoreError};

/// How long to wait for a lock that another process holds; long enough for a predecessor that is just closing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Permissions of a new database and of its folder: results name hosts and addresses, and other users need neither.
const OWN_FILE: u32 = 0o600;
const OWN_FOLDER: u32 = 0o700;

/// What a program keeps in its database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    /// Marks the file as this kind (`PRAGMA application_id`); distinct per program, never 0.
    pub(super) application_id: i32,
    /// SQL that leads from layout version `i` to `i + 1`, in order. Entries are never changed, only appended.
    pub(super) migrations: &'static [&'static str],
}

/// Opens a database and brings its layout up to date.
///
/// # Errors
/// Any [`StoreError`] but `Closed`.
pub(super) fn open(location: &Location, schema: &Schema) -> Result<Connection, StoreError> {
    let store = location.name();
    let mut connection = match location {
        Location::File(path) => open_file(path)?,
        Location::Postgres(_) => {
            return Err(StoreError::NoDatabase { store });
        }
        Location::Memory => {
            Connection::open_in_memory().map_err(|source| classify(&store, source))?
        }
    };
    configure(&connection).map_err(|source| classify(&store, source))?;
    check_writable(&connection, &store)?;
    check_ownership(&connection, &store, schema)?;
    migrate(&mut connection, &store, schema)?;
    // Reading alone shares the file with others that have not written yet.
    connection
        .execute_batch("BEGIN IMMEDIATE; COMMIT")
        .map_err(|source| classify(&store, source))?;
    Ok(connection)
}

/// The mark of the program whose file this is ([`Schema::application_id`]); 0 for a file without content.
///
/// # Errors
/// [`StoreError::Busy`]: its program runs. It is no database, or cannot be read.
pub(in crate::store) fn application_id(path: &Path) -> Result<i32, StoreError> {
    let fail = |source| classify(&path.display().to_string(), source);
    let connection = Connection::open(path).map_err(fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(fail)
}

fn open_file(path: &Path) -> Result<Connection, StoreError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(OWN_FOLDER)
            .create(folder);
        made.map_err(|source| StoreError::Unavailable {
            store: folder.display().to_string(),
            source: source.into(),
        })?;
    }
    // SQLite would make it readable for all; its log and index files get the permissions of the database. Why a file
    // cannot be made SQLite says below.
    let _ = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWN_FILE)
        .open(path);
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
pub(super) fn classify(store: &str, source: rusqlite::Error) -> StoreError {
    let store = store.to_owned();
    let code = source.sqlite_error_code();
    let is_cut_off = source
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ);
    let source = source.into();
    match code {
        _ if is_cut_off => StoreError::Corrupt { store, source },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { store },
        Some(ErrorCode::NotADatabase) => StoreError::NoDatabase { store },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { store, source },
        Some(ErrorCode::DiskFull) => StoreError::Full { store },
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { store },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure) => {
            StoreError::Unavailable { store, source }
        }
        _ => StoreError::Failed { store, source },
    }
}
