//! The checker checked: each change that must be found is made to a copy, and the message has to name it.

use std::time::Instant;

use anyhow::{Result, anyhow, ensure};

use super::checkout::Checkout;
use super::modules::{self, Programs};
use super::nix::Nix;
use super::{lock, outputs, report, scripts, style};
use crate::cache::Cache;

/// A mistake.
struct Mutation {
    /// What is wrong.
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// What the message has to contain.
    named: &'static str,
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        what: "a package that does not exist",
        file: "nix/packages/dev-shell.nix",
        from: "  cargo-insta,\n",
        to: "  cargo-insta,\n  cargo-instant,\n",
        named: "cargo-instant",
    },
    Mutation {
        what: "an attribute that the scope does not have",
        file: "nix/packages/default.nix",
        from: "default = scope.all;",
        to: "default = scope.everything;",
        named: "everything",
    },
    Mutation {
        what: "a function that lib does not have",
        file: "nix/modules/agent.nix",
        from: "config = lib.mkIf cfg.enable",
        to: "config = lib.mkIff cfg.enable",
        named: "mkIff",
    },
    Mutation {
        what: "a misspelt argument of crane",
        file: "nix/packages/checks.nix",
        from: "cargoClippyExtraArgs = ",
        to: "cargoClippyExtraArg = ",
        named: "cargoClippyExtraArg ",
    },
    Mutation {
        what: "a misspelt argument of runNixOSTest",
        file: "nix/tests/modules.nix",
        from: "globalTimeout = 900;",
        to: "globalTimeOut = 900;",
        named: "globalTimeOut",
    },
    Mutation {
        what: "a misspelt option of NixOS",
        file: "nix/modules/agent.nix",
        from: "boot.kernelModules",
        to: "boot.kernelModule",
        named: "boot.kernelModule ",
    },
    Mutation {
        what: "an option of NixOS with a value of the wrong type",
        file: "nix/tests/modules.nix",
        from: "virtualisation.memorySize = 1024;",
        to: "virtualisation.memorySize = \"1G\";",
        named: "virtualisation.memorySize",
    },
    Mutation {
        what: "a misspelt option of our own module",
        file: "nix/tests/modules.nix",
        from: "      services.rpingmesh.agent = {\n        enable = true;\n        openFirewall = true;",
        to: "      services.rpingmesh.agent = {\n        enable = true;\n        openFireWall = true;",
        named: "services.rpingmesh.agent.openFireWall",
    },
    Mutation {
        what: "a setting that its type refuses",
        file: "nix/check/samples.nix",
        from: "transport = \"userspace\";",
        to: "transport = \"rdma\";",
        named: "services.rpingmesh.agent.settings.transport",
    },
    Mutation {
        what: "a setting that check-config refuses",
        file: "nix/check/samples.nix",
        from: "probe_timeout = \"500ms\";",
        to: "probe_timeout = \"2m\";",
        named: "probe_timeout",
    },
    Mutation {
        what: "an option whose key the program does not know",
        file: "nix/modules/agent.nix",
        from: "host = key types.str",
        to: "hostname = key types.str",
        named: "services.rpingmesh.agent.settings.hostname",
    },
    Mutation {
        what: "a key of a program without an option",
        file: "docs/config/agent.toml",
        from: "#host = \"host-a\"\n",
        to: "#host = \"host-a\"\n#rack = \"r1\"\n",
        named: "rack of docs/config/agent.toml has no option",
    },
    Mutation {
        what: "an option that no sample sets",
        file: "nix/check/samples.nix",
        from: "    queue_pairs = 8;\n",
        to: "    # No queue pairs.\n",
        named: "services.rpingmesh.agent.settings.queue_pairs: no sample",
    },
    Mutation {
        what: "a misspelt directive of a unit",
        file: "nix/modules/role.nix",
        from: "ProtectHome = true;",
        to: "ProtectHone = true;",
        named: "ProtectHone",
    },
    Mutation {
        what: "a unit that is confined otherwise than the packaged one",
        file: "packaging/systemd/rpingmesh-controller.service",
        from: "ProtectSystem=strict",
        to: "ProtectSystem=full",
        named: "ProtectSystem",
    },
    Mutation {
        what: "a refusal that does not come",
        file: "nix/check/samples.nix",
        from: "probe_timeout = \"5h\";",
        to: "probe_timeout = \"5s\";",
        named: "accepts what it should refuse because of `probe_timeout`",
    },
    Mutation {
        what: "a hash edited by hand",
        file: "flake.lock",
        from: "sha256-MPaRdVkf6zZP5fCPxYCi8Dr4pZzgmXzg8T9nVEbp3Mw=",
        to: "sha256-AAAAdVkf6zZP5fCPxYCi8Dr4pZzgmXzg8T9nVEbp3Mw=",
        named: "node crane: locked: narHash",
    },
    Mutation {
        what: "a revision edited by hand",
        file: "flake.lock",
        from: "\"rev\": \"21a67dc470149f337cecafbe965d8d252a390518\"",
        to: "\"rev\": \"31a67dc470149f337cecafbe965d8d252a390518\"",
        named: "node nixpkgs: locked: rev",
    },
    Mutation {
        what: "an input that is not locked",
        file: "flake.nix",
        from: "    crane.url = \"github:ipetkov/crane\";\n",
        to: "    crane.url = \"github:ipetkov/crane\";\n    systems.url = \"github:nix-systems/default\";\n",
        named: "systems",
    },
    Mutation {
        what: "a source file that does not exist",
        file: "nix/sources.nix",
        from: "    ../proto\n",
        to: "    ../protos\n",
        named: "protos",
    },
    Mutation {
        what: "a program without a package in a scenario",
        file: "tests/vm/boot/scenario.toml",
        from: "\"ibv_devinfo\"",
        to: "\"ibv_deviceinfo\"",
        named: "ibv_deviceinfo",
    },
    Mutation {
        what: "a script that is no Python",
        file: "nix/tests/modules.nix",
        from: "for host in [alpha, beta]:\n        host.wait_for_unit(\"rxe.service\")",
        to: "for host in [alpha, beta]\n        host.wait_for_unit(\"rxe.service\")",
        named: "SyntaxError",
    },
    Mutation {
        what: "a machine that the test does not have",
        file: "nix/tests/modules.nix",
        from: "monitor.wait_for_unit(",
        to: "control.wait_for_unit(",
        named: "control",
    },
    Mutation {
        what: "wrong format",
        file: "flake.nix",
        from: "  inputs = {",
        to: "  inputs =   {",
        named: "flake.nix",
    },
    Mutation {
        what: "an unused name",
        file: "nix/packages/image.nix",
        from: "  dockerTools,\n",
        to: "  dockerTools,\n  jq,\n",
        named: "jq",
    },
];

