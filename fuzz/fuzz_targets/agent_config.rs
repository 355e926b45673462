//! Any text as the agent's configuration file: an error or settings that validate or say why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpingmesh::config::agent::AgentSettings;

fuzz_target!(|text: &str| {
    if let Ok(settings) = toml::from_str::<AgentSettings>(text) {
        let _ = settings.validate();
    }
});
