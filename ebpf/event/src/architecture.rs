//! The processor that an eBPF object is built for.
//!
//! eBPF instructions are the same for all processors, but a kprobe reads its arguments at the offsets of the
//! processor's `struct pt_regs`. The kernel would load an object for another processor, and the programs would read
//! wrong values. So the programs have a section with the processor's name:
//!
//! ```text
//!   section "rpingmesh_arch": 16 bytes, the name in ASCII ("x86_64", "aarch64"), then zeros
//! ```
//!
//! The agent's build script and its loader read it with [`check`].

use core::fmt;

/// The section of the object that holds the mark.
pub const SECTION: &str = "rpingmesh_arch";

/// Bytes of the mark.
pub const MARK_SIZE: usize = 16;

/// The mark for a processor.
///
/// # Panics
/// When the name does not fit; so it does while the programs are compiled.
pub const fn mark(architecture: &str) -> [u8; MARK_SIZE] {
    let name = architecture.as_bytes();
    assert!(
        !name.is_empty() && name.len() < MARK_SIZE,
        "a name of 1 to 15 bytes"
    );
    let mut mark = [0; MARK_SIZE];
    let mut at = 0;
    while at < name.len() {
        mark[at] = name[at];
        at += 1;
    }
    mark
}

/// Why an object is not for a processor. The text continues the name of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit<'a> {
    /// No ELF file for eBPF, little endian: a program or an object of the host.
    NotEbpf,
    /// An ELF file that ends too early or contradicts itself.
    Damaged,
    /// No mark: built before objects had one.
    Unmarked,
    /// For another processor.
    Other {
        /// The processor in the mark.
        found: &'a str,
        /// The processor that was asked for.
        wanted: &'a str,
    },
}

impl fmt::Display for Unfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEbpf => f.write_str("is not an eBPF object for little-endian kernels"),
            Self::Damaged => f.write_str("is damaged: it ends too early or contradicts itself"),
            Self::Unmarked => write!(
                f,
                "does not say for which processor it is (no section {SECTION}): it was built before objects had that mark"
            ),
            Self::Other { found, wanted } => {
                write!(f, "is for {found}, and {wanted} is wanted")
            }
        }
    }
}

impl core::error::Error for Unfit<'_> {}

/// Whether an object is for the kernels of a processor, named as Rust names it (`x86_64`, `aarch64`).
///
/// # Errors
/// [`Unfit`] when it is not, or does not say so.
pub fn check<'a>(object: &'a [u8], wanted: &'a str) -> Result<(), Unfit<'a>> {
    let found = of(object)?;
    if found == wanted {
        Ok(())
    } else {
        Err(Unfit::Other { found, wanted })
    }
}

/// The processor in an object's mark.
///
/// # Errors
/// [`Unfit`] when there is none.
pub fn of(object: &[u8]) -> Result<&str, Unfit<'_>> {
    /// `e_machine` of eBPF.
    const EM_BPF: u16 = 247;
    let is_elf = object.starts_with(b"\x7fELF\x02\x01");
    if !is_elf || u16_at(object, 18) != Some(EM_BPF) {
        return Err(Unfit::NotEbpf);
    }
    let sections = Sections::of(object).ok_or(Unfit::Damaged)?;
    for index in 0..sections.count {
        let section = sections.get(index).ok_or(Unfit::Damaged)?;
        if sections.name(section).ok_or(Unfit::Damaged)? == SECTION.as_bytes() {
            return read(sections.content(section).ok_or(Unfit::Damaged)?);
        }
    }
    Err(Unfit::Unmarked)
}

/// The name in a mark: printable, so that a message can repeat it.
fn read(mark: &[u8]) -> Result<&str, Unfit<'_>> {
    let end = mark.iter().position(|&byte| byte == 0);
    let name = mark.get(..end.unwrap_or(mark.len())).unwrap_or_default();
    let is_a_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    if mark.len() != MARK_SIZE || !is_a_name {
        return Err(Unfit::Damaged);
    }
    core::str::from_utf8(name).map_err(|_| Unfit::Damaged)
}

/// The section headers of a 64-bit little-endian ELF file (`Elf64_Ehdr` and `Elf64_Shdr` of elf(5)).
struct Sections<'a> {
    file: &'a [u8],
    /// Where the table is.
    table: usize,
    /// Bytes of an entry.
    entry: usize,
    count: usize,
    /// The section with the sections' names.
    names: usize,
}

impl<'a> Sections<'a> {
    fn of(file: &'a [u8]) -> Option<Self> {
        Some(Self {
            file,
            table: size_at(file, 40)?,
            entry: usize::from(u16_at(file, 58)?),
            count: usize::from(u16_at(file, 60)?),
            names: usize::from(u16_at(file, 62)?),
        })
    }

    fn get(&self, index: usize) -> Option<&'a [u8]> {
        let at = self.table.checked_add(index.checked_mul(self.entry)?)?;
        self.file.get(at..)?.get(..self.entry)
    }

    fn content(&self, section: &[u8]) -> Option<&'a [u8]> {
        let (at, size) = (size_at(section, 24)?, size_at(section, 32)?);
        self.file.get(at..)?.get(..size)
    }

    fn name(&self, section: &[u8]) -> Option<&'a [u8]> {
        let names = self.content(self.get(self.names)?)?;
        let at = usize::try_from(u32::from_le_bytes(super::field(section, 0)?)).ok()?;
        names.get(at..)?.split(|&byte| byte == 0).next()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    super::field(bytes, at).map(u16::from_le_bytes)
}

fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(super::field(bytes, at)?)).ok()
}

#[cfg(test)]
mod tests;
