use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::opening::open;
use super::*;

const SCHEMA: Schema = Schema {
    application_id: 0x7270_0001,
    migrations: &["CREATE TABLE note (text TEXT NOT NULL) STRICT"],
};

const NEWER: Schema = Schema {
    migrations: &[
        "CREATE TABLE note (text TEXT NOT NULL) STRICT",
        "ALTER TABLE note ADD COLUMN rank INTEGER NOT NULL DEFAULT 7",
    ],
    ..SCHEMA
};

fn add(connection: &Connection, text: &str) {
    connection
        .execute("INSERT INTO note (text) VALUES (?1)", [text])
        .expect("insert");
}

fn notes(connection: &Connection) -> i64 {
    connection
        .query_row("SELECT count(*) FROM note", [], |row| row.get(0))
        .expect("count")
}

fn folder() -> (tempfile::TempDir, Location, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("state/x.db");
    (folder, Location::File(path.clone()), path)
}

#[test]
fn keeps_rows_over_reopening_and_migration() {
    let (_folder, location, _) = folder();
    add(&open(&location, &SCHEMA).expect("new"), "a");
    let connection = open(&location, &NEWER).expect("migrated");
    let rank: i64 = connection
        .query_row("SELECT rank FROM note WHERE text = 'a'", [], |row| {
            row.get(0)
        })
        .expect("row");
    assert_eq!(rank, 7);
    let mode: String = connection
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .expect("mode");
    assert_eq!(mode, "wal");
}

#[test]
fn second_owner_is_refused_and_nothing_is_lost() {
    let (_folder, location, path) = folder();
    let first = open(&location, &SCHEMA).expect("first");
    add(&first, "a");
    let error = open(&location, &SCHEMA).expect_err("locked");
    assert!(
        matches!(&error, StoreError::Busy { store } if Path::new(store) == path),
        "{error}"
    );
    assert!(error.to_string().contains("locked by another process"));
    drop(first);
    assert_eq!(notes(&open(&location, &SCHEMA).expect("free again")), 1);
}

#[test]
fn newer_layout_is_left_alone() {
    let (_folder, location, path) = folder();
    add(&open(&location, &NEWER).expect("new"), "a");
    let before = fs::read(&path).expect("file");
    let error = open(&location, &SCHEMA).expect_err("newer");
    assert!(
        matches!(
            error,
            StoreError::NewerSchema {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fs::read(&path).expect("file"), before);
    assert_eq!(notes(&open(&location, &NEWER).expect("newer program")), 1);
}

#[test]
fn foreign_files_are_left_alone() {
    let (_folder, location, path) = folder();
    fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    let text = "this is a letter, not a database\n".repeat(40);
    fs::write(&path, &text).expect("file");
    let error = open(&location, &SCHEMA).expect_err("no database");
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("file"), text);

    fs::remove_file(&path).expect("remove");
    let other = Schema {
        application_id: 5,
        ..SCHEMA
    };
    drop(open(&location, &other).expect("another program's"));
    let error = open(&location, &SCHEMA).expect_err("another program's");
    assert!(error.to_string().contains("application id 5"), "{error}");
}

#[test]
fn folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("file");
    // A file where a folder is needed: fails for every user, root too.
    let error = open(&Location::File(file.join("x.db")), &SCHEMA).expect_err("no folder");
    assert!(
        matches!(&error, StoreError::Unavailable { store, .. } if Path::new(store) == file),
        "{error}"
    );

    let error = open(&Location::File(folder.path().to_owned()), &SCHEMA).expect_err("a folder");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[test]
fn read_only_file_is_refused() {
    let (_folder, location, path) = folder();
    drop(open(&location, &SCHEMA).expect("new"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("mode");
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        // Root may write everything: the same error comes from a connection without the right to write.
        let connection =
            Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
                .expect("read only");
        let error = connection
            .execute("DELETE FROM note", [])
            .expect_err("read only");
        assert!(matches!(classify("x", error), StoreError::ReadOnly { .. }));
    } else {
        assert!(matches!(
            open(&location, &SCHEMA),
            Err(StoreError::ReadOnly { .. })
        ));
    }
}

#[test]
fn full_disk_keeps_what_was_stored() {
    let (_folder, location, _) = folder();
    let connection = open(&location, &SCHEMA).expect("new");
    add(&connection, "kept");
    connection
        .query_row("PRAGMA max_page_count = 8", [], |_| Ok(()))
        .expect("limit");
    let error = connection
        .execute("INSERT INTO note (text) VALUES (?1)", ["x".repeat(1 << 20)])
        .expect_err("full");
    assert!(matches!(classify("x", error), StoreError::Full { .. }));
    assert_eq!(notes(&connection), 1);
}

const BROKEN: Schema = Schema {
    migrations: &[
        "CREATE TABLE note (text TEXT NOT NULL) STRICT",
        "DELETE FROM note; CREATE TABLE note (x)",
    ],
    ..SCHEMA
};

#[test]
fn failed_migration_changes_nothing() {
    let (_folder, location, _) = folder();
    add(&open(&location, &SCHEMA).expect("new"), "a");
    let error = open(&location, &BROKEN).expect_err("broken");
    assert!(
        matches!(error, StoreError::Migration { version: 2, .. }),
        "{error}"
    );
    assert_eq!(notes(&open(&location, &SCHEMA).expect("as before")), 1);
}

#[tokio::test]
async fn calls_run_in_order_on_one_thread() {
    let db = Db::open(&Location::Memory, &SCHEMA).await.expect("open");
    for index in 0..100 {
        db.call(move |connection| {
            connection.execute("INSERT INTO note (text) VALUES (?1)", [index.to_string()])
        })
        .await
        .expect("insert");
    }
    let last = db
        .call(|connection| {
            connection.query_row(
                "SELECT text FROM note ORDER BY rowid DESC LIMIT 1",
                [],
                |row| row.get::<_, String>(0),
            )
        })
        .await
        .expect("last");
    assert_eq!(last, "99");
    let error = db
        .call(|connection| connection.execute("SELECT nonsense", []))
        .await
        .expect_err("bad statement");
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn closing_releases_the_file() {
    let (_folder, location, _) = folder();
    let db = Db::open(&location, &SCHEMA).await.expect("open");
    db.call(|connection| connection.execute("INSERT INTO note (text) VALUES ('a')", []))
        .await
        .expect("insert");
    drop(db);
    // The owner thread closes after the last handle is gone; opening waits for it by the busy timeout.
    assert_eq!(notes(&open(&location, &SCHEMA).expect("reopen")), 1);
}
