//! Files that cannot be read are renamed and kept, so that a program goes on with a fresh file and a person can look at the
//! damaged one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Between the file's name and the time of the renaming, in seconds since the epoch.
pub(crate) const SUFFIX: &str = ".damaged-";
/// SQLite's files beside a database. A log that stayed would be replayed into the fresh file.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Renamed files in one folder: a disk that damages one file after the other must not fill up with them.
const MOST_KEPT: usize = 64;
/// Files that were renamed in the same second.
const MOST_IN_A_SECOND: u32 = 1_000;

/// Renames `file`, with the files that SQLite keeps beside it, and returns the new path. Nothing is deleted.
///
/// # Errors
/// Those of the file system, and `QuotaExceeded` where [`MOST_KEPT`] were renamed before; then the file has its name.
pub(crate) fn set_aside(file: &Path) -> io::Result<PathBuf> {
    check_room(file)?;
    let target = free_name(file)?;
    std::fs::rename(file, &target)?;
    for companion in COMPANIONS {
        let beside = with_suffix(file, companion);
        match std::fs::rename(&beside, with_suffix(&target, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(target)
}

fn check_room(file: &Path) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let kept = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains(SUFFIX))
        .count();
    if kept >= MOST_KEPT {
        let message = format!(
            "{kept} damaged files are in {} already: look at them and remove them",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, message));
    }
    Ok(())
}

fn free_name(file: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    (0..MOST_IN_A_SECOND)
        .map(|number| match number {
            0 => with_suffix(file, &format!("{SUFFIX}{now}")),
            _ => with_suffix(file, &format!("{SUFFIX}{now}-{number}")),
        })
        .find(|name| !name.exists())
        .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
