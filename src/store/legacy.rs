//! Forms of stored data that earlier versions had.

use std::io;
use std::path::{Path, PathBuf};

pub(super) use super::sqlite::spool::read as read_spool;

/// The agent's spool up to version 0.1.
const SPOOL: &str = "spool.sqlite";

/// Where that spool was, beside the folder of today's.
pub(super) fn spool_beside(folder: &Path) -> PathBuf {
    folder.with_file_name(SPOOL)
}

/// Removes a database whose content is elsewhere now.
///
/// # Errors
/// Those of the file system.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    std::fs::remove_file(file)?;
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut beside = file.as_os_str().to_owned();
        beside.push(suffix);
        match std::fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
