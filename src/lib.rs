//! rpingmesh: an open implementation of R-Pingmesh (Liu et al., SIGCOMM 2024).
//!
//! The modules form floors. A module may use the floors above its own in this list and modules of its own floor's
//! family, never what stands below; the test `architecture` enforces it.
//!
//! 1. values: [`id`], [`error`], [`time`], [`wire`], [`measure`], [`topology`], [`fault`]
//! 2. logic without I/O, `now` passed in: [`probe`], [`pinglist`], [`service`], [`analysis`], [`cluster_key`]
//! 3. edges: [`transport`], [`hardware`], [`path_trace`], [`net`], [`rpc`], [`api`], [`store`], [`telemetry`], [`config`],
//!    [`supervisor`], [`events`]
//! 4. [`fabric`]: the emulated Clos fabric
//! 5. roles: agent, [`controller`], analyzer, lab
//! 6. binaries, in `src/bin`

pub mod agent;
pub mod analysis;
pub mod analyzer;
pub mod api;
pub mod cluster_key;
pub mod config;
pub mod controller;
pub mod error;
pub mod events;
pub mod fabric;
pub mod fault;
pub mod hardware;
pub mod id;
pub mod lab;
pub mod measure;
pub mod net;
pub mod path_trace;
pub mod pinglist;
pub mod probe;
pub mod rpc;
pub mod service;
pub mod store;
pub(crate) mod supervisor;
pub mod telemetry;
pub mod time;
pub mod topology;
pub mod transport;
pub mod wire;
