//! Where a table is written to.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use rpingmesh::config::program::Failure;

/// A file that is written beside the one that is wanted, and takes its place when it is whole; else it is deleted.
#[derive(Debug)]
pub(super) struct Beside {
    file: PathBuf,
    wanted: PathBuf,
    is_whole: bool,
}

impl Beside {
    /// The file is whole.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub(super) fn take_its_place(mut self) -> Result<(), Failure> {
        std::fs::rename(&self.file, &self.wanted).map_err(Failure::run)?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_whole {
            // What remains is a file that says by its name that it is not whole.
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

/// Opens what is written to: standard output, a device or pipe, or a file beside the one that is wanted.
///
/// # Errors
/// It cannot be written.
pub(super) fn open(
    output: Option<&std::path::Path>,
) -> Result<(Box<dyn Write>, Option<Beside>), Failure> {
    let Some(wanted) = output else {
        return Ok((Box::new(io::stdout().lock()), None));
    };
    // A link stays, and the file that it leads to is replaced.
    let wanted = wanted.canonicalize().unwrap_or_else(|_| wanted.to_owned());
    let is_special = wanted.metadata().is_ok_and(|found| !found.is_file());
    let file = if is_special {
        wanted.clone()
    } else {
        let mut name = wanted.clone().into_os_string();
        name.push(format!(".{}.part", std::process::id()));
        name.into()
    };
    let opened = File::create(&file)
        .map_err(|error| Failure::run(format!("{}: cannot be written: {error}", file.display())))?;
    let beside = Beside {
        file,
        wanted,
        is_whole: false,
    };
    let beside = (!is_special).then_some(beside);
    Ok((Box::new(BufWriter::new(opened)), beside))
}
