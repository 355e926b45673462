//! Why an export ends.

use std::io;

use rpingmesh::config::ConfigError;
use rpingmesh::config::program::Failure;

/// Why nothing more is written.
#[derive(Debug)]
pub(super) enum Ended {
    /// The reader has gone, such as `head`: no failure.
    NoReader,
    Failed(Failure),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::NoReader
        } else {
            Self::Failed(Failure::run(error))
        }
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ConfigError> for Ended {
    fn from(error: ConfigError) -> Self {
        Self::Failed(error.into())
    }
}
