//! Databases that cannot be read any more, and rows that cannot.
//!
//! A damaged file is renamed ([`quarantine`]) and a fresh one takes its place, with all rows that could still be read. A row
//! that makes no sense is moved into the table `set_aside`, which a layout that uses it creates by [`MIGRATION`].

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::opening::{Schema, open};
use crate::store::damage::Damage;
use crate::store::{Location, StoreError, quarantine};

/// Rows that were set aside: where they were, what they are called there, and what they held.
pub(super) const MIGRATION: &str = "
    CREATE TABLE set_aside (
        origin TEXT NOT NULL,
        name   TEXT NOT NULL,
        body   TEXT NOT NULL
    ) STRICT;
";

/// Names of files that hold databases: another file under the configured path is likelier a mistake in the configuration.
const EXTENSIONS: [&str; 3] = ["db", "sqlite", "sqlite3"];

/// Opens a database; one that is damaged is replaced by a fresh one.
///
/// # Errors
/// Any [`StoreError`] but [`StoreError::Corrupt`], which comes where the file cannot be renamed.
pub(super) fn open_or_replace(
    location: &Location,
    schema: &Schema,
    damage: &Damage,
) -> Result<Connection, StoreError> {
    match open(location, schema) {
        Err(error) if is_damaged(&error, location) => replace(location, schema, damage, error),
        other => other,
    }
}

/// Whether another file should take its place.
fn is_damaged(error: &StoreError, location: &Location) -> bool {
    let Location::File(path) = location else {
        return false;
    };
    match error {
        StoreError::Corrupt { .. } => true,
        StoreError::NoDatabase { .. } => path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension)),
        _ => false,
    }
}

/// Renames the database, which nobody has open, and gives a fresh one with the rows that can be read.
pub(super) fn replace(
    location: &Location,
    schema: &Schema,
    damage: &Damage,
    error: StoreError,
) -> Result<Connection, StoreError> {
    let Location::File(path) = location else {
        return Err(error);
    };
    let file = path.display().to_string();
    let kept = match quarantine::set_aside(path) {
        Ok(kept) => kept,
        Err(source) => {
            tracing::error!(file, error = %source, "a damaged database cannot be renamed");
            return Err(error);
        }
    };
    let mut fresh = open(location, schema)?;
    let rows = salvage(&kept, &mut fresh);
    let line = format!(
        "database {file} was damaged: it is kept as {}, {rows} rows of it were taken over into a fresh one",
        kept.display()
    );
    tracing::error!(error = crate::error::describe(&error), "{line}");
    damage.note_file(line);
    Ok(fresh)
}

/// Copies what can be read; gives how many rows. Each table is read from both ends up to what is damaged.
fn salvage(kept: &Path, fresh: &mut Connection) -> u64 {
    let Ok(old) = Connection::open(kept) else {
        return 0;
    };
    // The kept file stays as it is: its log is read and not merged.
    // And a file that ends too early is read up to there.
    let is_ready = old
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .is_ok()
        && old
            .set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)
            .is_ok()
        && old.pragma_update(None, "locking_mode", "EXCLUSIVE").is_ok()
        && old.pragma_update(None, "wal_autocheckpoint", 0).is_ok();
    if !is_ready {
        return 0;
    }
    let mut rows = 0;
    for (table, columns) in tables(fresh).unwrap_or_default() {
        for order in ["", " ORDER BY rowid DESC"] {
            let Ok(transaction) = fresh.transaction() else {
                return rows;
            };
            let (copied, is_whole) = copy(&old, &transaction, &table, &columns, order);
            if transaction.commit().is_ok() {
                rows += copied;
            }
            if is_whole {
                break;
            }
        }
    }
    rows
}

/// Names of the tables, with the names of their columns.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<(String, Vec<String>)>> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rootpage",
    )?;
    let names: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    names
        .into_iter()
        .map(|name| {
            let columns = connection
                .prepare("SELECT name FROM pragma_table_info(?1)")?
                .query_map([&name], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            Ok((name, columns))
        })
        .collect()
}

/// Copies rows until one cannot be read; gives how many were new, and whether the end was reached.
fn copy(
    old: &Connection,
    fresh: &Connection,
    table: &str,
    columns: &[String],
    order: &str,
) -> (u64, bool) {
    let list = columns.join(", ");
    let places = vec!["?"; columns.len()].join(", ");
    let copied = || -> rusqlite::Result<(u64, bool)> {
        let mut select = old.prepare(&format!("SELECT {list} FROM {table}{order}"))?;
        let mut insert = fresh.prepare(&format!(
            "INSERT OR IGNORE INTO {table} ({list}) VALUES ({places})"
        ))?;
        let mut rows = select.query([])?;
        let mut copied = 0;
        loop {
            let Ok(row) = rows.next() else {
                return Ok((copied, false));
            };
            let Some(row) = row else {
                return Ok((copied, true));
            };
            let values: Result<Vec<Value>, _> =
                (0..columns.len()).map(|column| row.get(column)).collect();
            // A value of another type than the column's, or a reference to a row that is gone, does not fit.
            if let Ok(values) = values
                && let Ok(changed) = insert.execute(params_from_iter(values))
            {
                copied += changed as u64;
            }
        }
    };
    copied().unwrap_or((0, false))
}

/// Moves a row that makes no sense out of the way; `sql` deletes it by its name.
pub(super) fn set_row_aside(
    connection: &Connection,
    damage: &Damage,
    origin: &str,
    (name, body): (&str, &str),
    sql: &str,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO set_aside (origin, name, body) VALUES (?1, ?2, ?3)",
        params![origin, name, body],
    )?;
    connection.execute(sql, [name])?;
    let line = format!("{origin} {name} cannot be read: it was moved into the table set_aside");
    tracing::error!("{line}");
    damage.note(line);
    Ok(())
}

#[cfg(test)]
mod tests;
