//! The spool's folder: files `NUMBER.log` ([`segment`]), and `lock`, whose lock gives the folder one owner.
//!
//! Batches are appended to the newest file. A file is deleted when none of its batches waits any more. One with damaged
//! bytes is renamed then, and one that cannot be read at all is renamed at the start.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::codec::Encoded;
use super::epoch::{DiskPlace, Epoch, Place};
use super::segment::{self, Header, Record, SegmentError};
use super::types::AWAY;
use crate::store::{StoreError, legacy, quarantine};

/// Held while a process uses the folder.
const LOCK: &str = "lock";
/// The files of batches.
const EXTENSION: &str = "log";
/// How long to wait for a predecessor that is just closing.
const PREDECESSOR: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
/// Between two times that the file is forced to the disk while batches wait.
const FORCE_EVERY: Duration = Duration::from_secs(5);
/// A file is closed when it is this large: a 16th of the spool's limit, within these bounds.
const SMALLEST: u64 = 64 << 10;
const LARGEST: u64 = 8 << 20;

/// Why the folder is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// By another process.
    #[error(transparent)]
    Busy(StoreError),
    /// For the time being.
    #[error("{0}")]
    Unusable(String),
}

/// The folder and what was in it.
pub(super) struct Loaded {
    pub(super) disk: Disk,
    /// The oldest first; appending goes on with the last.
    pub(super) epochs: Vec<Epoch>,
    /// Records that cannot be read.
    pub(super) damaged: u64,
    /// Files that were renamed.
    pub(super) set_aside: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    /// In bytes.
    size: u64,
    /// Batches that wait.
    live: u64,
    /// Some of its bytes cannot be read.
    damaged: bool,
}

/// The open folder.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    /// Its lock ends with it.
    _lock: File,
    segments: BTreeMap<u64, Segment>,
    /// The file that is appended to, and its identity.
    current: Option<(u64, u64)>,
    /// Number of the next file.
    next: u64,
    /// When a file is closed.
    full: u64,
    forced: Instant,
    /// Something was written since.
    dirty: bool,
}

