//! What the tracer does not see on kernels that lack one of the functions that it follows.

use std::fmt;

use serde::Serialize;

/// What is not seen where the kernel lacks one of the functions that are followed. Modifications by programs must be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// That a queue pair is created.
    Creations,
    /// That a queue pair is destroyed: queue pairs are listed again and again.
    Destructions,
    /// The GIDs of connections from before the tracer.
    EarlierGids,
    /// Connections of kernel modules.
    KernelModules,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creations => "a queue pair is seen when it is first modified",
            Self::Destructions => "the end of a connection is seen when queue pairs are listed",
            Self::EarlierGids => "connections from before have no GIDs",
            Self::KernelModules => "connections of kernel modules (NVMe-oF, iSER) are not followed",
        })
    }
}
