//! Any text as the configuration file of the controller, of the analyzer and of the lab: an error or settings that validate
//! or say why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::config::controller::ControllerSettings;
use rpingmesh::config::lab::LabSettings;
use rpingmesh::lab::plan::LabPlan;

fuzz_target!(|text: &str| {
    if let Ok(settings) = toml::from_str::<ControllerSettings>(text) {
        let _ = settings.validate();
    }
    if let Ok(settings) = toml::from_str::<AnalyzerSettings>(text) {
        let _ = settings.validate();
    }
    if let Ok(settings) = toml::from_str::<LabSettings>(text) {
        let _ = LabPlan::new(settings);
    }
});
