//! What an ELF file needs to run: its interpreter and its libraries, read without running it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use object::elf;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Endianness, StringTable};

/// The names an ELF file refers to.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Absolute path of the dynamic loader.
    pub(crate) interpreter: Option<String>,
    /// Sonames of the libraries.
    pub(crate) libraries: Vec<String>,
}

/// Reads the needs of the file at `path`; a script or data file needs nothing.
pub(crate) fn needs(path: &Path) -> Result<Needs> {
    let data = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    if !data.starts_with(&elf::ELFMAG) {
        return Ok(Needs::default());
    }
    parse(&data).with_context(|| format!("read the dynamic section of {}", path.display()))
}

fn parse(data: &[u8]) -> object::Result<Needs> {
    let header = elf::FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, data)? {
        if let Some(name) = segment.interpreter(endian, data)? {
            needs.interpreter = Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    let sections = header.sections(endian, data)?;
    if let Some((entries, strings)) = sections.dynamic(endian, data)? {
        let strings: StringTable<'_> = sections.strings(endian, data, strings)?;
        for entry in entries {
            if entry.tag(endian) == elf::DT_NEEDED {
                let name = entry.string(endian, strings)?;
                needs
                    .libraries
                    .push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_names_its_loader_and_libraries() {
        let this = std::env::current_exe().expect("path of this test");
        let needs = needs(&this).expect("an ELF file");
        assert!(needs.interpreter.is_some());
        assert!(
            needs
                .libraries
                .iter()
                .any(|name| name.starts_with("libc.so"))
        );
    }

    #[test]
    fn a_script_needs_nothing() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let needs = needs(&manifest).expect("a text file");
        assert!(needs.interpreter.is_none() && needs.libraries.is_empty());
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let this = std::env::current_exe().expect("path of this test");
        let data = fs::read(this).expect("this test");
        assert!(parse(&data[..40]).is_err());
        assert!(parse(&data[..200]).is_err());
    }
}