impl Disk {
    pub(super) fn open(folder: &Path, limit: u64) -> Result<Loaded, OpenError> {
        let at = |path: &Path, error: &io::Error| {
            OpenError::Unusable(format!("{}: {error}", path.display()))
        };
        let mut set_aside = 0;
        if folder.symlink_metadata().is_ok_and(|found| found.is_file()) {
            // This is tried again with each batch: the caller says once that it fails.
            rename_quietly(folder).map_err(|error| {
                let file = folder.display();
                OpenError::Unusable(format!(
                    "{file} is a file, not a folder, and cannot be renamed: {error}"
                ))
            })?;
            set_aside += 1;
        }
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| at(folder, &error))?;
        let lock = lock(&folder.join(LOCK), folder)?;
        let mut loaded = Loaded {
            disk: Self {
                folder: folder.to_owned(),
                _lock: lock,
                segments: BTreeMap::new(),
                current: None,
                next: 1,
                full: (limit / 16).clamp(SMALLEST, LARGEST),
                forced: Instant::now(),
                dirty: false,
            },
            epochs: Vec::new(),
            damaged: 0,
            set_aside,
        };
        for number in numbers(folder).map_err(|error| at(folder, &error))? {
            loaded.take(number);
        }
        loaded.import();
        loaded.settle();
        Ok(loaded)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:010}.{EXTENSION}"))
    }

    /// Writes a batch behind the others.
    pub(super) fn append(
        &mut self,
        id: u64,
        sequence: u64,
        encoded: &Encoded,
    ) -> io::Result<Place> {
        let number = self.writable(id, sequence)?;
        let Some(segment) = self.segments.get_mut(&number) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let bytes = segment::batch(sequence, encoded);
        let offset = segment::append(&mut segment.file, &bytes)
            .map_err(|error| named(&segment.path, &error))?;
        segment.size = offset + bytes.len() as u64;
        segment.live += 1;
        self.dirty = true;
        Ok(Place::Disk(DiskPlace {
            segment: number,
            offset,
            length: encoded.bytes.len(),
        }))
    }

    /// The file to append to: the newest one, or a new one when that is full, gone or of another identity.
    fn writable(&mut self, id: u64, next: u64) -> io::Result<u64> {
        if let Some((number, of)) = self.current
            && of == id
            && let Some(segment) = self.segments.get(&number)
            && segment.size < self.full
            && !segment.damaged
            && segment.path.exists()
        {
            return Ok(number);
        }
        // Nobody forces the file that is left behind, and while the analyzer is away its batches stay for long.
        let is_needed = |segment: &Segment| segment.live >= u64::try_from(AWAY).unwrap_or(u64::MAX);
        if self.dirty
            && let Some((number, _)) = self.current
            && self.segments.get(&number).is_some_and(is_needed)
        {
            self.sync()?;
        }
        let (number, path) = (self.next, self.path(self.next));
        if !self.folder.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.folder)?;
        }
        let file = Header { id, next }
            .create(&path)
            .map_err(|error| named(&path, &error))?;
        self.next += 1;
        let segment = Segment {
            path,
            file,
            size: segment::HEADER,
            live: 0,
            damaged: false,
        };
        self.segments.insert(number, segment);
        let before = self.current.replace((number, id));
        if let Some((before, _)) = before {
            self.remove_if_done(before);
        }
        Ok(number)
    }

    /// Reads a batch back.
    pub(super) fn read(&self, place: &DiskPlace, sequence: u64) -> io::Result<Encoded> {
        let segment = self
            .segments
            .get(&place.segment)
            .ok_or(io::ErrorKind::NotFound)?;
        segment::read(&segment.file, place.offset, place.length, sequence)
    }

    /// Writes down what a receiver has, in a file of the newest identity with its next number.
    pub(super) fn note_acknowledged(
        &mut self,
        (id, sequence): (u64, u64),
        (newest, next): (u64, u64),
    ) -> io::Result<()> {
        // The files of what is acknowledged go: one must be there that names the identity.
        let number = match self.current {
            Some((number, _)) => number,
            None => self.writable(newest, next)?,
        };
        if let Some(segment) = self.segments.get_mut(&number) {
            let bytes = segment::acknowledgement(id, sequence);
            segment.size = segment::append(&mut segment.file, &bytes)? + bytes.len() as u64;
            self.dirty = true;
        }
        Ok(())
    }

    /// One of the file's batches is not needed any more.
    pub(super) fn release(&mut self, number: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.live = segment.live.saturating_sub(1);
        }
        self.remove_if_done(number);
    }

    /// The file is kept, under another name, when its other batches are done with.
    pub(super) fn mark_damaged(&mut self, number: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.damaged = true;
        }
    }

    fn remove_if_done(&mut self, number: u64) {
        let is_current = self.current.is_some_and(|(current, _)| current == number);
        let is_done = self
            .segments
            .get(&number)
            .is_some_and(|segment| segment.live == 0 && (!is_current || segment.damaged));
        if !is_done {
            return;
        }
        if is_current {
            self.current = None;
        }
        if let Some(segment) = self.segments.remove(&number) {
            let removed = if segment.damaged {
                rename(&segment.path).map(|_| ())
            } else {
                std::fs::remove_file(&segment.path)
            };
            // It is found again at the next start: its batches are old ones then, which the receiver knows.
            if let Err(error) = removed {
                tracing::debug!(file = %segment.path.display(), %error, "a file of the spool cannot be removed");
            }
        }
    }

    /// Forces what was written to the disk, now and then.
    pub(super) fn force(&mut self) -> io::Result<()> {
        if !self.dirty || self.forced.elapsed() < FORCE_EVERY {
            return Ok(());
        }
        self.sync()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.forced = Instant::now();
        self.dirty = false;
        match self
            .current
            .and_then(|(number, _)| self.segments.get(&number))
        {
            Some(segment) => segment
                .file
                .sync_data()
                .map_err(|error| named(&segment.path, &error)),
            None => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = if self.dirty { self.sync() } else { Ok(()) } {
            tracing::warn!(folder = %self.folder.display(), %error, "the last results may not be on the disk");
        }
    }
}