/// Runs all and returns whether each was found.
pub(crate) fn run(cache: &Cache, nix: &Nix, programs: &Programs) -> Result<bool> {
    let checkout = Checkout::of_workspace()?;
    every_check(cache, nix, &checkout, programs)
        .map_err(|error| error.context("the flake has to pass before it is broken"))?;
    let mut missed = 0;
    for mutation in MUTATIONS {
        let started = Instant::now();
        let outcome = found(cache, nix, &checkout, programs, mutation);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("found  {seconds:5.1} s  {}", mutation.what),
            Err(error) => {
                missed += 1;
                println!("MISSED {seconds:5.1} s  {}: {error:#}", mutation.what);
            }
        }
    }
    println!("{} mistakes, {missed} missed", MUTATIONS.len());
    Ok(missed == 0)
}

fn found(
    cache: &Cache,
    nix: &Nix,
    checkout: &Checkout,
    programs: &Programs,
    mutation: &Mutation,
) -> Result<()> {
    checkout.replace(mutation.file, mutation.from, mutation.to)?;
    let outcome = every_check(cache, nix, checkout, programs);
    checkout.replace(mutation.file, mutation.to, mutation.from)?;
    match outcome {
        Ok(()) => Err(anyhow!("every check passed")),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(
                said.contains(mutation.named),
                "the message does not name `{}`: {said}",
                mutation.named
            );
            Ok(())
        }
    }
}

/// The first check that fails decides.
fn every_check(cache: &Cache, nix: &Nix, checkout: &Checkout, programs: &Programs) -> Result<()> {
    style::format(cache, checkout)?;
    lock::check(checkout)?;
    outputs::check(nix, checkout)?;
    let report = report::evaluate(nix, checkout)?;
    modules::check(&report, checkout, programs)?;
    modules::units(&report, checkout)?;
    scripts::check(&report, checkout)?;
    style::dead_code(cache, checkout)?;
    Ok(())
}
