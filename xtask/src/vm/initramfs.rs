//! Writes a cpio archive in the "newc" format, the one the kernel unpacks (Documentation/driver-api/early-userspace).
//!
//! Uncompressed: under emulation the guest would spend more time unpacking than the host saves.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const PLAIN: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// An archive under construction. Parent folders appear by themselves; a path given twice keeps its first content.
pub(crate) struct Initramfs {
    out: BufWriter<File>,
    path: PathBuf,
    seen: BTreeSet<PathBuf>,
    written: u64,
}

impl Initramfs {
    /// Starts an archive in a new file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self {
            out: BufWriter::new(file),
            path: path.to_path_buf(),
            seen: BTreeSet::new(),
            written: 0,
        })
    }

    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.entry(path.as_ref(), FOLDER, &[])
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: impl AsRef<Path>, target: &str) -> Result<()> {
        self.entry(path.as_ref(), LINK, target.as_bytes())
    }

    /// Adds a file that is not executable.
    pub(crate) fn file(&mut self, path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        self.entry(path.as_ref(), PLAIN, content)
    }

    /// Adds an executable file.
    pub(crate) fn program(&mut self, path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        self.entry(path.as_ref(), PROGRAM, content)
    }

    /// Adds what the file `source` of the host holds, links followed, as an executable.
    pub(crate) fn copy(&mut self, path: impl AsRef<Path>, source: &Path) -> Result<()> {
        let content = fs::read(source).with_context(|| format!("read {}", source.display()))?;
        self.program(path, &content)
    }

    /// Writes the end of the archive and returns its size in bytes.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.header_and_body("TRAILER!!!", 0, &[])
            .and_then(|()| self.out.flush())
            .with_context(|| format!("write {}", self.path.display()))?;
        Ok(self.written)
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let path = path.strip_prefix("/").unwrap_or(path);
        if self.seen.contains(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
            self.entry(parent, FOLDER, &[])?;
        }
        self.seen.insert(path.to_path_buf());
        self.header_and_body(&path.to_string_lossy(), mode, content)
            .with_context(|| format!("write {}", self.path.display()))
    }

    fn header_and_body(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::other("a file of the initramfs exceeds 4 GiB");
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        let inode = u32::try_from(self.seen.len()).map_err(too_large)?;
        let links = 1 + u32::from(mode == FOLDER);
        let mut header = String::from("070701");
        for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
            use std::fmt::Write as _;
            let _ = write!(header, "{field:08x}");
        }
        self.bytes(header.as_bytes())?;
        self.bytes(name.as_bytes())?;
        self.bytes(&[0])?;
        self.pad()?;
        self.bytes(content)?;
        self.pad()
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.wrapping_neg() % 4;
        self.bytes(&[0; 4][..usize::try_from(missing).unwrap_or_default()])
    }
}
