//! Hardware counters of RNIC ports, as the kernel shows them in `/sys/class/infiniband`.
//!
//! ```text
//! DEVICE/ports/PORT/counters/NAME       the counters of the InfiniBand specification
//! DEVICE/ports/PORT/hw_counters/NAME    those of the driver
//! ```
//!
//! Each file holds one decimal number. Which files there are differs between drivers, firmware and kernels, and they come
//! and go with the device: what cannot be read is left out, and read again the next time. On a system without the folder
//! there are no ports.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::analysis::hardware::CounterName;
use crate::transport::RnicName;

/// Where the kernel has them.
pub const SYSFS: &str = "/sys/class/infiniband";
/// Counters of one port that are read, in the order of their names; drivers have up to about a hundred.
pub(crate) const MOST_PER_PORT: usize = 160;
/// A number of 64 bits and its line end.
const MOST_BYTES: u64 = 32;
/// Files in these folders that are settings.
const SETTINGS: [&str; 1] = ["lifespan"];

/// The counters of one port.
pub type Counters = BTreeMap<CounterName, u64>;
/// The counters of all ports.
pub type Ports = BTreeMap<RnicName, Counters>;

/// Where counters come from: the kernel, or an emulated RNIC. May block.
pub trait Source: Send + Sync {
    /// What the port has counted; empty if the port is not there or counts nothing.
    fn read(&self, name: &RnicName) -> Counters;
}

/// Reads counters below one folder.
#[derive(Debug, Clone)]
pub struct Reader {
    root: PathBuf,
}

impl Reader {
    /// For the kernel's folder, or another in tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Source for Reader {
    fn read(&self, name: &RnicName) -> Counters {
        let device = name.device.as_str();
        // A name is one component of the path.
        if device.is_empty() || device.contains('/') || device.starts_with('.') {
            return Counters::new();
        }
        let port = self
            .root
            .join(device)
            .join("ports")
            .join(name.port.to_string());
        let mut counters = Counters::new();
        for folder in ["counters", "hw_counters"] {
            read_folder(&port.join(folder), &mut counters);
        }
        counters
    }
}

fn read_folder(folder: &Path, counters: &mut Counters) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| CounterName::new(entry.ok()?.file_name().to_str()?))
        .filter(|name| !SETTINGS.contains(&name.as_str()))
        .collect();
    names.sort();
    for name in names {
        if counters.len() >= MOST_PER_PORT {
            return;
        }
        if let Some(value) = read_number(&folder.join(name.as_str())) {
            counters.insert(name, value);
        }
    }
}

/// The number in a file; `None` if there is none (some counters say `N/A (no PMA)`, some are not allowed).
fn read_number(file: &Path) -> Option<u64> {
    let mut text = String::new();
    fs::File::open(file)
        .ok()?
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests;
