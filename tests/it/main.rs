//! Integration tests: one binary, one module per subject.

mod agent;
mod agent_cli;
mod analyzer;
mod api;
mod architecture;
mod bad_input;
mod browser;
mod controller;
mod controller_program;
mod damaged;
mod dashboard;
mod disk;
mod documents;
#[cfg(target_os = "linux")]
mod emulated;
mod explained;
mod external;
mod lab;
mod localize;
mod located;
mod manual;
mod metrics;
mod netns;
mod operator;
mod outages;
mod plan;
mod readme;
mod restarts;
mod scenarios;
mod services;
mod storm;
mod support;
mod tls;
mod topology_files;
mod truth_table;
mod userspace;
