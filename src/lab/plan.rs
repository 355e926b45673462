//! What to run: settings over a scenario file over defaults.

use std::net::{Ipv4Addr, SocketAddr};

use super::emulated::programs::Programs;
use crate::config::lab::{DEFAULT_DURATION, LONGEST_DURATION, LabSettings};
use crate::config::share::Share;
use crate::config::{ConfigError, HumanDuration};
use crate::error::describe;
use crate::fabric::scenario::Probing;
use crate::fabric::{Scenario, Shape};
use crate::fault::Fault;

/// A lab that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct LabPlan {
    /// Fabric, faults, duration and seed.
    pub scenario: Scenario,
    /// Where the dashboard listens.
    pub web: SocketAddr,
    /// Where the metrics of controller and agents are served, if wanted.
    pub metrics: Option<SocketAddr>,
    /// Share of the packets below which a loss is not reported.
    pub least_loss: Share,
    /// Whether the analyzer says what to probe more.
    pub focus: bool,
    /// Whether programs read what is printed.
    pub json: bool,
    /// The programs that hosts run where verbs drive their RNICs.
    pub emulated: Option<Programs>,
}

impl LabPlan {
    /// Checks settings and reads the scenario file that they name.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the key: a fabric that cannot be built, a fault that it cannot have, a file that
    /// cannot be read.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a plan is made of settings; who made it does not need them any more"
    )]
    pub fn new(settings: LabSettings) -> Result<Self, ConfigError> {
        let mut scenario = match &settings.scenario {
            Some(path) => Scenario::load(path)
                .map_err(|error| ConfigError::value("scenario", describe(&error)))?,
            None => Scenario {
                title: String::new(),
                seed: 0,
                duration: HumanDuration(DEFAULT_DURATION),
                faults: Vec::new(),
                outages: Vec::new(),
                services: Vec::new(),
                fabric: Shape::on(settings.rails.unwrap_or(1), settings.planes.unwrap_or(1)),
                probing: Probing::default(),
            },
        };
        set(&mut scenario.fabric.spines, settings.spines);
        set(&mut scenario.fabric.tors, settings.tors);
        set(&mut scenario.fabric.hosts, settings.hosts);
        let rnics = settings.rnics.and_then(|rnics| rnics.per_host);
        set(&mut scenario.fabric.rnics, rnics);
        set(&mut scenario.fabric.rails, settings.rails);
        set(&mut scenario.fabric.planes, settings.planes);
        set(&mut scenario.fabric.bonds, settings.bonds.then_some(true));
        set(&mut scenario.fabric.pods, settings.pods);
        set(&mut scenario.seed, settings.seed);
        set(&mut scenario.duration, settings.duration);
        // One spine can have no two planes.
        scenario.fabric.aggs = scenario.fabric.aggs.min(scenario.fabric.spines);
        scenario.faults.extend(parse_faults(&settings.faults)?);
        check(&scenario)?;
        let emulated = emulated(&settings, &scenario)?;
        Ok(Self {
            scenario,
            web: settings
                .web
                .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
            metrics: settings.metrics,
            least_loss: settings.least_loss,
            focus: settings.focus,
            json: settings.json,
            emulated,
        })
    }
}

