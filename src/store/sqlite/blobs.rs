//! Bytes of batches beside the database: files that are appended to, so that each byte is written once and not first to the
//! database's log and then to its pages.
//!
//! The database says where a batch is ([`BlobPlace`]). Bytes are forced to the disk before the row that names them is committed; bytes
//! that no row names are left over from a failure and nobody reads them. A file is deleted when the database names nothing in
//! it any more.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::store::packing::LONGEST;

/// A file is closed when it is this large, in bytes.
const FULL: u64 = 32 << 20;
const EXTENSION: &str = "log";

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobPlace {
    /// Number of the file.
    pub(super) file: i64,
    pub(super) offset: i64,
    pub(super) length: i64,
    /// CRC-32 of the bytes.
    pub(super) checksum: u32,
}

/// The files of one database.
#[derive(Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
    /// The file that is appended to, with its number and size.
    current: Option<(i64, File, u64)>,
    next: i64,
    /// Open for reading.
    open: BTreeMap<i64, File>,
}

impl Blobs {
    /// Beside the database `file`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(file: &Path) -> io::Result<Self> {
        let mut folder = file.as_os_str().to_owned();
        folder.push(".batches");
        let folder = PathBuf::from(folder);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let next = numbers(&folder)?.last().map_or(1, |number| number + 1);
        Ok(Self {
            folder,
            current: None,
            next,
            open: BTreeMap::new(),
        })
    }

    fn path(&self, number: i64) -> PathBuf {
        self.folder.join(format!("{number:010}.{EXTENSION}"))
    }

    /// Appends and forces to the disk; all or nothing as far as the places that are given are concerned.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn append(&mut self, blobs: &[Vec<u8>]) -> io::Result<Vec<BlobPlace>> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        let appended = self.try_append(blobs);
        if let (Err(_), Some((_, file, size))) = (&appended, &self.current)
            && file.set_len(*size).is_err()
        {
            // What was written in part is never continued.
            self.current = None;
        }
        appended
    }

    fn try_append(&mut self, blobs: &[Vec<u8>]) -> io::Result<Vec<BlobPlace>> {
        let (number, file, size) = match &mut self.current {
            Some(current) if current.2 < FULL => current,
            current => {
                let number = self.next;
                let path = self.folder.join(format!("{number:010}.{EXTENSION}"));
                let file = OpenOptions::new()
                    .append(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)?;
                self.next += 1;
                current.insert((number, file, 0))
            }
        };
        let mut places = Vec::with_capacity(blobs.len());
        let mut all = Vec::with_capacity(blobs.iter().map(Vec::len).sum());
        for blob in blobs {
            places.push(BlobPlace {
                file: *number,
                offset: i64::try_from(*size + all.len() as u64).unwrap_or(i64::MAX),
                length: i64::try_from(blob.len()).unwrap_or(i64::MAX),
                checksum: crc32fast::hash(blob),
            });
            all.extend_from_slice(blob);
        }
        file.write_all(&all)?;
        file.sync_data()?;
        *size += all.len() as u64;
        Ok(places)
    }

    /// Reads bytes back.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` where they are not those that were written.
    pub(super) fn read(&mut self, place: BlobPlace) -> io::Result<Vec<u8>> {
        let path = self.path(place.file);
        let file = match self.open.entry(place.file) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(File::open(path)?),
        };
        let length = usize::try_from(place.length)
            .ok()
            .filter(|length| *length <= 2 * LONGEST)
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, place.offset.cast_unsigned())?;
        if crc32fast::hash(&bytes) != place.checksum {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes)
    }

    /// Deletes the files before `oldest`, the first that is still needed; `None` where nothing is.
    pub(super) fn prune(&mut self, oldest: Option<i64>) {
        let current = self.current.as_ref().map(|(number, ..)| *number);
        let first = oldest.or(current).unwrap_or(self.next);
        for number in numbers(&self.folder).unwrap_or_default() {
            if number < first && Some(number) != current {
                self.open.remove(&number);
                // It is tried again with the next call.
                let _ = std::fs::remove_file(self.path(number));
            }
        }
    }
}

fn numbers(folder: &Path) -> io::Result<Vec<i64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
        {
            let name = path.file_stem().and_then(|name| name.to_str());
            numbers.extend(name.and_then(|name| name.parse::<i64>().ok()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
