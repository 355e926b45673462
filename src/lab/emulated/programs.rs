//! Where the agent's program and the library that emulates RNICs are.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX, EXE_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};

/// The library's name; cargo builds it with the tests, and into `target/debug` with the workspace.
const LIBRARY: &str = "emulated_rnic";

/// What the hosts of the lab are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `rpingmesh-agent`
    pub(super) agent: PathBuf,
    /// A libibverbs.so.1 that emulates RNICs.
    pub(super) library: PathBuf,
}

impl Programs {
    /// Looks beside the running program; `library` names the library where it is elsewhere.
    ///
    /// # Errors
    /// What is missing, and what to do.
    pub fn find(library: Option<&Path>) -> Result<Self, String> {
        if std::env::consts::OS != "linux" {
            return Err("RNICs that verbs drive are emulated on Linux only".to_owned());
        }
        let own = std::env::current_exe()
            .map_err(|error| format!("the running program cannot be found: {error}"))?;
        Self::beside(&own, library)
    }

    fn beside(own: &Path, library: Option<&Path>) -> Result<Self, String> {
        let folder = own.parent().unwrap_or(own);
        let above = folder.parent().unwrap_or(folder);
        let agent = format!("rpingmesh-agent{EXE_SUFFIX}");
        let agent = newest([folder.join(&agent), above.join(&agent)])
            .ok_or_else(|| format!("there is no {agent} beside {}", own.display()))?;
        let name = format!("{DLL_PREFIX}{LIBRARY}{DLL_SUFFIX}");
        let library = match library {
            Some(path) if path.is_file() => path.to_owned(),
            Some(path) => return Err(format!("there is no library {}", path.display())),
            None => newest([folder.join(&name), folder.join("deps").join(&name), above.join(&name)])
                .ok_or_else(|| {
                    format!(
                        "there is no {name} beside {}: build it in a checkout with `cargo build --package emulated-rnic`, and name it \
                         in `rnic_library`",
                        own.display()
                    )
                })?,
        };
        Ok(Self { agent, library })
    }
}

/// The file that was written last: cargo keeps the library in two places.
fn newest<const N: usize>(paths: [PathBuf; N]) -> Option<PathBuf> {
    paths
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_found_beside_the_program_or_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        fs::create_dir(place("deps")).expect("a folder");
        let own = place("rpingmesh");
        let find = |library: Option<&Path>| Programs::beside(&own, library);
        assert!(
            find(None)
                .expect_err("no agent")
                .contains("there is no rpingmesh-agent")
        );
        let agent = place(&format!("rpingmesh-agent{EXE_SUFFIX}"));
        fs::write(&agent, "").expect("written");
        let error = find(None).expect_err("no library");
        assert!(
            error.contains("cargo build --package emulated-rnic"),
            "{error}"
        );
        let library = place("deps").join(format!("{DLL_PREFIX}{LIBRARY}{DLL_SUFFIX}"));
        fs::write(&library, "").expect("written");
        let found = find(None).expect("both");
        assert_eq!((&found.agent, &found.library), (&agent, &library));
        // A test's own program is one folder further down.
        let test = place("deps").join("it-1");
        assert_eq!(Programs::beside(&test, None), Ok(found));
        let named = place("other.so");
        assert!(
            find(Some(&named))
                .expect_err("no such file")
                .contains("other.so")
        );
        fs::write(&named, "").expect("written");
        assert_eq!(find(Some(&named)).expect("named").library, named);
    }
}
