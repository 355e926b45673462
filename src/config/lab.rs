//! Settings of `rpingmesh lab`.

mod rnics;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::settings;
use super::share::Share;
use super::{HumanDuration, LogSettings};

pub use rnics::LabRnics;

/// How long the lab runs by default.
pub const DEFAULT_DURATION: Duration = Duration::from_mins(1);

/// The longest run: the lab keeps ground truth and observations of every path in memory.
pub const LONGEST_DURATION: Duration = Duration::from_hours(24);

settings! {
    /// What the lab can be told. What is absent is as the scenario has it, else as the help says.
    LabSettings {
        /// Spine switches [default: 4]
        spines: Option<u32>, value("S");
        /// ToR switches, over all pods; with rails or planes leaves of each of them [default: 8, or fewer where hosts have more
        /// than two RNICs on rails or planes, but at least 2]
        tors: Option<u32>, value("T");
        /// Hosts under each ToR [default: 8]
        hosts: Option<u32>, value("H");
        /// RNICs of each host; `emulated`, or `emulated:N`, has programs of the agent drive them by verbs, with hardware clocks that
        /// drift (Linux, in a checkout); paths are not traced then [default: 2, or one on each rail or plane]
        rnics: Option<LabRnics>, value("N");
        /// The library that emulates RNICs for `rnics`, a libibverbs.so.1 [default: libemulated_rnic.so beside the program]
        rnic_library: Option<PathBuf>, value("FILE");
        /// Rails: RNIC i of each host is cabled to a leaf of rail i, `leaf<group>-r<rail>`; all leaves meet at the spines; 1 for
        /// none [default: 1]
        rails: Option<u32>, value("R");
        /// Planes: disjoint sets of spines that no path connects; rail r is in plane r mod P, without rails RNIC i is under
        /// `leaf<group>-p<i mod P>`; 1 for none [default: 1]
        planes: Option<u32>, value("P");
        /// Each RNIC is a bond with two leaves, whose names end in `a` and `b`
        bonds: bool = false;
        /// Pods with aggregation switches `agg<pod>-<n>` between ToRs and spines; 0 for none [default: 0]
        pods: Option<u32>, value("N");
        /// A fault to inject, such as 'link spine1-tor3 loss=1% at=10s for=60s'; may be repeated [default: none]
        faults: Vec<String>, flag("fault"), value("SPEC"), separator(';');
        /// A TOML file with a fabric and faults; what is given beside it comes first [default: none]
        scenario: Option<PathBuf>, value("FILE");
        /// How long to run [default: 1m]
        duration: Option<HumanDuration>, value("D");
        /// For everything that is random in the fabric [default: 0]
        seed: Option<u64>, value("N");
        /// Links, switches and RNICs that lose a smaller share of their packets are not reported
        least_loss: Share = Share(0.0), value("RATE");
        /// Let the analyzer have the 5-tuples that tell most about its suspects probed more, instead of all at one rate
        focus: bool = false;
        /// Where the dashboard listens while the lab runs [default: a free port of 127.0.0.1]
        web: Option<SocketAddr>, value("ADDR");
        /// Where the metrics of controller and agents are: /controller/metrics, /agents/HOST/metrics [default: none]
        metrics: Option<SocketAddr>, value("ADDR");
        /// Print one JSON object per line, the last being the summary
        json: bool = false;
        [log]: LogSettings = quiet();
    }
}

/// The roles say much at `info` that is of interest in a cluster and not in a lab.
fn quiet() -> LogSettings {
    LogSettings {
        level: "warn".to_owned(),
        ..LogSettings::default()
    }
}