/// What hosts run where verbs drive their RNICs.
fn emulated(settings: &LabSettings, scenario: &Scenario) -> Result<Option<Programs>, ConfigError> {
    if !settings.rnics.is_some_and(|rnics| rnics.emulated) {
        return Ok(None);
    }
    if !scenario.services.is_empty() {
        return Err(ConfigError::value(
            "scenario",
            "it has services, whose connections no program of an agent can see in the lab: leave `rnics` a number".to_owned(),
        ));
    }
    Programs::find(settings.rnic_library.as_deref())
        .map(Some)
        .map_err(|why| ConfigError::value("rnics", why))
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

fn parse_faults(texts: &[String]) -> Result<Vec<Fault>, ConfigError> {
    texts
        .iter()
        .filter(|text| !text.trim().is_empty())
        .map(|text| {
            text.parse()
                .map_err(|error| ConfigError::value("faults", format!("`{text}`: {error}")))
        })
        .collect()
}

fn check(scenario: &Scenario) -> Result<(), ConfigError> {
    scenario
        .fabric
        .check()
        .map_err(|error| ConfigError::value("fabric", error.to_string()))?;
    if scenario.duration.0 > LONGEST_DURATION {
        return Err(ConfigError::value(
            "duration",
            format!("{} is longer than 24h", scenario.duration),
        ));
    }
    if !scenario.outages.is_empty() {
        return Err(ConfigError::value(
            "scenario",
            "it has an `outage`: the lab's servers stay, only the tests' runs in virtual time stop them".to_owned(),
        ));
    }
    scenario
        .check()
        .map_err(|error| ConfigError::value("faults", describe(&error)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(settings: LabSettings) -> String {
        match LabPlan::new(settings) {
            Ok(plan) => panic!("{plan:?} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    fn with_fault(text: &str) -> LabSettings {
        LabSettings {
            faults: vec![text.to_owned()],
            ..LabSettings::default()
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let plan = LabPlan::new(LabSettings::default()).expect("the default lab");
        let fabric = plan.scenario.fabric;
        assert_eq!(
            (
                fabric.spines,
                fabric.tors,
                fabric.hosts,
                fabric.rnics,
                fabric.pods
            ),
            (4, 8, 8, 2, 0)
        );
        assert_eq!(plan.scenario.duration.0, Duration::from_mins(1));
        assert!(plan.web.ip().is_loopback() && !plan.json);
    }

    fn on(rails: Option<u32>, planes: Option<u32>) -> LabSettings {
        LabSettings {
            rails,
            planes,
            ..LabSettings::default()
        }
    }

    #[test]
    fn rails_and_planes_keep_the_number_of_rnics() {
        for (settings, expected) in [
            (on(Some(2), None), (4, 8, 2)),
            (on(Some(8), None), (4, 2, 8)),
            (on(None, Some(2)), (4, 8, 2)),
            (on(None, Some(8)), (8, 2, 8)),
            (on(Some(8), Some(2)), (4, 2, 8)),
        ] {
            let fabric = LabPlan::new(settings).expect("a lab").scenario.fabric;
            assert_eq!((fabric.spines, fabric.tors, fabric.rnics), expected);
            assert_eq!(fabric.tors * fabric.hosts * fabric.rnics, 128);
        }
    }

    #[test]
    fn what_rails_and_planes_cannot_be_is_said() {
        let with = |settings: LabSettings| refusal(settings);
        assert_eq!(
            with(LabSettings {
                rnics: Some(4.into()),
                ..on(Some(8), None)
            }),
            "fabric: 4 RNICs per host cannot be divided evenly among 8 rails"
        );
        assert_eq!(
            with(on(None, Some(3))),
            "fabric: 4 spines cannot be divided evenly among 3 planes"
        );
        assert_eq!(
            with(LabSettings {
                spines: Some(6),
                ..on(Some(8), Some(3))
            }),
            "fabric: 8 rails cannot be divided evenly among 3 planes"
        );
        assert_eq!(
            with(on(Some(0), None)),
            "fabric: rails: 0 is impossible, expected 1 to 16"
        );
        assert_eq!(
            with(on(None, Some(17))),
            "fabric: planes: 17 is impossible, expected 1 to 16"
        );
        assert_eq!(
            with(LabSettings {
                spines: Some(3),
                ..on(None, Some(2))
            }),
            "fabric: 3 spines cannot be divided evenly among 2 planes"
        );
    }

    #[test]
    fn the_command_line_comes_before_the_scenario() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.toml");
        std::fs::write(
            &path,
            "seed = 3\nfaults = [\"host host1 down\"]\n[fabric]\ntors = 4\nhosts = 1\n",
        )
        .expect("written");
        let plan = LabPlan::new(LabSettings {
            scenario: Some(path),
            hosts: Some(2),
            ..with_fault("switch spine1 down")
        })
        .expect("a lab");
        let scenario = plan.scenario;
        assert_eq!(
            (scenario.seed, scenario.fabric.tors, scenario.fabric.hosts),
            (3, 4, 2)
        );
        let faults: Vec<_> = scenario.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, ["host host1 down", "switch spine1 down"]);
    }

    #[test]
    fn refusals_name_the_key() {
        assert_eq!(
            refusal(with_fault("link spine1-tor9 down")),
            "faults: scenario: fault `link spine1-tor9 down`: no link is named `spine1-tor9`; did you mean \
             spine1-tor0 or spine1-tor1 or spine1-tor2?"
        );
        assert_eq!(
            refusal(with_fault("link spine1-tor3 loss=2")),
            "faults: `link spine1-tor3 loss=2`: `loss=2`: a share is at most 100%; write 5% or 0.05"
        );
        assert_eq!(
            refusal(LabSettings {
                tors: Some(0),
                ..LabSettings::default()
            }),
            "fabric: tors: 0 is impossible, expected 1 to 256"
        );
        assert_eq!(
            refusal(LabSettings {
                scenario: Some("none.toml".into()),
                ..LabSettings::default()
            }),
            "scenario: cannot read the scenario file none.toml: No such file or directory (os error 2)"
        );
    }
}