impl Loaded {
    /// Takes in one file.
    fn take(&mut self, number: u64) {
        let path = self.disk.path(number);
        self.disk.next = self.disk.next.max(number + 1);
        let (mut found, mut acknowledged, mut damaged) = (Vec::new(), Vec::new(), 0);
        let scanned = segment::scan(&path, |record| match record {
            Record::Batch {
                sequence,
                offset,
                length,
            } => found.push((
                sequence,
                DiskPlace {
                    segment: number,
                    offset,
                    length,
                },
            )),
            Record::Acknowledged { id, sequence } => acknowledged.push((id, sequence)),
            Record::Damaged => damaged += 1,
        });
        let opened = scanned.and_then(|header| Ok((header, File::open(&path)?)));
        let (header, file) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.refuse(&path, &error),
        };
        if damaged > 0 {
            tracing::error!(
                file = %path.display(), damaged,
                "batches in the spool are damaged and passed over; the file is kept under another name when the others are uploaded"
            );
        }
        self.damaged += damaged;
        let epoch = self.epoch(header.id);
        epoch.newest = epoch.newest.max(header.next.saturating_sub(1));
        let live = found.len() as u64;
        for (sequence, place) in found {
            epoch.found(sequence, place);
        }
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let segment = Segment {
            path,
            file,
            size,
            live,
            damaged: damaged > 0,
        };
        self.disk.segments.insert(number, segment);
        for (id, sequence) in acknowledged {
            self.acknowledge(id, sequence);
        }
    }

    /// A file that cannot be read.
    fn refuse(&mut self, path: &Path, error: &SegmentError) {
        let file = path.display();
        if !matches!(error, SegmentError::Damaged) {
            tracing::error!(%file, %error, "a file of the spool is left alone");
            return;
        }
        if rename(path).is_ok() {
            self.set_aside += 1;
        }
    }

    /// The identity's batches, which become the newest: files come in their order.
    fn epoch(&mut self, id: u64) -> &mut Epoch {
        let at = match self.epochs.iter().position(|epoch| epoch.id == id) {
            Some(at) => at,
            None => {
                self.epochs.push(Epoch::new(id));
                self.epochs.len() - 1
            }
        };
        &mut self.epochs[at]
    }

    fn acknowledge(&mut self, id: u64, sequence: u64) {
        let Some(epoch) = self.epochs.iter_mut().find(|epoch| epoch.id == id) else {
            return;
        };
        epoch.newest = epoch.newest.max(sequence);
        while let Some(entry) = epoch
            .entries
            .pop_front_if(|entry| entry.sequence <= sequence)
        {
            if let Place::Disk(place) = entry.place {
                self.disk.release(place.segment);
            }
        }
    }

    /// Takes over the batches of the database that versions up to 0.1 had, and removes it.
    fn import(&mut self) {
        let file = legacy::spool_beside(&self.disk.folder);
        if !file.is_file() {
            return;
        }
        match self.copy(&file) {
            Ok(copied) => {
                tracing::info!(file = %file.display(), copied, "the spool was taken over into its new form");
            }
            Err(
                StoreError::Corrupt { .. }
                | StoreError::Foreign { .. }
                | StoreError::NoDatabase { .. },
            ) => {
                if rename(&file).is_ok() {
                    self.set_aside += 1;
                }
            }
            Err(error) => {
                let error = crate::error::describe(&error);
                tracing::error!(file = %file.display(), error, "the spool of an earlier version is left alone");
            }
        }
    }

    /// Copies what can be read; batches of a database that is damaged further on, too.
    fn copy(&mut self, file: &Path) -> Result<u64, StoreError> {
        let failed = |source: io::Error| StoreError::Unavailable {
            store: file.display().to_string(),
            source: source.into(),
        };
        let (mut id, mut places) = (None, Vec::new());
        let disk = &mut self.disk;
        let read = legacy::read_spool(file, |of, sequence, payload| {
            id = Some(of);
            let encoded = Encoded::new(payload);
            if let Place::Disk(place) = disk.append(of, sequence, &encoded).map_err(failed)? {
                places.push((sequence, place));
            }
            Ok(())
        });
        let is_damaged = matches!(read, Err(StoreError::Corrupt { .. }));
        let copied = match disk.sync().map_err(failed) {
            Ok(()) if read.is_ok() || is_damaged => places.len() as u64,
            result => {
                // The database stays: its batches must not be there twice.
                disk.current = None;
                for (_, place) in places {
                    disk.release(place.segment);
                }
                return Err(result.err().or(read.err()).unwrap_or(StoreError::Closed {
                    store: file.display().to_string(),
                }));
            }
        };
        let newest = read.as_ref().map_or(0, |(_, newest)| *newest);
        if let Some(id) = read.as_ref().map_or(id, |(id, _)| Some(*id)) {
            let epoch = self.epoch(id);
            epoch.newest = epoch.newest.max(newest);
            for (sequence, place) in places {
                epoch.found(sequence, place);
            }
        }
        read?;
        legacy::remove(file).map_err(failed)?;
        Ok(copied)
    }

    /// What is there can have been sent; identities without batches are done with, but for the newest.
    fn settle(&mut self) {
        let last = self.epochs.last().map(|epoch| epoch.id);
        self.epochs
            .retain(|epoch| !epoch.entries.is_empty() || Some(epoch.id) == last);
        for epoch in &mut self.epochs {
            epoch.reached = epoch.newest;
        }
        // Files of which nothing waits. The newest names the identity and its number: it goes when the next one is there.
        let newest = self.disk.segments.keys().next_back().copied();
        let done: Vec<_> = self
            .disk
            .segments
            .iter()
            .filter(|(number, segment)| segment.live == 0 && Some(**number) != newest)
            .map(|(number, _)| *number)
            .collect();
        for number in done {
            self.disk.remove_if_done(number);
        }
    }
}

fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_ours = path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
        let number = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse::<u64>().ok());
        numbers.extend(number.filter(|_| is_ours));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn lock(path: &Path, folder: &Path) -> Result<File, OpenError> {
    let unusable = |error: &io::Error| OpenError::Unusable(format!("{}: {error}", path.display()));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| unusable(&error))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PREDECESSOR => {
                std::thread::sleep(LOOK);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Busy(StoreError::Busy {
                    store: folder.display().to_string(),
                }));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&error)),
        }
    }
}

/// Gives a damaged file another name and says so, or that it cannot.
fn rename(path: &Path) -> io::Result<PathBuf> {
    rename_quietly(path).inspect_err(|error| {
        let file = path.display();
        tracing::error!(%file, %error, "a file of the spool is damaged and cannot be renamed");
    })
}

/// The same; the caller says that it cannot.
fn rename_quietly(path: &Path) -> io::Result<PathBuf> {
    quarantine::set_aside(path).inspect(|kept| {
        let (file, kept) = (path.display(), kept.display());
        tracing::error!(%file, %kept, "a file of the spool is damaged: it was renamed, the spool goes on without it");
    })
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
