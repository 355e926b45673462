//! What each fuzz target does with an input: a program of `fuzz_targets` hands it over from libFuzzer. `tests/it/fuzz_seeds.rs` has
//! these modules, too, and gives them inputs that are bent at random.

pub mod agent_config;
pub mod btf;
pub mod events;
pub mod fault;
pub mod ids;
pub mod lldp;
pub mod localize;
pub mod netlink;
pub mod pods;
pub mod registry;
pub mod relay;
pub mod roce_packet;
pub mod rule;
pub mod scenario;
pub mod server_config;
pub mod session;
pub mod topology_import;
pub mod upload;
pub mod wire;
pub mod wiring;
