//! Any text as the agent's configuration file: an error or settings that validate or say why not.

use rpingmesh::config::agent::AgentSettings;

/// Takes one input.
pub fn run(text: &str) {
    if let Ok(settings) = toml::from_str::<AgentSettings>(text) {
        let _ = settings.validate();
    }
}
