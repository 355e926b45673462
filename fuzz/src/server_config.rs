//! Any text as the configuration file of the controller, of the analyzer and of the lab: an error or settings that validate
//! or say why not.

use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::config::controller::ControllerSettings;
use rpingmesh::config::lab::LabSettings;
use rpingmesh::lab::plan::LabPlan;

/// Takes one input.
pub fn run(text: &str) {
    if let Ok(settings) = toml::from_str::<ControllerSettings>(text) {
        let _ = settings.validate();
    }
    if let Ok(settings) = toml::from_str::<AnalyzerSettings>(text) {
        let _ = settings.validate();
    }
    if let Ok(settings) = toml::from_str::<LabSettings>(text) {
        let _ = LabPlan::new(settings);
    }
}
